package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"time"

	"github.com/jedib0t/go-pretty/v6/table"
	"github.com/spf13/cobra"

	"settlewatch/tools/bench"
)

type warehouseFlags struct {
	benchRuns
	payments int64
	events   int64
}

func benchWarehouseCommand() *cobra.Command {
	var f warehouseFlags
	cmd := &cobra.Command{
		Use:   "warehouse",
		Short: "Measure ClickHouse: loading, size on disk, the shipped questions",
		Long: `Makes a payment log with the pipeline, then measures the warehouse service alone: rows
a second into ClickHouse with its deduplication on, and the parts that this makes. Then
everything is merged for the bytes of a row on disk, copied inside of ClickHouse until
there are --events events, and every shipped question is asked with its defaults.

Exit status: 0 every event is in ClickHouse once, 1 not, 2 it could not run.`,
		Example: `  settlewatch bench warehouse --events 100000000`,
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return runWarehouse(cmd.Context(), f, cmd.OutOrStdout())
		},
	}
	flags := cmd.Flags()
	f.addTo(cmd, time.Hour)
	paymentsFlag(cmd, &f.payments, 500_000)
	flags.Int64Var(&f.events, "events", 100_000_000, "events in the tables when the questions are asked")
	cmd.AddCommand(benchAlternativesCommand())
	return cmd
}

func runWarehouse(ctx context.Context, f warehouseFlags, out io.Writer) error {
	return withBench(ctx, f.benchPlace, "", func(s *screen, _ string, b *bench.Bench) error {
		r, err := b.RunWarehouse(ctx, bench.WarehousePlan{Payments: f.payments, Events: f.events, Limit: f.limit})
		if err != nil {
			return err
		}
		s.done()
		if f.json {
			err = printJSON(out, []bench.WarehouseResult{r})
		} else {
			err = printWarehouse(out, r)
		}
		for _, note := range r.Notes {
			s.say("! %s", note)
			err = errors.Join(err, errFindings)
		}
		return err
	})
}

func printWarehouse(out io.Writer, r bench.WarehouseResult) error {
	cpu := newBenchTable("process", "CPU s per million rows")
	for _, name := range slices.Sorted(maps.Keys(r.CPUSecondsPerMillion)) {
		cpu.AppendRow(table.Row{name, fmt.Sprintf("%.2f", r.CPUSecondsPerMillion[name])})
	}
	sizes := newBenchTable("", "rows", "bytes a row on disk")
	for _, t := range r.Tables {
		sizes.AppendRow(table.Row{t.Table, t.Rows, oneDigit(t.BytesPerRow)})
	}
	questions := newBenchTable("", "rows", "seconds")
	for _, q := range r.Questions {
		questions.AppendRow(table.Row{q.Name, q.Rows, fmt.Sprintf("%.3f", q.Seconds)})
	}
	_, err := fmt.Fprintf(out, "\n%d rows at %.0f a second; %d parts, %.0f a minute; other CPU %.1f s\n%s\n\nmerged\n%s\n\nquestions over %d events\n%s\n",
		r.Rows, r.RowsPerSecond, r.Parts, r.PartsPerMinute, r.OtherCPUSeconds, cpu.Render(), sizes.Render(), r.Events, questions.Render())
	return err
}
