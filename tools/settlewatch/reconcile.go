package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	"settlewatch/pipelines/profile"
	"settlewatch/schemas/event"
	"settlewatch/schemas/ruleset"
	"settlewatch/tools/demo"
	"settlewatch/tools/reconcile"
	"settlewatch/tools/traffic"
)

type reconcileFlags struct {
	profile   string
	rules     string
	asOf      string
	stdinName string
	rejects   string
	json      bool
}

func reconcileCommand() *cobra.Command {
	var f reconcileFlags
	cmd := &cobra.Command{
		Use:   "reconcile --as-of TIME [--profile P.yaml] FILE...",
		Short: "Join files of captures and settlements, without servers",
		Long: `Reads authorization, capture and settlement files by a profile, joins them as the
services do, and prints the alerts, what is unmatched on either side, what could not
be read, and totals that must add up. Nothing is printed before everything was read.

A profile says how files become events (CSV, JSON, XML; see ` + "`settlewatch profile check`" + `).
Without one, files are JSON Lines of the documented records with their arrival:
  {"arrival":"2025-09-22T09:30:00.123Z","record":{"type":"capture", ...}}

--as-of is the moment from which one looks: what arrived before it is known, what fell
due before it is judged. The order of the files makes no difference; - is standard input.

--json prints every revision of every alert as the alert topics hold it, one a line, in
the order of their moments, and as the last line {"summary":{...}}; there, by_alert_kind
counts the alerts that are open at --as-of.

Exit status: 0 nothing was found, 1 alerts are open, or settlement lines belong to no
capture, or records could not be read, 2 it could not run.`,
		Example: `  settlewatch reconcile --profile psp.yaml --as-of 2025-10-10T12:00:00+08:00 captures.csv settlement-*.csv
  settlewatch reconcile --profile psp.yaml --as-of now --json *.csv | jq -c 'select(.status=="OPEN")'
  settlewatch reconcile --profile psp.yaml --as-of now --rejects rejects.jsonl *.xml
  zcat captures.csv.gz | settlewatch reconcile --profile psp.yaml --as-of now --stdin-name captures.csv - settlement.csv
  settlewatch demo --files-out traffic --files-only`,
		Args: arguments(cobra.MinimumNArgs(1), "name the files to read, or - for standard input"),
		RunE: func(cmd *cobra.Command, args []string) error {
			return runReconcile(cmd.Context(), f, args, cmd.InOrStdin(), cmd.OutOrStdout())
		},
	}
	flags := cmd.Flags()
	flags.StringVar(&f.profile, "profile", "", "the `FILE` that says how the files are read (YAML; default: the documented JSON Lines)")
	flags.StringVar(&f.rules, "config", "", "the terms: a configuration `FILE` as for settlewatch apply, its sources are not used (default: T+1 of mainland China)")
	flags.StringVar(&f.asOf, "as-of", "", "the `TIME` from which to look: RFC 3339 with offset, or now (required)")
	flags.StringVar(&f.stdinName, "stdin-name", "", "the file `NAME` under which the profile and the alerts know standard input")
	flags.StringVar(&f.rejects, "rejects", "", "write the records that could not be read to this `FILE`, masked, as dead letters, one JSON a line")
	flags.BoolVar(&f.json, "json", false, "print one alert revision a line and the summary as the last line")
	return cmd
}

func runReconcile(ctx context.Context, f reconcileFlags, files []string, in io.Reader, out io.Writer) (err error) {
	o := reconcile.Options{Files: files, Stdin: in, StdinName: f.stdinName}
	// All that is wrong with the flags is said at once.
	var errs [3]error
	o.AsOfMs, errs[0] = readAsOf(f.asOf)
	o.Profile, errs[1] = readProfile(f.profile)
	o.Config, errs[2] = readRules(f.rules)
	if err := errors.Join(errs[:]...); err != nil {
		return err
	}
	if f.rejects != "" {
		file, err := os.Create(f.rejects)
		if err != nil {
			return fmt.Errorf("write rejected records: %w", err)
		}
		rejects := bufio.NewWriter(file)
		defer func() {
			if closed := errors.Join(rejects.Flush(), file.Close()); closed != nil {
				err = errors.Join(err, fmt.Errorf("write rejected records: %w", closed))
			}
		}()
		o.Rejects = rejects
	}
	bytes := newBytesRead(os.Stderr)
	o.Progress = bytes.show
	r, err := reconcile.Run(ctx, o)
	bytes.done()
	if stopped := new(reconcile.StoppedError); errors.As(err, &stopped) {
		fmt.Fprintf(os.Stderr, "reconcile: %v\n", stopped)
	}
	if err != nil {
		return err
	}
	for _, file := range r.Files {
		switch {
		case file.Empty:
			fmt.Fprintf(os.Stderr, "! %s is empty: no record of it is known\n", file.Name)
		case file.Records == 0:
			fmt.Fprintf(os.Stderr, "! %s holds no record\n", file.Name)
		}
	}
	if f.json {
		err = r.WriteJSON(out)
	} else {
		stdout, is := out.(*os.File)
		err = r.WriteText(out, is && term.IsTerminal(int(stdout.Fd())) && os.Getenv("NO_COLOR") == "")
	}
	if err == nil && r.Findings() {
		err = errFindings
	}
	return err
}

// writeTrafficFiles writes generated traffic and the rules of the demo, and says
// how they are reconciled.
func writeTrafficFiles(s *screen, g *traffic.Generator, config *event.Config, dir string) error {
	files, err := g.WriteFiles(dir)
	if err != nil {
		return err
	}
	rules, err := ruleset.Render(config)
	if err != nil {
		return err
	}
	path := filepath.Join(dir, "rules.yaml")
	if err := os.WriteFile(path, rules, 0o644); err != nil {
		return fmt.Errorf("write rules: %w", err)
	}
	s.say("%d files and %s are written; look at them as at the end of the traffic with\n  settlewatch reconcile --config %s --as-of %s %s",
		len(files), path, path, time.UnixMilli(g.EndMs()).UTC().Format(time.RFC3339), filepath.Join(dir, "*.jsonl"))
	return nil
}

func readAsOf(text string) (int64, error) {
	switch text {
	case "":
		return 0, errors.New("--as-of is missing: name the moment from which to look, such as --as-of 2025-10-10T12:00:00+08:00, or --as-of now")
	case "now":
		return time.Now().UnixMilli(), nil
	}
	at, err := time.Parse(time.RFC3339, text)
	if err != nil {
		return 0, fmt.Errorf("--as-of %q: want RFC 3339 with offset, such as 2025-10-10T12:00:00+08:00, or now", text)
	}
	return at.UnixMilli(), nil
}

func readProfile(path string) (*profile.Profile, error) {
	if path == "" {
		return profile.Documented(), nil
	}
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("read profile: %w", err)
	}
	p, err := profile.Parse(text)
	if err != nil {
		return nil, fmt.Errorf("%s: %w\nTry `settlewatch profile check %s --sample FILE`", path, err, path)
	}
	return p, nil
}

func readRules(path string) (*event.Config, error) {
	if path == "" {
		abilities, err := demo.Abilities()
		if err != nil {
			return nil, err
		}
		return ruleset.Default(abilities), nil
	}
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("read rules: %w", err)
	}
	config, err := ruleset.Parse(text)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return config, nil
}

// bytesRead shows how far a long run is: nothing in the first two seconds, then a
// line that renews itself on a terminal, and a line every two seconds elsewhere.
type bytesRead struct {
	mu       sync.Mutex
	out      *os.File
	terminal bool
	spoke    time.Time
	shown    bool
}

const quietTime = 2 * time.Second

func newBytesRead(out *os.File) *bytesRead {
	return &bytesRead{out: out, terminal: term.IsTerminal(int(out.Fd())), spoke: time.Now()}
}

func (b *bytesRead) show(p reconcile.Progress) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if time.Since(b.spoke) < quietTime && (!b.terminal || !b.shown) {
		return
	}
	var line string
	switch {
	case p.Judging:
		line = fmt.Sprintf("all is read; %d judgements", p.Judgements)
	case p.ReadBytes > p.TotalBytes: // standard input has no known size
		line = fmt.Sprintf("read %.1f MB", float64(p.ReadBytes)/1e6)
	default:
		line = fmt.Sprintf("read %.1f of %.1f MB", float64(p.ReadBytes)/1e6, float64(p.TotalBytes)/1e6)
	}
	b.spoke, b.shown = time.Now(), true
	if b.terminal {
		fmt.Fprintf(b.out, "\r\x1b[K%s", line)
	} else {
		fmt.Fprintln(b.out, line)
	}
}

func (b *bytesRead) done() {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.shown && b.terminal {
		fmt.Fprint(b.out, "\r\x1b[K")
	}
}
