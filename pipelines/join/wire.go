package join

import (
	"errors"

	"settlewatch/schemas/event"
	"settlewatch/schemas/wire"
)

// This file reads the ordinary record of the payment log straight from its
// protobuf bytes. The generated code makes a tree of a dozen objects and thirty
// texts of an event, of which the join keeps a handful of numbers: that tree was
// the largest single cost of the joiner. Whatever is not ordinary (a CONFIG, a part
// that comes twice, an unknown field, a number that is too long) goes the way of
// the generated code instead. FuzzFold holds the two against each other.
//
// Parts that the join does not use are skipped unread.

// DecodeError is a record that is none of the payment log's. The state is as it was
// before.
type DecodeError struct{ Err error }

func (e *DecodeError) Error() string { return "decode: " + e.Err.Error() }

func (e *DecodeError) Unwrap() error { return e.Err }

var errNoOrigin = errors.New("the record has no origin")

// Fold is Step for a record as it lies in the log. What it reads of value is copied:
// the caller may use that memory again.
func (s *State) Fold(value []byte, out *Output) error {
	w := &s.wire
	switch w.read(value) {
	case wireEvent:
		if err := s.take(&w.origin, event.PaymentKey(w.key), &w.fact); err != nil {
			return err
		}
		return s.Drain(out)
	case wireMark:
		s.mark(w.origin.Source, w.markMs, w.markConfigs)
		return s.Drain(out)
	case wireUnusual:
	}
	r := &s.record
	r.Reset()
	if err := r.UnmarshalVT(value); err != nil {
		return &DecodeError{err}
	}
	if r.Origin == nil {
		return &DecodeError{errNoOrigin}
	}
	return s.Step(r, out)
}

type wireKind int

const (
	wireUnusual wireKind = iota
	wireEvent
	wireMark
)

// A wireReader holds one ordinary record; its texts are parts of the record's bytes.
type wireReader struct {
	origin event.Origin
	// A mark's T, and how many CONFIGs its ingest knew.
	markMs      int64
	markConfigs uint64
	key         string
	fact        pendingFact
	names       []byte // room for the name of a capture that has no id of its own
}

func (w *wireReader) read(value []byte) wireKind {
	w.origin.Source, w.origin.Generation, w.origin.Offset, w.origin.Index = "", 0, 0, 0
	f := wire.Of(value)
	kind := wireUnusual
	var arrivalMs int64
	var body []byte
	hasOrigin := false
	for f.Next() {
		switch {
		case f.Number == 1 && f.Bytes && f.Once(1):
			hasOrigin = true
			f.Unusual = !w.readOrigin(f.Part)
		case f.Number == 2 && !f.Bytes:
			arrivalMs = int64(f.V)
		case f.Number == 3 && f.Bytes && f.Once(3):
			kind, body = wireEvent, f.Part
		case f.Number == 4 && f.Bytes && f.Once(3): // one of the two
			kind, body = wireMark, f.Part
		default:
			return wireUnusual
		}
	}
	if f.Unusual || !hasOrigin {
		return wireUnusual
	}
	switch {
	case kind == wireEvent && w.readEvent(body):
		w.fact.arrival = arrivalMs
		return wireEvent
	case kind == wireMark && w.readMark(body):
		return wireMark
	}
	return wireUnusual
}

func (w *wireReader) readOrigin(b []byte) bool {
	f := wire.Of(b)
	for f.Next() {
		switch {
		case f.Number == 1 && f.Bytes:
			w.origin.Source = view(f.Part)
		case f.Number == 2 && !f.Bytes:
			w.origin.Generation = uint32(f.V)
		case f.Number == 3 && !f.Bytes:
			w.origin.Offset = int64(f.V)
		case f.Number == 4 && !f.Bytes:
			w.origin.Index = uint32(f.V)
		default:
			return false
		}
	}
	return !f.Unusual
}

func (w *wireReader) readMark(b []byte) bool {
	f := wire.Of(b)
	w.markMs, w.markConfigs = 0, 0
	for f.Next() {
		switch {
		case f.Number == 1 && !f.Bytes:
			w.markMs = int64(f.V)
		case f.Number == 2 && !f.Bytes:
			w.markConfigs = f.V
		default:
			return false
		}
	}
	return !f.Unusual
}

// An amount of an event is there or not.
type wireAmount struct {
	v   int64
	has bool
}

func (a *wireAmount) set(f *wire.Fields) { a.v, a.has = int64(f.V), true }

func (a wireAmount) orAbsent() int64 {
	if !a.has {
		return absent
	}
	return a.v
}

func (w *wireReader) readEvent(b []byte) bool {
	w.key, w.names = "", w.names[:0]
	w.fact = pendingFact{fact: fact{approved: absent, total: absent, stays: absent, holdUntil: absent}}
	x := &w.fact
	f := wire.Of(b)
	var amounts, capture []byte
	for f.Next() {
		ok := true
		if f.Bytes {
			switch f.Number {
			case 1:
				x.id = idOf(f.Part)
			case 2:
				w.key = view(f.Part)
			case 5:
				x.replaces = idOf(f.Part)
			case 12:
				ok, amounts = f.Once(12), f.Part
			case 15:
				ok, capture = f.Once(15), f.Part
			case 16:
				ok = f.Once(16) && x.readLine(f.Part)
			case 17:
				ok = f.Once(17) && x.readTime(f.Part)
			case 18:
				ok = f.Once(18) && x.readDue(f.Part)
			case 19:
				ok = f.Once(19) && x.readParties(f.Part)
			case 23:
				ok = f.Once(23) && x.readSpecial(f.Part)
			case 11, 13, 14, 20, 21, 22, 24, 25:
			default:
				ok = false
			}
		} else {
			ok = x.readEnum(&f)
		}
		if !ok {
			return false
		}
	}
	if f.Unusual || !x.readCapture(capture) || !x.readAmounts(amounts) {
		return false
	}
	if x.kind == event.Kind_KIND_CAPTURE && x.capture == "" {
		x.capture = hexName(&w.names, x.id)
	}
	return true
}

func (x *pendingFact) readEnum(f *wire.Fields) bool {
	v := int32(f.V)
	switch f.Number {
	case 3:
		x.kind = known(event.Kind(v), event.Kind_name)
	case 4:
		x.operation = known(event.Operation(v), event.Operation_name)
	case 6:
		x.outcome = known(event.Outcome(v), event.Outcome_name)
	case 7:
		x.mode = known(event.Mode(v), event.Mode_name)
	case 8: // the side
	case 9:
		x.stage = known(event.Stage(v), event.Stage_name)
	case 10:
		x.target = known(event.AdjustmentTarget(v), event.AdjustmentTarget_name)
	default:
		return false
	}
	return true
}

// readAmounts follows addAmounts.
func (x *pendingFact) readAmounts(b []byte) bool {
	f := wire.Of(b)
	var transaction, requested, approved, total, replacement, gross, net wireAmount
	var fees int64
	for f.Next() {
		if f.Bytes {
			switch f.Number {
			case 1:
				x.currency = view(f.Part)
			case 14:
				fee, ok := readFee(f.Part)
				if !ok {
					return false
				}
				fees += fee
			case 16, 17:
			default:
				return false
			}
			continue
		}
		switch f.Number {
		case 2:
			transaction.set(&f)
		case 3:
			requested.set(&f)
		case 4:
			approved.set(&f)
		case 5:
			total.set(&f)
		case 10:
			replacement.set(&f)
		case 11:
			x.delta = f.V != 0
		case 12:
			gross.set(&f)
		case 13:
			net.set(&f)
		case 6, 7, 8, 9, 15, 18:
		default:
			return false
		}
	}
	if transaction.has {
		x.amount = transaction.v
	} else if requested.has {
		x.amount = requested.v
	}
	if x.kind == event.Kind_KIND_AUTHORIZATION {
		x.approved, x.total = approved.orAbsent(), total.orAbsent()
	}
	if x.kind == event.Kind_KIND_REVERSAL || x.kind == event.Kind_KIND_VOID {
		x.stays = replacement.orAbsent()
	}
	if x.kind == event.Kind_KIND_SETTLEMENT {
		if gross.has {
			x.amount = gross.v
		} else if net.has {
			x.netOnly, x.amount = true, net.v
		}
		x.fee = fees
	}
	return !f.Unusual
}

func readFee(b []byte) (amount int64, ok bool) {
	f := wire.Of(b)
	for f.Next() {
		switch {
		case f.Number == 2 && !f.Bytes:
			amount = int64(f.V)
		case (f.Number == 1 || f.Number == 3) && f.Bytes:
		default:
			return 0, false
		}
	}
	return amount, !f.Unusual
}
