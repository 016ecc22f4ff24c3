package statestore

import (
	"context"
	"errors"
	"slices"
	"strconv"

	"github.com/redis/go-redis/v9"

	"settlewatch/pipelines/stage"
)

// Snapshot reads a state beside its owner, who goes on committing: it draws
// no token and makes nobody wait. Load would start over at every commit. It reads
// pages of about pageBytes and calls rest after each; what rest says ends it. It may
// take its time, as long as the owner commits by the same Client (holds): beside
// another's it ends with ErrTrimmed where the ring was trimmed beyond what it has read.
// ErrMoved: the state changed in another way than by commits.
//
// The buckets go to the sink, one after the other; all else is what it gives, Meta nil
// and nothing to the sink where nothing is stored.
//
// The ring comes first, then bucket after bucket, then what the ring has grown by,
// with meta of the same moment. A bucket is of some commit in between; what changed
// since it was written is in the deltas from the first that was read on, and each
// delta says what it changes. One that was stored after the first look at which there
// are is in the deltas altogether. So buckets, then deltas in order, give
// the state of the last commit. The deltas go further back than the stored ring:
// RingFirst is the first one here. join.Load holds the result to its checksum.
func (p *Partition) Snapshot(ctx context.Context, into stage.Sink, rest func(context.Context) error) (stage.Stored, error) {
	h := p.client.holds.hold(p.name)
	defer h.release()
	tail := snapshotTail{partition: p, hold: h, rest: rest, page: page{entries: 1, most: deltasPerRead}}
	if err := tail.read(ctx); err != nil || tail.stored.Meta == nil {
		return stage.Stored{}, err
	}
	if err := into.Begin(tail.stored.Offset); err != nil {
		return stage.Stored{}, err
	}
	indexes, err := p.bucketIndexes(ctx)
	if err != nil {
		return stage.Stored{}, err
	}
	next := page{entries: 1, most: bucketsPerRead}
	for len(indexes) > 0 {
		n := min(next.entries, len(indexes))
		bytes, err := p.copyBuckets(ctx, indexes[:n], into)
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
		next.was(n, bytes)
		indexes = indexes[n:]
	}
	return tail.stored, nil
}

// ErrMoved is a state that changed in another way than by commits while it was read: a
// take-over, a wipe, a roll-back.
var ErrMoved = errors.New("the state moved while it was read")

// bucketIndexes are those that are stored, in ascending order.
func (p *Partition) bucketIndexes(ctx context.Context) (indexes []int, err error) {
	var fields []string
	err = p.run(ctx, "read the snapshot of", func() (err error) {
		fields, err = p.client.rdb.HKeys(ctx, p.keys[2]).Result()
		return err
	})
	for _, field := range fields {
		index, err := strconv.Atoi(field)
		if err != nil || index < 0 {
			return nil, p.corrupt("the snapshot has a bucket %q", field)
		}
		indexes = append(indexes, index)
	}
	slices.Sort(indexes)
	return indexes, err
}

// copyBuckets gives some buckets to the sink, and how many bytes they have. One that was
// removed meanwhile is none.
func (p *Partition) copyBuckets(ctx context.Context, indexes []int, into stage.Sink) (bytes int, err error) {
	fields := make([]string, len(indexes))
	for i, index := range indexes {
		fields[i] = strconv.Itoa(index)
	}
	var values []any
	err = p.run(ctx, "read the snapshot of", func() (err error) {
		values, err = p.client.rdb.HMGet(ctx, p.keys[2], fields...).Result()
		return err
	})
	for i, value := range values {
		text, found := value.(string)
		if !found {
			continue
		}
		if err := into.Bucket(stage.Bucket{Index: indexes[i], Value: []byte(text)}); err != nil {
			return bytes, err
		}
		bytes += len(text)
	}
	return bytes, err
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
			return ErrMoved
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
			return ErrMoved
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
