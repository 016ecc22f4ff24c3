package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/jedib0t/go-pretty/v6/table"
	"github.com/spf13/cobra"

	"settlewatch/tools/capacity"
)

type capacityFlags struct {
	demand    capacity.Demand
	costs     string
	costsFrom []string
	set       []string
	saveCosts string
	on        string
	seed      uint64
	simulate  bool
	figures   bool
	json      bool
	markdown  bool
	update    string
}

func capacityCommand() *cobra.Command {
	var f capacityFlags
	cmd := &cobra.Command{
		Use:   "capacity [--payments-per-second N]",
		Short: "Compute what a load needs in partitions, machines and money, and simulate takeover",
		Long: `Computes from what an event, a payment and a mark were measured to cost what a load
beyond one machine needs: log partitions, joiners, Redis shards, brokers, ClickHouse
shards, machines and money. Each line shows its arithmetic, and each number in it where
it comes from: (m) measured, (a) assumed, (s) set by the product, (g) given here.
--set changes any figure, --figures lists them, and no price is a vendor's.

--simulate plays, in a model and without servers, a joiner that crashes or is lost, the
loss of a zone, a rolling restart, a Redis failover and the loss of a broker, under
today's group protocol and others, and says how late alerts were. The same seed is the
same result.

--costs-from reads what a bench printed with --json, so that nobody copies numbers.

Exit status: 0 done, 2 could not run.`,
		Example: `  settlewatch capacity
  settlewatch capacity --payments-per-second 5000 --life-days 30 --simulate
  settlewatch capacity --set joiner-memory=512e9 --set utilisation=0.5
  settlewatch capacity --figures
  settlewatch bench --json > bench.json && settlewatch capacity --costs-from bench.json
  make capacity-doc COSTS="bench.json scale.json warehouse.json"`,
		Args: arguments(cobra.NoArgs, "it takes flags only"),
		RunE: func(cmd *cobra.Command, _ []string) error {
			return runCapacity(cmd.Context(), f, cmd.OutOrStdout(), cmd.ErrOrStderr())
		},
	}
	flags := cmd.Flags()
	d := capacity.DesignLoad
	flags.Float64Var(&f.demand.PaymentsPerSecond, "payments-per-second", d.PaymentsPerSecond, "payments a second, all day long")
	flags.Float64Var(&f.demand.EventsPerPayment, "events-per-payment", d.EventsPerPayment, "events of a payment")
	flags.Float64Var(&f.demand.Peak, "peak-factor", d.Peak, "how many times that the busiest minutes are")
	flags.Float64Var(&f.demand.OpenDays, "open-days", d.OpenDays, "days until a payment is settled")
	flags.Float64Var(&f.demand.LifeDays, "life-days", d.LifeDays, "days until a payment is forgotten: life in the rules")
	flags.StringVar(&f.costs, "costs", "", "read all figures from the YAML in `FILE` instead of those that are built in")
	flags.StringSliceVar(&f.costsFrom, "costs-from", nil, "replace measured figures by those in `FILE`, which a bench printed with --json; - is standard input")
	flags.StringArrayVar(&f.set, "set", nil, "set a figure: `NAME=VALUE`, in its unit")
	flags.StringVar(&f.saveCosts, "save-costs", "", "write all figures to `FILE` as YAML")
	flags.StringVar(&f.on, "on", "", "with --save-costs: when, and on what machine the figures were measured")
	flags.Uint64Var(&f.seed, "seed", 1, "seed of the simulation")
	flags.BoolVar(&f.simulate, "simulate", false, "simulate failures of one cell")
	flags.BoolVar(&f.figures, "figures", false, "list the figures and where they come from")
	flags.BoolVar(&f.json, "json", false, "print one JSON object")
	flags.BoolVar(&f.markdown, "markdown", false, "print the tables of docs/capacity.md")
	flags.StringVar(&f.update, "update", "", "replace the generated tables in the document `FILE`")
	cmd.MarkFlagsMutuallyExclusive("json", "markdown", "figures")
	return cmd
}

func runCapacity(ctx context.Context, f capacityFlags, out, messages io.Writer) error {
	costs, err := f.figuresOf(messages)
	if err != nil {
		return fmt.Errorf("capacity: %w", err)
	}
	if f.saveCosts != "" {
		text, err := costs.Marshal()
		if err == nil {
			err = os.WriteFile(f.saveCosts, text, 0o644) //nolint:gosec // a document for everyone
		}
		if err != nil {
			return fmt.Errorf("capacity: save figures: %w", err)
		}
	}
	whole := f.simulate || f.markdown || f.update != ""
	report := &capacity.Report{Costs: costs}
	if whole {
		report, err = capacity.MakeReport(ctx, costs, f.demand, f.seed)
	} else {
		report.Plan, err = capacity.Make(costs, f.demand)
	}
	if err != nil {
		return fmt.Errorf("capacity: %w", err)
	}
	if f.update != "" {
		return updateDocument(f.update, report, messages)
	}
	switch {
	case f.json:
		return printJSON(out, []*capacity.Report{report})
	case f.markdown:
		parts, err := report.Parts()
		for _, name := range capacity.PartNames {
			if err == nil {
				_, err = io.WriteString(out, parts[name])
			}
		}
		return err
	case f.figures:
		return printCapacityTables(out, report.FigureTable())
	}
	tables := []capacity.Table{report.PlanTable(), report.MachineTable()}
	if f.simulate {
		tables = append(tables, report.OutcomeTable(), report.GridTable())
	}
	if err := printCapacityTables(out, tables...); err != nil {
		return err
	}
	_, err = fmt.Fprintf(messages, "%s; `settlewatch capacity --figures` lists the figures\n", capacity.Legend)
	return err
}

// figuresOf the files and flags, later ones over earlier ones.
func (f capacityFlags) figuresOf(messages io.Writer) (*capacity.Costs, error) {
	costs, err := capacity.Shipped()
	if f.costs != "" {
		var text []byte
		if text, err = os.ReadFile(f.costs); err == nil {
			costs, err = capacity.ParseCosts(text)
		}
	}
	if err != nil {
		return nil, err
	}
	for _, name := range f.costsFrom {
		text, err := readInput(name)
		if err != nil {
			return nil, err
		}
		taken, err := costs.Take(bytes.NewReader(text))
		if err != nil {
			return nil, fmt.Errorf("%s: %w", name, err)
		}
		if _, err := fmt.Fprintf(messages, "%s: %s\n", name, strings.Join(taken, ", ")); err != nil {
			return nil, err
		}
	}
	for _, assignment := range f.set {
		if err := costs.Override(assignment); err != nil {
			return nil, err
		}
	}
	if f.on != "" {
		costs.On = f.on
	} else if f.saveCosts != "" && len(f.costsFrom) > 0 {
		return nil, errors.New("save figures: say when and on what they were measured: --on TEXT")
	}
	return costs, nil
}

func readInput(name string) ([]byte, error) {
	if name == "-" {
		return io.ReadAll(os.Stdin)
	}
	return os.ReadFile(name)
}

func updateDocument(path string, report *capacity.Report, messages io.Writer) error {
	document, err := os.ReadFile(path)
	if err != nil {
		return fmt.Errorf("capacity: %w", err)
	}
	parts, err := report.Parts()
	if err != nil {
		return fmt.Errorf("capacity: %w", err)
	}
	updated, err := capacity.Update(string(document), parts)
	if err == nil {
		err = os.WriteFile(path, []byte(updated), 0o644) //nolint:gosec // a document for everyone
	}
	if err != nil {
		return fmt.Errorf("capacity: %s: %w", path, err)
	}
	_, err = fmt.Fprintf(messages, "%s: updated\n", path)
	return err
}

func printCapacityTables(out io.Writer, all ...capacity.Table) error {
	for i, rows := range all {
		header := make(table.Row, len(rows[0]))
		for n, c := range rows[0] {
			header[n] = c
		}
		t := newStatusTable(header...)
		for _, row := range rows[1:] {
			cells := make(table.Row, len(row))
			for n, c := range row {
				cells[n] = c
			}
			t.AppendRow(cells)
		}
		if i > 0 {
			if _, err := fmt.Fprintln(out); err != nil {
				return err
			}
		}
		if _, err := fmt.Fprintln(out, t.Render()); err != nil {
			return err
		}
	}
	return nil
}
