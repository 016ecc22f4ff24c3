package oracle

import (
	"cmp"
	"fmt"
	"math"
	"slices"

	"settlewatch/pipelines/calendar"
	"settlewatch/schemas/alert"
	"settlewatch/schemas/event"
)

const (
	// never is before every moment, forever after every one.
	never, forever int64 = math.MinInt64, math.MaxInt64

	// rulesVersion is the version of the rules that this package implements.
	rulesVersion = 1
	// judgementsPerRecord bounds what is judged at one record of the log.
	judgementsPerRecord = 1000
)

// partition is one log partition as far as it was read.
type partition struct {
	config   *event.Config
	number   int64 // of CONFIG
	groups   []*group
	marks    map[string]int64 // T by source
	origins  map[string]*event.Origin
	sources  map[string]event.Source
	payments map[event.PaymentKey]*payment
	soonest  int64 // no payment waits for an earlier moment
	alerts   []*alert.Alert
}

// A group of CONFIG, and how far its sources are known completely.
type group struct {
	name     string
	sources  []string
	terms    *calendar.Terms
	frontier int64
}

func newPartition() *partition {
	return &partition{
		number: -1, marks: map[string]int64{}, origins: map[string]*event.Origin{},
		sources: map[string]event.Source{}, payments: map[event.PaymentKey]*payment{}, soonest: forever,
	}
}

// read takes one record, and judges what the frontier has passed by then.
func (p *partition) read(r *event.LogRecord) error {
	switch body := r.Body.(type) {
	case *event.LogRecord_Event:
		if p.fresh(r.Origin) {
			if err := p.note(r, body.Event); err != nil {
				return err
			}
		}
	case *event.LogRecord_Mark:
		if body.Mark.Configs > uint64(p.number+1) {
			break // its ingest knew a CONFIG that has not come here yet
		}
		if t, marked := p.marks[r.Origin.Source]; !marked || body.Mark.TMs > t {
			p.marks[r.Origin.Source] = body.Mark.TMs
		}
		p.advance()
	case *event.LogRecord_Config:
		if p.fresh(r.Origin) {
			if err := p.configure(body.Config, r.Origin.Offset); err != nil {
				return err
			}
		}
	}
	p.judgePassed()
	return nil
}

// fresh: a source's record counts when its origin is beyond all that came before.
func (p *partition) fresh(o *event.Origin) bool {
	last := p.origins[o.Source]
	if last != nil && cmp.Or(cmp.Compare(o.Generation, last.Generation),
		cmp.Compare(o.Offset, last.Offset), cmp.Compare(o.Index, last.Index)) <= 0 {
		return false
	}
	p.origins[o.Source] = o
	return true
}

// note keeps an event, effective from the later of its arrival and the frontier.
func (p *partition) note(r *event.LogRecord, e *event.Event) error {
	if _, known := p.sources[r.Origin.Source]; !known {
		source, err := event.ParseSource(r.Origin.Source)
		if err != nil {
			return fmt.Errorf("note an event: %w", err)
		}
		p.sources[r.Origin.Source] = source
	}
	key := event.PaymentKey(e.PaymentKey)
	x := p.payments[key]
	if x == nil {
		x = &payment{key: key, judged: never, next: forever}
		p.payments[key] = x
	}
	effective := r.ArrivalMs
	if g := p.groupOf(key); g != nil {
		effective = max(effective, g.frontier)
	}
	if x.judged != never {
		effective = max(effective, x.judged+1) // what was judged stays judged
	}
	x.events = append(x.events, newFact(r, e, effective))
	x.next = min(x.next, effective)
	p.soonest = min(p.soonest, effective)
	return nil
}

// groupOf is the group that names the payment's acquirer, else the one that names
// none; nil where there is neither.
func (p *partition) groupOf(key event.PaymentKey) *group {
	var rest *group
	var named *group
	for i, c := range p.config.GetGroups() {
		if len(c.Acquirers) == 0 {
			rest = p.groups[i]
		}
		if slices.Contains(c.Acquirers, key.Acquirer()) {
			named = p.groups[i]
		}
	}
	if named != nil {
		return named
	}
	return rest
}

// advance moves every group's frontier to the smallest mark of its sources.
func (p *partition) advance() {
	for _, g := range p.groups {
		least := forever
		for _, s := range g.sources {
			t, marked := p.marks[s]
			if !marked {
				t = never
			}
			least = min(least, t)
		}
		if len(g.sources) > 0 {
			g.frontier = max(g.frontier, least)
		}
	}
}

// configure puts a CONFIG in force. A group keeps its frontier, a new one starts
// where the furthest stands. What was judged before is judged once more, at the
// frontier, by the new rules.
func (p *partition) configure(c *event.Config, number int64) error {
	if c.JoinVersion != rulesVersion || c.AlertVersion != alert.Version {
		return fmt.Errorf("configuration %d wants rules %d and alerts %d, the oracle has %d and %d",
			number, c.JoinVersion, c.AlertVersion, rulesVersion, alert.Version)
	}
	terms, err := calendar.Compile(c)
	if err != nil {
		return fmt.Errorf("configuration %d: %w", number, err)
	}
	furthest := never
	for _, g := range p.groups {
		furthest = max(furthest, g.frontier)
	}
	var groups []*group
	for i, named := range c.Groups {
		g := &group{name: named.Name, terms: terms[i], frontier: furthest}
		for _, s := range named.Sources {
			g.sources = append(g.sources, s.Name)
		}
		for _, old := range p.groups {
			if old.name == g.name {
				g.frontier = old.frontier
			}
		}
		groups = append(groups, g)
	}
	p.config, p.number, p.groups = c, number, groups
	p.advance()
	for _, x := range p.payments {
		if g := p.groupOf(x.key); g != nil && x.alive && g.frontier != never {
			x.next = min(x.next, max(g.frontier, x.judged+1))
			p.soonest = min(p.soonest, x.next)
		}
	}
	return nil
}

// judgePassed judges the payments whose moment the frontier has passed: group by
// group, in the order of moment and payment key, up to the bound.
func (p *partition) judgePassed() {
	earlier := func(a, b *payment) int {
		return cmp.Or(cmp.Compare(a.next, b.next), cmp.Compare(a.key, b.key))
	}
	furthest := never
	for _, g := range p.groups {
		furthest = max(furthest, g.frontier)
	}
	if p.soonest >= furthest {
		return
	}
	left := judgementsPerRecord
	for _, g := range p.groups {
		var passed []*payment
		for _, x := range p.payments {
			if x.next < g.frontier && p.groupOf(x.key) == g {
				passed = append(passed, x)
			}
		}
		slices.SortFunc(passed, earlier)
		for len(passed) > 0 && left > 0 {
			x := passed[0]
			passed = passed[1:]
			left--
			p.judge(x, g)
			if x.next < g.frontier {
				at, _ := slices.BinarySearchFunc(passed, x, earlier)
				passed = slices.Insert(passed, at, x)
			}
		}
	}
	p.soonest = forever
	for _, x := range p.payments {
		p.soonest = min(p.soonest, x.next)
	}
}

// judge judges one payment at its next moment, and forgets it when its life ends.
func (p *partition) judge(x *payment, g *group) {
	p.alerts = append(p.alerts, x.judge(&docket{partition: p, terms: g.terms, moment: x.next})...)
	if len(x.events) == 0 {
		delete(p.payments, x.key)
	}
}
