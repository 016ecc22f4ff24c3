package join

import "settlewatch/schemas/event"

// allot gives what was received to what is owed, for paid-unsettled. A line
// fills the capture it names; what one capture received too much, and what names
// none or one never seen, fills the captures in the order of their due times;
// then refunds do, where they are netted. A payment that has received what it
// owes has no residual anywhere.
func (l *ledger) allot() {
	var pool, poolFee int64
	poolNet := false
	for i := range l.lines {
		x := &l.lines[i]
		if x.amount == 0 {
			continue
		}
		if x.capture < 0 || l.capped {
			pool += x.amount
			poolFee += x.fact.fee
			poolNet = poolNet || x.fact.netOnly
			continue
		}
		c := &l.captures[x.capture]
		c.settled += x.amount
		c.fee += x.fact.fee
		c.netOnly = c.netOnly || x.fact.netOnly
	}
	refundPool := l.nameRefunds()
	for i := range l.captures {
		c := &l.captures[i]
		if over := c.settled - (c.owed - c.netted); over > 0 {
			c.settled -= over
			pool += over
			poolNet = poolNet || c.netOnly
		}
	}
	for i := range l.captures {
		c := &l.captures[i]
		if need := c.owed - c.netted - c.settled; need > 0 && pool > 0 {
			got := min(need, pool)
			c.settled += got
			pool -= got
			c.netOnly = c.netOnly || poolNet
			c.fee += poolFee
			poolFee = 0
		}
	}
	for i := range l.captures {
		c := &l.captures[i]
		got := min(c.owed-c.netted-c.settled, refundPool)
		c.netted += got
		refundPool -= got
		c.residual = c.owed - c.netted - c.settled
		l.explain(c)
	}
}

// nameRefunds nets the refunds that name a capture and returns what is left for
// all; nothing where the terms settle gross.
func (l *ledger) nameRefunds() (pool int64) {
	if l.terms.Refunds() != event.RefundMode_REFUND_MODE_NETTED {
		return 0
	}
	for _, f := range l.standing {
		if f.kind != event.Kind_KIND_REFUND || !f.effective() {
			continue
		}
		left := f.amount
		if f.capture != "" {
			if i := l.captureIndex(f.capture); i >= 0 {
				c := &l.captures[i]
				got := min(left, c.owed-c.netted)
				c.netted += got
				left -= got
			} else {
				l.unmatched++
			}
		}
		pool += left
	}
	return pool
}

// explain: where only the net amount is known, a rest up to the stated or
// configured fee is the fee; a larger one up to the greatest fee share is a
// mismatch, not the merchant's missing money.
func (l *ledger) explain(c *capture) {
	if !c.netOnly || c.residual <= 0 {
		return
	}
	switch {
	case c.residual <= max(c.fee, share(c.owed, l.terms.FeeBps())):
	case c.residual <= share(c.owed, l.terms.MaxFeeBps()):
		l.mismatches++
	default:
		return
	}
	c.explained, c.residual = c.residual, 0
}

// excess is the amount of settled twice: over the captures, what distinct
// effective lines brought beyond the obligation, where at least two of them
// belong to the same capture; less credit adjustments. Full reversals, voids and
// rejections after acceptance do not matter here: settled after a reversal is
// another kind. While no obligation is known it is zero.
func (l *ledger) excess() int64 {
	last := -1
	l.owed, l.sides = l.owed[:0], l.sides[:0]
	for i := range l.captures {
		var owed int64
		if c := &l.captures[i]; c.everAccepted {
			owed, last = c.adjusted, i
		}
		l.owed = append(l.owed, owed)
		l.sides = append(l.sides, side{})
	}
	capped := l.limit(l.owed) // first: an alert that ends shows what is obliged, lines or not
	if last < 0 || len(l.lines) == 0 {
		return 0
	}
	l.fillSides(last, capped)
	var total int64
	for i := range l.sides {
		s := &l.sides[i]
		over := s.got - l.owed[i]
		switch {
		case over <= l.terms.ToleranceMinor():
		case s.lines < 2:
			l.mismatches++ // one single line above the obligation
		default:
			total += over
		}
	}
	return max(0, total-l.credited())
}

// A side is what settled-twice sees of one capture.
type side struct{ got, lines int64 }

// fillSides gives lines to the captures they name. A line that names none counts
// for every one and fills them in due order, the rest going to the last; one that
// names a capture never seen, or never accepted, does not count at all.
func (l *ledger) fillSides(last int, capped bool) {
	var pool, poolLines int64
	for i := range l.lines {
		x := &l.lines[i]
		switch {
		case x.amount == 0 || (x.capture == unseen && !capped):
		case x.capture == unnamed || capped:
			pool += x.amount
			poolLines++
		case l.captures[x.capture].everAccepted:
			l.sides[x.capture].got += x.amount
			l.sides[x.capture].lines++
		}
	}
	for i := range l.sides {
		s := &l.sides[i]
		s.lines += poolLines
		if need := l.owed[i] - s.got; need > 0 {
			filled := min(need, pool)
			s.got += filled
			pool -= filled
		}
	}
	l.sides[last].got += pool
}

// credited sums the credit adjustments: they lower the excess, and never open
// anything.
func (l *ledger) credited() int64 {
	var sum int64
	for _, f := range l.standing {
		if f.isCredit() && f.effective() {
			sum += f.amount
		}
	}
	return sum
}
