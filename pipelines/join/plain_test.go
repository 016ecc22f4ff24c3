package join

import (
	"bytes"
	"errors"
	"slices"
	"testing"

	"pgregory.net/rapid"

	"settlewatch/schemas/event"
)

// drawOrdinary is a history of ordinary payments and some that are not, woven
// together: what a plain payment may be, and what ends that.
func drawOrdinary(t *rapid.T) []*event.LogRecord {
	records := drawHistory(t)
	for i, r := range records {
		e := r.GetEvent()
		switch rapid.IntRange(0, 5).Draw(t, "ordinary") {
		case 0:
			e.Time.SettlementDate = ptr(int32(20514) + int32(rapid.IntRange(-2, 4).Draw(t, "date")))
		case 1:
			e.Parties.Channel = rapid.SampledFrom([]string{"", "pos", "qr"}).Draw(t, "channel")
		case 2:
			e.Parties.Terminal = string(rune('a' + i))
		}
	}
	return records
}

func drawPlainConfig(t *rapid.T) *event.Config {
	c := testConfig(func(terms *event.Terms) {
		terms.Cycle = rapid.SampledFrom([]string{"T+1", "D+1", "T+2"}).Draw(t, "cycle")
		terms.LifeDays = rapid.SampledFrom([]int32{1, 2, 60}).Draw(t, "life")
		terms.CutoffMs = ptr(rapid.SampledFrom([]int64{11 * 60 * minute, 23 * 60 * minute, 23 * 60 * minute}).Draw(t, "cutoff"))
		if rapid.IntRange(0, 3).Draw(t, "channels") == 0 {
			terms.ChannelCutoffs = []*event.ChannelCutoff{{Channel: "qr", CutoffMs: ptr(12 * 60 * minute)}}
		}
		if rapid.Bool().Draw(t, "capped") {
			terms.AllowanceBps = 10_000
		}
	})
	// A group of its own, with fewer sources, whose frontier may be far ahead.
	if rapid.IntRange(0, 2).Draw(t, "moved") == 0 {
		own := drawPlainConfig(t).Groups[0]
		own.Name = "own"
		own.Sources = own.Sources[:rapid.IntRange(1, 3).Draw(t, "sources")]
		own.Acquirers = []string{"acq1"}
		c.Groups = append([]*event.Group{own}, c.Groups[0])
	}
	return c
}

// Without payment snapshots most moments are not judged. The alerts are the same
// bytes, in the same order, also where the rules change on the way, and where the
// state is stored and loaded.
func TestAlertsOnlyGivesTheSameAlerts(t *testing.T) {
	dropAtOnce(t)
	rapid.Check(t, func(t *rapid.T) {
		log := weave(t, drawOrdinary(t))
		for n := range rapid.IntRange(1, 4).Draw(t, "configs") {
			at := 0
			if n > 0 {
				at = rapid.IntRange(0, len(log)).Draw(t, "config at")
			}
			log = slices.Insert(log, at, configRecord(drawPlainConfig(t), int64(n)))
		}
		for i, n := 0, int64(0); i < len(log); i++ { // numbers follow the place
			if log[i].GetConfig() != nil {
				log[i].Origin.Offset = n
				n++
			}
		}
		want, got := new(Output), new(Output)
		all, only := New(), NewAlertsOnly()
		recorder, held := NewRecorder(only), newStore()
		for i, r := range log {
			if err := all.Step(r, want); err != nil {
				t.Fatal(err)
			}
			value, err := r.MarshalVT()
			if err != nil {
				t.Fatal(err)
			}
			if err := only.Fold(value, got); err != nil {
				t.Fatal(err)
			}
			clear(value) // whoever keeps a part of it now has zeros
			if rapid.IntRange(0, 9).Draw(t, "reload") == 0 {
				held.commit(t, recorder, Position{Offset: int64(i + 1)})
				only = held.load(t)
				recorder = NewRecorder(only)
			}
		}
		if a, b := alertBytes(t, got), alertBytes(t, want); !bytes.Equal(a, b) {
			t.Fatalf("alerts only\n%s\nwith snapshots\n%s", a, b)
		}
		if len(got.Payments) > 0 {
			t.Fatalf("%d snapshots that nobody wants", len(got.Payments))
		}
	})
}

// An ordinary payment is judged once, when its evidence is due, and not before.
func TestAnOrdinaryPaymentIsJudgedOnce(t *testing.T) {
	for _, c := range []struct {
		history script
		judged  bool
	}{
		{"A100 now S100 now", false},
		{"a100 now C100 now S100 now", false},
		{"a100 now C100 S100 S100 now", true},
		{"a100 now C100 R now", true},
		{"A100 now S100 now due", false},
		{"A100 now S60 now due", true},
		{"a100 now C100 S100 now due", false},
		{"a100 now C60 S60 now due", true}, // of another amount than the authorization
		{"a100 now C100 now due", true},
		{"a100 now S100 now due", false},
		{"A100 now S100 now S100 now", true},
	} {
		state := NewAlertsOnly()
		for _, r := range append([]*event.LogRecord{configRecord(testConfig(nil), 0)}, c.history.records(t, testKey)...) {
			if err := state.Step(r, new(Output)); err != nil {
				t.Fatal(err)
			}
		}
		h, err := peek(state.payments.get(testKey))
		if err != nil {
			t.Fatal(err)
		}
		if judged := h.flags&flagBody != 0; judged != c.judged {
			t.Errorf("%s: judged %v, want %v", c.history, judged, c.judged)
		}
	}
}

// What looks like a payment that one line has settled, and is none.
func TestAlmostSettled(t *testing.T) {
	for _, c := range []struct {
		history script
		edit    func(e *event.Event)
		alerts  int
	}{
		{"a100 C100 S100 now due", nil, 0},
		{"S100 a100 C100 now due", nil, 0},
		{"A100 N100 now due", nil, 0},
		{"C100 C100(2) a200 S100 now due", nil, 1},
		{"C100 S100 C100(2) a200 now due", nil, 1},
		{"C100 S100 a200 now C60(2) now due", nil, 1},
		{"A100 S!100 now due", nil, 1},
		{"A100 S100 now due", func(e *event.Event) {
			if e.Kind == event.Kind_KIND_SETTLEMENT {
				e.Stage = event.Stage_STAGE_CLEARED
			}
		}, 1},
		{"A100 S100 now due", func(e *event.Event) {
			if e.Kind == event.Kind_KIND_SETTLEMENT {
				e.Amounts.Currency = "USD"
			}
		}, 1},
		{"A100 S100 now due", func(e *event.Event) {
			if e.Kind == event.Kind_KIND_AUTHORIZATION {
				e.Amounts.ApprovedMinor = ptr(int64(150))
			}
		}, 1},
		{"C100(1) a200 S100(2) now C100(2) now due due+4d", func(e *event.Event) {
			if e.Kind == event.Kind_KIND_CAPTURE && e.Capture.Id == "2" {
				e.Time.BusinessMs = ptr(monday10 + day) // due a day after the first, which the line has not paid
			}
		}, 1},
		{"A100 S100@due due+1d", nil, 0}, // in time
		{"A100 now due S100 now", nil, 2},
		{"A100 S100 now due S100 now", nil, 1},
		{"A100 S100 now due due+5d S100 now due+9d", nil, 0}, // another life
	} {
		config := testConfig(func(terms *event.Terms) { terms.LifeDays = 2 })
		all, only := New(), NewAlertsOnly()
		want, got := new(Output), new(Output)
		for _, r := range append([]*event.LogRecord{configRecord(config, 0)}, c.history.records(t, testKey)...) {
			if e := r.GetEvent(); e != nil && c.edit != nil {
				c.edit(e)
			}
			if err := errors.Join(all.Step(r, want), only.Step(r, got)); err != nil {
				t.Fatal(err)
			}
		}
		if len(want.Alerts) != c.alerts {
			t.Errorf("%s: %d alerts with snapshots, want %d", c.history, len(want.Alerts), c.alerts)
		}
		if a, b := alertBytes(t, got), alertBytes(t, want); !bytes.Equal(a, b) {
			t.Errorf("%s: alerts only\n%s\nwith snapshots\n%s", c.history, a, b)
		}
	}
}

// A line that stands before the sale in the log, and arrived after it was due.
func TestTheLineStandsFirst(t *testing.T) {
	log := script("A100 S100@due").records(t, testKey)
	log[1].ArrivalMs = tuesday12 + minute
	log[0], log[1] = log[1], log[0]
	log = append([]*event.LogRecord{configRecord(testConfig(nil), 0)}, log...)
	for _, f := range feeds {
		log = append(log, markOf(f, tuesday12+day))
	}
	all, only := New(), NewAlertsOnly()
	want, got := new(Output), new(Output)
	for _, r := range log {
		if err := errors.Join(all.Step(r, want), only.Step(r, got)); err != nil {
			t.Fatal(err)
		}
	}
	if a, b := alertBytes(t, got), alertBytes(t, want); len(want.Alerts) != 2 || !bytes.Equal(a, b) {
		t.Errorf("alerts only\n%s\nwith snapshots\n%s", a, b)
	}
}

// A CONFIG that moves payments to a group whose frontier is elsewhere shows when a
// payment was judged last, and which of its moments had passed.
func TestAnotherGroupAlertsTheSame(t *testing.T) {
	all := func(cycle string, life int32) *event.Config {
		return testConfig(func(terms *event.Terms) { terms.Cycle, terms.LifeDays = cycle, life })
	}
	own := func(cycle string, life int32) *event.Config { // waits for authorizations only
		c := all(cycle, life)
		g := all(cycle, life).Groups[0]
		g.Name, g.Acquirers, g.Sources = "own", []string{"acq1"}, g.Sources[:1]
		c.Groups = append(c.Groups, g)
		return c
	}
	sale := func(offset, arrival int64) *event.LogRecord {
		r := script("A100").records(t, testKey)[0]
		r.Origin.Offset, r.ArrivalMs = offset, arrival
		r.GetEvent().Id = testID(testKey, string(rune('a'+offset)))
		return r
	}
	capture := script("C60").records(t, testKey)[0]
	const hour = 60 * minute
	marks := func(at int64, feeds ...string) (out []*event.LogRecord) {
		for _, f := range feeds {
			out = append(out, markOf(f, at))
		}
		return out
	}
	for name, parts := range map[string][]any{
		"an end of life that was none, then a frontier behind": {
			own("T+2", 1), sale(0, monday10+3*hour), marks(tuesday12+10*hour, authorizationFeed), all("T+1", 1), capture,
		},
		"a due time that lies behind, then a frontier ahead": {
			all("T+2", 60), sale(0, monday10), sale(1, tuesday12+2*hour), marks(tuesday12+3*hour, feeds...),
			all("T+1", 60), marks(tuesday12+9*hour, authorizationFeed), own("T+1", 60),
		},
		"a judgement that a CONFIG asked for, then another CONFIG": {
			all("T+1", 1), sale(0, monday10), marks(monday10+2*hour, feeds...),
			all("T+2", 1), sale(1, tuesday12+hour), marks(tuesday12+3*hour, authorizationFeed), own("T+1", 1),
		},
	} {
		var log []*event.LogRecord
		configs := int64(0)
		for _, part := range append(parts, marks(tuesday12+9*day, feeds...)) {
			switch part := part.(type) {
			case *event.Config:
				log = append(log, configRecord(part, configs))
				configs++
			case *event.LogRecord:
				log = append(log, part)
			case []*event.LogRecord:
				log = append(log, part...)
			}
		}
		with, only := New(), NewAlertsOnly()
		want, got := new(Output), new(Output)
		for _, r := range log {
			if err := errors.Join(with.Step(r, want), only.Step(r, got)); err != nil {
				t.Fatal(err)
			}
		}
		if a, b := alertBytes(t, got), alertBytes(t, want); len(want.Alerts) == 0 || !bytes.Equal(a, b) {
			t.Errorf("%s: alerts only\n%s\nwith snapshots\n%s", name, a, b)
		}
	}
}
