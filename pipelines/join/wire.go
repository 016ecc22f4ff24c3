package join

import (
	"encoding/binary"
	"errors"

	"settlewatch/schemas/event"
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
		if s.knows(w.markConfigs) {
			s.hop.Mark(w.origin.Source, w.markMs)
		}
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

// A field is one of a message: its number, and a number or bytes.
type field struct {
	number uint64
	bytes  bool
	v      uint64
	b      []byte
}

// fields goes through a message. It stops, unusual, at what the generated code would
// refuse, and at what it would read in another way than field by field.
type fields struct {
	b       []byte
	unusual bool
	seen    uint64 // parts that may come once, by number
}

// next gives the next field; false at the end, and at what is unusual. Most tags,
// lengths and numbers are one byte: they take no call.
func (r *fields) next(f *field) bool {
	b := r.b
	if len(b) < 2 {
		r.unusual = r.unusual || len(b) > 0
		return false
	}
	tag, at := uint64(b[0]), 1
	if tag >= 0x80 {
		if tag, at = uvarintAt(b, 0); at <= 0 || at == len(b) {
			r.unusual = true
			return false
		}
	}
	v := uint64(b[at])
	if at++; v >= 0x80 {
		if v, at = uvarintAt(b, at-1); at <= 0 {
			r.unusual = true
			return false
		}
	}
	f.number = tag >> 3
	switch rest := b[at:]; {
	case tag&7 == 0:
		f.bytes, f.v, r.b = false, v, rest
	case tag&7 == 2 && v <= uint64(len(rest)):
		f.bytes, f.b, r.b = true, rest[:v], rest[v:]
	default:
		r.unusual = true
		return false
	}
	return true
}

// uvarintAt reads a number and gives where it ends; 0 or less where it does not.
func uvarintAt(b []byte, at int) (v uint64, end int) {
	v, n := binary.Uvarint(b[at:])
	if n <= 0 {
		return 0, n
	}
	return v, at + n
}

// once tells whether a part comes for the first time: of two, the generated code
// makes one.
func (r *fields) once(number uint64) bool {
	bit := uint64(1) << number
	r.unusual = r.unusual || r.seen&bit != 0
	r.seen |= bit
	return !r.unusual
}

func (w *wireReader) read(value []byte) wireKind {
	w.origin.Source, w.origin.Generation, w.origin.Offset, w.origin.Index = "", 0, 0, 0
	r := fields{b: value}
	kind := wireUnusual
	var f field
	var arrivalMs int64
	var body []byte
	for r.next(&f) {
		switch {
		case f.number == 1 && f.bytes && r.once(1):
			r.unusual = !w.readOrigin(f.b)
		case f.number == 2 && !f.bytes:
			arrivalMs = int64(f.v)
		case f.number == 3 && f.bytes && r.once(3):
			kind, body = wireEvent, f.b
		case f.number == 4 && f.bytes && r.once(3): // one of the two
			kind, body = wireMark, f.b
		default:
			return wireUnusual
		}
	}
	if r.unusual || r.seen&2 == 0 {
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
	r := fields{b: b}
	var f field
	for r.next(&f) {
		switch {
		case f.number == 1 && f.bytes:
			w.origin.Source = view(f.b)
		case f.number == 2 && !f.bytes:
			w.origin.Generation = uint32(f.v)
		case f.number == 3 && !f.bytes:
			w.origin.Offset = int64(f.v)
		case f.number == 4 && !f.bytes:
			w.origin.Index = uint32(f.v)
		default:
			return false
		}
	}
	return !r.unusual
}

func (w *wireReader) readMark(b []byte) bool {
	r := fields{b: b}
	var f field
	w.markMs, w.markConfigs = 0, 0
	for r.next(&f) {
		switch {
		case f.number == 1 && !f.bytes:
			w.markMs = int64(f.v)
		case f.number == 2 && !f.bytes:
			w.markConfigs = f.v
		default:
			return false
		}
	}
	return !r.unusual
}

// An amount of an event is there or not.
type wireAmount struct {
	v   int64
	has bool
}

func (a *wireAmount) set(f *field) { a.v, a.has = int64(f.v), true }

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
	r := fields{b: b}
	var f field
	var amounts, capture []byte
	for r.next(&f) {
		ok := true
		if f.bytes {
			switch f.number {
			case 1:
				x.id = idOf(f.b)
			case 2:
				w.key = view(f.b)
			case 5:
				x.replaces = idOf(f.b)
			case 12:
				ok, amounts = r.once(12), f.b
			case 15:
				ok, capture = r.once(15), f.b
			case 16:
				ok = r.once(16) && x.readLine(f.b)
			case 17:
				ok = r.once(17) && x.readTime(f.b)
			case 18:
				ok = r.once(18) && x.readDue(f.b)
			case 19:
				ok = r.once(19) && x.readParties(f.b)
			case 23:
				ok = r.once(23) && x.readSpecial(f.b)
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
	if r.unusual || !x.readCapture(capture) || !x.readAmounts(amounts) {
		return false
	}
	if x.kind == event.Kind_KIND_CAPTURE && x.capture == "" {
		x.capture = hexName(&w.names, x.id)
	}
	return true
}

func (x *pendingFact) readEnum(f *field) bool {
	v := int32(f.v)
	switch f.number {
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
	r := fields{b: b}
	var f field
	var transaction, requested, approved, total, replacement, gross, net wireAmount
	var fees int64
	for r.next(&f) {
		if f.bytes {
			switch f.number {
			case 1:
				x.currency = view(f.b)
			case 14:
				fee, ok := readFee(f.b)
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
		switch f.number {
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
			x.delta = f.v != 0
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
	return !r.unusual
}

func readFee(b []byte) (amount int64, ok bool) {
	r := fields{b: b}
	var f field
	for r.next(&f) {
		switch {
		case f.number == 2 && !f.bytes:
			amount = int64(f.v)
		case (f.number == 1 || f.number == 3) && f.bytes:
		default:
			return 0, false
		}
	}
	return amount, !r.unusual
}
