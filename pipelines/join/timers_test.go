package join

import (
	"cmp"
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"

	"settlewatch/schemas/event"
)

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
