package livefeed_test

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"settlewatch/pipelines/sim"
	"settlewatch/schemas/alert"
	"settlewatch/schemas/topic"
	"settlewatch/tools/livefeed"
)

var rawTopics = []topic.Topic{topic.RawAuthorization, topic.RawCapture, topic.RawSettlement}

func rawLog(t *testing.T) *sim.Log {
	t.Helper()
	log := sim.NewLog()
	for _, r := range rawTopics {
		if err := log.CreateTopic(r.Name, r.Partitions); err != nil {
			t.Fatal(err)
		}
	}
	return log
}

// written reads everything, and holds that time does not go back in a partition.
func written(t *testing.T, log *sim.Log) (records int, first, last int64) {
	t.Helper()
	for _, r := range rawTopics {
		for p := range r.Partitions {
			reader, err := log.Open(r.Name, int32(p))
			if err != nil {
				t.Fatal(err)
			}
			_, end, err := reader.Bounds(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			var before int64
			for next := int64(0); next < end; {
				batch, err := reader.Fetch(t.Context(), next, time.Second)
				if err != nil {
					t.Fatal(err)
				}
				for _, record := range batch.Records {
					if record.TimeMs < before || len(record.Headers) > 0 {
						t.Fatalf("%s/%d at %d: time %d after %d, %d headers", r.Name, p, record.Offset, record.TimeMs, before, len(record.Headers))
					}
					before = record.TimeMs
					records++
					if first == 0 || record.TimeMs < first {
						first = record.TimeMs
					}
					last = max(last, record.TimeMs)
				}
				next = batch.Next
			}
		}
	}
	return records, first, last
}

func TestRateAndEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		log := rawLog(t)
		began := time.Now()
		totals, err := livefeed.Run(t.Context(), log, livefeed.Options{Rate: 50, For: 20 * time.Second, Seed: 3}, func(livefeed.Totals) {})
		if err != nil {
			t.Fatal(err)
		}
		if totals.Payments != 1000 {
			t.Errorf("%d payments in 20 s at 50 a second", totals.Payments)
		}
		for _, k := range alert.Kinds {
			if totals.Planted[k] == 0 {
				t.Errorf("no alert of kind %s is planted", k)
			}
		}
		records, first, last := written(t, log)
		if records != totals.Records || records < 1500 {
			t.Errorf("%d records in the topics, %d counted", records, totals.Records)
		}
		if span := last - first; first < began.UnixMilli() || span < 20_000 || span > 40_000 {
			t.Errorf("records from %d to %d ms after the start", first-began.UnixMilli(), last-began.UnixMilli())
		}
	})
}

func TestPaymentsEndIt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		totals, err := livefeed.Run(t.Context(), rawLog(t), livefeed.Options{Rate: 100, Payments: 70}, func(livefeed.Totals) {})
		if err != nil || totals.Payments != 70 {
			t.Errorf("%d payments, %v; want 70", totals.Payments, err)
		}
	})
}

// TestStopTellsStoriesToTheirEnd: a feed that is stopped leaves as many records as
// one that ran to its end.
func TestStopTellsStoriesToTheirEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o := livefeed.Options{Rate: 100, Payments: 200, Seed: 5}
		whole, err := livefeed.Run(t.Context(), rawLog(t), o, func(livefeed.Totals) {})
		if err != nil {
			t.Fatal(err)
		}
		log := rawLog(t)
		ctx, stop := context.WithCancel(t.Context())
		defer stop()
		totals, err := livefeed.Run(ctx, log, o, func(now livefeed.Totals) {
			if now.Payments == 200 {
				stop()
			}
		})
		if err != nil {
			t.Fatal(err)
		}
		if records, _, _ := written(t, log); totals.Payments != 200 || records != whole.Records || records != totals.Records {
			t.Errorf("stopped: %d payments, %d records in the topics, %d counted; a whole run has %d",
				totals.Payments, records, totals.Records, whole.Records)
		}
	})
}

func TestRateIsBounded(t *testing.T) {
	for _, rate := range []float64{0, -1, livefeed.RateMax + 1} {
		if _, err := livefeed.Run(t.Context(), rawLog(t), livefeed.Options{Rate: rate}, func(livefeed.Totals) {}); err == nil {
			t.Errorf("a rate of %g was taken", rate)
		}
	}
}
