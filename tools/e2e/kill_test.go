package e2e_test

import (
	"fmt"
	"maps"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"settlewatch/pipelines/intake"
	"settlewatch/pipelines/stage"
	"settlewatch/schemas/alert"
	"settlewatch/schemas/topic"
	"settlewatch/services/boot"
	"settlewatch/tools/demo"
	"settlewatch/tools/stack"
	"settlewatch/tools/traffic"
)

// leg is one service's way through one topic.
type leg struct {
	service, group string
	topic          topic.Topic
}

// legs in the order of the flow. The warehouse is shown by the longest of its ways.
var legs = []leg{
	{"authorization", boot.GroupIngest(intake.Authorization, boot.Documented), topic.RawAuthorization},
	{"capture", boot.GroupIngest(intake.Capture, boot.Documented), topic.RawCapture},
	{"settlement", boot.GroupIngest(intake.Settlement, boot.Documented), topic.RawSettlement},
	{"joiner", boot.GroupJoiner, topic.PaymentLog},
	{"warehouse", boot.GroupWarehouse, topic.PaymentLog},
}

// lag is how many records lie before the service, and how many are behind it.
func (w *world) lag(l leg) (before, behind int64) {
	w.t.Helper()
	before, err := w.Bus.Lag(w.ctx, l.group, l.topic.Name)
	if err != nil {
		w.t.Fatal(err)
	}
	return before, max(0, w.written(l.topic)-before)
}

// written is how many records the topic holds.
func (w *world) written(t topic.Topic) int64 {
	w.t.Helper()
	var all int64
	for p := range t.Partitions {
		_, end, err := w.Bus.Bounds(w.ctx, t.Name, int32(p))
		if err != nil {
			w.t.Fatal(err)
		}
		all += end
	}
	return all
}

// glance is the pause between two looks at a position.
const glance = 2 * time.Millisecond

// until looks again and again until seen says true.
func (w *world) until(what string, seen func() bool) {
	w.t.Helper()
	tick := time.NewTicker(glance)
	defer tick.Stop()
	for !seen() {
		select {
		case <-w.ctx.Done():
			w.t.Fatalf("wait until %s: %v", what, w.ctx.Err())
		case <-tick.C:
		}
	}
}

// killer is a screen that holds the feed at planned places, kills what is planned
// there while it is at work, and lets the feed go on when it was started again.
type killer struct {
	steps
	w      *world
	plan   []kill
	killed map[string]int
}

// kill is one place: services that die at the same moment.
type kill struct {
	services []string
	// settled waits first until all services have worked off all that was written:
	// those killed before are back.
	settled bool
}

var _ demo.Screen = (*killer)(nil)

// Progress is called between two writes of the feed, by the test's goroutine.
func (k *killer) Progress(step string, done, total int64) {
	k.steps.Progress(step, done, total)
	if step != "written" || len(k.plan) == 0 {
		return
	}
	next := &k.plan[0]
	if next.settled {
		// The next write finds all services waiting for it.
		next.settled = false
		for _, l := range legs {
			k.w.until(l.service+" has worked off what there is", func() bool { before, _ := k.w.lag(l); return before == 0 })
		}
		k.w.t.Logf("all services are back, with %d of %d records written", done, total)
		return
	}
	// What was just written may be worked off before this could look: then the next
	// write gives another chance.
	if k.atWork(next.services) {
		k.strike(next.services, done, total)
		k.plan = k.plan[1:]
	}
}

// atWork waits until the last of the services has something behind and before it;
// it is false when there is nothing left to do.
func (k *killer) atWork(services []string) bool {
	target := services[len(services)-1]
	for len(k.w.fresh) > 0 {
		<-k.w.fresh
	}
	working := false
	k.w.until(target+" is at work", func() bool {
		idle := true
		for _, l := range legs {
			before, behind := k.w.lag(l)
			idle = idle && before == 0
			if l.service != target {
				continue
			}
			// Alerts are published before the commit: the joiner is killed at one.
			working = behind > 0 && before > 0 && (target != "joiner" || len(k.w.fresh) > 0)
			return working || idle
		}
		return false
	})
	return working
}

// strike kills and waits for the new processes.
func (k *killer) strike(services []string, done, total int64) {
	t := k.w.t
	t.Helper()
	pids := make(map[string]int)
	for _, name := range services {
		if pids[name] = k.w.Supervisor.Pid(name); pids[name] == 0 {
			t.Fatalf("%s does not run", name)
		}
	}
	for _, name := range services {
		if err := syscall.Kill(pids[name], syscall.SIGKILL); err != nil {
			t.Fatalf("kill %s: %v", name, err)
		}
	}
	for left := maps.Clone(pids); len(left) > 0; {
		select {
		case <-k.w.ctx.Done():
			t.Fatalf("%v were killed and not started again", services)
		case e := <-k.w.events:
			switch {
			case e.Kind == stack.Died && e.Pid != pids[e.Name]:
				// The ClickHouse from npm aborts when a client dies in its handshake, and is
				// started again with its data. What matters is what comes out.
				t.Logf("died too: %s", e)
			case e.Kind == stack.Restarted && left[e.Name] != 0:
				delete(left, e.Name)
				k.killed[e.Name]++
			}
		}
	}
	t.Logf("killed and started again with %d of %d records written: %v", done, total, services)
}

// TestKilledServices kills every service twice while it is at work: each in its
// turn, then all at the same moment. What comes out is what comes out of a quiet
// run, byte for byte.
func TestKilledServices(t *testing.T) {
	o := traffic.Options{Seed: 4, Payments: 30_000}
	want := undisturbed(t, o)
	w := start(t, o, nil)
	w.mayDie = true
	k := &killer{steps: steps{t: t}, w: w, killed: make(map[string]int)}
	for _, name := range demo.Services {
		k.plan = append(k.plan, kill{services: []string{name}})
	}
	k.plan = append(k.plan, kill{services: demo.Services, settled: true})
	got := w.play(k)
	if len(k.plan) > 0 {
		t.Errorf("the feed ended before these were killed at work: %+v", k.plan)
	}
	for _, name := range demo.Services {
		if k.killed[name] != 2 {
			t.Errorf("%s was killed and started again %d times, want 2", name, k.killed[name])
		}
	}
	t.Logf("%d alert revisions were published again", got.Collected.Repeats)
	requireExact(t, got)
	requirePlanted(t, got)
	requireSameLines(t, got.Collected, want.Collected)
	requireSameRows(t, w.rows(), ordinaryRows[name(o)])
}

// TestSettlementStopped: while the settlement service is away nobody can know what
// was settled, so there is no alert, however late it is. When it is back, there are
// exactly the right ones.
func TestSettlementStopped(t *testing.T) {
	want := undisturbed(t, someThousand(1))
	w := start(t, someThousand(1), nil)
	if err := w.Supervisor.Halt("settlement"); err != nil {
		t.Fatal(err)
	}
	fed := &watcher{steps: steps{t: t}, away: func() {
		for _, l := range legs {
			if l.service != "settlement" {
				w.until(l.service+" has worked off what there is", func() bool { before, _ := w.lag(l); return before == 0 })
			}
		}
		t.Logf("settlement has %d records before it; the marks of the others go to %s", w.written(topic.RawSettlement),
			time.UnixMilli(w.traffic.EndMs()).UTC().Format(time.RFC3339))
		if pid := w.Supervisor.Pid("settlement"); pid != 0 {
			t.Errorf("the settlement service was not away but process %d", pid)
		}
		for _, kind := range alert.Kinds {
			if n := w.written(kind.Topic()); n > 0 {
				t.Errorf("%d revisions of %s without the settlement feed", n, kind)
			}
		}
		if read := w.collector.Collected(); len(read.Alerts) > 0 {
			t.Errorf("%d alerts without the settlement feed", len(read.Alerts))
		}
		t.Log("no alert; the settlement service starts")
		if err := w.Supervisor.Resume("settlement"); err != nil {
			t.Fatal(err)
		}
	}}
	got := w.play(fed)
	if !fed.done {
		t.Error("the feed's end was not seen")
	}
	requireExact(t, got)
	requirePlanted(t, got)
	requireSameLines(t, got.Collected, want.Collected)
}

// watcher is a screen that does something once, when everything is written.
type watcher struct {
	steps
	away func()
	done bool
}

func (s *watcher) Progress(step string, done, total int64) {
	s.steps.Progress(step, done, total)
	if strings.HasPrefix(step, "ingested") && !s.done {
		s.done = true
		s.away()
	}
}

func (k kill) String() string { return fmt.Sprint(k.services) }

// TestRedisLosesAll: the state is only a fold of the log. Without it the log is
// folded again, and every alert comes again as it was.
func TestRedisLosesAll(t *testing.T) {
	w := start(t, someThousand(1), nil)
	first := w.play(nil)
	requireExact(t, first)
	revisions := len(first.Collected.Lines())
	t.Logf("wiping Redis after %d revisions", revisions)
	if reply := redisAsk(t, w.Redis[0], "FLUSHALL"); reply != "OK" {
		t.Fatalf("redis answers %q", reply)
	}
	// The owner notices when it commits: one more mark gives it something to commit.
	w.mark(w.traffic.EndMs() + 1000)
	w.until("all revisions were published again", func() bool {
		return w.collector.Collected().Repeats >= first.Collected.Repeats+revisions
	})
	for _, l := range legs {
		w.until(l.service+" has worked off what there is", func() bool { before, _ := w.lag(l); return before == 0 })
	}
	again := w.collector.Collected()
	t.Logf("%d revisions were published again", again.Repeats)
	if again.Unequal > 0 {
		t.Errorf("%d of them are not what they were", again.Unequal)
	}
	requireSameLines(t, again, first.Collected)
	summary, err := w.Warehouse.Summary(w.ctx)
	if err != nil {
		t.Fatal(err)
	}
	if !summary.Holds() || summary.Events != first.Warehouse.Events || summary.Payments != first.Warehouse.Payments ||
		summary.Alerts != first.Warehouse.Alerts {
		t.Errorf("ClickHouse holds %+v, before %+v", summary, first.Warehouse)
	}
}

// mark writes a mark into every raw partition.
func (w *world) mark(atMs int64) {
	w.t.Helper()
	for _, raw := range []topic.Topic{topic.RawAuthorization, topic.RawCapture, topic.RawSettlement} {
		for p := range raw.Partitions {
			err := w.Bus.Append(w.ctx, stage.Outgoing{Topic: raw.Name, Partition: int32(p), Records: []stage.Record{{
				TimeMs:  atMs,
				Headers: []stage.Header{{Key: traffic.MarkHeader, Value: strconv.AppendInt(nil, atMs, 10)}},
			}}})
			if err != nil {
				w.t.Fatal(err)
			}
		}
	}
}
