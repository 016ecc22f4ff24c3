package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/jedib0t/go-pretty/v6/table"
	"github.com/jedib0t/go-pretty/v6/text"
	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
	"golang.org/x/sync/errgroup"

	"settlewatch/schemas/alert"
	"settlewatch/schemas/event"
	"settlewatch/schemas/money"
	"settlewatch/services/boot"
	"settlewatch/tools/demo"
	"settlewatch/tools/traffic"
)

type demoFlags struct {
	traffic     traffic.Options
	once        bool
	json        bool
	alertsOut   string
	filesOut    string
	filesOnly   bool
	dir         string
	replication int
}

func demoCommand() *cobra.Command {
	var f demoFlags
	cmd := &cobra.Command{
		Use:   "demo",
		Short: "Play card traffic with planted cases and check every alert",
		Long: `Starts an embedded Kafka, Redis and ClickHouse with all services, plays seeded card
traffic in accelerated event time, and compares the alerts with what was planted.
Without --once it then stays up with live traffic until Ctrl-C.

With --kafka-brokers, --redis-addrs and --clickhouse-dsn, or with --config, it uses
these servers instead, whose topics must be empty; TLS, users and passwords are given
as for the services. Addresses in the environment alone are not used: the demo fills
what it finds with invented payments.

Exit status: 0 everything planted was found and nothing else, 1 something is missing
or unexpected, 2 it could not run, or was stopped before the check.`,
		Example: `  settlewatch demo
  settlewatch demo --payments 100000 --seed 7 --once
  settlewatch demo --once --json --alerts-out alerts.jsonl
  settlewatch demo --files-out traffic --files-only
  settlewatch demo --kafka-brokers k1:9092 --redis-addrs r1:6379 --clickhouse-dsn clickhouse://c1:9000/default --once`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return runDemo(cmd, f) },
	}
	flags := cmd.Flags()
	flags.IntVar(&f.traffic.Payments, "payments", 10_000, "payments to play")
	flags.IntVar(&f.traffic.Days, "days", 14, "days of payments, from 2025-09-22 on")
	flags.Uint64Var(&f.traffic.Seed, "seed", 1, "the same seed gives the same traffic and the same alerts")
	flags.BoolVar(&f.traffic.Clean, "clean", false, "plant nothing: no alert may come")
	flags.BoolVar(&f.once, "once", false, "end after the check instead of staying up")
	flags.BoolVar(&f.json, "json", false, "print the result as one JSON object, the last line of standard output")
	flags.StringVar(&f.alertsOut, "alerts-out", "", "write all alert revisions to this file, sorted, one JSON a line")
	flags.StringVar(&f.filesOut, "files-out", "", "write the traffic and its rules to this folder too, for settlewatch reconcile")
	flags.BoolVar(&f.filesOnly, "files-only", false, "with --files-out: end when the files are written, without servers")
	flags.StringVar(&f.dir, "dir", "", "folder for data and logs (default: a new temporary one, removed when all went well)")
	flags.IntVar(&f.replication, "replication", 1, "replication of the topics that are made, with --kafka-brokers")
	serverFlags(cmd, externalServers)
	return cmd
}

const externalServers = boot.NeedKafka | boot.NeedRedis | boot.NeedClickHouse

// external are the servers that the flags name, nil for the embedded ones: all three
// are given, or a file that does, or none.
func external(flags *pflag.FlagSet) (*demo.Addresses, error) {
	given := 0
	for _, name := range []string{"kafka-brokers", "redis-addrs", "clickhouse-dsn"} {
		if flags.Changed(name) {
			given++
		}
	}
	environment := boot.Environment(flags)
	switch {
	case given == 0 && !flags.Changed("config"):
		if len(environment) == 0 {
			return nil, nil
		}
		fallthrough
	case given < 3 && !flags.Changed("config"):
		return nil, errors.New("give --kafka-brokers, --redis-addrs and --clickhouse-dsn together, or none of them for the embedded stack")
	}
	s, err := boot.Read(flags, externalServers)
	if err != nil {
		return nil, fmt.Errorf("settings: %w", err)
	}
	a := &demo.Addresses{
		Brokers: s.KafkaBrokers, Redis: s.RedisAddrs, RedisCluster: s.RedisCluster, ClickHouseDSN: s.ClickHouseDSN.Reveal(),
		Environment: environment, ClickHouse: boot.ClickHouseOptions(s),
	}
	a.Kafka, err = boot.KafkaOptions(s)
	return a, err
}

func runDemo(cmd *cobra.Command, f demoFlags) (err error) {
	ctx, began := cmd.Context(), time.Now()
	s := newScreen(os.Stderr)
	g, err := traffic.New(f.traffic)
	if err != nil {
		return err
	}
	config, err := demoConfig(g)
	if err != nil {
		return err
	}
	if f.filesOut != "" {
		if err := writeTrafficFiles(s, g, config, f.filesOut); err != nil || f.filesOnly {
			return err
		}
	} else if f.filesOnly {
		return errors.New("--files-only: say where with --files-out DIR")
	}
	addresses, err := external(cmd.Flags())
	if err != nil {
		return err
	}
	w, err := newWorkplace(f.dir, "settlewatch-demo-")
	if err != nil {
		return err
	}
	f.dir = w.dir
	p, err := demo.StartPlatform(ctx, demo.PlatformOptions{
		Dir: f.dir, External: addresses, Log: s, Progress: s.fetched, Events: s.Event, Replication: f.replication,
	}, config)
	defer func() { err = errors.Join(err, w.leave(ctx, s, err)) }()
	if err != nil {
		s.done()
		return startError(ctx, err, w.dir)
	}
	defer func() {
		s.done()
		if ctx.Err() != nil {
			s.say("stopping")
		}
		err = errors.Join(err, p.Stop())
	}()
	s.say("playing %d payments of %d days, seed %d", g.Options().Payments, g.Options().Days, f.traffic.Seed)
	collector := demo.NewCollector()
	running, stop := context.WithCancel(ctx)
	defer stop()
	var background errgroup.Group
	background.Go(func() error { return collector.Run(running, p.Bus, s.Alert) })
	r, err := demo.Play(ctx, p, g, collector, s)
	s.done()
	if err != nil {
		return err
	}
	if err := report(s, f, r, time.Since(began)); err != nil {
		return err
	}
	if !f.once {
		err = stay(ctx, s, p, g, w.dir)
	}
	stop()
	return errors.Join(err, background.Wait(), verdictError(r))
}

// stay plays live traffic until ctx ends. Meanwhile other commands find this stack,
// unless they already find another one.
func stay(ctx context.Context, s *screen, p *demo.Platform, g *traffic.Generator, dir string) (err error) {
	if p.Stack != nil {
		claim, taken := demo.TakeClaim()
		switch {
		case errors.Is(taken, demo.ErrClaimed):
			s.say("! %v", taken)
			s.say("! commands that are to look at this demo instead need its addresses by flags")
		case taken != nil:
			return taken
		default:
			defer func() { err = errors.Join(err, claim.Release()) }()
			if err := claim.Announce(p.Addresses); err != nil {
				return err
			}
		}
	}
	s.howToGoOn(p, dir)
	s.showAll()
	return demo.Live(ctx, p, g)
}

func verdictError(r demo.Result) error {
	if r.Exact() {
		return nil
	}
	return errFindings
}

func demoConfig(g *traffic.Generator) (*event.Config, error) {
	abilities, err := demo.Abilities()
	if err != nil {
		return nil, err
	}
	return traffic.Config(abilities, g.Sources(boot.Profile, boot.ProfileVersion)...), nil
}

// summary is the object that --json prints.
type summary struct {
	Payments    int                        `json:"payments"`
	Events      int                        `json:"events"`
	DeadLetters demo.Letters               `json:"dead_letters"`
	Alerts      map[alert.Kind]*demo.Count `json:"alerts"`
	Warehouse   struct {
		Events   uint64 `json:"events"`
		Payments uint64 `json:"payments"`
		Alerts   uint64 `json:"alerts"`
	} `json:"warehouse"`
	IdentityHolds     bool     `json:"identity_holds"`
	Exact             bool     `json:"exact"`
	Notes             []string `json:"notes,omitempty"`
	Seconds           float64  `json:"seconds"`
	EventsPerSecond   float64  `json:"events_per_second"`
	FirstAlertSeconds float64  `json:"first_alert_seconds"`
	TotalSeconds      float64  `json:"total_seconds"`
}

// report prints the table for people, or the object for programs, and writes the
// alerts.
func report(s *screen, f demoFlags, r demo.Result, total time.Duration) error {
	if f.alertsOut != "" {
		if err := writeLines(f.alertsOut, r.Collected.Lines()); err != nil {
			return err
		}
	}
	if !f.json {
		return printTable(os.Stdout, s, r)
	}
	out := summary{
		Payments: r.Payments, Events: r.Events, DeadLetters: r.Verdict.Letters, Alerts: r.Verdict.Alerts,
		IdentityHolds: r.Warehouse.Holds(), Exact: r.Exact(), Notes: r.Verdict.Notes,
		Seconds: r.Seconds, EventsPerSecond: float64(r.Events) / r.Seconds, FirstAlertSeconds: r.FirstAlertSeconds,
		TotalSeconds: total.Seconds(),
	}
	out.Warehouse.Events, out.Warehouse.Payments, out.Warehouse.Alerts = r.Warehouse.Events, r.Warehouse.Payments, r.Warehouse.Alerts
	b, err := json.Marshal(out)
	if err != nil {
		return fmt.Errorf("encode result: %w", err)
	}
	_, err = fmt.Println(string(b))
	return err
}

func writeLines(path string, lines [][]byte) error {
	file, err := os.Create(path)
	if err != nil {
		return fmt.Errorf("write alerts: %w", err)
	}
	w := bufio.NewWriter(file)
	for _, line := range lines {
		_, _ = w.Write(line)  // Flush returns the first error
		_ = w.WriteByte('\n') // likewise
	}
	if err := errors.Join(w.Flush(), file.Close()); err != nil {
		return fmt.Errorf("write alerts: %w", err)
	}
	return nil
}

func printTable(out io.Writer, s *screen, r demo.Result) error {
	t := newStatusTable("", "planted", "found", "missing", "unexpected")
	for _, k := range alert.Kinds {
		c := r.Verdict.Alerts[k]
		t.AppendRow(table.Row{k, c.Planted, c.Found, c.Missing, c.Unexpected})
	}
	l := r.Verdict.Letters
	t.AppendRow(table.Row{"dead letters", l.Planted, l.Found, l.Planted - l.Found, l.Unexpected})
	stored := newStatusTable("in ClickHouse", "written", "stored")
	stored.AppendRow(table.Row{"events", r.Events, r.Warehouse.Events})
	stored.AppendRow(table.Row{"payments", r.Payments, r.Warehouse.Payments})
	stored.AppendRow(table.Row{"alerts", len(r.Collected.Alerts), r.Warehouse.Alerts})
	if _, err := fmt.Fprintf(out, "\n%s\n\n%s\n\n%s\n\n", t.Render(), stored.Render(), identityTable(r)); err != nil {
		return err
	}
	for _, n := range r.Verdict.Notes {
		s.say("! %s", n)
	}
	s.say("%d events in %.1f s (%.0f a second), first alert after %.1f s", r.Events, r.Seconds, float64(r.Events)/r.Seconds, r.FirstAlertSeconds)
	return nil
}

// identityTable shows where all the money that was captured is.
func identityTable(r demo.Result) string {
	t := newStatusTable("", "captured =", "settled +", "open +", "alerted +", "excluded", "")
	columns := make([]table.ColumnConfig, 0, 5)
	for n := range 5 {
		columns = append(columns, table.ColumnConfig{Number: n + 2, Align: text.AlignRight, AlignHeader: text.AlignRight})
	}
	t.SetColumnConfigs(columns)
	for _, c := range r.Warehouse.Completeness {
		row := table.Row{c.Currency}
		for _, minor := range []int64{c.CapturedMinor, c.SettledMinor, c.OpenMinor, c.AlertedMinor, c.ExcludedMinor} {
			amount, err := money.Format(minor, c.Currency)
			if err != nil {
				amount = fmt.Sprintf("%d minor", minor)
			}
			row = append(row, amount)
		}
		holds := "holds"
		if !c.Holds {
			holds = fmt.Sprintf("DOES NOT HOLD, difference %d minor", c.DifferenceMinor)
		}
		t.AppendRow(append(row, holds))
	}
	return t.Render()
}

func (s *screen) howToGoOn(p *demo.Platform, dir string) {
	s.say(`
Everything stays up, with live traffic at a day a minute, until Ctrl-C.

  Kafka       %s
  Redis       %s
  ClickHouse  %s
  logs        %s
`, strings.Join(p.Brokers, ","), strings.Join(p.Redis, ","), p.ClickHouseDSN, filepath.Join(dir, "logs"))
	if p.Stack == nil {
		return
	}
	s.say(`In another terminal:

  settlewatch alerts --follow     the alerts as they come
  settlewatch status              how far each service is
  settlewatch query --list        questions for ClickHouse
  curl 'http://%s/' -d 'SELECT * FROM settlewatch.completeness FORMAT PrettyCompact'
`, p.Stack.ClickHouseHTTP)
}
