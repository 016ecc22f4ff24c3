package join

import (
	"cmp"
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"

	"pgregory.net/rapid"

	"settlewatch/schemas/event"
)

// dropAtOnce drops timers that hold no more when there are a few of them, for a test.
func dropAtOnce(t *testing.T) {
	before := leftLeast
	leftLeast = 1
	t.Cleanup(func() { leftLeast = before })
}

// Of the timers of a slot, each that is left takes one away, and never another's.
func TestTimersLeft(t *testing.T) {
	dropAtOnce(t)
	dropped := 0
	rapid.Check(t, func(t *rapid.T) {
		few := []farTimer{0, 1, ^farTimer(0), ^farTimer(0) - 1, farTimerOf(7, 1<<63|5), farTimerOf(8, 1<<63|5), farTimerOf(7, 1<<62|5)}
		var slot timerSlot
		all, holds := map[farTimer]int{}, map[farTimer]int{}
		for range rapid.IntRange(1, 200).Draw(t, "steps") {
			f := rapid.OneOf(rapid.SampledFrom(few), rapid.Map(rapid.Uint64(), func(v uint64) farTimer { return farTimer(v) })).Draw(t, "timer")
			if rapid.Bool().Draw(t, "leave") && holds[f] > 0 {
				holds[f]--
				slot.leave(f)
			} else {
				holds[f]++
				all[f]++
				slot.set.add(f)
			}
		}
		has, n := map[farTimer]int{}, 0
		for _, chunk := range slot.set.chunks {
			for _, f := range chunk {
				has[f]++
				n++
			}
		}
		if n != slot.set.count {
			t.Fatalf("%d timers, counted %d", n, slot.set.count)
		}
		for _, chunk := range slot.left.chunks {
			for _, f := range chunk {
				has[f]--
			}
		}
		for f, n := range all {
			switch {
			case has[f] == holds[f]:
				dropped += n - has[f]
			case f != 0 && f != ^farTimer(0) || has[f] < holds[f]:
				t.Fatalf("timer %x is there %d times, want %d", uint64(f), has[f], holds[f])
			}
		}
	})
	if dropped == 0 {
		t.Error("no timer was dropped")
	}
}

// A slot keeps about as many timers as hold, however many payments went on.
func TestTimersLeftGo(t *testing.T) {
	s, out := fold(t, testConfig(nil), nil)
	s.alertsOnly = true
	const payments = 20_000
	for i := range int64(payments) {
		for kind := range 2 {
			if err := s.Step(benchRecord(kind, i, monday10+i, i), out); err != nil {
				t.Fatal(err)
			}
		}
	}
	n := 0
	for _, slot := range s.timers[0].slots {
		n += slot.set.count + slot.left.count
	}
	if n < payments || n > payments+payments/4 {
		t.Errorf("%d timers of %d payments", n, payments)
	}
}

// Payments are judged in the order of moment and key, whether their timers were set before
// their quarter of an hour came near or when it was, and in whatever order they were set.
func TestJudgedInOrder(t *testing.T) {
	const (
		payments = 600
		span     = 60 * minute // several slots
		step     = 5 * minute  // between two marks, hence several in a slot
	)
	random := rand.New(rand.NewPCG(1, 2))
	var records []*event.LogRecord
	for i := range payments {
		r := script("A100").records(t, fmt.Sprintf("acq1|o|%d", i))[0]
		// Two at some of the moments.
		r.ArrivalMs = monday10 + random.Int64N(span/minute)*minute + random.Int64N(payments/2)
		r.GetEvent().Time.BusinessMs = ptr(r.ArrivalMs)
		records = append(records, r)
	}
	// An event comes any time before the mark behind it: half of them much sooner.
	comes := func(r *event.LogRecord) int64 { return (r.ArrivalMs - monday10) / step * (r.ArrivalMs & 1) }
	slices.SortStableFunc(records, func(a, b *event.LogRecord) int { return cmp.Compare(comes(a), comes(b)) })

	s, out := fold(t, testConfig(nil), nil)
	next := 0
	for mark := int64(0); mark <= span/step; mark++ {
		for ; next < len(records) && comes(records[next]) <= mark; next++ {
			records[next].Origin.Offset = int64(next)
			if err := s.Step(records[next], out); err != nil {
				t.Fatal(err)
			}
		}
		for _, f := range feeds {
			if err := s.Step(markOf(f, monday10+mark*step), out); err != nil {
				t.Fatal(err)
			}
		}
	}
	judged := out.Payments
	if len(judged) != payments {
		t.Fatalf("%d judgements of %d payments", len(judged), payments)
	}
	same := 0
	for i := 1; i < len(judged); i++ {
		a, b := judged[i-1], judged[i]
		if a.JudgedMs > b.JudgedMs || a.JudgedMs == b.JudgedMs && a.PaymentKey >= b.PaymentKey {
			t.Fatalf("%s of %d is judged before %s of %d", a.PaymentKey, a.JudgedMs, b.PaymentKey, b.JudgedMs)
		}
		if a.JudgedMs == b.JudgedMs {
			same++
		}
	}
	if same == 0 {
		t.Error("no two payments are judged at one moment")
	}
}
