// Package replay reads a part of a topic's partition, as the recovery commands do.
//
// What enters are a log and two offsets; what leaves is every record between them, in
// order. Guaranteed: nothing is left out in silence. Where the partition begins later
// or ends earlier, that is an error.
package replay

import (
	"context"
	"errors"
	"fmt"
	"time"

	"settlewatch/pipelines/stage"
	"settlewatch/schemas/topic"
)

// fetchWait is how long one fetch waits for records that are known to be there.
const fetchWait = time.Second

// CutError is a partition that does not hold all of what was asked for.
type CutError struct {
	Topic     string
	Partition int32
	// From and Until were asked for; First and End are there.
	From, Until, First, End int64
}

func (e *CutError) Error() string {
	return fmt.Sprintf("%s/%d holds offsets %d to %d, and %d to %d are needed", e.Topic, e.Partition, e.First, e.End, e.From, e.Until)
}

// ErrBeginning is a payment log whose beginning is gone, without a checkpoint that a
// fold could begin with instead.
var ErrBeginning = errors.New("the payment log does not reach back to its beginning, and there is no whole checkpoint within it: joiners that run make one every checkpoint-every")

// Checkpoint is the newest state of a partition of the payment log that a fold up to an
// offset can begin with, in a log that begins at first.
func Checkpoint(ctx context.Context, checkpoints stage.Checkpoints, partition int32, first, until int64) (stage.Stored, error) {
	if checkpoints == nil {
		return stage.Stored{}, fmt.Errorf("%w (the log begins at offset %d)", ErrBeginning, first)
	}
	at, found, err := checkpoints.Latest(ctx, partition)
	switch {
	case err != nil:
		return stage.Stored{}, fmt.Errorf("read the newest checkpoint in %s: %w", topic.Checkpoints.Name, err)
	case !found:
		return stage.Stored{}, fmt.Errorf("%w (the log begins at offset %d)", ErrBeginning, first)
	case at.Offset < first || at.Offset > until:
		return stage.Stored{}, fmt.Errorf("%w (the log begins at offset %d, the newest checkpoint is at %d, and the fold goes up to %d)", ErrBeginning, first, at.Offset, until)
	}
	return at, nil
}

// Bounds of a partition: the first offset that exists and the one after the last.
func Bounds(ctx context.Context, log stage.Log, topic string, partition int32) (first, end int64, err error) {
	reader, err := log.Open(topic, partition)
	if err != nil {
		return 0, 0, fmt.Errorf("open %s/%d: %w", topic, partition, err)
	}
	defer func() { _ = reader.Close() }()
	if first, end, err = reader.Bounds(ctx); err != nil {
		return 0, 0, fmt.Errorf("read bounds of %s/%d: %w", topic, partition, err)
	}
	return first, end, nil
}

// Records calls visit for every record from an offset up to and without another one.
// The record's memory is visit's until it returns.
func Records(ctx context.Context, log stage.Log, topic string, partition int32, from, until int64, visit func(r *stage.Record) error) error {
	if from >= until {
		return nil
	}
	reader, err := log.Open(topic, partition)
	if err != nil {
		return fmt.Errorf("open %s/%d: %w", topic, partition, err)
	}
	defer func() { _ = reader.Close() }()
	first, end, err := reader.Bounds(ctx)
	if err != nil {
		return fmt.Errorf("read bounds of %s/%d: %w", topic, partition, err)
	}
	if from < first || until > end {
		return &CutError{Topic: topic, Partition: partition, From: from, Until: until, First: first, End: end}
	}
	for next := from; next < until; {
		batch, err := reader.Fetch(ctx, next, fetchWait)
		if err != nil {
			return fmt.Errorf("fetch %s/%d at offset %d: %w", topic, partition, next, err)
		}
		for i := range batch.Records {
			r := &batch.Records[i]
			if r.Offset < next || r.Offset >= until {
				continue
			}
			if err := visit(r); err != nil {
				return fmt.Errorf("%s/%d offset %d: %w", topic, partition, r.Offset, err)
			}
		}
		next = max(next, batch.Next)
	}
	return nil
}
