package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os/exec"
	"strings"

	"github.com/jedib0t/go-pretty/v6/table"
	"github.com/spf13/cobra"

	"settlewatch/tools/bench"
)

type revisionFlags struct {
	benchRuns
	base         string
	payments     int64
	rounds       int
	micro        int
	instructions bool
}

func benchRevisionsCommand() *cobra.Command {
	var f revisionFlags
	cmd := &cobra.Command{
		Use:   "revisions --base REV",
		Short: "Measure another revision and this source tree in turns",
		Long: `Checks the revision out beside this tree, builds the services of both, and runs
the pipeline of one and the other in turns on the same log: what the machine does
meanwhile meets both. Then the Go benchmarks of the packages that decide, in turns and
compared by benchstat, and the instructions that some of them execute, counted by
callgrind, which do not depend on the machine's mood.

It needs git and Go, benchstat on PATH (` + "`make bench-compare`" + ` installs it), and valgrind
for the instructions.

Exit status: 0 measured, 2 could not run.`,
		Example: `  make bench-compare BASE=main~5
  settlewatch bench revisions --base v0.3.0 --rounds 7
  settlewatch bench revisions --base HEAD --rounds 0            benchmarks and instructions only`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if f.base == "" {
				return errors.New("bench revisions: name the revision to compare with: --base REV")
			}
			return runRevisions(cmd.Context(), f, cmd.OutOrStdout())
		},
	}
	flags := cmd.Flags()
	f.addTo(cmd, runLimit)
	paymentsFlag(cmd, &f.payments, 500_000)
	flags.StringVar(&f.base, "base", "", "the `REV` to compare this tree with (required)")
	flags.IntVar(&f.rounds, "rounds", 5, "rounds of the pipeline; 0 for none")
	flags.IntVar(&f.micro, "micro", 6, "times that each Go benchmark is run; 0 for none")
	flags.BoolVar(&f.instructions, "instructions", true, "count instructions")
	return cmd
}

func runRevisions(ctx context.Context, f revisionFlags, out io.Writer) error {
	return withBench(ctx, f.benchPlace, "", func(s *screen, dir string, b *bench.Bench) (err error) {
		root, err := sourceTree(ctx)
		if err != nil {
			return err
		}
		r, err := bench.CheckOut(ctx, root, f.base, dir, s.say)
		if r != nil {
			defer func() { err = errors.Join(err, r.Close()) }()
		}
		if err != nil {
			return err
		}
		if f.rounds > 0 {
			w := bench.Workload{Payments: f.payments, Partitions: benchPartitions, OpenAll: true}
			all, err := r.Compare(ctx, b, w, f.rounds, f.limit, func(r bench.Result) { tellRun(s, out, f.json, r) })
			if err == nil {
				err = errors.Join(printSummaries(out, f.json, all), printRatio(out, f.json, all), tellVoid(s, all))
			}
			if err != nil {
				return err
			}
		}
		if f.micro > 0 {
			text, err := r.Micro(ctx, f.micro)
			if err != nil {
				return err
			}
			fmt.Fprintf(out, "\nGo benchmarks, %d times each (benchstat)\n%s", f.micro, text)
		}
		if f.instructions {
			return countInstructions(ctx, r, out, f.json)
		}
		return nil
	})
}

// sourceTree is the checkout around the working folder.
func sourceTree(ctx context.Context) (string, error) {
	out, err := exec.CommandContext(ctx, "git", "rev-parse", "--show-toplevel").Output()
	if err != nil {
		return "", fmt.Errorf("find the source tree (start it in a checkout, with git on PATH): %w", err)
	}
	return strings.TrimSpace(string(out)), nil
}

func printRatio(out io.Writer, asJSON bool, all []bench.Summary) error {
	base, head := all[0], all[1]
	if base.Runs == 0 || head.Runs == 0 {
		return nil // said as void
	}
	rate, cpu := head.EventsPerSecond.Median/base.EventsPerSecond.Median, head.Total.Median/base.Total.Median
	if asJSON {
		return printJSON(out, []map[string]map[string]float64{{"ratio": {"events_per_second": rate, "cpu_seconds": cpu}}})
	}
	_, err := fmt.Fprintf(out, "\nthis tree against the base: %.2f × the events/s, %.2f × the CPU\n", rate, cpu)
	return err
}

// counted is a count, or none.
func counted(n float64) string {
	if n == 0 {
		return "–"
	}
	return whole(n)
}

func countInstructions(ctx context.Context, r *bench.Revisions, out io.Writer, asJSON bool) error {
	all, err := r.CountInstructions(ctx)
	if err != nil {
		return err
	}
	if asJSON {
		return printJSON(out, all)
	}
	t := newBenchTable("", "base", "this tree", "ratio")
	for _, one := range all {
		ratio := "not counted in both"
		if one.Base > 0 && one.Head > 0 {
			ratio = fmt.Sprintf("%.3f", one.Head/one.Base)
		}
		t.AppendRow(table.Row{one.Benchmark, counted(one.Base), counted(one.Head), ratio})
	}
	_, err = fmt.Fprintf(out, "\nInstructions an operation (callgrind)\n%s\n", t.Render())
	return err
}
