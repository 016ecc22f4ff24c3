package statestore

import (
	"context"
	"errors"
	"fmt"
	"strconv"

	"github.com/redis/go-redis/v9"

	"settlewatch/pipelines/stage"
)

// Commit applies c once, and repeats it unchanged until Redis answers or ctx
// ends. When ctx ends it is unknown whether c was applied; the same c may be
// committed again, or the partition acquired and loaded anew.
// It returns stage.ErrFenced, which is final, when token, sequence or offset are
// not the stored ones, and a LimitError when c is too large.
func (p *Partition) Commit(ctx context.Context, c stage.Commit) error {
	if p.token == "" {
		return &fencedError{partition: p.name, sequence: c.Sequence, reason: "the partition was not acquired"}
	}
	removed, written, err := bucketArgs(c)
	if err != nil {
		return fmt.Errorf("commit sequence %d of %s: %w", c.Sequence, p.name, err)
	}
	return p.run(ctx, "commit", func() error {
		err := p.client.rdb.Watch(ctx, func(tx *redis.Tx) error {
			l, err := p.look(ctx, tx)
			if err != nil {
				return err
			}
			done, err := p.judge(l, c)
			if err != nil || done {
				return err
			}
			if err := errors.Join(l.ringErr, l.segErr); err != nil {
				return err
			}
			return p.apply(ctx, tx, l, c, removed, written)
		}, p.keys...)
		if cluster, is := p.client.rdb.(*redis.ClusterClient); is && err != nil && !final(err) {
			// Watch of go-redis does not ask who the primaries are after a connection's error, as
			// single commands do.
			cluster.ReloadState(ctx)
		}
		return err
	})
}

// look is what a commit is judged by. All three keys are watched since before it was read: as
// long as it is not true any more, EXEC applies nothing.
type look struct {
	token, seq, offset string
	stored             bool  // a sequence is
	ring               int64 // deltas in it
	// ringErr and segErr say that a key has a wrong type. Redis does not undo what a transaction
	// has written when a later command of it fails, so this is found out before.
	ringErr, segErr error
}

func (p *Partition) look(ctx context.Context, tx *redis.Tx) (look, error) {
	var head *redis.SliceCmd
	var ring, seg *redis.IntCmd
	_, err := tx.Pipelined(ctx, func(pipe redis.Pipeliner) error {
		head = pipe.HMGet(ctx, p.keys[0], "token", "seq", "offset")
		ring, seg = pipe.LLen(ctx, p.keys[1]), pipe.HLen(ctx, p.keys[2])
		return nil
	})
	if head.Err() != nil {
		return look{}, err
	}
	l := look{ring: ring.Val(), ringErr: ring.Err(), segErr: seg.Err()}
	l.token, _ = head.Val()[0].(string)
	l.seq, l.stored = head.Val()[1].(string)
	l.offset, _ = head.Val()[2].(string)
	return l, nil
}

// judge says whether c may be applied: nil if it may, done if it was already, stage.ErrFenced
// otherwise. Sequences and offsets are compared as they are stored, for equality.
func (p *Partition) judge(l look, c stage.Commit) (done bool, err error) {
	var lacks string
	switch {
	case l.token != p.token:
		return false, &fencedError{partition: p.name, sequence: c.Sequence, reason: "another owner has acquired it, or it was wiped"}
	case !l.stored && c.Sequence == 1:
		return false, nil
	case !l.stored:
		lacks = "sequence"
	case l.seq == decimal(c.Sequence) && l.offset == strconv.FormatInt(c.ToOffset, 10):
		return true, nil
	case l.seq != decimal(c.Sequence-1):
		lacks = "sequence"
	case l.offset != strconv.FormatInt(c.FromOffset, 10):
		lacks = "offset"
	default:
		return false, nil
	}
	return false, &fencedError{partition: p.name, sequence: c.Sequence, reason: fmt.Sprintf(
		"its %s does not follow what is stored (sequence %q, offset %q; the commit goes from offset %d to %d)",
		lacks, l.seq, l.offset, c.FromOffset, c.ToOffset)}
}

// apply writes c in one transaction, which Redis drops whole when a watched key has changed
// (redis.TxFailedErr) or when it refuses one of its commands.
func (p *Partition) apply(ctx context.Context, tx *redis.Tx, l look, c stage.Commit, removed []string, written []any) error {
	meta, ring, seg := p.keys[0], p.keys[1], p.keys[2]
	fields := []any{"seq", decimal(c.Sequence), "offset", strconv.FormatInt(c.ToOffset, 10), "meta", c.Meta}
	deltas := uint64(l.ring) + 1
	if !l.stored {
		deltas = 1
	}
	c.TrimTo = p.client.holds.trimTo(p.name, c.TrimTo)
	first, keep := trim(c)
	trimmed := first != 0 && deltas > keep
	switch {
	case trimmed:
		fields = append(fields, "ring_first", decimal(first))
	case !l.stored:
		fields = append(fields, "ring_first", decimal(c.Sequence))
	}
	cmds, err := tx.TxPipelined(ctx, func(pipe redis.Pipeliner) error {
		pipe.HSet(ctx, meta, fields...)
		if !l.stored {
			// What a lost meta left behind belongs to no state.
			pipe.Del(ctx, ring, seg)
		}
		pipe.RPush(ctx, ring, c.Delta)
		switch {
		case trimmed && keep == 0:
			pipe.Del(ctx, ring)
		case trimmed:
			pipe.LTrim(ctx, ring, -int64(keep), -1)
		}
		if len(removed) > 0 {
			pipe.HDel(ctx, seg, removed...)
		}
		if len(written) > 0 {
			pipe.HSet(ctx, seg, written...)
		}
		return nil
	})
	return cause(cmds, err)
}

// cause is why Redis refused a transaction: what it answered to the command that it refused,
// rather than that the transaction is therefore dropped.
func cause(cmds []redis.Cmder, err error) error {
	if !redis.IsExecAbortError(err) {
		return err
	}
	for _, cmd := range cmds {
		if refused := cmd.Err(); refused != nil && !redis.IsExecAbortError(refused) {
			return refused
		}
	}
	return err
}

var errSequenceZero = errors.New("sequences start at 1")

// bucketArgs checks c and lays its buckets out for HDEL and HSET.
func bucketArgs(c stage.Commit) (removed []string, written []any, err error) {
	if c.Sequence == 0 {
		return nil, nil, errSequenceZero
	}
	if c.ToOffset < c.FromOffset {
		return nil, nil, fmt.Errorf("to-offset %d is below from-offset %d", c.ToOffset, c.FromOffset)
	}
	if len(c.Buckets) > MaxCommitBuckets {
		return nil, nil, &LimitError{What: "buckets", Got: len(c.Buckets), Max: MaxCommitBuckets}
	}
	size := len(c.Meta) + len(c.Delta)
	seen := make(map[int]struct{}, len(c.Buckets))
	for _, b := range c.Buckets {
		if _, again := seen[b.Index]; again || b.Index < 0 {
			return nil, nil, fmt.Errorf("bucket %d is negative or given twice", b.Index)
		}
		seen[b.Index] = struct{}{}
		size += len(b.Value)
		index := strconv.Itoa(b.Index)
		if len(b.Value) == 0 {
			removed = append(removed, index)
		} else {
			written = append(written, index, b.Value)
		}
	}
	if size > MaxCommitBytes {
		return nil, nil, &LimitError{What: "bytes", Got: size, Max: MaxCommitBytes}
	}
	return removed, written, nil
}

// trim says which sequence the ring starts with after a trim to c.TrimTo, and
// how many deltas are then in it; first is 0 when nothing can be below it.
func trim(c stage.Commit) (first, keep uint64) {
	switch {
	case c.TrimTo <= 1:
		return 0, 0
	case c.TrimTo > c.Sequence:
		// Nothing stays; the next commit's delta is the first.
		return c.Sequence + 1, 0
	default:
		return c.TrimTo, c.Sequence - c.TrimTo + 1
	}
}

func decimal(n uint64) string { return strconv.FormatUint(n, 10) }
