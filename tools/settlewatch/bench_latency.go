package main

import (
	"context"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/jedib0t/go-pretty/v6/table"
	"github.com/spf13/cobra"

	"settlewatch/tools/bench"
)

type latencyFlags struct {
	benchPlace
	duration time.Duration
	maxRate  float64
	payments int64
}

func benchLatencyCommand() *cobra.Command {
	var f latencyFlags
	cmd := &cobra.Command{
		Use:   "latency",
		Short: "Measure how soon an alert can be read, at a third and two thirds of the rate",
		Long: `Measures how many events a second the pipeline takes, then plays live traffic at a
third and at two thirds of that, with marks of the services' own clocks, and notes when
each alert can be read: settled twice counts from just before the second line is written
to its raw topic, paid unsettled from the moment at which evidence is due.

Exit status: 0 every expected alert came, 1 some are missing, 2 it could not run.`,
		Example: `  settlewatch bench latency
  settlewatch bench latency --duration 1m --max-rate 600000`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return runLatency(cmd.Context(), f, cmd.OutOrStdout())
		},
	}
	flags := cmd.Flags()
	f.addTo(cmd, runLimit)
	paymentsFlag(cmd, &f.payments, 1_000_000)
	flags.DurationVar(&f.duration, "duration", 5*time.Minute, "how long each rate is held")
	flags.Float64Var(&f.maxRate, "max-rate", 0, "events a second that the pipeline takes at most; 0 measures it with --payments")
	return cmd
}

// latencyRounds measure the rate; their median is the highest one.
const latencyRounds = 3

func runLatency(ctx context.Context, f latencyFlags, out io.Writer) error {
	return withBench(ctx, f.benchPlace, "", func(s *screen, _ string, b *bench.Bench) error {
		if f.maxRate == 0 {
			all, err := b.Compare(ctx, bench.Plan{
				Workload: bench.Workload{Payments: f.payments, Partitions: benchPartitions},
				Rounds:   latencyRounds, Variants: []string{bench.VariantOurs}, Limit: f.limit,
				Done: func(r bench.Result) { tellRun(s, out, f.json, r) },
			})
			if err != nil {
				return err
			}
			if err := tellVoid(s, all); err != nil {
				return err
			}
			f.maxRate = all[0].EventsPerSecond.Median
		}
		t := newBenchTable("load", "events/s", "alert", "alerts", "missing", "p50 ms", "p99 ms", "p99.9 ms", "max ms", "other CPU s")
		exact := true
		for _, share := range []struct {
			name  string
			times float64
		}{{"a third", 1.0 / 3}, {"two thirds", 2.0 / 3}} {
			s.say("%s of %.0f events/s for %s", share.name, f.maxRate, f.duration)
			r, err := b.RunLatency(ctx, bench.LatencyPlan{
				EventsPerSecond: f.maxRate * share.times, Duration: f.duration, Partitions: benchPartitions,
			})
			if err != nil {
				return err
			}
			exact = exact && r.Exact()
			s.say("  cores busy: %s; other CPU %.1f s%s", coresOf(r), r.OtherCPUSeconds, named(r.Others))
			if f.json {
				if err := printJSON(out, []bench.LatencyResult{r}); err != nil {
					return err
				}
			}
			for _, l := range r.Latencies {
				t.AppendRow(table.Row{
					share.name, whole(r.Written), l.Kind, l.Alerts, l.Missing, oneDigit(l.P50), oneDigit(l.P99), oneDigit(l.P999), oneDigit(l.Max),
					oneDigit(r.OtherCPUSeconds),
				})
			}
		}
		if !f.json {
			if _, err := fmt.Fprintf(out, "\n%s\n", t.Render()); err != nil {
				return err
			}
		}
		if !exact {
			s.say("! not every expected alert came")
			return errFindings
		}
		return nil
	})
}

// coresOf each process, and of all of them together.
func coresOf(r bench.LatencyResult) string {
	texts, sum := make([]string, 0, len(r.Cores)), 0.0
	for _, name := range slices.Sorted(maps.Keys(r.Cores)) {
		texts, sum = append(texts, fmt.Sprintf("%s %.2f", name, r.Cores[name])), sum+r.Cores[name]
	}
	return fmt.Sprintf("%.2f (%s)", sum, strings.Join(texts, ", "))
}

func oneDigit(v float64) string { return fmt.Sprintf("%.1f", v) }
