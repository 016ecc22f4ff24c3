package join

// The smaller parts of an event, as wire.go reads them. A field whose number or
// kind is not the one of its part is unusual.

// within tells whether a field is of a part with n fields.
func (f *field) within(n uint64) bool { return f.number >= 1 && f.number <= n }

func (x *pendingFact) readCapture(b []byte) bool {
	r := fields{b: b}
	var f field
	for r.next(&f) {
		if !f.within(3) || f.bytes != (f.number == 1) {
			return false
		}
		if f.number == 1 {
			x.capture = view(f.b)
		}
	}
	return !r.unusual
}

func (x *pendingFact) readLine(b []byte) bool {
	const texts = 1<<1 | 1<<2 | 1<<3 | 1<<5 | 1<<10
	r := fields{b: b}
	var f field
	for r.next(&f) {
		if !f.within(10) || f.bytes != (texts>>f.number&1 == 1) {
			return false
		}
		if f.number == 10 {
			x.takesBack = idOf(f.b)
		}
	}
	return !r.unusual
}

func (x *pendingFact) readTime(b []byte) bool {
	r := fields{b: b}
	var f field
	for r.next(&f) {
		if !f.within(8) || f.bytes != (f.number == 2 || f.number == 3) {
			return false
		}
		switch f.number {
		case 1:
			x.business, x.hasBusiness = int64(f.v), true
		case 7:
			x.settlement, x.hasDate = int32(f.v), true
		}
	}
	return !r.unusual
}

func (x *pendingFact) readDue(b []byte) bool {
	const texts = 1<<1 | 1<<2 | 1<<3 | 1<<5
	r := fields{b: b}
	var f field
	for r.next(&f) {
		if !f.within(7) || f.bytes != (texts>>f.number&1 == 1) {
			return false
		}
		switch f.number {
		case 1:
			x.cycle = view(f.b)
		case 6:
			x.holdUntil = int64(f.v)
		}
	}
	return !r.unusual
}

func (x *pendingFact) readParties(b []byte) bool {
	r := fields{b: b}
	var f field
	for r.next(&f) {
		if !f.within(16) || !f.bytes {
			return false
		}
		switch f.number {
		case 5:
			x.channel = view(f.b)
		case 7:
			x.merchant = view(f.b)
		case 11:
			x.terminal = view(f.b)
		}
	}
	return !r.unusual
}

func (x *pendingFact) readSpecial(b []byte) bool {
	const texts = 1<<3 | 1<<4 | 1<<5 | 1<<6 | 1<<7 | 1<<9
	r := fields{b: b}
	var f field
	for r.next(&f) {
		if !f.within(11) || f.bytes != (texts>>f.number&1 == 1) {
			return false
		}
		if f.number == 11 {
			x.incremental = f.v != 0
		}
	}
	return !r.unusual
}
