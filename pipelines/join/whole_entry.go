package join

import (
	"encoding/binary"
	"math"
	"slices"

	"settlewatch/schemas/event"
)

// A piled is an entry of a pile: an event that waits, with the key of its payment. Every
// event is written once and read once, and none is stored. So the ordinary one has its
// parts at fixed places, which is faster than the packed form and about as short:
//
//	 0  length of the entry, 4 bytes, little endian as all numbers
//	 4  low half of the key's hash
//	 8  form, see below
//	 9  kind
//	10  operation and outcome, four bits each
//	11  mode and stage, likewise
//	12  place in usualCurrencies
//	13  lengths of key, merchant, terminal, channel, one byte each
//	17  source, 2 bytes
//	20  offset, 4 bytes
//	24  business time less arrival, 4 bytes
//	28  amount, 8 bytes
//	36  arrival, 8 bytes
//	44  id
//	60  key, merchant, terminal, channel
//
// What has more, or does not fit, is packed: behind the form come key, currency, and the
// event as a pending fact whose template has nothing but that currency.
type piled []byte

// Forms of an entry.
const (
	isPiledPacked = 1 << iota
	piledBusiness
	piledCaptureIsID
	piledApproved // the approved amount is the amount
)

const (
	piledFormAt   = 8
	piledPackedAt = 9
	piledTextsAt  = 60
)

func (e piled) size() uint32 { return binary.LittleEndian.Uint32(e) }
func (e piled) hash() uint32 { return binary.LittleEndian.Uint32(e[4:]) }

// key is a part of the entry.
func (e piled) key() event.PaymentKey {
	if e[piledFormAt]&isPiledPacked == 0 {
		return event.PaymentKey(view(e[piledTextsAt:][:e[13]]))
	}
	u := unpacker{b: e[piledPackedAt:]}
	return event.PaymentKey(u.text())
}

// appendPiled appends an entry.
func appendPiled(b []byte, key string, hash uint32, f *pendingFact) []byte {
	at := len(b)
	currency := slices.Index(usualCurrencies[:], f.currency)
	size := piledTextsAt + len(key) + len(f.merchant) + len(f.terminal) + len(f.channel)
	if currency < 0 || size > cap(b)-at || !f.flat() || max(len(key), len(f.merchant), len(f.terminal), len(f.channel)) > math.MaxUint8 {
		b = append(b, make([]byte, piledPackedAt)...)
		b[at+piledFormAt] = isPiledPacked
		b = appendText(b, key)
		b = appendCurrency(b, f.currency)
		b = appendPending(b, f, &template{currency: f.currency})
		binary.LittleEndian.PutUint32(b[at:], uint32(len(b)-at))
		binary.LittleEndian.PutUint32(b[at+4:], hash)
		return b
	}
	b = b[:at+size]
	e := b[at:]
	form := byte(0)
	if f.hasBusiness {
		form |= piledBusiness
	}
	if f.capture != "" {
		form |= piledCaptureIsID
	}
	if f.approved != absent {
		form |= piledApproved
	}
	_ = e[piledTextsAt-1]
	binary.LittleEndian.PutUint32(e, uint32(size))
	binary.LittleEndian.PutUint32(e[4:], hash)
	e[8], e[9], e[10], e[11] = form, byte(f.kind), byte(f.operation)|byte(f.outcome)<<4, byte(f.mode)|byte(f.stage)<<4
	e[12], e[13], e[14], e[15], e[16] = byte(currency), byte(len(key)), byte(len(f.merchant)), byte(len(f.terminal)), byte(len(f.channel))
	binary.LittleEndian.PutUint16(e[17:], uint16(f.source))
	binary.LittleEndian.PutUint32(e[20:], uint32(f.offset))
	binary.LittleEndian.PutUint32(e[24:], uint32(f.business-f.arrival))
	binary.LittleEndian.PutUint64(e[28:], uint64(f.amount))
	binary.LittleEndian.PutUint64(e[36:], uint64(f.arrival))
	copy(e[44:], f.id[:])
	n := piledTextsAt
	n += copy(e[n:], key)
	n += copy(e[n:], f.merchant)
	n += copy(e[n:], f.terminal)
	copy(e[n:], f.channel)
	return b
}

// flat tells whether all of a new event fits into the fixed places, texts aside. Enums
// are of four bits: see known and shape.
func (f *pendingFact) flat() bool {
	business := f.business - f.arrival
	if !f.hasBusiness {
		business = 0
	}
	return f.replaces.IsZero() && f.takesBack.IsZero() && f.target == 0 && !f.delta && !f.incremental && !f.netOnly &&
		f.cycle == "" && f.total == absent && f.stays == absent && f.fee == 0 && f.holdUntil == absent && !f.hasClearing &&
		f.generation == 0 && f.index == 0 && !f.hasDate && f.effective == f.arrival &&
		(f.approved == absent || f.approved == f.amount) && (f.capture == "" || f.namesItself()) &&
		f.source <= math.MaxUint16 && f.offset == int64(uint32(f.offset)) && business == int64(int32(business))
}

// read unpacks the event; its texts are parts of the entry, and of names.
func (e piled) read(f *pendingFact, names *[]byte) bool {
	form := e[piledFormAt]
	if form&isPiledPacked != 0 {
		u := unpacker{b: e[piledPackedAt:], names: names}
		u.text()
		t := template{currency: u.currency()}
		u.pending(f, &t)
		return u.err == nil && len(u.b) == 0
	}
	_ = e[piledTextsAt-1]
	*f = pendingFact{}
	copy(f.id[:], e[44:])
	f.kind, f.operation, f.outcome = event.Kind(e[9]), event.Operation(e[10]&15), event.Outcome(e[10]>>4)
	f.mode, f.stage = event.Mode(e[11]&15), event.Stage(e[11]>>4)
	f.currency = usualCurrencies[e[12]]
	f.source, f.offset = int(binary.LittleEndian.Uint16(e[17:])), int64(binary.LittleEndian.Uint32(e[20:]))
	f.amount, f.arrival = int64(binary.LittleEndian.Uint64(e[28:])), int64(binary.LittleEndian.Uint64(e[36:]))
	f.effective, f.approved, f.total, f.stays, f.holdUntil = f.arrival, absent, absent, absent, absent
	if form&piledBusiness != 0 {
		f.hasBusiness, f.business = true, f.arrival+int64(int32(binary.LittleEndian.Uint32(e[24:])))
	}
	if form&piledApproved != 0 {
		f.approved = f.amount
	}
	if form&piledCaptureIsID != 0 {
		f.capture = hexName(names, f.id)
	}
	texts := e[piledTextsAt+int(e[13]):]
	f.merchant, texts = view(texts[:e[14]]), texts[e[14]:]
	f.terminal, texts = view(texts[:e[15]]), texts[e[15]:]
	f.channel = view(texts[:e[16]])
	return true
}
