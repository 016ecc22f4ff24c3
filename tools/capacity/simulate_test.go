package capacity

import (
	"math"
	"reflect"
	"slices"
	"testing"
)

// small is a cell that can be computed by hand.
func small() Settings {
	return Settings{
		Cell: Cell{Joiners: 2, Partitions: 2, RedisShards: 1, Brokers: 3, Cores: 2, Payments: 1000, Bytes: 100_000, Records: 100, FoldSeconds: 1e-3},
		// A core loads a partition in 10 s, the shard sends it in 1 s, and a core folds ten
		// times what comes in.
		FoldSeconds: 1e-3, LoadPerSecond: 100, ShardRead: 1e6,
		Session: 6, FencedWait: 2, Restart: 5, RedisFailover: 16, RedisLag: 1, BrokerFailover: 10,
		IngestUtilisation: 0.5, Policy: Today, Seed: 1,
	}
}

func scenarioNamed(t testing.TB, name string) Scenario {
	t.Helper()
	for _, s := range Scenarios {
		if s.Name == name {
			return s
		}
	}
	t.Fatalf("no scenario %q", name)
	return Scenario{}
}

func near(a, b float64) bool { return math.Abs(a-b) < 1e-6*max(1, math.Abs(b)) }

// play a scenario in which all partitions are alike, so that times are round.
func play(s Settings, scenario Scenario, checks func(*group)) *group {
	g := newGroup(s)
	for i := range g.partitions {
		p := &g.partitions[i]
		p.rate, p.payments, p.bytes = s.Cell.Records, s.Cell.Payments, s.Cell.Bytes
	}
	g.checks = checks
	g.after(warmSeconds, func() { scenario.strike(g) })
	g.run()
	return g
}

// One of two joiners, of a partition each, is lost at 0. Its session ends at 6. Without
// heartbeats to wait for, both partitions load on two cores from then on, 10 s: at 16 s
// the lost one's oldest record has waited 16 s, the other's 10 s. 1,600 records wait, and
// 900 a second are gained: 1.777… s later all is current.
func TestLostJoinerByHand(t *testing.T) {
	g := play(small(), scenarioNamed(t, "joiner lost"), nil)
	worst := []float64{g.partitions[0].worst, g.partitions[1].worst}
	slices.Sort(worst)
	if !near(worst[0], 10) || !near(worst[1], 16) {
		t.Errorf("late by %v s, want 10 and 16", worst)
	}
	if want := 16 + 1600.0/900; !near(g.currentAt-warmSeconds, want) {
		t.Errorf("current after %v s, want %v", g.currentAt-warmSeconds, want)
	}
	if g.loads != 2 || g.rebalances != 1 {
		t.Errorf("%d loads, %d rebalances", g.loads, g.rebalances)
	}
}

// A shard is away for 16 s; both owners are refused, wait 2 s, and load 10 s: 28 s. The
// replica lacks a second, whose records are folded again.
func TestFailoverByHand(t *testing.T) {
	g := play(small(), scenarioNamed(t, "Redis shard fails over"), nil)
	for i, p := range g.partitions {
		if !near(p.again, 100) || !near(p.worst, 29) {
			t.Errorf("partition %d: late by %v s, %v records again; want 29 (28, and the second that was rolled back) and 100", i, p.worst, p.again)
		}
	}
}

// The last part of a state is read by all at once: what a shard sends is shared.
func TestShardIsShared(t *testing.T) {
	s := small()
	s.LoadPerSecond, s.ShardRead = 1e6, 1e5 // the shard is what is slow: 1 s for one, 2 s for two
	g := play(s, scenarioNamed(t, "joiner lost"), nil)
	if at := max(g.partitions[0].worst, g.partitions[1].worst); !near(at, 8) {
		t.Errorf("late by %v s, want 6 of the session and 2", at)
	}
}

// Two that load on one core take twice as long as one.
func TestCoresAreShared(t *testing.T) {
	s := small()
	s.Cell.Partitions, s.Cell.Cores = 4, 1
	g := play(s, scenarioNamed(t, "joiner lost"), nil)
	// Four partitions on the core that is left, each of which takes it for 10 s.
	worst := 0.0
	for _, p := range g.partitions {
		worst = max(worst, p.worst)
	}
	if !near(worst, 46) {
		t.Errorf("late by %v s, want 6 of the session and 40", worst)
	}
}

// A standby has the state: only the session is waited for, and only where the joiner
// was lost.
func TestStandbyWaitsForTheSessionOnly(t *testing.T) {
	s := small()
	s.Policy = Standby
	g := play(s, scenarioNamed(t, "joiner lost"), nil)
	if worst := max(g.partitions[0].worst, g.partitions[1].worst); !near(worst, 6) || g.loads != 0 {
		t.Errorf("late by %v s with %d loads, want the session of 6 s and none", worst, g.loads)
	}
	if least := min(g.partitions[0].worst, g.partitions[1].worst); least != 0 {
		t.Errorf("the other partition was late by %v s", least)
	}
}

// cellOf a size between a toy and the real one.
func cellOf(policy Policy) Settings {
	s := small()
	s.Cell = Cell{Joiners: 6, Partitions: 60, RedisShards: 6, Brokers: 6, Cores: 4, Payments: 1e6, Bytes: 1e8, Records: 500, FoldSeconds: 1e-5}
	s.FoldSeconds, s.LoadPerSecond, s.ShardRead = 1e-5, 5e5, 4e8
	s.Heartbeat, s.JoinRound, s.Drain = 1, 0.1, 0.2
	s.Policy = policy
	return s
}

// Whatever happens, what has arrived was folded, or waits: at every step.
func TestNothingIsLostOrCountedTwice(t *testing.T) {
	for _, policy := range Policies {
		for _, scenario := range Scenarios {
			steps := 0
			g := play(cellOf(policy), scenario, func(g *group) {
				steps++
				for i := range g.partitions {
					p := &g.partitions[i]
					if !near(p.arrived, p.folded+p.backlog) || p.backlog < -1e-6 {
						t.Fatalf("%s, %s at %v s: partition %d: %v arrived, %v folded, %v wait",
							scenario.Name, policy.Name, g.now, i, p.arrived, p.folded, p.backlog)
					}
				}
			})
			if g.backlogged() {
				t.Errorf("%s, %s: it never got current", scenario.Name, policy.Name)
			}
			if steps < 3 {
				t.Errorf("%s, %s: %d steps: nothing happened", scenario.Name, policy.Name, steps)
			}
			for i, p := range g.partitions {
				if !g.joiners[p.owner].alive || !near(p.arrived, p.rate*g.now) {
					t.Errorf("%s, %s: partition %d belongs to %d, %v arrived", scenario.Name, policy.Name, i, p.owner, p.arrived)
				}
			}
		}
	}
}

func mustSimulate(t testing.TB, s Settings, scenario Scenario, runs int) Outcome {
	t.Helper()
	o, err := Simulate(s, scenario, runs)
	if err != nil {
		t.Fatal(err)
	}
	return o
}

// More headroom, of any kind, is never slower.
func TestMoreHeadroomIsNeverSlower(t *testing.T) {
	more := map[string]func(*Settings, float64){
		"cores":      func(s *Settings, by float64) { s.Cell.Cores *= by },
		"fold":       func(s *Settings, by float64) { s.FoldSeconds /= by },
		"load rate":  func(s *Settings, by float64) { s.LoadPerSecond *= by },
		"shard read": func(s *Settings, by float64) { s.ShardRead *= by },
		"less state": func(s *Settings, by float64) { s.Cell.Payments /= by; s.Cell.Bytes /= by },
		"ingest":     func(s *Settings, by float64) { s.IngestUtilisation = min(1, 0.9/by) },
	}
	for name, change := range more {
		for _, policy := range Policies {
			for _, scenario := range Scenarios {
				before := Outcome{LateP50: math.Inf(1), LateP99: math.Inf(1), LateMax: math.Inf(1), CurrentAgain: math.Inf(1)}
				for _, by := range []float64{0.5, 1, 2, 4} {
					s := cellOf(policy)
					change(&s, by)
					o := mustSimulate(t, s, scenario, 2)
					if o.LateP50 > before.LateP50+2*tick || o.LateP99 > before.LateP99+2*tick || o.LateMax > before.LateMax+2*tick ||
						o.CurrentAgain > before.CurrentAgain+rollPoll*float64(s.Cell.Joiners) {
						t.Errorf("%s times %v, %s, %s: %+v, after %+v with less", name, by, scenario.Name, policy.Name, o, before)
					}
					before = o
				}
			}
		}
	}
}

func TestSameSeedSameOutcome(t *testing.T) {
	for _, scenario := range Scenarios {
		s := cellOf(Today)
		first, again := mustSimulate(t, s, scenario, 2), mustSimulate(t, s, scenario, 2)
		if !reflect.DeepEqual(first, again) {
			t.Errorf("%s: %+v, then %+v", scenario.Name, first, again)
		}
	}
	s, other := cellOf(Today), cellOf(Today)
	other.Seed = 99
	if a, b := mustSimulate(t, s, Scenarios[0], 1), mustSimulate(t, other, Scenarios[0], 1); reflect.DeepEqual(a, b) {
		t.Errorf("two seeds, one outcome: %+v", a)
	}
}

// A policy with one thing more is not worse where it is meant to help.
func TestPoliciesHelp(t *testing.T) {
	for _, scenario := range Scenarios {
		before := math.Inf(1)
		for _, policy := range []Policy{Today, Sticky, Cooperative, Standby} {
			o := mustSimulate(t, cellOf(policy), scenario, 3)
			if o.LateP50 > before+2*tick {
				t.Errorf("%s: %s has a median of %v s, the one before %v s", scenario.Name, policy.Name, o.LateP50, before)
			}
			before = o.LateP50
		}
	}
}

func TestRangesAreKafkaGos(t *testing.T) {
	s := cellOf(Today)
	s.Cell.Partitions, s.Cell.Joiners = 5, 2
	g := newGroup(s)
	counts := map[int]int{}
	for i, p := range g.partitions {
		counts[p.owner]++
		if i > 0 && p.owner != g.partitions[i-1].owner && i != 2 {
			t.Errorf("the border lies before partition %d, not 2", i)
		}
	}
	if len(counts) != 2 {
		t.Errorf("owners %v", counts)
	}
}

func TestSettingsAreChecked(t *testing.T) {
	for name, spoil := range map[string]func(*Settings){
		"a joiner":      func(s *Settings) { s.Cell.Joiners = 1 },
		"no partitions": func(s *Settings) { s.Cell.Partitions = 1 },
		"no cores":      func(s *Settings) { s.Cell.Cores = 0 },
		"no rate":       func(s *Settings) { s.LoadPerSecond = math.NaN() },
		"ingest":        func(s *Settings) { s.IngestUtilisation = 2 },
	} {
		s := small()
		spoil(&s)
		if _, err := Simulate(s, Scenarios[0], 1); err == nil {
			t.Errorf("%s: simulated", name)
		}
	}
}
