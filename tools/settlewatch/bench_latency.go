package main

import (
	"context"
	"errors"
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
	profiles string
}

func benchLatencyCommand() *cobra.Command {
	var f latencyFlags
	cmd := &cobra.Command{
		Use:   "latency",
		Short: "Measure how soon an alert can be read, at a third and two thirds of the rate",
		Long: `Plays live traffic, with marks of the services' own clocks, at a rate that climbs until
alerts come later and later: so much the machine takes, with the generator on it. Then
it plays a third and two thirds of that, and notes when each alert can be read: settled
twice counts from just before the second line is written to its raw topic, paid unsettled
from the moment at which evidence is due.

All that is played stays on the disk until the end, some gigabytes a minute: a load is
refused where there is no room for it. Each load's figures are said when it was played;
the table comes at the end, which Ctrl-C only brings nearer.

Exit status: 0 every expected alert came, 1 some are missing, 2 it could not run.`,
		Example: `  settlewatch bench latency
  settlewatch bench latency --duration 1m --max-rate 600000`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return runLatency(cmd.Context(), f, cmd.OutOrStdout())
		},
	}
	flags := cmd.Flags()
	f.addTo(cmd)
	flags.DurationVar(&f.duration, "duration", 5*time.Minute, "how long each rate is held")
	flags.Float64Var(&f.maxRate, "max-rate", 0, "events a second that the pipeline takes at most; 0 finds it")
	flags.StringVar(&f.profiles, "profiles", "", "keep a CPU profile of each of our services in `DIR`, from the middle of the last load")
	return cmd
}

func runLatency(ctx context.Context, f latencyFlags, out io.Writer) error {
	return withBench(ctx, f.benchPlace, f.profiles, func(s *screen, dir string, b *bench.Bench) error {
		free := func() (int64, error) { return bench.FreeDiskBytes(dir) }
		if f.maxRate == 0 {
			var err error
			if f.maxRate, err = highestRate(ctx, s, free, b.RunLatency); err != nil {
				return err
			}
		}
		return measureLoads(ctx, f, s, out, free, b.RunLatency)
	})
}

type playLatency func(context.Context, bench.LatencyPlan) (bench.LatencyResult, error)

// leastRate is where the search ends that finds no rate to be kept.
const leastRate = 5_000

// highestRate climbs until alerts come later and later.
func highestRate(ctx context.Context, s *screen, free func() (int64, error), run playLatency) (float64, error) {
	for from := float64(bench.ClimbFrom); ; {
		plan := bench.Climb(from, benchPartitions)
		if err := fits(plan, free); err != nil {
			return 0, err
		}
		s.say("the highest rate: from %.0f events/s on, a tenth more every %s, until alerts come later and later", from, plan.Duration/10)
		r, err := run(ctx, plan)
		if err != nil {
			return 0, err
		}
		for _, l := range r.Latencies {
			s.say("  %s, p50 at each rate, ms: %s", l.Kind, inRow("%.0f", l.Tenths, func(t bench.LatencyTenth) float64 { return t.P50 }))
		}
		rate, higher := r.Kept(plan)
		switch {
		case rate == 0 && from < leastRate:
			return 0, fmt.Errorf("alerts are late at %.0f events/s already: the machine has other work, or name a rate with --max-rate", from)
		case rate == 0:
			from /= 2
		case higher:
			from = rate
		default:
			s.say("  %.0f events/s", rate)
			return rate, nil
		}
	}
}

// loads are shares of the highest rate.
var loads = []struct {
	name  string
	times float64
}{{"a third", 1.0 / 3}, {"two thirds", 2.0 / 3}}

// measureLoads plays every load. Each is told when it was played, and the table shows
// those that were also where a later one ends it all. Nothing is played that the disk
// has no room for: a full one takes the broker down in the middle.
func measureLoads(
	ctx context.Context, f latencyFlags, s *screen, out io.Writer, free func() (int64, error),
	run playLatency,
) (err error) {
	plans := make([]bench.LatencyPlan, 0, len(loads))
	for _, load := range loads {
		plans = append(plans, bench.LatencyPlan{EventsPerSecond: f.maxRate * load.times, Duration: f.duration, Partitions: benchPartitions})
	}
	// The largest load, before the others take their time.
	if err := fits(plans[len(plans)-1], free); err != nil {
		return err
	}
	t := newBenchTable("load", "events/s", "alert", "alerts", "missing", "p50 ms", "p99 ms", "p99.9 ms", "max ms", "other CPU s")
	defer func() {
		if !f.json && t.Length() > 0 {
			_, printErr := fmt.Fprintf(out, "\n%s\n", t.Render())
			err = errors.Join(err, printErr)
		}
	}()
	exact := true
	for n, plan := range plans {
		name := loads[n].name
		// Again: what a load has written is not gone at once.
		if err := fits(plan, free); err != nil {
			return err
		}
		s.say("%s of %.0f events/s for %s", name, f.maxRate, f.duration)
		r, err := run(ctx, plan)
		if err != nil {
			return err
		}
		exact = exact && r.Exact()
		for _, l := range r.Latencies {
			s.say("  %s: %d alerts, %d missing, p50 %.1f ms, p99 %.1f ms, p99.9 %.1f ms, max %.1f ms",
				l.Kind, l.Alerts, l.Missing, l.P50, l.P99, l.P999, l.Max)
			s.say("    p99 of each tenth of the time, ms: %s", inRow("%.0f", l.Tenths, func(t bench.LatencyTenth) float64 { return t.P99 }))
			t.AppendRow(table.Row{
				name, whole(r.Written), l.Kind, l.Alerts, l.Missing, oneDigit(l.P50), oneDigit(l.P99), oneDigit(l.P999), oneDigit(l.Max),
				oneDigit(r.OtherCPUSeconds),
			})
		}
		s.say("  Redis rewrote its file, s of each tenth: %s; CPU %.1f s", inRow("%.1f", r.RewriteSeconds, func(s float64) float64 { return s }), r.RewriteCPUSeconds)
		s.say("  cores busy: %s; other CPU %.1f s%s", coresOf(r), r.OtherCPUSeconds, named(r.Others))
		if f.json {
			if err := printJSON(out, []bench.LatencyResult{r}); err != nil {
				return err
			}
		}
	}
	if !exact {
		s.say("! not every expected alert came")
		return errFindings
	}
	return nil
}

// inRow writes a figure of each tenth.
func inRow[T any](format string, tenths []T, of func(T) float64) string {
	texts := make([]string, 0, len(tenths))
	for _, tenth := range tenths {
		texts = append(texts, fmt.Sprintf(format, of(tenth)))
	}
	return strings.Join(texts, " ")
}

// fits refuses a load that the disk has no room for.
func fits(plan bench.LatencyPlan, free func() (int64, error)) error {
	freeBytes, err := free()
	if err != nil {
		return err
	}
	if err := plan.FitsOnDisk(freeBytes); err != nil {
		return fmt.Errorf("%w: play it for a shorter --duration, keep data on another disk with --dir, or lower the load with --max-rate", err)
	}
	return nil
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
