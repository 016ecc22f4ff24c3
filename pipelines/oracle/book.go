package oracle

import (
	"cmp"
	"errors"
	"math/big"
	"slices"

	"settlewatch/pipelines/calendar"
	"settlewatch/schemas/event"
)

// sale is the identity of the one capture that a single-message sale has.
const sale = "sale"

// A book is what some facts of a payment add up to under some terms, written
// anew for every question.
type book struct {
	terms      *calendar.Terms
	currency   string
	standing   []*fact
	authorized *int64
	captures   []*capture // in due order
	lines      []*line
	refunded   int64
	capped     bool // the captures together exceed what was authorized
}

// A capture is one obligation of the payment.
type capture struct {
	id       string
	amount   int64 // accepted, with adjustments; also when it was cancelled since
	ever     bool  // it was accepted at some time
	accepted bool  // by its latest definite outcome
	gone     bool  // reversed or voided
	clearing *calendar.Date
	cycle    string
	due      *calendar.Due // nil: not known

	owed, settled, netted, residual int64
	netOnly                         bool
	fee                             int64
}

// A line and what is left of it.
type line struct {
	*fact
	left int64
	to   *capture // nil where it names none, or one that was never seen
}

func (l *line) stray() bool { return l.names() != "" && l.to == nil }

func write(facts []*fact, terms *calendar.Terms) *book {
	b := &book{terms: terms, standing: standing(facts)}
	b.keepOneCurrency()
	b.authorize()
	b.capture()
	b.adjust()
	b.cancel()
	b.sortByDue()
	b.settle()
	return b
}

// standing leaves of every chain of corrections the last one, at the original's
// place; at the first correction's where the original was never seen. Nothing
// stands where the last one is a cancellation.
func standing(facts []*fact) []*fact {
	seen := map[event.ID]*fact{}
	for _, f := range facts {
		seen[f.id] = f
	}
	original := func(f *fact) event.ID {
		id := f.id
		for range facts {
			if f == nil || f.replaces.IsZero() {
				break
			}
			id = f.replaces
			f = seen[id]
		}
		return id
	}
	var order []event.ID
	chains := map[event.ID][]*fact{}
	for _, f := range facts {
		first := original(f)
		if chains[first] == nil && seen[first] == nil || f.id == first {
			order = append(order, first)
		}
		chains[first] = append(chains[first], f)
	}
	var out []*fact
	for _, first := range order {
		var last *fact
		for _, f := range chains[first] {
			if last == nil || !f.replaces.IsZero() {
				last = f
			}
		}
		if last.Operation != event.Operation_OPERATION_CANCELLATION {
			out = append(out, last)
		}
	}
	return out
}

// keepOneCurrency: that of the first authorization or capture. What is in
// another one cannot be compared and is left out.
func (b *book) keepOneCurrency() {
	for _, f := range b.standing {
		if c := f.GetAmounts().GetCurrency(); c != "" && f.is(event.Kind_KIND_AUTHORIZATION, event.Kind_KIND_CAPTURE) {
			b.currency = c
			break
		}
	}
	if b.currency == "" {
		return
	}
	b.standing = slices.DeleteFunc(b.standing, func(f *fact) bool {
		c := f.GetAmounts().GetCurrency()
		return c != "" && c != b.currency
	})
}

// authorize: the latest total or approval, plus increments, less what a partial
// reversal of the payment took.
func (b *book) authorize() {
	for _, f := range b.standing {
		if f.Kind != event.Kind_KIND_AUTHORIZATION || !f.happened() || f.approved() == 0 {
			continue
		}
		v := f.approved()
		if f.GetSpecial().GetIncremental() && b.authorized != nil {
			v += *b.authorized
		}
		if total := f.GetAmounts().AuthorizedTotalMinor; total != nil {
			v = *total
		}
		b.authorized = &v
	}
	if b.authorized == nil {
		return
	}
	for _, f := range b.standing {
		if stays, partial := f.stays(); f.isCancelling() && partial && f.names() == "" {
			*b.authorized = min(*b.authorized, stays)
		}
	}
}

func (b *book) find(id string) *capture {
	for _, c := range b.captures {
		if c.id == id {
			return c
		}
	}
	return nil
}

// capture lists what can oblige: captures by their identity, and the sale.
func (b *book) capture() {
	for _, f := range b.standing {
		id, amount := f.names(), f.amount()
		switch {
		case f.isSale():
			id, amount = sale, f.approved()
		case f.Kind != event.Kind_KIND_CAPTURE:
			continue
		}
		c := b.find(id)
		if c == nil {
			c = &capture{id: id}
			b.captures = append(b.captures, c)
		}
		if f.definite() {
			c.accepted = f.happened()
		}
		if f.happened() {
			c.ever, c.amount = true, amount
		}
		if f.clearing != nil && (f.happened() || !c.ever) {
			c.clearing, c.cycle = f.clearing, f.GetDue().GetCycle()
		}
	}
	c := b.find(sale)
	if c == nil {
		return
	}
	b.prove(c)
	if b.authorized != nil {
		c.amount = min(c.amount, *b.authorized)
	}
}

// prove: a line, also one taken back since, proves a sale of unknown outcome at
// the amount that was last asked for.
func (b *book) prove(c *capture) {
	asked := int64(0)
	for _, f := range b.standing {
		if f.isSale() {
			if f.definite() {
				return
			}
			asked = f.amount()
		}
	}
	if slices.ContainsFunc(b.standing, b.counts) {
		c.accepted, c.ever, c.amount = true, true, asked
	}
}

// counts: a line at the stage at which the terms call it the merchant's money.
func (b *book) counts(f *fact) bool {
	return f.Kind == event.Kind_KIND_SETTLEMENT && f.happened() && f.Stage == b.terms.Stage()
}

// adjust applies tips and corrections of amounts to the captures they name; one
// that names none applies where there is exactly one.
func (b *book) adjust() {
	for _, f := range b.standing {
		if f.Kind != event.Kind_KIND_ADJUSTMENT || !f.happened() ||
			f.AdjustmentTarget != event.AdjustmentTarget_ADJUSTMENT_TARGET_OBLIGATION {
			continue
		}
		c := b.find(f.names())
		if f.names() == "" && len(b.captures) == 1 {
			c = b.captures[0]
		}
		switch {
		case c == nil || !c.ever:
		case f.GetAmounts().GetDelta():
			c.amount = max(0, c.amount+f.amount())
		default:
			c.amount = f.amount()
		}
	}
}

// cancel: a reversal or void of the payment ends all its captures, whenever they
// arrive; of one capture that one, or what of it does not stay.
func (b *book) cancel() {
	for _, f := range b.standing {
		if !f.isCancelling() {
			continue
		}
		stays, partial := f.stays()
		for _, c := range b.captures {
			switch {
			case f.names() != "" && f.names() != c.id:
			case !partial:
				c.gone = true
			case f.names() != "":
				c.amount = min(c.amount, stays)
			}
		}
	}
}

// sortByDue finds the due times, puts the captures in their order, and holds what
// they oblige to what was authorized.
func (b *book) sortByDue() {
	for _, c := range b.captures {
		if c.clearing != nil {
			c.due, c.cycle = b.dueOf(*c.clearing, c.cycle)
		}
	}
	slices.SortFunc(b.captures, func(x, y *capture) int {
		at := func(c *capture) int64 {
			if c.due == nil {
				return forever
			}
			return c.due.EvidenceDueMs
		}
		return cmp.Or(cmp.Compare(at(x), at(y)), cmp.Compare(x.id, y.id))
	})
	var owed []int64
	for _, c := range b.captures {
		if c.accepted && !c.gone {
			c.owed = c.amount
		}
		owed = append(owed, c.owed)
	}
	owed, b.capped = b.limit(owed)
	for i, c := range b.captures {
		c.owed = owed[i]
	}
}

// dueOf is nil beyond the calendar's years. A cycle of the event's own that the
// terms cannot judge is theirs.
func (b *book) dueOf(clearing calendar.Date, cycle string) (*calendar.Due, string) {
	due, err := b.terms.Due(clearing, cycle)
	if err != nil && !errors.Is(err, calendar.ErrUnknownYear) {
		cycle = ""
		due, err = b.terms.Due(clearing, cycle)
	}
	if err != nil {
		return nil, cycle
	}
	return &due, cycle
}

// limit: what is owed together beyond authorized × allowance is owed up to the
// authorized amount and no further, in due order.
func (b *book) limit(owed []int64) (limited []int64, capped bool) {
	if b.authorized == nil {
		return owed, false
	}
	sum := new(big.Int)
	for _, o := range owed {
		sum.Add(sum, big.NewInt(o))
	}
	if sum.Cmp(part(*b.authorized, b.terms.AllowanceBps())) <= 0 {
		return owed, false
	}
	left := *b.authorized
	for _, o := range owed {
		o = min(o, left)
		left -= o
		limited = append(limited, o)
	}
	return limited, true
}

// part is amount × parts of ten thousand, rounded half away from zero.
func part(amount, bps int64) *big.Int {
	v := new(big.Int).Mul(big.NewInt(amount), big.NewInt(bps))
	half := big.NewInt(5000)
	if v.Sign() < 0 {
		half.Neg(half)
	}
	return v.Quo(v.Add(v, half), big.NewInt(10_000))
}

// settle gives what was received to what is owed, for paid-unsettled.
func (b *book) settle() {
	b.receive()
	var pool, poolFee, refunds int64
	poolNet := false
	for _, l := range b.lines {
		switch {
		case l.left == 0:
		case l.to == nil || b.capped:
			pool, poolFee, poolNet = pool+l.left, poolFee+l.fee(), poolNet || l.netOnly()
		default:
			l.to.settled += l.left
			l.to.fee += l.fee()
			l.to.netOnly = l.to.netOnly || l.netOnly()
		}
	}
	for _, f := range b.refunds() {
		b.refunded += f.amount()
		rest := f.amount()
		if c := b.find(f.names()); c != nil && b.netted() {
			named := min(rest, c.owed-c.netted)
			c.netted += named
			rest -= named
		}
		refunds += rest
	}
	// What one capture has too much fills the others.
	for _, c := range b.captures {
		if over := c.settled + c.netted - c.owed; over > 0 {
			c.settled -= over
			pool, poolNet = pool+over, poolNet || c.netOnly
		}
	}
	for _, c := range b.captures {
		if filled := min(c.owed-c.netted-c.settled, pool); filled > 0 {
			c.settled += filled
			pool -= filled
			c.netOnly = c.netOnly || poolNet
			c.fee, poolFee = c.fee+poolFee, 0
		}
	}
	for _, c := range b.captures {
		if b.netted() {
			filled := min(c.owed-c.netted-c.settled, refunds)
			c.netted += filled
			refunds -= filled
		}
		c.residual = c.owed - c.netted - c.settled
		if b.explained(c) {
			c.residual = 0
		}
	}
}

func (b *book) netted() bool { return b.terms.Refunds() == event.RefundMode_REFUND_MODE_NETTED }

func (b *book) refunds() (out []*fact) {
	for _, f := range b.standing {
		if f.Kind == event.Kind_KIND_REFUND && f.happened() {
			out = append(out, f)
		}
	}
	return out
}

// explained: of money that came net, a rest that a fee can be is no loss.
func (b *book) explained(c *capture) bool {
	if !c.netOnly || c.residual <= 0 {
		return false
	}
	rest := big.NewInt(c.residual)
	return c.residual <= c.fee || rest.Cmp(part(c.owed, b.terms.FeeBps())) <= 0 || rest.Cmp(part(c.owed, b.terms.MaxFeeBps())) <= 0
}

// receive lists the lines that count, and takes back what was reversed or
// returned: of the line that is named, and of the last ones where none is.
func (b *book) receive() {
	for _, f := range b.standing {
		if b.counts(f) {
			b.lines = append(b.lines, &line{fact: f, left: f.amount(), to: b.find(f.names())})
		}
	}
	for _, f := range b.takeBacks(true) {
		id, rest := identity(f.GetLine().GetTakesBack()), f.amount()
		for _, l := range slices.Backward(b.lines) {
			if l.id == id || l.replaces == id {
				rest -= l.take(rest)
			}
		}
	}
	for _, f := range b.takeBacks(false) {
		rest := f.amount()
		for _, l := range slices.Backward(b.lines) {
			rest -= l.take(rest)
		}
	}
}

func (l *line) take(minor int64) int64 {
	taken := max(0, min(l.left, minor))
	l.left -= taken
	return taken
}

func (b *book) takeBacks(named bool) (out []*fact) {
	for _, f := range b.standing {
		if f.isTakeBack() && f.happened() && !identity(f.GetLine().GetTakesBack()).IsZero() == named {
			out = append(out, f)
		}
	}
	return out
}

// An excess is what settled-twice sees.
type excess struct{ minor, obligation, settled int64 }

// twice adds up what distinct lines brought beyond what was ever obliged, where
// at least two of them belong to one capture, less credit adjustments.
func (b *book) twice() excess {
	var owed []int64
	var last *capture
	for _, c := range b.captures {
		if c.ever {
			owed, last = append(owed, c.amount), c
		} else {
			owed = append(owed, 0)
		}
	}
	owed, capped := b.limit(owed)
	var x excess
	var pool, poolLines int64
	got, lines := map[*capture]int64{}, map[*capture]int64{}
	for _, l := range b.lines {
		switch {
		case l.left == 0 || last == nil || l.stray() && !capped:
		case capped || l.to == nil:
			pool, poolLines = pool+l.left, poolLines+1
		case l.to.ever:
			got[l.to] += l.left
			lines[l.to]++
		}
	}
	for i, c := range b.captures {
		filled := max(0, min(owed[i]-got[c], pool))
		got[c] += filled
		pool -= filled
	}
	got[last] += pool
	for i, c := range b.captures {
		x.obligation += owed[i]
		x.settled += got[c]
		if over := got[c] - owed[i]; over > b.terms.ToleranceMinor() && lines[c]+poolLines >= 2 {
			x.minor += over
		}
	}
	for _, f := range b.standing {
		if f.isCredit() && f.happened() {
			x.minor -= f.amount()
		}
	}
	return x
}
