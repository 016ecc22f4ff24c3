package checkpoint

import (
	"context"
	"encoding/json"
	"fmt"

	"github.com/cespare/xxhash/v2"

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
// frontiers, is loaded by join.Load itself, without payments. What is left are the timers,
// which follow from payments that are the committed ones to the byte.
func Loads(ctx context.Context, s stage.Stored, pace *Pace) error {
	want, err := loadHead(s.Meta)
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
	var got tally
	for first := 0; first < join.BucketCount; first += proofBuckets {
		later, err := changesOf(ctx, s.Ring, first, pace)
		if err != nil {
			return err
		}
		for i, changes := range later {
			index := first + i
			if values[index] == nil && len(changes) == 0 {
				continue
			}
			payments, err := join.ReadBucket(index, values[index], changes)
			if err != nil {
				return fmt.Errorf("load bucket %d: %w", index, err)
			}
			for _, packed := range payments {
				got.add(packed)
			}
			if err := pace.Rest(ctx); err != nil {
				return err
			}
		}
	}
	if got != want {
		return fmt.Errorf("%d payments with checksum %x, stored are %d with %x: %w",
			got.Payments, got.Checksum, want.Payments, want.Checksum, join.ErrInconsistent)
	}
	return nil
}

// changesOf gives what the deltas change in each of proofBuckets buckets, oldest first.
func changesOf(ctx context.Context, ring [][]byte, first int, pace *Pace) ([proofBuckets][]join.Change, error) {
	var later [proofBuckets][]join.Change
	for i, delta := range ring {
		n := 0
		for c, err := range join.ReadDelta(delta) {
			if err != nil {
				return later, fmt.Errorf("read delta %d of the ring: %w", i, err)
			}
			if b := c.Bucket - first; b >= 0 && b < proofBuckets {
				later[b] = append(later[b], c)
			}
			if n++; n%1024 == 0 {
				if err := pace.Rest(ctx); err != nil {
					return later, err
				}
			}
		}
		if err := pace.Rest(ctx); err != nil {
			return later, err
		}
	}
	return later, nil
}

// A tally is what meta says of all payments.
type tally struct {
	Payments int    `json:"payments"`
	Checksum uint64 `json:"checksum"`
}

// loadHead loads a state's meta as that of a state without payments, and gives what it
// says of them.
func loadHead(meta []byte) (said tally, err error) {
	var fields map[string]json.RawMessage
	if err := json.Unmarshal(meta, &said); err != nil {
		return said, fmt.Errorf("decode state: %w", err)
	}
	if err := json.Unmarshal(meta, &fields); err != nil {
		return said, fmt.Errorf("decode state: %w", err)
	}
	fields["payments"], fields["checksum"] = json.RawMessage("0"), json.RawMessage("0")
	empty, err := json.Marshal(fields)
	if err != nil {
		return said, fmt.Errorf("encode state: %w", err)
	}
	_, _, err = join.Load(empty, nil, nil)
	return said, err
}

// add counts a packed payment. Its checksum is reckoned here as in join's table, which
// shows it in meta only; TestLoadsAsJoinDoes holds the two together.
func (t *tally) add(packed []byte) {
	const part = 1 << 10
	t.Payments++
	for n := uint64(0); len(packed) > 0; n++ {
		size := min(part, len(packed))
		t.Checksum += xxhash.Sum64(packed[:size]) * (2*n + 1)
		packed = packed[size:]
	}
}
