package checkpoint

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"time"

	"settlewatch/pipelines/stage"
)

// Keeper makes a checkpoint of every owned partition when time has passed, or when the
// log has gone on: the one bounds how old it gets, the other how much a recovery has
// to fold again. It copies what is stored, beside the owner, and never makes the fold
// wait; that it does not take its core either, see to Share.
type Keeper struct {
	Store *Store
	Read  Read
	// Every is the time between two checkpoints of a partition.
	Every time.Duration
	// Records of the log after which one is made before its time; 0 for no bound. What
	// comes while one is being made counts for the next.
	Records int64
	// Share of one core that making one takes, percent, as long as it is not late (Pace).
	// Defaults to ShareDefault; 100 is as fast as it can.
	Share  int
	Clock  stage.Clock
	Logger *slog.Logger
	// Kept is told of the newest checkpoint, its time in Unix milliseconds; nil is silent.
	Kept func(partition int32, atMs int64)

	turn chan struct{}

	mu    sync.Mutex
	owned map[int32]*distance
}

// Read reads a partition's stored state beside its owner: it gives the buckets to the
// sink, and all else back. It calls rest between small parts. It ends with what sink or
// rest say.
type Read func(ctx context.Context, partition int32, into stage.Sink, rest func(context.Context) error) (stage.Stored, error)

// distance of a partition from its newest checkpoint.
type distance struct {
	from int64
	wake context.CancelFunc // ends the wait for the next one; nil where it must be waited for
}

// NewKeeper makes ready; its other fields may be set before the first Own.
func NewKeeper(store *Store, read Read, every time.Duration, clock stage.Clock, logger *slog.Logger) *Keeper {
	return &Keeper{Store: store, Read: read, Every: every, Share: ShareDefault, Clock: clock, Logger: logger, turn: make(chan struct{}, 1), owned: map[int32]*distance{}}
}

// Own keeps checkpoints of one partition until ctx is done. What fails is logged and
// tried again: the partition's owner goes on without.
func (k *Keeper) Own(ctx context.Context, partition int32) {
	defer k.forget(partition)
	last := int64(-1) // the offset of the newest
	wait := time.Duration(0)
	var err error
	for k.sleep(ctx, partition, last, wait, err == nil) {
		if wait, err = k.once(ctx, partition, &last); err != nil && ctx.Err() == nil {
			k.Logger.Error("no checkpoint was made, trying again", "partition", partition, "wait", wait, "error", err)
		}
	}
}

// Folded says how far a partition's log is folded, an offset. It never waits.
func (k *Keeper) Folded(partition int32, offset int64) {
	k.mu.Lock()
	defer k.mu.Unlock()
	d := k.owned[partition]
	if d == nil || d.wake == nil || k.Records == 0 || offset-d.from < k.Records {
		return
	}
	d.wake()
	d.wake = nil
}

// sleep until it is time for the next checkpoint, or the log has gone on by so many
// records since the last. After a failure only time helps. False: ctx is done.
func (k *Keeper) sleep(ctx context.Context, partition int32, last int64, wait time.Duration, early bool) bool {
	asleep, cancel := context.WithCancel(ctx)
	defer cancel()
	d := &distance{from: max(last, 0)}
	if early {
		d.wake = cancel
	}
	k.mu.Lock()
	k.owned[partition] = d
	k.mu.Unlock()
	return k.Clock.Sleep(asleep, wait) == nil || ctx.Err() == nil
}

func (k *Keeper) forget(partition int32) {
	k.mu.Lock()
	defer k.mu.Unlock()
	delete(k.owned, partition)
}

// once makes a checkpoint if it is time, and says when to look again.
func (k *Keeper) once(ctx context.Context, partition int32, last *int64) (wait time.Duration, err error) {
	retry := min(k.Every, time.Minute)
	pace := NewPace(k.Share, k.Every, k.Clock)
	if *last < 0 {
		// An owner before this one may have made one a moment ago.
		manifests, err := k.Store.manifests(ctx, partition, pace)
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
	case k.turn <- struct{}{}: // one at a time
		defer func() { <-k.turn }()
	case <-ctx.Done():
		return 0, ctx.Err()
	}
	began := k.Clock.Now()
	w, err := k.Store.write(ctx, partition, pace)
	if err != nil {
		return retry, err
	}
	stored, err := k.Read(ctx, partition, w, pace.Rest)
	switch {
	case errors.Is(err, ErrSame):
		return k.Every, nil // nothing has come since
	case errors.Is(err, ErrNewer):
		return retry, nil // the store was rolled back, and its log is folded again
	case err != nil:
		return retry, err
	case stored.Meta == nil:
		return retry, nil // before the first commit
	}
	m, err := w.finish(stored, k.Clock.Now().UnixMilli())
	if errors.Is(err, ErrUnloadable) {
		return k.Every, err // it is written whole each time, and no other in a minute
	}
	if err != nil {
		return retry, err
	}
	*last = m.Offset
	k.told(partition, m.TimeMs)
	k.Logger.Info("checkpoint made", "partition", partition, "offset", m.Offset, "bytes", m.Bytes, "took", k.Clock.Now().Sub(began))
	return k.Every, nil
}

func (k *Keeper) told(partition int32, atMs int64) {
	if k.Kept != nil {
		k.Kept(partition, atMs)
	}
}
