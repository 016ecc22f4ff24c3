package statestore

import (
	"context"
	"errors"
	"fmt"
	"strconv"

	"github.com/redis/go-redis/v9"

	"settlewatch/pipelines/stage"
)

// Snapshot reads a whole state beside its owner, who goes on committing: it draws
// no token and makes nobody wait. Load would start over at every commit.
//
// The ring comes first, then bucket after bucket, then what the ring has grown by,
// with meta of the same moment. A bucket is of some commit in between; what changed
// since it was written is in the deltas from the first that was read on, and each
// delta holds the whole of what it changes. So buckets, then deltas in order, give
// the state of the last commit. The deltas go further back than the stored ring:
// RingFirst is the first one here. join.Load holds the result to its checksum.
func (p *Partition) Snapshot(ctx context.Context) (stage.Stored, error) {
	for range maxLoadAttempts {
		stored, err := p.snapshotOnce(ctx)
		if errors.Is(err, errMoved) || errors.Is(err, ErrTrimmed) {
			continue
		}
		return stored, err
	}
	return stage.Stored{}, fmt.Errorf("read beside the owner of %s: %w", p.name, errKeepsChanging)
}

// errMoved is a state that changed in another way than by commits: a take-over, a
// wipe, a roll-back.
var errMoved = errors.New("the state moved while it was read")

func (p *Partition) snapshotOnce(ctx context.Context) (stage.Stored, error) {
	tail := snapshotTail{partition: p}
	if err := tail.read(ctx); err != nil || tail.stored.Meta == nil {
		return stage.Stored{}, err
	}
	buckets := make(map[string][]byte)
	var cursor uint64
	for {
		err := p.run(ctx, "read the snapshot of", func() error {
			pairs, next, err := p.client.rdb.HScan(ctx, p.keys[2], cursor, "", bucketsPerRead).Result()
			if err != nil {
				return err
			}
			for i := 0; i+1 < len(pairs); i += 2 {
				buckets[pairs[i]] = []byte(pairs[i+1])
			}
			cursor = next
			return nil
		})
		if err != nil {
			return stage.Stored{}, err
		}
		// The ring is followed on the way, so that it is not trimmed beyond what was read.
		if err := tail.read(ctx); err != nil {
			return stage.Stored{}, err
		}
		if cursor == 0 {
			break
		}
	}
	for field, value := range buckets {
		index, err := strconv.Atoi(field)
		if err != nil || index < 0 {
			return stage.Stored{}, p.corrupt("the snapshot has a bucket %q", field)
		}
		tail.stored.Buckets = append(tail.stored.Buckets, stage.Bucket{Index: index, Value: value})
	}
	return tail.stored, nil
}

// snapshotTail follows the ring of one token, from its first delta on.
type snapshotTail struct {
	partition *Partition
	token     string
	stored    stage.Stored
	// ringFirst is the stored ring's first sequence, as it was seen last.
	ringFirst uint64
}

// ringMargin is how many deltas before the next are read again: an index into the
// list counts from the ring's first, which a commit may trim before the list is read.
const ringMargin = 8

// read takes what the ring has grown by, and meta of the same moment. Where nothing
// is stored, it takes nothing.
func (t *snapshotTail) read(ctx context.Context) error {
	for {
		s, token, from, deltas, err := t.part(ctx)
		switch {
		case err != nil:
			return err
		case t.token == "" && s.Meta == nil:
			return nil
		case t.token == "":
			t.token, t.stored.RingFirst = token, s.RingFirst
		}
		next := t.stored.RingFirst + uint64(len(t.stored.Ring))
		switch t.ringFirst = s.RingFirst; {
		case s.Meta == nil || token != t.token || s.Sequence+1 < next:
			return errMoved
		case next < s.RingFirst:
			return ErrTrimmed
		}
		// deltas[0] is of sequence RingFirst + from.
		if first := s.RingFirst + from; first <= next {
			for i := next - first; i < uint64(len(deltas)); i++ {
				t.stored.Ring = append(t.stored.Ring, []byte(deltas[i]))
			}
		}
		if t.stored.RingFirst+uint64(len(t.stored.Ring)) == s.Sequence+1 {
			t.stored.Sequence, t.stored.Offset, t.stored.Meta = s.Sequence, s.Offset, s.Meta
			return nil
		}
	}
}

// part reads meta and the next deltas at one moment. from is the index of the first
// of them in the stored ring.
func (t *snapshotTail) part(ctx context.Context) (s stage.Stored, token string, from uint64, deltas []string, err error) {
	p := t.partition
	next := t.stored.RingFirst + uint64(len(t.stored.Ring))
	if next > t.ringFirst+ringMargin {
		from = next - t.ringFirst - ringMargin
	}
	err = p.run(ctx, "read the ring of", func() error {
		var fields *redis.SliceCmd
		var list *redis.StringSliceCmd
		_, err := p.client.rdb.TxPipelined(ctx, func(tx redis.Pipeliner) error {
			fields = tx.HMGet(ctx, p.keys[0], headFields...)
			list = tx.LRange(ctx, p.keys[1], int64(from), int64(from)+ringMargin+deltasPerRead-1)
			return nil
		})
		if err != nil {
			return err
		}
		h := headOf(fields.Val())
		if !h.stored {
			s = stage.Stored{}
			return nil
		}
		token, deltas = h.token, list.Val()
		s, err = h.parse(p.name)
		if err == nil && uint64(len(deltas)) < min(s.Sequence+1-s.RingFirst-min(from, s.Sequence+1-s.RingFirst), ringMargin+deltasPerRead) {
			return p.corrupt("the ring is shorter than its %d deltas", s.Sequence+1-s.RingFirst)
		}
		return err
	})
	return s, token, from, deltas, err
}
