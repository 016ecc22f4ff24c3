package main

import (
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"

	"github.com/jedib0t/go-pretty/v6/table"
	"github.com/spf13/cobra"

	"settlewatch/tools/bench"
)

type alternativesFlags struct {
	benchPlace
	rows int64
	only []string
}

func benchAlternativesCommand() *cobra.Command {
	var f alternativesFlags
	cmd := &cobra.Command{
		Use:   "alternatives",
		Short: "Measure other layouts of the table of events: codecs, types, order keys",
		Long: `Starts ClickHouse alone and measures the table of events as it is shipped and in other
layouts. ClickHouse itself generates the same events into each, merges everything, and
answers the same questions: a payment's events, the shipped questions that read events,
and one acquirer's day. Insert figures hold the making of the rows, which is measured
by itself too ("generated").

Layouts: ` + strings.Join(bench.LayoutNames(), ", ") + `.

Exit status: 0 measured, 2 could not run.`,
		Example: `  settlewatch bench warehouse alternatives
  settlewatch bench warehouse alternatives --rows 100000000 --only shipped,lz4
  settlewatch bench warehouse alternatives --rows 1000000 --json`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return runAlternatives(cmd, f) },
	}
	flags := cmd.Flags()
	flags.StringVar(&f.dir, "dir", "", "keep data and logs in `DIR` (default: a temporary folder)")
	flags.BoolVar(&f.json, "json", false, "print one JSON object a line instead of tables")
	flags.Int64Var(&f.rows, "rows", 5_000_000, "events in each layout")
	flags.StringSliceVar(&f.only, "only", nil, "measure only these layouts")
	return cmd
}

func runAlternatives(cmd *cobra.Command, f alternativesFlags) (err error) {
	for _, name := range f.only {
		if !slices.Contains(bench.LayoutNames(), name) {
			return fmt.Errorf("bench warehouse alternatives: no layout %q: there are %s", name, strings.Join(bench.LayoutNames(), ", "))
		}
	}
	if f.rows < 1000 {
		return errors.New("bench warehouse alternatives: --rows is below 1,000")
	}
	s := newScreen(os.Stderr)
	w, err := newWorkplace(f.dir, "settlewatch-bench-")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, w.leave(cmd.Context(), s, err)) }()
	columns := []any{"", "layout", "bytes an event", "rows/s", "insert CPU µs a row", "merge CPU µs a row"}
	for _, q := range bench.AlternativeQuestions {
		columns = append(columns, q+" s")
	}
	t := newBenchTable(columns...)
	err = bench.RunAlternatives(cmd.Context(), bench.AlternativesPlan{
		Dir: w.dir, Rows: f.rows, Only: f.only, Say: s.say, Done: func(r bench.AlternativeResult) {
			s.done()
			if f.json {
				_ = printJSON(cmd.OutOrStdout(), []bench.AlternativeResult{r}) // the last print tells that it cannot be written
				return
			}
			row := table.Row{r.Name, r.What, oneDigit(r.BytesPerEvent), whole(r.RowsPerSecond), fmt.Sprintf("%.2f", r.InsertCPUMicroseconds), fmt.Sprintf("%.2f", r.MergeCPUMicroseconds)}
			for _, q := range r.Questions {
				row = append(row, fmt.Sprintf("%.3f", q))
			}
			t.AppendRow(row)
			s.say("  %s: %.1f bytes an event, %.0f rows/s", r.Name, r.BytesPerEvent, r.RowsPerSecond)
		},
	})
	if err != nil || f.json {
		return err
	}
	_, err = fmt.Fprintf(cmd.OutOrStdout(), "\n%d events in each layout\n%s\n", f.rows, t.Render())
	return err
}
