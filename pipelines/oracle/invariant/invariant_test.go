package invariant_test

import (
	"bytes"
	"slices"
	"strings"
	"testing"

	"github.com/cespare/xxhash/v2"
	"google.golang.org/protobuf/proto"

	"settlewatch/pipelines/calendar"
	"settlewatch/pipelines/join"
	"settlewatch/pipelines/oracle"
	"settlewatch/pipelines/oracle/invariant"
	"settlewatch/pipelines/stage"
	"settlewatch/schemas/alert"
	"settlewatch/schemas/deadletter"
	"settlewatch/schemas/event"
	"settlewatch/schemas/payment"
	"settlewatch/schemas/ruleset"
)

const (
	feed   = "authorization/raw.authorization.v1/0/json@1"
	hourMs = int64(3_600_000)
	// 2026-03-02, 10:00 in Shanghai.
	monday = int64(1_772_416_800_000)
)

// world is a small log and what it comes to: three sales that are never settled.
type world struct {
	log      []stage.Record
	records  []*event.LogRecord
	stored   stage.Stored
	alerts   []*alert.Alert
	payments []*payment.Payment
}

func makeWorld(t *testing.T) *world {
	t.Helper()
	w := new(world)
	config := ruleset.Default(ruleset.Abilities{JoinVersion: join.Version, TZData: calendar.TZDataVersion, Calendar: "2026.1"},
		&event.ExpectedSource{Name: feed, Clock: event.Clock_CLOCK_PLAYED})
	w.append(t, &event.LogRecord{
		Origin: &event.Origin{Source: "config/config.v1/0/config@1"}, Body: &event.LogRecord_Config{Config: config},
	})
	for i := range int64(3) {
		minor := 100 * (i + 1)
		id := event.NewID("sale", string(rune('a'+i)))
		at := monday + i*hourMs
		w.append(t, &event.LogRecord{
			Origin: &event.Origin{Source: feed, Offset: i}, ArrivalMs: at,
			Body: &event.LogRecord_Event{Event: &event.Event{
				Id: id[:], PaymentKey: "acq|o|" + string(rune('a'+i)), Kind: event.Kind_KIND_AUTHORIZATION,
				Operation: event.Operation_OPERATION_NEW, Mode: event.Mode_MODE_SINGLE, Outcome: event.Outcome_OUTCOME_ACCEPTED,
				Amounts: &event.Amounts{Currency: "CNY", TransactionMinor: &minor}, Time: &event.Time{BusinessMs: &at},
				Parties: &event.Parties{Merchant: "M1"},
			}},
		})
	}
	for _, mark := range []int64{monday + 12*hourMs, monday + 100*hourMs} {
		w.append(t, &event.LogRecord{Origin: &event.Origin{Source: feed}, Body: &event.LogRecord_Mark{Mark: &event.Mark{TMs: mark}}})
	}
	w.fold(t)
	return w
}

func (w *world) append(t *testing.T, r *event.LogRecord) {
	t.Helper()
	value, err := r.MarshalVT()
	if err != nil {
		t.Fatal(err)
	}
	w.records = append(w.records, r)
	w.log = append(w.log, stage.Record{Value: value, Offset: int64(len(w.log))})
}

// fold is what a joiner does: a commit a record.
func (w *world) fold(t *testing.T) {
	t.Helper()
	state, out := join.New(), new(join.Output)
	recorder := join.NewRecorder(state)
	stored := map[int][]byte{}
	w.stored = stage.Stored{RingFirst: 1}
	for i, r := range w.records {
		if err := state.Step(r, out); err != nil {
			t.Fatal(err)
		}
		position := join.Position{Offset: int64(i) + 1, RecordSum: xxhash.Sum64(w.log[i].Value)}
		c, err := recorder.Commit(uint64(i)+1, position)
		if err != nil {
			t.Fatal(err)
		}
		w.stored.Sequence, w.stored.Offset, w.stored.Meta = uint64(i)+1, position.Offset, c.Meta
		w.stored.Ring = append(w.stored.Ring, bytes.Clone(c.Delta))
		for _, b := range c.Buckets {
			stored[b.Index] = bytes.Clone(b.Value)
		}
	}
	for index, value := range stored {
		w.stored.Buckets = append(w.stored.Buckets, stage.Bucket{Index: index, Value: value})
	}
	w.alerts, w.payments = out.Alerts, out.Payments
}

func (w *world) bodies(t *testing.T) (out [][]byte) {
	t.Helper()
	for _, a := range w.alerts {
		b, err := a.Encode()
		if err != nil {
			t.Fatal(err)
		}
		out = append(out, b)
	}
	return out
}

// caught fails the test unless something of the invariant was found that says so.
func caught(t *testing.T, plant, invariantName, says string, found []invariant.Violation) {
	t.Helper()
	if !slices.ContainsFunc(found, func(v invariant.Violation) bool {
		return v.Invariant == invariantName && strings.Contains(v.String(), says)
	}) {
		t.Errorf("%s: not caught as %s with %q; found %v", plant, invariantName, says, found)
	}
}

func clean(t *testing.T, found []invariant.Violation) {
	t.Helper()
	if len(found) > 0 {
		t.Errorf("violations where there are none: %v", found)
	}
}

func TestStateIsFold(t *testing.T) {
	clean(t, invariant.StateIsFold("p", makeWorld(t).log, makeWorld(t).stored))
	clean(t, invariant.StateIsFold("p", nil, stage.Stored{}))
	foreign := makeWorld(t)
	foreign.log = append(foreign.log, stage.Record{Value: []byte("not ours"), Offset: 6})
	clean(t, invariant.StateIsFold("p", foreign.log, foreign.stored))
	if meta, err := invariant.Fold(foreign.log, 7); err != nil || bytes.Equal(meta, foreign.stored.Meta) {
		t.Errorf("a foreign record moves the position and nothing else: %s, %v", meta, err)
	}
	for plant, spoil := range map[string]func(w *world){
		"an event that was never folded": func(w *world) {
			w.records = slices.Delete(w.records, 2, 3)
			log := w.log
			w.log = slices.Delete(slices.Clone(log), 2, 3)
			w.fold(t)
			w.stored.Offset++ // and says it was
			w.log = log
		},
		"an event that was folded twice": func(w *world) {
			// As by a hop whose reader does not drop repeats.
			again := proto.CloneOf(w.records[3])
			again.Origin.Offset = 77
			log := slices.Clone(w.log)
			w.append(t, again)
			w.records[5], w.records[6] = w.records[6], w.records[5]
			w.fold(t)
			w.log = append(log, log[5])
			w.log[6].Offset = 6
		},
		"the last delta lost": func(w *world) { w.stored.Buckets, w.stored.Ring = nil, w.stored.Ring[:5] },
		"a bucket of another state": func(w *world) {
			w.stored.Ring = nil
			w.stored.Buckets = w.stored.Buckets[1:]
		},
		"an offset that is not the state's": func(w *world) { w.stored.Offset-- },
		"a log of other records": func(w *world) {
			w.log = slices.Clone(w.log)
			w.log[5] = w.log[4]
			w.log[5].Offset = 5
		},
		"a mark that moved no frontier": func(w *world) {
			last := w.log[5]
			w.records[5].GetMark().TMs = w.records[4].GetMark().TMs
			w.fold(t)
			w.log[5] = last
		},
	} {
		w := makeWorld(t)
		spoil(w)
		caught(t, plant, invariant.I1, "", invariant.StateIsFold("p", w.log, w.stored))
	}
}

func TestAlertsAreTheOracles(t *testing.T) {
	w := makeWorld(t)
	want, err := oracle.Alerts(w.records)
	if err != nil || len(want) != 3 {
		t.Fatalf("%d alerts, %v; want 3", len(want), err)
	}
	bodies := w.bodies(t)
	clean(t, invariant.AlertsAreTheOracles(want, bodies))
	clean(t, invariant.AlertsAreTheOracles(want, append(slices.Clone(bodies), bodies...)))

	caught(t, "an alert lost", invariant.I2, "lost", invariant.AlertsAreTheOracles(want, bodies[1:]))
	caught(t, "an alert invented", invariant.I2, "invented", invariant.AlertsAreTheOracles(want[1:], bodies))
	other := []byte(strings.Replace(string(bodies[0]), `"amount_minor":100`, `"amount_minor":101`, 1))
	caught(t, "a repeat with other bytes", invariant.I2, "the oracle has", invariant.AlertsAreTheOracles(want, append(bodies, other)))
	second := *want[0]
	second.Revision = 2
	two, err := second.Encode()
	if err != nil {
		t.Fatal(err)
	}
	caught(t, "revisions in the wrong order", invariant.I2, "came first",
		invariant.AlertsAreTheOracles(append(want, &second), append([][]byte{two}, bodies...)))
	caught(t, "no alert at all", invariant.I2, "decode", invariant.AlertsAreTheOracles(nil, [][]byte{[]byte("{")}))
}

func TestCommitsFollow(t *testing.T) {
	commit := func(owner int, sequence uint64, from, to int64) invariant.Commit {
		return invariant.Commit{Owner: owner, Applied: true, Commit: stage.Commit{Sequence: sequence, FromOffset: from, ToOffset: to}}
	}
	good := []invariant.Commit{commit(1, 1, 0, 4), commit(1, 2, 4, 9), commit(2, 3, 9, 9)}
	clean(t, invariant.CommitsFollow("p", stage.Stored{}, good))
	refused := commit(1, 9, 0, 1)
	refused.Applied = false
	clean(t, invariant.CommitsFollow("p", stage.Stored{}, append(slices.Clone(good), refused)))
	for plant, history := range map[string][]invariant.Commit{
		"a stale owner":      append(slices.Clone(good), commit(1, 4, 9, 12)),
		"a gap":              append(slices.Clone(good), commit(2, 5, 9, 12)),
		"the same again":     append(slices.Clone(good), commit(2, 3, 9, 9)),
		"records left out":   append(slices.Clone(good), commit(2, 4, 10, 12)),
		"backwards":          append(slices.Clone(good), commit(2, 4, 9, 7)),
		"not from the start": good[1:],
	} {
		caught(t, plant, invariant.I3, "", invariant.CommitsFollow("p", stage.Stored{}, history))
	}
}

func TestPlacesFollow(t *testing.T) {
	clean(t, invariant.PlacesFollow("p", []invariant.Place{{1, 4}, {1, 4}, {3, 9}}))
	for plant, looks := range map[string][]invariant.Place{
		"back in sequence":       {{3, 9}, {2, 9}},
		"back in offset":         {{3, 9}, {4, 8}},
		"moved without a commit": {{3, 9}, {3, 10}},
	} {
		caught(t, plant, invariant.I3, "", invariant.PlacesFollow("p", looks))
	}
}

func TestRowsAreRecords(t *testing.T) {
	w := makeWorld(t)
	events, err := invariant.EventRows(map[int32][]stage.Record{0: append(slices.Clone(w.log), w.log...)})
	if err != nil || len(events) != 6 {
		t.Fatalf("%d rows, %v; want one a record", len(events), err)
	}
	alerts, err := invariant.AlertRows(append(w.bodies(t), w.bodies(t)...))
	if err != nil || len(alerts) != 3 {
		t.Fatalf("%d rows, %v; want one a revision", len(alerts), err)
	}
	clean(t, invariant.RowsAreRecords("t", events, events[:3]))
	for _, rows := range [][]invariant.Row{events[:3], alerts} {
		clean(t, invariant.RowsAreRecords("t", rows, rows))
		caught(t, "a row lost", invariant.I4, "missing", invariant.RowsAreRecords("t", rows, rows[1:]))
		caught(t, "a row invented", invariant.I4, "in no record", invariant.RowsAreRecords("t", rows[1:], rows))
		caught(t, "a row twice", invariant.I4, "twice", invariant.RowsAreRecords("t", rows, append(slices.Clone(rows), rows[0])))
		other := slices.Clone(rows)
		other[0].Content += "0"
		caught(t, "a row of other content", invariant.I4, "says", invariant.RowsAreRecords("t", rows, other))
		caught(t, "two contents in Kafka", invariant.I4, "two contents", invariant.RowsAreRecords("t", append(other, rows...), rows))
	}
	// The answer of the warehouse, as text, gives the same rows.
	first := w.records[1]
	got := invariant.WarehouseEvents(first.Origin.Source + "\t0\t0\t0\tacq|o|a\t" + event.NewID("sale", "a").String() + "\tauthorization\tCNY\t100\n")
	if !slices.Contains(events, got[0]) {
		t.Errorf("the warehouse's %v is not among %v", got, events)
	}
	a := w.alerts[0]
	got = invariant.WarehouseAlerts(a.ID + "\t1\t" + string(a.Kind) + "\tacq|o|a\tOPEN\t100\tCNY\t1")
	if !slices.Contains(alerts, got[0]) {
		t.Errorf("the warehouse's %v is not among %v", got, alerts)
	}
}

func TestAmountsAreConserved(t *testing.T) {
	w := makeWorld(t)
	sums := []invariant.Amounts{{Currency: "CNY", Captured: 600, Alerted: 600}}
	clean(t, invariant.AmountsAreConserved(append(w.payments, w.payments...), sums))
	caught(t, "a payment lost on the way", invariant.I5, "captured", invariant.AmountsAreConserved(
		slices.DeleteFunc(slices.Clone(w.payments), func(p *payment.Payment) bool { return p.PaymentKey == "acq|o|a" }), sums))
	caught(t, "the warehouse counts twice", invariant.I5, "alerted", invariant.AmountsAreConserved(w.payments,
		[]invariant.Amounts{{Currency: "CNY", Captured: 600, Alerted: 700}}))
	caught(t, "a currency lost", invariant.I5, "has none", invariant.AmountsAreConserved(w.payments, nil))
	caught(t, "a currency invented", invariant.I5, "JPY", invariant.AmountsAreConserved(w.payments,
		append(sums, invariant.Amounts{Currency: "JPY", Open: 1})))
	p := proto.CloneOf(w.payments[0])
	p.SettledMinor++
	caught(t, "a payment that does not add up", invariant.I5, "is not", invariant.AmountsAreConserved([]*payment.Payment{p}, nil))
	p.SettledMinor, p.OpenMinor, p.AlertedMinor, p.ExcludedMinor = p.CapturedMinor+1, -1, 0, 0
	caught(t, "below zero", invariant.I5, "below zero", invariant.AmountsAreConserved([]*payment.Payment{p}, nil))
}

func TestNothingIsLost(t *testing.T) {
	w := makeWorld(t)
	raw := []invariant.Raw{{"raw.authorization.v1", 0, 0}, {"raw.authorization.v1", 0, 1}, {"raw.authorization.v1", 0, 2}, {"raw.capture.v1", 1, 5}}
	letter, err := (&deadletter.Letter{
		Service: "capture", Profile: "json@1", Source: deadletter.Source{Topic: "raw.capture.v1", Partition: 1, Offset: 5}, Reason: "empty",
	}).Encode()
	if err != nil {
		t.Fatal(err)
	}
	log := map[int32][]stage.Record{0: w.log}
	clean(t, invariant.NothingIsLost(raw, log, [][]byte{letter}))
	caught(t, "a dead letter lost", invariant.I5, "raw.capture.v1/1/5", invariant.NothingIsLost(raw, log, nil))
	caught(t, "an event lost", invariant.I5, "neither", invariant.NothingIsLost(raw, map[int32][]stage.Record{0: w.log[2:]}, [][]byte{letter}))
	caught(t, "an event from nowhere", invariant.I5, "was not sent", invariant.NothingIsLost(raw[1:], log, [][]byte{letter}))
	caught(t, "no record", invariant.I5, "payment log 0/0",
		invariant.NothingIsLost(nil, map[int32][]stage.Record{0: {{Value: []byte{0xff}}}}, nil))
	caught(t, "no letter", invariant.I5, "dead letters", invariant.NothingIsLost(nil, nil, [][]byte{[]byte("{")}))
}

func TestWithinBounds(t *testing.T) {
	clean(t, invariant.WithinBounds(invariant.Measure{Name: "recovery", Value: 8, Most: 8, Unit: "s"}))
	caught(t, "too slow", invariant.I6, "recovery", invariant.WithinBounds(invariant.Measure{Name: "recovery", Value: 8.1, Most: 8, Unit: "s"}))
	nan := 0.0
	caught(t, "never measured", invariant.I6, "recovery", invariant.WithinBounds(invariant.Measure{Name: "recovery", Value: nan / nan, Most: 8}))
}

func TestNothingIsSilent(t *testing.T) {
	look := func(at, position int64, waiting, says bool) invariant.Look {
		return invariant.Look{AtMs: at, Position: position, Waiting: waiting, Says: says}
	}
	clean(t, invariant.NothingIsSilent("p", 1000, []invariant.Look{
		look(0, 1, true, false), look(900, 1, true, false), look(1800, 2, true, false), // slow, and moving
		look(5000, 2, false, false), look(9000, 2, false, false), // nothing to do
		look(9500, 2, true, false), look(9900, 2, true, true), look(30000, 2, true, true), // stuck, and says so
	}))
	caught(t, "a silent stall", invariant.I7, "nothing said", invariant.NothingIsSilent("p", 1000, []invariant.Look{
		look(0, 1, true, false), look(900, 1, true, false), look(1100, 1, true, false),
	}))
}

func TestRefuses(t *testing.T) {
	says := func(s string) bool { return strings.Contains(s, "offset") }
	clean(t, invariant.Refuses("joiner", true, "offset is gone", says, 0))
	caught(t, "runs on", invariant.I7, "runs on", invariant.Refuses("joiner", false, "offset", says, 0))
	caught(t, "says nothing", invariant.I7, "does not say", invariant.Refuses("joiner", true, strings.Repeat("x", 1000), says, 0))
	caught(t, "publishes", invariant.I7, "published 3", invariant.Refuses("joiner", true, "offset", says, 3))
}
