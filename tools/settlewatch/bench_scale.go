package main

import (
	"context"
	"fmt"
	"io"
	"time"

	"github.com/jedib0t/go-pretty/v6/table"
	"github.com/spf13/cobra"

	"settlewatch/tools/bench"
)

type scaleFlags struct {
	benchPlace
	open, settled []int64
	partitions    []int
	joiners       []int
	cluster       bool
	shapes        int64
	extra         int64
	limit         time.Duration
}

func benchScaleCommand() *cobra.Command {
	var f scaleFlags
	cmd := &cobra.Command{
		Use:   "scale",
		Short: "Measure rate, memory and takeover with many payments in the state",
		Long: `Fills the state with payments that are open, or settled and kept, and then measures:
the events a second of further payments, Redis memory for each payment (used_memory by
INFO), the joiner's resident memory, and how long after the assignment of its first
partition a joiner that was killed and started again publishes the first alert.

Sizes are measured with four partitions, one joiner and one Redis. Then, with the size
of --shapes, other numbers of partitions and joiners, and a Redis Cluster of three.

Exit status: 0 measured, 1 alerts are not the expected ones, 2 it could not run.`,
		Example: `  settlewatch bench scale --open 1000000,10000000 --settled 1000000
  settlewatch bench scale --open 30000000 --settled "" --partitions "" --joiners "" --cluster=false`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return runScale(cmd.Context(), f, cmd.OutOrStdout())
		},
	}
	flags := cmd.Flags()
	f.addTo(cmd)
	flags.Int64SliceVar(&f.open, "open", []int64{1_000_000, 10_000_000, 30_000_000}, "numbers of open payments")
	flags.Int64SliceVar(&f.settled, "settled", []int64{1_000_000, 10_000_000}, "numbers of settled payments that are kept")
	flags.IntSliceVar(&f.partitions, "partitions", []int{1, 2, 8, 64}, "numbers of partitions of the payment log")
	flags.IntSliceVar(&f.joiners, "joiners", []int{2}, "numbers of joiners")
	flags.BoolVar(&f.cluster, "cluster", true, "measure with a Redis Cluster too")
	flags.Int64Var(&f.shapes, "shapes", 1_000_000, "open payments while partitions, joiners and Redis differ")
	flags.Int64Var(&f.extra, "extra", 500_000, "further payments that are measured, in thousands")
	flags.DurationVar(&f.limit, "limit", 30*time.Minute, "the longest that one size may take")
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
		add(func(p *bench.ScalePlan) { p.Payments = n })
	}
	for _, n := range f.settled {
		add(func(p *bench.ScalePlan) { p.Payments, p.Settled = n, true })
	}
	base.Payments = f.shapes
	for _, n := range f.partitions {
		add(func(p *bench.ScalePlan) { p.LogPartitions = n })
	}
	for _, n := range f.joiners {
		add(func(p *bench.ScalePlan) { p.Joiners = n })
	}
	if f.cluster {
		add(func(p *bench.ScalePlan) { p.Cluster = true })
	}
	return plans
}

func runScale(ctx context.Context, f scaleFlags, out io.Writer) error {
	return withBench(ctx, f.benchPlace, "", func(s *screen, _ string, b *bench.Bench) error {
		t := newBenchTable("state", "payments", "partitions", "joiners", "redis", "fill events/s", "events/s", "of the first",
			"Redis B", "joiner B", "takeover s", "whole s", "other CPU s", "exact")
		exact, first := true, 0.0
		for _, plan := range f.plans() {
			s.say("%d payments, settled %t, %d partitions, %d joiners, cluster %t",
				plan.Payments, plan.Settled, plan.LogPartitions, plan.Joiners, plan.Cluster)
			r, err := b.RunScale(ctx, plan)
			if err != nil {
				return err
			}
			s.done()
			if f.json {
				if err := printJSON(out, []bench.ScaleResult{r}); err != nil {
					return err
				}
			}
			if first == 0 {
				first = r.EventsPerSecond
			}
			exact = exact && r.Exact
			for _, note := range r.Notes {
				s.say("! %s", note)
			}
			t.AppendRow(scaleRow(r, first))
		}
		if !f.json {
			if _, err := fmt.Fprintf(out, "\n%s\n", t.Render()); err != nil {
				return err
			}
		}
		if !exact {
			return errFindings
		}
		return nil
	})
}

func scaleRow(r bench.ScaleResult, first float64) table.Row {
	state, redis := "open", "one"
	if r.Settled {
		state = "settled"
	}
	if r.Cluster {
		redis = "cluster"
	}
	return table.Row{
		state, r.Payments, r.LogPartitions, r.Joiners, redis, whole(r.FillPerSecond), whole(r.EventsPerSecond),
		fmt.Sprintf("%.2f", r.EventsPerSecond/first), whole(r.RedisBytes), whole(r.JoinerBytes),
		fmt.Sprintf("%.2f", r.TakeoverSeconds), fmt.Sprintf("%.2f", r.WholeTakeoverSeconds), oneDigit(r.OtherCPUSeconds), r.Exact,
	}
}
