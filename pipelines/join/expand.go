package join

import "math/bits"

// An expander gives the packed payments of a stored bucket, see condenser.
type expander struct {
	value scanner
	room  []byte    // for it
	forms []scanner // at their beginnings
	near  neighbour

	head, rest pen // of the payment at hand
}

// bucket calls visit with each payment of a stored bucket, and gives the commit it is of. A
// payment lasts until the next one.
func (x *expander) bucket(value []byte, visit func(packed []byte) error) (sequence uint64, err error) {
	s := &x.value
	*s, x.room = scan(x.room, value)
	x.forms, x.near = x.forms[:0], neighbour{}
	sequence = s.uvarint()
	for s.left() {
		packed := x.payment()
		if s.at > s.n || s.odd {
			break
		}
		if err := visit(packed); err != nil {
			return sequence, err
		}
	}
	if !s.done() {
		return sequence, errCorrupt
	}
	return sequence, nil
}

func (x *expander) payment() []byte {
	s := &x.value
	switch n := s.uvarint(); n {
	case asPacked:
		x.near = neighbour{}
		return s.text()
	case newForm:
		length := s.uvarint()
		form := scanner{b: s.b, at: s.at}
		form.n = form.at + len(s.take(length))
		if len(x.forms) < maxForms {
			x.forms = append(x.forms, form)
		}
		return x.join(form)
	default:
		if n -= firstForm; n >= uint64(len(x.forms)) {
			s.end()
			return nil
		}
		return x.join(x.forms[n])
	}
}

// join makes a packed payment of its form and the numbers that come next.
func (x *expander) join(f scanner) []byte {
	s, head, rest, near := &x.value, &x.head, &x.rest, &x.near
	head.begin()
	rest.begin()
	flags := f.byte()
	head.byte(flags)
	epoch := f.uvarint()
	x.joinKey(&f)
	head.uvarint(epoch)
	unit := f.byte()
	near.arrival += s.varint()
	arrival := near.arrival
	rest.varint(arrival)
	s.carryVarint(rest)
	f.carryCurrency(rest)
	x.joinName(&f)
	x.joinName(&f)
	f.carryText(rest)
	last := arrival
	if flags&flagBody != 0 {
		last += x.joinBody(&f)
	}
	for f.left() && !s.odd {
		x.joinFact(&f)
		if flags&flagBody == 0 {
			last = arrival + x.joinPending(&f)
		}
	}
	next := s.varint()
	switch unit {
	case nextInMinutes:
		near.minutes += next
		head.varint(near.minutes<<2 | inMinutes)
	case nextAfterLast:
		near.after += next
		head.varint((last + near.after) << 2)
	default:
		head.varint(inFull)
		head.varint(next)
	}
	if !f.done() {
		s.end()
	}
	head.bytes(rest.written())
	return head.written()
}

func (x *expander) joinKey(f *scanner) {
	s, head, beginning := &x.value, &x.head, f.text()
	digits := int(f.byte())
	if digits == 0 {
		rest := s.text()
		head.uvarint(uint64(len(beginning) + len(rest)))
		head.bytes(beginning)
		head.bytes(rest)
		return
	}
	x.near.key += s.varint()
	head.uvarint(uint64(len(beginning) + digits))
	head.bytes(beginning)
	s.writeDigits(head, x.near.key, digits)
}

// writeDigits writes n in so many digits. More than it can have are not there.
func (s *scanner) writeDigits(to *pen, n int64, digits int) {
	if n < 0 || digits > maxDigits {
		s.end()
		return
	}
	to.n += digits
	for i := 1; i <= digits; i++ {
		to.b[to.n-i] = '0' + byte(n%10)
		n /= 10
	}
	if n != 0 {
		s.end()
	}
}

func (x *expander) joinName(f *scanner) {
	s, rest, shape := &x.value, &x.rest, f.byte()
	switch shape {
	case 0:
		rest.byte(0)
	case nameIsText:
		s.carryText(rest)
	default:
		letters, digits := f.take(uint64(shape>>nameBits)), int(shape&(1<<nameBits-1))
		rest.uvarint(uint64(len(letters) + digits))
		rest.bytes(letters)
		s.writeDigits(rest, int64(s.uvarint()), digits)
	}
}

func (x *expander) joinBody(f *scanner) (last int64) {
	s, rest := &x.value, &x.rest
	m := f.byte()
	if f.byte() == judgedAtLast {
		last = s.varint()
		rest.varint(last << 2)
	} else {
		judged := s.varint()
		if rest.varint(judged); judged == inFull {
			s.carryVarint(rest)
		}
		last = s.varint()
	}
	rest.byte(m)
	rest.varint(last)
	f.carryVarint(rest) // version
	s.carryBodyParts(m, rest)
	return last
}

func (x *expander) joinFact(f *scanner) {
	s, rest := &x.value, &x.rest
	rest.need(0)
	m := f.carryVarint(rest)
	s.carryID(rest)
	f.carryShape(rest)
	source := s.carryVarint(rest)
	offset := x.near.offset(source) + s.varint()
	x.near.setOffset(source, offset)
	rest.varint(offset)
	if m&otherAmount != 0 {
		s.carryVarint(rest)
	}
	if m&(approvedIsAmount|hasApproved) == hasApproved {
		s.carryVarint(rest)
	}
	if m&hasClearing != 0 {
		f.carryVarint(rest)
	}
	if m&(captureIsID|hasCapture) == hasCapture {
		s.carryText(rest)
	}
	for range bits.OnesCount64(m & rareNumbers) {
		s.carryVarint(rest)
	}
}

func (x *expander) joinPending(f *scanner) (effective int64) {
	s, rest := &x.value, &x.rest
	m := f.byte()
	rest.byte(m &^ (arrivesFirst | onArrival))
	if m&arrivesFirst == 0 {
		effective = s.varint()
	}
	rest.varint(effective)
	if m&hasBusiness != 0 {
		business := int64(0)
		if m&onArrival == 0 {
			business = s.varint()
		}
		rest.varint(business)
	}
	if m&hasDate != 0 {
		f.carryVarint(rest)
	}
	if m&isLate != 0 {
		late := s.varint()
		effective += late
		rest.varint(late)
	}
	for parts := m & (otherMerchant | otherTerminal | otherChannel); parts != 0; parts &= parts - 1 {
		s.carryText(rest)
	}
	return effective
}
