package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"
	"time"

	"github.com/jedib0t/go-pretty/v6/table"
	"github.com/spf13/cobra"

	"settlewatch/tools/bench"
)

type scaleFlags struct {
	benchRuns
	open, settled       counts
	partitions, joiners counts
	cluster             bool
	shapes, extra       int64
}

// counts is a flag of numbers, separated by commas; empty for none.
type counts []int64

func (c *counts) Type() string { return "numbers" }

func (c *counts) String() string {
	texts := make([]string, len(*c))
	for i, n := range *c {
		texts[i] = strconv.FormatInt(n, 10)
	}
	return strings.Join(texts, ",")
}

func (c *counts) Set(text string) error {
	*c = nil
	for part := range strings.SplitSeq(text, ",") {
		if part == "" {
			continue
		}
		n, err := strconv.ParseInt(part, 10, 64)
		if err != nil || n < 1 {
			return fmt.Errorf("%q is no number from 1 on", part)
		}
		*c = append(*c, n)
	}
	return nil
}

func benchScaleCommand() *cobra.Command {
	var f scaleFlags
	cmd := &cobra.Command{
		Use:   "scale",
		Short: "Measure rate, memory and takeover with many payments in the state",
		Long: `Fills the state with payments that are open, or settled and kept, and then measures:
the events a second of further payments, Redis memory for each payment (used_memory by
INFO, at its peak and when the ring has gone into the snapshot), the joiner's resident
memory (at its peak, and then), and how long after the assignment of its first
partition a joiner that was killed and started again publishes the first alert.

Sizes are measured with four partitions, one joiner and one Redis. Then, with the size
of --shapes and without waiting for the ring, other numbers of partitions and joiners,
and a Redis Cluster of three. A row for which memory or disk has no room is said so,
with the number that would fit. How long all of it takes, about, is said at the beginning;
the figures of a row when it was measured; and the table at the end, which a row that
fails, or Ctrl-C, only shortens.

Exit status: 0 measured, 1 alerts are not the expected ones, 2 it could not run.`,
		Example: `  settlewatch bench scale --open 1000000,10000000 --settled 1000000
  settlewatch bench scale --open 30000000 --settled "" --partitions "" --joiners "" --cluster=false
  settlewatch bench scale --open 100000 --settled 100000 --shapes 100000 --extra 50000     a trial`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return runScale(cmd.Context(), f, cmd.OutOrStdout())
		},
	}
	flags := cmd.Flags()
	f.addTo(cmd, 90*time.Minute)
	f.open = counts{1_000_000, 10_000_000, 30_000_000}
	f.settled = counts{1_000_000, 10_000_000, 100_000_000}
	f.partitions, f.joiners = counts{1, 2, 8, 64}, counts{2}
	flags.Var(&f.open, "open", "numbers of open payments")
	flags.Var(&f.settled, "settled", "numbers of settled payments that are kept")
	flags.Var(&f.partitions, "partitions", "numbers of partitions of the payment log")
	flags.Var(&f.joiners, "joiners", "numbers of joiners")
	flags.BoolVar(&f.cluster, "cluster", true, "measure with a Redis Cluster too")
	flags.Int64Var(&f.shapes, "shapes", 1_000_000, "open payments while partitions, joiners and Redis differ")
	flags.Int64Var(&f.extra, "extra", 500_000, "further payments that are measured, whole thousands")
	return cmd
}

// plans in the order in which they are measured.
func (f scaleFlags) plans() []bench.ScalePlan {
	base := bench.ScalePlan{LogPartitions: benchPartitions, Joiners: 1, Extra: f.extra / 1000 * 1000, Limit: f.limit}
	var plans []bench.ScalePlan
	add := func(change func(*bench.ScalePlan)) {
		p := base
		change(&p)
		plans = append(plans, p)
	}
	for _, n := range f.open {
		add(func(p *bench.ScalePlan) { p.Payments, p.Drain = n, true })
	}
	for _, n := range f.settled {
		add(func(p *bench.ScalePlan) { p.Payments, p.Settled, p.Drain = n, true, true })
	}
	base.Payments = f.shapes
	for _, n := range f.partitions {
		add(func(p *bench.ScalePlan) { p.LogPartitions = int(n) })
	}
	for _, n := range f.joiners {
		add(func(p *bench.ScalePlan) { p.Joiners = int(n) })
	}
	if f.cluster {
		add(func(p *bench.ScalePlan) { p.Cluster = true })
	}
	return plans
}

func runScale(ctx context.Context, f scaleFlags, out io.Writer) error {
	memory, err := bench.AvailableBytes() // before anything of ours runs
	if err != nil {
		return err
	}
	return withBench(ctx, f.benchPlace, "", func(s *screen, dir string, b *bench.Bench) error {
		room := func() (bench.Room, error) {
			disk, err := bench.FreeDiskBytes(dir)
			return bench.Room{MemoryBytes: memory, DiskBytes: disk}, err
		}
		return measureRows(ctx, f, room, s, out, b.RunScale)
	})
}

// measureRows runs every plan for which there is room. Each row is told when it is
// there, and the table shows what was measured also where a later row ends it all: an
// hour may lie before that.
func measureRows(
	ctx context.Context, f scaleFlags, room func() (bench.Room, error), s *screen, out io.Writer,
	run func(context.Context, bench.ScalePlan) (bench.ScaleResult, error),
) (err error) {
	plans := f.plans()
	free, err := room()
	if err != nil {
		return err
	}
	s.say("%d rows, about %s on two cores that have nothing else to do", len(plans), restOf(plans, nil, free))
	var rows []bench.ScaleResult
	defer func() {
		if !f.json && len(rows) > 0 {
			err = errors.Join(err, printScale(out, rows))
		}
	}()
	exact := true
	for n, plan := range plans {
		// The disk again: what a row has written is not gone at once.
		if free, err = room(); err != nil {
			return err
		}
		need := plan.Need(rows)
		s.say("row %d of %d: %d payments, settled %t, %d partitions, %d joiners, cluster %t; about %s for it, %s for all that is left",
			n+1, len(plans), plan.Payments, plan.Settled, plan.LogPartitions, plan.Joiners, plan.Cluster,
			need.Time.Round(time.Minute), restOf(plans[n:], rows, free))
		r := plan.Skip(need, free)
		if need.Fits(free) {
			r, err = run(ctx, plan)
			s.done()
			tellRow(s, r)
			if err != nil {
				return err
			}
			exact = exact && r.Exact
		}
		for _, note := range append(r.Notes, r.Skipped) {
			if note != "" {
				s.say("! %s", note)
			}
		}
		if f.json {
			if err := printJSON(out, []bench.ScaleResult{r}); err != nil {
				return err
			}
		}
		rows = append(rows, r)
	}
	if !exact {
		return errFindings
	}
	return nil
}

// tellRow says the figures of a row, of one that failed those that it had until then.
func tellRow(s *screen, r bench.ScaleResult) {
	var figures []string
	for _, one := range []struct {
		form  string
		value float64
	}{
		{"filled at %.0f events/s", r.FillPerSecond},
		{"Redis %.0f B a payment at its peak", r.RedisPeakBytes},
		{"%.0f B then", r.RedisBytes},
		{"joiner %.0f B at its peak", r.JoinerPeakBytes},
		{"%.0f B then", r.JoinerBytes},
		{"%.0f events/s on top", r.EventsPerSecond},
		{"other CPU %.1f s", r.OtherCPUSeconds},
		{"takeover %.2f s", r.TakeoverSeconds},
		{"%.2f s for all that waited", r.WholeTakeoverSeconds},
	} {
		if one.value != 0 {
			figures = append(figures, fmt.Sprintf(one.form, one.value))
		}
	}
	if len(figures) > 0 {
		s.say("  %s", strings.Join(figures, ", "))
	}
}

// restOf is how long the rows that are left will take.
func restOf(plans []bench.ScalePlan, before []bench.ScaleResult, free bench.Room) time.Duration {
	var sum time.Duration
	for _, p := range plans {
		if need := p.Need(before); need.Fits(free) {
			sum += need.Time
		}
	}
	return sum.Round(time.Minute)
}

// printScale shows each figure with its growth: times that of the first row that was
// measured with payments of the same kind.
func printScale(out io.Writer, rows []bench.ScaleResult) error {
	t := newBenchTable("state", "payments", "partitions", "joiners", "redis", "events/s", "Redis B, peak", "Redis B",
		"joiner B, peak", "joiner B", "takeover s", "whole s", "other CPU s", "exact")
	first := map[bool]bench.ScaleResult{}
	for _, r := range rows {
		state, redis := "open", "one"
		if r.Settled {
			state = "settled"
		}
		if r.Cluster {
			redis = "cluster"
		}
		row := table.Row{state, r.Payments, r.LogPartitions, r.Joiners, redis}
		if r.Skipped != "" {
			t.AppendRow(append(row, "does not fit"))
			continue
		}
		if _, is := first[r.Settled]; !is {
			first[r.Settled] = r
		}
		base := first[r.Settled]
		t.AppendRow(append(
			row, grown(r.EventsPerSecond, base.EventsPerSecond), grown(r.RedisPeakBytes, base.RedisPeakBytes),
			grown(r.RedisBytes, base.RedisBytes), grown(r.JoinerPeakBytes, base.JoinerPeakBytes), grown(r.JoinerBytes, base.JoinerBytes),
			fmt.Sprintf("%.2f", r.TakeoverSeconds), fmt.Sprintf("%.2f", r.WholeTakeoverSeconds), oneDigit(r.OtherCPUSeconds), r.Exact,
		))
	}
	_, err := fmt.Fprintf(out, "\n%s\nBytes are for each payment; in brackets, times the first row of the same state.\n", t.Render())
	return err
}

func grown(value, first float64) string {
	return fmt.Sprintf("%.0f (%.2f)", value, value/first)
}
