package join

import (
	"bytes"
	"fmt"
	"slices"
	"testing"

	"pgregory.net/rapid"

	"settlewatch/pipelines/oracle"
	"settlewatch/schemas/alert"
	"settlewatch/schemas/event"
)

// oracleBytes are the alerts that the second implementation makes of the log.
func oracleBytes(t failer, log []*event.LogRecord) []byte {
	t.Helper()
	alerts, err := oracle.Alerts(log)
	if err != nil {
		t.Fatal(err)
	}
	return encoded(t, alerts)
}

func encoded(t failer, alerts []*alert.Alert) []byte {
	t.Helper()
	var all bytes.Buffer
	for _, a := range alerts {
		b, err := a.Encode()
		if err != nil {
			t.Fatal(err)
		}
		all.Write(append(b, '\n'))
	}
	return all.Bytes()
}

func TestTheOraclePassesTheCases(t *testing.T) {
	for _, c := range cases {
		t.Run(c.number+" "+c.about, func(t *testing.T) {
			records := c.history.records(t, testKey)
			log := append([]*event.LogRecord{configRecord(testConfig(c.terms), 0)}, records...)
			alerts, err := oracle.Alerts(log)
			if err != nil {
				t.Fatal(err)
			}
			if got := briefs(&Output{Alerts: alerts}); !slices.Equal(got, c.want) {
				t.Errorf("%s\n got %q\nwant %q", c.history, got, c.want)
			}
			_, out := fold(t, testConfig(c.terms), records)
			if got, want := encoded(t, alerts), encoded(t, out.Alerts); !bytes.Equal(got, want) {
				t.Errorf("the oracle has\n%s\nthe join\n%s", got, want)
			}
		})
	}
}

// drawTerms are terms that differ from the tests' in what the rules ask for.
func drawTerms(t *rapid.T, name string) *event.Config {
	return testConfig(func(terms *event.Terms) {
		terms.Cycle = rapid.SampledFrom([]string{"T+1", "T+1", "T+0", "D+2", "T+3"}).Draw(t, name+" cycle")
		if terms.Cycle == "T+0" {
			terms.PublishDays = 1
		}
		terms.ToleranceMinor = rapid.SampledFrom([]int64{0, 0, 10, 40}).Draw(t, name+" tolerance")
		terms.FeeBps = rapid.SampledFrom([]int64{0, 0, 600}).Draw(t, name+" fee")
		terms.LifeDays = rapid.SampledFrom([]int32{60, 60, 1}).Draw(t, name+" life")
		terms.HoldCapDays = rapid.SampledFrom([]int32{30, 1, 0}).Draw(t, name+" cap")
		if rapid.Bool().Draw(t, name+" gross") {
			gross(terms)
		}
		if rapid.IntRange(0, 4).Draw(t, name+" start") == 0 {
			start := int32(monday10/day) + 1
			terms.StartDate = &start
		}
	})
}

// Two implementations that share no rule give the same bytes in the same order:
// for random histories, in a random reading order, with rules that change on the
// way, repeats, and sources of their own for some acquirers.
func TestTheOracleAgrees(t *testing.T) {
	dropAtOnce(t)
	rapid.Check(t, func(t *rapid.T) {
		log := weave(t, drawHistory(t))
		for n := range rapid.IntRange(1, 3).Draw(t, "configs") {
			at := 0
			if n > 0 || rapid.IntRange(0, 3).Draw(t, "late start") == 0 {
				at = rapid.IntRange(0, len(log)).Draw(t, "at")
			}
			log = slices.Insert(log, at, configRecord(drawTerms(t, fmt.Sprint(n)), 0))
		}
		number := int64(0)
		for _, r := range log {
			if r.GetConfig() != nil {
				r.Origin.Offset = number
				number++
			}
		}
		for range rapid.IntRange(0, 3).Draw(t, "repeats") {
			from := rapid.IntRange(0, len(log)-1).Draw(t, "from")
			to := min(len(log), from+rapid.IntRange(1, 5).Draw(t, "length"))
			log = slices.Insert(log, to, log[from:to]...)
		}
		s, out := New(), new(Output)
		for _, r := range log {
			if err := s.Step(r, out); err != nil {
				t.Fatal(err)
			}
		}
		if got, want := oracleBytes(t, log), encoded(t, out.Alerts); !bytes.Equal(got, want) {
			t.Fatalf("the oracle has\n%s\nthe join\n%s", got, want)
		}
	})
}

// Histories on which the two once differed.
func TestTheOracleAgreesWhereItDidNot(t *testing.T) {
	for name, records := range map[string][]*event.LogRecord{
		"all lines cancelled at once: the obligation is still held to what was authorized": script(
			"a100 C60(1) C60(2) S60(1)#x S60(2)#y now cancel<x@due cancel<y@due due").records(t, testKey),
		"a cancellation that names nothing is no capture": func() []*event.LogRecord {
			records := script("C100(1) cancel<x due").records(t, testKey)
			records[1].GetEvent().Replaces = nil
			return records
		}(),
	} {
		_, out := fold(t, testConfig(nil), records)
		log := append([]*event.LogRecord{configRecord(testConfig(nil), 0)}, records...)
		got, want := oracleBytes(t, log), encoded(t, out.Alerts)
		if len(got) == 0 || !bytes.Equal(got, want) {
			t.Errorf("%s: the oracle has\n%s\nthe join\n%s", name, got, want)
		}
	}
}
