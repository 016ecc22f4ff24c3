package world

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"settlewatch/pipelines/stage"
)

// errOver is a commit by an instance that lost the partition.
var errOver = errors.New("simulated: the assignment is over")

// group is a consumer group: who owns which partition, and what was committed. An
// owner that loses its partition hears of it some steps later, and goes on until
// then beside its successor.
type group struct {
	id         string
	topic      string
	partitions int
	kinds      []kind
	version    uint32 // of the profile; 0 where it does not matter
	committed  map[int32]int64
	owners     []*actor
	leaving    []*actor
	own        func(p *process, a stage.Assignment) func(ctx context.Context) error
}

func (g *group) of(p *process) bool {
	return slices.Contains(g.kinds, p.kind) && (g.version == 0 || g.version == p.version)
}

// orphaned tells whether a partition has no living owner; who owns one and lets it rest
// is one, while its process lives.
func (g *group) orphaned() bool {
	for _, a := range g.owners {
		if a == nil || a.done && !(a.rests && a.process.alive) {
			return true
		}
	}
	return false
}

// share gives the partitions out anew among the living members.
func (w *World) share(g *group, choice uint64) {
	var members []*process
	for _, p := range w.processes {
		if p.alive && g.of(p) {
			members = append(members, p)
		}
	}
	if len(members) == 0 {
		return
	}
	leaving := g.leaving[:0]
	for _, a := range g.leaving {
		if !a.done {
			leaving = append(leaving, a)
		}
	}
	g.leaving = leaving
	for n, former := range g.owners {
		p := members[(choice>>(4*n))%uint64(len(members))]
		has := former != nil && !former.done
		if has && former.process == p || g.busy(p, n) {
			continue
		}
		if has {
			former.leaveAt = w.step + 1 + int(choice>>32%150)
			g.leaving = append(g.leaving, former)
		}
		w.note("%s/%d goes to %s", g.topic, n, p.name)
		g.owners[n] = w.assign(g, p, int32(n))
	}
}

// busy: a process takes a partition again only when its former loop has ended.
func (g *group) busy(p *process, partition int) bool {
	for _, a := range g.leaving {
		if !a.done && a.process == p && a.partition == int32(partition) {
			return true
		}
	}
	return false
}

func (w *World) assign(g *group, p *process, partition int32) *actor {
	offset, known := g.committed[partition]
	if !known {
		offset = stage.None
	}
	var a *actor
	assignment := stage.Assignment{
		Topic: g.topic, Partition: partition, Offset: offset,
		Commit: func(ctx context.Context, offset int64) error { return w.commitOffset(ctx, g, a, offset) },
	}
	assignment = w.flaw.assignment(w, p, assignment)
	loop := g.own(p, assignment)
	a = w.spawn(p, fmt.Sprintf("%s/%d", g.topic, partition), loop)
	a.partition = partition
	return a
}

// commitOffset may be accepted of an owner that has lost the partition: what it
// commits was acknowledged all the same.
func (w *World) commitOffset(ctx context.Context, g *group, a *actor, offset int64) error {
	at := place{g.topic, a.partition}
	for {
		if !w.park(opGroupCommit, at) {
			return errCrashed
		}
		if err := ctx.Err(); err != nil {
			return err
		}
		if a.leaveAt != 0 && w.chance(streamGroup, 2) {
			return errOver
		}
		set := func() { g.committed[a.partition] = offset }
		fate := w.fate()
		w.note("%s commits offset %d: %s", a.name, offset, fate)
		switch fate {
		case fateRequestLost:
			continue
		case fateReplyLost:
			set()
			continue
		case fateTwice:
			set()
			w.later(set, nil)
			return nil
		case fateFails:
			return errFailed
		case fateFailsDone:
			set()
			return errFailed
		case fateFailsLater:
			w.later(set, nil)
			return errFailed
		default:
			set()
			return nil
		}
	}
}
