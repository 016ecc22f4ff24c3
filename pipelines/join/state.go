// Package join is the heart: (state, record of the payment log) → (state,
// alerts). What enters is one log partition's records in order; what leaves are
// alert revisions and payment snapshots that are a pure function of those
// records: no clock, no I/O, no logging, and no dependence on how the log is cut
// into batches or which feed was read first.
//
// A payment's state is its own short history; its alerts are what judging that
// history up to the frontier gives. So no rule handles disorder: events are
// sorted by (effective arrival, source, origin) before they are looked at, and a
// moment is judged only when the frontier has passed it.
package join

import (
	"fmt"

	"settlewatch/pipelines/calendar"
	"settlewatch/pipelines/hop"
	"settlewatch/schemas/alert"
	"settlewatch/schemas/event"
	"settlewatch/schemas/payment"
)

// Version of the rules and of the stored state. CONFIG names the version it
// wants; a binary that has another one stops instead of giving other alerts.
const Version = 1

// judgedPerRecord bounds the judgements made at one record of the log; the rest
// follow at the next ones.
const judgedPerRecord = 1000

// UnsupportedConfigError is a CONFIG that this binary cannot run under. The
// partition stops there: going on would give other alerts than the log asks for.
type UnsupportedConfigError struct {
	Number int64
	Err    error
}

func (e *UnsupportedConfigError) Error() string {
	return fmt.Sprintf("configuration %d asks for what this binary does not have: %v", e.Number, e.Err)
}

func (e *UnsupportedConfigError) Unwrap() error { return e.Err }

// Output is what one or more steps give, in order.
type Output struct {
	Alerts   []*alert.Alert
	Payments []*payment.Payment
}

// tracked is one payment in memory.
type tracked struct {
	key    event.PaymentKey
	packed []byte
	next   int64
	judged int64  // the last moment judged; hop.Never before the first
	sum    uint64 // of packed as last committed; 0 when it was not there
	slot   int32  // in its group's timers
	dirty  bool
}

const noSlot int32 = -1

// State of one log partition. It is not safe for concurrent use.
type State struct {
	hop          *hop.Reader
	config       *event.Config
	configNumber int64
	terms        []*calendar.Terms // by group
	groupOf      map[string]int    // by acquirer; "" for all others
	sources      []event.Source    // parsed names, by number

	payments *table
	timers   []timers // by group
	judge    judge
	counts   Counts
}

// Counts are totals since the beginning of the log, part of the state.
type Counts struct {
	Events  uint64 `json:"events"`
	Repeats uint64 `json:"repeats"` // by origin: what a hop appended twice
	Alerts  uint64 `json:"alerts"`  // revisions
}

// New is the state before the first record.
func New() *State {
	return &State{hop: hop.NewReader(nil, nil), payments: newTable(), groupOf: map[string]int{}}
}

// Step folds one record of the log. An error is final for the partition: it is a
// configuration that this binary lacks, or a state that cannot be read.
func (s *State) Step(r *event.LogRecord, out *Output) error {
	switch body := r.Body.(type) {
	case *event.LogRecord_Event:
		s.take(r, body.Event)
	case *event.LogRecord_Mark:
		s.hop.Mark(r.Origin.Source, body.Mark.TMs)
	case *event.LogRecord_Config:
		if _, fresh := s.hop.Accept(r.Origin); fresh {
			if err := s.configure(body.Config, r.Origin.Offset); err != nil {
				return err
			}
		}
	}
	return s.Drain(out)
}

// take appends an event to its payment's history, unjudged.
func (s *State) take(r *event.LogRecord, e *event.Event) {
	source, fresh := s.hop.Accept(r.Origin)
	if !fresh {
		s.counts.Repeats++
		return
	}
	s.counts.Events++
	key := event.PaymentKey(e.PaymentKey)
	f := newFact(e)
	f.source, f.generation, f.offset, f.index = source, r.Origin.Generation, r.Origin.Offset, r.Origin.Index
	f.arrival = r.ArrivalMs
	f.effective = r.ArrivalMs
	group := s.group(key)
	if group != noGroup {
		f.effective = max(f.effective, s.hop.Frontier(group))
	}
	p := s.payments.get(key)
	if p == nil {
		h := history{key: key, judged: hop.Never}
		p = &tracked{key: key, next: noMoment, judged: hop.Never, slot: noSlot}
		p.packed, s.judge.scratch = h.pack(nil, s.judge.scratch, noMoment)
		s.payments.put(p)
	}
	// A CONFIG may have moved the acquirer to a group whose frontier is behind: what
	// was judged stays judged.
	f.effective = max(f.effective, p.judged+1)
	p.packed = appendPending(p.packed, &f)
	s.payments.touch(p)
	if f.effective < p.next {
		s.schedule(p, group, f.effective)
	}
}

// noGroup: before the first CONFIG, or where no group takes the acquirer.
const noGroup = -1

// group of a payment follows from its key alone.
func (s *State) group(key event.PaymentKey) int {
	if g, named := s.groupOf[key.Acquirer()]; named {
		return g
	}
	if g, rest := s.groupOf[""]; rest {
		return g
	}
	return noGroup
}

// schedule sets a payment's next moment; without a group it waits for a CONFIG.
func (s *State) schedule(p *tracked, group int, next int64) {
	setPackedNext(p.packed, next)
	if group == noGroup {
		p.next = next
	} else {
		s.timers[group].set(p, next)
	}
}

// configure puts a CONFIG in force. Every payment is judged once more, at its
// group's frontier: rules apply to moments judged after their place in the log.
func (s *State) configure(c *event.Config, number int64) error {
	terms, err := compile(c)
	if err != nil {
		return &UnsupportedConfigError{number, err}
	}
	s.config, s.configNumber, s.terms = c, number, terms
	groups := make([]hop.Group, 0, len(c.Groups))
	for _, g := range c.Groups {
		group := hop.Group{Name: g.Name, Frontier: hop.Never}
		for _, source := range g.Sources {
			group.Sources = append(group.Sources, source.Name)
		}
		groups = append(groups, group)
	}
	s.hop.Expect(groups)
	s.placeGroups()
	return s.reschedule()
}

// compile is what every CONFIG passes, from the log or from a stored state: a
// binary that lacks what it names must not go on.
func compile(c *event.Config) ([]*calendar.Terms, error) {
	if c.JoinVersion != Version {
		return nil, fmt.Errorf("join version %d, this binary has %d", c.JoinVersion, Version)
	}
	if c.AlertVersion != alert.Version {
		return nil, fmt.Errorf("alert version %d, this binary has %d", c.AlertVersion, alert.Version)
	}
	return calendar.Compile(c)
}

// reschedule puts every payment into its group's timers. One that was judged
// before is judged again at the frontier's moment; one that was not waits for
// its first event, as before.
func (s *State) reschedule() error {
	h := &s.judge.history
	for p := range s.payments.all() {
		p.slot = noSlot
		g := s.group(p.key)
		if g == noGroup {
			continue
		}
		if err := h.unpack(p.packed); err != nil {
			return err
		}
		next := p.next
		if f := s.hop.Frontier(g); !h.life.IsZero() && f != hop.Never {
			next = min(next, max(f, h.judged+1))
		}
		s.schedule(p, g, next)
		s.payments.touch(p)
	}
	return nil
}

// placeGroups makes the lookup from acquirer to group and empty timers.
func (s *State) placeGroups() {
	clear(s.groupOf)
	s.timers = make([]timers, len(s.config.Groups))
	for i, g := range s.config.Groups {
		for _, a := range g.Acquirers {
			s.groupOf[a] = i
		}
		if len(g.Acquirers) == 0 {
			s.groupOf[""] = i
		}
	}
}

// Drain judges what the frontier has passed, in the order (moment, payment key)
// within a group, groups in the order of CONFIG. Step does it at every record;
// a reader at the end of a finite log goes on until Pending is false.
func (s *State) Drain(out *Output) error {
	budget := judgedPerRecord
	for g := range s.timers {
		for budget > 0 && s.passed(g) {
			budget--
			if err := s.judgeAt(s.timers[g][0], g, out); err != nil {
				return err
			}
		}
	}
	return nil
}

// Pending tells whether payments wait that the frontier has passed already.
func (s *State) Pending() bool {
	for g := range s.timers {
		if s.passed(g) {
			return true
		}
	}
	return false
}

// passed: a moment is judged when the frontier is greater, so that what arrives
// exactly at a due time is in time.
func (s *State) passed(g int) bool {
	return len(s.timers[g]) > 0 && s.timers[g][0].next < s.hop.Frontier(g)
}

// judgeAt judges one payment at its next moment.
func (s *State) judgeAt(p *tracked, group int, out *Output) error {
	j, h := &s.judge, &s.judge.history
	if err := h.unpack(p.packed); err != nil {
		return err
	}
	moment := p.next
	j.integrate(moment, s.terms[group], func(source int) string { return s.hop.Positions()[source].Source })
	j.ledger.read(h.facts, s.terms[group])
	j.ledger.allot()
	h.judged, p.judged = moment, moment
	h.version++
	var failed error
	j.publish(moment, func(c *cursor, closing *pendingFact) {
		a, err := s.alertOf(c, closing, moment)
		if err != nil && failed == nil {
			failed = err
		}
		s.counts.Alerts++
		out.Alerts = append(out.Alerts, a)
	})
	if failed != nil {
		return failed
	}
	if !h.life.IsZero() {
		out.Payments = append(out.Payments, s.paymentOf(moment))
	}
	s.settle(p, group, moment)
	return nil
}

// settle stores the judged payment, or ends its life.
func (s *State) settle(p *tracked, group int, moment int64) {
	j, h := &s.judge, &s.judge.history
	expiry := j.expiry()
	if expiry <= moment {
		// What arrives later opens a new life: its own id, its own alerts.
		*h = history{key: h.key, judged: moment, alerts: h.alerts[:0], facts: h.facts[:0], pending: h.pending}
		expiry = noMoment
		j.ledger.read(nil, s.terms[group])
		if len(h.pending) == 0 {
			s.timers[group].set(p, noMoment)
			s.payments.remove(p)
			return
		}
	}
	next := j.next(moment, expiry)
	p.packed, j.scratch = h.pack(p.packed[:0], j.scratch, next)
	s.payments.touch(p)
	s.timers[group].set(p, next)
}

// Payments is how many the state holds.
func (s *State) Payments() int { return s.payments.count }

// Changed tells whether a payment changed since the last commit.
func (s *State) Changed() bool { return len(s.payments.dirty) > 0 || len(s.payments.removed) > 0 }
