package statestore

import (
	"cmp"
	"context"
	"crypto/rand"
	_ "embed" // the scripts
	"errors"
	"fmt"
	"strconv"

	"github.com/redis/go-redis/v9"

	"settlewatch/pipelines/stage"
)

var (
	//go:embed acquire.lua
	acquireSource string
	//go:embed commit.lua
	commitSource string

	acquireScript = redis.NewScript(acquireSource)
	commitScript  = redis.NewScript(commitSource)
)

// Partition is the state of one log partition, as seen by one owner: the token
// that Acquire draws is the Partition's own. An owner is used by one goroutine
// at a time; reading from outside needs no token and may be concurrent.
type Partition struct {
	client *Client
	name   string
	keys   []string // meta, ring, seg
	token  string   // empty: not acquired
}

var _ stage.State = (*Partition)(nil)

// Acquire draws a new token, which fences every earlier owner, this one's own
// earlier token included.
func (p *Partition) Acquire(ctx context.Context) error {
	p.token = ""
	random := rand.Text()
	return p.run(ctx, "acquire", func() error {
		token, err := acquireScript.Run(ctx, p.client.rdb, p.keys[:1], random).Text()
		if err != nil {
			return err
		}
		p.token = token
		return nil
	})
}

// Commit applies c once, and repeats it unchanged until Redis answers or ctx
// ends. When ctx ends it is unknown whether c was applied; the same c may be
// committed again, or the partition acquired and loaded anew.
// It returns stage.ErrFenced, which is final, when token, sequence or offset are
// not the stored ones, and a LimitError when c is too large.
func (p *Partition) Commit(ctx context.Context, c stage.Commit) error {
	if p.token == "" {
		return &fencedError{partition: p.name, sequence: c.Sequence, reason: "the partition was not acquired"}
	}
	args, err := commitArgs(p.token, c)
	if err != nil {
		return fmt.Errorf("commit sequence %d of %s: %w", c.Sequence, p.name, err)
	}
	return p.run(ctx, "commit", func() error {
		answer, err := commitScript.Run(ctx, p.client.rdb, p.keys, args...).StringSlice()
		if err != nil {
			return err
		}
		if len(answer) != 3 {
			return &CorruptError{Partition: p.name, Reason: fmt.Sprintf("the commit script answered %d values instead of 3", len(answer))}
		}
		switch verdict := answer[0]; verdict {
		case "applied", "done":
			return nil
		case "token":
			return &fencedError{partition: p.name, sequence: c.Sequence, reason: "another owner has acquired it, or it was wiped"}
		default:
			return &fencedError{partition: p.name, sequence: c.Sequence, reason: fmt.Sprintf(
				"its %s does not follow what is stored (sequence %q, offset %q; the commit goes from offset %d to %d)",
				verdict, answer[1], answer[2], c.FromOffset, c.ToOffset)}
		}
	})
}

// Wipe removes everything that is stored of the partition, the owner's token
// too: its next commit is fenced. A rebuild starts with it.
func (p *Partition) Wipe(ctx context.Context) error {
	return p.run(ctx, "wipe", func() error {
		return p.client.rdb.Unlink(ctx, p.keys...).Err()
	})
}

var errSequenceZero = errors.New("sequences start at 1")

// commitArgs lays c out as commit.lua wants it.
func commitArgs(token string, c stage.Commit) ([]any, error) {
	if c.Sequence == 0 {
		return nil, errSequenceZero
	}
	if c.ToOffset < c.FromOffset {
		return nil, fmt.Errorf("to-offset %d is below from-offset %d", c.ToOffset, c.FromOffset)
	}
	if len(c.Buckets) > MaxCommitBuckets {
		return nil, &LimitError{What: "buckets", Got: len(c.Buckets), Max: MaxCommitBuckets}
	}
	size := len(c.Meta) + len(c.Delta)
	seen := make(map[int]struct{}, len(c.Buckets))
	var removed, written []any
	for _, b := range c.Buckets {
		if _, again := seen[b.Index]; again || b.Index < 0 {
			return nil, fmt.Errorf("bucket %d is negative or given twice", b.Index)
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
		return nil, &LimitError{What: "bytes", Got: size, Max: MaxCommitBytes}
	}
	first, keep := trim(c)
	args := append(make([]any, 0, 10+len(removed)+len(written)),
		token, decimal(c.Sequence), decimal(c.Sequence-1),
		strconv.FormatInt(c.FromOffset, 10), strconv.FormatInt(c.ToOffset, 10),
		c.Meta, c.Delta, first, keep, strconv.Itoa(len(removed)))
	args = append(args, removed...)
	return append(args, written...), nil
}

// trim says which sequence the ring starts with after a trim to c.TrimTo, and
// how many deltas are then in it; both are empty when nothing can be below it.
func trim(c stage.Commit) (first, keep string) {
	switch {
	case c.TrimTo <= 1:
		return "", ""
	case c.TrimTo > c.Sequence:
		// Nothing stays; the next commit's delta is the first.
		return decimal(c.Sequence + 1), "0"
	default:
		return decimal(c.TrimTo), decimal(c.Sequence - c.TrimTo + 1)
	}
}

func decimal(n uint64) string { return strconv.FormatUint(n, 10) }

// fencedError is stage.ErrFenced with what was found. Token values stay out of
// it: whoever has one can commit.
type fencedError struct {
	partition string
	verb      string // defaults to commit
	sequence  uint64
	reason    string
}

func (e *fencedError) Error() string {
	if e.sequence == 0 {
		return fmt.Sprintf("load %s: %s: %s", e.partition, stage.ErrFenced, e.reason)
	}
	return fmt.Sprintf("%s sequence %d of %s: %s: %s", cmp.Or(e.verb, "commit"), e.sequence, e.partition, stage.ErrFenced, e.reason)
}

func (e *fencedError) Unwrap() error { return stage.ErrFenced }
