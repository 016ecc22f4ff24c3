package statestore

import (
	"context"
	"fmt"
	"strconv"

	"github.com/redis/go-redis/v9"

	"settlewatch/pipelines/stage"
)

var errKeepsChanging = fmt.Errorf("state changed while it was read, %d times in a row", maxLoadAttempts)

// Load reads everything that is stored: first meta, then snapshot and ring in
// chunks, then token and sequence again. Token and sequence together name one
// state (a token is never drawn twice), so chunks between two equal looks belong
// together; otherwise Load starts over.
//
// An owner that another has replaced gets stage.ErrFenced: what it would read is
// not its to continue. A Partition that was never acquired may load too, to look
// at a partition without disturbing its owner.
// A CorruptError says that what is stored contradicts itself.
func (p *Partition) Load(ctx context.Context) (stage.Stored, error) {
	for range maxLoadAttempts {
		var stored stage.Stored
		var changed bool
		err := p.run(ctx, "load", func() (err error) {
			stored, changed, err = p.loadOnce(ctx)
			return err
		})
		if err != nil {
			return stage.Stored{}, err
		}
		if !changed {
			return stored, nil
		}
	}
	return stage.Stored{}, fmt.Errorf("load %s: %w", p.name, errKeepsChanging)
}

// loadOnce judges what it read only after the second look: what seems corrupt
// may have been changed while it was read.
func (p *Partition) loadOnce(ctx context.Context) (s stage.Stored, changed bool, err error) {
	before, err := p.head(ctx, p.client.rdb)
	if err != nil {
		return s, false, err
	}
	if p.token != "" && before.token != p.token {
		return s, false, &fencedError{partition: p.name, reason: "another owner has acquired it, or it was wiped"}
	}
	if !before.stored {
		return s, false, nil
	}
	buckets, err := p.readBuckets(ctx)
	if err != nil {
		return s, false, err
	}
	ring, err := p.readRing(ctx)
	if err != nil {
		return s, false, err
	}
	after, err := p.head(ctx, p.client.rdb)
	if err != nil {
		return s, false, err
	}
	if before.token != after.token || before.seq != after.seq {
		return s, true, nil
	}
	if s, err = before.parse(p.name); err != nil {
		return s, false, err
	}
	if got, want := uint64(len(ring)), s.Sequence-s.RingFirst+1; got != want {
		return stage.Stored{}, false, p.corrupt("the ring has %d deltas, not %d (sequences %d to %d)", got, want, s.RingFirst, s.Sequence)
	}
	s.Ring = ring
	s.Buckets = make([]stage.Bucket, 0, len(buckets))
	for field, value := range buckets {
		index, err := strconv.Atoi(field)
		if err != nil || index < 0 {
			return stage.Stored{}, false, p.corrupt("the snapshot has a bucket %q", field)
		}
		s.Buckets = append(s.Buckets, stage.Bucket{Index: index, Value: value})
	}
	return s, false, nil
}

// readBuckets scans the snapshot. HSCAN may give a field twice when the hash is
// resized meanwhile; it gives each at least once as long as nobody writes, and
// the second look says whether somebody did.
func (p *Partition) readBuckets(ctx context.Context) (map[string][]byte, error) {
	buckets := make(map[string][]byte)
	var cursor uint64
	for {
		pairs, next, err := p.client.rdb.HScan(ctx, p.keys[2], cursor, "", bucketsPerRead).Result()
		if err != nil {
			return nil, err
		}
		for i := 0; i+1 < len(pairs); i += 2 {
			buckets[pairs[i]] = []byte(pairs[i+1])
		}
		if next == 0 {
			return buckets, nil
		}
		cursor = next
	}
}

func (p *Partition) readRing(ctx context.Context) ([][]byte, error) {
	var ring [][]byte
	for {
		from := int64(len(ring))
		deltas, err := p.client.rdb.LRange(ctx, p.keys[1], from, from+deltasPerRead-1).Result()
		if err != nil {
			return nil, err
		}
		for _, d := range deltas {
			ring = append(ring, []byte(d))
		}
		if len(deltas) < deltasPerRead {
			return ring, nil
		}
	}
}

func (p *Partition) corrupt(format string, args ...any) error {
	return &CorruptError{Partition: p.name, Reason: fmt.Sprintf(format, args...)}
}

// head is the meta hash as it is stored, all of one moment.
type head struct {
	token, seq, offset, meta, ringFirst string
	stored, complete                    bool
}

var headFields = []string{"token", "seq", "offset", "meta", "ring_first"}

func (p *Partition) head(ctx context.Context, rdb redis.Cmdable) (head, error) {
	values, err := rdb.HMGet(ctx, p.keys[0], headFields...).Result()
	if err != nil {
		return head{}, err
	}
	return headOf(values), nil
}

func headOf(values []any) head {
	h := head{complete: true}
	for i, to := range []*string{&h.token, &h.seq, &h.offset, &h.meta, &h.ringFirst} {
		text, ok := values[i].(string)
		*to = text
		h.complete = h.complete && ok
		if headFields[i] == "seq" {
			h.stored = ok
		}
	}
	return h
}

// parse gives everything but buckets and ring.
func (h head) parse(partition string) (stage.Stored, error) {
	sequence, errSequence := strconv.ParseUint(h.seq, 10, 64)
	offset, errOffset := strconv.ParseInt(h.offset, 10, 64)
	first, errFirst := strconv.ParseUint(h.ringFirst, 10, 64)
	if !h.complete || errSequence != nil || errOffset != nil || errFirst != nil ||
		sequence == 0 || first == 0 || first-1 > sequence {
		return stage.Stored{}, &CorruptError{Partition: partition, Reason: fmt.Sprintf(
			"meta has sequence %q, offset %q, ring_first %q", h.seq, h.offset, h.ringFirst)}
	}
	return stage.Stored{Sequence: sequence, Offset: offset, Meta: []byte(h.meta), RingFirst: first}, nil
}
