package join

import "settlewatch/schemas/wire"

// The smaller parts of an event, as wire.go reads them. A field whose number or
// kind is not the one of its part is unusual.

// within tells whether a field is of a part with n fields.
func within(f *wire.Fields, n uint64) bool { return f.Number >= 1 && f.Number <= n }

func (x *pendingFact) readCapture(b []byte) bool {
	f := wire.Of(b)
	for f.Next() {
		if !within(&f, 3) || f.Bytes != (f.Number == 1) {
			return false
		}
		if f.Number == 1 {
			x.capture = view(f.Part)
		}
	}
	return !f.Unusual
}

func (x *pendingFact) readLine(b []byte) bool {
	const texts = 1<<1 | 1<<2 | 1<<3 | 1<<5 | 1<<10
	f := wire.Of(b)
	for f.Next() {
		if !within(&f, 10) || f.Bytes != (texts>>f.Number&1 == 1) {
			return false
		}
		if f.Number == 10 {
			x.takesBack = idOf(f.Part)
		}
	}
	return !f.Unusual
}

func (x *pendingFact) readTime(b []byte) bool {
	f := wire.Of(b)
	for f.Next() {
		if !within(&f, 8) || f.Bytes != (f.Number == 2 || f.Number == 3) {
			return false
		}
		switch f.Number {
		case 1:
			x.business, x.hasBusiness = int64(f.V), true
		case 7:
			x.settlement, x.hasDate = int32(f.V), true
		}
	}
	return !f.Unusual
}

func (x *pendingFact) readDue(b []byte) bool {
	const texts = 1<<1 | 1<<2 | 1<<3 | 1<<5
	f := wire.Of(b)
	for f.Next() {
		if !within(&f, 7) || f.Bytes != (texts>>f.Number&1 == 1) {
			return false
		}
		switch f.Number {
		case 1:
			x.cycle = view(f.Part)
		case 6:
			x.holdUntil = int64(f.V)
		}
	}
	return !f.Unusual
}

func (x *pendingFact) readParties(b []byte) bool {
	f := wire.Of(b)
	for f.Next() {
		if !within(&f, 16) || !f.Bytes {
			return false
		}
		switch f.Number {
		case 5:
			x.channel = view(f.Part)
		case 7:
			x.merchant = view(f.Part)
		case 11:
			x.terminal = view(f.Part)
		}
	}
	return !f.Unusual
}

func (x *pendingFact) readSpecial(b []byte) bool {
	const texts = 1<<3 | 1<<4 | 1<<5 | 1<<6 | 1<<7 | 1<<9
	f := wire.Of(b)
	for f.Next() {
		if !within(&f, 11) || f.Bytes != (texts>>f.Number&1 == 1) {
			return false
		}
		if f.Number == 11 {
			x.incremental = f.V != 0
		}
	}
	return !f.Unusual
}
