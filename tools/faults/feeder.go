package faults

import (
	"context"
	"iter"
	"math"
	"sync"
	"time"

	"settlewatch/pipelines/stage"
	"settlewatch/tools/demo"
	"settlewatch/tools/traffic"
)

// feeder writes the traffic to the raw topics, up to where it is released and not
// faster than it is told.
type feeder struct {
	records iter.Seq[traffic.Record]
	count   func() int64 // of the records, counted once

	mu      sync.Mutex
	limit   int64
	chunk   int64
	rate    float64 // records a second; 0: as fast as it goes
	since   time.Time
	base    int64 // passed when the rate was set
	passed  int64
	written int64
	ended   bool // everything is written
	changed chan struct{}
}

func newFeeder(records iter.Seq[traffic.Record]) *feeder {
	return &feeder{
		records: records, changed: make(chan struct{}), chunk: feedChunk,
		count: sync.OnceValue(func() (n int64) {
			for range records {
				n++
			}
			return n
		}),
	}
}

// release lets it write up to a share of the traffic, at a rate in records a second.
func (f *feeder) release(share float64, rate float64) {
	limit := int64(math.MaxInt64) // all of it need not be counted
	if share < 1 {
		limit = int64(share * float64(f.count()))
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.limit, f.rate, f.since, f.base = limit, rate, time.Now(), f.passed
	close(f.changed)
	f.changed = make(chan struct{})
}

// inBulk has records written in larger pieces, for scenarios that need many of them.
func (f *feeder) inBulk() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.chunk = math.MaxInt64
}

// done tells whether all that was released is written.
func (f *feeder) done() bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.ended || f.written >= f.limit
}

// fed is how many records are written.
func (f *feeder) fed() int64 {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.written
}

func (f *feeder) run(ctx context.Context, log stage.Log) error {
	err := demo.Feed(ctx, log, f.records, f.pace, func(n int) {
		f.mu.Lock()
		defer f.mu.Unlock()
		f.written += int64(n)
	})
	if ctx.Err() != nil {
		return nil
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.ended = err == nil
	return err
}

// feedChunk is how many records go together at most: enough to be quick, few
// enough to be cut into.
const feedChunk = 250

// pace holds a record back until it may be written.
func (f *feeder) pace(ctx context.Context, _ int64) (flush bool, err error) {
	for {
		f.mu.Lock()
		changed, wait := f.changed, time.Duration(-1)
		switch {
		case f.passed >= f.limit:
		case f.rate == 0:
			wait = 0
		default:
			at := f.since.Add(time.Duration(float64(f.passed-f.base) / f.rate * float64(time.Second)))
			wait = max(0, time.Until(at))
		}
		if wait == 0 {
			f.passed++
			// The last of what was released must not lie here until more is.
			flush = f.passed == f.limit || f.passed%f.chunk == 0
			f.mu.Unlock()
			return flush, nil
		}
		f.mu.Unlock()
		var expired <-chan time.Time
		if wait > 0 {
			timer := time.NewTimer(wait)
			expired = timer.C
			defer timer.Stop()
		}
		select {
		case <-ctx.Done():
			return false, ctx.Err()
		case <-changed:
		case <-expired:
		}
	}
}

// feed writes up to a share of the traffic and returns when it is written.
func (w *world) feed(share float64) error {
	w.feeder.release(share, 0)
	return w.fed()
}

// trickle lets the feed go on to a share of the traffic beside what follows.
func (w *world) trickle(share float64, rate float64) { w.feeder.release(share, rate) }

// fed returns when all that was released is written.
func (w *world) fed() error {
	return w.until("the records that were released are written", func() (bool, error) { return w.feeder.done(), nil })
}
