package stage_test

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"settlewatch/pipelines/stage"
)

// A breakdown is one call of a process to the outside that fails, before or after
// it took effect. The process is gone with it, so that every later call fails too;
// or it lives on, and has to do the right thing. Calls are counted from 0; a
// negative number is a process that stays well.
type breakdown struct {
	at          int
	after, lone bool

	mu    sync.Mutex
	calls int
	name  string // of the call that failed
}

var errDown = errors.New("planted: the call failed")

// callLimit ends a process that goes round and round; one that works needs a few
// hundred calls.
const callLimit = 3000

func (b *breakdown) call(name string, effect func() error) error {
	b.mu.Lock()
	n := b.calls
	b.calls++
	if n == b.at {
		b.name = name
	}
	b.mu.Unlock()
	if n >= callLimit {
		return fmt.Errorf("%s is call %d and no end in sight", name, n)
	}
	if b.at < 0 || n < b.at || (b.lone && n > b.at) {
		return effect()
	}
	if n == b.at && b.after {
		_ = effect() // the process is gone before it hears of it
	}
	return errDown
}

// happened tells at which call.
func (b *breakdown) happened() (name string, yes bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.name, b.name != ""
}

// everyBreakdown runs a process with a breakdown at each of its calls in turn,
// until there are no more; the process itself sees to what comes after.
func everyBreakdown(process func(b *breakdown)) (calls int) {
	for ; ; calls++ {
		for kind := range 4 {
			b := &breakdown{at: calls, after: kind&1 > 0, lone: kind&2 > 0}
			process(b)
			if _, yes := b.happened(); !yes {
				return calls
			}
		}
	}
}

// frailLog, frailReader and frailState are calls of a process that may break down.
type frailLog struct {
	stage.Log
	b *breakdown
}

func (l frailLog) Open(topic string, partition int32) (r stage.Reader, err error) {
	err = l.b.call("open", func() (err error) {
		r, err = l.Log.Open(topic, partition)
		return err
	})
	return frailReader{r, l.b}, err
}

// Append may break down at each partition.
func (l frailLog) Append(ctx context.Context, batches ...stage.Outgoing) error {
	for _, b := range batches {
		if err := l.b.call("append to "+b.Topic, func() error { return l.Log.Append(ctx, b) }); err != nil {
			return err
		}
	}
	return nil
}

func (l frailLog) Partitions(ctx context.Context, topic string) (n int, err error) {
	err = l.b.call("partitions", func() (err error) {
		n, err = l.Log.Partitions(ctx, topic)
		return err
	})
	return n, err
}

type frailReader struct {
	stage.Reader
	b *breakdown
}

func (r frailReader) Fetch(ctx context.Context, offset int64, maxWait time.Duration) (batch stage.Batch, err error) {
	err = r.b.call("fetch", func() (err error) {
		batch, err = r.Reader.Fetch(ctx, offset, maxWait)
		return err
	})
	return batch, err
}

func (r frailReader) Bounds(ctx context.Context) (first, end int64, err error) {
	err = r.b.call("bounds", func() (err error) {
		first, end, err = r.Reader.Bounds(ctx)
		return err
	})
	return first, end, err
}

type frailState struct {
	stage.State
	b *breakdown
}

func (s frailState) Acquire(ctx context.Context) error {
	return s.b.call("acquire", func() error { return s.State.Acquire(ctx) })
}

func (s frailState) Load(ctx context.Context) (stored stage.Stored, err error) {
	err = s.b.call("load", func() (err error) {
		stored, err = s.State.Load(ctx)
		return err
	})
	return stored, err
}

func (s frailState) Commit(ctx context.Context, c stage.Commit) error {
	return s.b.call("commit", func() error { return s.State.Commit(ctx, c) })
}

// offsets are what a consumer group has committed of one partition.
type offsets struct {
	mu        sync.Mutex
	committed int64
	all       []int64
	// on, if set, is asked at every commit.
	on func(offset int64) error
}

func newOffsets() *offsets { return &offsets{committed: stage.None} }

func (o *offsets) get() int64 {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.committed
}

func (o *offsets) commit(_ context.Context, offset int64) error {
	if o.on != nil {
		if err := o.on(offset); err != nil {
			return err
		}
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	o.committed = offset
	o.all = append(o.all, offset)
	return nil
}

// assignment of a partition to a process that may break down.
func (o *offsets) assignment(topic string, partition int32, b *breakdown) stage.Assignment {
	return stage.Assignment{
		Topic: topic, Partition: partition, Offset: o.get(),
		Commit: func(ctx context.Context, offset int64) error {
			return b.call("commit of the group", func() error { return o.commit(ctx, offset) })
		},
	}
}

func healthy() *breakdown { return &breakdown{at: -1} }
