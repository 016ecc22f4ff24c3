package world

import (
	"context"
	"errors"

	"settlewatch/pipelines/checkpoint"
	"settlewatch/pipelines/sim"
	"settlewatch/pipelines/stage"
	"settlewatch/schemas/topic"
)

// checkpoints are a partition's, kept outside of its store, and what a log was cut
// by on the strength of them.
type checkpoints struct {
	latest stage.Stored
	found  bool
	cut    []stage.Record // of the log, from offset 0 on
	// lost: the log is cut, and neither store nor checkpoint reaches back to it. From
	// here on nothing can be right but to refuse.
	lost bool
}

// keep makes a checkpoint of what is stored.
func (w *World) keep(s *store) {
	if stored := s.look(); w.schedule.Plan.Checkpoints && stored.Meta != nil &&
		stored.Offset > s.checkpoints.latest.Offset && (w.flaw.unchecked || checkpoint.Loads(context.Background(), stored, checkpoint.Ordered(stored.Buckets), nil) == nil) {
		s.checkpoints.latest, s.checkpoints.found = stored, true
		w.note("partition %d: checkpoint at offset %d", s.partition, stored.Offset)
	}
}

// cut drops the log up to the checkpoint, when the store is past it.
func (w *World) cut(s *store) {
	c := &s.checkpoints
	stored := s.look()
	if !c.found || stored.Meta == nil || stored.Offset < c.latest.Offset {
		return
	}
	records, err := w.log.Records(topic.PaymentLog.Name, s.partition)
	if err != nil || len(records) == 0 {
		return
	}
	n := c.latest.Offset - records[0].Offset
	if n <= 0 {
		return
	}
	c.cut = append(c.cut, records[:n]...)
	if err := w.log.Trim(topic.PaymentLog.Name, s.partition, c.latest.Offset); err != nil {
		w.violate("simulation", "%v", err)
	}
	s.snapshots = nil // a store that went back behind the cut would have to be wiped
	w.note("partition %d is cut below offset %d", s.partition, c.latest.Offset)
}

// lose wipes a store whose log is cut, and its checkpoints.
func (w *World) lose(s *store) {
	if len(s.checkpoints.cut) == 0 {
		return
	}
	s.checkpoints.found, s.checkpoints.lost, s.snapshots = false, true, nil
	w.rewrite(s, sim.StateSnapshot{})
}

// lost tells whether a partition is.
func (w *World) lost() bool {
	for _, s := range w.stores {
		if s.checkpoints.lost {
			return true
		}
	}
	return false
}

// all records that a partition of the payment log ever had.
func (w *World) all(partition int32) ([]stage.Record, error) {
	records, err := w.log.Records(topic.PaymentLog.Name, partition)
	if cut := w.stores[partition].checkpoints.cut; len(cut) > 0 {
		records = append(cut[:len(cut):len(cut)], records...)
	}
	return records, err
}

// mayRefuse: behind a cut, who has lost the partition finds nothing to read, and
// where all is lost so does everybody.
func (w *World) mayRefuse(a *actor) bool {
	gone := errors.Is(a.err, stage.ErrLogChanged) || errors.Is(a.err, stage.ErrOffsetOutOfRange)
	return a.process.kind == kindJoiner && gone && len(w.stores[a.partition].checkpoints.cut) > 0
}

// repaired: a joiner that refuses a damaged state has the partition rebuilt, as its
// runbook says: the store is wiped, and the log folded again.
func (w *World) repaired(a *actor) bool {
	if a.process.kind != kindJoiner || errors.Is(a.err, errFailed) || !w.stores[a.partition].damaged {
		return false
	}
	w.note("partition %d is rebuilt", a.partition)
	w.stores[a.partition].damaged = false
	w.rewrite(w.stores[a.partition], sim.StateSnapshot{})
	w.stores[a.partition].snapshots = nil // they may be damaged too
	return true
}

// memory gives the latest checkpoint.
type memory struct{ w *World }

var _ stage.Checkpoints = memory{}

func (m memory) Latest(ctx context.Context, partition int32) (stage.Stored, bool, error) {
	if !m.w.park(opCheckpoint, place{topic.PaymentLog.Name, partition}) {
		return stage.Stored{}, false, errCrashed
	}
	c := &m.w.stores[partition].checkpoints
	if !c.found {
		return stage.Stored{}, false, ctx.Err()
	}
	return c.latest, true, ctx.Err()
}
