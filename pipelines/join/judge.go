package join

import (
	"math"
	"slices"

	"settlewatch/pipelines/calendar"
	"settlewatch/schemas/alert"
	"settlewatch/schemas/event"
)

// factLimit bounds one payment's history; what goes beyond it is counted, shown
// in the payment's row, and changes nothing.
const factLimit = 1000

// noMoment is later than every moment.
const noMoment int64 = math.MaxInt64

// A judge holds what one judgement needs; it is used again for the next.
type judge struct {
	history history
	ledger  ledger
	over    int64  // the ledger's excess
	prefix  ledger // what the facts added up to part-way through a moment
	recent  []pendingFact
	scratch []byte
}

// A condition is an alert that is to be open after this judgement.
type condition struct {
	kind    uint8
	capture string
	amount  int64
}

// integrate moves the pending facts whose effective arrival is at or before m
// into the history, in their order. Of one identity the first content stands; the
// same again is a repeat, another one a conflict, and neither changes anything.
func (j *judge) integrate(m int64, terms *calendar.Terms, sourceName func(int) string) {
	h := &j.history
	sortPending(h.pending, sourceName)
	n := 0
	for n < len(h.pending) && h.pending[n].effective <= m {
		n++
	}
	j.recent = j.recent[:0]
	for i := range h.pending[:n] {
		f := &h.pending[i]
		h.last = max(h.last, f.effective)
		if h.life.IsZero() {
			h.life = f.id
		}
		h.events++
		h.describe(f)
		if !keeps(f.kind) {
			continue
		}
		if same := slices.IndexFunc(h.facts, func(g fact) bool { return g.id == f.id }); same >= 0 {
			if h.facts[same].sameContent(&f.fact) {
				h.repeats++
			} else {
				h.conflicts++
			}
			continue
		}
		if len(h.facts) >= factLimit {
			h.overflow++
			continue
		}
		f.clear(terms, h.channel)
		h.facts = append(h.facts, f.fact)
		j.recent = append(j.recent, *f)
	}
	h.pending = slices.Delete(h.pending, 0, n)
}

// sortPending mostly finds them in order.
func sortPending(facts []pendingFact, sourceName func(int) string) {
	for i := 1; i < len(facts); i++ {
		if before(&facts[i], &facts[i-1], sourceName) < 0 {
			slices.SortFunc(facts, func(a, b pendingFact) int { return before(&a, &b, sourceName) })
			return
		}
	}
}

// describe keeps the first merchant, terminal and channel that the facts name.
func (h *history) describe(f *pendingFact) {
	for _, d := range [...]struct {
		to   *string
		from string
	}{{&h.merchant, f.merchant}, {&h.terminal, f.terminal}, {&h.channel, f.channel}} {
		if *d.to == "" {
			*d.to = d.from
		}
	}
}

// clear finds the clearing date of what can oblige. It stands with the fact, so
// that a later CONFIG does not move it.
func (f *pendingFact) clear(terms *calendar.Terms, channel string) {
	if !f.obliges() {
		return
	}
	if f.channel != "" {
		channel = f.channel
	}
	f.clearing, f.hasClearing = f.clearingDate(terms, channel), true
}

// clearingDate is the settlement date that the record states, else the business
// day of its time; an offline advice without a date counts from the arrival of its
// upload.
func (f *pendingFact) clearingDate(terms *calendar.Terms, channel string) int32 {
	switch {
	case f.hasDate:
		return f.settlement
	case f.hasBusiness && f.mode != event.Mode_MODE_OFFLINE:
		return int32(terms.ClearingDate(f.business, channel))
	default:
		return int32(terms.ClearingDate(f.arrival, channel))
	}
}

// unsettled is the condition of a paid-unsettled alert at moment m. A hold
// delays only the opening.
func (l *ledger) unsettled(c *capture, m int64, open bool) bool {
	if c.residual <= l.terms.ToleranceMinor() || !c.hasDue || m < c.due.EvidenceDueMs || l.beforeStart(c) {
		return false
	}
	return open || m >= l.holdEnd(c)
}

// beforeStart: the settlement source begins later than this capture cleared, so
// that no line of it could have been seen.
func (l *ledger) beforeStart(c *capture) bool {
	start, has := l.terms.StartDate()
	return has && c.hasClearing && c.clearing < start
}

// holdEnd is when the declared holds of a capture end: their own end, a release,
// or evidence due + cap, whichever is first; the smallest moment where there is none.
func (l *ledger) holdEnd(c *capture) int64 {
	end := int64(math.MinInt64)
	for _, f := range l.standing {
		if (f.kind != event.Kind_KIND_HOLD && f.kind != event.Kind_KIND_RELEASE) || !f.effective() ||
			(f.capture != "" && f.capture != c.id) {
			continue
		}
		switch {
		case f.kind == event.Kind_KIND_RELEASE:
			end = math.MinInt64
		case f.holdUntil == absent:
			end = noMoment
		default:
			end = max(end, f.holdUntil)
		}
	}
	if end == math.MinInt64 {
		return end
	}
	return min(end, c.due.EvidenceDueMs+l.terms.HoldCapMs())
}

// conditions lists what is to be open at moment m.
func (j *judge) conditions(m int64) []condition {
	var out []condition
	l := &j.ledger
	for i := range l.captures {
		c := &l.captures[i]
		if l.unsettled(c, m, j.history.isOpen(kindPaidUnsettled, c.id)) {
			out = append(out, condition{kind: kindPaidUnsettled, capture: c.id, amount: c.residual})
		}
	}
	if j.over > l.terms.ToleranceMinor() {
		out = append(out, condition{kind: kindSettledTwice, amount: j.over})
	}
	return out
}

// holds tells whether the condition of cursor c is true for the ledger's facts.
func (l *ledger) holds(c *cursor, m int64) bool {
	if c.kind == kindSettledTwice {
		return l.excess() > l.terms.ToleranceMinor()
	}
	i := l.captureIndex(c.capture)
	return i >= 0 && l.unsettled(&l.captures[i], m, true)
}

// closing finds the fact that closed an alert: the last one of this moment, in
// order, after which the condition became false; nil where the facts did not do
// it (new rules did).
func (j *judge) closing(c *cursor, m int64) *pendingFact {
	facts := j.history.facts
	old := len(facts) - len(j.recent)
	holds := func(n int) bool {
		j.prefix.read(facts[:n], j.ledger.terms)
		j.prefix.allot()
		return j.prefix.holds(c, m)
	}
	var closing *pendingFact
	was := holds(old)
	for i := range j.recent {
		is := holds(old + i + 1)
		if was && !is {
			closing = &j.recent[i]
		}
		was = is
	}
	return closing
}

// Indexes into alert.Kinds and statuses, as cursors store them.
const (
	kindPaidUnsettled uint8 = 0
	kindSettledTwice  uint8 = 1

	statusOpen      uint8 = 0
	statusResolved  uint8 = 1
	statusRetracted uint8 = 2
)

var (
	kinds    = [...]alert.Kind{kindPaidUnsettled: alert.PaidUnsettled, kindSettledTwice: alert.SettledTwice}
	statuses = [...]alert.Status{statusOpen: alert.Open, statusResolved: alert.Resolved, statusRetracted: alert.Retracted}
)

func (h *history) find(kind uint8, capture string) *cursor {
	for i := range h.alerts {
		if h.alerts[i].kind == kind && h.alerts[i].capture == capture {
			return &h.alerts[i]
		}
	}
	return nil
}

func (h *history) isOpen(kind uint8, capture string) bool {
	c := h.find(kind, capture)
	return c != nil && c.status == statusOpen
}

// publish compares what is to be open with what was published and reports the
// revisions between the two. A changed amount of an open alert is a revision; a
// change of evidence alone is none; what is closed is revised only by reopening.
func (j *judge) publish(m int64, report func(*cursor, *pendingFact)) {
	h := &j.history
	conditions := j.conditions(m)
	for _, want := range conditions {
		c := h.find(want.kind, want.capture)
		if c == nil {
			h.alerts = append(h.alerts, cursor{kind: want.kind, capture: want.capture})
			c = &h.alerts[len(h.alerts)-1]
		} else if c.status == statusOpen && c.amount == want.amount {
			continue
		}
		c.revision++
		c.status, c.amount, c.currency = statusOpen, want.amount, j.ledger.currency
		if i := j.ledger.captureIndex(want.capture); i >= 0 {
			c.clearing, c.cycle = int32(j.ledger.captures[i].clearing), j.ledger.captures[i].cycle
		}
		report(c, nil)
	}
	for i := range h.alerts {
		c := &h.alerts[i]
		if c.status != statusOpen || slices.ContainsFunc(conditions, func(w condition) bool {
			return w.kind == c.kind && w.capture == c.capture
		}) {
			continue
		}
		by := j.closing(c, m)
		c.revision++
		c.status = statusResolved
		if by != nil && !by.replaces.IsZero() {
			c.status = statusRetracted
		}
		report(c, by)
	}
}

// expiry is when this life of the payment ends: some days after its last event
// or due time; never while something is open, or owed without a known due date.
func (j *judge) expiry() int64 {
	h, l := &j.history, &j.ledger
	end := h.last
	for i := range h.alerts {
		if h.alerts[i].status == statusOpen {
			return noMoment
		}
	}
	for i := range l.captures {
		c := &l.captures[i]
		if c.residual > l.terms.ToleranceMinor() && !l.beforeStart(c) {
			if !c.hasDue {
				return noMoment
			}
			end = max(end, l.holdEnd(c))
		}
		if c.hasDue {
			end = max(end, c.due.EvidenceDueMs)
		}
	}
	return end + l.terms.LifeMs()
}

// next is the next moment after m at which the payment must be judged.
func (j *judge) next(m, expiry int64) int64 {
	h, l := &j.history, &j.ledger
	next := expiry
	for i := range h.pending {
		next = min(next, h.pending[i].effective)
	}
	for i := range l.captures {
		c := &l.captures[i]
		if c.residual <= l.terms.ToleranceMinor() || !c.hasDue || l.beforeStart(c) || h.isOpen(kindPaidUnsettled, c.id) {
			continue
		}
		if c.due.EvidenceDueMs > m {
			next = min(next, c.due.EvidenceDueMs)
		} else if end := l.holdEnd(c); end > m {
			next = min(next, end)
		}
	}
	return next
}
