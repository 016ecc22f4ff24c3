package join

import (
	"fmt"
	"time"

	"settlewatch/pipelines/calendar"
	"settlewatch/schemas/alert"
	"settlewatch/schemas/event"
	"settlewatch/schemas/payment"
)

// text copies what is a part of a packed payment, so that it can leave.
func (o *Output) text(s string) string {
	if o.lends {
		return s
	}
	if cap(o.texts)-len(o.texts) < len(s) {
		o.texts = make([]byte, 0, max(4<<10, len(s)))
	}
	at := len(o.texts)
	o.texts = append(o.texts, s...)
	return view(o.texts[at:])
}

func instant(ms int64) string { return time.UnixMilli(ms).UTC().Format("2006-01-02T15:04:05.000Z") }

// alertOf builds the revision that cursor c now stands at.
func (s *State) alertOf(c *cursor, closing *pendingFact, m int64, out *Output) (*alert.Alert, error) {
	h, l := &s.judge.history, &s.judge.ledger
	kind := kinds[c.kind]
	key := event.PaymentKey(out.text(string(h.key)))
	a := &alert.Alert{
		ID: alert.ID(kind, h.key, h.life, c.capture), Kind: kind, Revision: c.revision, Status: statuses[c.status],
		PaymentKey: string(key), Capture: out.text(c.capture), Acquirer: key.Acquirer(),
		Merchant: out.text(h.merchant), Terminal: out.text(h.terminal), Channel: out.text(h.channel),
		AmountMinor: c.amount, Currency: out.text(c.currency),
		MomentJudged: instant(m), Stage: stageNames[l.terms.Stage()],
		Rules: alert.Rules{Name: s.config.Rules, Config: s.configNumber, JoinVersion: Version},
	}
	var due calendar.Due
	if c.kind == kindPaidUnsettled {
		var err error
		if due, err = l.terms.Due(calendar.Date(c.clearing), c.cycle); err == nil {
			a.Due = dueOf(l.terms, calendar.Date(c.clearing), due)
		}
		if i := l.captureIndex(c.capture); i >= 0 {
			x := &l.captures[i]
			a.Amounts = alert.Amounts{ObligationMinor: x.owed, SettledMinor: x.settled, RefundedMinor: x.netted}
		}
	} else {
		for i := range l.captures {
			a.Amounts.ObligationMinor += l.owed[i]
			a.Amounts.SettledMinor += l.sides[i].got
		}
		a.Amounts.RefundedMinor = l.refunded
	}
	if c.status != statusOpen {
		a.Closing = closingOf(closing)
		if closing != nil && a.Due != nil {
			at := closing.arrival
			if closing.hasBusiness {
				at = closing.business
			}
			a.Closing.DaysLate = max(0, int(l.terms.LocalDate(at)-due.MoneyDue))
		}
	}
	return a, s.addEvidence(a, c)
}

func dueOf(terms *calendar.Terms, clearing calendar.Date, due calendar.Due) *alert.Due {
	return &alert.Due{
		Cycle: due.Cycle, ClearingDate: clearing.String(), MoneyDue: due.MoneyDue.String(),
		EvidenceDue: instant(due.EvidenceDueMs), Zone: terms.Zone(), Calendar: terms.CalendarLabel(),
		Arithmetic: terms.Arithmetic(clearing, due),
	}
}

var stageNames = map[event.Stage]string{
	event.Stage_STAGE_CLEARED: "cleared", event.Stage_STAGE_FUNDED: "funded", event.Stage_STAGE_PAID_OUT: "paid_out",
}

// closingOf names what ended the alert by the kind of the closing fact, never by
// comparing times.
func closingOf(f *pendingFact) *alert.Closing {
	if f == nil {
		return &alert.Closing{Reason: "configuration"}
	}
	c := &alert.Closing{EventID: f.id.String()}
	switch {
	case f.operation == event.Operation_OPERATION_CANCELLATION:
		c.Reason = "cancelled"
	case !f.replaces.IsZero():
		c.Reason = "corrected"
	default:
		c.Reason = closingReason(&f.fact)
	}
	return c
}

func closingReason(f *fact) string {
	if reason, fixed := closingReasons[f.kind]; fixed {
		return reason
	}
	switch {
	case f.isCredit():
		return "credited"
	case f.kind == event.Kind_KIND_ADJUSTMENT:
		return "adjusted"
	case !f.effective():
		return "rejected"
	case f.kind == event.Kind_KIND_CAPTURE:
		return "captured"
	default:
		return "authorized"
	}
}

var closingReasons = map[event.Kind]string{
	event.Kind_KIND_SETTLEMENT:    "settled",
	event.Kind_KIND_REVERSAL:      "reversed",
	event.Kind_KIND_VOID:          "voided",
	event.Kind_KIND_REFUND:        "refunded",
	event.Kind_KIND_LINE_REVERSAL: "line_reversed",
	event.Kind_KIND_PAYOUT_RETURN: "returned",
}

// addEvidence lists the events behind the alert, superseded ones too: all of
// the payment's but those that name another of its captures.
func (s *State) addEvidence(a *alert.Alert, c *cursor) error {
	h, l := &s.judge.history, &s.judge.ledger
	a.Evidence = []alert.Evidence{}
	for i := range h.facts {
		f := &h.facts[i]
		if c.kind == kindPaidUnsettled && f.capture != "" && f.capture != c.capture && l.captureIndex(f.capture) >= 0 {
			continue
		}
		a.EvidenceTotal++
		if len(a.Evidence) == alert.EvidenceLimit {
			continue
		}
		source, err := s.sourceOf(f.source)
		if err != nil {
			return err
		}
		e := alert.Evidence{Kind: kindNames[f.kind], EventID: f.id.String(), AmountMinor: f.amount, Index: f.index}
		if name, is := source.File(); is {
			e.File, e.Line = name, f.offset
		} else {
			e.Topic, e.Partition, e.Offset = source.Topic, source.Partition, f.offset
		}
		a.Evidence = append(a.Evidence, e)
	}
	return nil
}

// sourceOf parses a source's name once.
func (s *State) sourceOf(number int) (event.Source, error) {
	for len(s.sources) <= number {
		name := s.hop.Positions()[len(s.sources)].Source
		source, err := event.ParseSource(name)
		if err != nil {
			return event.Source{}, fmt.Errorf("evidence: %w", err)
		}
		s.sources = append(s.sources, source)
	}
	return s.sources[number], nil
}

// report fills the snapshot for readers outside. Its parts are added up each on
// their own, so that captured = settled + open + alerted + excluded can fail.
func (s *State) report(x *snapshot, m int64, out *Output) {
	h, l := &s.judge.history, &s.judge.ledger
	key := event.PaymentKey(out.text(string(h.key)))
	p := &x.payment
	x.life = h.life
	p.PaymentKey, p.Life, p.Version, p.JudgedMs = string(key), x.life[:], h.version, m
	p.Acquirer, p.Merchant, p.Terminal, p.Channel = key.Acquirer(), out.text(h.merchant), out.text(h.terminal), out.text(h.channel)
	p.Currency, p.AuthorizedMinor, p.RefundedMinor = out.text(l.currency), l.authorized, l.refunded
	p.Events, p.Repeats, p.Conflicts = h.events, h.repeats, h.conflicts
	p.Mismatches, p.Unmatched = l.mismatches+h.overflow, l.unmatched
	for i := range l.lines {
		p.ReceivedMinor += l.lines[i].amount
	}
	for i := range l.captures {
		s.addCapture(x, &l.captures[i], m)
	}
	if c := h.find(kindSettledTwice, ""); c != nil && c.status == statusOpen {
		p.ExcessMinor = c.amount
	}
	p.Status = statusOf(p)
}

func (s *State) addCapture(x *snapshot, c *capture, m int64) {
	p := &x.payment
	h, l := &s.judge.history, &s.judge.ledger
	if c.everAccepted {
		p.CapturedMinor += c.adjusted
		p.ExcludedMinor += c.adjusted - c.owed
	}
	p.SettledMinor += c.settled
	p.ExcludedMinor += c.netted + c.explained
	alerted := h.find(kindPaidUnsettled, c.id)
	switch {
	case alerted != nil && alerted.status == statusOpen:
		p.AlertedMinor += alerted.amount
	case c.residual <= l.terms.ToleranceMinor() || l.beforeStart(c):
		p.ExcludedMinor += c.residual
	default:
		p.OpenMinor += c.residual
		if !c.hasDue {
			p.HeldReason = "no_due_date: the calendar " + l.terms.CalendarLabel() + " does not know the year"
		} else if l.holdEnd(c) > m {
			p.HeldReason = "declared hold"
		}
	}
	if c.hasClearing && (p.ClearingDate == nil || *p.ClearingDate > int32(c.clearing)) {
		x.clearing = int32(c.clearing)
		p.ClearingDate = &x.clearing
	}
	if c.hasDue && (p.EvidenceDueMs == nil || *p.EvidenceDueMs > c.due.EvidenceDueMs) {
		x.evidence, x.money = c.due.EvidenceDueMs, l.terms.StartOfDay(c.due.MoneyDue)
		p.EvidenceDueMs, p.MoneyDueMs = &x.evidence, &x.money
	}
}

func statusOf(p *payment.Payment) payment.Status {
	switch {
	case p.AlertedMinor > 0:
		return payment.Status_STATUS_UNSETTLED
	case p.ExcessMinor > 0:
		return payment.Status_STATUS_SETTLED_TWICE
	case p.OpenMinor > 0 && p.HeldReason != "":
		return payment.Status_STATUS_HELD
	case p.OpenMinor > 0:
		return payment.Status_STATUS_OPEN
	case p.CapturedMinor == 0 && p.ReceivedMinor > 0:
		return payment.Status_STATUS_ORPHAN
	case p.SettledMinor > 0:
		return payment.Status_STATUS_SETTLED
	default:
		return payment.Status_STATUS_NOTHING_OWED
	}
}
