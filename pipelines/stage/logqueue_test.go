package stage

import (
	"bytes"
	"fmt"
	"strings"
	"testing"

	"settlewatch/schemas/event"
	"settlewatch/schemas/topic"
)

// The queue's memory moves while it grows, is used again after a flush, and the
// event that was queued is its owner's again at once: what is queued stays what
// it was, each record beside its neighbours.
func TestLogQueueKeepsWhatItTook(t *testing.T) {
	const partitions, flushes = 5, 4
	q := newLogQueue(partitions)
	e := new(event.Event)
	kept := 0
	for flush := range flushes {
		want := make([][]Record, partitions)
		expect := func(p int32, key string, timeMs int64, r *event.LogRecord) {
			value, err := r.MarshalVT()
			if err != nil {
				t.Fatal(err)
			}
			want[p] = append(want[p], Record{Key: []byte(key), Value: value, TimeMs: timeMs})
		}
		for i := range 3000 {
			e.PaymentKey = fmt.Sprintf("acq-%d|o|%d", flush, i)
			e.References = []*event.Reference{{Value: strings.Repeat("x", i%700)}}
			raw := &Record{Offset: int64(i), TimeMs: 1_700_000_000_000 + int64(i)}
			if err := q.event("s", raw, uint32(i%3), e); err != nil {
				t.Fatal(err)
			}
			expect(topic.Partition([]byte(e.PaymentKey), partitions), e.PaymentKey, raw.TimeMs, &event.LogRecord{
				Origin: &event.Origin{Source: "s", Offset: int64(i), Index: uint32(i % 3)}, ArrivalMs: raw.TimeMs,
				Body: &event.LogRecord_Event{Event: e},
			})
			if i%1000 == 999 {
				if err := q.mark("s", int64(i), 0); err != nil {
					t.Fatal(err)
				}
				for p := range int32(partitions) {
					expect(p, "", int64(i), &event.LogRecord{
						Origin: &event.Origin{Source: "s"}, ArrivalMs: int64(i), Body: &event.LogRecord_Mark{Mark: &event.Mark{TMs: int64(i)}},
					})
				}
			}
		}
		batches := q.batches(nil)
		if len(batches) != partitions {
			t.Fatalf("%d batches, want one for each of %d partitions", len(batches), partitions)
		}
		for _, b := range batches {
			if b.Topic != topic.PaymentLog.Name || len(b.Records) != len(want[b.Partition]) {
				t.Fatalf("%d records for %s/%d, want %d", len(b.Records), b.Topic, b.Partition, len(want[b.Partition]))
			}
			for i, got := range b.Records {
				w := want[b.Partition][i]
				if !bytes.Equal(got.Key, w.Key) || got.Key == nil || !bytes.Equal(got.Value, w.Value) || got.TimeMs != w.TimeMs {
					t.Fatalf("flush %d, partition %d, record %d: got %v, want %v", flush, b.Partition, i, got, w)
				}
			}
		}
		q.reset()
		if rest := q.batches(nil); len(rest) > 0 {
			t.Fatalf("after a flush %d batches are left", len(rest))
		}
		memory := 0
		for p := range q.partitions {
			memory += cap(q.partitions[p].memory)
		}
		if flush == flushes-1 && memory != kept {
			t.Errorf("the memory grew from %d to %d bytes though the flushes are alike", kept, memory)
		}
		kept = memory
	}
	if n := testing.AllocsPerRun(5, func() {
		for i := range 1000 {
			if err := q.event("s", &Record{Offset: int64(i)}, 0, e); err != nil {
				t.Fatal(err)
			}
		}
		q.reset()
	}); n > 1 {
		t.Errorf("%.0f allocations for a thousand events in memory that is there", n)
	}
}
