package checkpoint_test

import (
	"bytes"
	"flag"
	"fmt"
	"runtime"
	"testing"

	"settlewatch/pipelines/checkpoint"
	"settlewatch/pipelines/join"
	"settlewatch/pipelines/stage"
	"settlewatch/schemas/event"
)

var benchPayments = flag.Int("payments", 100_000, "payments of the benchmark")

// BenchmarkLoads proves a state in the midst of its traffic, in which each payment has come,
// been added to, and been written into the snapshot; it says what garbage that makes.
func BenchmarkLoads(b *testing.B) {
	n := int64(*benchPayments)
	log := []*event.LogRecord{configRecord()}
	for i := range 2 * n { // each has a second event
		at := monday + i*10
		log = append(log, saleRecord(fmt.Sprintf("acq|o|%012d", i%n), i, at))
		if i%1000 == 0 {
			log = append(log, markRecord(i, at))
		}
	}
	held := map[int][]byte{}
	s := stage.Stored{RingFirst: 1}
	commit(b, log, 3000, func(c *join.Changes) {
		for _, bucket := range c.Buckets {
			held[bucket.Index] = bytes.Clone(bucket.Value)
		}
		s.Meta, s.Ring = c.Meta, append(s.Ring, bytes.Clone(c.Delta))
		s.Ring, s.RingFirst = s.Ring[c.TrimTo-s.RingFirst:], c.TrimTo
	})
	s.Buckets = bucketsOf(held)
	ring := 0
	for _, delta := range s.Ring {
		ring += len(delta)
	}
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	for b.Loop() {
		if err := checkpoint.Loads(b.Context(), s, checkpoint.Ordered(s.Buckets), nil); err != nil {
			b.Fatal(err)
		}
	}
	runtime.ReadMemStats(&after)
	b.ReportMetric(float64(after.TotalAlloc-before.TotalAlloc)/float64(b.N)/float64(n), "B-garbage/payment")
	b.ReportMetric(float64(after.Mallocs-before.Mallocs)/float64(b.N)/float64(n), "allocs/payment")
	b.ReportMetric(float64(ring)/float64(n), "ring-B/payment")
}
