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
// no token and makes nobody wait. Load would start over at every commit. It reads
// pages of about pageBytes and calls rest after each; what rest says ends it. It may
// take its time, as long as the owner commits by the same Client (holds); beside
// another's it starts over where the ring was trimmed beyond what it has read.
//
// The ring comes first, then bucket after bucket, then what the ring has grown by,
// with meta of the same moment. A bucket is of some commit in between; what changed
// since it was written is in the deltas from the first that was read on, and each
// delta says what it changes. So buckets, then deltas in order, give
// the state of the last commit. The deltas go further back than the stored ring:
// RingFirst is the first one here. join.Load holds the result to its checksum.
func (p *Partition) Snapshot(ctx context.Context, rest func(context.Context) error) (stage.Stored, error) {
	h := p.client.holds.hold(p.name)
	defer h.release()
	for range maxLoadAttempts {
		h.move(0)
		stored, err := p.snapshotOnce(ctx, h, rest)
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

func (p *Partition) snapshotOnce(ctx context.Context, h *hold, rest func(context.Context) error) (stage.Stored, error) {
	tail := snapshotTail{partition: p, hold: h, rest: rest, page: page{entries: 1, most: deltasPerRead}}
	if err := tail.read(ctx); err != nil || tail.stored.Meta == nil {
		return stage.Stored{}, err
	}
	buckets := make(map[string][]byte)
	next := page{entries: 1, most: bucketsPerRead}
	for cursor := uint64(0); ; {
		err := p.run(ctx, "read the snapshot of", func() error {
			pairs, after, err := p.client.rdb.HScan(ctx, p.keys[2], cursor, "", int64(next.entries)).Result()
			if err != nil {
				return err
			}
			bytes := 0
			for i := 0; i+1 < len(pairs); i += 2 {
				buckets[pairs[i]] = []byte(pairs[i+1])
				bytes += len(pairs[i+1])
			}
			next.was(len(pairs)/2, bytes)
			cursor = after
			return nil
		})
		if err == nil {
			err = rest(ctx)
		}
		if err == nil {
			// The ring is followed on the way: the owner trims what was read of it.
			err = tail.read(ctx)
		}
		if err != nil {
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

// A page is how many entries to read next: about pageBytes, if they are as large as
// those before.
type page struct{ entries, most int }

// was notes what one was.
func (p *page) was(entries, bytes int) {
	if entries > 0 {
		p.entries = max(1, min(p.most, 2*p.entries, pageBytes*entries/max(1, bytes)))
	}
}

// snapshotTail follows the ring of one token, from its first delta on.
type snapshotTail struct {
	partition *Partition
	hold      *hold
	rest      func(context.Context) error
	page      page
	token     string
	stored    stage.Stored
}

// read takes what the ring has grown by, and meta of the same moment. Where nothing
// is stored, it takes nothing. It rests until it has what was there when it began, and
// not on what came meanwhile: an owner may commit faster than a reader who rests reads.
func (t *snapshotTail) read(ctx context.Context) error {
	for target := uint64(0); ; {
		ringFirst, last, err := t.look(ctx)
		if err != nil || last == t.stored.Sequence && t.stored.Meta != nil {
			return err
		}
		if target == 0 {
			target = last
		}
		s, token, from, deltas, err := t.part(ctx, ringFirst)
		switch {
		case err != nil:
			return err
		case t.token == "" && s.Meta == nil:
			return nil
		case t.token == "":
			t.token, t.stored.RingFirst = token, s.RingFirst
		}
		next := t.next()
		switch {
		case s.Meta == nil || token != t.token || s.Sequence+1 < next:
			return errMoved
		case next < s.RingFirst:
			return ErrTrimmed
		}
		// deltas[0] is of sequence RingFirst + from: beyond next, where the ring was trimmed
		// since it was looked at.
		bytes := 0
		if first := s.RingFirst + from; first <= next {
			for i := next - first; i < uint64(len(deltas)); i++ {
				t.stored.Ring = append(t.stored.Ring, []byte(deltas[i]))
				bytes += len(deltas[i])
			}
			t.page.was(len(deltas), bytes)
		}
		t.hold.move(t.next())
		if t.next() == s.Sequence+1 {
			t.stored.Sequence, t.stored.Offset, t.stored.Meta = s.Sequence, s.Offset, s.Meta
			return nil
		}
		if t.next() <= target {
			if err := t.rest(ctx); err != nil {
				return err
			}
		}
	}
}

// next is the sequence of the delta to read next.
func (t *snapshotTail) next() uint64 { return t.stored.RingFirst + uint64(len(t.stored.Ring)) }

// look asks where the ring begins and ends.
func (t *snapshotTail) look(ctx context.Context) (first, last uint64, err error) {
	p := t.partition
	err = p.run(ctx, "read the ring of", func() error {
		values, err := p.client.rdb.HMGet(ctx, p.keys[0], "token", "seq", "ring_first").Result()
		if err != nil {
			return err
		}
		var text [3]string
		for i := range text {
			text[i], _ = values[i].(string)
		}
		// What is missing or no number, part finds out.
		first, _ = strconv.ParseUint(text[2], 10, 64)
		last, _ = strconv.ParseUint(text[1], 10, 64)
		if t.token != "" && text[0] != t.token {
			return errMoved
		}
		return nil
	})
	return first, last, err
}

// part reads meta and the next deltas at one moment. from is the index of the first
// of them in the stored ring; where that begins was seen a moment ago.
func (t *snapshotTail) part(ctx context.Context, ringFirst uint64) (s stage.Stored, token string, from uint64, deltas []string, err error) {
	p := t.partition
	if next := t.next(); next > ringFirst && t.token != "" {
		from = next - ringFirst
	}
	count := uint64(t.page.entries)
	err = p.run(ctx, "read the ring of", func() error {
		var fields *redis.SliceCmd
		var list *redis.StringSliceCmd
		_, err := p.client.rdb.TxPipelined(ctx, func(tx redis.Pipeliner) error {
			fields = tx.HMGet(ctx, p.keys[0], headFields...)
			list = tx.LRange(ctx, p.keys[1], int64(from), int64(from+count)-1)
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
		if err == nil && uint64(len(deltas)) < min(s.Sequence+1-s.RingFirst-min(from, s.Sequence+1-s.RingFirst), count) {
			return p.corrupt("the ring is shorter than its %d deltas", s.Sequence+1-s.RingFirst)
		}
		return err
	})
	return s, token, from, deltas, err
}
