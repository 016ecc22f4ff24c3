// Package commands_test runs the built settlewatch against one demo on the
// embedded stack: the reading commands as a person types them, what they print,
// and their exit status. Golden files are under testdata; -update writes them.
//
// SETTLEWATCH_BIN names a folder with the binary; without it, it is built.
package commands_test

import (
	"bytes"
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"golang.org/x/sync/errgroup"

	"settlewatch/pipelines/servers"
	"settlewatch/services/boot"
	"settlewatch/tools/demo"
	"settlewatch/tools/traffic"
)

var update = flag.Bool("update", false, "write the golden files")

// world is the one demo that all tests read.
var world struct {
	binary   string
	cache    string // an empty cache folder: the user's own stack is not ours
	platform *demo.Platform
}

// startMax bounds the start of the demo, a first fetch of its servers included.
const startMax = 10 * time.Minute

func TestMain(m *testing.M) {
	servers.MaybeRunChild()
	flag.Parse()
	status, err := run(m)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		status = 1
	}
	os.Exit(status)
}

func run(m *testing.M) (status int, err error) {
	ctx, cancel := context.WithTimeout(context.Background(), startMax)
	defer cancel()
	dir, err := os.MkdirTemp("", "settlewatch-commands-")
	if err != nil {
		return 1, err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	world.cache = filepath.Join(dir, "cache")
	if err := os.Mkdir(world.cache, 0o700); err != nil {
		return 1, err
	}
	if world.binary, err = build(ctx, dir); err != nil {
		return 1, err
	}
	if world.platform, err = play(ctx, filepath.Join(dir, "demo")); err != nil {
		return 1, err
	}
	defer func() { err = errors.Join(err, world.platform.Stop()) }()
	return m.Run(), nil
}

func build(ctx context.Context, dir string) (string, error) {
	if bin := os.Getenv("SETTLEWATCH_BIN"); bin != "" {
		return filepath.Abs(filepath.Join(bin, "settlewatch"))
	}
	path := filepath.Join(dir, "settlewatch")
	if said, err := exec.CommandContext(ctx, "go", "build", "-o", path, "settlewatch/tools/settlewatch").CombinedOutput(); err != nil {
		return "", fmt.Errorf("build settlewatch: %w: %s", err, said)
	}
	return path, nil
}

// play starts the demo and plays its traffic to the end. Nothing comes after it,
// so what the commands show stands still.
func play(ctx context.Context, dir string) (*demo.Platform, error) {
	g, err := traffic.New(traffic.Options{Seed: 3, Payments: 400})
	if err != nil {
		return nil, err
	}
	abilities, err := demo.Abilities()
	if err != nil {
		return nil, err
	}
	p, err := demo.StartPlatform(ctx, demo.PlatformOptions{Dir: dir, Log: os.Stderr}, traffic.Config(abilities, g.Sources(boot.Profile, boot.ProfileVersion)...))
	if err != nil {
		return nil, err
	}
	collector := demo.NewCollector()
	running, stop := context.WithCancel(ctx)
	var background errgroup.Group
	background.Go(func() error { return collector.Run(running, p.Bus, nil) })
	r, err := demo.Play(ctx, p, g, collector, silent{})
	stop()
	if err = errors.Join(err, background.Wait()); err == nil && !r.Exact() {
		err = fmt.Errorf("the demo is not what was planted: %v", r.Verdict.Notes)
	}
	if err != nil {
		return nil, errors.Join(err, p.Stop())
	}
	return p, nil
}

type silent struct{}

func (silent) Progress(string, int64, int64) {}

// said is what a command printed and how it ended.
type said struct {
	out, errors string
	status      int
}

// command runs settlewatch with the demo's addresses in its environment; in
// extra, NAME=value stands before them.
func command(t *testing.T, stdin string, extra []string, args ...string) said {
	t.Helper()
	cmd := prepare(t, extra, args...)
	var out, problems bytes.Buffer
	cmd.Stdin, cmd.Stdout, cmd.Stderr = strings.NewReader(stdin), &out, &problems
	err := cmd.Run()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		t.Fatal(err)
	}
	return said{out.String(), problems.String(), cmd.ProcessState.ExitCode()}
}

// prepare is the command, not yet run.
func prepare(t *testing.T, extra []string, args ...string) *exec.Cmd {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), world.binary, args...)
	for _, v := range os.Environ() {
		if !strings.HasPrefix(v, "SETTLEWATCH_") {
			cmd.Env = append(cmd.Env, v)
		}
	}
	p := world.platform
	cmd.Env = append(cmd.Env, "SETTLEWATCH_CACHE="+world.cache,
		"SETTLEWATCH_KAFKA_BROKERS="+strings.Join(p.Brokers, ","), "SETTLEWATCH_REDIS_ADDRS="+strings.Join(p.Redis, ","),
		"SETTLEWATCH_CLICKHOUSE_DSN="+p.ClickHouseDSN)
	cmd.Env = append(cmd.Env, extra...)
	return cmd
}

// unstable is what differs from run to run: places in the payment log, where
// marks fall between the events as they come, and the width that they take.
var unstable = []struct {
	pattern *regexp.Regexp
	instead string
}{
	{regexp.MustCompile(`read up to \d+`), "read up to N"},
	{regexp.MustCompile(`frontier \S+ \S+, held by [^;]*;`), "frontier T, held by SOURCE;"},
	{regexp.MustCompile(`  [0-3]/\d+ `), "  P/N "},
	{regexp.MustCompile(`"(log_offset|frontier_ms)":\d+`), `"$1":0`},
	{regexp.MustCompile(`"frontier_held_by":"[^"]*"`), `"frontier_held_by":""`},
	{regexp.MustCompile(`127\.0\.0\.1:\d{4,}`), "127.0.0.1:PORT"},
	{regexp.MustCompile(`   +`), "  "},
	{regexp.MustCompile(`──+`), "──"},
	{regexp.MustCompile(` +\n`), "\n"},
}

// golden holds what a command said to testdata/name.
func golden(t *testing.T, name string, s said) {
	t.Helper()
	text := s.out
	if s.errors != "" {
		text += "--- standard error\n" + s.errors
	}
	text += fmt.Sprintf("--- exit status %d\n", s.status)
	for _, u := range unstable {
		text = u.pattern.ReplaceAllString(text, u.instead)
	}
	path := filepath.Join("testdata", name+".golden")
	if *update {
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if text != string(want) {
		t.Errorf("%s is not as in %s (-update writes it):\n%s", name, path, difference(string(want), text))
	}
}

// difference shows the lines that only one of two texts has.
func difference(want, got string) string {
	var b strings.Builder
	count := func(text string) map[string]int {
		n := map[string]int{}
		for line := range strings.Lines(text) {
			n[line]++
		}
		return n
	}
	inWant, inGot := count(want), count(got)
	for line := range strings.Lines(want) {
		if inGot[line] < inWant[line] {
			b.WriteString("- " + line)
		}
	}
	for line := range strings.Lines(got) {
		if inWant[line] < inGot[line] {
			b.WriteString("+ " + line)
		}
	}
	return b.String()
}
