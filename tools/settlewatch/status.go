package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"sync"
	"time"

	"github.com/jedib0t/go-pretty/v6/table"
	"github.com/jedib0t/go-pretty/v6/text"
	"github.com/spf13/cobra"

	"settlewatch/schemas/alert"
	"settlewatch/schemas/money"
	"settlewatch/services/boot"
	"settlewatch/tools/health"
)

type statusFlags struct {
	json, watch bool
	every       time.Duration
	stale       time.Duration
	lagMax      int64
}

func statusCommand() *cobra.Command {
	var f statusFlags
	cmd := &cobra.Command{
		Use:   "status",
		Short: "Show how far each service is, and what holds it up",
		Long: `Shows for each service its instances, partitions and lag, for each group of payments
its frontier and the source that holds it, and counts from Redis and ClickHouse.

The frontier is the time up to which every expected source has been read completely;
no deadline after it is judged. A backlog alone is no problem unless --lag-max says so.

Exit status: 0 healthy, 1 something needs attention (it says what), 2 nothing could be read.`,
		Example: `  settlewatch status
  settlewatch status --watch
  settlewatch status --json | jq .problems
  settlewatch status --stale 30s --lag-max 100000     # as a check of a monitoring system`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return runStatus(cmd, f) },
	}
	flags := cmd.Flags()
	flags.BoolVar(&f.json, "json", false, "print the report as one JSON object")
	flags.BoolVarP(&f.watch, "watch", "w", false, "show it again and again until Ctrl-C")
	flags.DurationVar(&f.every, "every", 2*time.Second, "pause between two looks, with --watch")
	flags.DurationVar(&f.stale, "stale", 2*time.Minute, "a live frontier older than this needs attention")
	flags.Int64Var(&f.lagMax, "lag-max", 0, "a lag of more records than this needs attention; 0: none does")
	serverFlags(cmd, boot.NeedKafka|boot.NeedRedis|boot.NeedClickHouse)
	return cmd
}

// lookMax is how long one look may take.
const lookMax = 15 * time.Second

func runStatus(cmd *cobra.Command, f statusFlags) error {
	s, err := settings(cmd, boot.NeedKafka|boot.NeedRedis|boot.NeedClickHouse)
	if err != nil {
		return err
	}
	if f.every < 100*time.Millisecond {
		return fmt.Errorf("--every %s: want at least 100ms", f.every)
	}
	var c health.Connections
	defer disconnect(&c)
	ctx := cmd.Context()
	for {
		connectAll(cmd, s, &c)
		look, cancel := context.WithTimeout(ctx, lookMax)
		r := health.Collect(look, c, time.Now())
		cancel()
		if ctx.Err() != nil {
			return untilStopped(ctx, f)
		}
		r.Judge(f.stale, f.lagMax)
		if err := sayStatus(os.Stdout, f, r); err != nil {
			return err
		}
		if !f.watch {
			return statusError(cmd, r)
		}
		select {
		case <-ctx.Done():
			return untilStopped(ctx, f)
		case <-time.After(f.every):
		}
	}
}

// untilStopped is no error where Ctrl-C is how it is meant to end.
func untilStopped(ctx context.Context, f statusFlags) error {
	if f.watch {
		return nil
	}
	return ctx.Err()
}

func statusError(cmd *cobra.Command, r *health.Report) error {
	switch {
	case r.Unreadable():
		return errors.New("no server answered\n" + nextStep(cmd))
	case !r.Healthy():
		return errFindings
	default:
		return nil
	}
}

// connectAll connects to the servers that are not connected yet, at the same time.
// What fails stays nil, until the next look tries it again.
func connectAll(cmd *cobra.Command, s boot.Settings, c *health.Connections) {
	c.Errors = map[string]error{}
	var mu sync.Mutex
	var all sync.WaitGroup
	dial := func(name string, connected bool, connect func() error) {
		if connected {
			return
		}
		all.Go(func() {
			if err := connect(); err != nil {
				mu.Lock()
				defer mu.Unlock()
				c.Errors[name] = err
			}
		})
	}
	dial(health.Kafka, c.Kafka != nil, func() error {
		kafka, err := connectKafka(cmd, s)
		if err == nil {
			c.Kafka = kafka
		}
		return err
	})
	dial(health.Redis, c.Redis != nil, func() error {
		redis, err := connectRedis(cmd, s)
		if err == nil {
			c.Redis = redis
		}
		return err
	})
	dial(health.ClickHouse, c.ClickHouse != nil, func() error {
		tables, err := connectClickHouse(cmd, s)
		if err == nil {
			c.ClickHouse = tables
		}
		return err
	})
	all.Wait()
}

func disconnect(c *health.Connections) {
	if c.Kafka != nil {
		c.Kafka.Close()
	}
	if c.Redis != nil {
		_ = c.Redis.Close() // it only read
	}
	if c.ClickHouse != nil {
		_ = c.ClickHouse.Close() // likewise
	}
}

func sayStatus(out *os.File, f statusFlags, r *health.Report) error {
	if f.json {
		b, err := json.Marshal(r)
		if err != nil {
			return fmt.Errorf("encode report: %w", err)
		}
		_, err = fmt.Fprintln(out, string(b))
		return err
	}
	screen := renderStatus(r, paletteOf(out))
	if f.watch && isTerminal(out) {
		screen = overwriting(screen)
	}
	_, err := io.WriteString(out, screen)
	return err
}

// overwriting makes a screen take the place of the one before without a blank one in
// between, which would flicker: each line erases its rest, and the last what is below.
func overwriting(screen string) string {
	return "\x1b[H" + strings.ReplaceAll(screen, "\n", "\x1b[K\n") + "\x1b[J"
}

// renderStatus is the report as people read it.
func renderStatus(r *health.Report, p palette) string {
	var b strings.Builder
	for _, name := range health.ServerNames {
		s := r.Servers[name]
		if s.Reachable {
			fmt.Fprintf(&b, "%s %-10s reachable\n", p.good("●"), name)
		} else {
			fmt.Fprintf(&b, "%s %-10s %s\n", p.bad("●"), name, p.bad(s.Error))
		}
	}
	if len(r.Services) > 0 {
		b.WriteString("\n" + servicesTable(r, p) + "\n")
	}
	if len(r.Frontiers) > 0 {
		b.WriteString("\n" + frontiersTable(r, p) + "\n")
	}
	b.WriteString("\n")
	sayTotals(&b, r)
	if r.Healthy() {
		b.WriteString("\n" + p.good("healthy") + "\n")
		return b.String()
	}
	b.WriteString("\n" + p.bad("needs attention") + "\n")
	for _, problem := range r.Problems {
		b.WriteString("  " + p.bad("!") + " " + problem + "\n")
	}
	return b.String()
}

func newStatusTable(header ...any) table.Writer {
	t := table.NewWriter()
	style := table.StyleLight
	style.Format.Header = text.FormatDefault
	style.Options = table.OptionsNoBordersAndSeparators
	style.Options.SeparateHeader = true
	t.SetStyle(style)
	t.AppendHeader(header)
	return t
}

func servicesTable(r *health.Report, p palette) string {
	t := newStatusTable("service", "instances", "topic", "partitions", "lag")
	right := []table.ColumnConfig{{Number: 2, Align: text.AlignRight}, {Number: 4, Align: text.AlignRight}, {Number: 5, Align: text.AlignRight}}
	t.SetColumnConfigs(right)
	for _, s := range r.Services {
		instances := fmt.Sprint(s.Members)
		if s.Members == 0 {
			instances = p.bad("none")
		}
		for i, l := range s.Legs {
			name := s.Name
			if i > 0 {
				name, instances = "", ""
			}
			partitions := fmt.Sprintf("%d", l.Partitions)
			if l.Owned < l.Partitions {
				partitions = p.bad(fmt.Sprintf("%d of %d", l.Owned, l.Partitions))
			}
			t.AppendRow(table.Row{name, instances, l.Topic, partitions, l.Lag})
		}
	}
	return t.Render()
}

func frontiersTable(r *health.Report, p palette) string {
	t := newStatusTable("group", "frontier", "age", "held by")
	for _, f := range r.Frontiers {
		frontier, age := p.bad("none yet"), ""
		if f.Time != nil {
			frontier = f.Time.UTC().Format(time.RFC3339)
		}
		switch {
		case f.AgeSeconds != nil:
			age = time.Duration(*f.AgeSeconds * float64(time.Second)).Round(100 * time.Millisecond).String()
		case f.Played:
			age = "played"
		}
		t.AppendRow(table.Row{f.Group, frontier, age, f.HeldBy})
	}
	return t.Render()
}

func sayTotals(b *strings.Builder, r *health.Report) {
	line := func(name, format string, args ...any) {
		fmt.Fprintf(b, "%-14s %s\n", name, fmt.Sprintf(format, args...))
	}
	if r.Config != nil {
		line("configuration", "%d, rules %s", r.Config.Number, r.Config.Rules)
	}
	if r.Payments != nil {
		line("joined", "%d events, %d repeats dropped, %d payments watched, %d alert revisions",
			r.Payments.Events, r.Payments.Repeats, r.Payments.Watched, r.Payments.Alerts)
	}
	if a := r.LastAlert; a != nil {
		amount, err := money.Format(a.AmountMinor, a.Currency)
		if err != nil {
			amount = fmt.Sprintf("%d minor units", a.AmountMinor)
		}
		line("last alert", "%s %s r%d %s, %s %s, %s", a.MomentJudged, a.Kind, a.Revision, a.Status, amount, a.Currency, a.PaymentKey)
	} else if r.Servers[health.Kafka].Reachable {
		line("last alert", "none yet")
	}
	if c := r.ClickHouse; c != nil {
		open := make([]string, 0, len(alert.Kinds))
		for _, k := range alert.Kinds {
			open = append(open, fmt.Sprintf("%d %s", c.OpenAlerts[string(k)], k))
		}
		line("ClickHouse", "%d events, %d payments of which %d wait for money, open alerts: %s",
			c.Events, c.Payments, c.OpenPayments, strings.Join(open, ", "))
	}
}
