package invariant

import (
	"bytes"
	"fmt"

	"github.com/cespare/xxhash/v2"

	"settlewatch/pipelines/join"
	"settlewatch/pipelines/stage"
	"settlewatch/schemas/event"
)

// StateIsFold is I1: what is stored is byte for byte what folding the log up to
// the stored offset gives. log is the partition from offset 0 on, at least up to
// there; place names the partition.
func StateIsFold(place string, log []stage.Record, stored stage.Stored) []Violation {
	l := list{invariant: I1}
	if stored.Meta == nil {
		return nil // nothing is stored: the fold of nothing
	}
	loaded, position, err := join.Load(stored.Meta, stored.Buckets, stored.Ring)
	if err != nil {
		l.add(place, "the stored state does not load: %v", err)
		return l.found
	}
	if position.Offset != stored.Offset {
		l.add(place, "the commit ends at offset %d, its state stands at %d", stored.Offset, position.Offset)
	}
	meta, err := join.ReadMeta(stored.Meta)
	if err != nil {
		l.add(place, "read the stored meta: %v", err)
		return l.found
	}
	want, err := fold(log, stored.Offset, meta.AlertsOnly)
	if err != nil {
		l.add(place, "fold the log: %v", err)
		return l.found
	}
	got, err := join.NewRecorder(loaded).Commit(stored.Sequence+1, position)
	switch {
	case err != nil:
		l.add(place, "encode the loaded state: %v", err)
	case !bytes.Equal(got.Meta, want):
		l.add(place, "loaded at offset %d\n%s\nwant\n%s", stored.Offset, got.Meta, want)
	case !bytes.Equal(stored.Meta, want):
		l.add(place, "stored at offset %d\n%s\nwant\n%s", stored.Offset, stored.Meta, want)
	}
	return l.found
}

// Fold is what a commit at the offset must say of its partition: the whole state
// is in it, the payments by their checksum.
func Fold(log []stage.Record, offset int64) (meta []byte, err error) { return fold(log, offset, false) }

func fold(log []stage.Record, offset int64, alertsOnly bool) (meta []byte, err error) {
	state, out, position := join.New(), new(join.Output), join.Position{}
	if alertsOnly {
		state = join.NewAlertsOnly()
	}
	for i := range log {
		r := &log[i]
		if r.Offset >= offset {
			break
		}
		// What is no record of ours is left out of the fold, wherever it is folded.
		if record, ours := Decode(r.Value); ours {
			if err := state.Step(record, out); err != nil {
				return nil, fmt.Errorf("step offset %d: %w", r.Offset, err)
			}
		}
		out.Alerts, out.Payments = out.Alerts[:0], out.Payments[:0]
		position = join.Position{Offset: r.Offset + 1, RecordSum: xxhash.Sum64(r.Value)}
	}
	if position.Offset > offset {
		return nil, fmt.Errorf("the log has no record that ends at offset %d", offset)
	}
	changes, err := join.NewRecorder(state).Commit(1, position)
	return changes.Meta, err
}

// Decode reads a record of the payment log; false for what somebody else wrote there.
func Decode(value []byte) (r *event.LogRecord, ours bool) {
	r = new(event.LogRecord)
	if err := r.UnmarshalVT(value); err != nil || r.Origin == nil {
		return nil, false
	}
	return r, true
}
