package stage_test

import (
	"bytes"
	"context"
	"errors"
	"strings"
	"testing"

	"settlewatch/pipelines/join"
	"settlewatch/pipelines/sim"
	"settlewatch/pipelines/stage"
	"settlewatch/schemas/event"
	"settlewatch/schemas/topic"
)

// kept is one checkpoint, or none.
type kept struct{ stored *stage.Stored }

func (k kept) Latest(context.Context, int32) (stage.Stored, bool, error) {
	if k.stored == nil {
		return stage.Stored{}, false, nil
	}
	return *k.stored, true, nil
}

// checkpointAt folds that many records and gives what is stored.
func checkpointAt(t *testing.T, records []*event.LogRecord) *stage.Stored {
	t.Helper()
	w := newJoinWorld(t, records...)
	w.mustFold()
	stored := w.stored()
	return &stored
}

func (w *joinWorld) foldWith(c stage.Checkpoints) error {
	w.checkpoints = c
	return w.fold(healthy())
}

// A lost store comes back from a checkpoint and the rest of the log, and what is
// published is what it would have been.
func TestJoinerStartsFromACheckpoint(t *testing.T) {
	records, want := reference(t)
	for half := 1; half <= len(records); half++ {
		w := newJoinWorld(t, records[:half]...)
		w.mustFold()
		at := w.stored()
		w.append(records[half:]...)
		w.store.Restore(sim.StateSnapshot{})
		if err := w.log.Trim(topic.PaymentLog.Name, 0, int64(half)); err != nil {
			t.Fatal(err)
		}
		if err := w.foldWith(kept{&at}); err != nil {
			t.Fatal(err)
		}
		w.mustGive("from a checkpoint", want)
	}
}

// A restore whose reply is lost, or whose process ends in it, is made again.
func TestJoinerRestoresAgain(t *testing.T) {
	records, want := reference(t)
	half := len(records) / 2
	for _, fault := range []sim.StateFault{sim.StateRequestLost, sim.StateReplyLost, sim.StateCrashBefore, sim.StateCrashAfter} {
		w := newJoinWorld(t, records[:half]...)
		w.mustFold()
		at := w.stored()
		w.append(records[half:]...)
		w.store.Restore(sim.StateSnapshot{})
		if err := w.log.Trim(topic.PaymentLog.Name, 0, int64(half)); err != nil {
			t.Fatal(err)
		}
		w.store.OnRestore = func(stage.Stored) sim.StateFault {
			w.store.OnRestore = nil
			return fault
		}
		if err := w.foldWith(kept{&at}); err == nil {
			t.Fatalf("fault %d was no error", fault)
		}
		if err := w.foldWith(kept{&at}); err != nil {
			t.Fatal(err)
		}
		w.mustGive("from a checkpoint, the second time", want)
	}
}

// A checkpoint that does not belong to this log is refused, and nothing is stored.
func TestJoinerRefusesACheckpointOfAnotherLog(t *testing.T) {
	records := logRecords(t, history())
	half := len(records) / 2
	name := topic.PaymentLog.Name
	damaged := checkpointAt(t, records[:half])
	damaged.Meta = bytes.Replace(damaged.Meta, []byte(`"payments":`), []byte(`"payments":9`), 1)
	newer := checkpointAt(t, records[:half])
	newer.Meta = bytes.Replace(newer.Meta, []byte(`"format":`), []byte(`"format":9`), 1)
	for title, c := range map[string]struct {
		at     *stage.Stored
		change func(t *testing.T, w *joinWorld) error
		want   error
	}{
		"no checkpoint": {nil, func(_ *testing.T, w *joinWorld) error { return w.log.Trim(name, 0, 1) }, stage.ErrLogChanged},
		"log cut beyond it": {checkpointAt(t, records[:half]), func(_ *testing.T, w *joinWorld) error {
			return w.log.Trim(name, 0, int64(half)+1)
		}, stage.ErrLogChanged},
		"log that ends before it": {checkpointAt(t, records[:half]), func(t *testing.T, w *joinWorld) error {
			if err := w.log.Recreate(name); err != nil {
				return err
			}
			w.append(records[:half-1]...)
			return nil
		}, stage.ErrLogChanged},
		"another record before it": {checkpointAt(t, records[:half]), func(t *testing.T, w *joinWorld) error {
			if err := w.log.Recreate(name); err != nil {
				return err
			}
			w.append(records[1:]...)
			return nil
		}, stage.ErrLogChanged},
		"damaged":            {damaged, func(*testing.T, *joinWorld) error { return nil }, join.ErrInconsistent},
		"of a newer version": {newer, func(*testing.T, *joinWorld) error { return nil }, join.ErrNewerState},
	} {
		t.Run(title, func(t *testing.T) {
			w := newJoinWorld(t, records...)
			if err := c.change(t, w); err != nil {
				t.Fatal(err)
			}
			err := w.foldWith(kept{c.at})
			if !errors.Is(err, c.want) {
				t.Fatalf("it ends with: %v", err)
			}
			// The load says so itself, and does not leave it to the first fetch.
			if c.at == nil && !strings.Contains(err.Error(), "a fold must begin at 0") {
				t.Errorf("it ends with: %v", err)
			}
			if briefs, _ := published(t, w.log); len(briefs) > 0 || w.stored().Meta != nil {
				t.Errorf("published %v, stored offset %d", briefs, w.stored().Offset)
			}
		})
	}
}
