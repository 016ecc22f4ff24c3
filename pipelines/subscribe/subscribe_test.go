package subscribe

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"

	"settlewatch/pipelines/sim"
	"settlewatch/pipelines/stage"
	"settlewatch/schemas/alert"
	"settlewatch/schemas/alert/fold"
	"settlewatch/schemas/topic"
)

var place = Place{Topic: topic.AlertsPaidUnsettled.Name, Partition: 1}

// positions keeps positions in memory, and can be full.
type positions struct {
	mu     sync.Mutex
	stored map[Place]int64
	err    error
}

func (p *positions) Load(_ context.Context, place Place) (int64, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if next, ok := p.stored[place]; ok {
		return next, nil
	}
	return stage.None, nil
}

func (p *positions) Store(ctx context.Context, place Place, next int64) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.err != nil || ctx.Err() != nil {
		return errors.Join(p.err, ctx.Err())
	}
	if p.stored == nil {
		p.stored = map[Place]int64{}
	}
	p.stored[place] = next
	return nil
}

type world struct {
	log *sim.Log
	pos *positions
	got []string // id:revision
}

func newWorld(t *testing.T) *world {
	t.Helper()
	w := &world{log: sim.NewLog(), pos: &positions{}}
	for _, k := range alert.Kinds {
		if err := w.log.CreateTopic(k.Topic().Name, 2); err != nil {
			t.Fatal(err)
		}
	}
	return w
}

func (w *world) publish(t *testing.T, at Place, kind alert.Kind, ids ...string) {
	t.Helper()
	for _, id := range ids {
		a := alert.Alert{Kind: kind, Status: alert.Open, Revision: 1}
		if _, err := fmt.Sscanf(id, "%1s:%d", &a.ID, &a.Revision); err != nil {
			t.Fatal(err)
		}
		body, err := a.Encode()
		if err != nil {
			t.Fatal(err)
		}
		w.publishRaw(t, at, body)
	}
}

func (w *world) publishRaw(t *testing.T, at Place, body []byte) {
	t.Helper()
	if err := w.log.Append(t.Context(), stage.Outgoing{Topic: at.Topic, Partition: at.Partition, Records: []stage.Record{{Value: body}}}); err != nil {
		t.Fatal(err)
	}
}

func (w *world) subscriber() *Subscriber {
	return &Subscriber{Log: w.log, Positions: w.pos, Handle: func(_ context.Context, d Delivery) error {
		w.got = append(w.got, fmt.Sprintf("%s:%d", d.Alert.ID, d.Alert.Revision))
		return nil
	}}
}

func (w *world) want(t *testing.T, want ...string) {
	t.Helper()
	if !slices.Equal(w.got, want) {
		t.Errorf("handled %v, want %v", w.got, want)
	}
	w.got = nil
}

func TestFreshOnly(t *testing.T) {
	for _, records := range []int{1, 3, 1000} {
		w := newWorld(t)
		w.log.LimitBatch(records)
		w.publish(t, place, alert.PaidUnsettled, "a:1", "a:1", "a:3", "a:2", "b:1", "a:1", "a:3", "a:4")
		if err := w.subscriber().CatchUp(t.Context()); err != nil {
			t.Fatal(err)
		}
		w.want(t, "a:1", "a:3", "b:1", "a:4")
		if w.pos.stored[place] != 8 {
			t.Errorf("stored %d", w.pos.stored[place])
		}
	}
}

// After a restart the subscriber knows what came before: a late revision and a
// repeat are still taken out. One that forgets the history does not.
func TestResume(t *testing.T) {
	w := newWorld(t)
	w.publish(t, place, alert.PaidUnsettled, "a:1", "a:3")
	if err := w.subscriber().CatchUp(t.Context()); err != nil {
		t.Fatal(err)
	}
	w.want(t, "a:1", "a:3")
	w.publish(t, place, alert.PaidUnsettled, "a:2", "a:3", "a:4")
	if err := w.subscriber().CatchUp(t.Context()); err != nil {
		t.Fatal(err)
	}
	w.want(t, "a:4")
	w.pos.stored[place] = 2
	forgetful := w.subscriber()
	forgetful.ForgetHistory = true
	if err := forgetful.CatchUp(t.Context()); err != nil {
		t.Fatal(err)
	}
	w.want(t, "a:2", "a:3", "a:4")
}

// What was not handled is not behind the position, whatever ends the batch.
func TestFailureRepeatsAndNeverLoses(t *testing.T) {
	w := newWorld(t)
	w.publish(t, place, alert.PaidUnsettled, "a:1", "b:1", "c:1")
	full := errors.New("full")
	s := w.subscriber()
	handle := s.Handle
	s.Handle = func(ctx context.Context, d Delivery) error {
		if d.Alert.ID == "b" {
			return full
		}
		return handle(ctx, d)
	}
	if err := s.CatchUp(t.Context()); !errors.Is(err, full) {
		t.Fatalf("the handler's error became %v", err)
	}
	if w.pos.stored[place] != 1 {
		t.Errorf("stored %d, want 1: one alert was handled", w.pos.stored[place])
	}
	w.pos.err = full
	if err := w.subscriber().CatchUp(t.Context()); !errors.Is(err, full) {
		t.Fatalf("the store's error became %v", err)
	}
	w.pos.err = nil
	if err := w.subscriber().CatchUp(t.Context()); err != nil {
		t.Fatal(err)
	}
	w.want(t, "a:1", "b:1", "c:1", "b:1", "c:1") // b and c again: at least once
}

func TestCancelKeepsPosition(t *testing.T) {
	w := newWorld(t)
	w.publish(t, place, alert.PaidUnsettled, "a:1", "b:1")
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	s := w.subscriber()
	s.Handle = func(context.Context, Delivery) error { cancel(); return nil }
	if err := s.Run(ctx); err != nil {
		t.Fatalf("an end that was asked for is an error: %v", err)
	}
	if w.pos.stored[place] != 1 {
		t.Errorf("stored %d, want 1", w.pos.stored[place])
	}
}

func TestOdd(t *testing.T) {
	body := func(id, merchant string, kind alert.Kind) []byte {
		b, err := (&alert.Alert{ID: id, Kind: kind, Revision: 1, Merchant: merchant}).Encode()
		if err != nil {
			t.Fatal(err)
		}
		return b
	}
	w := newWorld(t)
	w.publishRaw(t, place, body("a", "m1", alert.PaidUnsettled))
	w.publishRaw(t, place, []byte("{"))
	w.publishRaw(t, place, body("b", "", alert.SettledTwice))
	w.publishRaw(t, place, body("a", "m2", alert.PaidUnsettled))
	w.publishRaw(t, place, body("c", "", alert.PaidUnsettled))
	err := w.subscriber().CatchUp(t.Context())
	var odd *Odd
	if !errors.As(err, &odd) || odd.Place != place || odd.Offset != 1 {
		t.Fatalf("without a function for it: %v", err)
	}
	if w.pos.stored[place] != 1 {
		t.Errorf("stored %d: the odd record was passed in silence", w.pos.stored[place])
	}
	s := w.subscriber()
	var offsets []int64
	s.Odd = func(_ context.Context, o *Odd) error {
		offsets = append(offsets, o.Offset)
		var difference *fold.DifferenceError
		if errors.As(o, &difference) != (o.Offset == 3) {
			t.Errorf("offset %d: %v", o.Offset, o)
		}
		return nil
	}
	if err := s.CatchUp(t.Context()); err != nil {
		t.Fatal(err)
	}
	if !slices.Equal(offsets, []int64{1, 2, 3}) {
		t.Errorf("odd: %v", offsets)
	}
	w.want(t, "a:1", "c:1")
}

func TestGap(t *testing.T) {
	w := newWorld(t)
	w.publish(t, place, alert.PaidUnsettled, "a:1", "b:1", "c:1")
	for _, stored := range []int64{9, 1} {
		if stored == 1 {
			if err := w.log.Trim(place.Topic, place.Partition, 2); err != nil {
				t.Fatal(err)
			}
		}
		w.pos.stored = map[Place]int64{place: stored}
		var gap *GapError
		if err := w.subscriber().CatchUp(t.Context()); !errors.As(err, &gap) || gap.Stored != stored || gap.End != 3 {
			t.Errorf("position %d in a log of 3: %v", stored, err)
		}
	}
}

func TestOwn(t *testing.T) {
	w := newWorld(t)
	w.publish(t, place, alert.PaidUnsettled, "a:1", "b:1")
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	var committed int64
	err := w.subscriber().Own(ctx, stage.Assignment{
		Topic: place.Topic, Partition: place.Partition, Offset: 1,
		Commit: func(_ context.Context, next int64) error { committed = next; cancel(); return nil },
	})
	if err != nil {
		t.Fatal(err)
	}
	w.want(t, "b:1")
	if committed != 2 {
		t.Errorf("committed %d", committed)
	}
	if w.subscriber().Own(t.Context(), stage.Assignment{Topic: topic.Config.Name}) == nil {
		t.Error("config.v1 was taken for an alert topic")
	}
}
