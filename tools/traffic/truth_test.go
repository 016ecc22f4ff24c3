package traffic

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"testing"

	"settlewatch/pipelines/calendar"
	"settlewatch/pipelines/intake"
	"settlewatch/pipelines/join"
	"settlewatch/schemas/alert"
	"settlewatch/schemas/event"
	"settlewatch/schemas/ruleset"
)

var feedDecoders = [feedCount]intake.Feed{intake.Authorization, intake.Capture, intake.Settlement}

func decoders() (out [feedCount]*intake.Decoder) {
	for f := range feedCount {
		out[f] = intake.NewDecoder(feedDecoders[f], intake.TokenKey{ID: "test", Secret: []byte("0123456789abcdef")})
	}
	return out
}

// TestDecoderAgrees: every valid record is read with the payment key that the
// truth counts on, every malformed one refused with its path and reason.
func TestDecoderAgrees(t *testing.T) {
	g := generator(t, Options{Seed: 11, Payments: 5000})
	truth := g.Truth()
	decode := decoders()
	events, keys, refused := 0, map[string]bool{}, map[DeadLetter]int{}
	for r := range g.Records() {
		if r.IsMark() {
			continue
		}
		e, err := decode[r.Feed].Decode(r.Value)
		var bad *intake.DecodeError
		switch {
		case errors.As(err, &bad):
			refused[DeadLetter{bad.Path, bad.Reason}]++
			if truth.DeadLetters[DeadLetter{bad.Path, bad.Reason}] == 0 {
				t.Errorf("refused: %v: %.300q", err, r.Value)
			}
		case err != nil:
			t.Fatal(err)
		default:
			events++
			keys[e.GetPaymentKey()] = true
		}
	}
	for _, want := range sorted(truth.DeadLetters) {
		if got := refused[want]; got != truth.DeadLetters[want] {
			t.Errorf("%d dead letters %+v, want %d", got, want, truth.DeadLetters[want])
		}
	}
	if events != truth.Events || len(keys) != truth.Payments {
		t.Errorf("%d events of %d payments, want %d of %d", events, len(keys), truth.Events, truth.Payments)
	}
	for _, e := range truth.Alerts {
		if !keys[e.PaymentKey] {
			t.Errorf("no event has the key %q of case %q", e.PaymentKey, e.Case)
		}
	}
}

func sorted(m map[DeadLetter]int) []DeadLetter {
	var out []DeadLetter
	for k := range m {
		out = append(out, k)
	}
	slices.SortFunc(out, func(a, b DeadLetter) int {
		return cmp.Or(cmp.Compare(a.Path, b.Path), cmp.Compare(a.Reason, b.Reason))
	})
	return out
}

// history makes the payment log of the traffic, as one partition, in the order
// in which the loader writes.
func history(t *testing.T, g *Generator) []*event.LogRecord {
	t.Helper()
	config := Config(ruleset.Abilities{
		JoinVersion: join.Version, TZData: calendar.TZDataVersion, Calendar: CalendarVersion,
	}, g.Sources("json", 1)...)
	out := []*event.LogRecord{{
		Origin: &event.Origin{Source: "config/config.v1/0/config@1"}, Body: &event.LogRecord_Config{Config: config},
	}}
	decode := decoders()
	offsets := map[string]int64{}
	for r := range g.Records() {
		source := event.Source{Service: r.Feed.Service(), Topic: r.Topic, Partition: r.Partition, Profile: "json", Version: 1}.String()
		offset := offsets[source]
		offsets[source]++
		rec := &event.LogRecord{Origin: &event.Origin{Source: source, Offset: offset}, ArrivalMs: r.TimeMs}
		if r.IsMark() {
			ms, err := strconv.ParseInt(string(r.Headers[0].Value), 10, 64)
			if err != nil {
				t.Fatal(err)
			}
			rec.Body = &event.LogRecord_Mark{Mark: &event.Mark{TMs: ms}}
		} else if e, err := decode[r.Feed].Decode(r.Value); err == nil {
			rec.Body = &event.LogRecord_Event{Event: e}
		} else {
			continue
		}
		out = append(out, rec)
	}
	return out
}

// found is the last revision of every alert, as the truth would list it.
func found(t *testing.T, records []*event.LogRecord) map[string]Expected {
	t.Helper()
	state, out := join.New(), new(join.Output)
	for _, r := range records {
		if err := state.Step(r, out); err != nil {
			t.Fatal(err)
		}
	}
	if state.Pending() {
		t.Error("the last mark leaves payments unjudged")
	}
	alerts := map[string]Expected{}
	for _, a := range out.Alerts {
		e := Expected{
			Kind: a.Kind, PaymentKey: a.PaymentKey, Capture: a.Capture, AmountMinor: a.AmountMinor, Currency: a.Currency,
			Status: a.Status, Revisions: int(a.Revision),
		}
		alerts[alertKey(e)] = e
	}
	return alerts
}

func alertKey(e Expected) string { return fmt.Sprint(e.Kind, " ", e.PaymentKey, " ", e.Capture) }

func compare(t *testing.T, name string, got map[string]Expected, want []Expected) {
	t.Helper()
	for _, w := range want {
		key := alertKey(w)
		g, ok := got[key]
		delete(got, key)
		name := name + ": " + w.Case
		w.Case = ""
		switch {
		case !ok:
			t.Errorf("%s: missing %+v", name, w)
		case g != w:
			t.Errorf("%s:\n got %+v\nwant %+v", name, g, w)
		}
	}
	for key, g := range got {
		t.Errorf("%s: unexpected %s: %+v", name, key, g)
	}
}

// TestTruthAgreesWithTheJoin plays the traffic into the join, in the loader's
// order and one feed after the other.
func TestTruthAgreesWithTheJoin(t *testing.T) {
	for _, opt := range []Options{
		{Seed: 1, Payments: 3000},
		{Seed: 2, Payments: 200},
		{Seed: 3, Payments: 3000, Days: 30},
		{Seed: 4, Payments: 6000, Days: 30, Clean: true},
		{Seed: 5, Payments: 3000, Pauses: []Pause{{
			Feed: FeedSettlement, From: localMs(calendar.DateOf(2025, 9, 24), 8*hourMs), To: localMs(calendar.DateOf(2025, 9, 26), 17*hourMs),
		}}},
	} {
		g := generator(t, opt)
		want := g.Truth().Alerts
		if kinds := map[alert.Kind]bool{}; !opt.Clean {
			for _, w := range want {
				kinds[w.Kind] = true
			}
			if len(kinds) != len(alert.Kinds) {
				t.Errorf("seed %d: kinds %v", opt.Seed, kinds)
			}
		}
		records := history(t, g)
		compare(t, fmt.Sprintf("seed %d", opt.Seed), found(t, records), want)
		slices.SortStableFunc(records[1:], func(a, b *event.LogRecord) int {
			return -cmp.Compare(a.Origin.Source, b.Origin.Source)
		})
		compare(t, fmt.Sprintf("seed %d, feed by feed", opt.Seed), found(t, records), want)
	}
}
