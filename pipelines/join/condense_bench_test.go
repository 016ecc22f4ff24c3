package join

import (
	"math"
	"testing"
)

// BenchmarkCondense writes and reads the buckets of a state of settled payments.
func BenchmarkCondense(b *testing.B) {
	s := newBenchState(b)
	newBenchLog(*benchPayments, true).each(func(value []byte) { s.foldRecord(b, value) })
	buckets := &s.state.payments.buckets
	payments := float64(s.state.Payments())
	values := make([][]byte, len(buckets))
	var c condenser
	b.Run("write", func(b *testing.B) {
		size := 0
		least := int64(math.MaxInt64)
		for b.Loop() {
			before := cpuNs(b)
			size = 0
			for i := range buckets {
				values[i] = c.bucket(values[i][:0], &buckets[i], 1)
				size += len(values[i])
			}
			least = min(least, cpuNs(b)-before)
		}
		b.ReportMetric(float64(least)/payments, "cpu-ns/payment")
		b.ReportMetric(float64(size)/payments, "B/payment")
	})
	b.Run("read", func(b *testing.B) {
		var x expander
		least := int64(math.MaxInt64)
		for b.Loop() {
			before := cpuNs(b)
			for i := range values {
				if _, err := x.bucket(values[i], func([]byte) error { return nil }); err != nil {
					b.Fatal(err)
				}
			}
			least = min(least, cpuNs(b)-before)
		}
		b.ReportMetric(float64(least)/payments, "cpu-ns/payment")
	})
}
