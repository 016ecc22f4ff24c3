package checkpoint_test

import (
	"context"
	"log/slog"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"settlewatch/pipelines/checkpoint"
	"settlewatch/pipelines/stage"
)

// steppedClock sleeps when it is allowed to.
type steppedClock struct {
	mu    sync.Mutex
	now   time.Time
	slept chan time.Duration
	wake  chan struct{}
}

func (c *steppedClock) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.now
}

func (c *steppedClock) Sleep(ctx context.Context, d time.Duration) error {
	c.slept <- d
	select {
	case <-c.wake:
	case <-ctx.Done():
		return ctx.Err()
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.now = c.now.Add(d)
	return nil
}

// give is a Read of what is in memory, that fails at its end.
func give(s stage.Stored, into stage.Sink, failure error) (stage.Stored, error) {
	if s.Meta == nil {
		return stage.Stored{}, failure
	}
	if err := into.Begin(s.Offset); err != nil {
		return stage.Stored{}, err
	}
	for _, b := range s.Buckets {
		if err := into.Bucket(b); err != nil {
			return stage.Stored{}, err
		}
	}
	s.Buckets = nil
	return s, failure
}

// A keeper makes one when time has passed and the state has moved, and a new owner
// goes by when the one before made its last.
func TestKeeper(t *testing.T) {
	store := &checkpoint.Store{Log: newTopic(t, 1)}
	clock := &steppedClock{now: time.UnixMilli(1_000_000), slept: make(chan time.Duration), wake: make(chan struct{})}
	var stored stage.Stored
	var failure error
	reads := 0
	read := func(_ context.Context, _ int32, into stage.Sink, _ func(context.Context) error) (stage.Stored, error) {
		reads++
		return give(stored, into, failure)
	}
	begin := func() (turn func(want time.Duration), end func()) {
		ctx, cancel := context.WithCancel(t.Context())
		var ended sync.WaitGroup
		k := checkpoint.NewKeeper(store, read, 10*time.Minute, clock, slog.New(slog.DiscardHandler))
		ended.Go(func() { k.Own(ctx, 0) })
		if d := <-clock.slept; d != 0 {
			t.Errorf("it begins with a sleep of %s", d)
		}
		return func(want time.Duration) {
			t.Helper()
			clock.wake <- struct{}{}
			if d := <-clock.slept; d != want {
				t.Errorf("it sleeps for %s, want %s", d, want)
			}
		}, func() { cancel(); ended.Wait() }
	}
	newest := func(want int64) {
		t.Helper()
		m := manifests(t, store, 0)
		if want == 0 && len(m) == 0 {
			return
		}
		if len(m) == 0 || m[0].Offset != want {
			t.Errorf("the newest is %+v, want offset %d", m, want)
		}
	}
	turn, end := begin()
	turn(time.Minute) // nothing is stored
	newest(0)
	failure = errDown
	turn(time.Minute)
	failure, stored = nil, stateAt(5, 100)
	turn(10 * time.Minute)
	newest(5)
	turn(10 * time.Minute) // nothing has come
	if m := manifests(t, store, 0); len(m) != 1 {
		t.Errorf("%d checkpoints of one state", len(m))
	}
	stored = stateAt(6, 100)
	turn(10 * time.Minute)
	newest(6)
	stored = stateAt(4, 100) // rolled back
	turn(time.Minute)
	newest(6)
	stored = stateAt(7, 100)
	store.Check = func(context.Context, stage.Stored, checkpoint.Buckets, *checkpoint.Pace) error { return errDown }
	turn(10 * time.Minute) // it is written whole each time: not every minute
	newest(6)
	store.Check = nil
	end()
	// A new owner, a minute after the last was made (11 of them have passed since).
	before := reads
	stored = stateAt(7, 100)
	clock.now = time.UnixMilli(manifests(t, store, 0)[0].TimeMs).Add(time.Minute)
	turn, end = begin()
	turn(9 * time.Minute)
	if reads != before {
		t.Error("it did not wait")
	}
	turn(10 * time.Minute)
	newest(7)
	end()
}

// A log that goes on quickly gets a checkpoint before its time, and one that failed is
// not tried at every batch.
func TestKeeperBoundsTheDistance(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := &checkpoint.Store{Log: newTopic(t, 1)}
		stored, failure := stateAt(5, 100), error(nil)
		k := checkpoint.NewKeeper(store, func(_ context.Context, _ int32, into stage.Sink, _ func(context.Context) error) (stage.Stored, error) {
			return give(stored, into, failure)
		},
			10*time.Minute, sleepingClock{}, slog.New(slog.DiscardHandler))
		k.Records = 100
		ctx, cancel := context.WithCancel(t.Context())
		go k.Own(ctx, 0)
		newest := func(want int64) {
			t.Helper()
			synctest.Wait()
			if m := manifests(t, store, 0); m[0].Offset != want {
				t.Errorf("the newest is at offset %d, want %d", m[0].Offset, want)
			}
		}
		newest(5)
		stored = stateAt(103, 100)
		k.Folded(0, 104) // 99 records behind it
		k.Folded(1, 1_000_000)
		newest(5)
		k.Folded(0, 105)
		newest(103)
		stored, failure = stateAt(203, 100), errDown
		k.Folded(0, 203)
		synctest.Wait()
		failure, stored = nil, stateAt(300, 100)
		k.Folded(0, 300) // only time helps now
		newest(103)
		time.Sleep(time.Minute)
		newest(300)
		cancel()
		synctest.Wait()
		k.Folded(0, 1_000_000) // nobody owns it
		newest(300)
	})
}

// sleepingClock is the time of a synctest bubble.
type sleepingClock struct{}

func (sleepingClock) Now() time.Time { return time.Now() }

func (sleepingClock) Sleep(ctx context.Context, d time.Duration) error {
	select {
	case <-time.After(d):
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// Making one rests while it reads, proves and writes, and a partition that is lost
// meanwhile ends it there.
func TestKeeperTakesItsShare(t *testing.T) {
	const parts = 10
	stored := stateAt(5, 4<<20)
	own := func(stop int) (clock *workClock, made int) {
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		clock = &workClock{now: time.UnixMilli(1_000_000), each: 5 * time.Millisecond}
		clock.rested = func() {
			// Made, it sleeps until the next.
			if n := len(clock.rests); n == stop || clock.rests[n-1] > time.Minute {
				cancel()
			}
		}
		store := &checkpoint.Store{Log: newTopic(t, 1), Check: func(ctx context.Context, _ stage.Stored, _ checkpoint.Buckets, pace *checkpoint.Pace) error {
			return resting(ctx, parts, pace.Rest)
		}}
		k := checkpoint.NewKeeper(store, func(ctx context.Context, _ int32, into stage.Sink, rest func(context.Context) error) (stage.Stored, error) {
			return give(stored, into, resting(ctx, parts, rest))
		}, 1000*time.Hour, clock, slog.New(slog.DiscardHandler))
		k.Share = 25
		k.Own(ctx, 0)
		return clock, len(manifests(t, store, 0))
	}
	clock, made := own(-1)
	if made != 1 {
		t.Fatalf("%d are made", made)
	}
	paced := clock.rests[1 : len(clock.rests)-1]
	if len(paced) < 2*parts+4<<20/(512<<10) {
		t.Errorf("it rests %d times", len(paced))
	}
	for _, d := range paced {
		if d < 14*time.Millisecond {
			t.Errorf("of 5 ms and more it rests for %s, at a quarter of a core", d)
		}
	}
	for stop := 2; stop < len(clock.rests); stop += 3 {
		// Once more it asks the clock to sleep, which does not.
		if early, made := own(stop); made != 0 || len(early.rests) != stop+1 {
			t.Errorf("ended in rest %d it rests %d times and makes %d", stop, len(early.rests)-1, made)
		}
	}
}

func resting(ctx context.Context, parts int, rest func(context.Context) error) error {
	for range parts {
		if err := rest(ctx); err != nil {
			return err
		}
	}
	return nil
}
