package hop_test

import (
	"fmt"
	"slices"
	"testing"

	"pgregory.net/rapid"

	"settlewatch/pipelines/hop"
)

func TestWriterMarks(t *testing.T) {
	const none = -1
	type step struct {
		fetchedAt, high int64 // a fetch, unless high is none
		queued          int64
		want            int64 // T, or none
	}
	for name, steps := range map[string][]step{
		"nothing before the first fetch": {
			{high: none, queued: 5, want: none},
		},
		"an empty source is worked off at once": {
			{fetchedAt: 100, high: 0, queued: 0, want: 100},
			{fetchedAt: 200, high: 0, queued: 0, want: 200},
		},
		"exactly the high watermark is enough": {
			{fetchedAt: 100, high: 10, queued: 9, want: none},
			{high: none, queued: 10, want: 100},
		},
		"an empty reply with more ahead proves nothing": {
			{fetchedAt: 100, high: 10, queued: 3, want: none},
			{fetchedAt: 200, high: 10, queued: 3, want: none},
			{fetchedAt: 300, high: 10, queued: 10, want: 300},
		},
		"the moment is the earlier fetch's while a later one is not worked off": {
			{fetchedAt: 100, high: 10, queued: 5, want: none},
			{fetchedAt: 200, high: 20, queued: 10, want: 100},
			{fetchedAt: 300, high: 30, queued: 15, want: 100},
			{high: none, queued: 20, want: 200},
			{high: none, queued: 30, want: 300},
		},
		"a start from a committed offset": {
			{fetchedAt: 100, high: 50, queued: 40, want: none},
			{high: none, queued: 50, want: 100},
		},
		"a clock that is set back takes nothing back": {
			{fetchedAt: 500, high: 1, queued: 1, want: 500},
			{fetchedAt: 400, high: 2, queued: 2, want: 500},
			{fetchedAt: 499, high: 2, queued: 2, want: 500},
			{fetchedAt: 501, high: 2, queued: 2, want: 501},
		},
		"what was queued stays queued": {
			{fetchedAt: 100, high: 5, queued: 5, want: 100},
			{high: none, queued: 3, want: 100},
			{fetchedAt: 200, high: 5, queued: 4, want: 200},
		},
		"moments before 1970": {
			{fetchedAt: -500, high: 1, queued: 1, want: -500},
			{fetchedAt: -400, high: 1, queued: 1, want: -400},
		},
	} {
		t.Run(name, func(t *testing.T) {
			var w hop.Writer
			for i, s := range steps {
				if s.high != none {
					w.Fetched(s.fetchedAt, s.high)
				}
				w.Queued(s.queued)
				got, ok := w.Mark()
				if ok != (s.want != none) || (ok && got != s.want) {
					t.Fatalf("step %d: mark %d, %t; want %d", i, got, ok, s.want)
				}
			}
		})
	}
}

// A mark is true: a fetch was sent at T, and all that its reply showed is queued.
// It never goes back, also when the clock does; and when everything is queued, it
// is not behind the last fetch.
func TestWriterMarksAreTrue(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		type fetch struct{ at, high int64 }
		var (
			w              hop.Writer
			fetches        []fetch
			clock          int64 = 1000
			high, queued   int64
			marked, wasSet = int64(0), false
		)
		for range rapid.IntRange(1, 60).Draw(t, "steps") {
			if rapid.Bool().Draw(t, "fetch") {
				clock += int64(rapid.IntRange(-3, 10).Draw(t, "tick"))
				high += int64(rapid.IntRange(0, 4).Draw(t, "arrived"))
				fetches = append(fetches, fetch{clock, high})
				w.Fetched(clock, high)
			} else {
				queued = min(high, queued+int64(rapid.IntRange(0, 5).Draw(t, "read")))
				w.Queued(queued)
			}
			mark, ok := w.Mark()
			if ok && !slices.ContainsFunc(fetches, func(f fetch) bool { return f.at == mark && f.high <= queued }) {
				t.Fatalf("mark %d with %d queued, fetched so far %v", mark, queued, fetches)
			}
			if wasSet && (!ok || mark < marked) {
				t.Fatalf("mark %d, %t after %d", mark, ok, marked)
			}
			if n := len(fetches); n > 0 && queued == high && (!ok || mark < fetches[n-1].at) {
				t.Fatalf("mark %d, %t, though all is queued that the fetch at %d showed", mark, ok, fetches[n-1].at)
			}
			marked, wasSet = mark, ok
		}
	})
}

// Under load that never lets it reach the end, T follows at a bounded distance.
func TestWriterAdvancesUnderLoad(t *testing.T) {
	for _, backlog := range []int64{1, 7, 100} {
		t.Run(fmt.Sprint("backlog ", backlog), func(t *testing.T) {
			var w hop.Writer
			for i := range 20 * backlog {
				// A record is read at every step, and one arrives for it.
				w.Fetched(i, i+backlog)
				w.Queued(i + 1)
				if mark, ok := w.Mark(); i >= 2*backlog && (!ok || mark < i-2*backlog) {
					t.Fatalf("at step %d the mark is %d, %t", i, mark, ok)
				}
			}
		})
	}
}
