package verify

import (
	"context"
	"fmt"

	"settlewatch/pipelines/join"
	"settlewatch/pipelines/statestore"
)

// ring is what changed since the oldest bucket was written, up to one commit.
type ring struct {
	// next is the sequence of pending[0], which is not applied yet.
	next    uint64
	pending [][]byte
	changed [join.BucketCount][]join.Change
}

// follow applies the deltas up to the commit that a bucket was read at. Those that go
// further wait.
func (r *ring) follow(ctx context.Context, store Store, view statestore.BucketView) error {
	if r.next == 0 {
		r.next = view.RingFirst
	}
	if have := r.next + uint64(len(r.pending)); have <= view.Sequence {
		tail, err := store.ReadRingTail(ctx, have)
		if err != nil {
			return err
		}
		r.pending = append(r.pending, tail.Deltas...)
	}
	for r.next <= view.Sequence {
		if len(r.pending) == 0 {
			return errMoved
		}
		for c, err := range join.ReadDelta(r.pending[0]) {
			if err != nil {
				return fmt.Errorf("read the delta of sequence %d: %w", r.next, err)
			}
			r.changed[c.Bucket] = append(r.changed[c.Bucket], c)
		}
		r.pending, r.next = r.pending[1:], r.next+1
	}
	return nil
}
