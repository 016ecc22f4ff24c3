package join

import (
	"cmp"
	"errors"
	"slices"

	"settlewatch/pipelines/calendar"
	"settlewatch/schemas/event"
	"settlewatch/schemas/money"
)

// saleCapture is the identity of the one capture that a single-message sale has.
const saleCapture = "sale"

// A ledger is what the facts of one payment add up to under some terms. Its
// slices are used again for the next payment.
type ledger struct {
	terms *calendar.Terms

	currency string
	standing []*fact // without what a correction or cancellation replaced

	authorized    int64
	hasAuthorized bool
	captures      []capture // in the order of their due times
	lines         []line    // at the stage that counts, in order
	// The captures together exceed what was authorized: lines count as naming none.
	capped bool

	refunded int64 // effective refunds, whatever the terms make of them

	owed  []int64 // scratch of limit, by capture
	sides []side  // scratch of excess, by capture

	mismatches uint32
	unmatched  uint32 // facts that name what was never seen, or nothing where they must
}

// A capture is one obligation and what was received for it.
type capture struct {
	id string
	// adjusted is the accepted amount with tips and adjustments, ever: also when
	// it was reversed or rejected afterwards. owed is what of it is owed now.
	adjusted     int64
	owed         int64
	everAccepted bool
	accepted     bool // its latest definite outcome
	cancelled    bool
	clearing     calendar.Date
	hasClearing  bool
	cycle        string
	due          calendar.Due
	hasDue       bool // false: the calendar does not know the year

	// What paidUnsettled allots to it.
	settled   int64
	netted    int64 // refunds
	explained int64 // by a fee, or a mismatch that is not the merchant's loss
	residual  int64
	netOnly   bool
	fee       int64 // stated by its lines
}

// A line is one credit at the stage that counts; amount is what is left of it
// after reversals and returns.
type line struct {
	fact    *fact
	amount  int64
	capture int // index into captures; unnamed or unseen
}

const (
	unnamed = -1
	unseen  = -2
)

// read adds the facts up.
func (l *ledger) read(facts []fact, terms *calendar.Terms) {
	*l = ledger{
		terms: terms, standing: l.standing[:0], captures: l.captures[:0], lines: l.lines[:0],
		owed: l.owed[:0], sides: l.sides[:0],
	}
	l.stand(facts)
	l.findCurrency()
	l.authorize()
	l.findCaptures()
	l.adjust()
	l.cancel()
	l.schedule()
	l.findLines()
	l.takeBack()
}

// stand keeps of every correction chain the last: a correction takes the place
// of its original wherever it stands in the order, a cancellation leaves it empty.
func (l *ledger) stand(facts []fact) {
	corrected := false
	for i := range facts {
		f := &facts[i]
		l.standing = append(l.standing, f)
		// A cancellation that names nothing cancels nothing, and is no report either.
		corrected = corrected || !f.replaces.IsZero() || f.operation == event.Operation_OPERATION_CANCELLATION
	}
	if !corrected {
		return
	}
	all := slices.Clone(l.standing)
	l.standing = l.standing[:0]
	byID := make(map[event.ID]*fact, len(all))
	for _, f := range all {
		byID[f.id] = f
	}
	// root follows a correction of a correction to the first report.
	root := func(f *fact) event.ID {
		id := f.id
		for steps := 0; !f.replaces.IsZero() && steps < len(all); steps++ {
			id = f.replaces
			original, seen := byID[id]
			if !seen {
				break
			}
			f = original
		}
		return id
	}
	last := make(map[event.ID]*fact, len(all))
	for _, f := range all {
		r := root(f)
		if held := last[r]; held == nil || !f.replaces.IsZero() || held.replaces.IsZero() {
			last[r] = f
		}
	}
	placed := make(map[event.ID]bool, len(all))
	for _, f := range all {
		r := root(f)
		// The place is the original's where it was seen, else the first correction's.
		if placed[r] || (byID[r] != nil && f.id != r) {
			continue
		}
		placed[r] = true
		if s := last[r]; s.operation != event.Operation_OPERATION_CANCELLATION {
			l.standing = append(l.standing, s)
		}
	}
}

// effective tells whether a standing fact has happened: a settlement feed
// reports what was done, everything else must have been accepted.
func (f *fact) effective() bool {
	switch {
	case f.kind == event.Kind_KIND_SETTLEMENT, f.kind == event.Kind_KIND_PAYOUT_RETURN,
		f.kind == event.Kind_KIND_LINE_REVERSAL, f.kind == event.Kind_KIND_HOLD, f.kind == event.Kind_KIND_RELEASE,
		f.isCredit():
		return f.outcome == event.Outcome_OUTCOME_UNKNOWN || f.outcome == event.Outcome_OUTCOME_ACCEPTED
	default:
		return f.outcome == event.Outcome_OUTCOME_ACCEPTED
	}
}

// isCredit: an adjustment that takes back what was settled too much.
func (f *fact) isCredit() bool {
	return f.kind == event.Kind_KIND_ADJUSTMENT && f.target == event.AdjustmentTarget_ADJUSTMENT_TARGET_CREDIT
}

func (f *fact) definite() bool {
	return f.outcome == event.Outcome_OUTCOME_ACCEPTED || f.outcome == event.Outcome_OUTCOME_REJECTED ||
		f.outcome == event.Outcome_OUTCOME_FAILED
}

// isSale: an authorization that is the obligation itself.
func (f *fact) isSale() bool {
	return f.kind == event.Kind_KIND_AUTHORIZATION && f.mode == event.Mode_MODE_SINGLE
}

func (f *fact) approvedAmount() int64 {
	if f.approved != absent {
		return f.approved
	}
	return f.amount
}

// findCurrency: the payment's currency is its first obligation's; amounts in
// another one cannot be compared and count as mismatches.
func (l *ledger) findCurrency() {
	for _, f := range l.standing {
		if f.currency != "" && (f.kind == event.Kind_KIND_CAPTURE || f.kind == event.Kind_KIND_AUTHORIZATION) {
			l.currency = f.currency
			break
		}
	}
	if l.currency == "" {
		return
	}
	kept := l.standing[:0]
	for _, f := range l.standing {
		if f.currency != "" && f.currency != l.currency {
			l.mismatches++
			continue
		}
		kept = append(kept, f)
	}
	l.standing = kept
}

// authorize finds the authorized amount: the latest total that was stated, else
// the latest approval, plus increments; lowered by a partial reversal.
func (l *ledger) authorize() {
	for _, f := range l.standing {
		if f.kind != event.Kind_KIND_AUTHORIZATION || !f.effective() || f.approvedAmount() == 0 {
			continue // a verification of amount zero authorizes nothing
		}
		switch {
		case f.total != absent:
			l.authorized = f.total
		case f.incremental:
			l.authorized += f.approvedAmount()
		default:
			l.authorized = f.approvedAmount()
		}
		l.hasAuthorized = true
	}
	for _, f := range l.standing {
		if l.hasAuthorized && f.isCancelling() && f.stays != absent && f.capture == "" {
			l.authorized = min(l.authorized, f.stays)
		}
	}
}

// isCancelling: a reversal or void that is proven; only an accepted one is.
func (f *fact) isCancelling() bool {
	return (f.kind == event.Kind_KIND_REVERSAL || f.kind == event.Kind_KIND_VOID) && f.effective()
}

func (l *ledger) captureIndex(id string) int {
	for i := range l.captures {
		if l.captures[i].id == id {
			return i
		}
	}
	return unseen
}

// findCaptures lists captures with their latest definite outcome and latest
// accepted amount.
func (l *ledger) findCaptures() {
	for _, f := range l.standing {
		var id string
		var amount int64
		switch {
		case f.isSale():
			id, amount = saleCapture, f.approvedAmount()
		case f.kind == event.Kind_KIND_CAPTURE:
			id, amount = f.capture, f.amount
		default:
			continue
		}
		i := l.captureIndex(id)
		if i < 0 {
			l.captures = append(l.captures, capture{id: id})
			i = len(l.captures) - 1
		}
		c := &l.captures[i]
		if f.definite() {
			c.accepted = f.effective()
		}
		if f.effective() {
			c.everAccepted = true
			c.adjusted = amount
		}
		// An attempt of unknown outcome does not move the date of an accepted one.
		if f.hasClearing && (f.effective() || !c.everAccepted) {
			c.clearing, c.hasClearing, c.cycle = calendar.Date(f.clearing), true, f.cycle
		}
	}
	l.proveSale()
	// A partial reversal lowers a sale itself, not only the limit.
	if i := l.captureIndex(saleCapture); i >= 0 && l.hasAuthorized {
		l.captures[i].adjusted = min(l.captures[i].adjusted, l.authorized)
	}
}

// proveSale: a line, even one taken back, proves a single-message sale of
// unknown outcome at the requested amount. A dual-message payment needs a capture.
func (l *ledger) proveSale() {
	i := l.captureIndex(saleCapture)
	if i < 0 || l.captures[i].everAccepted {
		return
	}
	var requested *fact
	for _, f := range l.standing {
		if f.isSale() {
			if f.definite() {
				return // declined: a line makes no obligation of it
			}
			requested = f
		}
	}
	for _, f := range l.standing {
		if l.counts(f) {
			c := &l.captures[i]
			c.accepted, c.everAccepted, c.adjusted = true, true, requested.amount
			return
		}
	}
}

// counts: a line at the stage that the terms name.
func (l *ledger) counts(f *fact) bool {
	return f.kind == event.Kind_KIND_SETTLEMENT && f.effective() && f.stage == l.terms.Stage()
}

// adjust applies tips and amount adjustments, in order. One that names no
// capture applies only where there is exactly one.
func (l *ledger) adjust() {
	for _, f := range l.standing {
		if f.kind != event.Kind_KIND_ADJUSTMENT || f.target != event.AdjustmentTarget_ADJUSTMENT_TARGET_OBLIGATION || !f.effective() {
			continue
		}
		i := unseen
		if f.capture != "" {
			i = l.captureIndex(f.capture)
		} else if len(l.captures) == 1 {
			i = 0
		}
		if i < 0 || !l.captures[i].everAccepted {
			l.unmatched++
			continue
		}
		c := &l.captures[i]
		if f.delta {
			c.adjusted = max(0, c.adjusted+f.amount)
		} else {
			c.adjusted = f.amount
		}
	}
}

// cancel applies reversals and voids: without a capture they cancel all of the
// payment's, also those that arrive later.
func (l *ledger) cancel() {
	for _, f := range l.standing {
		if !f.isCancelling() {
			continue
		}
		if f.capture != "" && l.captureIndex(f.capture) < 0 {
			l.unmatched++
			continue
		}
		for i := range l.captures {
			c := &l.captures[i]
			if f.capture != "" && f.capture != c.id {
				continue
			}
			switch {
			case f.stays == absent:
				c.cancelled = true
			case f.capture != "":
				c.adjusted = min(c.adjusted, f.stays)
			}
		}
	}
	for i := range l.captures {
		if c := &l.captures[i]; c.accepted && !c.cancelled {
			c.owed = c.adjusted
		}
	}
}

// schedule finds due times, puts the captures in their order and holds what they
// oblige to the authorized amount.
func (l *ledger) schedule() {
	for i := range l.captures {
		c := &l.captures[i]
		if !c.hasClearing {
			continue
		}
		due, err := l.terms.Due(c.clearing, c.cycle)
		var unknownYear *calendar.UnknownYearError
		if err == nil {
			c.due, c.hasDue = due, true
		} else if !errors.As(err, &unknownYear) {
			// A cycle that the event brought and nobody can read: the terms' own.
			c.cycle = ""
			if due, err = l.terms.Due(c.clearing, ""); err == nil {
				c.due, c.hasDue = due, true
			}
			l.mismatches++
		}
	}
	slices.SortFunc(l.captures, func(a, b capture) int {
		switch {
		case a.hasDue != b.hasDue:
			if a.hasDue {
				return -1
			}
			return 1
		case a.hasDue && a.due.EvidenceDueMs != b.due.EvidenceDueMs:
			return cmp.Compare(a.due.EvidenceDueMs, b.due.EvidenceDueMs)
		default:
			return cmp.Compare(a.id, b.id)
		}
	})
	l.owed = l.owed[:0]
	for i := range l.captures {
		l.owed = append(l.owed, l.captures[i].owed)
	}
	l.capped = l.limit(l.owed)
	for i := range l.captures {
		l.captures[i].owed = l.owed[i]
	}
}

// limit holds what the captures oblige to what was authorized: if together they
// exceed authorized × allowance, the payment obliges the authorized amount and no
// more, in due order. Without an authorization there is no limit.
func (l *ledger) limit(owed []int64) (capped bool) {
	if !l.hasAuthorized {
		return false
	}
	var sum int64
	for _, o := range owed {
		sum += o
	}
	if sum <= share(l.authorized, l.terms.AllowanceBps()) {
		return false
	}
	left := l.authorized
	for i := range owed {
		owed[i] = min(owed[i], left)
		left -= owed[i]
	}
	return true
}

func (l *ledger) findLines() {
	for _, f := range l.standing {
		switch {
		case l.counts(f):
			to := unnamed
			if f.capture != "" {
				if to = l.captureIndex(f.capture); to == unseen {
					l.unmatched++
				}
			}
			l.lines = append(l.lines, line{fact: f, amount: f.amount, capture: to})
		case f.kind == event.Kind_KIND_REFUND && f.effective():
			l.refunded += f.amount
		}
	}
}

// takeBack applies line reversals and returned payouts: the named line first,
// then, where none is named, the last ones. No line falls below zero.
func (l *ledger) takeBack() {
	for _, named := range [...]bool{true, false} {
		for _, f := range l.standing {
			if (f.kind != event.Kind_KIND_PAYOUT_RETURN && f.kind != event.Kind_KIND_LINE_REVERSAL) || !f.effective() ||
				f.takesBack.IsZero() == named {
				continue
			}
			left, found := f.amount, false
			for i := len(l.lines) - 1; i >= 0 && left > 0; i-- {
				x := &l.lines[i]
				if named && !x.isOf(f.takesBack) {
					continue
				}
				found = true
				taken := min(x.amount, left)
				x.amount -= taken
				left -= taken
			}
			if !found && f.amount > 0 {
				l.unmatched++
			}
		}
	}
}

// isOf: a corrected line is still known by its original's id.
func (x *line) isOf(id event.ID) bool { return x.fact.id == id || x.fact.replaces == id }

// share is amount × bps / 10,000, rounded half away from zero.
func share(amount, bps int64) int64 {
	v, err := money.MulBps(amount, bps)
	if err != nil {
		return amount // a share of a payable amount cannot overflow; never less than the whole
	}
	return v
}
