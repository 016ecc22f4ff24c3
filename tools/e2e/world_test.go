package e2e_test

import (
	"bytes"
	"context"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sync/errgroup"

	"settlewatch/schemas/alert"
	"settlewatch/schemas/event"
	"settlewatch/services/boot"
	"settlewatch/tools/demo"
	"settlewatch/tools/stack"
	"settlewatch/tools/traffic"
)

// world is the running product and what was read from it.
type world struct {
	*demo.Platform
	t         *testing.T
	ctx       context.Context
	traffic   *traffic.Generator
	collector *demo.Collector
	dir       string
	// fresh gets every revision when it is read; what nobody takes is dropped.
	fresh chan demo.Revision
	// events of the service processes, and of the embedded stack's servers.
	events chan stack.Event
	// mayDie says that the test kills processes.
	mayDie bool
}

const (
	// eventsMax is more than any test makes happen.
	eventsMax = 1000
	// freshMax is how many revisions wait for somebody to look at them.
	freshMax = 1 << 16
)

// start runs the traffic's configuration on the embedded stack, or on servers
// that are there.
func start(t *testing.T, o traffic.Options, external *demo.Addresses, change ...func(*demo.PlatformOptions)) *world {
	t.Helper()
	g, err := traffic.New(o)
	if err != nil {
		t.Fatal(err)
	}
	abilities, err := demo.Abilities()
	if err != nil {
		t.Fatal(err)
	}
	w := startUnder(t, traffic.Config(abilities, g.Sources(boot.Profile, boot.ProfileVersion)...), external, change...)
	w.traffic = g
	return w
}

func startUnder(t *testing.T, config *event.Config, external *demo.Addresses, change ...func(*demo.PlatformOptions)) *world {
	t.Helper()
	w := &world{
		t: t, ctx: patient(t), dir: t.TempDir(), collector: demo.NewCollector(),
		fresh: make(chan demo.Revision, freshMax), events: make(chan stack.Event, eventsMax),
	}
	began := time.Now()
	var err error
	options := demo.PlatformOptions{
		External: external, Binaries: services(t), Dir: w.dir, Log: t.Output(),
		Events: func(e stack.Event) { w.events <- e },
	}
	for _, c := range change {
		c(&options)
	}
	w.Platform, err = demo.StartPlatform(w.ctx, options, config)
	if err != nil {
		t.Fatal(err)
	}
	if w.Stack != nil && w.Stack.RedisEmbedded {
		t.Error("redis-server is not on PATH: install Redis 7 or later (Debian and Ubuntu: apt-get install redis-server); " +
			"the imitation is not what this test is about")
	}
	running, stop := context.WithCancel(w.ctx)
	var background errgroup.Group
	background.Go(func() error {
		return w.collector.Run(running, w.Bus, func(r demo.Revision) {
			select {
			case w.fresh <- r:
			default:
			}
		})
	})
	t.Cleanup(func() {
		stop()
		if err := background.Wait(); err != nil {
			t.Errorf("collect: %v", err)
		}
		if t.Failed() {
			w.showLogs()
		}
		http.DefaultClient.CloseIdleConnections()
		if err := w.Stop(); err != nil {
			t.Errorf("stop: %v", err)
		}
		w.requireGoodEnds()
	})
	t.Logf("up after %.1f s", time.Since(began).Seconds())
	return w
}

// requireGoodEnds: no process has died by itself, and none with a stack trace.
func (w *world) requireGoodEnds() {
	for len(w.events) > 0 {
		if e := <-w.events; e.Kind == stack.Died && !w.mayDie {
			w.t.Errorf("nobody killed it: %s", e)
		}
	}
	for _, service := range demo.Services {
		text, err := os.ReadFile(filepath.Join(w.dir, "logs", service+".log"))
		if err != nil {
			w.t.Errorf("read log: %v", err)
		}
		if at := bytes.Index(text, []byte("goroutine ")); at >= 0 {
			w.t.Errorf("%s left a stack trace:\n%.3000s", service, text[max(0, at-500):])
		}
	}
}

// showLogs shows the ends of all logs: the folder goes with the test.
func (w *world) showLogs() {
	paths, _ := filepath.Glob(filepath.Join(w.dir, "logs", "*.log"))
	for _, path := range paths {
		text, err := os.ReadFile(path)
		if err != nil {
			w.t.Logf("read log: %v", err)
			continue
		}
		const end = 3000
		w.t.Logf("the end of %s:\n%s", filepath.Base(path), text[max(0, len(text)-end):])
	}
}

// play feeds the traffic and waits until all of it has come through.
func (w *world) play(screen demo.Screen) demo.Result {
	w.t.Helper()
	if screen == nil {
		screen = &steps{t: w.t}
	}
	r, err := demo.Play(w.ctx, w.Platform, w.traffic, w.collector, screen)
	if err != nil {
		w.t.Fatalf("play: %v (%v)", err, context.Cause(w.ctx))
	}
	w.t.Logf("%d payments, %d events, %d alerts in %.1f s, the first alert after %.1f s",
		r.Payments, r.Events, len(r.Collected.Alerts), r.Seconds, r.FirstAlertSeconds)
	return r
}

// steps says which step a run has come to.
type steps struct {
	t    *testing.T
	last string
}

func (s *steps) Progress(step string, done, total int64) {
	if step != s.last {
		s.last = step
		s.t.Logf("step %q: %d of %d", step, done, total)
	}
}

// requireExact fails unless the run came to exactly what was planted.
func requireExact(t *testing.T, r demo.Result) {
	t.Helper()
	if r.Exact() {
		return
	}
	for _, kind := range alert.Kinds {
		t.Logf("%s: %+v", kind, *r.Verdict.Alerts[kind])
	}
	t.Logf("dead letters: %+v; unequal repeats: %d", r.Verdict.Letters, r.Verdict.Unequal)
	t.Logf("in ClickHouse: %+v", r.Warehouse)
	for _, note := range r.Verdict.Notes {
		t.Log("! " + note)
	}
	t.Error("the result is not what was planted")
}

// requirePlanted makes sure that there was something to find.
func requirePlanted(t *testing.T, r demo.Result) {
	t.Helper()
	for _, kind := range alert.Kinds {
		if r.Verdict.Alerts[kind].Planted == 0 {
			t.Errorf("no %s was planted", kind)
		}
	}
	if r.Verdict.Letters.Planted == 0 {
		t.Error("nothing malformed was planted")
	}
}

// requireSameLines holds two runs' alerts to each other, byte for byte.
func requireSameLines(t *testing.T, got, want demo.Collected) {
	t.Helper()
	a, b := got.Lines(), want.Lines()
	for i := range min(len(a), len(b)) {
		if !bytes.Equal(a[i], b[i]) {
			t.Errorf("line %d is\n%s\nwant\n%s", i+1, a[i], b[i])
			return
		}
	}
	if len(a) != len(b) {
		t.Errorf("%d lines, want %d", len(a), len(b))
		return
	}
	t.Logf("%d lines are the same, byte for byte", len(a))
}

// undisturbed is the result of an ordinary run on the embedded stack. Each is
// made once: many tests hold another run to it.
func undisturbed(t *testing.T, o traffic.Options) demo.Result {
	t.Helper()
	if r, known := ordinary[name(o)]; known {
		return r
	}
	// A test of its own, so that its servers end here.
	t.Run("undisturbed", func(t *testing.T) { testDemo(t, o, nil, (*world).embeddedServers) })
	r, known := ordinary[name(o)]
	if !known {
		t.FailNow()
	}
	return r
}

// ordinary results by traffic, and what ClickHouse held then. The tests of this
// package run one after the other.
var (
	ordinary     = make(map[string]demo.Result)
	ordinaryRows = make(map[string]map[string]string)
)

// name of a traffic: the same options give the same.
func name(o traffic.Options) string { return fmt.Sprintf("%+v", o) }

// rows are count and hash of what ClickHouse holds, by table. Left out is what a
// repeat in the log moves on: places in it, and how often a payment was judged.
func (w *world) rows() map[string]string {
	w.t.Helper()
	rows := make(map[string]string)
	for table, columns := range map[string]string{
		// Maps are sorted: theirs is the only order that nobody promises.
		"events": "* EXCEPT (log_partition, log_offset, trace_id) REPLACE (mapSort(refs) AS refs, " +
			"mapSort(unknown_fields) AS unknown_fields)",
		"payments":        "* EXCEPT (version)",
		"alert_revisions": "*",
	} {
		rows[table] = strings.TrimSpace(w.query(fmt.Sprintf(
			"SELECT count(), groupBitXor(cityHash64(formatRow('TSV', %s))) FROM settlewatch.%s FINAL", columns, table)))
	}
	return rows
}

// requireSameRows compares what ClickHouse holds after two runs: a record that was
// repeated by a crash is in it once, and counts once.
func requireSameRows(t *testing.T, got, want map[string]string) {
	t.Helper()
	for table, rows := range want {
		if got[table] != rows {
			t.Errorf("table %s: count and hash are %q, want %q", table, got[table], rows)
		} else {
			t.Logf("table %s: the same rows (count and hash %q)", table, rows)
		}
	}
}

// embeddedServers names the stack's servers and their versions.
func (w *world) embeddedServers() string {
	return strings.Join([]string{
		"embedded broker (kfake) on " + w.Brokers[0], w.redisVersion(),
		"ClickHouse " + w.Stack.ClickHouseVersion + " on " + w.Stack.ClickHouse,
	}, "; ")
}
