package join

import (
	"bytes"
	"errors"
	"fmt"
	"slices"

	"settlewatch/pipelines/calendar"
	"settlewatch/pipelines/hop"
	"settlewatch/schemas/alert"
	"settlewatch/schemas/event"
	"settlewatch/schemas/payment"
)

// Explanation is one payment of the stored state, for readers from outside. All
// instants are Unix milliseconds, all amounts minor units.
type Explanation struct {
	Key  event.PaymentKey
	Life event.ID // of the event that opened this life; zero before the first judgement
	// Version counts the judgements of this life.
	Version uint64
	// JudgedMs is the last moment judged, NextMs the next one; Never where there is
	// none.
	JudgedMs, NextMs int64
	// Events are those judged, Pending not among them; Repeats and Conflicts said
	// again what was known, and Overflow did not fit. None of the three are facts.
	Events, Repeats, Conflicts, Overflow uint32

	Merchant, Terminal, Channel, Currency string

	// Judged facts, in the order in which they count, and Pending ones, in the order
	// in which they will.
	Judged, Pending []Fact
	Alerts          []Published
	// Captures with what they are owed, by due time; pending facts are counted in.
	Captures []Obligation
	// Status that the payment has with its judged facts; STATUS_UNKNOWN before
	// the first judgement.
	Status payment.Status

	Place Place
}

// Never is no moment.
const Never = hop.Never

// Fact is one event as the join keeps it.
type Fact struct {
	ID          event.ID
	Kind        event.Kind
	Outcome     event.Outcome
	Operation   event.Operation
	Capture     string
	AmountMinor int64
	Currency    string
	// Source, Generation, Offset and Index are its origin.
	Source     string
	Generation uint32
	Offset     int64
	Index      uint32
	// ArrivalMs and EffectiveMs are kept only until the fact is judged.
	ArrivalMs, EffectiveMs int64
}

// Published is what was last published of one alert.
type Published struct {
	ID          string
	Kind        alert.Kind
	Capture     string
	Revision    uint32
	Status      alert.Status
	AmountMinor int64
	Currency    string
}

// Obligation is one capture and what it waits for.
type Obligation struct {
	Capture                                           string
	OwedMinor, SettledMinor, RefundedMinor, OpenMinor int64
	// Due is nil where the capture has no due time: nothing is owed by then, or the
	// calendar does not know the year.
	Due           *alert.Due
	EvidenceDueMs int64
	// HeldUntilMs is when a declared hold ends; Never where there is none.
	HeldUntilMs int64
}

// Place is where the state stood in the log.
type Place struct {
	// LogOffset is the next record of the log that the joiner reads.
	LogOffset int64
	// Config is the number of the CONFIG in force; Group the payment's, empty where
	// none takes its acquirer. FrontierMs is that group's, and Holder the source
	// that holds it back.
	Config     int64
	Rules      string
	Group      string
	FrontierMs int64
	Holder     string
}

// ErrUnknownPayment is a payment that the state does not hold: it was never seen,
// or its life has ended.
var ErrUnknownPayment = errors.New("the state does not hold this payment")

// Standing reads from a commit's meta where the state stood, for one payment.
func Standing(metaBytes []byte, key event.PaymentKey) (Place, error) {
	_, place, err := standing(metaBytes, key)
	return place, err
}

// standing makes a state without payments of a commit's meta.
func standing(metaBytes []byte, key event.PaymentKey) (*State, Place, error) {
	s, m, err := decodeHead(metaBytes)
	if err != nil {
		return nil, Place{}, err
	}
	if err := s.resume(m); err != nil {
		return nil, Place{}, err
	}
	place := Place{LogOffset: m.Position.Offset, Config: m.ConfigNumber, FrontierMs: Never}
	if s.config != nil {
		place.Rules = s.config.Rules
	}
	if g := s.group(key); g != noGroup {
		place.Group, place.FrontierMs, place.Holder = s.hop.Groups()[g].Name, s.hop.Frontier(g), s.hop.Holder(g)
	}
	return s, place, nil
}

// Explain takes a packed payment apart under the CONFIG that the commit's meta
// holds. It judges nothing: what it shows is what is stored, and what the stored
// facts add up to. It lasts whatever becomes of packed.
func Explain(metaBytes, packed []byte) (Explanation, error) {
	packed = bytes.Clone(packed) // texts are views of it
	at, err := peek(packed)
	if err != nil {
		return Explanation{}, err
	}
	key := at.key
	s, place, err := standing(metaBytes, key)
	if err != nil {
		return Explanation{}, err
	}
	h := &s.judge.history
	if err := h.unpack(packed); err != nil {
		return Explanation{}, err
	}
	names := s.hop.Positions()
	g := s.group(key)
	next := s.rejudgeOf(g).next(&at)
	if g != noGroup && h.flags&flagDeferred != 0 && s.hop.Frontier(g) != hop.Never {
		// What has passed without being judged would have said nothing.
		s.judge.integrate(min(next, s.hop.Frontier(g))-1, s.terms[g], func(source int) string { return sourceName(names, source) })
		if !h.life.IsZero() {
			h.judged = h.last
		}
	}
	e := Explanation{
		Key: key, Life: h.life, Version: h.version, JudgedMs: h.judged, NextMs: next,
		Events: h.events, Repeats: h.repeats, Conflicts: h.conflicts, Overflow: h.overflow, Place: place,
	}
	if e.NextMs == noMoment {
		e.NextMs = Never
	}
	slices.SortFunc(h.pending, func(a, b pendingFact) int {
		return before(&a, &b, func(source int) string { return sourceName(names, source) })
	})
	for i := range h.facts {
		e.Judged = append(e.Judged, showFact(&h.facts[i], names))
	}
	for i := range h.pending {
		f := showFact(&h.pending[i].fact, names)
		f.ArrivalMs, f.EffectiveMs = h.pending[i].arrival, h.pending[i].effective
		e.Pending = append(e.Pending, f)
	}
	for i := range h.alerts {
		c := &h.alerts[i]
		if int(c.kind) >= len(kinds) || int(c.status) >= len(statuses) {
			return Explanation{}, fmt.Errorf("explain payment %q: %w", key, errCorrupt)
		}
		e.Alerts = append(e.Alerts, Published{
			ID: alert.ID(kinds[c.kind], key, h.life, c.capture), Kind: kinds[c.kind], Capture: c.capture,
			Revision: c.revision, Status: statuses[c.status], AmountMinor: c.amount, Currency: c.currency,
		})
	}
	s.explainAmounts(&e)
	return e, nil
}

// explainAmounts adds the facts up; without a group there are no terms for it.
func (s *State) explainAmounts(e *Explanation) {
	h, l := &s.judge.history, &s.judge.ledger
	g := s.group(e.Key)
	e.Merchant, e.Terminal, e.Channel = h.merchant, h.terminal, h.channel
	if g == noGroup {
		return
	}
	if !h.life.IsZero() {
		l.read(h.facts, s.terms[g])
		l.allot()
		var p snapshot
		s.report(&p, h.judged, new(Output))
		e.Status = p.payment.Status
	}
	names := s.hop.Positions()
	s.judge.integrate(noMoment, s.terms[g], func(source int) string { return sourceName(names, source) })
	l.read(h.facts, s.terms[g])
	l.allot()
	e.Merchant, e.Terminal, e.Channel, e.Currency = h.merchant, h.terminal, h.channel, l.currency
	for i := range l.captures {
		c := &l.captures[i]
		o := Obligation{
			Capture: c.id, OwedMinor: c.owed, SettledMinor: c.settled, RefundedMinor: c.netted, OpenMinor: c.residual,
			HeldUntilMs: Never,
		}
		if c.hasDue {
			o.Due, o.EvidenceDueMs = dueOf(l.terms, calendar.Date(c.clearing), c.due), c.due.EvidenceDueMs
			o.HeldUntilMs = l.holdEnd(c)
		}
		e.Captures = append(e.Captures, o)
	}
}

func showFact(f *fact, names []hop.Position) Fact {
	return Fact{
		ID: f.id, Kind: f.kind, Outcome: f.outcome, Operation: f.operation, Capture: f.capture,
		AmountMinor: f.amount, Currency: f.currency,
		Source: sourceName(names, f.source), Generation: f.generation, Offset: f.offset, Index: f.index,
	}
}

// sourceName of a source's number; a number that the commit does not name shows
// as such, for the reader to see.
func sourceName(names []hop.Position, number int) string {
	if number < len(names) {
		return names[number].Source
	}
	return fmt.Sprintf("source %d", number)
}

// KindName is an event kind in the words of the alert contract; empty for kinds
// that the join counts and keeps no fact of.
func KindName(k event.Kind) string { return kindNames[k] }
