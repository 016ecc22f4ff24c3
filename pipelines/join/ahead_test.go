package join

import (
	"math"
	"runtime"
	"testing"

	"settlewatch/schemas/event"
)

// BenchmarkAhead folds as BenchmarkFold does, with and without a look at what is next.
// The more payments are open (-payments), the more of it is in no cache.
func BenchmarkAhead(b *testing.B) {
	l := newBenchLog(*benchPayments, true)
	var values, keys [][]byte
	l.each(func(value []byte) {
		var r event.LogRecord
		if err := r.UnmarshalVT(value); err != nil {
			b.Fatal(err)
		}
		values, keys = append(values, value), append(keys, []byte(r.GetEvent().GetPaymentKey()))
	})
	for _, c := range []struct {
		name  string
		ahead int
	}{{"none", 0}, {"few", LookAhead / 4}, {"LookAhead", LookAhead}, {"many", 8 * LookAhead}} {
		b.Run(c.name, func(b *testing.B) {
			least := int64(math.MaxInt64)
			for b.Loop() {
				s := newBenchState(b)
				runtime.GC()
				before := cpuNs(b)
				for n, value := range values {
					if c.ahead > 0 && n%c.ahead == 0 {
						s.state.Ahead(keys[n:min(n+c.ahead, len(keys))])
					}
					s.foldRecord(b, value)
					if (n+1)%*benchBatch == 0 {
						s.commit(b)
					}
				}
				s.commit(b)
				least = min(least, cpuNs(b)-before)
			}
			b.ReportMetric(float64(least)/float64(l.events), "cpu-ns/event")
		})
	}
}
