package rebuild_test

import (
	"context"
	"errors"
	"log/slog"
	"slices"
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
	"settlewatch/tools/replay"
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
		stored, err := w.partition(p).Load(t.Context())
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
	w.joinWith(w.log, func(p int32) stage.State { return begun{w.partition(p), began} })
}

// joinWith runs owners that read and store by what is given.
func (w *world) joinWith(log stage.Log, state func(int32) stage.State) {
	ctx, cancel := context.WithCancel(context.Background())
	var owners sync.WaitGroup
	w.t.Cleanup(func() { cancel(); owners.Wait() })
	for p := range int32(partitions) {
		owners.Go(func() {
			j := &stage.Joiner{
				Log: log, Clock: fast{new(atomic.Int64)}, Logger: slog.New(slog.DiscardHandler), Checkpoints: w.checkpoints,
				State: state,
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

func (w *world) verified() (*verify.Report, error) {
	return verify.Run(w.t.Context(), verify.Options{Log: w.log, Store: func(p int32) verify.Store { return w.partition(p) }})
}

func (w *world) requireVerified() {
	w.t.Helper()
	r, err := w.verified()
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

// watched is a store whose owner makes a checkpoint just before it loses its state, and
// then comes to the end of the log in two steps.
type watched struct {
	w            *world
	p            int32
	end          int64
	wipes, looks int
}

func (s *watched) Wipe(ctx context.Context) error {
	s.wipes++
	stored, err := s.w.partition(s.p).Load(ctx)
	if err == nil {
		_, err = s.w.checkpoints.Save(ctx, s.p, stored)
	}
	return err
}

func (s *watched) ReadBucket(context.Context, int) (statestore.BucketView, error) {
	s.looks++
	return statestore.BucketView{Offset: s.end - 2 + int64(s.looks)}, nil
}

// The partition that was named, no other, all of it: also a checkpoint that its owner
// was just making goes, and the last record of the log is waited for.
func TestOnlyTheNamedPartition(t *testing.T) {
	w := newWorld(t)
	o := w.options()
	o.Partitions = []int32{1}
	_, end, err := replay.Bounds(t.Context(), w.log, topic.PaymentLog.Name, 1)
	if err != nil {
		t.Fatal(err)
	}
	named, other := &watched{w: w, p: 1, end: end}, &watched{w: w, p: 0, end: end}
	o.Store = func(p int32) rebuild.Store { return []*watched{other, named}[p] }
	r, err := rebuild.Run(t.Context(), o)
	if err != nil || len(r.Parts) != 1 {
		t.Fatalf("%+v (%v)", r, err)
	}
	if named.wipes != 1 || named.looks != 2 || r.Parts[0].Offset != end {
		t.Errorf("wiped %d times; %d looks, up to %d of %d", named.wipes, named.looks, r.Parts[0].Offset, end)
	}
	if other.wipes+other.looks > 0 {
		t.Errorf("the other partition was wiped %d times, and looked at %d times", other.wipes, other.looks)
	}
	for p, want := range []bool{true, false} {
		if _, found, err := w.checkpoints.Latest(t.Context(), int32(p)); found != want || err != nil {
			t.Errorf("partition %d has a checkpoint: %t (%v), want %t", p, found, err, want)
		}
	}
}

// gap is a log of which an owner does not see some records behind the first.
type gap struct{ stage.Log }

func (g gap) Open(topic string, partition int32) (stage.Reader, error) {
	r, err := g.Log.Open(topic, partition)
	return gapReader{r}, err
}

type gapReader struct{ stage.Reader }

func (g gapReader) Fetch(ctx context.Context, offset int64, wait time.Duration) (stage.Batch, error) {
	b, err := g.Reader.Fetch(ctx, offset, wait)
	b.Records = slices.DeleteFunc(b.Records, func(r stage.Record) bool { return r.Offset > 0 && r.Offset < 20 })
	return b, err
}

// ahead stores the end of the log as one record further.
type ahead struct {
	*statestore.Partition
	end int64
}

func (s ahead) Commit(ctx context.Context, c stage.Commit) error {
	if c.ToOffset == s.end {
		c.ToOffset++
	}
	return s.Partition.Commit(ctx, c)
}

// What an owner could do wrong in a rebuild is seen by `settlewatch verify`: it is what
// the tests here rest on.
func TestWrongRebuildsAreSeen(t *testing.T) {
	wrong := map[string]func(w *world, end []int64){
		"folded from a later offset": func(w *world, _ []int64) {
			w.joinWith(gap{w.log}, func(p int32) stage.State { return w.partition(p) })
		},
		"the position is one too far": func(w *world, end []int64) {
			w.joinWith(w.log, func(p int32) stage.State { return ahead{w.partition(p), end[p]} })
		},
	}
	for name, join := range wrong {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			w.requireVerified()
			var ends []int64
			for p := range int32(partitions) {
				_, end, err := replay.Bounds(t.Context(), w.log, topic.PaymentLog.Name, p)
				if err != nil {
					t.Fatal(err)
				}
				ends = append(ends, end)
			}
			join(w, ends)
			if r, err := rebuild.Run(t.Context(), w.options()); err != nil {
				t.Fatalf("%+v (%v)", r, err)
			}
			r, err := w.verified()
			if err == nil && r.Equal() {
				t.Errorf("it is verified: %+v", r)
			}
		})
	}
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
