package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/jedib0t/go-pretty/v6/table"
	"github.com/jedib0t/go-pretty/v6/text"
	"github.com/spf13/cobra"

	"settlewatch/tools/bench"
	"settlewatch/tools/stack"
)

// benchPlace are the flags that every measurement has.
type benchPlace struct {
	dir  string
	json bool
}

func (p *benchPlace) addTo(cmd *cobra.Command) {
	cmd.Flags().StringVar(&p.dir, "dir", "", "keep data and logs in `DIR` (default: a temporary folder)")
	cmd.Flags().BoolVar(&p.json, "json", false, "print one JSON object a line instead of tables")
}

// benchRuns is for runs that end when all is done.
type benchRuns struct {
	benchPlace
	limit time.Duration
}

// addTo a command, one part of which may take as long as limit.
func (r *benchRuns) addTo(cmd *cobra.Command, limit time.Duration) {
	r.benchPlace.addTo(cmd)
	cmd.Flags().DurationVar(&r.limit, "limit", limit, "the longest that one run may take")
}

// paymentsFlag is the size of a workload.
func paymentsFlag(cmd *cobra.Command, payments *int64, number int64) {
	cmd.Flags().Int64Var(payments, "payments", number, "payments of the workload; each has about three events")
}

// runLimit of a run of the pipeline, or of a peer.
const runLimit = 10 * time.Minute

type benchFlags struct {
	benchRuns
	payments   int64
	partitions int
	rounds     int
	openAll    bool
	quick      bool
	variants   []string
	profiles   string
}

const (
	// The one-minute form.
	quickPayments = 200_000
	// benchPartitions of each raw topic: as many as the payment log has.
	benchPartitions = 4
	// A first run of a few payments, so that a mistake shows in seconds.
	tinyPayments = 10_000
)

func benchCommand() *cobra.Command {
	var f benchFlags
	everybody := append([]string{bench.VariantOurs, bench.VariantEvents, bench.VariantWarehouse}, bench.PeerVariants()...)
	cmd := &cobra.Command{
		Use:   "bench",
		Short: "Measure the whole pipeline, beside Kafka Streams and Flink, on real servers",
		Long: `Starts Apache Kafka, redis-server (AOF every second) and ClickHouse in a temporary
folder, fills the raw topics with a workload whose alerts are known, and measures our
services and the same join on Kafka Streams and Flink in turns: each round runs every
variant once, after a run of ours that does not count and warms the broker up. All read
the same records; one stopwatch measures all, from the first record taken in to the
moment when a consumer has seen every expected alert. settlewatch+events has every event
and alert in ClickHouse besides when it ends, settlewatch+warehouse every version of
every payment too.

A run whose alerts are not exactly the expected ones is void, and the command fails.
It needs Linux, Java 17 and redis-server, and Maven for the peers. What the machine does
besides is shown as "other CPU": more than a few seconds disturbed the run.

Exit status: 0 all runs are exact, 1 some are void, 2 it could not run.`,
		Example: `  settlewatch bench --quick                             our pipeline alone, a minute
  settlewatch bench                                     a million payments, 5 rounds, all variants
  settlewatch bench --variants settlewatch,flink-hashmap --rounds 3 --json
  settlewatch bench --quick --profiles DIR              with CPU profiles of the services`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if f.quick {
				f.payments, f.rounds, f.variants = quickPayments, 1, []string{bench.VariantOurs}
			}
			return runBench(cmd.Context(), f, cmd.OutOrStdout())
		},
	}
	flags := cmd.Flags()
	f.addTo(cmd, runLimit)
	paymentsFlag(cmd, &f.payments, 1_000_000)
	flags.IntVar(&f.partitions, "partitions", benchPartitions, "partitions of each raw topic")
	flags.IntVar(&f.rounds, "rounds", 5, "rounds")
	flags.BoolVar(&f.openAll, "open-all", false, "all payments are open at once; without, about 160,000 are")
	flags.StringSliceVar(&f.variants, "variants", everybody, "who takes part")
	flags.BoolVar(&f.quick, "quick", false, "our pipeline alone, 200,000 payments, one round; figures are not judged")
	flags.StringVar(&f.profiles, "profiles", "", "keep a CPU profile of each of our services in `DIR`")
	cmd.AddCommand(benchLatencyCommand(), benchScaleCommand(), benchWarehouseCommand(), benchReconcileCommand(), benchRevisionsCommand())
	return cmd
}

func runBench(ctx context.Context, f benchFlags, out io.Writer) error {
	return withBench(ctx, f.benchPlace, f.profiles, func(s *screen, _ string, b *bench.Bench) error {
		if slices.ContainsFunc(f.variants, func(v string) bool { return slices.Contains(bench.PeerVariants(), v) }) {
			if err := b.BuildPeers(ctx); err != nil {
				return err
			}
		}
		plan := bench.Plan{
			Workload: bench.Workload{Payments: f.payments, Partitions: f.partitions, OpenAll: f.openAll},
			Rounds:   f.rounds, Variants: f.variants, Limit: f.limit,
			Done: func(r bench.Result) { tellRun(s, out, f.json, r) },
		}
		if f.quick {
			tiny := plan
			tiny.Workload.Payments, tiny.Cold = tinyPayments, true
			if all, err := b.Compare(ctx, tiny); err != nil || bench.Void(all) != nil {
				return errors.Join(err, tellVoid(s, all))
			}
		}
		all, err := b.Compare(ctx, plan)
		if err != nil {
			return err
		}
		if err := printSummaries(out, f.json, all); err != nil {
			return err
		}
		return tellVoid(s, all)
	})
}

// withBench starts the broker, calls, and leaves nothing behind.
func withBench(ctx context.Context, place benchPlace, profiles string, call func(s *screen, dir string, b *bench.Bench) error) (err error) {
	s := newScreen(os.Stderr)
	w, err := newWorkplace(place.dir, "settlewatch-bench-")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, w.leave(ctx, s, err)) }()
	s.say("on %s", stack.Machine())
	binaries, err := stack.Binaries(ctx, bench.Services, s.Progress)
	if err != nil {
		return err
	}
	b, err := bench.Start(ctx, bench.Options{
		Dir: w.dir, Binaries: binaries, Say: s.say, Progress: s.Progress, Profiles: profiles,
	})
	if err != nil {
		return err
	}
	defer func() {
		s.done()
		err = errors.Join(err, b.Stop())
	}()
	return call(s, w.dir, b)
}

func tellVoid(s *screen, all []bench.Summary) error {
	if err := bench.Void(all); err != nil {
		s.say("! %v", err)
		return errFindings
	}
	return nil
}

func tellRun(s *screen, out io.Writer, asJSON bool, r bench.Result) {
	s.done()
	if asJSON {
		_ = printJSON(out, []map[string]any{{"run": r}}) // the summaries tell that it cannot be written
	}
	verdict := "exact"
	if !r.Exact {
		verdict = "VOID: " + strings.Join(r.Notes, "; ")
	}
	s.say("  %.0f events/s, %.2f CPU s per million events, %.1f s, other CPU %.1f s%s, %d alerts, %s",
		r.EventsPerSecond, r.Total, r.Seconds, r.OtherCPUSeconds, named(r.Others), r.Alerts, verdict)
}

// named is who used most of the machine besides, in brackets.
func named(others []bench.Other) string {
	if len(others) == 0 {
		return ""
	}
	texts := make([]string, 0, len(others))
	for _, o := range others {
		texts = append(texts, fmt.Sprintf("%s %.1f", o.Name, o.Seconds))
	}
	return " (" + strings.Join(texts, ", ") + ")"
}

func printSummaries(out io.Writer, asJSON bool, all []bench.Summary) error {
	if asJSON {
		for _, s := range all {
			if err := printJSON(out, []map[string]any{{"summary": s}}); err != nil {
				return err
			}
		}
		return nil
	}
	t := newBenchTable("", "events/s", "min … max", "CPU s per million, all", "min … max", "runs", "void", "other CPU s")
	for _, s := range all {
		t.AppendRow(table.Row{
			s.Variant, whole(s.EventsPerSecond.Median), spread(s.EventsPerSecond, "%.0f"),
			fmt.Sprintf("%.2f", s.Total.Median), spread(s.Total, "%.2f"), s.Runs, s.Void, fmt.Sprintf("%.1f", s.OtherCPUSeconds.Median),
		})
	}
	processes := newBenchTable("", "process", "CPU s per million", "min … max", "peak MiB")
	for _, s := range all {
		for _, name := range s.Processes() {
			cpu := s.CPUSecondsPerMillion[name]
			processes.AppendRow(table.Row{
				s.Variant, name, fmt.Sprintf("%.2f", cpu.Median), spread(cpu, "%.2f"), whole(s.PeakBytes[name].Median / (1 << 20)),
			})
		}
	}
	_, err := fmt.Fprintf(out, "\nMedians of interleaved runs\n%s\n\n%s\n", t.Render(), processes.Render())
	return err
}

func whole(v float64) string { return fmt.Sprintf("%.0f", v) }

func spread(r bench.Range, form string) string {
	return fmt.Sprintf(form+" … "+form, r.Min, r.Max)
}

// newBenchTable aligns everything but names to the right.
func newBenchTable(columns ...any) table.Writer {
	t := newStatusTable(columns...)
	configs := make([]table.ColumnConfig, 0, len(columns))
	for n, c := range columns {
		if c != "" && c != "process" {
			configs = append(configs, table.ColumnConfig{Number: n + 1, Align: text.AlignRight, AlignHeader: text.AlignRight})
		}
	}
	t.SetColumnConfigs(configs)
	return t
}
