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
	var later changes
	for first := 0; first < join.BucketCount; first += proofBuckets {
		if err := later.read(ctx, s.Ring, first, pace); err != nil {
			return err
		}
		for i, changed := range later {
			index := first + i
			if values[index] == nil && len(changed) == 0 {
				continue
			}
			payments, err := join.ReadBucket(index, values[index], changed)
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
