package join

import (
	"encoding/binary"
	"encoding/hex"
	"unsafe"

	"settlewatch/pipelines/hop"
	"settlewatch/schemas/event"
)

// view is b as text without a copy. It lasts as long as nobody writes to b: what
// is unpacked is judged and packed again before the memory it came from changes.
// A copy of each text would be most of what judging a payment costs.
func view(b []byte) string { return unsafe.String(unsafe.SliceData(b), len(b)) }

// unpacker reads with one sticky error.
type unpacker struct {
	b   []byte
	err error
	// names is room for the captures that are written as their fact's id.
	names *[]byte
}

func (u *unpacker) fail() {
	if u.err == nil {
		u.err = errCorrupt
	}
	u.b = nil
}

func (u *unpacker) uvarint() uint64 {
	if len(u.b) > 0 && u.b[0] < 0x80 {
		v := u.b[0]
		u.b = u.b[1:]
		return uint64(v)
	}
	v, n := binary.Uvarint(u.b)
	if n <= 0 {
		u.fail()
		return 0
	}
	u.b = u.b[n:]
	return v
}

func (u *unpacker) varint() int64 {
	v := u.uvarint()
	return int64(v>>1) ^ -int64(v&1)
}

func (u *unpacker) bytes(n uint64) []byte {
	if n > uint64(len(u.b)) {
		u.fail()
		return nil
	}
	v := u.b[:n]
	u.b = u.b[n:]
	return v
}

func (u *unpacker) text() string { return view(u.bytes(u.uvarint())) }

func (u *unpacker) byte() byte {
	if len(u.b) == 0 {
		u.fail()
		return 0
	}
	v := u.b[0]
	u.b = u.b[1:]
	return v
}

func (u *unpacker) id() (id event.ID) {
	copy(id[:], u.bytes(uint64(len(id))))
	return id
}

// moment reads what appendMoment wrote.
func (u *unpacker) moment(base int64) int64 {
	v := u.varint()
	switch v & 3 {
	case 0: // milliseconds
		return base + v>>2
	case inMinutes:
		return v >> 2 * minuteMs
	case inFull:
		return base + u.varint()
	default:
		u.fail()
		return 0
	}
}

func (u *unpacker) currency() string {
	n := u.uvarint()
	if n < uint64(len(usualCurrencies)) {
		return usualCurrencies[n]
	}
	return view(u.bytes(n - uint64(len(usualCurrencies))))
}

func (u *unpacker) template(t *template) {
	t.arrival = u.varint()
	t.amount = u.varint()
	t.currency = u.currency()
	t.merchant, t.terminal, t.channel = u.text(), u.text(), u.text()
}

func (u *unpacker) shape() (s shape) {
	switch i := u.byte(); {
	case int(i) < len(usualShapes):
		s = usualShapes[i]
	case i == unusualShape:
		copy(s[:], u.bytes(uint64(len(s))))
	default:
		u.fail()
	}
	return s
}

// fact reads what appendFact wrote, and names the fact's capture where that is
// the fact itself.
func (u *unpacker) fact(f *fact, t *template) {
	*f = fact{approved: absent, total: absent, stays: absent, holdUntil: absent, amount: t.amount, currency: t.currency}
	m := u.uvarint()
	f.id = u.id()
	s := u.shape()
	f.kind = event.Kind(s[0])
	f.operation, f.outcome = event.Operation(s[1]&15), event.Outcome(s[1]>>4)
	f.mode, f.stage = event.Mode(s[2]&15), event.Stage(s[2]>>4)
	f.source = int(u.uvarint())
	f.offset = u.varint()
	if m&otherAmount != 0 {
		f.amount = u.varint()
	}
	switch {
	case m&approvedIsAmount != 0:
		f.approved = f.amount
	case m&hasApproved != 0:
		f.approved = u.varint()
	}
	if m&hasClearing != 0 {
		f.clearing, f.hasClearing = t.date()+int32(u.varint()), true
	}
	switch {
	case m&captureIsID != 0:
		f.capture = hexName(u.names, f.id)
	case m&hasCapture != 0:
		f.capture = u.text()
	}
	if m >= otherCurrency {
		u.rare(f, m)
	}
}

// hexName is the id in hexadecimal, in room that is used again; nil makes its own.
func hexName(room *[]byte, id event.ID) string {
	if room == nil {
		return id.String()
	}
	at := len(*room)
	*room = hex.AppendEncode(*room, id[:])
	return view((*room)[at:])
}

func (u *unpacker) rare(f *fact, m uint64) {
	if m&otherCurrency != 0 {
		f.currency = u.text()
	}
	if m&hasTakesBack != 0 {
		f.takesBack = u.id()
	}
	if m&hasReplaces != 0 {
		f.replaces = u.id()
	}
	if m&hasCycle != 0 {
		f.cycle = u.text()
	}
	read := func(bit uint64, otherwise int64) int64 {
		if m&bit == 0 {
			return otherwise
		}
		return u.varint()
	}
	f.index = uint32(read(hasIndex, 0))
	f.generation = uint32(read(hasGeneration, 0))
	f.fee = read(hasFee, 0)
	f.target = event.AdjustmentTarget(read(hasTarget, 0))
	f.total = read(hasTotal, absent)
	f.stays = read(hasStays, absent)
	f.holdUntil = read(hasHoldUntil, absent)
	f.netOnly, f.delta, f.incremental = m&isNetOnly != 0, m&isDelta != 0, m&isIncremental != 0
}

func (u *unpacker) pending(f *pendingFact, t *template) {
	*f = pendingFact{}
	u.fact(&f.fact, t)
	m := u.byte()
	f.arrival = t.arrival + u.varint()
	f.effective = f.arrival
	f.merchant, f.terminal, f.channel = t.merchant, t.terminal, t.channel
	if f.hasBusiness = m&hasBusiness != 0; f.hasBusiness {
		f.business = f.arrival + u.varint()
	}
	if f.hasDate = m&hasDate != 0; f.hasDate {
		f.settlement = t.date() + int32(u.varint())
	}
	if m < isLate {
		return
	}
	if m&isLate != 0 {
		f.effective = f.arrival + u.varint()
	}
	if m&otherMerchant != 0 {
		f.merchant = u.text()
	}
	if m&otherTerminal != 0 {
		f.terminal = u.text()
	}
	if m&otherChannel != 0 {
		f.channel = u.text()
	}
}

// unpack reads a packed payment into h, whose slices are used again.
func (h *history) unpack(b []byte) error {
	h.reset()
	u := unpacker{b: b, names: &h.names}
	h.flags = u.byte()
	h.key = event.PaymentKey(u.text())
	h.epoch = u.uvarint()
	u.moment(0) // the next one
	u.template(&h.template)
	if h.flags&flagBody != 0 {
		length := uint64(len(u.b))
		if h.flags&flagWhole == 0 {
			length = u.uvarint()
		}
		body := unpacker{b: u.bytes(length), names: &h.names}
		h.unpackBody(&body)
		if body.err != nil || h.judged == hop.Never {
			return corrupt(h.key)
		}
	}
	for u.err == nil && len(u.b) > 0 {
		u.pending(h.another(), &h.template)
	}
	if u.err != nil {
		return corrupt(h.key)
	}
	return nil
}

// another is a pending fact more, which may hold what was there before.
func (h *history) another() *pendingFact {
	n := len(h.pending)
	if n == cap(h.pending) {
		h.pending = append(h.pending, pendingFact{})
	}
	h.pending = h.pending[:n+1]
	return &h.pending[n]
}

func (h *history) unpackBody(u *unpacker) {
	t := &h.template
	h.judged = u.moment(t.arrival)
	m := u.byte()
	h.last = t.arrival + u.varint()
	h.version = u.uvarint()
	if m&lifeIsFirst == 0 {
		h.life = u.id()
	}
	h.merchant, h.terminal, h.channel = t.merchant, t.terminal, t.channel
	if m&bodyMerchant != 0 {
		h.merchant = u.text()
	}
	if m&bodyTerminal != 0 {
		h.terminal = u.text()
	}
	if m&bodyChannel != 0 {
		h.channel = u.text()
	}
	if m&bodyCounts != 0 {
		for _, n := range [...]*uint32{&h.events, &h.repeats, &h.conflicts, &h.overflow} {
			*n = uint32(u.uvarint())
		}
	}
	if m&bodyAlerts != 0 {
		h.unpackCursors(u)
	}
	for u.err == nil && len(u.b) > 0 {
		h.facts = append(h.facts, fact{})
		u.fact(&h.facts[len(h.facts)-1], t)
	}
	if m&bodyCounts == 0 {
		h.events = uint32(len(h.facts))
	}
	if m&lifeIsFirst != 0 {
		if len(h.facts) == 0 {
			u.fail()
			return
		}
		h.life = h.facts[0].id
	}
}

func (h *history) unpackCursors(u *unpacker) {
	for n := u.uvarint(); n > 0 && u.err == nil; n-- {
		c := cursor{kind: u.byte(), status: u.byte()}
		c.capture = u.text()
		c.revision = uint32(u.uvarint())
		c.amount = u.varint()
		c.clearing = int32(u.varint())
		c.cycle = u.text()
		c.currency = u.text()
		h.alerts = append(h.alerts, c)
	}
}
