package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"github.com/spf13/cobra"

	"settlewatch/schemas/event"
	"settlewatch/schemas/ruleset"
	"settlewatch/tools/demo"
)

type upFlags struct {
	config string
	dir    string
	json   bool
	ports  demo.Ports
}

func upCommand() *cobra.Command {
	var f upFlags
	cmd := &cobra.Command{
		Use:   "up",
		Short: "Run the whole stack on this machine until Ctrl-C",
		Long: `Starts an embedded Kafka, Redis and ClickHouse with all services, applies a
configuration whose sources are live, prints the addresses and stays until Ctrl-C.
While it runs, the other commands find it by themselves. It keeps nothing when it
ends. One runs at a time.

Exit status: 0 ended as asked, 2 could not run.`,
		Example: `  settlewatch up
  settlewatch up --config my-rules.yaml
  settlewatch up --kafka-port 9092 --redis-port 6379 --clickhouse-port 9000 --clickhouse-http-port 8123`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return runUp(cmd.Context(), f) },
	}
	flags := cmd.Flags()
	flags.StringVar(&f.config, "config", "", "configuration to apply (default: T+1 in mainland China, as deploy/config/china-t1.yaml)")
	flags.StringVar(&f.dir, "dir", "", "folder for data and logs (default: a new temporary one, removed when all went well)")
	flags.BoolVar(&f.json, "json", false, "print the addresses as one JSON object")
	flags.IntVar(&f.ports.Kafka, "kafka-port", 0, "port of Kafka (default: a free one)")
	flags.IntVar(&f.ports.Redis, "redis-port", 0, "port of Redis (default: a free one)")
	flags.IntVar(&f.ports.ClickHouse, "clickhouse-port", 0, "port of ClickHouse, native protocol (default: a free one)")
	flags.IntVar(&f.ports.ClickHouseHTTP, "clickhouse-http-port", 0, "port of ClickHouse, HTTP (default: a free one)")
	_ = cmd.MarkFlagFilename("config", "yaml", "yml") // fails only where there is no such flag
	_ = cmd.MarkFlagDirname("dir")                    // likewise
	return cmd
}

// upConfig is the file's configuration, or the ordinary one with live sources.
func upConfig(path string) (*event.Config, error) {
	if path != "" {
		return readConfig(path)
	}
	abilities, err := demo.Abilities()
	if err != nil {
		return nil, err
	}
	return ruleset.Default(abilities, demo.LiveSources()...), nil
}

func runUp(ctx context.Context, f upFlags) (err error) {
	config, err := upConfig(f.config)
	if err != nil {
		return err
	}
	claim, err := demo.TakeClaim()
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, claim.Release()) }()
	w, err := newWorkplace(f.dir, "settlewatch-up-")
	if err != nil {
		return err
	}
	s := newScreen(os.Stderr)
	p, err := demo.StartPlatform(ctx, demo.PlatformOptions{
		Dir: w.dir, Ports: f.ports, Log: s, Progress: s.fetched, Events: s.Event,
	}, config)
	defer func() { err = errors.Join(err, w.leave(ctx, s, err)) }()
	if err != nil {
		s.done()
		return startError(ctx, err, w.dir)
	}
	defer func() {
		s.say("stopping")
		err = errors.Join(err, p.Stop())
	}()
	s.done()
	if err := claim.Announce(p.Addresses); err != nil {
		return err
	}
	if err := sayUp(os.Stdout, f, p, w.dir, config); err != nil {
		return err
	}
	<-ctx.Done()
	return nil
}

// startError says where to look, unless the start was stopped on purpose.
func startError(ctx context.Context, err error, dir string) error {
	if ctx.Err() != nil {
		return ctx.Err()
	}
	return fmt.Errorf("start: %w (logs in %s)", err, filepath.Join(dir, "logs"))
}

// upAddresses is the object that --json prints.
type upAddresses struct {
	Kafka          []string `json:"kafka_brokers"`
	Redis          []string `json:"redis_addrs"`
	ClickHouseDSN  string   `json:"clickhouse_dsn"`
	ClickHouseHTTP string   `json:"clickhouse_http"`
	Logs           string   `json:"logs"`
	Rules          string   `json:"rules"`
}

func sayUp(out io.Writer, f upFlags, p *demo.Platform, dir string, config *event.Config) error {
	a := upAddresses{
		Kafka: p.Brokers, Redis: p.Redis, ClickHouseDSN: p.ClickHouseDSN,
		ClickHouseHTTP: "http://" + p.Stack.ClickHouseHTTP, Logs: filepath.Join(dir, "logs"), Rules: config.Rules,
	}
	if f.json {
		b, err := json.Marshal(a)
		if err != nil {
			return fmt.Errorf("encode addresses: %w", err)
		}
		_, err = fmt.Fprintln(out, string(b))
		return err
	}
	_, err := fmt.Fprintf(out, `
Up, with rules %s, until Ctrl-C.

  Kafka       %s
  Redis       %s
  ClickHouse  %s   %s
  logs        %s

In another terminal, where these addresses are found by themselves:

  settlewatch feed --rate 20      live traffic, with a few mistakes in it
  settlewatch alerts --follow     the alerts as they come
  settlewatch status              how far each service is
  settlewatch query --list        questions for ClickHouse
  settlewatch apply FILE          other rules
`, a.Rules, p.Brokers[0], p.Redis[0], a.ClickHouseDSN, a.ClickHouseHTTP, a.Logs)
	return err
}

// workplace is the folder of a run's data and logs.
type workplace struct {
	dir       string
	temporary bool
}

func newWorkplace(dir, prefix string) (workplace, error) {
	if dir != "" {
		return workplace{dir: dir}, nil
	}
	dir, err := os.MkdirTemp("", prefix)
	if err != nil {
		return workplace{}, fmt.Errorf("make a folder for data and logs: %w", err)
	}
	return workplace{dir: dir, temporary: true}, nil
}

// leave removes a temporary folder after a run that ended well or was stopped;
// what remains of a failed one is for a look, if there is anything.
func (w workplace) leave(ctx context.Context, s *screen, failed error) error {
	switch {
	case !w.temporary:
		return nil
	case failed != nil && (ctx.Err() == nil || errors.Is(failed, errFindings)):
		if os.Remove(w.dir) == nil { // it was empty
			return nil
		}
		s.say("data and logs are kept in %s", w.dir)
		return nil
	}
	if err := os.RemoveAll(w.dir); err != nil {
		return fmt.Errorf("remove data and logs: %w", err)
	}
	if ctx.Err() != nil {
		s.say("stopped; nothing is left behind")
	}
	return nil
}
