package traffic

import (
	"testing"
	"time"

	"settlewatch/schemas/event"
)

// TestNowIsReadable: every record is one that the ingest services take, arrives no
// earlier than its payment, and no two runs name one payment.
func TestNowIsReadable(t *testing.T) {
	at := time.Date(2031, time.March, 4, 5, 6, 7, 0, time.UTC) // beyond every calendar
	decode := decoders()
	seen := map[event.ID]bool{}
	records, wants := 0, 0
	for run := range 2 {
		from := at.Add(time.Duration(run) * time.Second)
		n, err := NewNow(7, from)
		if err != nil {
			t.Fatal(err)
		}
		for i := range 1000 {
			made := from.Add(time.Duration(i) * time.Millisecond)
			payment, want := n.Payment(i, made)
			wants += len(want)
			last := made.UnixMilli()
			for _, r := range payment {
				if r.TimeMs < last || r.TimeMs > made.Add(time.Minute).UnixMilli() || r.IsMark() {
					t.Fatalf("payment %d made at %d: a record at %d after one at %d, mark %t", i, made.UnixMilli(), r.TimeMs, last, r.IsMark())
				}
				last = r.TimeMs
				e, err := decode[r.Feed].Decode(r.Value)
				if err != nil {
					t.Fatalf("payment %d: %v\n%s", i, err, r.Value)
				}
				id, err := event.IDFromBytes(e.Id)
				if err != nil {
					t.Fatal(err)
				}
				if seen[id] {
					t.Fatalf("payment %d of run %d repeats an event\n%s", i, run, r.Value)
				}
				seen[id] = true
				records++
			}
		}
	}
	if records < 3000 || wants < 20 {
		t.Errorf("%d records and %d planted alerts of 2000 payments", records, wants)
	}
}
