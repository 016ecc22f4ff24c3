package stage_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"

	"settlewatch/pipelines/join"
	"settlewatch/pipelines/sim"
	"settlewatch/pipelines/stage"
	"settlewatch/schemas/alert"
	"settlewatch/schemas/event"
	"settlewatch/schemas/payment"
	"settlewatch/schemas/topic"
)

// joinWorld is one partition of the log with a history in it, what the joiner
// publishes, the state store, and the group.
type joinWorld struct {
	t     *testing.T
	log   *sim.Log
	store *sim.State
	group *offsets
	// what the joiners of this world are given beside it
	checkpoints stage.Checkpoints
	refuse      func(context.Context, stage.Refused) error
}

func newJoinWorld(t *testing.T, records ...*event.LogRecord) *joinWorld {
	t.Helper()
	w := &joinWorld{t: t, log: newWorld(t, 1), store: sim.NewState(), group: newOffsets()}
	w.append(records...)
	return w
}

func (w *joinWorld) append(records ...*event.LogRecord) {
	w.t.Helper()
	appendTo(w.t, w.log, topic.PaymentLog.Name, encoded(w.t, records...)...)
}

func (w *joinWorld) end() int64 {
	w.t.Helper()
	reader, err := w.log.Open(topic.PaymentLog.Name, 0)
	if err != nil {
		w.t.Fatal(err)
	}
	_, end, err := reader.Bounds(w.t.Context())
	if err != nil {
		w.t.Fatal(err)
	}
	return end
}

// joiner whose clock goes on at every look, so that every batch is committed.
func (w *joinWorld) joiner(b *breakdown) *stage.Joiner {
	return &stage.Joiner{
		Log:   frailLog{w.log, b},
		State: func(int32) stage.State { return frailState{w.store.Owner(), b} },
		Clock: &handClock{ms: monday10, step: 1}, Logger: slog.New(slog.DiscardHandler),
		FencedWait: time.Nanosecond, CommitEvery: time.Millisecond,
		Checkpoints: w.checkpoints, Refuse: w.refuse,
	}
}

// fold is a process that folds until all is stored and the group knows it.
func (w *joinWorld) fold(b *breakdown) error {
	ctx, cancel := context.WithCancel(w.t.Context())
	defer cancel()
	j, end := w.joiner(b), w.end()
	j.Seen = func(p stage.JoinProgress) {
		if p.Next == end && w.group.get() == end {
			cancel()
		}
	}
	return j.Own(ctx, w.group.assignment(topic.PaymentLog.Name, 0, b))
}

func (w *joinWorld) mustFold() {
	w.t.Helper()
	if err := w.fold(healthy()); err != nil {
		w.t.Fatal(err)
	}
}

func (w *joinWorld) stored() stage.Stored {
	w.t.Helper()
	stored, err := w.store.Owner().Load(w.t.Context())
	if err != nil {
		w.t.Fatal(err)
	}
	return stored
}

// outcome is all that must not depend on crashes and batches.
type outcome struct {
	bodies    map[string][]byte
	snapshots map[string]*payment.Payment
	meta      []byte
}

func (w *joinWorld) outcome() outcome {
	w.t.Helper()
	_, bodies := published(w.t, w.log)
	return outcome{bodies, snapshots(w.t, w.log), w.stored().Meta}
}

func (w *joinWorld) mustGive(what string, want outcome) {
	w.t.Helper()
	got := w.outcome()
	mustBe(w.t, "alerts "+what, slices.Sorted(maps.Keys(got.bodies)), slices.Sorted(maps.Keys(want.bodies)))
	for brief, body := range want.bodies {
		if !bytes.Equal(got.bodies[brief], body) {
			w.t.Fatalf("alert %s:\n%s\nwant\n%s", what, got.bodies[brief], body)
		}
	}
	if !maps.EqualFunc(got.snapshots, want.snapshots, func(a, b *payment.Payment) bool { return proto.Equal(a, b) }) {
		w.t.Fatalf("payments %s:\n%v\nwant\n%v", what, got.snapshots, want.snapshots)
	}
	// Checksum, position, sources and groups are in it.
	if !bytes.Equal(got.meta, want.meta) {
		w.t.Fatalf("state %s:\n%s\nwant\n%s", what, got.meta, want.meta)
	}
}

// reference is what the history gives in one go.
func reference(t *testing.T) (records []*event.LogRecord, want outcome) {
	t.Helper()
	records = logRecords(t, history())
	w := newJoinWorld(t, records...)
	w.mustFold()
	return records, w.outcome()
}

func TestJoinerPublishes(t *testing.T) {
	records, want := reference(t)
	mustBe(t, "alerts", slices.Sorted(maps.Keys(want.bodies)), historyAlerts)
	statuses := map[string]payment.Status{}
	for key, p := range want.snapshots {
		statuses[key] = p.Status
	}
	if !maps.Equal(statuses, map[string]payment.Status{
		"acq|o|1": payment.Status_STATUS_SETTLED, "acq|o|2": payment.Status_STATUS_UNSETTLED, "acq|o|3": payment.Status_STATUS_SETTLED,
		"acq|o|4": payment.Status_STATUS_SETTLED_TWICE, "acq|o|5": payment.Status_STATUS_SETTLED,
	}) {
		t.Errorf("payments %v", statuses)
	}
	w := newJoinWorld(t, records...)
	w.mustFold()
	w.mustGive("again", want)
	for kind, count := range map[alert.Kind]int{alert.PaidUnsettled: 4, alert.SettledTwice: 1} {
		if got := w.count(kind.Topic()); got != count {
			t.Errorf("%d records of %s, want %d", got, kind, count)
		}
	}
	// One batch: of each payment only the last snapshot.
	if got := w.count(topic.Payments); got != 5 {
		t.Errorf("%d snapshots in one batch", got)
	}
}

func (w *joinWorld) count(of topic.Topic) (n int) {
	w.t.Helper()
	for p := range of.Partitions {
		records, err := w.log.Records(of.Name, int32(p))
		if err != nil {
			w.t.Fatal(err)
		}
		n += len(records)
	}
	return n
}

// How the log is cut into batches changes nothing.
func TestJoinerBatchesDoNotMatter(t *testing.T) {
	records, want := reference(t)
	for size := 1; size <= len(records); size++ {
		w := newJoinWorld(t, records...)
		w.log.LimitBatch(size)
		seen := 0
		j := w.joiner(healthy())
		ctx, cancel := context.WithCancel(t.Context())
		j.Seen = func(p stage.JoinProgress) {
			seen += p.Alerts
			if p.HighWatermark != w.end() || p.Partition != 0 || p.Records > size {
				t.Errorf("progress %+v", p)
			}
			if w.group.get() == w.end() {
				cancel()
			}
		}
		if err := j.Own(ctx, w.group.assignment(topic.PaymentLog.Name, 0, healthy())); err != nil {
			t.Fatal(err)
		}
		w.mustGive(fmt.Sprint("in batches of ", size), want)
		if seen != len(want.bodies) || w.count(topic.AlertsPaidUnsettled)+w.count(topic.AlertsSettledTwice) != len(want.bodies) {
			t.Errorf("batches of %d: %d alerts seen", size, seen)
		}
	}
}

// A process that breaks down at any of its calls, and the next one: the same
// bytes, nothing missing, and nothing stored before it was published.
func TestJoinerSurvivesEveryBreakdown(t *testing.T) {
	records, want := reference(t)
	// revisions there are after so many records.
	revisions := make([]int, len(records)+1)
	state, out := join.New(), new(join.Output)
	for i, r := range records {
		if err := state.Step(r, out); err != nil {
			t.Fatal(err)
		}
		revisions[i+1] = len(out.Alerts)
	}
	calls := everyBreakdown(func(b *breakdown) {
		w := newJoinWorld(t, records...)
		w.log.LimitBatch(6)
		var stands int64
		w.store.OnCommit = func(c stage.Commit) sim.StateFault {
			if briefs, _ := published(t, w.log); len(briefs) < revisions[c.ToOffset] {
				t.Errorf("offset %d is stored with only %v published", c.ToOffset, briefs)
			}
			if c.FromOffset != stands || c.ToOffset <= c.FromOffset {
				t.Errorf("a commit from %d to %d where %d is stored", c.FromOffset, c.ToOffset, stands)
			}
			stands = c.ToOffset
			return sim.StateOK
		}
		err := w.fold(b)
		name, _ := b.happened()
		if err != nil {
			if !errors.Is(err, errDown) {
				t.Fatalf("a breakdown at %s ends it with: %v", name, err)
			}
			stands = w.stored().Offset
			if err := w.fold(healthy()); err != nil {
				t.Fatalf("the next process ends with: %v", err)
			}
		}
		w.mustGive("after a breakdown at "+name, want)
		if stored := w.stored(); stored.Offset != int64(len(records)) || w.group.get() != stored.Offset {
			t.Fatalf("after a breakdown at %s %d is stored, the group has %d", name, stored.Offset, w.group.get())
		}
	})
	if calls < 40 {
		t.Errorf("only %d calls could break down", calls)
	}
}

// Many payments, so that a commit rewrites only a part of the snapshot: a new owner
// needs the ring as well.
func TestJoinerLoadsSnapshotAndRing(t *testing.T) {
	const payments, settled = 20_000, 300
	var arrivals []arrival
	for p := range payments {
		arrivals = append(arrivals, arrival{saleFeed, monday10, sale(p, 100)})
	}
	for p := range settled {
		arrivals = append(arrivals, arrival{lineFeed, monday10 + 1, line(3*p, "in time", 100)})
	}
	arrivals = append(arrivals, arrival{saleFeed, tuesday12 + 1, nil}, arrival{lineFeed, tuesday12 + 1, nil})
	for range payments / 500 { // what is due at one moment is judged in parts
		arrivals = append(arrivals, arrival{saleFeed, tuesday12 + 2, nil})
	}
	records := logRecords(t, arrivals)
	once := newJoinWorld(t, records...)
	once.mustFold()
	want := once.outcome()
	if len(want.bodies) != payments-settled {
		t.Fatalf("%d alerts", len(want.bodies))
	}

	w := newJoinWorld(t, records[:1+payments]...)
	w.mustFold()
	lines := 1 + payments + settled
	w.append(records[1+payments : lines]...)
	w.mustFold()
	stored := w.stored()
	if _, _, err := join.Load(stored.Meta, stored.Buckets, nil); !errors.Is(err, join.ErrInconsistent) {
		t.Errorf("the ring is not needed: without it it loads with %v", err)
	}
	w.append(records[lines:]...)
	w.mustFold()
	w.mustGive("of three owners", want)
}

// turns of a joiner on this world; the joiner is changed before it starts.
func (w *joinWorld) start(change func(*stage.Joiner)) *running {
	w.t.Helper()
	return start(w.t, w.log, topic.PaymentLog.Name, func(ctx context.Context, log stage.Log) error {
		j := w.joiner(healthy())
		j.Log = log
		if change != nil {
			change(j)
		}
		return j.Own(ctx, w.group.assignment(topic.PaymentLog.Name, 0, healthy()))
	})
}

// An owner that another one has replaced loads again and goes on from what that
// one stored; a state that was lost or rolled back is folded again.
func TestJoinerFenced(t *testing.T) {
	records, want := reference(t)
	for name, happen := range map[string]func(t *testing.T, w *joinWorld, early sim.StateSnapshot){
		"another draws a token": func(t *testing.T, w *joinWorld, _ sim.StateSnapshot) {
			if err := w.store.Owner().Acquire(t.Context()); err != nil {
				t.Fatal(err)
			}
		},
		"another folds everything": func(_ *testing.T, w *joinWorld, _ sim.StateSnapshot) {
			w.log.LimitBatch(100)
			w.mustFold()
			w.log.LimitBatch(5)
		},
		"rolled back": func(_ *testing.T, w *joinWorld, early sim.StateSnapshot) { w.store.Restore(early) },
		"lost":        func(_ *testing.T, w *joinWorld, _ sim.StateSnapshot) { w.store.Restore(sim.StateSnapshot{}) },
		"another draws a token while it loads": func(t *testing.T, w *joinWorld, _ sim.StateSnapshot) {
			drawn := false
			w.store.MidLoad = func() {
				if !drawn {
					drawn = true
					if err := w.store.Owner().Acquire(t.Context()); err != nil {
						t.Error(err)
					}
				}
			}
			if err := w.store.Owner().Acquire(t.Context()); err != nil {
				t.Fatal(err)
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			w := newJoinWorld(t, records...)
			w.log.LimitBatch(5)
			said := make(chan string, 100)
			r := w.start(func(j *stage.Joiner) { j.Logger = slog.New(messages(said)) })
			r.turn()
			early := w.store.Snapshot()
			r.turn()
			r.turn()
			happen(t, w, early)
			for range 2 * len(records) { // more than enough, whatever is folded again
				r.turn()
			}
			r.stop()
			if all := drain(said); !slices.Contains(all, "fenced, loading again after a pause") || w.group.get() != w.end() {
				t.Errorf("the group has %d of %d, it said %q", w.group.get(), w.end(), all)
			}
			w.mustGive("after it was fenced", want)
		})
	}
}

// messages is a handler that hands on what is said.
type messages chan<- string

func (m messages) Enabled(context.Context, slog.Level) bool { return true }

func (m messages) Handle(_ context.Context, r slog.Record) error {
	m <- r.Message
	return nil
}

func (m messages) WithAttrs([]slog.Attr) slog.Handler { return m }

func (m messages) WithGroup(string) slog.Handler { return m }

// drain takes what was said.
func drain(said chan string) (all []string) {
	for range len(said) {
		all = append(all, <-said)
	}
	return all
}

// The end of an assignment ends the pause of one that was fenced.
func TestJoinerEndsWhileItIsFenced(t *testing.T) {
	w := newJoinWorld(t, logRecords(t, history())...)
	said := make(chan string, 10)
	r := w.start(func(j *stage.Joiner) {
		j.FencedWait = time.Hour
		j.Logger = slog.New(messages(said))
	})
	if err := w.store.Owner().Acquire(t.Context()); err != nil {
		t.Fatal(err)
	}
	r.begin()
	for message := range said {
		if message == "fenced, loading again after a pause" {
			break
		}
	}
	r.stop()
}

// The group is told until it takes what is stored, also when no record comes any
// more; and not again after that.
func TestJoinerHint(t *testing.T) {
	records := logRecords(t, history())
	w := newJoinWorld(t, records...)
	refused := 3
	w.group.on = func(int64) error {
		if refused--; refused >= 0 {
			return errors.New("between two generations")
		}
		return nil
	}
	r := w.start(nil)
	for range 3 {
		r.turn()
		if w.stored().Offset != w.end() || w.group.get() != stage.None {
			t.Fatalf("%d is stored, the group has %d", w.stored().Offset, w.group.get())
		}
	}
	r.turn()
	r.turn()
	r.turn()
	r.stop()
	mustBe(t, "what the group took", w.group.all, []int64{w.end()})

	// A group that knows is told nothing; one that was deleted is told again.
	r = w.start(nil)
	r.turn() // the record before the stored offset is looked at
	r.turn()
	r.turn()
	r.stop()
	mustBe(t, "what the group took", w.group.all, []int64{w.end()})
	w.group.committed = stage.None
	r = w.start(nil)
	r.turn()
	r.turn()
	r.turn()
	r.stop()
	mustBe(t, "what the group took", w.group.all, []int64{w.end(), w.end()})
}

// Marks that change no payment are stored after a while, what changes one at once.
func TestJoinerCommitsMarksAfterAWhile(t *testing.T) {
	at := func(t int64) *event.LogRecord {
		return &event.LogRecord{Origin: &event.Origin{Source: saleFeed.String()}, ArrivalMs: t, Body: &event.LogRecord_Mark{Mark: &event.Mark{TMs: t}}}
	}
	w := newJoinWorld(t, logRecords(t, history()[:1])...) // CONFIG and one event
	clock := &handClock{ms: 1000}
	r := w.start(func(j *stage.Joiner) { j.Clock, j.CommitEvery = clock, time.Second })
	storedBut := func(what string, want, told int64) {
		t.Helper()
		if got := w.stored().Offset; got != want || w.group.get() != told {
			t.Errorf("%s: %d is stored, want %d; the group has %d, want %d", what, got, want, w.group.get(), told)
		}
	}
	stored := func(what string, want int64) { t.Helper(); storedBut(what, want, want) }
	r.turn()
	stored("an event", 2)
	w.append(at(monday10 - 1))
	r.turn()
	stored("a mark", 2)
	clock.set(1999)
	r.turn()
	stored("a while", 2)
	clock.set(2000)
	r.turn()
	stored("a second", 3)
	w.append(at(monday10))
	r.turn()
	stored("another mark", 3)
	w.append(&event.LogRecord{Origin: &event.Origin{Source: saleFeed.String(), Offset: 1}, Body: &event.LogRecord_Event{Event: sale(2, 1)}})
	r.turn()
	storedBut("another event", 5, 3) // the group was told of 3 within the second
	r.turn()
	stored("nothing more", 5)
	r.stop()
}

// An owner with nothing to do finds out that its state was taken away.
func TestJoinerNoticesAWipeWhileIdle(t *testing.T) {
	records, want := reference(t)
	w := newJoinWorld(t, records...)
	clock := &handClock{ms: monday10}
	r := w.start(func(j *stage.Joiner) { j.Clock = clock })
	r.turn()
	before := w.stored()
	clock.set(monday10 + 4999)
	r.turn()
	if again := w.stored(); again.Sequence != before.Sequence {
		t.Errorf("it commits sequence %d though nothing came", again.Sequence)
	}
	w.store.Restore(sim.StateSnapshot{})
	clock.set(monday10 + 5000)
	for range 3 { // it is fenced, loads, and folds again
		r.turn()
	}
	r.stop()
	w.mustGive("after a wipe while idle", want)
}

// A commit that the store finds too large comes again in smaller ones.
func TestJoinerCommitsSmallerOnes(t *testing.T) {
	records, want := reference(t)
	w := newJoinWorld(t, records...)
	const least = 3 // payments in a commit, or the store would never take one
	largest, refused := 0, 0
	j := w.joiner(healthy())
	j.State = func(int32) stage.State {
		return narrow{w.store.Owner(), func(c stage.Commit) error {
			payments := 0
			for _, err := range join.ReadDelta(c.Delta) {
				if err != nil {
					t.Error(err)
				}
				payments++
			}
			if payments > least {
				refused++
				return fmt.Errorf("%d payments: %w", payments, stage.ErrTooLarge)
			}
			largest = max(largest, payments)
			return nil
		}}
	}
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	j.Seen = func(p stage.JoinProgress) {
		if p.Next == w.end() && w.group.get() == w.end() {
			cancel()
		}
	}
	if err := j.Own(ctx, w.group.assignment(topic.PaymentLog.Name, 0, healthy())); err != nil {
		t.Fatal(err)
	}
	if refused == 0 || largest == 0 {
		t.Errorf("%d commits were refused, the largest has %d payments", refused, largest)
	}
	w.mustGive("in smaller commits", want)

	// What does not fit alone ends it.
	w = newJoinWorld(t, records...)
	j = w.joiner(healthy())
	j.State = func(int32) stage.State {
		return narrow{w.store.Owner(), func(stage.Commit) error { return stage.ErrTooLarge }}
	}
	if err := j.Own(t.Context(), w.group.assignment(topic.PaymentLog.Name, 0, healthy())); !errors.Is(err, stage.ErrTooLarge) {
		t.Errorf("it ends with: %v", err)
	}
}

// narrow takes some commits only.
type narrow struct {
	stage.State
	check func(stage.Commit) error
}

func (s narrow) Commit(ctx context.Context, c stage.Commit) error {
	if err := s.check(c); err != nil {
		return err
	}
	return s.State.Commit(ctx, c)
}
