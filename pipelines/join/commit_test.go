package join

import (
	"maps"
	"testing"
)

// Buckets are larger here than what a commit logs, as they are where a joiner that keeps up
// holds millions: what is rewritten follows what is logged all the same, not more and not less.
func TestRewritesFollowWhatIsLogged(t *testing.T) {
	const least = 250
	c := newCommitting(t)
	c.recorder.least = least
	var budget, written, largest, n int
	held := make(map[int]int) // bytes of the snapshot's buckets
	ring := make(map[uint64]int)
	newBenchLog(20_000, true).each(func(value []byte) {
		c.fold(value)
		if n++; n%5 != 0 {
			return
		}
		silent := c.state.payments.delta.count == 0
		changes := c.commit()
		budget += max(least, len(changes.Delta))
		if silent {
			budget += silentBytes * c.state.Payments()
		}
		for _, b := range changes.Buckets {
			written += len(b.Value)
			largest = max(largest, len(b.Value))
			held[b.Index] = len(b.Value)
		}
		ring[c.sequence] = len(changes.Delta)
		maps.DeleteFunc(ring, func(sequence uint64, _ int) bool { return sequence < changes.TrimTo })
		if written > budget+largest {
			t.Fatalf("%d bytes were rewritten by commit %d, which is more than %d logged and a bucket", written, c.sequence, budget)
		}
	})
	snapshot, waiting := total(held), total(ring)
	if waiting > snapshot*5/4 {
		t.Errorf("the ring has %d bytes, the snapshot %d", waiting, snapshot)
	}
	t.Logf("rewritten %d of %d, in the ring %d, in the snapshot %d, the largest bucket %d", written, budget, waiting, snapshot, largest)
}

func total[K comparable](sizes map[K]int) (n int) {
	for _, size := range sizes {
		n += size
	}
	return n
}
