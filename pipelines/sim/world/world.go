// Package world runs the whole chain in one goroutine's turn: the real ingest,
// join and load loops of package stage on in-memory adapters, several instances of
// each, under a scheduler that owns every interleaving.
//
// What enters is a Schedule: a seed, a plan (what is paid and settled, how many
// partitions, whose clocks are wrong) and the faults with the step at which each
// happens. What leaves is a Report: the violations found, of which a correct
// product has none. The same Schedule gives the same Report, step for step: no
// clock is read, no goroutine runs beside another, and every choice is a hash of
// the seed and the step. Run draws the faults as it goes and writes them into the
// schedule; Replay takes them from there; Shrink drops what a failure does not need.
//
// How a loop is held up: each is a coroutine. Every call on an adapter (a fetch,
// an append to one partition, a commit, a part of a load, a look at the clock, a
// sleep) parks it before the effect; the scheduler picks who goes on next, and what
// happens to the effect: done, request lost, reply lost, done twice, done late. A
// crash is a coroutine that is ended where it is parked, so between any two effects.
//
// The simulated servers promise less than the real ones: an offset may be committed
// by an instance that lost its partition, an empty reply may hide records, a late
// copy of any request may still arrive. What they do promise is what package
// conformance asks of every adapter.
package world

import (
	"fmt"
	"log/slog"

	"settlewatch/pipelines/sim"
	"settlewatch/pipelines/stage"
	"settlewatch/schemas/event"
)

// A run that does not come to rest ends after stepsMax, and stepsPerRecord of the payment log
// besides: all of it may have to be read again, one record a fetch.
const (
	stepsMax       = 25_000
	stepsPerRecord = 50
)

// World is one run. It is not safe for concurrent use.
type World struct {
	schedule *Schedule
	replay   bool
	planned  int // the next of schedule.Faults, in a replay
	flaw     *Flaw

	step  int
	nowMs int64
	calm  bool // faults are off, everything has to come to rest

	log       *sim.Log
	ends      map[place]int64 // what has been appended to each partition
	stores    []*store        // by log partition
	warehouse *sim.Warehouse
	feed      feeder
	raws      []*raw
	latest    *event.Config

	processes []*process
	groups    []*group
	actors    []*actor
	running   *actor
	ready     []*actor
	network   []late // requests that are still on their way

	doom         fate // of the request whose effect comes next
	expectations map[event.Source][][]arrived

	fedMs      int64 // when the last raw record was written, 0 while some are to come
	aheadMs    int64 // the furthest that an ingest's clock was ahead
	refusal    error // the first stop that an operator has to look at
	violations []Violation
	stats      Stats
	trace      uint64 // a hash of all that happened, in order
}

type place struct {
	topic     string
	partition int32
}

// late is a request that will reach its server yet.
type late struct{ deliver func() }

// Stats count what a run went through.
type Stats struct {
	Steps, Faults, Crashes, Loads, Records, Alerts int
}

func (s *Stats) add(o Stats) {
	s.Steps += o.Steps
	s.Faults += o.Faults
	s.Crashes += o.Crashes
	s.Loads += o.Loads
	s.Records += o.Records
	s.Alerts += o.Alerts
}

// Violation is one thing that must not be.
type Violation struct {
	Check string `json:"check"` // what was checked
	What  string `json:"what"`
}

func (v Violation) String() string { return v.Check + ": " + v.What }

// violationsMax is how many are kept, and textMax how many bytes of each: the first
// say why.
const violationsMax, textMax = 10, 2000

func (w *World) violate(check, what string, args ...any) {
	if len(w.violations) < violationsMax {
		text := fmt.Sprintf(what, args...)
		if len(text) > textMax {
			text = text[:textMax] + " …"
		}
		w.violations = append(w.violations, Violation{check, text})
	}
}

var silent = slog.New(slog.DiscardHandler)

// hash is the choice of one stream at one step: dropping a fault leaves the
// choices of all other steps as they were.
func (w *World) hash(stream uint64) uint64 {
	return mix(w.schedule.Seed ^ mix(uint64(w.step)<<8|stream))
}

// mix is the finalizer of SplitMix64.
func mix(x uint64) uint64 {
	x += 0x9e3779b97f4a7c15
	x = (x ^ x>>30) * 0xbf58476d1ce4e5b9
	x = (x ^ x>>27) * 0x94d049bb133111eb
	return x ^ x>>31
}

// The streams of choices.
const (
	streamPick uint64 = iota
	streamFault
	streamFaultKind
	streamTime
	streamBatch
	streamEmpty
	streamOrder
	streamGroup
	streamSplit
	streamFeed
	streamTempt
)

// chance is true in one of n cases.
func (w *World) chance(stream uint64, n int) bool { return w.hash(stream)%uint64(n) == 0 }

// note folds what happened into the trace.
func (w *World) note(what string, args ...any) {
	line := fmt.Sprintf(what, args...)
	for i := range len(line) {
		w.trace = (w.trace ^ uint64(line[i])) * 0x100000001b3
	}
	if w.schedule.Watch != nil {
		fmt.Fprintf(w.schedule.Watch, "%5d %s\n", w.step, line)
	}
}

// append adds records to the broker's partition.
func (w *World) append(o stage.Outgoing) {
	if err := w.log.Append(background, o); err != nil {
		w.violate("simulation", "append to %s/%d: %v", o.Topic, o.Partition, err)
		return
	}
	w.ends[place{o.Topic, o.Partition}] += int64(len(o.Records))
}
