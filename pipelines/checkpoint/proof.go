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

// Loads tells whether a stored state, with its buckets in ascending order of their
// indexes, makes a joiner's state, by its own checksum; the error is
// join.ErrInconsistent where it makes another.
//
// It proves what join.Load proves without making a second state at once, which nothing
// could interrupt. Load makes every bucket of the snapshot, applies to each what the
// deltas change in it, and compares the sum over all payments with the one that the owner
// kept and committed. No bucket depends on another, and the sum does not depend on the
// order: so each can be made, summed and forgotten. The rest of the state, CONFIG and
// frontiers, join.LoadHead loads as Load does. What is left are the timers, which follow
// from payments that are the committed ones to the byte.
func Loads(ctx context.Context, s stage.Stored, buckets Buckets, pace *Pace) error {
	want, err := join.LoadHead(s.Meta)
	if err != nil {
		return err
	}
	p := proof{ctx: ctx, pace: pace, ring: s.Ring, reader: join.NewBucketReader()}
	for b, err := range buckets {
		switch {
		case err != nil:
			return err
		case b.Index < 0 || b.Index >= join.BucketCount:
			return fmt.Errorf("there is no bucket %d: %w", b.Index, join.ErrInconsistent)
		case len(b.Value) == 0 || b.Index < p.next:
			return fmt.Errorf("bucket %d is empty, out of order, or stored twice: %w", b.Index, join.ErrInconsistent)
		}
		if err := p.upTo(b.Index); err != nil {
			return err
		}
		if err := p.add(b.Value); err != nil {
			return err
		}
	}
	if err := p.upTo(join.BucketCount); err != nil {
		return err
	}
	return p.sum.Match(want)
}

// proof of one state, bucket by bucket.
type proof struct {
	ctx    context.Context
	pace   *Pace
	ring   [][]byte
	reader *join.BucketReader
	later  changes // in the buckets around next
	next   int     // bucket to add
	sum    join.Tally
}

// upTo adds the buckets below an index that are in deltas alone.
func (p *proof) upTo(index int) error {
	for p.next < index {
		if err := p.add(nil); err != nil {
			return err
		}
	}
	return nil
}

// add takes the next bucket, whose value is empty where none is stored.
func (p *proof) add(value []byte) error {
	i := p.next % proofBuckets
	if i == 0 {
		if err := p.later.read(p.ctx, p.ring, p.next, p.pace); err != nil {
			return err
		}
	}
	index := p.next
	p.next++
	if len(value) == 0 && len(p.later[i]) == 0 {
		return nil
	}
	if err := p.reader.Read(index, value, p.later[i]); err != nil {
		return fmt.Errorf("load bucket %d: %w", index, err)
	}
	for _, packed := range p.reader.Payments() {
		p.sum.Add(packed)
	}
	return p.pace.Rest(p.ctx)
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
