package world

import (
	"encoding/json"
	"math/rand/v2"
	"testing"

	"settlewatch/pipelines/sim"
)

// The fixed set, and some that nobody has seen before: their seeds are printed.
func TestRuns(t *testing.T) {
	fresh := rand.Uint64() >> 16
	t.Logf("fixed seeds 0 to 299, fresh seeds %d to %d", fresh, fresh+99)
	for _, c := range []Campaign{{Seed: 0, Runs: 300}, {Seed: fresh, Runs: 100}} {
		totals, failures, err := c.Run(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		for _, r := range failures {
			t.Errorf("seed %d: %v", r.Schedule.Seed, r.Violations)
		}
		t.Logf("%+v", totals)
		if s := totals.Stats; s.Alerts == 0 || s.Crashes == 0 || s.Loads == 0 || s.Faults == 0 {
			t.Error("nothing happened: the runs test nothing")
		}
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

// Every planted bug is caught, in the first runs that plant it.
func TestPlanted(t *testing.T) {
	for i := range Flaws {
		f := &Flaws[i]
		t.Run(f.Name, func(t *testing.T) {
			totals, failures, err := Campaign{Seed: 1, Runs: 1500, Planted: f.Name, Most: 1}.Run(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			if len(failures) == 0 {
				t.Fatalf("%s: not caught in %d runs", f.About, totals.Runs)
			}
			t.Logf("caught in run %d: %.200s", totals.First, failures[0].Violations[0])
		})
	}
}

// Where a flaw had to take defences away for its bug to show, the bug is what is
// caught: without it, and with the same faults, nothing is.
func TestDefencesTakenAway(t *testing.T) {
	for i := range Flaws {
		f := &Flaws[i]
		if len(f.without) == 0 {
			continue
		}
		bare := *f
		bare.lostIsDone = false
		bare.onStore = func(s *sim.State) {
			f.onStore(s)
			s.Flaws.NoneMatchesAll = false
		}
		for seed := range uint64(100) {
			w, err := build(Draw(seed), false, &bare)
			if err != nil {
				t.Fatal(err)
			}
			if r := w.play(); r.Failed() {
				t.Fatalf("%s, seed %d: caught without the bug: %v", f.Name, seed, r.Violations)
			}
		}
	}
}

// A failure shrinks to less, fails the same check, and replays.
func TestShrink(t *testing.T) {
	_, failures, err := Campaign{Seed: 1, Runs: 3000, Planted: "commit-before-publish", Most: 1}.Run(t.Context())
	if err != nil || len(failures) == 0 {
		t.Fatalf("nothing to shrink: %v", err)
	}
	small := Shrink(t.Context(), failures[0], 300)
	was, is := failures[0].Schedule, small.Schedule
	if len(is.Faults)+len(is.Plan.Items) >= len(was.Faults)+len(was.Plan.Items) || len(is.Faults) == 0 {
		t.Errorf("%d faults and %d records have become %d and %d", len(was.Faults), len(was.Plan.Items), len(is.Faults), len(is.Plan.Items))
	}
	text, err := json.Marshal(is)
	if err != nil {
		t.Fatal(err)
	}
	var read Schedule
	if err := json.Unmarshal(text, &read); err != nil {
		t.Fatal(err)
	}
	again, err := Replay(&read)
	if err != nil || again.Trace != small.Trace || again.Violations[0].Check != failures[0].Violations[0].Check {
		t.Errorf("the schedule that was written down gives %v (%v)", again.Violations, err)
	}
}
