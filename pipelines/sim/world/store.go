package world

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"

	"settlewatch/pipelines/oracle/invariant"
	"settlewatch/pipelines/sim"
	"settlewatch/pipelines/stage"
	"settlewatch/schemas/event"
	"settlewatch/schemas/table"
	"settlewatch/schemas/topic"

	"github.com/cespare/xxhash/v2"

	"settlewatch/pipelines/join"
)

// store is the state store of one log partition, and what was seen of it.
type store struct {
	state     *sim.State
	partition int32
	owners    int
	from      stage.Stored // where the present history began: a wipe or a rollback begins another
	history   []invariant.Commit
	snapshots []sim.StateSnapshot
	prefix    prefix

	checkpoints checkpoints
	damaged     bool // since it was last wiped
}

// owner is one owner's connection to a store.
type owner struct {
	w      *World
	store  *store
	own    *sim.StateOwner
	number int
}

var _ stage.State = (*owner)(nil)

func (o *owner) Acquire(ctx context.Context) error {
	if !o.w.park(opAcquire, place{topic.PaymentLog.Name, o.store.partition}) {
		return errCrashed
	}
	o.store.owners++
	o.number = o.store.owners
	o.w.note("%s acquires as owner %d", o.w.running.name, o.number)
	return o.own.Acquire(ctx)
}

// Load parks between the parts that it reads, and holds what comes out against a
// fold of the log up to there.
func (o *owner) Load(ctx context.Context) (stage.Stored, error) {
	w, at := o.w, place{topic.PaymentLog.Name, o.store.partition}
	if !w.park(opLoad, at) {
		return stage.Stored{}, errCrashed
	}
	stored, err := o.own.Load(ctx)
	if w.running.dead {
		return stored, errCrashed
	}
	if err == nil {
		w.stats.Loads++
		w.note("%s loads sequence %d at %d", w.running.name, stored.Sequence, stored.Offset)
		w.checkLoaded(o.store, stored)
	}
	return stored, err
}

// Commit repeats what got no answer, unchanged.
func (o *owner) Commit(ctx context.Context, c stage.Commit) error {
	w := o.w
	for {
		if !w.park(opCommit, place{topic.PaymentLog.Name, o.store.partition}) {
			return errCrashed
		}
		fate := w.fate()
		w.note("%s commit %d, %d to %d: %s", w.running.name, c.Sequence, c.FromOffset, c.ToOffset, fate)
		switch fate {
		case fateRequestLost:
			if w.flaw.lostIsDone {
				return nil
			}
			continue
		case fateReplyLost:
			_ = o.apply(ctx, c)
			continue
		case fateTwice:
			o.late(c)
			return o.apply(ctx, c)
		case fateFails:
			return errFailed
		case fateFailsDone:
			_ = o.apply(ctx, c)
			return errFailed
		case fateFailsLater:
			o.late(c)
			return errFailed
		default:
			return o.apply(ctx, c)
		}
	}
}

// late has a copy of a commit arrive at another time: as it was sent, though its owner
// uses that memory again.
func (o *owner) late(c stage.Commit) {
	if o.w.flaw.noLateCommits {
		return
	}
	c.Delta, c.Buckets = bytes.Clone(c.Delta), slices.Clone(c.Buckets)
	for i := range c.Buckets {
		c.Buckets[i].Value = bytes.Clone(c.Buckets[i].Value)
	}
	o.w.later(func() { _ = o.apply(background, c) }, nil)
}

// Restore stores a checkpoint.
func (o *owner) Restore(ctx context.Context, s stage.Stored) error {
	if !o.w.park(opCommit, place{topic.PaymentLog.Name, o.store.partition}) {
		return errCrashed
	}
	fate := o.w.fate()
	o.w.note("%s restores offset %d: %s", o.w.running.name, s.Offset, fate)
	if fate == fateFails || fate == fateFailsLater {
		return errFailed
	}
	err := o.own.Restore(ctx, s)
	o.w.beginHistory(o.store)
	if fate == fateFailsDone {
		return errFailed
	}
	return err
}

// apply notes what became of a commit.
func (o *owner) apply(ctx context.Context, c stage.Commit) error {
	before := o.store.sequence()
	err := o.own.Commit(ctx, c)
	if err != nil && !errors.Is(err, stage.ErrFenced) && ctx.Err() == nil {
		o.w.violate("simulation", "commit: %v", err)
	}
	done := err == nil && o.store.sequence() != before
	o.store.history = append(o.store.history, invariant.Commit{Owner: o.number, Commit: c, Applied: done, Repeated: err == nil && !done})
	return err
}

func (s *store) sequence() uint64 { return s.look().Sequence }

// look reads the store without a token and without a pause.
func (s *store) look() stage.Stored {
	middle := s.state.MidLoad
	s.state.MidLoad = nil
	stored, _ := s.state.Owner().Load(background)
	s.state.MidLoad = middle
	return stored
}

// beginHistory closes the present history and starts another from what is stored now.
func (w *World) beginHistory(s *store) {
	w.checkCommits(s)
	s.history, s.from = s.history[:0], s.look()
}

func (w *World) checkCommits(s *store) {
	for _, v := range invariant.CommitsFollow(fmt.Sprintf("partition %d", s.partition), s.from, s.history) {
		w.violate("commits follow each other", "%s", v)
	}
}

// prefix folds the log of one partition once, and knows what a commit at each
// offset must say.
type prefix struct {
	state  *join.State
	out    join.Output
	next   int64
	sum    uint64
	metas  map[int64][]byte
	decode event.LogRecord
}

// checkLoaded: what an owner gets is byte for byte what folding the log gives.
func (w *World) checkLoaded(s *store, stored stage.Stored) {
	if stored.Meta == nil {
		return
	}
	want, err := w.fold(s, stored.Offset)
	if err != nil {
		w.violate("loaded state is a fold of the log", "partition %d at %d: %v", s.partition, stored.Offset, err)
		return
	}
	loaded, position, err := join.Load(slices.Clone(stored.Meta), stored.Buckets, stored.Ring)
	if err != nil && s.damaged {
		return // it is noticed, which is all that can be asked
	}
	if err != nil {
		w.violate("loaded state is a fold of the log", "partition %d at %d does not load: %v", s.partition, stored.Offset, err)
		return
	}
	got, err := join.NewRecorder(loaded).Commit(stored.Sequence+1, position)
	switch {
	case err != nil:
		w.violate("simulation", "encode loaded state: %v", err)
	case string(got.Meta) != string(want) || string(stored.Meta) != string(want):
		w.violate("loaded state is a fold of the log", "partition %d at %d\n got %s\nread %s\nwant %s", s.partition, stored.Offset, stored.Meta, got.Meta, want)
	}
}

// fold gives the meta that a commit up to an offset must have.
func (w *World) fold(s *store, offset int64) ([]byte, error) {
	p := &s.prefix
	if p.metas == nil || offset < p.next {
		if meta, known := p.metas[offset]; known {
			return meta, nil
		}
		metas := p.metas
		*p = prefix{state: join.New(), metas: metas}
		if w.schedule.Plan.AlertsOnly {
			p.state = join.NewAlertsOnly()
		}
		if metas == nil {
			p.metas = map[int64][]byte{}
		}
	}
	records, err := w.all(s.partition)
	if err != nil {
		return nil, err
	}
	position := join.Position{Offset: p.next, RecordSum: p.sum}
	for _, r := range records[p.next:] {
		if r.Offset >= offset {
			break
		}
		p.decode = event.LogRecord{}
		if err := p.decode.UnmarshalVT(r.Value); err != nil {
			return nil, err
		}
		if err := p.state.Step(&p.decode, &p.out); err != nil {
			return nil, err
		}
		p.out.Alerts, p.out.Payments = p.out.Alerts[:0], p.out.Payments[:0]
		position = join.Position{Offset: r.Offset + 1, RecordSum: xxhash.Sum64(r.Value)}
	}
	p.next, p.sum = position.Offset, position.RecordSum
	if position.Offset != offset {
		return nil, fmt.Errorf("the log ends at %d", position.Offset)
	}
	changes, err := join.NewRecorder(p.state).Commit(1, position)
	p.metas[offset] = changes.Meta
	return changes.Meta, err
}

// shelf is a process's connection to the warehouse.
type shelf struct{ w *World }

var _ stage.Warehouse = shelf{}

func (s shelf) LastRange(ctx context.Context, topic string, partition int32) (stage.Range, bool, error) {
	if !s.w.park(opLastRange, place{topic, partition}) {
		return stage.Range{}, false, errCrashed
	}
	return s.w.warehouse.LastRange(ctx, topic, partition)
}

func (s shelf) RecordRange(ctx context.Context, r stage.Range) error {
	return s.call(opRecordRange, place{r.Topic, r.Partition}, func() error { return s.w.warehouse.RecordRange(ctx, r) })
}

func (s shelf) Insert(ctx context.Context, b table.Block, token string) error {
	// The block's memory is the builder's: a late copy would show other rows.
	return s.call(opInsert, place{topic: token}, func() error { return s.w.warehouse.Insert(ctx, b, token) })
}

func (s shelf) call(o op, at place, effect func() error) error {
	for {
		if !s.w.park(o, at) {
			return errCrashed
		}
		fate := s.w.fate()
		s.w.note("%s %s %s/%d: %s", s.w.running.name, o, at.topic, at.partition, fate)
		switch fate {
		case fateRequestLost:
			if s.w.flaw.lostRowsAreDone && o == opInsert {
				return nil
			}
			continue
		case fateReplyLost, fateTwice:
			if err := effect(); err != nil {
				return err
			}
			continue
		case fateFails, fateFailsLater:
			return errFailed
		case fateFailsDone:
			_ = effect()
			return errFailed
		default:
			return effect()
		}
	}
}
