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

	snapshots []*snapshot // those of Payments
	spare     []*snapshot
	texts     []byte // room for the texts of alerts and payments
	lends     bool   // texts are left where they are
}

// A snapshot is a payment with what it points to, one piece of memory.
type snapshot struct {
	payment         payment.Payment
	life            event.ID
	clearing        int32
	evidence, money int64
}

// Reset empties the output. The memory of its payments is used again: what is still
// wanted of them must have been copied.
func (o *Output) Reset() {
	o.spare = append(o.spare, o.snapshots[:min(len(o.snapshots), len(o.Payments))]...)
	o.Alerts, o.Payments, o.snapshots = o.Alerts[:0], o.Payments[:0], o.snapshots[:0]
}

// snapshot adds an empty one.
func (o *Output) snapshot() *snapshot {
	var x *snapshot
	if last := len(o.spare) - 1; last >= 0 {
		x, o.spare = o.spare[last], o.spare[:last]
		x.payment.Reset()
	} else {
		x = new(snapshot)
	}
	// Whoever cut Payments short by hand keeps what was there.
	o.snapshots = append(o.snapshots[:min(len(o.snapshots), len(o.Payments))], x)
	o.Payments = append(o.Payments, &x.payment)
	return x
}

// State of one log partition. It is not safe for concurrent use.
type State struct {
	hop          *hop.Reader
	config       *event.Config
	configNumber int64
	terms        []*calendar.Terms // by group
	groupOf      map[string]int    // by acquirer; "" for all others
	lastAcquirer []byte            // whose group is lastGroup
	lastGroup    int
	sources      []event.Source // parsed names, by number

	payments *table
	timers   []timers // by group
	// drained: nothing is to be judged before a frontier moves. No event brings a moment that
	// a frontier has passed already.
	drained bool
	// epoch counts the CONFIGs, judgeFrom is each group's frontier at the last one:
	// every payment is judged once more there.
	epoch     uint64
	judgeFrom []int64
	judge     judge
	counts    Counts

	// alertsOnly: nobody wants payment snapshots, see AlertsOnly.
	alertsOnly bool

	wire     wireReader
	record   event.LogRecord // what is not ordinary
	incoming pendingFact
	packed   []byte      // a payment on its way into the table
	tail     []byte      // what is appended to one
	lastDue  []dueAnswer // by group

	packedConfig []byte // of packedOf, for every commit
	packedOf     *event.Config
}

// Counts are totals since the beginning of the log, part of the state.
type Counts struct {
	Events  uint64 `json:"events"`
	Repeats uint64 `json:"repeats"` // by origin: what a hop appended twice
	Alerts  uint64 `json:"alerts"`  // revisions
	// Overflow events did not fit into their payment and were left out.
	Overflow uint64 `json:"overflow,omitempty"`
}

// New is the state before the first record.
func New() *State {
	return &State{hop: hop.NewReader(nil, nil), payments: newTable(), groupOf: map[string]int{}}
}

// NewAlertsOnly is a state of which nobody wants payment snapshots:
// Output.Payments stays empty, and moments at which nothing else could be said are
// not judged. The alerts are the same, the stored state is another: it stays as it
// began.
func NewAlertsOnly() *State {
	s := New()
	s.alertsOnly = true
	return s
}

// AlertsOnly tells whether the state began by NewAlertsOnly.
func (s *State) AlertsOnly() bool { return s.alertsOnly }

// Step folds one record of the log. An error is final for the partition: it is a
// configuration that this binary lacks, or a state that cannot be read.
func (s *State) Step(r *event.LogRecord, out *Output) error {
	switch body := r.Body.(type) {
	case *event.LogRecord_Event:
		f := &s.incoming
		*f = newFact(body.Event)
		f.arrival = r.ArrivalMs
		if err := s.take(r.Origin, event.PaymentKey(body.Event.PaymentKey), f); err != nil {
			return err
		}
	case *event.LogRecord_Mark:
		s.mark(r.Origin.Source, body.Mark.TMs, body.Mark.Configs)
	case *event.LogRecord_Config:
		if _, fresh := s.hop.Accept(r.Origin); fresh {
			if err := s.configure(body.Config, r.Origin.Offset, out); err != nil {
				return err
			}
		}
	}
	return s.Drain(out)
}

// paymentBytesMax bounds one packed payment. Events wait unjudged in it while the
// frontier is held: what comes then is counted and left out, wherever and whenever the
// log is folded.
const paymentBytesMax = 1 << 20

// take takes an event that is no repeat into its payment's history, unjudged.
func (s *State) take(o *event.Origin, key event.PaymentKey, f *pendingFact) error {
	source, fresh := s.hop.Accept(o)
	if !fresh {
		s.counts.Repeats++
		return nil
	}
	s.counts.Events++
	f.source, f.generation, f.offset, f.index = source, o.Generation, o.Offset, o.Index
	f.effective = f.arrival
	return s.file(key, f)
}

// file puts an event into its payment.
func (s *State) file(key event.PaymentKey, f *pendingFact) error {
	group := s.group(key)
	if group != noGroup {
		f.effective = max(f.effective, s.hop.Frontier(group))
	}
	hash := hashKey(key)
	b, slot := s.payments.find(key, hash)
	h := head{flags: flagPlain, key: key, epoch: s.epoch, next: noMoment, judged: hop.Never}
	if slot < 0 {
		h.template = templateOf(f)
	} else {
		var err error
		packed := b.payment(slot)
		if len(packed) >= paymentBytesMax {
			s.counts.Overflow++
			return nil
		}
		if h, err = peek(packed); err != nil {
			return corrupt(key)
		}
	}
	// A CONFIG may have moved the acquirer to a group whose frontier is behind: what
	// was judged stays judged.
	f.effective = max(f.effective, h.judged+1)
	before := s.rejudgeOf(group).next(&h)
	flags, next := s.foresee(h.flags, before, f, &h.template, group)
	s.tail = appendPending(s.tail[:0], f, &h.template)
	switch {
	case slot < 0:
		s.packed = appendHead(s.packed[:0], flags, key, s.epoch, next, &h.template)
		s.packed = append(s.packed, s.tail...)
		s.payments.set(b, slot, hash, s.packed)
	case flags == h.flags && next == h.next && s.epoch == h.epoch && flags&flagWhole == 0:
		s.payments.extend(b, slot, hash, s.tail)
	default:
		s.payments.rehead(b, slot, hash, &h, newHead{flags, s.epoch, next}, s.tail)
	}
	if next != before && group != noGroup {
		s.timers[group].set(next, hash)
		if before != noMoment {
			s.timers[group].left(before, hash)
		}
	}
	return nil
}

// noGroup: before the first CONFIG, or where no group takes the acquirer.
const noGroup = -1

// group of a payment follows from its key alone.
func (s *State) group(key event.PaymentKey) int {
	acquirer := key.Acquirer()
	if acquirer == string(s.lastAcquirer) && acquirer != "" {
		return s.lastGroup
	}
	group := noGroup
	if g, named := s.groupOf[acquirer]; named {
		group = g
	} else if g, rest := s.groupOf[""]; rest {
		group = g
	}
	s.lastAcquirer, s.lastGroup = append(s.lastAcquirer[:0], acquirer...), group
	return group
}

// mark moves a source's time.
func (s *State) mark(source string, tMs int64, configs uint64) {
	if s.knows(configs) {
		s.hop.Mark(source, tMs)
		s.drained = false
	}
}

// knows tells whether the CONFIG that a mark was made under stands before it. One
// that comes earlier may speak of a time in which records lay in a source that this
// partition does not wait for yet.
func (s *State) knows(configs uint64) bool {
	return configs == 0 || s.config != nil && configs <= uint64(s.configNumber)+1
}

// configure puts a CONFIG in force. Every payment is judged once more, at its
// group's frontier: rules apply to moments judged after their place in the log.
// What the frontier has passed before is judged first, by the old rules, however
// much it is.
func (s *State) configure(c *event.Config, number int64, out *Output) error {
	terms, err := compile(c)
	if err != nil {
		return &UnsupportedConfigError{number, err}
	}
	for s.Pending() {
		if err := s.Drain(out); err != nil {
			return err
		}
	}
	if s.config != nil && !s.steady(c) {
		if err := s.writeOut(out); err != nil {
			return err
		}
	}
	s.config, s.configNumber, s.terms = c, number, terms
	groups := make([]hop.Group, 0, len(c.Groups))
	for _, g := range c.Groups {
		groups = append(groups, hop.Group{Name: g.Name, Sources: sourcesOf(g), Frontier: hop.Never})
	}
	s.hop.Expect(groups)
	s.placeGroups()
	s.epoch++
	for g := range s.judgeFrom {
		s.judgeFrom[g] = s.hop.Frontier(g)
	}
	return s.setTimers()
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

// setTimers puts every payment into its group's timers.
func (s *State) setTimers() error {
	for key, packed := range s.payments.all() {
		h, err := peek(packed)
		if err != nil {
			return corrupt(key)
		}
		if g := s.group(key); g != noGroup {
			s.timers[g].set(s.rejudgeOf(g).next(&h), hashKey(key))
		}
	}
	return nil
}

// placeGroups makes the lookup from acquirer to group and empty timers.
func (s *State) placeGroups() {
	clear(s.groupOf)
	s.lastAcquirer, s.drained = s.lastAcquirer[:0], false
	s.lastDue = make([]dueAnswer, len(s.config.Groups))
	s.timers = make([]timers, len(s.config.Groups))
	s.judgeFrom = make([]int64, len(s.config.Groups))
	for i, g := range s.config.Groups {
		s.timers[i], s.judgeFrom[i] = newTimers(), hop.Never
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
	if s.drained {
		return nil
	}
	budget := judgedPerRecord
	for g := range s.timers {
		for budget > 0 && s.passed(g) {
			budget--
			key, moment := s.timers[g].pop()
			if err := s.judgeAt(key, moment, g, out); err != nil {
				return err
			}
		}
	}
	s.drained = budget > 0
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
	return s.timers[g].due(s.hop.Frontier(g), s.payments, s.rejudgeOf(g))
}

// judgeAt judges one payment at a moment.
func (s *State) judgeAt(key event.PaymentKey, moment int64, group int, out *Output) error {
	h := &s.judge.history
	hash := hashKey(key)
	b, slot := s.payments.find(key, hash)
	if slot < 0 {
		return fmt.Errorf("judge payment %q: %w", key, errCorrupt)
	}
	if err := h.unpack(b.payment(slot)); err != nil {
		return err
	}
	if h.foreseen(moment, s.judgeFrom[group]) {
		return s.judgeForeseen(b, slot, hash, moment, group, out)
	}
	s.readAt(moment, group)
	if err := s.publish(moment, out); err != nil {
		return err
	}
	s.settle(b, slot, hash, group, moment, out)
	return nil
}

// publish gives the revisions that the unpacked payment has at the moment it was read at.
func (s *State) publish(moment int64, out *Output) (failed error) {
	s.judge.publish(moment, func(c *cursor, closing *pendingFact) {
		a, err := s.alertOf(c, closing, moment, out)
		if err != nil && failed == nil {
			failed = err
		}
		s.counts.Alerts++
		out.Alerts = append(out.Alerts, a)
	})
	return failed
}

// readAt takes what the unpacked payment's events up to a moment add up to.
func (s *State) readAt(moment int64, group int) {
	j, h := &s.judge, &s.judge.history
	j.integrate(moment, s.terms[group], s.sourceName)
	s.addUp(group)
	h.judged = moment
	h.version++
}

// addUp takes what the unpacked payment's judged events add up to.
func (s *State) addUp(group int) {
	j := &s.judge
	j.ledger.read(j.history.facts, s.terms[group])
	j.ledger.allot()
	j.over = j.ledger.excess()
}

func (s *State) sourceName(number int) string { return s.hop.Positions()[number].Source }

// settle reports the judged payment and stores it, or ends its life.
func (s *State) settle(b *bucket, slot int, hash uint64, group int, moment int64, out *Output) {
	j, h := &s.judge, &s.judge.history
	expiry := j.expiry()
	if !h.life.IsZero() && !s.alertsOnly {
		s.report(out.snapshot(), moment, out)
	}
	if expiry <= moment {
		s.endLife(moment, group)
		expiry = noMoment
		if len(h.pending) == 0 {
			s.payments.remove(b, slot, hash, h.key)
			return
		}
	}
	next := j.next(moment, expiry)
	h.flags, h.epoch = 0, s.epoch
	s.packed, j.scratch = h.pack(s.packed[:0], j.scratch, next)
	s.payments.set(b, slot, hash, s.packed)
	s.timers[group].set(next, hash)
}

// endLife ends the unpacked payment's: what arrives later opens a new one, with its own
// id and its own alerts.
func (s *State) endLife(moment int64, group int) {
	j, h := &s.judge, &s.judge.history
	*h = history{
		key: h.key, template: h.template, judged: moment,
		alerts: h.alerts[:0], facts: h.facts[:0], pending: h.pending, names: h.names,
	}
	j.ledger.read(nil, s.terms[group])
}

// Payments is how many the state holds.
func (s *State) Payments() int { return s.payments.count }

// Changed tells whether a payment changed since the last commit.
func (s *State) Changed() bool { return s.payments.delta.count > 0 }

// Unstored is how many changes the next commit holds, and how many bytes they are.
func (s *State) Unstored() (changes, bytes int) {
	return s.payments.delta.count, len(s.payments.delta.bytes)
}

// NotStored says that this state will not be committed: nothing is kept for it.
func (s *State) NotStored() { s.payments.unstored = true }
