package statestore

import (
	"context"
	_ "embed" // the script
	"errors"
	"fmt"
	"strconv"

	"github.com/redis/go-redis/v9"

	"settlewatch/pipelines/stage"
)

var (
	//go:embed restore.lua
	restoreSource string
	restoreScript = redis.NewScript(restoreSource)
)

// restoreBytes bounds one step of Restore.
const restoreBytes = 4 << 20

var errSequenceRing = errors.New("the ring does not end at the sequence")

// Restore stores a whole state, as Load gave it, where nothing is stored. It is
// applied whole or not at all: what a crash leaves half-way is nothing to whoever
// loads next. Every step is repeated unchanged until Redis answers or ctx ends.
// It returns stage.ErrFenced, which is final, when another owner has acquired the
// partition or something is stored.
func (p *Partition) Restore(ctx context.Context, s stage.Stored) error {
	if p.token == "" {
		return &fencedError{partition: p.name, verb: "restore", sequence: s.Sequence, reason: "the partition was not acquired"}
	}
	if s.Sequence == 0 || s.RingFirst == 0 || s.RingFirst+uint64(len(s.Ring)) != s.Sequence+1 {
		return fmt.Errorf("restore %s: sequence %d with %d deltas from %d: %w", p.name, s.Sequence, len(s.Ring), s.RingFirst, errSequenceRing)
	}
	done, err := p.restored(ctx, s)
	if err != nil || done {
		return err
	}
	if err := p.restoreStep(ctx, s, "begin"); err != nil {
		return err
	}
	if err := p.restoreBuckets(ctx, s); err != nil {
		return err
	}
	if err := p.restoreRing(ctx, s); err != nil {
		return err
	}
	return p.restoreStep(ctx, s, "end", decimal(s.Sequence), strconv.FormatInt(s.Offset, 10), s.Meta, decimal(s.RingFirst),
		strconv.Itoa(len(s.Ring)), strconv.Itoa(len(s.Buckets)))
}

// restored tells whether an earlier call has stored s, whose reply was lost.
func (p *Partition) restored(ctx context.Context, s stage.Stored) (done bool, err error) {
	err = p.run(ctx, "restore", func() error {
		h, err := p.head(ctx, p.client.rdb)
		done = err == nil && h.token == p.token && h.seq == decimal(s.Sequence) && h.offset == strconv.FormatInt(s.Offset, 10)
		return err
	})
	return done, err
}

func (p *Partition) restoreBuckets(ctx context.Context, s stage.Stored) error {
	var args []any
	size := 0
	for i, b := range s.Buckets {
		args = append(args, strconv.Itoa(b.Index), b.Value)
		if size += len(b.Value); size < restoreBytes && len(args) < bucketsPerRead && i < len(s.Buckets)-1 {
			continue
		}
		if err := p.restoreStep(ctx, s, "buckets", args...); err != nil {
			return err
		}
		args, size = args[:0], 0
	}
	return nil
}

func (p *Partition) restoreRing(ctx context.Context, s stage.Stored) error {
	for first := 0; first < len(s.Ring); {
		args := []any{strconv.Itoa(first)}
		for size := 0; first < len(s.Ring) && size < restoreBytes && len(args) <= bucketsPerRead; first++ {
			args = append(args, s.Ring[first])
			size += len(s.Ring[first])
		}
		if err := p.restoreStep(ctx, s, "ring", args...); err != nil {
			return err
		}
	}
	return nil
}

func (p *Partition) restoreStep(ctx context.Context, s stage.Stored, step string, args ...any) error {
	return p.run(ctx, "restore", func() error {
		verdict, err := restoreScript.Run(ctx, p.client.rdb, p.keys, append([]any{p.token, step}, args...)...).Text()
		if err != nil {
			return err
		}
		switch verdict {
		case "applied", "done":
			return nil
		case "token":
			return &fencedError{partition: p.name, verb: "restore", sequence: s.Sequence, reason: "another owner has acquired it, or it was wiped"}
		case "stored":
			return &fencedError{partition: p.name, verb: "restore", sequence: s.Sequence, reason: "something is stored already"}
		default:
			return &fencedError{partition: p.name, verb: "restore", sequence: s.Sequence, reason: "its parts are not those that were sent"}
		}
	})
}
