package join

import (
	"bytes"
	"encoding/binary"

	"github.com/cespare/xxhash/v2"
)

// A bucket is stored as
//
//	sequence  uvarint: of the commit
//	payments  until the end
//
// and a payment as
//
//	form      uvarint: 0, as it is packed, behind its length; 1, a form that comes for the
//	          first time, behind its length; n + 2, the n-th of those
//	numbers   what is left of the packed payment without its form
//
// Payments of one bucket are much alike: what was written of them (flags, the beginning of
// the key, currency, which parts a fact has, how many digits a name) is one of a few forms,
// and times, numbers in keys and offsets are near to those of the payment before. What
// remains is mostly the identities of events, which nothing makes shorter.
//
// A large payment, or one of unusual parts, is stored as it is packed. Behind it the numbers start anew.
//
// A form, in the order of the packed payment:
//
//	flags, epoch
//	key       length of the beginning, the beginning; digits behind it, 0: other text
//	next      nextInMinutes, nextAfterLast or nextInFull
//	currency
//	names     of merchant and terminal: see splitName; channel, as text
//	body      its mask, judgedAtLast or judgedElsewhere, version
//	facts     mask, shape, clearing; of a pending one its mask with arrivesFirst and
//	          onArrival, date
//
// Numbers:
//
//	key       difference to the last one that is a number, or text
//	template  arrival as difference to the last one, amount, merchant, terminal
//	body      judged moment if judgedElsewhere, last, what its mask names
//	facts     id, source, offset as difference to the last one of that source, parts; of a
//	          pending one arrival and business time if they are not 0, parts
//	next      difference to the last payment's: of the minutes, or of the time from the
//	          payment's last event to it
type condenser struct {
	form, numbers pen    // of the payment at hand
	room          []byte // for it
	forms         formTable
	near          neighbour
}

const (
	asPacked = iota
	newForm
	firstForm
)

// condensedMax is the largest payment that is condensed: of one that waits for its
// frontier, up to a mebibyte of events, no copies are kept.
const condensedMax = 4 << 10

// Parts of a form beside those of the packed payment.
const (
	nextInMinutes = iota
	nextAfterLast
	nextInFull
)

const (
	judgedElsewhere = iota
	judgedAtLast
)

// Beside the parts of a pending fact.
const (
	arrivesFirst = 1 << (6 + iota) // with the template
	onArrival                      // its business time is its arrival
)

// A neighbour is what the numbers of a payment are differences to: those of the payments
// before it in the bucket.
type neighbour struct {
	key, arrival, minutes, after int64
	offsets                      [nearSources]int64
}

// nearSources is of how many sources the last offset is known; the others' are written
// in full.
const nearSources = 64

func (n *neighbour) offset(source uint64) int64 {
	if source < nearSources {
		return n.offsets[source]
	}
	return 0
}

func (n *neighbour) setOffset(source uint64, offset int64) {
	if source < nearSources {
		n.offsets[source] = offset
	}
}

// maxForms is how many forms of a bucket are remembered; later ones are written out.
const maxForms = 250

// formTable finds the number of a form.
type formTable struct {
	slots [512]uint8 // open addressing: number + 1
	bytes []byte
	ends  []int
	last  int // that was asked for; most often it is the next one too
}

func (t *formTable) reset() {
	clear(t.slots[:])
	t.bytes, t.ends, t.last = t.bytes[:0], t.ends[:0], 0
}

func (t *formTable) at(n int) []byte {
	from := 0
	if n > 0 {
		from = t.ends[n-1]
	}
	return t.bytes[from:t.ends[n]]
}

// number of a form that was seen; -1 of a new one, which is remembered if there is room.
func (t *formTable) number(form []byte) int {
	if len(t.ends) > 0 && bytes.Equal(t.at(t.last), form) {
		return t.last
	}
	slot := int(xxhash.Sum64(form)) & (len(t.slots) - 1)
	for ; t.slots[slot] != 0; slot = (slot + 1) & (len(t.slots) - 1) {
		if n := int(t.slots[slot]) - 1; bytes.Equal(t.at(n), form) {
			t.last = n
			return n
		}
	}
	if len(t.ends) < maxForms {
		t.bytes = append(t.bytes, form...)
		t.ends = append(t.ends, len(t.bytes))
		t.slots[slot] = uint8(len(t.ends))
	}
	return -1
}

// bucket appends the stored form of a bucket: the commit it is of, and its payments.
func (c *condenser) bucket(out []byte, b *bucket, sequence uint64) []byte {
	c.forms.reset()
	c.near = neighbour{}
	out = binary.AppendUvarint(out, sequence)
	for e := range b.entries() {
		out = c.payment(out, e.payload())
	}
	return out
}

func (c *condenser) payment(out, packed []byte) []byte {
	if len(packed) > condensedMax || !c.split(packed) {
		c.near = neighbour{}
		out = binary.AppendUvarint(append(out, asPacked), uint64(len(packed)))
		return append(out, packed...)
	}
	form := c.form.written()
	if n := c.forms.number(form); n >= 0 {
		out = binary.AppendUvarint(out, uint64(n)+firstForm)
	} else {
		out = binary.AppendUvarint(append(out, newForm), uint64(len(form)))
		out = append(out, form...)
	}
	return append(out, c.numbers.written()...)
}

// split takes a packed payment apart into form and numbers. It tells whether all parts
// are usual ones, and written as pack writes them.
func (c *condenser) split(packed []byte) bool {
	var s scanner
	s, c.room = scan(c.room, packed)
	form, numbers, near := &c.form, &c.numbers, &c.near
	form.begin()
	numbers.begin()
	flags := s.byte()
	form.byte(flags)
	key := s.text()
	s.carryVarint(form) // epoch
	c.splitKey(key)
	unit, next := s.next()
	form.byte(unit)
	arrival := s.varint()
	numbers.varint(arrival - near.arrival)
	near.arrival = arrival
	s.carryVarint(numbers) // amount
	s.carryCurrency(form)
	c.splitName(s.text())
	c.splitName(s.text())
	s.carryText(form)
	last := arrival
	switch {
	case flags&flagBody != 0 && flags&flagWhole == 0:
		return false // it is about to be judged
	case flags&flagBody != 0:
		last += c.splitBody(&s)
	}
	for s.left() {
		if flags&flagBody != 0 {
			c.splitFact(&s)
			continue
		}
		effective, is := c.splitUsual(&s)
		if !is {
			c.splitFact(&s)
			effective = c.splitPending(&s)
		}
		last = arrival + effective
	}
	switch unit {
	case nextInMinutes:
		numbers.varint(next - near.minutes)
		near.minutes = next
	case nextAfterLast:
		numbers.varint(next - last - near.after)
		near.after = next - last
	default:
		numbers.varint(next)
	}
	return s.done()
}

// next reads the next moment: minutes or milliseconds, as its unit for the form says.
func (s *scanner) next() (unit byte, v int64) {
	v = s.varint()
	switch u := v & 3; {
	case u == inMinutes:
		return nextInMinutes, v >> 2
	case u == 0:
		return nextAfterLast, v >> 2
	case v != inFull:
		s.odd = true
	}
	return nextInFull, s.varint()
}

// splitKey writes what stands behind acquirer and type as a number if it is one.
func (c *condenser) splitKey(key []byte) {
	beginning := 0
	for bars := 0; beginning < len(key) && bars < 2; beginning++ {
		if key[beginning] == '|' {
			bars++
		}
	}
	c.form.text(key[:beginning])
	rest := key[beginning:]
	n, is := decimal(rest)
	if !is {
		c.form.byte(0)
		c.numbers.text(rest)
		return
	}
	c.form.byte(byte(len(rest)))
	c.numbers.varint(n - c.near.key)
	c.near.key = n
}

const (
	// maxDigits of a number that an int64 holds whatever they are.
	maxDigits = 18
	// maxLetters before the digits of a name.
	maxLetters = 6
	// nameIsText instead of a number of digits.
	nameIsText = 31
	// nameBits are those of the number of digits; above them is that of the letters.
	nameBits = 5
)

// splitName writes a name of a few letters and digits as a number. The form has how
// many of both there are, and the letters.
func (c *condenser) splitName(name []byte) {
	letters := 0
	for letters < len(name) && letters < maxLetters && name[letters]-'0' > 9 {
		letters++
	}
	n, is := decimal(name[letters:])
	switch {
	case len(name) == 0:
		c.form.byte(0)
	case !is:
		c.form.byte(nameIsText)
		c.numbers.text(name)
	default:
		c.form.byte(byte(letters)<<nameBits | byte(len(name)-letters))
		c.form.bytes(name[:letters])
		c.numbers.uvarint(uint64(n))
	}
}

// decimal reads 1 to maxDigits digits.
func decimal(b []byte) (n int64, is bool) {
	if len(b) == 0 || len(b) > maxDigits {
		return 0, false
	}
	for _, c := range b {
		if c -= '0'; c > 9 {
			return 0, false
		}
		n = n*10 + int64(c)
	}
	return n, true
}

// splitBody takes the body before its facts, and gives its last as difference to the
// template's arrival.
func (c *condenser) splitBody(s *scanner) (last int64) {
	form, numbers := &c.form, &c.numbers
	from := s.at
	judged := s.varint()
	if judged == inFull {
		s.varint()
	}
	judgedText := s.b[from:s.at]
	m := s.byte()
	form.byte(m)
	from = s.at
	if last = s.varint(); judged == last<<2 && judged != inFull {
		form.byte(judgedAtLast)
	} else {
		form.byte(judgedElsewhere)
		numbers.bytes(judgedText)
	}
	numbers.bytes(s.b[from:s.at])
	s.carryVarint(form) // version
	if m&bodyAlerts != 0 || m >= bodyAlerts<<1 {
		s.odd = true
	}
	s.carryBodyParts(m, numbers)
	return last
}

// carryBodyParts gives on what a body's mask names.
func (s *scanner) carryBodyParts(m byte, to *pen) {
	if m&lifeIsFirst == 0 {
		s.carryID(to)
	}
	for parts := m & (bodyMerchant | bodyTerminal | bodyChannel); parts != 0; parts &= parts - 1 {
		s.carryText(to)
	}
	if m&bodyCounts != 0 {
		for range bodyCountsNumber {
			s.carryVarint(to)
		}
	}
}

const (
	bodyCountsNumber = 4
	// rareNumbers are the parts of a fact that are numbers behind those that all may
	// have; rareTexts are the others, which are not condensed.
	rareNumbers = hasIndex | hasGeneration | hasFee | hasTarget | hasTotal | hasStays | hasHoldUntil
	rareTexts   = otherCurrency | hasTakesBack | hasReplaces | hasCycle
)
