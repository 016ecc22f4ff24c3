package join

import "testing"

// Buckets are larger here than what a commit logs, as they are where a joiner that keeps up
// holds millions: what is rewritten follows what is logged all the same, not more and not less.
func TestRewritesFollowWhatIsLogged(t *testing.T) {
	const least = 250
	c, held := newCommitting(t), newStore()
	c.recorder.least = least
	var budget, written, largest, n int
	newBenchLog(20_000, true).each(func(value []byte) {
		c.fold(value)
		if n++; n%5 != 0 {
			return
		}
		silent := c.state.payments.delta.count == 0
		changes := held.commit(t, c.recorder, Position{})
		budget += max(least, len(changes.Delta))
		if silent {
			budget += silentBytes * c.state.Payments()
		}
		for _, b := range changes.Buckets {
			written += len(b.Value)
			largest = max(largest, len(b.Value))
		}
		if written > budget+largest {
			t.Fatalf("%d bytes were rewritten by commit %d, which is more than %d logged and a bucket", written, held.sequence, budget)
		}
	})
	snapshot, ring := held.sizes()
	if ring > snapshot*5/4 {
		t.Errorf("the ring has %d bytes, the snapshot %d", ring, snapshot)
	}
	t.Logf("rewritten %d of %d, in the ring %d, in the snapshot %d, the largest bucket %d", written, budget, ring, snapshot, largest)
}
