package world

import (
	"slices"

	"settlewatch/pipelines/stage"
	"settlewatch/schemas/topic"
)

// Report is what came of a run.
type Report struct {
	Schedule   *Schedule   `json:"schedule"`
	Violations []Violation `json:"violations"`
	Stats      Stats       `json:"stats"`
	// Trace is a hash of all that happened: equal for equal schedules.
	Trace uint64 `json:"-"`
}

// Failed tells whether anything was found.
func (r *Report) Failed() bool { return len(r.Violations) > 0 }

// Run draws the schedule of a seed and plays it. planted names a bug that is put
// into the product, empty for none.
func Run(seed uint64, planted string) (*Report, error) {
	s := Draw(seed)
	s.Planted = planted
	return play(s, false)
}

// Replay plays a schedule as it is written.
func Replay(s *Schedule) (*Report, error) { return play(s, true) }

func play(s *Schedule, replay bool) (*Report, error) {
	flaw, err := planted(s.Planted)
	if err != nil {
		return nil, err
	}
	if !replay && flaw.shape != nil {
		flaw.shape(&s.Plan)
		s.Plan.Checkpoints = s.Plan.Checkpoints && !s.Plan.Warehouse
	}
	w, err := build(s, replay, flaw)
	if err != nil {
		return nil, err
	}
	return w.play(), nil
}

func (w *World) play() *Report {
	w.storm()
	w.rest()
	for _, p := range w.processes {
		if p.alive {
			w.kill(p)
		}
	}
	w.stats.Steps = w.step
	return &Report{Schedule: w.schedule, Violations: w.violations, Stats: w.stats, Trace: w.trace}
}

// storm is the part of a run in which things fail.
func (w *World) storm() {
	for _, p := range w.processes {
		w.boot(p)
	}
	for n, g := range w.groups {
		w.share(g, mix(uint64(n)))
	}
	for w.step = 1; w.step < w.schedule.Plan.Steps && len(w.violations) == 0; w.step++ {
		w.leave()
		if f := w.fault(); f != nil {
			if f.Kind == faultRequest {
				w.stats.Faults++
				w.doom = fate(f.Arg)
			} else {
				w.befall(f)
				continue
			}
		}
		w.pick()
		w.doom = fateOK
	}
}

// leave tells owners that they have lost their partition, when they hear of it, and
// lets a raw topic go on whose readers know who reads what.
func (w *World) leave() {
	for _, r := range w.raws {
		r.turning = r.turning && !w.turned(r)
	}
	for _, a := range w.actors {
		if a.leaveAt != 0 && a.leaveAt <= w.step && a.ctx.Err() == nil {
			a.cancel()
		}
	}
}

// pick lets one thing happen: a loop goes on, records arrive, a late request does,
// a dead process starts again, partitions find an owner, or time passes.
func (w *World) pick() {
	w.ready = w.ready[:0]
	for _, a := range w.actors {
		if a.process.frozenUntil <= w.step && a.runnable(w.nowMs) {
			w.ready = append(w.ready, a)
		}
	}
	draw := w.hash(streamPick)
	arriving := w.feed.ready(w.nowMs)
	// An arrival or a late request is as likely as one loop's turn, time passes less often.
	n := int(draw % uint64(8*(len(w.ready)+min(arriving, 1)+min(len(w.network), 1))+4+1))
	switch draw >>= 16; {
	case n < 8*len(w.ready):
		a := w.ready[n/8]
		if f := w.tempt(a); f != nil && f.Kind != faultRequest {
			w.befall(f)
			return
		}
		w.turn(a)
		if a.process.doomed {
			w.kill(a.process)
		} else if a.done {
			w.reap()
		}
		return
	case n < 8*(len(w.ready)+min(arriving, 1)):
		w.write(draw)
		return
	case n < 8*(len(w.ready)+min(arriving, 1)+min(len(w.network), 1)):
		w.deliver(int(draw % uint64(len(w.network))))
		return
	case n%2 == 0 && w.repair(draw):
		return
	}
	w.pass(draw)
}

func (w *World) deliver(n int) {
	w.note("a late request arrives")
	l := w.network[n]
	w.network = append(w.network[:n], w.network[n+1:]...)
	l.deliver()
}

// repair starts a dead process, or gives partitions without an owner to one, and
// remembers what a store holds, for a replica that lags behind.
func (w *World) repair(draw uint64) bool {
	if s := w.stores[draw%uint64(len(w.stores))]; draw>>10%3 == 0 && len(s.snapshots) < 20 {
		s.snapshots = append(s.snapshots, s.state.Snapshot())
		w.keep(s)
	}
	for _, p := range w.processes {
		if !p.alive && (w.calm || draw>>20%4 == 0) {
			w.boot(p)
			return true
		}
	}
	for _, g := range w.groups {
		if g.orphaned() {
			w.share(g, draw>>24)
			return true
		}
	}
	return false
}

// pass lets time pass: mostly little, now and then a part of what is left.
func (w *World) pass(draw uint64) {
	left := horizonMs - w.nowMs
	switch draw % 6 {
	case 0, 1:
		w.nowMs++
	case 2:
		w.nowMs += 1 + int64(draw>>8%300)
	case 3:
		w.nowMs += 1 + int64(draw>>8%5000)
	default:
		if left > 0 {
			w.nowMs += 1 + int64(draw>>8%uint64(left/20+2))
		} else {
			w.nowMs += 250
		}
	}
}

// rest ends all faults and waits until everything has come to rest, in two parts:
// first all that lies in the raw topics and the marks up to the horizon come into
// the log, then the readers of the log reach its end.
func (w *World) rest() {
	if len(w.violations) > 0 {
		return
	}
	w.calm, w.doom = true, fateOK
	for _, p := range w.processes {
		p.frozenUntil = 0
		w.skew(p, 0)
	}
	for _, a := range w.actors {
		if a.leaveAt != 0 {
			a.cancel()
		}
	}
	for _, r := range w.raws {
		w.grow(r)
	}
	w.configure(0)
	w.settle("everything reaches the payment log", w.fed)
	if len(w.violations) > 0 {
		return
	}
	for _, p := range w.processes {
		if p.alive && p.kind.ingest() {
			w.kill(p)
		}
	}
	w.groups = slices.DeleteFunc(w.groups, func(g *group) bool { return g.kinds[0].ingest() })
	processes := w.processes[:0]
	for _, p := range w.processes {
		if !p.kind.ingest() {
			processes = append(processes, p)
		}
	}
	w.processes = processes
	w.nudge()
	w.settle("every reader of the payment log reaches its end", w.read)
	if len(w.violations) == 0 {
		w.check()
	}
}

// nudge repeats the last record of every log partition. An owner whose store was
// rolled back notices at its next commit, and in a log that is complete there would
// be none.
func (w *World) nudge() {
	for _, s := range w.stores {
		if records, err := w.log.Records(topic.PaymentLog.Name, s.partition); err == nil && len(records) > 0 {
			w.append(stage.Outgoing{Topic: topic.PaymentLog.Name, Partition: s.partition, Records: records[len(records)-1:]})
		}
	}
}

// settle goes on until done says so.
func (w *World) settle(what string, done func() bool) {
	steps := stepsMax
	for _, s := range w.stores {
		steps += stepsPerRecord * int(w.ends[place{topic.PaymentLog.Name, s.partition}])
	}
	for most := w.step + steps; w.step < most && len(w.violations) == 0; w.step++ {
		w.leave()
		if w.step%64 == 0 && done() {
			return
		}
		if draw := w.hash(streamTime); w.repair(draw) {
			continue
		}
		w.pick()
		if len(w.ready) == 0 && w.feed.ready(w.nowMs) == 0 && len(w.network) == 0 {
			w.skip()
		}
	}
	if len(w.violations) == 0 {
		w.violate("no stall: "+what, "not after %d steps without faults: %s", steps, w.standing())
	}
}

// skip lets time pass until something waits no longer.
func (w *World) skip() {
	next := w.feed.nextMs()
	for _, a := range w.actors {
		if a.wakes != 0 && (next == 0 || a.wakes < next) {
			next = a.wakes
		}
	}
	w.nowMs = max(w.nowMs, next)
}

// read tells whether the joiner has stored all of the log, and the warehouse all
// that it loads.
func (w *World) read() bool {
	for _, s := range w.stores {
		if !s.checkpoints.lost && s.look().Offset != w.ends[place{topic.PaymentLog.Name, s.partition}] {
			return false
		}
	}
	for _, g := range w.groups {
		if g.id != "warehouse" {
			continue
		}
		for n, a := range g.owners {
			// What waits for an insert is inserted before the third look at the end.
			if a == nil || a.op != opFetch || a.offset < w.ends[place{g.topic, int32(n)}] || a.again < 3 {
				return false
			}
		}
	}
	return true
}
