package oracle

import (
	"slices"
	"time"

	"settlewatch/pipelines/calendar"
	"settlewatch/schemas/alert"
	"settlewatch/schemas/event"
)

// factsPerPayment bounds one payment's history; what goes beyond it changes nothing.
const factsPerPayment = 1000

// A payment is everything that the log said of it in this life, and what was
// published.
type payment struct {
	key    event.PaymentKey
	events []*fact
	judged int64 // the last moment
	next   int64 // the moment at which it must be judged next
	alive  bool  // it was judged in this life
	alerts []*published
}

// published is one alert as it was last said.
type published struct {
	kind     alert.Kind
	capture  string
	revision uint32
	status   alert.Status
	minor    int64
	currency string
	clearing calendar.Date
	cycle    string
}

// A docket is one judgement.
type docket struct {
	*partition
	terms  *calendar.Terms
	moment int64

	payment *payment
	known   []*fact // all that was known at the moment, in order
	facts   []*fact // those of them that count
	recent  int     // how many of facts were judged before
	book    *book
}

// judge compares the verdict at the docket's moment with what was published.
func (x *payment) judge(d *docket) (out []*alert.Alert) {
	d.payment = x
	slices.SortFunc(x.events, inOrder)
	for _, f := range x.events {
		if f.effective <= d.moment {
			d.known = append(d.known, f)
		}
	}
	d.count()
	d.book = write(d.facts, d.terms)
	x.judged, x.alive = d.moment, len(d.known) > 0
	open := d.conditions()
	for _, c := range open {
		if a := d.open(c); a != nil {
			out = append(out, a)
		}
	}
	for _, a := range x.alerts {
		if a.status == alert.Open && !slices.ContainsFunc(open, func(c condition) bool { return c.kind == a.kind && c.capture == a.capture }) {
			out = append(out, d.close(a))
		}
	}
	d.goOn()
	return out
}

// count keeps of each identity the first, and finds the clearing dates of what
// is new.
func (d *docket) count() {
	channel := ""
	seen := map[event.ID]bool{}
	for _, f := range d.known {
		if channel == "" {
			channel = f.GetParties().GetChannel()
		}
		if names[f.Kind] == "" || seen[f.id] || len(d.facts) == factsPerPayment {
			continue
		}
		seen[f.id] = true
		f.clear(d.terms, channel)
		d.facts = append(d.facts, f)
		if f.effective <= d.payment.judged {
			d.recent++
		}
	}
}

// A condition is an alert that must be open.
type condition struct {
	kind    alert.Kind
	capture string
	minor   int64
}

func (d *docket) conditions() (out []condition) {
	for _, c := range d.book.captures {
		if d.unsettled(d.book, c, d.payment.isOpen(alert.PaidUnsettled, c.id)) {
			out = append(out, condition{alert.PaidUnsettled, c.id, c.residual})
		}
	}
	if x := d.book.twice(); x.minor > d.terms.ToleranceMinor() {
		out = append(out, condition{kind: alert.SettledTwice, minor: x.minor})
	}
	return out
}

// unsettled: evidence is due, something is missing, and no hold keeps an alert
// from opening.
func (d *docket) unsettled(b *book, c *capture, open bool) bool {
	if !b.missing(c) || c.due == nil || d.moment < c.due.EvidenceDueMs {
		return false
	}
	return open || d.moment >= b.heldUntil(c)
}

// missing: something is owed, by a capture of which a line could have been seen.
func (b *book) missing(c *capture) bool {
	start, has := b.terms.StartDate()
	tooEarly := has && c.clearing != nil && *c.clearing < start
	return c.residual > b.terms.ToleranceMinor() && !tooEarly
}

// heldUntil is the end of the declared holds, at most the cap after evidence due.
func (b *book) heldUntil(c *capture) int64 {
	until := never
	for _, f := range b.standing {
		if n := f.names(); n != "" && n != c.id || !f.happened() {
			continue
		}
		switch {
		case f.Kind == event.Kind_KIND_RELEASE:
			until = never
		case f.Kind != event.Kind_KIND_HOLD:
		case f.GetDue() == nil || f.GetDue().HoldUntilMs == nil:
			until = forever
		default:
			until = max(until, *f.GetDue().HoldUntilMs)
		}
	}
	if c.due != nil {
		until = min(until, c.due.EvidenceDueMs+b.terms.HoldCapMs())
	}
	return until
}

func (x *payment) find(kind alert.Kind, capture string) *published {
	for _, a := range x.alerts {
		if a.kind == kind && a.capture == capture {
			return a
		}
	}
	return nil
}

func (x *payment) isOpen(kind alert.Kind, capture string) bool {
	a := x.find(kind, capture)
	return a != nil && a.status == alert.Open
}

// open publishes an alert that is new, open again, or of another amount.
func (d *docket) open(c condition) *alert.Alert {
	a := d.payment.find(c.kind, c.capture)
	if a == nil {
		a = &published{kind: c.kind, capture: c.capture}
		d.payment.alerts = append(d.payment.alerts, a)
	} else if a.status == alert.Open && a.minor == c.minor {
		return nil
	}
	a.status, a.minor, a.currency = alert.Open, c.minor, d.book.currency
	if of := d.book.find(c.capture); of != nil {
		a.clearing, a.cycle = *of.clearing, of.cycle
	}
	return d.say(a, nil)
}

// close ends an alert whose condition is true no more, by the last fact of the
// moment after which it was not.
func (d *docket) close(a *published) *alert.Alert {
	holds := func(n int) bool {
		b := write(d.facts[:n], d.terms)
		if a.kind == alert.SettledTwice {
			return b.twice().minor > d.terms.ToleranceMinor()
		}
		c := b.find(a.capture)
		return c != nil && d.unsettled(b, c, true)
	}
	var by *fact
	for n := d.recent; n < len(d.facts); n++ {
		if holds(n) && !holds(n+1) {
			by = d.facts[n]
		}
	}
	a.status = alert.Resolved
	if by != nil && !by.replaces.IsZero() {
		a.status = alert.Retracted
	}
	return d.say(a, closing(by))
}

// closing names what ended an alert by the kind of the fact that did.
func closing(by *fact) *alert.Closing {
	if by == nil {
		return &alert.Closing{Reason: "configuration"}
	}
	reasons := map[event.Kind]string{
		event.Kind_KIND_SETTLEMENT: "settled", event.Kind_KIND_REVERSAL: "reversed", event.Kind_KIND_VOID: "voided",
		event.Kind_KIND_REFUND: "refunded", event.Kind_KIND_LINE_REVERSAL: "line_reversed",
		event.Kind_KIND_PAYOUT_RETURN: "returned", event.Kind_KIND_CAPTURE: "captured",
	}
	c := &alert.Closing{EventID: by.id.String(), Reason: reasons[by.Kind]}
	switch {
	case by.Operation == event.Operation_OPERATION_CANCELLATION:
		c.Reason = "cancelled"
	case !by.replaces.IsZero():
		c.Reason = "corrected"
	case by.isCredit():
		c.Reason = "credited"
	case by.Kind == event.Kind_KIND_ADJUSTMENT:
		c.Reason = "adjusted"
	case by.is(event.Kind_KIND_CAPTURE, event.Kind_KIND_AUTHORIZATION) && !by.happened():
		c.Reason = "rejected"
	case by.Kind == event.Kind_KIND_AUTHORIZATION:
		c.Reason = "authorized"
	}
	return c
}

func instant(ms int64) string { return time.UnixMilli(ms).UTC().Format("2006-01-02T15:04:05.000Z") }

// say is the next revision of an alert.
func (d *docket) say(a *published, end *alert.Closing) *alert.Alert {
	x := d.payment
	a.revision++
	out := &alert.Alert{
		ID: alert.ID(a.kind, x.key, d.known[0].id, a.capture), Kind: a.kind, Revision: a.revision, Status: a.status,
		PaymentKey: string(x.key), Capture: a.capture, Acquirer: x.key.Acquirer(),
		AmountMinor: a.minor, Currency: a.currency, MomentJudged: instant(d.moment),
		Stage: map[event.Stage]string{
			event.Stage_STAGE_CLEARED: "cleared", event.Stage_STAGE_FUNDED: "funded", event.Stage_STAGE_PAID_OUT: "paid_out",
		}[d.terms.Stage()],
		Rules:   alert.Rules{Name: d.config.Rules, Config: d.number, JoinVersion: rulesVersion},
		Closing: end,
	}
	for _, f := range d.known {
		p := f.GetParties()
		for to, from := range map[*string]string{&out.Merchant: p.GetMerchant(), &out.Terminal: p.GetTerminal(), &out.Channel: p.GetChannel()} {
			if *to == "" {
				*to = from
			}
		}
	}
	if a.kind == alert.SettledTwice {
		t := d.book.twice()
		out.Amounts = alert.Amounts{ObligationMinor: t.obligation, SettledMinor: t.settled, RefundedMinor: d.book.refunded}
	} else {
		d.sayDue(out, a)
		if c := d.book.find(a.capture); c != nil {
			out.Amounts = alert.Amounts{ObligationMinor: c.owed, SettledMinor: c.settled, RefundedMinor: c.netted}
		}
	}
	d.sayEvidence(out)
	return out
}

// sayDue shows the due times, and how late the closing event was.
func (d *docket) sayDue(out *alert.Alert, a *published) {
	due, err := d.terms.Due(a.clearing, a.cycle)
	if err != nil {
		return
	}
	out.Due = &alert.Due{
		Cycle: due.Cycle, ClearingDate: a.clearing.String(), MoneyDue: due.MoneyDue.String(),
		EvidenceDue: instant(due.EvidenceDueMs), Zone: d.terms.Zone(), Calendar: d.terms.CalendarLabel(),
		Arithmetic: d.terms.Arithmetic(a.clearing, due),
	}
	if out.Closing == nil {
		return
	}
	for _, f := range d.facts {
		if f.id.String() != out.Closing.EventID {
			continue
		}
		at := f.arrival
		if t := f.GetTime(); t != nil && t.BusinessMs != nil {
			at = *t.BusinessMs
		}
		out.Closing.DaysLate = max(0, int(d.terms.LocalDate(at)-due.MoneyDue))
	}
}

// sayEvidence lists the facts behind the alert, replaced ones too: all of the
// payment's, but for paid-unsettled those that name another of its captures.
func (d *docket) sayEvidence(out *alert.Alert) {
	out.Evidence = []alert.Evidence{}
	for _, f := range d.facts {
		if n := f.names(); out.Kind == alert.PaidUnsettled && n != "" && n != out.Capture && d.book.find(n) != nil {
			continue
		}
		out.EvidenceTotal++
		if len(out.Evidence) == alert.EvidenceLimit {
			continue
		}
		e := alert.Evidence{Kind: names[f.Kind], EventID: f.id.String(), AmountMinor: f.amount(), Index: f.origin.Index}
		source := d.sources[f.origin.Source]
		if file, is := source.File(); is {
			e.File, e.Line = file, f.origin.Offset
		} else {
			e.Topic, e.Partition, e.Offset = source.Topic, source.Partition, f.origin.Offset
		}
		out.Evidence = append(out.Evidence, e)
	}
}

// goOn ends the payment's life where its time has come, and finds the next moment.
func (d *docket) goOn() {
	x := d.payment
	waiting := slices.Clone(x.events[len(d.known):])
	end := d.end()
	if end <= d.moment {
		*x = payment{key: x.key, judged: d.moment, events: waiting, next: forever}
		d.book = write(nil, d.terms)
	} else {
		x.next = end
	}
	for _, f := range waiting {
		x.next = min(x.next, f.effective)
	}
	for _, c := range d.book.captures {
		if !d.book.missing(c) || c.due == nil || x.isOpen(alert.PaidUnsettled, c.id) {
			continue
		}
		for _, at := range []int64{c.due.EvidenceDueMs, d.book.heldUntil(c)} {
			if at > d.moment {
				x.next = min(x.next, at)
				break
			}
		}
	}
}

// end of the payment's life: some days after its last event or due time; never
// while an alert is open, or something owed has no due time.
func (d *docket) end() int64 {
	last := never
	for _, f := range d.known {
		last = max(last, f.effective)
	}
	for _, a := range d.payment.alerts {
		if a.status == alert.Open {
			return forever
		}
	}
	for _, c := range d.book.captures {
		if c.due == nil && d.book.missing(c) {
			return forever
		}
		if c.due != nil {
			last = max(last, c.due.EvidenceDueMs)
			if d.book.missing(c) {
				last = max(last, d.book.heldUntil(c))
			}
		}
	}
	return last + d.terms.LifeMs()
}
