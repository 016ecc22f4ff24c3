package join

import (
	"bytes"
	"slices"
	"testing"
)

// Partitions that lend each other memory commit what they would alone.
func TestMemoryOfOtherPartitions(t *testing.T) {
	log := newBenchLog(4000, true)
	alone, lending := newCommitting(t), []*committing{newCommitting(t), newCommitting(t), newCommitting(t)}
	n, large := 0, 0
	log.each(func(value []byte) {
		alone.fold(value)
		for _, c := range lending {
			c.fold(value)
		}
		if n++; n%2500 != 0 {
			return
		}
		want := alone.commit()
		large = max(large, len(want.Delta))
		// What one has committed stays its own until it is stored.
		var held []Changes
		for _, c := range lending {
			held = append(held, c.commit())
		}
		for i, got := range held {
			if !bytes.Equal(got.Delta, want.Delta) || !slices.EqualFunc(got.Buckets, want.Buckets, func(a, b Bucket) bool {
				return a.Index == b.Index && bytes.Equal(a.Value, b.Value)
			}) {
				t.Fatalf("the commit of partition %d after %d records is another than alone", i, n)
			}
			lending[i].recorder.Stored()
		}
	})
	if large <= keptBytes {
		t.Fatalf("the largest delta has %d bytes, which is nothing to lend", large)
	}
}

type committing struct {
	t        *testing.T
	state    *State
	out      Output
	recorder *Recorder
	sequence uint64
}

func newCommitting(t *testing.T) *committing {
	c := &committing{t: t, state: NewAlertsOnly()}
	if err := c.state.Step(configRecord(testConfig(nil), 0), &c.out); err != nil {
		t.Fatal(err)
	}
	c.recorder = NewRecorder(c.state)
	return c
}

func (c *committing) fold(value []byte) {
	if err := c.state.Fold(value, &c.out); err != nil {
		c.t.Fatal(err)
	}
}

func (c *committing) commit() Changes {
	c.sequence++
	changes, err := c.recorder.Commit(c.sequence, Position{Offset: int64(c.sequence)})
	if err != nil {
		c.t.Fatal(err)
	}
	return changes
}

func TestASmallCommitKeepsItsMemory(t *testing.T) {
	if got := giveBack(make([]byte, 5, keptBytes)); cap(got) != keptBytes || len(got) != 0 {
		t.Errorf("%d bytes of %d are kept", len(got), cap(got))
	}
	if got := giveBack(make([]byte, 0, keptBytes+1)); got != nil {
		t.Errorf("%d bytes are kept", cap(got))
	}
}
