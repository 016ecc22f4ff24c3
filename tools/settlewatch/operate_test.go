package main

import (
	"bytes"
	"flag"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/spf13/cobra"

	"settlewatch/pipelines/servers"
	"settlewatch/schemas/alert"
	"settlewatch/tools/health"
)

var updateOperate = flag.Bool("update-operate", false, "rewrite the golden files of the operating commands")

func TestMain(m *testing.M) {
	servers.MaybeRunChild()
	if os.Getenv(asTool) != "" {
		os.Exit(run())
	}
	os.Exit(m.Run())
}

// asTool makes the test binary the tool itself.
const asTool = "TEST_AS_SETTLEWATCH"

type ending struct {
	stdout, stderr string
	status         int
}

// tool runs the built program with a cache of its own, so that no stack of this
// machine is found.
func tool(t *testing.T, args ...string) ending {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), self, args...)
	cmd.Env = append(os.Environ(), asTool+"=1", servers.CacheEnv+"="+t.TempDir(), "NO_COLOR=1",
		"SETTLEWATCH_KAFKA_BROKERS=127.0.0.1:1", "SETTLEWATCH_REDIS_ADDRS=127.0.0.1:1",
		"SETTLEWATCH_CLICKHOUSE_DSN=clickhouse://127.0.0.1:1/default")
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	err = cmd.Run()
	if cmd.ProcessState == nil {
		t.Fatal(err)
	}
	return ending{stdout.String(), stderr.String(), cmd.ProcessState.ExitCode()}
}

func TestHelpOfOperatingCommands(t *testing.T) {
	for _, name := range []string{"demo", "up", "feed", "apply", "migrate", "status", "rebuild", "verify", "audit", "whatif", "subscriber-check", "version"} {
		got := tool(t, name, "--help")
		if got.status != exitOK || got.stderr != "" {
			t.Errorf("%s --help: status %d, %s", name, got.status, got.stderr)
		}
		path := filepath.Join("testdata", "help", name+".txt")
		if *updateOperate {
			if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(path, []byte(got.stdout), 0o644); err != nil {
				t.Fatal(err)
			}
		}
		want, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		if got.stdout != string(want) {
			t.Errorf("%s --help is\n%s\nwant\n%s", name, got.stdout, want)
		}
		if !strings.Contains(got.stdout, "Exit status:") || !strings.Contains(got.stdout, "Examples:") {
			t.Errorf("%s --help names no exit status or no examples", name)
		}
	}
}

func TestFailuresOfOperatingCommands(t *testing.T) {
	wrong := filepath.Join(t.TempDir(), "wrong.yaml")
	if err := os.WriteFile(wrong, []byte("rules: x\nspeed: 9\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		args   string
		status int
		stderr string
	}{
		{"version --colour", exitFailed, "See `settlewatch version --help`"},
		{"apply", exitFailed, "apply: name one configuration file"},
		{"apply nowhere.yaml", exitFailed, "nowhere.yaml"},
		{"apply " + wrong, exitFailed, "speed"},
		{"up --config " + wrong, exitFailed, "speed"},
		{"feed --rate 0", exitFailed, "--rate 0: want more than 0"},
		{"feed --for -1s", exitFailed, "--for -1s"},
		{"feed", exitFailed, "127.0.0.1:1"},
		{"migrate --status", exitFailed, "127.0.0.1:1"},
		{"status --every 1ms", exitFailed, "--every 1ms"},
		{"status", exitFailed, "no server answered"},
		{"demo --kafka-brokers 127.0.0.1:1", exitFailed, "together"},
		{"rebuild --yes", exitFailed, "127.0.0.1:1"},
		{"verify", exitFailed, "127.0.0.1:1"},
		{"audit", exitFailed, "127.0.0.1:1"},
		{"audit --range payment-log.v1", exitFailed, "want topic/partition:from-until"},
		{"subscriber-check", exitFailed, "after --"},
		{"subscriber-check -- no-such-program", exitFailed, "no-such-program"},
		{"subscriber-check -- python3 ../examples/subscriber-python/check.py", exitOK, ""},
		{"subscriber-check -- cat", exitFindings, ""},
		{"subscriber-check --cases", exitOK, ""},
		{"whatif", exitFailed, "--rules FILE"},
		{"whatif --rules nowhere.yaml", exitFailed, "nowhere.yaml"},
		{"version", exitOK, ""},
		{"completion bash", exitOK, ""},
	} {
		t.Run(c.args, func(t *testing.T) {
			t.Parallel()
			got := tool(t, strings.Fields(c.args)...)
			if got.status != c.status || !strings.Contains(got.stderr, c.stderr) {
				t.Errorf("status %d, want %d; it said\n%swant %q", got.status, c.status, got.stderr, c.stderr)
			}
		})
	}
}

func TestStatusOnScreen(t *testing.T) {
	r := &health.Report{
		Servers:  map[string]*health.Server{health.Kafka: {Reachable: true}, health.Redis: {Error: "refused"}, health.ClickHouse: {Reachable: true}},
		Services: []health.Service{{Name: "joiner", Legs: []health.Leg{{Topic: "payment-log.v1", Partitions: 4, Owned: 1, Lag: 12}}}},
		LastAlert: &health.LastAlert{
			Kind: alert.SettledTwice, Status: alert.Open, Revision: 1, MomentJudged: "2026-01-02T03:04:05.000Z",
			PaymentKey: "a|o|1", AmountMinor: 1234, Currency: "CNY",
		},
		Problems: []string{"redis: refused"},
	}
	got := renderStatus(r, palette{})
	for _, want := range []string{"● redis      refused", "none", "1 of 4", "12.34 CNY", "needs attention\n  ! redis: refused\n"} {
		if !strings.Contains(got, want) {
			t.Errorf("no %q in\n%s", want, got)
		}
	}
	if strings.Contains(got, "healthy") {
		t.Errorf("healthy, with a problem:\n%s", got)
	}
}

// TestEveryCommandTeaches: what can be run has examples and says its exit
// statuses, itself or in what it belongs to.
func TestEveryCommandTeaches(t *testing.T) {
	var look func(cmd *cobra.Command)
	look = func(cmd *cobra.Command) {
		if cmd.Runnable() && !cmd.HasSubCommands() && (cmd.Example == "" || !strings.Contains(cmd.Long, "Exit status:")) {
			t.Errorf("%s has no examples, or does not say its exit statuses", cmd.CommandPath())
		}
		for _, c := range cmd.Commands() {
			look(c)
		}
	}
	look(rootCommand())
}

// TestStatusIsAsDocumented: docs/cli.md shows what the command prints.
func TestStatusIsAsDocumented(t *testing.T) {
	frontier, age := time.Date(2026, 11, 22, 5, 40, 26, 0, time.UTC), 0.9
	leg := func(topic string, partitions int, lag int64) health.Leg {
		return health.Leg{Topic: topic, Partitions: partitions, Owned: partitions, Lag: lag}
	}
	reachable := &health.Server{Reachable: true}
	got := renderStatus(&health.Report{
		Servers: map[string]*health.Server{health.Kafka: reachable, health.Redis: reachable, health.ClickHouse: reachable},
		Config:  &health.Config{Rules: "china-t1"},
		Services: []health.Service{
			{Name: "authorization", Members: 1, Legs: []health.Leg{leg("raw.authorization.v1", 2, 0)}},
			{Name: "capture", Members: 1, Legs: []health.Leg{leg("raw.capture.v1", 2, 0)}},
			{Name: "settlement", Members: 1, Legs: []health.Leg{leg("raw.settlement.v1", 2, 0)}},
			{Name: "configuration", Members: 3, Legs: []health.Leg{leg("config.v1", 1, 0)}},
			{Name: "joiner", Members: 1, Legs: []health.Leg{leg("payment-log.v1", 4, 19)}},
			{Name: "warehouse", Members: 1, Legs: []health.Leg{
				leg("payment-log.v1", 4, 58), leg("payments.v1", 4, 0), leg("alerts.paid-unsettled.v1", 4, 0), leg("alerts.settled-twice.v1", 4, 0),
			}},
		},
		Frontiers: []health.Frontier{{Group: "default", Time: &frontier, AgeSeconds: &age, HeldBy: "settlement/raw.settlement.v1/1/documented@1"}},
		Payments:  &health.Payments{Events: 2104, Watched: 1000, Alerts: 55},
		LastAlert: &health.LastAlert{
			Kind: alert.PaidUnsettled, Status: alert.Resolved, Revision: 2, MomentJudged: "2026-11-22T05:33:51.286Z",
			PaymentKey: "acq-east|o|O596359950989", AmountMinor: 8841, Currency: "CNY",
		},
		ClickHouse: &health.Tables{
			Events: 2104, Payments: 1000, OpenPayments: 22,
			OpenAlerts: map[string]uint64{string(alert.PaidUnsettled): 8, string(alert.SettledTwice): 27},
		},
	}, palette{})
	// Documents have no spaces at line ends.
	if want := documented(t, "`settlewatch status`"); regexp.MustCompile(` +\n`).ReplaceAllString(got, "\n") != want {
		t.Errorf("it prints\n%s\nand docs/cli.md shows\n%s", got, want)
	}
}
