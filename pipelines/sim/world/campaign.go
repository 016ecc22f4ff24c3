package world

import (
	"cmp"
	"context"
	"runtime"
	"slices"
	"sync"
)

// Campaign is many runs, on all cores.
type Campaign struct {
	// Seed of the first run; the others follow it.
	Seed uint64
	Runs int
	// Planted is the bug that every run has, empty for none.
	Planted string
	// Most failures that are kept, each with its whole schedule; at that many it ends.
	Most int
	// Told after every run, one call at a time; nil is silent.
	Told func(Totals)
}

// Totals are what a campaign has come to.
type Totals struct {
	Runs   int
	Failed int
	Stats  Stats
	// First is the number of runs up to and with the first seed that failed, 0 while
	// none has.
	First int
}

// Run plays the seeds until they are used up, ctx ends, or Most have failed. It
// returns the failures in the order of their seeds, as far as they were found.
func (c Campaign) Run(ctx context.Context) (Totals, []*Report, error) {
	var (
		mu       sync.Mutex
		next     int
		totals   Totals
		failures []*Report
		failed   error
		workers  sync.WaitGroup
	)
	take := func() (uint64, bool) {
		mu.Lock()
		defer mu.Unlock()
		if ctx.Err() != nil || failed != nil || next >= c.Runs || c.Most > 0 && len(failures) >= c.Most {
			return 0, false
		}
		next++
		return c.Seed + uint64(next-1), true
	}
	for range runtime.GOMAXPROCS(0) {
		workers.Go(func() {
			for {
				seed, more := take()
				if !more {
					return
				}
				r, err := Run(seed, c.Planted)
				mu.Lock()
				if err != nil {
					failed = err
				} else {
					totals.count(r, int(seed-c.Seed)+1)
					if r.Failed() {
						failures = append(failures, r)
					}
					if c.Told != nil {
						c.Told(totals)
					}
				}
				mu.Unlock()
			}
		})
	}
	workers.Wait()
	slices.SortFunc(failures, func(a, b *Report) int { return cmp.Compare(a.Schedule.Seed, b.Schedule.Seed) })
	return totals, failures, failed
}

func (t *Totals) count(r *Report, nth int) {
	t.Runs++
	t.Stats.add(r.Stats)
	if r.Failed() {
		t.Failed++
		if t.First == 0 || nth < t.First {
			t.First = nth
		}
	}
}
