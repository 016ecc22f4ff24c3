package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"

	"github.com/jedib0t/go-pretty/v6/table"
	"github.com/spf13/cobra"

	"settlewatch/tools/bench"
)

type benchReconcileFlags struct {
	dir      string
	json     bool
	payments int64
	rounds   int
	cores    int
}

func benchReconcileCommand() *cobra.Command {
	var f benchReconcileFlags
	cmd := &cobra.Command{
		Use:   "reconcile",
		Short: "Measure settlewatch reconcile: lines a second from files, no servers",
		Long: `Writes the workload of bench as JSON Lines, one file a feed, and runs this program's own
reconcile on them, on one core and in a process of its own: from its start to its end,
reading, joining, judging and printing the alerts as JSON. A run counts only if the
alerts are exactly the expected ones.

What the machine does besides is shown as "other CPU"; CPU time a line depends on it less
than the rate does. For a CPU profile of the same work:
  go test ./tools/reconcile -run '^$' -bench Run -payments 1000000 -cpuprofile FILE

Exit status: 0 all runs are exact, 1 some are not, 2 it could not run.`,
		Example: `  settlewatch bench reconcile
  settlewatch bench reconcile --payments 200000 --rounds 1
  settlewatch bench reconcile --cores 2 --json`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return runBenchReconcile(cmd.Context(), f, cmd.OutOrStdout())
		},
	}
	flags := cmd.Flags()
	flags.StringVar(&f.dir, "dir", "", "keep the files in `DIR` (default: a temporary folder)")
	flags.BoolVar(&f.json, "json", false, "print one JSON object a run instead of a table")
	paymentsFlag(cmd, &f.payments, 1_000_000)
	flags.IntVar(&f.rounds, "rounds", 5, "runs on the same files")
	flags.IntVar(&f.cores, "cores", 1, "cores that reconcile may use")
	return cmd
}

func runBenchReconcile(ctx context.Context, f benchReconcileFlags, out io.Writer) (err error) {
	if f.payments < 1 || f.rounds < 1 || f.cores < 1 {
		return errors.New("bench reconcile: --payments, --rounds and --cores are at least 1")
	}
	binary, err := os.Executable()
	if err != nil {
		return fmt.Errorf("bench reconcile: find this program: %w", err)
	}
	s := newScreen(os.Stderr)
	defer s.done()
	w, err := newWorkplace(f.dir, "settlewatch-bench-")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, w.leave(ctx, s, err)) }()
	if err := os.MkdirAll(w.dir, 0o755); err != nil {
		return fmt.Errorf("bench reconcile: %w", err)
	}
	var results []bench.ReconcileResult
	var printed error
	err = bench.RunReconcile(ctx, bench.ReconcilePlan{
		Dir: w.dir, Binary: binary, Workload: bench.Workload{Payments: f.payments, Partitions: 1},
		Rounds: f.rounds, Cores: f.cores, Progress: s.Progress,
		Done: func(r bench.ReconcileResult) {
			results = append(results, r)
			if f.json {
				printed = errors.Join(printed, printJSON(out, []bench.ReconcileResult{r}))
			}
		},
	})
	s.done()
	if err = errors.Join(err, printed); err != nil {
		return err
	}
	if !f.json {
		err = printReconciled(out, results)
	}
	for _, r := range results {
		if !r.Exact {
			s.say("! a run is void: %s", strings.Join(r.Notes, "; "))
			err = errors.Join(err, errFindings)
		}
	}
	return err
}

// printReconciled prints the runs by their rate; the one in the middle is the median.
func printReconciled(out io.Writer, results []bench.ReconcileResult) error {
	slices.SortFunc(results, func(a, b bench.ReconcileResult) int { return cmp.Compare(a.LinesPerSecond, b.LinesPerSecond) })
	t := newBenchTable("lines", "lines/s", "CPU µs a line", "peak MiB", "other CPU s", "alerts", "exact")
	for _, r := range results {
		t.AppendRow(table.Row{
			r.Lines, whole(r.LinesPerSecond), fmt.Sprintf("%.2f", r.CPUMicroseconds),
			r.PeakBytes >> 20, oneDigit(r.OtherCPUSeconds), r.Alerts, r.Exact,
		})
	}
	_, err := fmt.Fprintf(out, "\nRuns by their rate\n%s\n", t.Render())
	return err
}
