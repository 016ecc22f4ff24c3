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
	var before head
	err := p.run(ctx, "look at", func() (err error) {
		before, err = p.head(ctx, p.client.rdb)
		return err
	})
	if err != nil || !before.stored {
		return stage.Stored{}, err
	}
	first, err := before.parse(p.name)
	if err != nil {
		return stage.Stored{}, err
	}
	tail := snapshotTail{partition: p, token: before.token, stored: stage.Stored{RingFirst: first.RingFirst}}
	if err := tail.read(ctx); err != nil {
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

// snapshotTail follows the ring of one token.
type snapshotTail struct {
	partition *Partition
	token     string
	stored    stage.Stored
}

// read takes what the ring has grown by, and meta of the same moment.
func (t *snapshotTail) read(ctx context.Context) error {
	p := t.partition
	for {
		next := t.stored.RingFirst + uint64(len(t.stored.Ring))
		var h head
		var deltas []string
		err := p.run(ctx, "read the ring of", func() error {
			at, err := p.head(ctx, p.client.rdb)
			if err != nil {
				return err
			}
			s, err := at.parse(p.name)
			if err != nil || at.token != t.token || s.Sequence+1 < next {
				return errMoved
			}
			if next < s.RingFirst {
				return ErrTrimmed
			}
			var fields *redis.SliceCmd
			var list *redis.StringSliceCmd
			from := int64(next - s.RingFirst)
			_, err = p.client.rdb.TxPipelined(ctx, func(tx redis.Pipeliner) error {
				fields = tx.HMGet(ctx, p.keys[0], headFields...)
				list = tx.LRange(ctx, p.keys[1], from, from+deltasPerRead-1)
				return nil
			})
			if err != nil {
				return err
			}
			h, deltas = headOf(fields.Val()), list.Val()
			if h.ringFirst != at.ringFirst || h.token != t.token {
				deltas, h.stored = nil, false // trimmed in between: once more
			}
			return nil
		})
		if err != nil {
			return err
		}
		if !h.stored {
			continue
		}
		s, err := h.parse(p.name)
		if err != nil {
			return err
		}
		for _, d := range deltas {
			t.stored.Ring = append(t.stored.Ring, []byte(d))
		}
		next += uint64(len(deltas))
		if next > s.Sequence {
			t.stored.Sequence, t.stored.Offset, t.stored.Meta = s.Sequence, s.Offset, s.Meta
			return nil
		}
		if len(deltas) == 0 {
			return p.corrupt("the ring ends before sequence %d, the last is %d", next, s.Sequence)
		}
	}
}
