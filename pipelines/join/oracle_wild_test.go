package join

import (
	"bytes"
	"slices"
	"testing"

	"pgregory.net/rapid"

	"settlewatch/schemas/event"
)

// drawEvent is an event of any kind with any of the fields that the rules read,
// sensible together or not.
func drawEvent(t *rapid.T, key string) *event.Event {
	draw := func(name string, low, high int) int { return rapid.IntRange(low, high).Draw(t, name) }
	maybe := func(name string, values ...int64) *int64 {
		if i := draw(name, -2*len(values), len(values)-1); i >= 0 {
			return &values[i]
		}
		return nil
	}
	e := &event.Event{
		Id: testID(key, string(rune('a'+draw("id", 0, 11)))), PaymentKey: key, Outcome: event.Outcome_OUTCOME_ACCEPTED,
		Kind: event.Kind(draw("kind", 0, 17)), Operation: event.Operation_OPERATION_NEW,
		Stage: event.Stage_STAGE_PAID_OUT, Mode: event.Mode(draw("mode", 1, 2)),
		AdjustmentTarget: event.AdjustmentTarget(draw("target", 0, 2)),
		Amounts:          &event.Amounts{Currency: "CNY", Delta: draw("delta", 0, 3) == 0},
		Parties:          &event.Parties{Merchant: "M1"}, Special: &event.Special{Incremental: draw("incremental", 0, 4) == 0},
		Time: &event.Time{}, Due: &event.Due{}, Line: &event.Line{},
	}
	// What the two alerts turn on comes more often than the rest.
	if draw("usual", 0, 2) > 0 {
		e.Kind = rapid.SampledFrom([]event.Kind{1, 2, 2, 3, 3, 3, 11, 12}).Draw(t, "usual kind")
	}
	amounts := []int64{0, 20, 40, 60, 90, 100, 115}
	e.Amounts.TransactionMinor = &amounts[draw("amount", 0, 6)]
	e.Amounts.ApprovedMinor = maybe("approved", 0, 60, 100)
	e.Amounts.AuthorizedTotalMinor = maybe("total", 60, 200)
	e.Amounts.ReplacementMinor = maybe("stays", 0, 40, 60)
	e.Amounts.GrossMinor = maybe("gross", 60, 100)
	e.Amounts.NetMinor = maybe("net", 94, 59)
	if fee := maybe("fee", 1, 6); fee != nil {
		e.Amounts.Fees = []*event.Fee{{Type: "mdr", AmountMinor: *fee}}
	}
	switch draw("outcome", 0, 9) {
	case 0:
		e.Outcome = event.Outcome_OUTCOME_UNKNOWN
	case 1:
		e.Outcome = event.Outcome(draw("other outcome", 1, 5))
	}
	if draw("replaces", 0, 4) == 0 {
		// Only what was reported earlier in the alphabet: no circles.
		e.Operation = event.Operation(draw("operation", 1, 3))
		if original := rune('a' + draw("original", 0, 11)); string(testID(key, string(original))) != string(e.Id) && original < 'a'+6 {
			e.Id, e.Replaces = testID(key, string(rune('g'+draw("later", 0, 5)))), testID(key, string(original))
		}
	}
	if draw("names", 0, 2) == 0 {
		e.Capture = &event.CaptureRef{Id: string(rune('1' + draw("capture", 0, 2)))}
	}
	if draw("takes back", 0, 2) == 0 {
		e.Line.TakesBack = testID(key, string(rune('a'+draw("line", 0, 11))))
	}
	if draw("currency", 0, 14) == 0 {
		e.Amounts.Currency = "JPY"
	}
	if draw("stage", 0, 9) == 0 {
		e.Stage = event.Stage(draw("other stage", 0, 5))
	}
	e.Time.BusinessMs = maybe("business", monday10, monday10-2*day, monday10+13*60*minute)
	if date := maybe("date", monday10/day, monday10/day+2, monday10/day+400); date != nil && draw("dated", 0, 3) == 0 {
		d := int32(*date)
		e.Time.SettlementDate = &d
	}
	e.Due.HoldUntilMs = maybe("hold", tuesday12+day, tuesday12-day, tuesday12+40*day)
	e.Due.Cycle = rapid.SampledFrom([]string{"", "", "", "", "T+2", "D+1", "what"}).Draw(t, "cycle")
	e.Parties.Channel = rapid.SampledFrom([]string{"", "", "qr", "pos"}).Draw(t, "channel")
	e.Parties.Terminal = rapid.SampledFrom([]string{"", "T1"}).Draw(t, "terminal")
	if draw("offline", 0, 9) == 0 {
		e.Mode = event.Mode_MODE_OFFLINE
	}
	return e
}

// drawWildConfig has two groups, of which the second may take an acquirer over.
func drawWildConfig(t *rapid.T, n string) *event.Config {
	c := drawTerms(t, n)
	if rapid.IntRange(0, 2).Draw(t, n+" groups") > 0 {
		return c
	}
	own := drawTerms(t, n+" own").Groups[0]
	own.Name, own.Acquirers = "own", []string{"acq2"}
	own.Sources = own.Sources[:rapid.IntRange(0, 3).Draw(t, n+" sources")]
	if rapid.Bool().Draw(t, n+" takes") {
		own.Acquirers = append(own.Acquirers, "acq1")
	}
	if rapid.Bool().Draw(t, n+" names") {
		c.Groups[0].Acquirers = []string{"acq1"}
	}
	c.Groups = append(c.Groups, own)
	return c
}

// The same for logs of events that no scheme would send.
func TestTheOracleAgreesOnAnything(t *testing.T) {
	dropAtOnce(t)
	rapid.Check(t, func(t *rapid.T) {
		var records []*event.LogRecord
		for range rapid.IntRange(1, 14).Draw(t, "events") {
			key := rapid.SampledFrom([]string{testKey, testKey, "acq2|o|1"}).Draw(t, "key")
			records = append(records, &event.LogRecord{
				Origin:    &event.Origin{Source: rapid.SampledFrom(feeds).Draw(t, "feed")},
				ArrivalMs: monday10 + int64(rapid.IntRange(0, 60).Draw(t, "hours"))*60*minute,
				Body:      &event.LogRecord_Event{Event: drawEvent(t, key)},
			})
		}
		slices.SortStableFunc(records, func(a, b *event.LogRecord) int { return int(a.ArrivalMs - b.ArrivalMs) })
		for i, r := range records {
			r.Origin.Offset, r.Origin.Index = int64(i/2), uint32(i%2)
		}
		log := weave(t, records)
		for n := range rapid.IntRange(1, 4).Draw(t, "configs") {
			at := 0
			if n > 0 {
				at = rapid.IntRange(0, len(log)).Draw(t, "at")
			}
			log = slices.Insert(log, at, configRecord(drawWildConfig(t, string(rune('0'+n))), 0))
		}
		number := int64(0)
		for _, r := range log {
			if r.GetConfig() != nil {
				r.Origin.Offset = number
				number++
			}
		}
		s, out := New(), new(Output)
		for _, r := range log {
			if err := s.Step(r, out); err != nil {
				t.Fatal(err)
			}
		}
		if got, want := oracleBytes(t, log), encoded(t, out.Alerts); !bytes.Equal(got, want) {
			for _, r := range log {
				t.Log(r)
			}
			t.Fatalf("the oracle has\n%s\nthe join\n%s", got, want)
		}
	})
}
