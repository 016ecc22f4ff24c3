package join

import (
	"encoding/binary"
	"errors"
	"fmt"

	"settlewatch/pipelines/hop"
	"settlewatch/schemas/event"
)

// A payment's packed form, the unit of everything that is stored:
//
//	flags         1 byte
//	key           text
//	epoch         uvarint: the CONFIG under which the next moment was set
//	next moment   varint
//	template      arrival, amount, currency, merchant, terminal and channel of the
//	              first event that was folded: most of what follows repeats them
//	body          once judged: its length if facts are pending, then cursors and
//	              judged facts (packBody)
//	pending facts until the end: an arrival is appended without unpacking
//
// Numbers are varints, signed ones zigzag; texts and ids of no fixed length are
// length-prefixed. Times are differences to the template's arrival, in arithmetic
// that wraps, so that any two times can be told.

// errCorrupt is a packed payment that cannot be read: the stored checksum
// matched, so it is a bug or a newer version's state.
var errCorrupt = errors.New("corrupt packed payment")

// Flags of a packed payment.
const (
	flagBody     = 1 << iota // it was judged
	flagPlain                // see plain.go
	flagLine                 // of a plain one: a line is among its facts
	flagDeferred             // moments of its pending facts may have passed without being judged
	flagWhole                // the body goes to the end: nothing is pending
	// Of a plain one, see settles: what is owed is the template's amount, something
	// else is owed too, and the line is of the template's amount.
	flagOwed
	flagOwedMore
	flagPaid
)

const plainFlags = flagPlain | flagLine | flagOwed | flagOwedMore | flagPaid

// A template is what facts are packed in difference to.
type template struct {
	arrival, amount                       int64
	currency, merchant, terminal, channel string
}

func templateOf(f *pendingFact) template {
	return template{f.arrival, f.amount, f.currency, f.merchant, f.terminal, f.channel}
}

const (
	minuteMs = 60 * 1000
	dayMs    = 24 * 60 * minuteMs
)

// appendMoment writes a time in the coarsest unit that is exact: due times are
// whole minutes, other moments a difference to base.
func appendMoment(b []byte, t, base int64) []byte {
	switch d := t - base; {
	case t%minuteMs == 0:
		return binary.AppendVarint(b, t/minuteMs<<2|inMinutes)
	case d == d<<2>>2:
		return binary.AppendVarint(b, d<<2) // 0: milliseconds
	default:
		return binary.AppendVarint(binary.AppendVarint(b, inFull), d)
	}
}

const (
	inMinutes = 1 + iota
	inFull    // the difference follows: it does not fit beside its unit
)

// date is the template's day, what dates are packed in difference to.
func (t *template) date() int32 { return int32(t.arrival / dayMs) }

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

// history is a payment unpacked. Its texts are parts of what was unpacked: they
// are copied before that memory changes, or before they leave the package.
type history struct {
	flags    byte
	key      event.PaymentKey
	epoch    uint64
	template template
	life     event.ID // of the event that opened this life; zero before the first judgement
	version  uint64   // judgements of this life
	judged   int64    // the last moment judged; hop.Never before the first
	last     int64    // effective arrival of the last event
	merchant string
	terminal string
	channel  string

	events, repeats, conflicts, overflow uint32

	alerts  []cursor
	facts   []fact // judged, in order
	pending []pendingFact

	names []byte // see hexName
}

func (h *history) reset() {
	*h = history{alerts: h.alerts[:0], facts: h.facts[:0], pending: h.pending[:0], names: h.names[:0], judged: hop.Never}
}

func appendText(b []byte, s string) []byte {
	b = binary.AppendUvarint(b, uint64(len(s)))
	return append(b, s...)
}

// appendCurrency writes the place of a usual currency in usualCurrencies, else the
// code itself, its length after those.
func appendCurrency(b []byte, code string) []byte {
	for i, c := range usualCurrencies {
		if c == code {
			return append(b, byte(i))
		}
	}
	b = binary.AppendUvarint(b, uint64(len(code)+len(usualCurrencies)))
	return append(b, code...)
}

// usualCurrencies is part of the stored format.
var usualCurrencies = [...]string{"CNY", "HKD", "MOP", "TWD", "USD", "EUR", "JPY", "KRW", "SGD", "GBP", "AUD", "THB"}

// Parts of a packed fact. The usual ones come first: their mask is one byte or two.
const (
	otherAmount = 1 << iota // than the template's
	hasCapture
	captureIsID      // a capture without an id of its own is itself
	approvedIsAmount // of an authorization
	hasApproved
	hasClearing
	otherCurrency
	hasIndex
	hasGeneration
	hasFee
	isNetOnly
	hasTakesBack
	hasReplaces
	hasTarget
	hasTotal
	hasStays
	hasHoldUntil
	hasCycle
	isDelta
	isIncremental
)

func (f *fact) mask(t *template) uint64 {
	var m uint64
	set := func(cond bool, bit uint64) {
		if cond {
			m |= bit
		}
	}
	set(f.amount != t.amount, otherAmount)
	set(f.currency != t.currency, otherCurrency)
	if f.capture != "" {
		if f.namesItself() {
			m |= captureIsID
		} else {
			m |= hasCapture
		}
	}
	if f.approved != absent {
		if f.approved == f.amount {
			m |= approvedIsAmount
		} else {
			m |= hasApproved
		}
	}
	set(f.hasClearing, hasClearing)
	set(f.index != 0, hasIndex)
	set(f.generation != 0, hasGeneration)
	set(f.fee != 0, hasFee)
	set(f.netOnly, isNetOnly)
	set(!f.takesBack.IsZero(), hasTakesBack)
	set(!f.replaces.IsZero(), hasReplaces)
	set(f.target != 0, hasTarget)
	set(f.total != absent, hasTotal)
	set(f.stays != absent, hasStays)
	set(f.holdUntil != absent, hasHoldUntil)
	set(f.cycle != "", hasCycle)
	set(f.delta, isDelta)
	set(f.incremental, isIncremental)
	return m
}

// namesItself tells whether the capture is the fact's own id in hexadecimal.
func (f *fact) namesItself() bool {
	const digits = "0123456789abcdef"
	if len(f.capture) != 2*len(f.id) {
		return false
	}
	for i, b := range f.id {
		if f.capture[2*i] != digits[b>>4] || f.capture[2*i+1] != digits[b&15] {
			return false
		}
	}
	return true
}

// A shape is what kind of fact it is, in three bytes. The usual ones are one byte,
// their place in usualShapes; the others follow a byte that is none of those.
type shape [3]byte

func (f *fact) shape() shape {
	return shape{byte(f.kind), byte(f.operation) | byte(f.outcome)<<4, byte(f.mode) | byte(f.stage)<<4}
}

const unusualShape = 255

// usualShapes is part of the stored format: it may only grow at its end.
var usualShapes = [...]shape{
	newlyAccepted(event.Kind_KIND_AUTHORIZATION, event.Mode_MODE_SINGLE, 0),
	newlyAccepted(event.Kind_KIND_AUTHORIZATION, event.Mode_MODE_DUAL, 0),
	newlyAccepted(event.Kind_KIND_CAPTURE, 0, 0),
	newlyAccepted(event.Kind_KIND_CAPTURE, event.Mode_MODE_SINGLE, 0),
	newlyAccepted(event.Kind_KIND_CAPTURE, event.Mode_MODE_DUAL, 0),
	newlyAccepted(event.Kind_KIND_SETTLEMENT, 0, event.Stage_STAGE_PAID_OUT),
	newlyAccepted(event.Kind_KIND_SETTLEMENT, 0, event.Stage_STAGE_CLEARED),
	newlyAccepted(event.Kind_KIND_SETTLEMENT, event.Mode_MODE_FILE, event.Stage_STAGE_PAID_OUT),
	newlyAccepted(event.Kind_KIND_SETTLEMENT, event.Mode_MODE_FILE, event.Stage_STAGE_CLEARED),
}

func newlyAccepted(k event.Kind, m event.Mode, s event.Stage) shape {
	f := fact{kind: k, operation: event.Operation_OPERATION_NEW, outcome: event.Outcome_OUTCOME_ACCEPTED, mode: m, stage: s}
	return f.shape()
}

func (s shape) append(b []byte) []byte {
	for i := range usualShapes {
		if usualShapes[i] == s {
			return append(b, byte(i))
		}
	}
	return append(b, unusualShape, s[0], s[1], s[2])
}

func appendFact(b []byte, f *fact, t *template) []byte {
	m := f.mask(t)
	b = binary.AppendUvarint(b, m)
	b = append(b, f.id[:]...)
	b = f.shape().append(b)
	b = binary.AppendUvarint(b, uint64(f.source))
	b = binary.AppendVarint(b, f.offset)
	if m&otherAmount != 0 {
		b = binary.AppendVarint(b, f.amount)
	}
	if m&hasApproved != 0 {
		b = binary.AppendVarint(b, f.approved)
	}
	if m&hasClearing != 0 {
		b = binary.AppendVarint(b, int64(f.clearing-t.date()))
	}
	if m&hasCapture != 0 {
		b = appendText(b, f.capture)
	}
	if m >= otherCurrency {
		return appendRare(b, f, m)
	}
	return b
}

// appendRare packs the parts that most facts lack.
func appendRare(b []byte, f *fact, m uint64) []byte {
	if m&otherCurrency != 0 {
		b = appendText(b, f.currency)
	}
	if m&hasTakesBack != 0 {
		b = append(b, f.takesBack[:]...)
	}
	if m&hasReplaces != 0 {
		b = append(b, f.replaces[:]...)
	}
	if m&hasCycle != 0 {
		b = appendText(b, f.cycle)
	}
	for _, o := range [...]struct {
		bit   uint64
		value int64
	}{
		{hasIndex, int64(f.index)},
		{hasGeneration, int64(f.generation)},
		{hasFee, f.fee},
		{hasTarget, int64(f.target)},
		{hasTotal, f.total},
		{hasStays, f.stays},
		{hasHoldUntil, f.holdUntil},
	} {
		if m&o.bit != 0 {
			b = binary.AppendVarint(b, o.value)
		}
	}
	return b
}

// Parts of a pending fact beside those of a fact.
const (
	hasBusiness = 1 << iota
	hasDate
	isLate // its effective arrival is not its arrival
	otherMerchant
	otherTerminal
	otherChannel
)

func appendPending(b []byte, f *pendingFact, t *template) []byte {
	b = appendFact(b, &f.fact, t)
	var m byte
	set := func(cond bool, bit byte) {
		if cond {
			m |= bit
		}
	}
	set(f.hasBusiness, hasBusiness)
	set(f.hasDate, hasDate)
	set(f.effective != f.arrival, isLate)
	set(f.merchant != t.merchant, otherMerchant)
	set(f.terminal != t.terminal, otherTerminal)
	set(f.channel != t.channel, otherChannel)
	b = append(b, m)
	b = binary.AppendVarint(b, f.arrival-t.arrival)
	if f.hasBusiness {
		b = binary.AppendVarint(b, f.business-f.arrival)
	}
	if f.hasDate {
		b = binary.AppendVarint(b, int64(f.settlement-t.date()))
	}
	if m < isLate {
		return b
	}
	if m&isLate != 0 {
		b = binary.AppendVarint(b, f.effective-f.arrival)
	}
	if m&otherMerchant != 0 {
		b = appendText(b, f.merchant)
	}
	if m&otherTerminal != 0 {
		b = appendText(b, f.terminal)
	}
	if m&otherChannel != 0 {
		b = appendText(b, f.channel)
	}
	return b
}

// appendHead packs what stands before body and pending facts.
func appendHead(b []byte, flags byte, key event.PaymentKey, epoch uint64, next int64, t *template) []byte {
	b = appendText(append(b, flags), string(key))
	b = binary.AppendUvarint(b, epoch)
	b = appendMoment(b, next, 0)
	b = binary.AppendVarint(b, t.arrival)
	b = binary.AppendVarint(b, t.amount)
	b = appendCurrency(b, t.currency)
	b = appendText(b, t.merchant)
	b = appendText(b, t.terminal)
	return appendText(b, t.channel)
}

// Parts of a body.
const (
	lifeIsFirst = 1 << iota // the first fact's id
	bodyMerchant
	bodyTerminal
	bodyChannel
	bodyCounts // events are not just the facts
	bodyAlerts
)

// packBody packs what was judged.
func (h *history) packBody(b []byte) []byte {
	var m byte
	set := func(cond bool, bit byte) {
		if cond {
			m |= bit
		}
	}
	t := &h.template
	set(len(h.facts) > 0 && h.facts[0].id == h.life, lifeIsFirst)
	set(h.merchant != t.merchant, bodyMerchant)
	set(h.terminal != t.terminal, bodyTerminal)
	set(h.channel != t.channel, bodyChannel)
	set(h.events != uint32(len(h.facts)) || h.repeats|h.conflicts|h.overflow != 0, bodyCounts)
	set(len(h.alerts) > 0, bodyAlerts)
	// The judged moment comes first: a new event looks at it, and at nothing else.
	b = appendMoment(b, h.judged, t.arrival)
	b = append(b, m)
	b = binary.AppendVarint(b, h.last-t.arrival)
	b = binary.AppendUvarint(b, h.version)
	if m&lifeIsFirst == 0 {
		b = append(b, h.life[:]...)
	}
	if m&bodyMerchant != 0 {
		b = appendText(b, h.merchant)
	}
	if m&bodyTerminal != 0 {
		b = appendText(b, h.terminal)
	}
	if m&bodyChannel != 0 {
		b = appendText(b, h.channel)
	}
	if m&bodyCounts != 0 {
		for _, n := range [...]uint32{h.events, h.repeats, h.conflicts, h.overflow} {
			b = binary.AppendUvarint(b, uint64(n))
		}
	}
	if m&bodyAlerts != 0 {
		b = h.packCursors(b)
	}
	for i := range h.facts {
		b = appendFact(b, &h.facts[i], t)
	}
	return b
}

func (h *history) packCursors(b []byte) []byte {
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
	return b
}

// pack appends the whole payment to b; scratch is for the body.
func (h *history) pack(b, scratch []byte, next int64) (packed, scratchOut []byte) {
	flags := h.flags &^ (flagBody | flagWhole)
	if h.judged != hop.Never {
		flags |= flagBody
		if len(h.pending) == 0 {
			flags |= flagWhole
		}
	}
	b = appendHead(b, flags, h.key, h.epoch, next, &h.template)
	if flags&flagBody != 0 {
		scratch = h.packBody(scratch[:0])
		if flags&flagWhole == 0 {
			b = binary.AppendUvarint(b, uint64(len(scratch)))
		}
		b = append(b, scratch...)
	}
	for i := range h.pending {
		b = appendPending(b, &h.pending[i], &h.template)
	}
	return b, scratch
}

// A head is what a packed payment shows without being unpacked.
type head struct {
	flags    byte
	key      event.PaymentKey
	epoch    uint64
	next     int64 // as stored, see moments.next
	judged   int64 // hop.Never before the first judgement
	template template
	epochAt  int // where the epoch stands
	restAt   int // and what follows the next moment
	bodyAt   int // and what follows the template
}

// peek reads the head of a packed payment; its texts are parts of b.
func peek(b []byte) (h head, err error) {
	u := unpacker{b: b}
	h.flags = u.byte()
	h.key = event.PaymentKey(u.text())
	h.epochAt = len(b) - len(u.b)
	h.epoch = u.uvarint()
	h.next = u.moment(0)
	h.restAt = len(b) - len(u.b)
	u.template(&h.template)
	h.bodyAt = len(b) - len(u.b)
	h.judged = hop.Never
	if h.flags&flagBody != 0 {
		if h.flags&flagWhole == 0 {
			u.uvarint()
		}
		h.judged = u.moment(h.template.arrival)
	}
	return h, u.err
}

// packedKey reads no more than that.
func packedKey(b []byte) (event.PaymentKey, error) {
	u := unpacker{b: b}
	u.byte()
	return event.PaymentKey(u.text()), u.err
}

// corrupt names the payment that cannot be read.
func corrupt(key event.PaymentKey) error { return fmt.Errorf("unpack payment %q: %w", key, errCorrupt) }
