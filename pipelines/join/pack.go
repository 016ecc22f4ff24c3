package join

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math"

	"settlewatch/schemas/event"
)

// A payment's packed form, the unit of everything that is stored:
//
//	next moment        8 bytes, little endian, so that it is changed in place
//	body length        uvarint
//	body               key, life, cursors, judged facts (see packBody)
//	pending facts      until the end: an arrival is appended without unpacking
//
// Numbers are varints, signed ones zigzag; texts and ids are length-prefixed.
const nextBytes = 8

// errCorrupt is a packed payment that cannot be read: the stored checksum
// matched, so it is a bug or a newer version's state.
var errCorrupt = errors.New("corrupt packed payment")

// cursor is what was published of one alert.
type cursor struct {
	kind     uint8  // index into alert.Kinds
	capture  string // the capture that a paid-unsettled alert is about
	revision uint32
	status   uint8 // index into statuses
	amount   int64
	clearing int32 // the due time it opened with: clearing date and cycle
	cycle    string
	currency string
}

// history is a payment unpacked.
type history struct {
	key      event.PaymentKey
	life     event.ID // of the event that opened this life; zero before the first judgement
	version  uint64   // judgements of this life
	judged   int64    // the last moment judged
	last     int64    // effective arrival of the last event
	merchant string
	terminal string
	channel  string

	events, repeats, conflicts, overflow uint32

	alerts  []cursor
	facts   []fact // judged, in order
	pending []pendingFact
}

func (h *history) reset() {
	*h = history{alerts: h.alerts[:0], facts: h.facts[:0], pending: h.pending[:0], judged: math.MinInt64}
}

func appendText(b []byte, s string) []byte {
	b = binary.AppendUvarint(b, uint64(len(s)))
	return append(b, s...)
}

// Which optional parts a packed fact has.
const (
	hasReplaces = 1 << iota
	hasTakesBack
	hasCapture
	hasCycle
	hasApproved
	hasTotal
	hasStays
	hasFee
	hasHoldUntil
	hasClearing
	isDelta
	isIncremental
	isNetOnly
	hasIndex
	hasGeneration
)

func (f *fact) mask() uint64 {
	var m uint64
	set := func(cond bool, bit uint64) {
		if cond {
			m |= bit
		}
	}
	set(!f.replaces.IsZero(), hasReplaces)
	set(!f.takesBack.IsZero(), hasTakesBack)
	set(f.capture != "", hasCapture)
	set(f.cycle != "", hasCycle)
	set(f.approved != absent, hasApproved)
	set(f.total != absent, hasTotal)
	set(f.stays != absent, hasStays)
	set(f.fee != 0, hasFee)
	set(f.holdUntil != absent, hasHoldUntil)
	set(f.hasClearing, hasClearing)
	set(f.delta, isDelta)
	set(f.incremental, isIncremental)
	set(f.netOnly, isNetOnly)
	set(f.index != 0, hasIndex)
	set(f.generation != 0, hasGeneration)
	return m
}

func appendFact(b []byte, f *fact) []byte {
	m := f.mask()
	b = binary.AppendUvarint(b, m)
	b = append(b, f.id[:]...)
	b = append(b, byte(f.kind), byte(f.operation)|byte(f.outcome)<<4, byte(f.mode)|byte(f.stage)<<4, byte(f.target))
	b = appendText(b, f.currency)
	b = binary.AppendVarint(b, f.amount)
	b = binary.AppendUvarint(b, uint64(f.source))
	b = binary.AppendVarint(b, f.offset)
	if m&hasReplaces != 0 {
		b = append(b, f.replaces[:]...)
	}
	if m&hasTakesBack != 0 {
		b = append(b, f.takesBack[:]...)
	}
	if m&hasCapture != 0 {
		b = appendText(b, f.capture)
	}
	if m&hasCycle != 0 {
		b = appendText(b, f.cycle)
	}
	for _, o := range [...]struct {
		bit   uint64
		value int64
	}{
		{hasApproved, f.approved},
		{hasTotal, f.total},
		{hasStays, f.stays},
		{hasFee, f.fee},
		{hasHoldUntil, f.holdUntil},
		{hasClearing, int64(f.clearing)},
		{hasIndex, int64(f.index)},
		{hasGeneration, int64(f.generation)},
	} {
		if m&o.bit != 0 {
			b = binary.AppendVarint(b, o.value)
		}
	}
	return b
}

func appendPending(b []byte, f *pendingFact) []byte {
	b = appendFact(b, &f.fact)
	b = binary.AppendVarint(b, f.effective)
	b = binary.AppendVarint(b, f.arrival)
	var m byte
	if f.hasBusiness {
		m |= 1
	}
	if f.hasDate {
		m |= 2
	}
	b = append(b, m)
	if f.hasBusiness {
		b = binary.AppendVarint(b, f.business)
	}
	if f.hasDate {
		b = binary.AppendVarint(b, int64(f.settlement))
	}
	b = appendText(b, f.merchant)
	b = appendText(b, f.terminal)
	return appendText(b, f.channel)
}

// packBody packs all but the next moment and the pending facts.
func (h *history) packBody(b []byte) []byte {
	b = appendText(b, string(h.key))
	b = append(b, h.life[:]...)
	b = binary.AppendUvarint(b, h.version)
	b = binary.AppendVarint(b, h.judged)
	b = binary.AppendVarint(b, h.last)
	b = appendText(b, h.merchant)
	b = appendText(b, h.terminal)
	b = appendText(b, h.channel)
	for _, n := range [...]uint32{h.events, h.repeats, h.conflicts, h.overflow} {
		b = binary.AppendUvarint(b, uint64(n))
	}
	b = binary.AppendUvarint(b, uint64(len(h.alerts)))
	for i := range h.alerts {
		c := &h.alerts[i]
		b = append(b, c.kind, c.status)
		b = appendText(b, c.capture)
		b = binary.AppendUvarint(b, uint64(c.revision))
		b = binary.AppendVarint(b, c.amount)
		b = binary.AppendVarint(b, int64(c.clearing))
		b = appendText(b, c.cycle)
		b = appendText(b, c.currency)
	}
	b = binary.AppendUvarint(b, uint64(len(h.facts)))
	for i := range h.facts {
		b = appendFact(b, &h.facts[i])
	}
	return b
}

// pack appends the whole payment to b; scratch is for the body.
func (h *history) pack(b, scratch []byte, next int64) (packed, scratchOut []byte) {
	scratch = h.packBody(scratch[:0])
	b = binary.LittleEndian.AppendUint64(b, uint64(next))
	b = binary.AppendUvarint(b, uint64(len(scratch)))
	b = append(b, scratch...)
	for i := range h.pending {
		b = appendPending(b, &h.pending[i])
	}
	return b, scratch
}

// unpacker reads with one sticky error.
type unpacker struct {
	b   []byte
	err error
}

func (u *unpacker) fail() {
	if u.err == nil {
		u.err = errCorrupt
	}
	u.b = nil
}

func (u *unpacker) uvarint() uint64 {
	v, n := binary.Uvarint(u.b)
	if n <= 0 {
		u.fail()
		return 0
	}
	u.b = u.b[n:]
	return v
}

func (u *unpacker) varint() int64 {
	v, n := binary.Varint(u.b)
	if n <= 0 {
		u.fail()
		return 0
	}
	u.b = u.b[n:]
	return v
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

func (u *unpacker) text() string { return string(u.bytes(u.uvarint())) }

func (u *unpacker) byte() byte {
	if v := u.bytes(1); len(v) == 1 {
		return v[0]
	}
	return 0
}

func (u *unpacker) id() (id event.ID) {
	copy(id[:], u.bytes(uint64(len(id))))
	return id
}

func (u *unpacker) fact(f *fact) {
	*f = fact{approved: absent, total: absent, stays: absent, holdUntil: absent}
	m := u.uvarint()
	f.id = u.id()
	f.kind = event.Kind(u.byte())
	b := u.byte()
	f.operation, f.outcome = event.Operation(b&15), event.Outcome(b>>4)
	b = u.byte()
	f.mode, f.stage = event.Mode(b&15), event.Stage(b>>4)
	f.target = event.AdjustmentTarget(u.byte())
	f.currency = u.text()
	f.amount = u.varint()
	f.source = int(u.uvarint())
	f.offset = u.varint()
	if m&hasReplaces != 0 {
		f.replaces = u.id()
	}
	if m&hasTakesBack != 0 {
		f.takesBack = u.id()
	}
	if m&hasCapture != 0 {
		f.capture = u.text()
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
	f.approved = read(hasApproved, absent)
	f.total = read(hasTotal, absent)
	f.stays = read(hasStays, absent)
	f.fee = read(hasFee, 0)
	f.holdUntil = read(hasHoldUntil, absent)
	f.clearing, f.hasClearing = int32(read(hasClearing, 0)), m&hasClearing != 0
	f.index = uint32(read(hasIndex, 0))
	f.generation = uint32(read(hasGeneration, 0))
	f.delta, f.incremental, f.netOnly = m&isDelta != 0, m&isIncremental != 0, m&isNetOnly != 0
}

func (u *unpacker) pending(f *pendingFact) {
	*f = pendingFact{}
	u.fact(&f.fact)
	f.effective = u.varint()
	f.arrival = u.varint()
	m := u.byte()
	if f.hasBusiness = m&1 != 0; f.hasBusiness {
		f.business = u.varint()
	}
	if f.hasDate = m&2 != 0; f.hasDate {
		f.settlement = int32(u.varint())
	}
	f.merchant, f.terminal, f.channel = u.text(), u.text(), u.text()
}

// packedNext is the next moment of a packed payment.
func packedNext(b []byte) int64 { return int64(binary.LittleEndian.Uint64(b)) }

func setPackedNext(b []byte, next int64) { binary.LittleEndian.PutUint64(b, uint64(next)) }

// packedHead reads only the key and the last moment judged.
func packedHead(b []byte) (key event.PaymentKey, judged int64, err error) {
	if len(b) < nextBytes {
		return "", 0, errCorrupt
	}
	u := unpacker{b: b[nextBytes:]}
	u.uvarint()
	key = event.PaymentKey(u.text())
	u.id()
	u.uvarint()
	judged = u.varint()
	return key, judged, u.err
}

// unpack reads a packed payment into h, whose slices are used again.
func (h *history) unpack(b []byte) error {
	h.reset()
	if len(b) < nextBytes {
		return errCorrupt
	}
	outer := unpacker{b: b[nextBytes:]}
	u := unpacker{b: outer.bytes(outer.uvarint())}
	h.key = event.PaymentKey(u.text())
	h.life = u.id()
	h.version = u.uvarint()
	h.judged = u.varint()
	h.last = u.varint()
	h.merchant, h.terminal, h.channel = u.text(), u.text(), u.text()
	for _, n := range [...]*uint32{&h.events, &h.repeats, &h.conflicts, &h.overflow} {
		*n = uint32(u.uvarint())
	}
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
	for n := u.uvarint(); n > 0 && u.err == nil; n-- {
		var f fact
		u.fact(&f)
		h.facts = append(h.facts, f)
	}
	for u.err == nil && len(u.b) > 0 {
		u.fail() // the body is longer than what it says it holds
	}
	for outer.err == nil && len(outer.b) > 0 {
		var f pendingFact
		outer.pending(&f)
		h.pending = append(h.pending, f)
	}
	if err := errors.Join(u.err, outer.err); err != nil {
		return fmt.Errorf("unpack payment %q: %w", h.key, errCorrupt)
	}
	return nil
}
