package stage_test

import (
	"errors"
	"slices"
	"testing"

	"settlewatch/pipelines/join"
	"settlewatch/pipelines/stage"
	"settlewatch/schemas/event"
	"settlewatch/schemas/topic"
)

// The log must be the one that the state was folded from, from a place on that it
// still holds.
func TestJoinerRefusesAnotherLog(t *testing.T) {
	records := logRecords(t, history())
	half := len(records) / 2
	must := func(t *testing.T, err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	name := topic.PaymentLog.Name
	for title, c := range map[string]struct {
		stored  int // how many records are folded before
		change  func(t *testing.T, w *joinWorld)
		refused bool
	}{
		"cut, and nothing stored": {0, func(t *testing.T, w *joinWorld) { must(t, w.log.Trim(name, 0, 1)) }, true},
		"cut below what is stored": {half, func(t *testing.T, w *joinWorld) {
			must(t, w.log.Trim(name, 0, int64(half)-1))
		}, false},
		"cut up to what is stored": {half, func(t *testing.T, w *joinWorld) {
			must(t, w.log.Trim(name, 0, int64(half)))
		}, false},
		"cut beyond what is stored": {half, func(t *testing.T, w *joinWorld) {
			w.append(records[half:]...)
			must(t, w.log.Trim(name, 0, int64(half)+1))
		}, true},
		"created anew": {half, func(t *testing.T, w *joinWorld) { must(t, w.log.Recreate(name)) }, true},
		"created anew, one record shorter": {half, func(t *testing.T, w *joinWorld) {
			must(t, w.log.Recreate(name))
			w.append(records[:half-1]...)
		}, true},
		"created anew, another record before": {half, func(t *testing.T, w *joinWorld) {
			must(t, w.log.Recreate(name))
			w.append(append(slices.Clone(records[:half-1]), records[half:]...)...)
		}, true},
		"created anew with the same records": {half, func(t *testing.T, w *joinWorld) {
			must(t, w.log.Recreate(name))
			w.append(records...)
		}, false},
	} {
		t.Run(title, func(t *testing.T) {
			w := newJoinWorld(t, records[:max(c.stored, 1)]...)
			if c.stored > 0 {
				w.mustFold()
			}
			before := w.stored()
			c.change(t, w)
			err := w.fold(healthy())
			if !c.refused {
				must(t, err)
				return
			}
			if !errors.Is(err, stage.ErrLogChanged) {
				t.Fatalf("it ends with: %v", err)
			}
			if after := w.stored(); after.Sequence != before.Sequence || after.Offset != before.Offset {
				t.Errorf("it stored sequence %d and offset %d", after.Sequence, after.Offset)
			}
		})
	}
	t.Run("created anew while it is read", func(t *testing.T) {
		w := newJoinWorld(t, records...)
		r := w.start(nil)
		r.turn()
		must(t, w.log.Recreate(name))
		if err := r.fail(); !errors.Is(err, stage.ErrLogChanged) {
			t.Errorf("it ends with: %v", err)
		}
	})
}

// What cannot be folded stops the partition where it stands: nothing of that batch
// is published or stored.
func TestJoinerStopsAtWhatItCannotFold(t *testing.T) {
	records := logRecords(t, history())
	later := configOf(t, event.Clock_CLOCK_PLAYED, saleFeed, lineFeed)
	later.JoinVersion = join.Version + 1
	for name, r := range map[string]stage.Record{
		"another join version": encoded(t, &event.LogRecord{
			Origin: &event.Origin{Source: "config/config.v1/0/config@1", Offset: 1}, Body: &event.LogRecord_Config{Config: later},
		})[0],
		"no encoding": {Value: []byte{0xff}},
		"no origin":   encoded(t, &event.LogRecord{Body: &event.LogRecord_Mark{Mark: &event.Mark{TMs: 1}}})[0],
	} {
		t.Run(name, func(t *testing.T) {
			w := newJoinWorld(t, records...)
			appendTo(t, w.log, topic.PaymentLog.Name, r)
			err := w.fold(healthy())
			unsupported := new(join.UnsupportedConfigError)
			if err == nil || errors.As(err, &unsupported) != (name == "another join version") {
				t.Fatalf("it ends with: %v", err)
			}
			if briefs, _ := published(t, w.log); len(briefs) > 0 || w.stored().Meta != nil || w.group.get() != stage.None {
				t.Errorf("published %v, stored offset %d", briefs, w.stored().Offset)
			}
		})
	}
}
