package checkpoint

import (
	"context"
	"errors"
	"log/slog"
	"time"

	"settlewatch/pipelines/join"
	"settlewatch/pipelines/stage"
)

// Keeper makes a checkpoint of every owned partition now and then. It reads what is
// stored, beside the owner, and never makes the fold wait.
type Keeper struct {
	Store *Store
	// Read a partition's stored state, whole and beside its owner.
	Read func(ctx context.Context, partition int32) (stage.Stored, error)
	// Every is the time between two checkpoints of a partition.
	Every  time.Duration
	Clock  stage.Clock
	Logger *slog.Logger
	// Kept is told of the newest checkpoint, its time in Unix milliseconds; nil is silent.
	Kept func(partition int32, atMs int64)

	turn chan struct{}
}

// NewKeeper makes ready; its other fields may be set before the first Own.
func NewKeeper(store *Store, read func(ctx context.Context, partition int32) (stage.Stored, error), every time.Duration, clock stage.Clock, logger *slog.Logger) *Keeper {
	return &Keeper{Store: store, Read: read, Every: every, Clock: clock, Logger: logger, turn: make(chan struct{}, 1)}
}

// Own keeps checkpoints of one partition until ctx is done. What fails is logged and
// tried again: the partition's owner goes on without.
func (k *Keeper) Own(ctx context.Context, partition int32) {
	last := int64(-1) // the offset of the newest
	wait := time.Duration(0)
	for k.Clock.Sleep(ctx, wait) == nil {
		var err error
		if wait, err = k.once(ctx, partition, &last); err != nil && ctx.Err() == nil {
			k.Logger.Error("no checkpoint was made, trying again", "partition", partition, "wait", wait, "error", err)
		}
	}
}

// once makes a checkpoint if it is time, and says when to look again.
func (k *Keeper) once(ctx context.Context, partition int32, last *int64) (wait time.Duration, err error) {
	retry := min(k.Every, time.Minute)
	if *last < 0 {
		// An owner before this one may have made one a moment ago.
		manifests, err := k.Store.Manifests(ctx, partition)
		if err != nil {
			return retry, err
		}
		*last = 0
		if len(manifests) > 0 {
			*last = manifests[0].Offset
			k.told(partition, manifests[0].TimeMs)
			if age := k.Clock.Now().Sub(time.UnixMilli(manifests[0].TimeMs)); age >= 0 && age < k.Every {
				return k.Every - age, nil
			}
		}
	}
	select {
	case k.turn <- struct{}{}: // one state in memory at a time
		defer func() { <-k.turn }()
	case <-ctx.Done():
		return 0, ctx.Err()
	}
	stored, err := k.Read(ctx, partition)
	switch {
	case err != nil:
		return retry, err
	case stored.Meta == nil:
		return retry, nil // before the first commit
	case stored.Offset == *last:
		return k.Every, nil // nothing has come since
	}
	m, err := k.Store.save(ctx, partition, stored, k.Clock.Now().UnixMilli())
	if errors.Is(err, ErrNewer) {
		// The store was rolled back, and its log is folded again.
		return retry, nil
	}
	if err != nil {
		return retry, err
	}
	*last = m.Offset
	k.told(partition, m.TimeMs)
	k.Logger.Info("checkpoint made", "partition", partition, "offset", m.Offset, "bytes", m.Bytes)
	return k.Every, nil
}

func (k *Keeper) told(partition int32, atMs int64) {
	if k.Kept != nil {
		k.Kept(partition, atMs)
	}
}

// Loads tells whether a stored state makes a joiner's state, by its own checksum.
func Loads(s stage.Stored) error {
	buckets := make([]join.Bucket, len(s.Buckets))
	for i, b := range s.Buckets {
		buckets[i] = join.Bucket{Index: b.Index, Value: b.Value}
	}
	_, _, err := join.Load(s.Meta, buckets, s.Ring)
	return err
}
