// Package rebuild has the joiner's state folded again from the log.
//
// What enters are partitions; what leaves is their state, as a joiner folds it from the
// beginning of the log, or from the newest checkpoint. Guaranteed: nothing is removed
// before it is certain that a fold can begin; and there is one writer. Rebuild takes the
// state away, which fences the owner, and the owner loads again: it folds, publishes and
// commits by the same code as ever. A second program that folded and wrote would have to
// be right about all of that too.
package rebuild

import (
	"context"
	"errors"
	"fmt"
	"time"

	"settlewatch/pipelines/checkpoint"
	"settlewatch/pipelines/stage"
	"settlewatch/pipelines/statestore"
	"settlewatch/schemas/topic"
	"settlewatch/tools/replay"
)

// Store is one partition's stored state.
type Store interface {
	ReadBucket(ctx context.Context, index int) (statestore.BucketView, error)
	Wipe(ctx context.Context) error
}

var _ Store = (*statestore.Partition)(nil)

// Options of a run.
type Options struct {
	Log         stage.Log
	Store       func(partition int32) Store
	Checkpoints *checkpoint.Store
	// FromCheckpoint keeps the checkpoints, so that the owner begins with the newest.
	// Otherwise they are discarded: what made the state wrong may be in them.
	FromCheckpoint bool
	// Partitions to rebuild; nil for all.
	Partitions []int32
	// Wait until the owners have folded up to the present end of the log.
	Wait bool
	// Patience is how long nothing may move while it waits. Defaults to 1m.
	Patience time.Duration
	// Progress is called now and then with records of the log; nil is silent.
	Progress func(done, total int64)
}

// Part is one partition.
type Part struct {
	Partition int32 `json:"partition"`
	// From is where the fold begins, End where the log ended when it was asked for.
	From int64 `json:"from"`
	End  int64 `json:"end"`
	// Offset that is stored at the end; with Options.Wait it is End or beyond.
	Offset int64 `json:"offset"`
}

// Report is the result.
type Report struct {
	Parts []Part `json:"partitions"`
}

// ErrBeginning is a log whose beginning is gone.
var ErrBeginning = errors.New("the log does not reach back to its beginning")

// ErrNoCheckpoint is a partition without a whole checkpoint that lies within its log.
var ErrNoCheckpoint = errors.New("there is no whole checkpoint that lies within the log")

// ErrNobody says that nothing is stored though the state was taken away: no joiner
// owns the partition, or it refuses.
var ErrNobody = errors.New("no joiner folds it: start one, or look at /readyz of those that run; it needs no other command")

const pollEvery = 200 * time.Millisecond

// Run checks every partition first, then takes their states away.
func Run(ctx context.Context, o Options) (*Report, error) {
	if o.Patience == 0 {
		o.Patience = time.Minute
	}
	if o.Partitions == nil {
		n, err := o.Log.Partitions(ctx, topic.PaymentLog.Name)
		if err != nil {
			return nil, fmt.Errorf("partitions of %s: %w", topic.PaymentLog.Name, err)
		}
		for p := range n {
			o.Partitions = append(o.Partitions, int32(p))
		}
	}
	report := &Report{}
	for _, p := range o.Partitions {
		part, err := o.check(ctx, p)
		if err != nil {
			return nil, fmt.Errorf("partition %d: %w; nothing was changed", p, err)
		}
		report.Parts = append(report.Parts, part)
	}
	for _, part := range report.Parts {
		if err := o.takeAway(ctx, part.Partition); err != nil {
			return report, fmt.Errorf("partition %d: %w", part.Partition, err)
		}
	}
	if !o.Wait {
		return report, nil
	}
	return report, o.wait(ctx, report)
}

// check says where a fold would begin.
func (o *Options) check(ctx context.Context, p int32) (Part, error) {
	first, end, err := replay.Bounds(ctx, o.Log, topic.PaymentLog.Name, p)
	if err != nil {
		return Part{}, err
	}
	part := Part{Partition: p, End: end}
	if !o.FromCheckpoint {
		if first > 0 {
			return Part{}, fmt.Errorf("%w: it begins at offset %d; --from-checkpoint begins with the newest checkpoint", ErrBeginning, first)
		}
		return part, nil
	}
	at, found, err := o.Checkpoints.Latest(ctx, p)
	switch {
	case err != nil:
		return Part{}, err
	case !found:
		return Part{}, ErrNoCheckpoint
	case at.Offset < first || at.Offset > end:
		return Part{}, fmt.Errorf("%w: the newest is at offset %d, the log holds %d to %d", ErrNoCheckpoint, at.Offset, first, end)
	}
	part.From = at.Offset
	return part, nil
}

// takeAway wipes a state. An owner may just be making a checkpoint of it, so they are
// discarded before and after.
func (o *Options) takeAway(ctx context.Context, p int32) error {
	discard := func() error {
		if o.FromCheckpoint || o.Checkpoints == nil {
			return nil
		}
		return o.Checkpoints.Discard(ctx, p)
	}
	if err := discard(); err != nil {
		return err
	}
	if err := o.Store(p).Wipe(ctx); err != nil {
		return fmt.Errorf("wipe the stored state: %w", err)
	}
	return discard()
}

// wait follows the owners.
func (o *Options) wait(ctx context.Context, report *Report) error {
	moved := time.Now()
	var last int64
	for {
		var done, total int64
		left := 0
		for i := range report.Parts {
			part := &report.Parts[i]
			view, err := o.Store(part.Partition).ReadBucket(ctx, 0)
			if err != nil {
				return fmt.Errorf("partition %d: %w", part.Partition, err)
			}
			if part.Offset = view.Offset; view.Offset < part.End {
				left++
			}
			done += min(max(0, view.Offset-part.From), part.End-part.From)
			total += part.End - part.From
		}
		if o.Progress != nil {
			o.Progress(done, total)
		}
		if left == 0 {
			return nil
		}
		if done != last {
			moved, last = time.Now(), done
		}
		if time.Since(moved) > o.Patience {
			return fmt.Errorf("%d partitions stand still for %s: %w", left, o.Patience, ErrNobody)
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(pollEvery):
		}
	}
}
