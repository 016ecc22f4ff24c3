package statestore

import (
	"context"
	"errors"
	"fmt"
	"strconv"

	"github.com/redis/go-redis/v9"
)

// ErrTrimmed says that the ring no longer reaches back to the sequence asked
// for: the bucket that was read is too old. Read it again.
var ErrTrimmed = errors.New("the ring was trimmed beyond the sequence asked for")

// BucketView is one bucket of the snapshot with the commit it was read at.
type BucketView struct {
	Value []byte // nil: the snapshot has no such bucket
	// Sequence of the last commit; 0: nothing is stored.
	Sequence uint64
	Offset   int64
	Meta     []byte
	// RingFirst is where the ring began: all that changed since the bucket was
	// written is in the deltas from RingFirst on.
	RingFirst uint64
}

// RingTail is the end of the ring.
type RingTail struct {
	// Sequence of the last commit, whose delta is the last.
	Sequence uint64
	// First is the sequence of Deltas[0].
	First  uint64
	Deltas [][]byte
}

// ReadBucket reads one bucket and meta at one moment, for readers from outside.
// To read a payment: its bucket, then ReadRingTail from the bucket's own
// sequence + 1 where the bucket names one, else from RingFirst; on ErrTrimmed
// both again.
func (p *Partition) ReadBucket(ctx context.Context, index int) (BucketView, error) {
	var v BucketView
	err := p.run(ctx, "read a bucket of", func() error {
		var fields *redis.SliceCmd
		var bucket *redis.StringCmd
		// MULTI: between two plain reads a commit could rewrite the bucket.
		_, err := p.client.rdb.TxPipelined(ctx, func(tx redis.Pipeliner) error {
			fields = tx.HMGet(ctx, p.keys[0], headFields...)
			bucket = tx.HGet(ctx, p.keys[2], strconv.Itoa(index))
			return nil
		})
		if err != nil && !errors.Is(err, redis.Nil) {
			return err
		}
		h := headOf(fields.Val())
		if !h.stored {
			v = BucketView{}
			return nil
		}
		s, err := h.parse(p.name)
		if err != nil {
			return err
		}
		v = BucketView{Sequence: s.Sequence, Offset: s.Offset, Meta: s.Meta, RingFirst: s.RingFirst}
		if bucket.Err() == nil {
			v.Value = []byte(bucket.Val())
		}
		return nil
	})
	return v, err
}

// ReadRingTail reads the deltas of sequences from, from+1, … at one moment, for
// readers from outside. The tail is empty when from is beyond the last commit;
// ErrTrimmed when from is before the ring's first.
func (p *Partition) ReadRingTail(ctx context.Context, from uint64) (RingTail, error) {
	for range maxLoadAttempts {
		var tail RingTail
		var changed, trimmed bool
		err := p.run(ctx, "read the ring of", func() (err error) {
			tail, changed, trimmed, err = p.ringTailOnce(ctx, from)
			return err
		})
		switch {
		case err != nil:
			return RingTail{}, err
		case trimmed:
			return RingTail{}, fmt.Errorf("read the ring of %s from sequence %d: %w", p.name, from, ErrTrimmed)
		case !changed:
			return tail, nil
		}
	}
	return RingTail{}, fmt.Errorf("read the ring of %s: %w", p.name, errKeepsChanging)
}

func (p *Partition) ringTailOnce(ctx context.Context, from uint64) (tail RingTail, changed, trimmed bool, err error) {
	before, err := p.head(ctx, p.client.rdb)
	if err != nil || !before.stored {
		return tail, false, false, err
	}
	s, err := before.parse(p.name)
	if err != nil {
		return tail, false, false, err
	}
	if from < s.RingFirst {
		return tail, false, true, nil
	}
	if from > s.Sequence {
		return RingTail{Sequence: s.Sequence, First: from}, false, false, nil
	}
	var fields *redis.SliceCmd
	var deltas *redis.StringSliceCmd
	// The index into the list counts from ring_first, which is therefore read
	// again with it.
	_, err = p.client.rdb.TxPipelined(ctx, func(tx redis.Pipeliner) error {
		fields = tx.HMGet(ctx, p.keys[0], headFields...)
		deltas = tx.LRange(ctx, p.keys[1], int64(from-s.RingFirst), -1)
		return nil
	})
	if err != nil {
		return tail, false, false, err
	}
	after := headOf(fields.Val())
	if after.ringFirst != before.ringFirst || !after.stored {
		return tail, true, false, nil
	}
	if s, err = after.parse(p.name); err != nil {
		return tail, false, false, err
	}
	if s.Sequence < from { // Redis was rolled back in between
		return tail, true, false, nil
	}
	if got, want := uint64(len(deltas.Val())), s.Sequence-from+1; got != want {
		return tail, false, false, p.corrupt("the ring has %d deltas from sequence %d to %d, not %d", got, from, s.Sequence, want)
	}
	tail = RingTail{Sequence: s.Sequence, First: from}
	for _, d := range deltas.Val() {
		tail.Deltas = append(tail.Deltas, []byte(d))
	}
	return tail, false, false, nil
}
