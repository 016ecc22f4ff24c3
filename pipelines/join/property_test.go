package join

import (
	"bytes"
	"fmt"
	"slices"
	"testing"

	"google.golang.org/protobuf/proto"
	"pgregory.net/rapid"

	"settlewatch/schemas/alert"
	"settlewatch/schemas/event"
)

// histories are scripts made of the notation's tokens, for several payments whose
// records are woven together by arrival.
func drawHistory(t *rapid.T) []*event.LogRecord {
	tokens := []string{
		"A100", "A?100", "A!100", "a100", "a200", "C60(1)", "C40(2)", "C!60(1)", "O100(3)", "S60", "S60(1)", "S40(2)", "S100(9)", "S100#x", "N94+6(1)", "N80",
		"R", "V", "R12", "R~40", "F30", "F60(1)", "T115", "T+15", "P60", "P100<x", "L100<x", "K20", "D100", "H", "H2", "U", "cancel<x", "fix<x:S90", "S100#x", "S110#x",
	}
	byArrival := func(a, b *event.LogRecord) int { return int(a.ArrivalMs - b.ArrivalMs) }
	var all []*event.LogRecord
	for p := range rapid.IntRange(1, 4).Draw(t, "payments") {
		var words script
		for range rapid.IntRange(1, 8).Draw(t, "events") {
			words += script(rapid.SampledFrom(tokens).Draw(t, "token")) + " "
		}
		records := words.records(t, fmt.Sprintf("acq1|o|%d", p))
		for _, r := range records {
			// Arrivals from before the due time to well after it, ties included.
			r.ArrivalMs = monday10 + int64(rapid.IntRange(0, 80).Draw(t, "hours"))*60*minute
		}
		all = append(all, records...)
	}
	slices.SortStableFunc(all, byArrival)
	offsets := map[string]int64{}
	for _, r := range all {
		r.Origin.Offset = offsets[r.Origin.Source]
		offsets[r.Origin.Source]++
	}
	return all
}

// weave makes a log of the feeds' records: each feed in its own order with marks
// behind its events, the feeds read in an order that turns decides.
func weave(t *rapid.T, records []*event.LogRecord) []*event.LogRecord {
	queues := map[string][]*event.LogRecord{}
	for _, f := range feeds {
		mark := monday10
		for _, r := range records {
			if r.Origin.Source != f {
				continue
			}
			for mark < r.ArrivalMs {
				mark += 6 * 60 * minute
				if mark <= r.ArrivalMs {
					queues[f] = append(queues[f], markOf(f, mark))
				}
			}
			queues[f] = append(queues[f], r)
		}
		// Far enough for every deadline, hold and life.
		queues[f] = append(queues[f], markOf(f, monday10+10*day), markOf(f, monday10+200*day), markOf(f, monday10+201*day))
	}
	var log []*event.LogRecord
	for len(queues) > 0 {
		open := []string{}
		for _, f := range feeds {
			if len(queues[f]) > 0 {
				open = append(open, f)
			} else {
				delete(queues, f)
			}
		}
		if len(open) == 0 {
			break
		}
		f := rapid.SampledFrom(open).Draw(t, "feed")
		n := min(len(queues[f]), rapid.IntRange(1, 5).Draw(t, "run"))
		log = append(log, queues[f][:n]...)
		queues[f] = queues[f][n:]
	}
	return log
}

func alertBytes(t failer, out *Output) []byte {
	var all bytes.Buffer
	for _, a := range out.Alerts {
		b, err := a.Encode()
		if err != nil {
			t.Fatal(err)
		}
		all.Write(append(b, '\n'))
	}
	return all.Bytes()
}

// foldAll folds the log with CONFIG before its record number at.
func foldAll(t *rapid.T, log []*event.LogRecord, at int) *Output {
	s, out := New(), new(Output)
	for _, r := range slices.Insert(slices.Clone(log), at, configRecord(testConfig(nil), 0)) {
		if err := s.Step(r, out); err != nil {
			t.Fatal(err)
		}
	}
	return out
}

// Which feed was read first is irrelevant: the alerts, evidence and all, are the
// same bytes in the same order.
func TestInterleavingGivesTheSameAlerts(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		records := drawHistory(t)
		one := alertBytes(t, foldAll(t, weave(t, records), 0))
		// CONFIG names the sources in an order; without it their numbers follow from
		// which was read first.
		log := weave(t, records)
		two := alertBytes(t, foldAll(t, log, rapid.IntRange(0, len(log)).Draw(t, "config")))
		if !bytes.Equal(one, two) {
			t.Fatalf("one order gives\n%s\nanother\n%s", one, two)
		}
	})
}

// What a hop appends twice changes nothing.
func TestRepeatsChangeNothing(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		log := weave(t, drawHistory(t))
		want := foldAll(t, log, 0)
		var repeated []*event.LogRecord
		for i := range log {
			repeated = append(repeated, log[i])
			if rapid.Bool().Draw(t, "repeat") {
				from := max(0, i-rapid.IntRange(0, 4).Draw(t, "back"))
				repeated = append(repeated, log[from:i+1]...)
			}
		}
		got := foldAll(t, repeated, 0)
		if a, b := alertBytes(t, got), alertBytes(t, want); !bytes.Equal(a, b) {
			t.Fatalf("with repeats\n%s\nwithout\n%s", a, b)
		}
		samePayments(t, got, want)
	})
}

// The log may be cut into batches anywhere, and the state stored and loaded at
// every cut: snapshot and ring give back what was folded.
func TestCutsAndLoadsChangeNothing(t *testing.T) {
	dropAtOnce(t)
	rapid.Check(t, func(t *rapid.T) {
		log := append([]*event.LogRecord{configRecord(testConfig(nil), 0)}, weave(t, drawHistory(t))...)
		want := new(Output)
		whole := New()
		got := new(Output)
		cut, store := New(), newStore()
		recorder := NewRecorder(cut)
		// Small, so that the ring matters: a snapshot that is always whole needs none.
		recorder.share, recorder.least = 0, 200
		for i, r := range log {
			for _, side := range []struct {
				s   *State
				out *Output
			}{{whole, want}, {cut, got}} {
				if err := side.s.Step(r, side.out); err != nil {
					t.Fatal(err)
				}
			}
			if rapid.IntRange(0, 3).Draw(t, "cut") > 0 {
				continue
			}
			store.commit(t, recorder, Position{Offset: int64(i + 1)})
			if rapid.Bool().Draw(t, "reload") {
				cut = store.load(t)
				recorder = NewRecorder(cut)
				recorder.share, recorder.least = 0, rapid.SampledFrom([]int{1, 300, minSnapshotBytes}).Draw(t, "least")
			}
		}
		if a, b := alertBytes(t, got), alertBytes(t, want); !bytes.Equal(a, b) {
			t.Fatalf("cut\n%s\nwhole\n%s", a, b)
		}
		samePayments(t, got, want)
		store.commit(t, recorder, Position{Offset: int64(len(log))})
		sameState(t, store.load(t), whole)
	})
}

func samePayments(t *rapid.T, got, want *Output) {
	if len(got.Payments) != len(want.Payments) {
		t.Fatalf("%d snapshots, want %d", len(got.Payments), len(want.Payments))
	}
	for i := range got.Payments {
		if !proto.Equal(got.Payments[i], want.Payments[i]) {
			t.Fatalf("snapshot %d\n%v\nwant\n%v", i, got.Payments[i], want.Payments[i])
		}
	}
}

func sameState(t *rapid.T, got, want *State) {
	if got.Payments() != want.Payments() {
		t.Fatalf("%d payments, want %d", got.Payments(), want.Payments())
	}
	for key, w := range want.payments.all() {
		if g := got.payments.get(key); !bytes.Equal(g, w) {
			t.Fatalf("payment %s differs from the folded one", key)
		}
	}
}

// Every snapshot's parts add up, and nothing in it is negative.
func TestAmountsAreConserved(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		for _, p := range foldAll(t, weave(t, drawHistory(t)), 0).Payments {
			if p.CapturedMinor != p.SettledMinor+p.OpenMinor+p.AlertedMinor+p.ExcludedMinor ||
				min(p.CapturedMinor, p.SettledMinor, p.OpenMinor, p.AlertedMinor, p.ExcludedMinor, p.ReceivedMinor, p.ExcessMinor) < 0 {
				t.Fatalf("captured is not settled + open + alerted + excluded: %v", p)
			}
		}
	})
}

// What was published stays: a frontier that moves in small steps publishes the
// same revisions as one that moves in one.
func TestRevisionsAreAPrefix(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		records := drawHistory(t)
		want := alertBytes(t, foldAll(t, append(slices.Clone(records), farMarks()...), 0))
		log := slices.Clone(records)
		for h := int64(0); h < 100; h += int64(rapid.IntRange(1, 30).Draw(t, "step")) {
			for _, f := range feeds {
				log = append(log, markOf(f, monday10+h*60*minute))
			}
		}
		if got := alertBytes(t, foldAll(t, append(log, farMarks()...), 0)); !bytes.Equal(got, want) {
			t.Fatalf("in steps\n%s\nat once\n%s", got, want)
		}
	})
}

func farMarks() (marks []*event.LogRecord) {
	for _, f := range feeds {
		marks = append(marks, markOf(f, monday10+200*day))
	}
	return marks
}

// What the alerts say is within the contract: reasons are those it lists, ids and
// revisions are unique and in order.
func TestAlertsKeepTheContract(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		last := map[string]uint32{}
		for _, a := range foldAll(t, weave(t, drawHistory(t)), 0).Alerts {
			if a.Revision != last[a.ID]+1 {
				t.Fatalf("revision %d of %s follows %d", a.Revision, a.ID, last[a.ID])
			}
			last[a.ID] = a.Revision
			if (a.Status == alert.Open) != (a.Closing == nil) {
				t.Fatalf("status %s with closing %v", a.Status, a.Closing)
			}
			if a.Closing != nil && !slices.Contains(alert.Reasons, a.Closing.Reason) {
				t.Fatalf("reason %q is not in the contract", a.Closing.Reason)
			}
			if a.AmountMinor <= 0 || len(a.Evidence) == 0 || a.Merchant == "" {
				t.Fatalf("alert without amount, evidence or merchant: %+v", a)
			}
		}
	})
}
