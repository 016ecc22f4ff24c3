package world

import (
	"math/rand/v2"
	"testing"
)

// The fixed set, and some that nobody has seen before: their seeds are printed.
func TestRuns(t *testing.T) {
	seeds := make([]uint64, 0, 400)
	for seed := range uint64(300) {
		seeds = append(seeds, seed)
	}
	fresh := rand.Uint64() >> 16
	for i := range uint64(100) {
		seeds = append(seeds, fresh+i)
	}
	t.Logf("fixed seeds 0 to 299, fresh seeds %d to %d", fresh, fresh+99)
	var total Stats
	for _, seed := range seeds {
		r, err := Run(seed, "")
		if err != nil {
			t.Fatal(err)
		}
		total.add(r.Stats)
		if r.Failed() {
			t.Errorf("seed %d: %v", seed, r.Violations)
		}
	}
	t.Logf("%+v", total)
	if total.Alerts == 0 || total.Crashes == 0 || total.Loads == 0 {
		t.Error("nothing happened: the runs test nothing")
	}
}

// The same seed is the same run, and so is the schedule that it has written down.
func TestRunsRepeat(t *testing.T) {
	for seed := range uint64(30) {
		one, err := Run(seed, "")
		if err != nil {
			t.Fatal(err)
		}
		two, err := Run(seed, "")
		if err != nil {
			t.Fatal(err)
		}
		three, err := Replay(one.Schedule)
		if err != nil {
			t.Fatal(err)
		}
		if one.Trace != two.Trace || one.Trace != three.Trace {
			t.Errorf("seed %d: traces %x, again %x, replayed %x", seed, one.Trace, two.Trace, three.Trace)
		}
	}
}
