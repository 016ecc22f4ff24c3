package world

import (
	"context"
	"errors"
	"fmt"
	"iter"

	"settlewatch/pipelines/stage"
)

var (
	background = context.Background()
	errCrashed = errors.New("simulated: the process is gone")
	errFailed  = errors.New("simulated: the call failed for good")
)

// process is one instance of a service: its loops live and die together.
type process struct {
	name        string
	kind        kind
	index       int    // among those of its kind
	version     uint32 // of the profile that it reads by
	alive       bool
	skewMs      int64 // its clock less the world's
	actors      []*actor
	doomed      bool // one of its loops ended with an error: it stops
	frozenUntil int  // the step until which it stands still
	configs     *stage.Configs
}

type kind int

const (
	kindAuthorization kind = iota
	kindCapture
	kindSettlement
	kindJoiner
	kindWarehouse
)

func (k kind) String() string {
	return [...]string{"authorization", "capture", "settlement", "joiner", "warehouse"}[k]
}

func (k kind) ingest() bool { return k <= kindSettlement }

// actor is one loop: a coroutine that parks before every effect.
type actor struct {
	name      string
	process   *process
	next      func() (struct{}, bool)
	stop      func()
	yield     func(struct{}) bool
	ctx       context.Context
	cancel    context.CancelFunc
	partition int32 // that it owns
	// leaveAt is the step at which an owner that lost its partition hears of it; 0
	// while it has it.
	leaveAt int
	dead    bool // crashed: nothing it does has an effect any more
	done    bool
	rests   bool // it has refused a partition that is lost, and keeps it
	err     error

	// What it is parked for.
	op     op
	at     place
	wait   func() bool // nil: nothing
	offset int64       // of the fetch that it is parked for
	again  int         // how often it has been this one
	wakes  int64       // world time at which it goes on in any case; 0 when it does not wait
}

// op is the kind of effect that an actor is parked before.
type op int

const (
	opStart op = iota
	opClock
	opSleep
	opOpen
	opBounds
	opFetch
	opAppend
	opGroupCommit
	opAcquire
	opLoad
	opLoadPart
	opCommit
	opLastRange
	opRecordRange
	opInsert
	opCheckpoint
)

func (o op) String() string {
	return [...]string{
		"start", "clock", "sleep", "open", "bounds", "fetch", "append", "group commit", "acquire", "load",
		"load part", "commit", "last range", "record range", "insert",
		"checkpoint",
	}[o]
}

// spawn starts a loop on a process; it does nothing until it is picked.
func (w *World) spawn(p *process, name string, loop func(ctx context.Context) error) *actor {
	ctx, cancel := context.WithCancel(background)
	a := &actor{name: p.name + "/" + name, process: p, ctx: ctx, cancel: cancel}
	a.next, a.stop = iter.Pull(func(yield func(struct{}) bool) {
		a.yield = yield
		defer func() {
			if fault := recover(); fault != nil {
				a.err = fmt.Errorf("panic: %v", fault)
				w.violate("panic", "%s: %v", a.name, fault)
			}
		}()
		a.err = loop(ctx)
	})
	w.actors = append(w.actors, a)
	p.actors = append(p.actors, a)
	return a
}

// park hands over to the scheduler before an effect; it returns false when the
// actor's process died there.
func (w *World) park(o op, at place) bool { return w.parkUntil(o, at, nil, 0) }

// parkUntil waits besides until ready says so, or the world's clock shows wakes.
func (w *World) parkUntil(o op, at place, ready func() bool, wakes int64) bool {
	a := w.running
	if a.dead {
		return false
	}
	a.op, a.at, a.wait, a.wakes = o, at, ready, wakes
	if !a.yield(struct{}{}) {
		a.dead = true
	}
	return !a.dead
}

func (a *actor) runnable(nowMs int64) bool {
	if a.wait == nil && a.wakes == 0 || a.ctx.Err() != nil {
		return true
	}
	return a.wait != nil && a.wait() || a.wakes != 0 && nowMs >= a.wakes
}

// turn lets an actor run up to its next effect.
func (w *World) turn(a *actor) {
	w.running = a
	if _, parked := a.next(); !parked {
		w.ended(a)
	}
	w.running = nil
}

// ended: a loop that ends with an error ends its process, as a service does.
func (w *World) ended(a *actor) {
	a.done = true
	a.cancel()
	if a.err == nil || a.dead {
		return
	}
	w.note("%s ended: %v", a.name, a.err)
	if w.mayRefuse(a) {
		// The partition rests, its process goes on. One that nobody can work on stays with
		// its owner, or the others would move with it for ever.
		a.rests = w.stores[a.partition].checkpoints.lost
		return
	}
	if w.repaired(a) {
		return
	}
	if !errors.Is(a.err, errFailed) && !errors.Is(a.err, errOver) {
		w.refused(a)
	}
	a.process.doomed = true
}

// kill ends a process where its loops are parked.
func (w *World) kill(p *process) {
	w.note("kill %s", p.name)
	w.stats.Crashes++
	p.alive, p.doomed = false, false
	for _, a := range p.actors {
		if a.done {
			continue
		}
		a.dead, a.done = true, true
		a.cancel()
		outer := w.running
		w.running = a
		a.stop()
		w.running = outer
	}
	p.actors = p.actors[:0]
	w.reap()
}

// reap forgets loops that have ended.
func (w *World) reap() {
	alive := w.actors[:0]
	for _, a := range w.actors {
		if !a.done {
			alive = append(alive, a)
		}
	}
	clear(w.actors[len(alive):])
	w.actors = alive
}
