package world

import (
	"fmt"
	"math"
	"slices"

	"settlewatch/pipelines/sim"
	"settlewatch/pipelines/stage"
	"settlewatch/schemas/topic"
)

// Fault is one thing that goes wrong at one step.
type Fault struct {
	Step   int    `json:"step"`
	Kind   string `json:"kind"`
	Target int    `json:"target"` // which process, store, group: modulo their number
	Arg    int64  `json:"arg,omitempty"`
}

// The kinds of faults. Those of requests befall the effect of the step, if it has
// one that can fail that way; the others befall the world.
const (
	faultRequest   = "request" // Arg: what becomes of the request, a fate
	faultKill      = "kill"    // a process dies where it is
	faultFreeze    = "freeze"  // a process stands still for Arg steps
	faultRebalance = "rebalance"
	faultSkew      = "skew"    // a process's clock is Arg ms wrong from now on
	faultWipe      = "wipe"    // a store loses all
	faultRestore   = "restore" // a store goes back to its snapshot number Arg
	faultDamage    = "damage"  // a store loses a bucket or an entry of the ring
	faultForget    = "forget"  // a group loses its committed offsets
	faultConfig    = "config"  // another CONFIG, variant Arg
	faultGrow      = "grow"    // a raw topic gets another partition, not expected yet
	faultCut       = "cut"     // the log is cut up to a checkpoint
	faultLose      = "lose"    // a store and its checkpoints are lost, its log is cut
	faultTurn      = "turn"    // a second version of a raw topic's profile takes its turn
)

// fate is what becomes of one request.
type fate int

const (
	fateOK          fate = iota
	fateRequestLost      // never arrives; sent again
	fateReplyLost        // done, not heard of; sent again
	fateTwice            // done, and a copy arrives later
	fateFails            // not done, the caller gives up
	fateFailsDone        // done, the caller gives up
	fateFailsLater       // done later, the caller gives up
)

// fates is how many there are.
const fates = int64(fateFailsLater) + 1

func (f fate) String() string {
	return [...]string{"done", "request lost", "reply lost", "done, again later", "fails", "done, fails", "done later, fails"}[f]
}

// weights of the kinds that befall the world.
var faultKinds = []struct {
	kind   string
	weight int
}{
	{faultRequest, 12},
	{faultKill, 4},
	{faultFreeze, 2},
	{faultRebalance, 5},
	{faultSkew, 1},
	{faultWipe, 1},
	{faultRestore, 2},
	{faultDamage, 1},
	{faultForget, 1},
	{faultConfig, 1},
	{faultGrow, 3},
	{faultTurn, 2},
	{faultCut, 2},
	{faultLose, 1},
}

// fault is what goes wrong at this step, if anything does.
func (w *World) fault() *Fault {
	if w.calm {
		return nil
	}
	if w.replay {
		all := w.schedule.Faults
		for w.planned < len(all) && all[w.planned].Step < w.step {
			w.planned++
		}
		if w.planned < len(all) && all[w.planned].Step == w.step {
			w.planned++
			return &all[w.planned-1]
		}
		return nil
	}
	p := &w.schedule.Plan
	if p.FaultEvery == 0 || w.step < 20 || !w.chance(streamFault, p.FaultEvery) {
		return nil
	}
	f := Fault{Step: w.step, Target: int(w.hash(streamFault) >> 40)}
	sum, draw := 0, w.hash(streamFaultKind)
	for _, k := range faultKinds {
		sum += k.weight
	}
	n := int(draw % uint64(sum))
	for _, k := range faultKinds {
		if n -= k.weight; n < 0 {
			f.Kind = k.kind
			break
		}
	}
	if slices.Contains(w.flaw.without, f.Kind) {
		return nil
	}
	f.Arg = w.draw(f.Kind, draw>>20)
	w.schedule.Faults = append(w.schedule.Faults, f)
	return &w.schedule.Faults[len(w.schedule.Faults)-1]
}

// tempt draws a fault where few steps are and much depends on them: between a
// publication and its commit, a recorded range and its rows.
func (w *World) tempt(a *actor) *Fault {
	p := &w.schedule.Plan
	switch a.op {
	case opCommit, opRecordRange, opInsert, opLoadPart:
	case opAppend:
		if a.process.kind.ingest() {
			return nil
		}
	default:
		return nil
	}
	if w.calm || w.replay || p.FaultEvery == 0 || w.doom != fateOK || !w.chance(streamTempt, p.FaultEvery/4) {
		return nil
	}
	f := Fault{Step: w.step, Kind: faultRequest, Arg: w.draw(faultRequest, w.hash(streamTempt)>>8)}
	if w.hash(streamTempt)>>40%3 == 0 {
		f = Fault{Step: w.step, Kind: faultKill, Target: slices.Index(w.processes, a.process)}
	}
	if slices.Contains(w.flaw.without, f.Kind) {
		return nil
	}
	w.schedule.Faults = append(w.schedule.Faults, f)
	if f.Kind == faultRequest {
		w.stats.Faults++
		w.doom = fate(f.Arg)
	}
	return &f
}

// draw is the argument of a fault.
func (w *World) draw(kind string, draw uint64) int64 {
	switch kind {
	case faultRequest:
		return 1 + int64(draw%uint64(fates-1))
	case faultFreeze:
		return 1 + int64(draw%200)
	case faultSkew:
		if s := w.schedule.Plan.SkewMs; s > 0 {
			return int64(draw%uint64(2*s+1)) - s
		}
		return 0
	default:
		return int64(draw % 1000)
	}
}

// fate of the request whose effect comes now.
func (w *World) fate() fate {
	f := w.doom
	w.doom = fateOK
	return f
}

// befall lets a fault happen that is not a request's.
func (w *World) befall(f *Fault) {
	w.stats.Faults++
	w.note("fault: %s %d %d", f.Kind, f.Target, f.Arg)
	switch f.Kind {
	case faultKill:
		if p := w.processes[f.Target%len(w.processes)]; p.alive {
			w.kill(p)
		}
	case faultFreeze:
		w.processes[f.Target%len(w.processes)].frozenUntil = w.step + int(f.Arg)
	case faultRebalance:
		w.share(w.groups[f.Target%len(w.groups)], mix(uint64(f.Arg)))
	case faultSkew:
		w.skew(w.processes[f.Target%len(w.processes)], f.Arg)
	case faultWipe:
		w.rewrite(w.stores[f.Target%len(w.stores)], sim.StateSnapshot{})
	case faultRestore:
		if s := w.stores[f.Target%len(w.stores)]; len(s.snapshots) > 0 {
			w.rewrite(s, s.snapshots[int(f.Arg)%len(s.snapshots)])
		}
	case faultDamage:
		s := w.stores[f.Target%len(w.stores)]
		s.damaged = s.state.Damage(uint64(f.Arg)) || s.damaged
	case faultForget:
		clear(w.groups[f.Target%len(w.groups)].committed)
	case faultConfig:
		w.configure(int(f.Arg))
	case faultGrow:
		w.grow(w.raws[f.Target%len(w.raws)])
	case faultCut:
		w.cut(w.stores[f.Target%len(w.stores)])
	case faultLose:
		if f.Arg%4 == 0 {
			w.lose(w.stores[f.Target%len(w.stores)])
		}
	case faultTurn:
		w.handOver(w.raws[f.Target%len(w.raws)], int(f.Arg))
	}
}

// skew sets a process's clock. What measures a span on a machine does not see its
// clock being set; a simulated time cannot tell the two apart, so whoever measures
// spans only is started anew.
func (w *World) skew(p *process, ms int64) {
	if p.skewMs != ms && p.alive && !p.kind.ingest() {
		w.kill(p)
	}
	p.skewMs = ms
}

// rewrite puts a store back to what it once held.
func (w *World) rewrite(s *store, to sim.StateSnapshot) {
	s.state.Restore(to)
	w.beginHistory(s)
	w.note("partition %d is back at sequence %d", s.partition, s.from.Sequence)
}

// grow adds a partition to a raw topic, if the plan has one more.
func (w *World) grow(r *raw) {
	if r.partitions >= w.schedule.Plan.RawPartitions {
		return
	}
	r.partitions++
	if err := w.log.AddPartition(r.Name); err != nil {
		w.violate("simulation", "%v", err)
	}
	for _, g := range w.groups {
		if g.topic == r.Name {
			g.partitions++
			g.owners = append(g.owners, nil)
		}
	}
}

// handOver gives a live raw topic to a second version of its profile, at its present
// end: CONFIG says so, and instances of the second version start beside the first.
func (w *World) handOver(r *raw, variant int) {
	if r.untils != nil || w.schedule.Plan.played(r.Topic) {
		return
	}
	r.untils, r.turning = make([]int64, r.partitions), true
	for n := range r.untils {
		r.untils[n] = w.ends[place{r.Name, int32(n)}]
	}
	w.configure(variant)
	w.addGroup(&group{id: r.Name, topic: r.Name, partitions: r.partitions, kinds: []kind{r.kind}, version: 2, own: w.ingest})
	for n := range w.schedule.Plan.Instances {
		p := &process{name: fmt.Sprintf("%s-%d@2", r.kind, n), kind: r.kind, index: n, version: 2}
		w.processes = append(w.processes, p)
		w.boot(p)
	}
}

// turned tells whether every reader of the first version knows where it ends.
func (w *World) turned(r *raw) bool {
	for _, p := range w.processes {
		if p.alive && p.kind == r.kind && p.version == 1 {
			for n := range r.untils {
				if p.configs.Turn(r.source(n, 1).String()).Until == math.MaxInt64 {
					return false
				}
			}
		}
	}
	return true
}

// configure writes another CONFIG.
func (w *World) configure(variant int) {
	c := w.schedule.Plan.config(variant, w.raws)
	w.latest = c
	value, err := c.MarshalVT()
	if err != nil {
		panic(fmt.Sprintf("encode a configuration: %v", err))
	}
	w.append(stage.Outgoing{Topic: topic.Config.Name, Records: []stage.Record{{Value: value, TimeMs: w.nowMs}}})
}
