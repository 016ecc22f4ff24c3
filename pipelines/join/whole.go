package join

import (
	"settlewatch/pipelines/hop"
	"settlewatch/schemas/alert"
	"settlewatch/schemas/event"
	"settlewatch/schemas/payment"
)

// Whole joins a log of which every event is known before any is judged, as those of files
// are: one CONFIG, then events, then each source marked at one and the same moment. It
// gives the alerts of a State that folds this log, by the same judge; that it does is
// shown by TestWhole.
//
// What a State does for payments that go on, it need not: no table, no timers, nothing
// packed. Events lie in piles, each for a part of the payments that fits into the
// processor's cache (whole_pile.go). A pile is taken apart into payments, each is judged
// through all of its moments at once, and forgotten. Its judgements come in the order of
// the payment's moments; among payments there is none.
//
// It is not safe for concurrent use.
type Whole struct {
	s     *State // holds the terms and one payment at a time, and no table
	piles [pileCount]pile
	names []byte // see hexName
	apart apart
	// Of the payment that is judged.
	group         int
	judged        Judged
	alerts, lives Output
}

// NewWhole begins a log under a CONFIG. Sources are the names of all that events come
// from. The error is an *UnsupportedConfigError.
func NewWhole(config *event.Config, sources []string) (*Whole, error) {
	w := &Whole{s: NewAlertsOnly()} // hence moments at which nothing can be said may wait
	w.lives.lends = true
	w.judged.w = w
	for _, name := range sources {
		w.s.hop.Source(name)
	}
	if err := w.s.configure(config, 0, new(Output)); err != nil {
		return nil, err
	}
	return w, nil
}

// An At is where an event stands: Source counts the names that NewWhole was given.
type At struct {
	Source int
	Offset int64
	Index  uint32
}

// Take copies an event, which each place has once. Those of one source come in the order
// of their places.
func (w *Whole) Take(at At, arrivalMs int64, e *event.Event) {
	f := &w.s.incoming
	w.names = w.names[:0]
	f.read(e, &w.names)
	f.source, f.offset, f.index = at.Source, at.Offset, at.Index
	f.arrival, f.effective = arrivalMs, arrivalMs
	hash := hashKey(event.PaymentKey(e.PaymentKey))
	w.piles[hash>>(64-pileBits)].add(e.PaymentKey, uint32(hash), f)
}

// Judged is one payment as it stands at the end of the log. It is lent until the visit
// returns: what is wanted of it longer must be copied, but for the alerts.
type Judged struct {
	PaymentKey string
	// Alerts are its revisions, in order; they are the visitor's.
	Alerts []*alert.Alert
	// Lives are its snapshots: of each life that has ended, then of the one that goes on.
	// There is none of a life of which nothing was judged.
	Lives []*payment.Payment

	w     *Whole
	group *together
}

// A Line is a settlement line as it was taken.
type Line struct {
	At
	ID          event.ID
	AmountMinor int64
	Currency    string
}

// Lines calls visit for each settlement line of the payment, repeats too, in the order in
// which they were taken.
func (j *Judged) Lines(visit func(Line)) {
	var f pendingFact
	for e := j.group.first; e != none; e = j.w.apart.entries[e].next {
		_ = j.w.apart.entry(e).read(&f, nil) // gather has read it
		if f.kind == event.Kind_KIND_SETTLEMENT {
			visit(Line{At{f.source, f.offset, f.index}, f.id, f.amount, f.currency})
		}
	}
}

// Judge marks every source at a moment, Unix milliseconds, and calls visit for each
// payment. The events are gone then. An error is visit's, or final.
func (w *Whole) Judge(moment int64, visit func(*Judged) error) error {
	for i := range w.piles {
		w.apart.take(&w.piles[i])
		for p := range w.apart.payments {
			if err := w.judge(&w.apart.payments[p], moment, visit); err != nil {
				return err
			}
		}
		w.piles[i] = pile{}
	}
	return nil
}

// judge takes one payment through the moments that the frontier has passed.
func (w *Whole) judge(p *together, frontier int64, visit func(*Judged) error) error {
	s, h := w.s, &w.s.judge.history
	key := w.apart.entry(p.first).key()
	if w.group = s.group(key); w.group == noGroup {
		return nil
	}
	h.reset()
	w.alerts.Reset()
	w.lives.Reset()
	next, err := w.gather(key, p)
	if err != nil {
		return err
	}
	if h.flags&flagDeferred != 0 {
		// Nothing is said at the moments before the next.
		if last := h.lastEvent(min(next, frontier)); last != hop.Never {
			s.readAt(last, w.group)
			next = w.settle(last)
		} else {
			next = h.firstEvent()
		}
	}
	for next < frontier {
		s.readAt(next, w.group)
		if err := s.publish(next, &w.alerts); err != nil {
			return err
		}
		next = w.settle(next)
	}
	if !h.life.IsZero() {
		s.report(w.lives.snapshot(), h.judged, &w.lives)
	}
	w.judged.PaymentKey, w.judged.Alerts, w.judged.Lives, w.judged.group = string(key), w.alerts.Alerts, w.lives.Payments, p
	return visit(&w.judged)
}

// gather unpacks the payment's events, and gives its first moment.
func (w *Whole) gather(key event.PaymentKey, p *together) (next int64, err error) {
	s, h := w.s, &w.s.judge.history
	h.key, h.flags, next = key, flagPlain, noMoment
	for e := p.first; e != none; e = w.apart.entries[e].next {
		f := h.another()
		if !w.apart.entry(e).read(f, &h.names) {
			return 0, corrupt(key)
		}
		if len(h.pending) == 1 {
			h.template = templateOf(f)
		}
		h.flags, next = s.foresee(h.flags, next, f, &h.template, w.group)
	}
	if p.bytes+p.count*templateBytes >= paymentBytesMax {
		next = w.bound()
	}
	return next, nil
}

// templateBytes is more than an event of a payment takes beside a template without what it
// takes in a pile, where the template is empty: the texts and numbers that differ only from
// the payment's.
const templateBytes = 64

// bound leaves out what would not have fitted into the payment, as State.file does.
func (w *Whole) bound() (next int64) {
	s, h := w.s, &w.s.judge.history
	all := h.pending
	h.flags, next = flagPlain, noMoment
	kept, tails := all[:0], 0
	for i := range all {
		f := &all[i]
		if i > 0 {
			s.packed = appendHead(s.packed[:0], h.flags, h.key, s.epoch, next, &h.template)
			if len(s.packed)+tails >= paymentBytesMax {
				s.counts.Overflow++
				continue
			}
		}
		s.tail = appendPending(s.tail[:0], f, &h.template)
		tails += len(s.tail)
		h.flags, next = s.foresee(h.flags, next, f, &h.template, w.group)
		kept = append(kept, *f)
	}
	h.pending = kept
	return next
}

// settle reports a life that has ended, and gives the payment's next moment.
func (w *Whole) settle(moment int64) (next int64) {
	s := w.s
	j, h := &s.judge, &s.judge.history
	expiry := j.expiry()
	if expiry <= moment {
		if !h.life.IsZero() {
			s.report(w.lives.snapshot(), moment, &w.lives)
		}
		s.endLife(moment, w.group)
		expiry = noMoment
	}
	return j.next(moment, expiry)
}
