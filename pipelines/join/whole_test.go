package join

import (
	"bytes"
	"cmp"
	"encoding/hex"
	"errors"
	"fmt"
	"maps"
	"slices"
	"testing"

	"google.golang.org/protobuf/proto"
	"pgregory.net/rapid"

	"settlewatch/schemas/alert"
	"settlewatch/schemas/event"
)

// wholeOf joins the events of a log, which are all of it, up to a moment.
func wholeOf(t rapid.TB, config *event.Config, log []*event.LogRecord, moment int64) (*Whole, *Output) {
	t.Helper()
	w, err := NewWhole(config, feeds)
	if err != nil {
		t.Fatal(err)
	}
	for _, r := range log {
		if e := r.GetEvent(); e != nil {
			e = proto.CloneOf(e)
			w.Take(At{slices.Index(feeds, r.Origin.Source), r.Origin.Offset, r.Origin.Index}, r.ArrivalMs, e)
			proto.Reset(e)
		}
	}
	out := new(Output)
	err = w.Judge(moment, func(j *Judged) error {
		out.Alerts = append(out.Alerts, j.Alerts...)
		for _, p := range j.Lives {
			if p.PaymentKey != j.PaymentKey {
				t.Fatalf("a snapshot of %s among those of %s", p.PaymentKey, j.PaymentKey)
			}
			out.Payments = append(out.Payments, proto.CloneOf(p))
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	// A State gives them in the order of groups, moments and keys.
	group := func(a *alert.Alert) int {
		return slices.IndexFunc(config.Groups, func(g *event.Group) bool {
			return len(g.Acquirers) == 0 || slices.Contains(g.Acquirers, a.Acquirer)
		})
	}
	slices.SortStableFunc(out.Alerts, func(a, b *alert.Alert) int {
		return cmp.Or(cmp.Compare(group(a), group(b)), cmp.Compare(a.MomentJudged, b.MomentJudged), cmp.Compare(a.PaymentKey, b.PaymentKey))
	})
	return w, out
}

// folded is what a State gives that judges all moments of the same events.
func folded(t rapid.TB, config *event.Config, log []*event.LogRecord, moment int64) (*State, *Output) {
	t.Helper()
	all, out := New(), new(Output)
	step := func(r *event.LogRecord) {
		if err := all.Step(r, out); err != nil {
			t.Fatal(err)
		}
	}
	step(configRecord(config, 0))
	for _, r := range log {
		if r.GetEvent() != nil {
			step(r)
		}
	}
	for _, f := range feeds {
		step(markOf(f, moment))
	}
	for all.Pending() {
		if err := all.Drain(out); err != nil {
			t.Fatal(err)
		}
	}
	return all, out
}

// lastLives are the last snapshots of all lives.
func lastLives(o *Output) map[string]string {
	texts := map[string]string{}
	for _, p := range o.Payments {
		p = proto.CloneOf(p)
		p.Version, p.JudgedMs = 0, 0 // how often and when it was judged
		texts[p.PaymentKey+" "+hex.EncodeToString(p.Life)] = p.String()
	}
	return texts
}

// TestWhole: what is judged payment by payment, when all events are known, gives the
// alerts and the last snapshots of a State.
func TestWhole(t *testing.T) {
	deferred, alerts, ended := 0, 0, 0
	rapid.Check(t, func(t *rapid.T) {
		config, log := drawPlainConfig(t), weave(t, drawOrdinary(t))
		log = log[:rapid.IntRange(0, len(log)).Draw(t, "end")]
		moment := monday10 + int64(rapid.IntRange(0, 100).Draw(t, "moment"))*60*minute
		_, want := folded(t, config, log, moment)
		w, got := wholeOf(t, config, log, moment)
		if w.s.judge.history.flags&flagDeferred != 0 {
			deferred++
		}
		alerts += len(want.Alerts)
		if a, b := alertBytes(t, got), alertBytes(t, want); !bytes.Equal(a, b) {
			t.Fatalf("whole\n%s\nfolded\n%s", a, b)
		}
		a, b := lastLives(got), lastLives(want)
		if !maps.Equal(a, b) {
			t.Fatalf("whole\n%v\nfolded\n%v", a, b)
		}
		ended += len(a)
	})
	if deferred < 5 || alerts < 5 || ended < 5 {
		t.Errorf("%d payments were not judged at all of their moments, %d alerts, %d lives: little was compared", deferred, alerts, ended)
	}
}

// TestWholeOfManyPayments: each payment gets its own events, also where there are as many
// as fill piles, and Lines gives them as they came.
func TestWholeOfManyPayments(t *testing.T) {
	var log []*event.LogRecord
	const payments = 4000
	for n := range int64(payments) {
		for i, r := range script("A100 S100 S40").records(t, fmt.Sprint("acq1|o|", n)) {
			r.Origin.Offset = int64(i)*payments + n
			log = append(log, r)
		}
	}
	slices.SortFunc(log, func(a, b *event.LogRecord) int { return cmp.Compare(a.Origin.Offset, b.Origin.Offset) })
	_, want := folded(t, testConfig(nil), log, tuesday12)
	_, got := wholeOf(t, testConfig(nil), log, tuesday12)
	if a, b := alertBytes(t, got), alertBytes(t, want); len(want.Alerts) != payments || !bytes.Equal(a, b) {
		t.Errorf("%d alerts, want those %d of a state", len(got.Alerts), len(want.Alerts))
	}

	w, err := NewWhole(testConfig(nil), feeds)
	if err != nil {
		t.Fatal(err)
	}
	for _, r := range log {
		w.Take(At{slices.Index(feeds, r.Origin.Source), r.Origin.Offset, 7}, r.ArrivalMs, r.GetEvent())
	}
	lines := map[string][]Line{}
	stop := errors.New("enough")
	err = w.Judge(tuesday12, func(j *Judged) error {
		j.Lines(func(l Line) { lines[j.PaymentKey] = append(lines[j.PaymentKey], l) })
		if len(lines) == 10 {
			return stop
		}
		return nil
	})
	if !errors.Is(err, stop) || len(lines) != 10 {
		t.Errorf("%d payments, %v", len(lines), err)
	}
	for key, has := range lines {
		var n int64
		if _, err := fmt.Sscanf(key, "acq1|o|%d", &n); err != nil {
			t.Fatal(err)
		}
		settlement := slices.Index(feeds, settlementFeed)
		if len(has) != 2 || has[0].At != (At{settlement, payments + n, 7}) || has[0].AmountMinor != 100 || has[0].Currency != "CNY" ||
			has[1].At != (At{settlement, 2*payments + n, 7}) || has[1].AmountMinor != 40 || has[0].ID == has[1].ID {
			t.Errorf("lines of %s: %+v", key, has)
		}
	}
}

// TestWholeIsBounded: a payment for which events never end keeps what a State keeps.
func TestWholeIsBounded(t *testing.T) {
	config := testConfig(nil)
	var log []*event.LogRecord
	for i := range int64(60_000) {
		key, amountMinor := "acq|o|flooded", i
		if i%10_000 == 0 {
			key = fmt.Sprint("acq|o|", i)
		}
		id := event.NewID(key, fmt.Sprint(i))
		log = append(log, &event.LogRecord{
			Origin: &event.Origin{Source: captureFeed, Offset: i}, ArrivalMs: monday10 + i,
			Body: &event.LogRecord_Event{Event: &event.Event{
				Id: id[:], PaymentKey: key, Kind: event.Kind_KIND_CAPTURE, Outcome: event.Outcome_OUTCOME_ACCEPTED,
				Capture: &event.CaptureRef{Id: fmt.Sprint("capture ", i)},
				Amounts: &event.Amounts{Currency: "CNY", TransactionMinor: &amountMinor}, Time: &event.Time{}, Parties: &event.Parties{},
			}},
		})
	}
	late := NewAlertsOnly() // a State that lets moments wait, as Whole does, packs the same bytes
	for _, r := range append([]*event.LogRecord{configRecord(config, 0)}, log...) {
		if err := late.Step(r, new(Output)); err != nil {
			t.Fatal(err)
		}
	}
	w, _ := wholeOf(t, config, log, monday10)
	if want := late.counts.Overflow; want == 0 || w.s.counts.Overflow != want {
		t.Errorf("%d events were left out, want %d", w.s.counts.Overflow, want)
	}
}
