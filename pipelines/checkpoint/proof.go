package checkpoint

import (
	"context"
	"fmt"

	"settlewatch/pipelines/join"
	"settlewatch/pipelines/stage"
)

// proofBuckets are loaded between two looks through the deltas: their changes are in
// memory at a time.
const proofBuckets = join.BucketCount / 8

// Loads tells whether a stored state makes a joiner's state, by its own checksum; the
// error is join.ErrInconsistent where it makes another.
//
// It proves what join.Load proves without making a second state at once, which nothing
// could interrupt. Load makes every bucket of the snapshot, applies to each what the
// deltas change in it, and compares the sum over all payments with the one that the owner
// kept and committed. No bucket depends on another, and the sum does not depend on the
// order: so each can be made, summed and forgotten. The rest of the state, CONFIG and
// frontiers, join.LoadHead loads as Load does. What is left are the timers, which follow
// from payments that are the committed ones to the byte.
func Loads(ctx context.Context, s stage.Stored, pace *Pace) error {
	want, err := join.LoadHead(s.Meta)
	if err != nil {
		return err
	}
	var values [join.BucketCount][]byte
	for _, b := range s.Buckets {
		switch {
		case b.Index < 0 || b.Index >= join.BucketCount:
			return fmt.Errorf("there is no bucket %d: %w", b.Index, join.ErrInconsistent)
		case len(b.Value) == 0 || values[b.Index] != nil:
			return fmt.Errorf("bucket %d is empty or stored twice: %w", b.Index, join.ErrInconsistent)
		}
		values[b.Index] = b.Value
	}
	var got join.Tally
	var later changes
	reader := join.NewBucketReader()
	for first := 0; first < join.BucketCount; first += proofBuckets {
		if err := later.read(ctx, s.Ring, first, pace); err != nil {
			return err
		}
		for i, changed := range later {
			index := first + i
			if values[index] == nil && len(changed) == 0 {
				continue
			}
			if err := reader.Read(index, values[index], changed); err != nil {
				return fmt.Errorf("load bucket %d: %w", index, err)
			}
			for _, packed := range reader.Payments() {
				got.Add(packed)
			}
			if err := pace.Rest(ctx); err != nil {
				return err
			}
		}
	}
	return got.Match(want)
}

// changes are what the deltas change in each of some buckets, oldest first.
type changes [proofBuckets][]join.Change

// read takes those of the buckets from first on, into the memory of the ones before.
func (c *changes) read(ctx context.Context, ring [][]byte, first int, pace *Pace) error {
	for i := range c {
		c[i] = c[i][:0]
	}
	for i, delta := range ring {
		n := 0
		for change, err := range join.ReadDelta(delta) {
			if err != nil {
				return fmt.Errorf("read delta %d of the ring: %w", i, err)
			}
			if b := change.Bucket - first; b >= 0 && b < proofBuckets {
				c[b] = append(c[b], change)
			}
			if n++; n%1024 == 0 {
				if err := pace.Rest(ctx); err != nil {
					return err
				}
			}
		}
		if err := pace.Rest(ctx); err != nil {
			return err
		}
	}
	return nil
}
