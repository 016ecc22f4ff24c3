package stage

import (
	"context"
	"fmt"

	"settlewatch/pipelines/join"
)

// Checkpoints are whole states kept outside of the state store, each as it was at
// one offset of the log. With one, a lost store comes back without the beginning
// of the log.
type Checkpoints interface {
	// Latest is the complete checkpoint of a partition with the highest offset;
	// false where there is none.
	Latest(ctx context.Context, partition int32) (Stored, bool, error)
}

// Sink takes the buckets of a stored state while it is read, so that the state is whole
// nowhere. An error of either ends the reading.
type Sink interface {
	// Begin comes before the first bucket: the state is of this offset of the log, or
	// of a later one.
	Begin(offset int64) error
	// Bucket takes the next, in ascending order of their indexes. Its value is the
	// caller's memory again when it returns.
	Bucket(b Bucket) error
}

// restore takes up the latest checkpoint where nothing is stored. It is held to the
// log before it is stored: to its bounds, and to the record before its offset.
func (f *folding) restore(ctx context.Context, first, end int64) (Stored, error) {
	var at Stored
	found := false
	if f.Checkpoints != nil {
		var err error
		if at, found, err = f.Checkpoints.Latest(ctx, f.assignment.Partition); err != nil {
			return Stored{}, fmt.Errorf("read checkpoint: %w", err)
		}
	}
	switch {
	case !found && first > 0:
		return Stored{}, fmt.Errorf("%w: nothing is stored, there is no checkpoint, and the log begins at offset %d: a fold must begin at 0", ErrLogChanged, first)
	case !found:
		f.state, f.position = join.New(), join.Position{}
		if f.AlertsOnly {
			f.state = join.NewAlertsOnly()
		}
		return Stored{}, nil
	}
	if err := f.resume(ctx, at, first, end); err != nil {
		return Stored{}, fmt.Errorf("take up the checkpoint at offset %d: %w", at.Offset, err)
	}
	if err := f.store.Restore(ctx, at); err != nil {
		return Stored{}, fmt.Errorf("restore the checkpoint at offset %d: %w", at.Offset, err)
	}
	f.Logger.Warn("nothing was stored: restored from a checkpoint", "partition", f.assignment.Partition, "offset", at.Offset)
	return at, nil
}

// resume makes the state of what is stored, and holds its position to the log.
func (f *folding) resume(ctx context.Context, at Stored, first, end int64) error {
	var err error
	if f.state, f.position, err = join.Load(at.Meta, at.Buckets, at.Ring); err != nil {
		return fmt.Errorf("load: %w", err)
	}
	f.config = f.state.Config()
	if f.position.Offset < first || f.position.Offset > end {
		return fmt.Errorf("%w: the state stands at offset %d, the log holds %d to %d", ErrLogChanged, f.position.Offset, first, end)
	}
	return f.checkPrevious(ctx, first)
}
