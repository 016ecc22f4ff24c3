package join

import (
	"math/bits"

	"settlewatch/schemas/event"
)

func (c *condenser) splitFact(s *scanner) {
	form, numbers := &c.form, &c.numbers
	form.need(0)
	numbers.need(0)
	m := s.carryVarint(form)
	s.carryID(numbers)
	s.carryShape(form)
	source := s.carryVarint(numbers)
	offset := s.varint()
	numbers.varint(offset - c.near.offset(source))
	c.near.setOffset(source, offset)
	if m&otherAmount != 0 {
		s.carryVarint(numbers)
	}
	if m&(approvedIsAmount|hasApproved) == hasApproved {
		s.carryVarint(numbers)
	}
	if m&hasClearing != 0 {
		s.carryVarint(form)
	}
	if m&(captureIsID|hasCapture) == hasCapture {
		s.carryText(numbers)
	}
	if m >= otherCurrency {
		s.odd = s.odd || m&rareTexts != 0
		for range bits.OnesCount64(m & rareNumbers) {
			s.carryVarint(numbers)
		}
	}
}

// splitUsual is splitFact and splitPending of a pending fact that has no parts but the
// usual ones, as nearly all have: what they do byte by byte in memory, it does in
// registers. Of any other fact it takes nothing.
func (c *condenser) splitUsual(s *scanner) (effective int64, is bool) {
	const shapeAt, sourceAt, offsetAt = 1 + len(event.ID{}), 2 + len(event.ID{}), 3 + len(event.ID{})
	b := (*[zerosBehind]byte)(s.b[s.at:])
	m, shape, source := b[0], b[shapeAt], b[sourceAt]
	offset, at, short := shortVarint(b, offsetAt)
	if !short || m&^(captureIsID|approvedIsAmount) != 0 || shape == unusualShape || source >= nearSources {
		return 0, false
	}
	pending := b[at]
	arrival, at, short := shortVarint(b, at+1)
	if !short || pending&^(hasBusiness|hasDate) != 0 {
		return 0, false
	}
	var business, date uint64
	if pending&hasBusiness != 0 {
		if business, at, short = shortVarint(b, at); !short {
			return 0, false
		}
	}
	if pending&hasDate != 0 {
		if date, at, short = shortVarint(b, at); !short {
			return 0, false
		}
	}
	s.at += at // beyond the end, where it is cut: see done
	form, numbers := &c.form, &c.numbers
	form.need(0)
	numbers.need(0)
	*(*[len(event.ID{})]byte)(numbers.b[numbers.n:]) = [len(event.ID{})]byte(b[1:])
	numbers.n += len(event.ID{})
	numbers.byte(source)
	where := int64(offset>>1) ^ -int64(offset&1)
	numbers.varint(where - c.near.offsets[source])
	c.near.offsets[source] = where
	if arrival == 0 {
		pending |= arrivesFirst
	} else {
		numbers.uvarint(arrival)
	}
	if business != 0 {
		numbers.uvarint(business)
	} else if pending&hasBusiness != 0 {
		pending |= onArrival
	}
	form.byte(m)
	form.byte(shape)
	form.byte(pending)
	if pending&hasDate != 0 {
		form.uvarint(date)
	}
	return int64(arrival>>1) ^ -int64(arrival&1), true
}

// shortVarint reads a number of at most four bytes, and says where it ends.
func shortVarint(b *[zerosBehind]byte, at int) (v uint64, end int, short bool) {
	if v = uint64(b[at]); v < 0x80 {
		return v, at + 1, true
	}
	v &= 0x7f
	for shift := 7; shift < 28; shift += 7 {
		at++
		x := uint64(b[at])
		v |= x & 0x7f << shift
		if x < 0x80 {
			return v, at + 1, x != 0
		}
	}
	return 0, 0, false
}

// splitPending takes what a pending fact has beside a fact, and gives its effective
// arrival as difference to the template's.
func (c *condenser) splitPending(s *scanner) (effective int64) {
	form, numbers := &c.form, &c.numbers
	m := s.byte()
	if m >= arrivesFirst {
		s.odd = true
		return 0
	}
	at := form.n
	form.byte(m)
	if effective = s.varint(); effective == 0 {
		form.b[at] |= arrivesFirst
	} else {
		numbers.varint(effective)
	}
	if m&hasBusiness != 0 {
		if business := s.varint(); business == 0 {
			form.b[at] |= onArrival
		} else {
			numbers.varint(business)
		}
	}
	if m&hasDate != 0 {
		s.carryVarint(form)
	}
	if m&isLate != 0 {
		late := s.varint()
		effective += late
		numbers.varint(late)
	}
	for parts := m & (otherMerchant | otherTerminal | otherChannel); parts != 0; parts &= parts - 1 {
		s.carryText(numbers)
	}
	return effective
}
