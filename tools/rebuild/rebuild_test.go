package rebuild_test

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"settlewatch/pipelines/checkpoint"
	"settlewatch/pipelines/servers/serverstest"
	"settlewatch/pipelines/sim"
	"settlewatch/pipelines/stage"
	"settlewatch/pipelines/statestore"
	"settlewatch/schemas/topic"
	"settlewatch/tools/rebuild"
	"settlewatch/tools/replay/replaytest"
	"settlewatch/tools/verify"
)

func TestMain(m *testing.M) { serverstest.Main(m) }

const partitions, payments = 2, 200

type world struct {
	t           *testing.T
	log         *sim.Log
	redis       *statestore.Client
	checkpoints *checkpoint.Store
}

func newWorld(t *testing.T) *world {
	t.Helper()
	redis, err := statestore.Dial(t.Context(), statestore.Options{Addrs: []string{serverstest.Redis(t)}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := redis.Close(); err != nil {
			t.Error(err)
		}
	})
	w := &world{t: t, log: replaytest.Log(t, partitions, payments), redis: redis}
	w.checkpoints = &checkpoint.Store{Log: w.log, Check: checkpoint.Loads}
	for p := range int32(partitions) {
		if err := replaytest.Fold(t, w.log, p, func() stage.State { return w.partition(p) }, nil); err != nil {
			t.Fatal(err)
		}
		stored, err := w.partition(p).Snapshot(t.Context())
		if err == nil {
			_, err = w.checkpoints.Save(t.Context(), p, stored)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	return w
}

func (w *world) partition(p int32) *statestore.Partition {
	return w.redis.Partition(topic.PaymentLog.Name, p)
}

// join runs owners of both partitions until the test ends. began gets the offset at
// which each fold begins.
func (w *world) join(began chan<- int64) {
	ctx, cancel := context.WithCancel(context.Background())
	var owners sync.WaitGroup
	w.t.Cleanup(func() { cancel(); owners.Wait() })
	for p := range int32(partitions) {
		owners.Go(func() {
			j := &stage.Joiner{
				Log: w.log, Clock: fast{new(atomic.Int64)}, Logger: slog.New(slog.DiscardHandler), Checkpoints: w.checkpoints,
				State: func(p int32) stage.State { return begun{w.partition(p), began} },
			}
			err := j.Own(ctx, stage.Assignment{Topic: topic.PaymentLog.Name, Partition: p, Offset: stage.None, Commit: func(context.Context, int64) error { return nil }})
			if err != nil && ctx.Err() == nil {
				w.t.Error(err)
			}
		})
	}
}

// fast is a clock on which an idle owner looks at every batch.
type fast struct{ minutes *atomic.Int64 }

func (f fast) Now() time.Time { return time.Unix(60*f.minutes.Add(1), 0) }

func (fast) Sleep(ctx context.Context, _ time.Duration) error { return ctx.Err() }

// begun says where a state begins: the first commit's offset, or the checkpoint's.
type begun struct {
	*statestore.Partition
	began chan<- int64
}

func (s begun) Commit(ctx context.Context, c stage.Commit) error {
	if c.Sequence == 1 && s.began != nil {
		s.began <- c.FromOffset
	}
	return s.Partition.Commit(ctx, c)
}

func (s begun) Restore(ctx context.Context, stored stage.Stored) error {
	if s.began != nil {
		s.began <- stored.Offset
	}
	return s.Partition.Restore(ctx, stored)
}

func (w *world) options() rebuild.Options {
	return rebuild.Options{
		Log: w.log, Store: func(p int32) rebuild.Store { return w.partition(p) }, Checkpoints: w.checkpoints, Wait: true,
	}
}

func (w *world) requireVerified() {
	w.t.Helper()
	r, err := verify.Run(w.t.Context(), verify.Options{Log: w.log, Store: func(p int32) verify.Store { return w.partition(p) }})
	if err != nil || !r.Equal() {
		w.t.Errorf("it is not verified: %+v (%v)", r, err)
	}
}

// Every owner folds its partition again, from the beginning, and comes to the same.
func TestFromTheLog(t *testing.T) {
	w := newWorld(t)
	began := make(chan int64, 100)
	w.join(began)
	r, err := rebuild.Run(t.Context(), w.options())
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range r.Parts {
		if p.From != 0 || p.Offset < p.End || p.End == 0 {
			t.Errorf("%+v", p)
		}
	}
	if len(began) != partitions {
		t.Errorf("%d folds have begun", len(began))
	}
	for range len(began) {
		if at := <-began; at != 0 {
			t.Errorf("a fold begins at offset %d", at)
		}
	}
	w.requireVerified()
	if _, found, err := w.checkpoints.Latest(t.Context(), 0); found || err != nil {
		t.Errorf("a checkpoint of the state before stands (%v)", err)
	}
}

func TestOnePartitionFromItsCheckpoint(t *testing.T) {
	w := newWorld(t)
	began := make(chan int64, 100)
	w.join(began)
	o := w.options()
	o.FromCheckpoint, o.Partitions = true, []int32{1}
	r, err := rebuild.Run(t.Context(), o)
	if err != nil || len(r.Parts) != 1 || r.Parts[0].From == 0 {
		t.Fatalf("%+v (%v)", r, err)
	}
	if at := <-began; at != r.Parts[0].From || len(began) != 0 {
		t.Errorf("a fold begins at offset %d, and %d others", at, len(began))
	}
	w.requireVerified()
}

// Where a fold could not begin, nothing is taken away.
func TestRefuses(t *testing.T) {
	w := newWorld(t)
	if err := w.log.Trim(topic.PaymentLog.Name, 1, 3); err != nil {
		t.Fatal(err)
	}
	if _, err := rebuild.Run(t.Context(), w.options()); !errors.Is(err, rebuild.ErrBeginning) {
		t.Errorf("from half a log: %v", err)
	}
	if err := w.checkpoints.Discard(t.Context(), 1); err != nil {
		t.Fatal(err)
	}
	o := w.options()
	o.FromCheckpoint = true
	if _, err := rebuild.Run(t.Context(), o); !errors.Is(err, rebuild.ErrNoCheckpoint) {
		t.Errorf("without a checkpoint: %v", err)
	}
	for p := range int32(partitions) {
		if stored, err := w.partition(p).Load(t.Context()); err != nil || stored.Meta == nil {
			t.Errorf("partition %d was taken away (%v)", p, err)
		}
	}
}

// Without a joiner it says so, and does not wait for ever.
func TestNobody(t *testing.T) {
	w := newWorld(t)
	o := w.options()
	o.Patience = time.Nanosecond
	if _, err := rebuild.Run(t.Context(), o); !errors.Is(err, rebuild.ErrNobody) {
		t.Errorf("it ends with: %v", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	o.Patience = time.Hour
	o.Progress = func(int64, int64) { cancel() }
	if _, err := rebuild.Run(ctx, o); !errors.Is(err, context.Canceled) {
		t.Errorf("Ctrl-C ends it with: %v", err)
	}
}
