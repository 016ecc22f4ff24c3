package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"

	"github.com/jedib0t/go-pretty/v6/table"
	"github.com/spf13/cobra"

	"settlewatch/tools/faults"
)

type faultsFlags struct {
	faults.Options
	faults []string
	json   bool
	list   bool
	report string
}

func faultsCommand() *cobra.Command {
	var f faultsFlags
	cmd := &cobra.Command{
		Use:   "faults",
		Short: "Break the product in every way on the list, and check what comes out",
		Long: `Starts Apache Kafka, redis-server and ClickHouse, then for each fault and run: empties
them, starts the services, feeds card traffic, breaks something, lets it come to rest,
and holds the payment log, alerts, state and tables to the invariants I1 to I7.

Exit status: 0 nothing was violated, 1 something was, 2 it could not run.`,
		Example: `  settlewatch faults --list
  settlewatch faults --fault 1,10-15 --runs 5
  settlewatch faults --quick`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return runFaults(cmd.Context(), f) },
	}
	flags := cmd.Flags()
	flags.StringSliceVar(&f.faults, "fault", nil, "faults by number, such as 1,10-15 (default: all)")
	flags.IntVar(&f.Runs, "runs", 1, "runs of each fault")
	flags.IntVar(&f.Lanes, "lanes", 1, "faults that run at once, each on servers of its own; times are longer then")
	flags.IntVar(&f.Payments, "payments", 3000, "payments of a run")
	flags.Uint64Var(&f.Seed, "seed", 1, "of the first run; each further run has the next")
	flags.BoolVar(&f.Quick, "quick", false, "only the quick half")
	flags.BoolVar(&f.json, "json", false, "only one JSON object a fault on standard output, no table")
	flags.BoolVar(&f.list, "list", false, "show the list and end")
	flags.StringVar(&f.report, "report", "", "write a report in Markdown to this file too")
	flags.StringVar(&f.Dir, "dir", "", "folder for data and logs (default: a new temporary one, removed when nothing was violated)")
	return cmd
}

func runFaults(ctx context.Context, f faultsFlags) error {
	if f.list {
		return listFaults()
	}
	numbers, err := parseFaults(f.faults)
	if err != nil {
		return err
	}
	f.Faults, f.Log = numbers, os.Stderr
	temporary := f.Dir == ""
	if temporary {
		if f.Dir, err = os.MkdirTemp("", "settlewatch-faults-"); err != nil {
			return fmt.Errorf("make a folder for data and logs: %w", err)
		}
	} else if err := os.MkdirAll(f.Dir, 0o755); err != nil {
		return fmt.Errorf("make the folder for data and logs: %w", err)
	}
	fmt.Fprintf(os.Stderr, "starting Kafka, Redis and ClickHouse; data and logs in %s\n", f.Dir)
	report, err := faults.Run(ctx, f.Options, func(r faults.Result) {
		if line, err := json.Marshal(r); err == nil {
			fmt.Println(string(line))
		}
	})
	if err == nil && f.report != "" {
		err = os.WriteFile(f.report, []byte(report.Markdown()), 0o644)
	}
	if !f.json && len(report.Results) > 0 {
		printFaults(report)
	}
	if err != nil {
		if ctx.Err() != nil && temporary && report.Violations() == 0 {
			err = errors.Join(err, os.RemoveAll(f.Dir))
		}
		return err
	}
	if report.Violations() > 0 {
		return errFindings
	}
	if temporary {
		return os.RemoveAll(f.Dir)
	}
	return nil
}

// parseFaults reads numbers and ranges.
func parseFaults(texts []string) (numbers []int, err error) {
	for _, text := range texts {
		low, high, isRange := strings.Cut(text, "-")
		first, err := strconv.Atoi(low)
		last := first
		if isRange && err == nil {
			last, err = strconv.Atoi(high)
		}
		if err != nil || last < first {
			return nil, errors.New("--fault: use numbers and ranges, such as 1,10-15")
		}
		for n := first; n <= last; n++ {
			numbers = append(numbers, n)
		}
	}
	return numbers, nil
}

func listFaults() error {
	t := table.NewWriter()
	t.SetOutputMirror(os.Stdout)
	t.AppendHeader(table.Row{"#", "fault", "about", "quick"})
	for _, s := range faults.Scenarios() {
		quick := ""
		if s.Quick {
			quick = "yes"
		}
		t.AppendRow(table.Row{s.Number, s.Name, strings.Join(s.Holds, " "), quick})
	}
	t.Render()
	return nil
}

func printFaults(report faults.Report) {
	t := table.NewWriter()
	t.SetOutputMirror(os.Stdout)
	t.AppendHeader(table.Row{"#", "fault", "about", "runs", "violations", "back after p50", "max", "peak memory"})
	for _, r := range report.Results {
		t.AppendRow(table.Row{
			r.Fault, r.Name, strings.Join(r.Scenario.Holds, " "), r.Runs, r.Violations,
			fmt.Sprintf("%.1f s", r.RecoveryP50), fmt.Sprintf("%.1f s", r.RecoveryMax), fmt.Sprintf("%.0f MiB", r.PeakMiB),
		})
	}
	t.Render()
}
