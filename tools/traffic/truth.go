package traffic

import (
	"settlewatch/pipelines/intake"
	"settlewatch/schemas/alert"
)

// Expected is one alert that must come, at its last revision.
type Expected struct {
	Kind       alert.Kind
	PaymentKey string
	// Capture is the capture's id, "sale" for a single-message sale; empty for
	// kinds that are about the payment.
	Capture string
	// AmountMinor of the last open revision, in minor units.
	AmountMinor int64
	Currency    string
	Status      alert.Status
	Revisions   int
	Case        string
}

// DeadLetter is what becomes of one kind of malformed record.
type DeadLetter struct {
	Path   string // of the field; empty: the record as a whole
	Reason intake.Reason
}

// Truth is what was planted. Any other alert is a false one.
type Truth struct {
	Payments int // payment keys
	Events   int // valid raw records, repeats included
	// Marks are not counted in Events.
	DeadLetters map[DeadLetter]int
	// Alerts in no particular order, but always the same.
	Alerts []Expected
	// Cases counts the payments of each planted case.
	Cases map[string]int
}

// DeadLetterTotal is the number of records that must be refused.
func (t *Truth) DeadLetterTotal() int {
	total := 0
	for _, n := range t.DeadLetters {
		total += n
	}
	return total
}

// Truth of Records; live traffic has none.
func (g *Generator) Truth() Truth {
	s := g.survey()
	t := Truth{
		Payments: s.payments, Events: s.events,
		DeadLetters: map[DeadLetter]int{}, Cases: map[string]int{},
	}
	for i := range g.malform {
		k := &malformedKinds[g.malform[i].kind]
		t.DeadLetters[DeadLetter{k.Path, k.Reason}]++
	}
	var p payment
	for rank := range g.ranks[g.planted] {
		g.plan(&p, int(g.perm.index(uint64(rank))))
		t.Cases[p.story.Name]++
		for _, w := range p.story.Want {
			t.Alerts = append(t.Alerts, p.expect(w))
		}
	}
	return t
}

func (p *payment) expect(w Want) Expected {
	e := Expected{
		Kind: w.Kind, PaymentKey: string(p.key(nil, false)), AmountMinor: p.minor(w.Amount),
		Currency: p.currency, Status: w.Status, Revisions: w.Revisions, Case: p.story.Name,
	}
	if w.Kind == alert.PaidUnsettled {
		e.Capture = "sale"
		if w.Capture > 0 {
			e.Capture = string(p.captureID(nil, w.Capture))
		}
	}
	return e
}

// surveyed is what one look at all payments finds.
type surveyed struct {
	payments, events int
	horizonMs        int64
}

func (g *Generator) look() surveyed {
	var s surveyed
	var p payment
	for i := range g.opt.Payments {
		g.plan(&p, i)
		s.payments++
		if p.story.hasSecond() {
			s.payments++
		}
		s.events += len(p.story.Steps)
		s.horizonMs = max(s.horizonMs, g.horizon(&p))
	}
	return s
}

// hasSecond tells whether the story is about two payments.
func (c *Case) hasSecond() bool {
	for i := range c.Steps {
		if c.Steps[i].has&isSecond != 0 {
			return true
		}
	}
	return false
}
