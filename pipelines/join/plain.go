package join

import (
	"strings"

	"settlewatch/pipelines/calendar"
	"settlewatch/pipelines/hop"
	"settlewatch/schemas/event"
)

// Most moments of most payments say nothing: an authorization, its capture and one
// settlement line, each in good time. Where only alerts are wanted, such a moment
// need not be judged when it passes: its facts are judged together at the first
// moment at which something could be said. That the alerts are the same is shown
// by TestAlertsOnlyGivesTheSameAlerts; why:
//
//   - A plain payment has no alert yet, and only new authorizations, captures and
//     lines, none of them corrected. So nothing can close, and only two things can
//     open.
//   - Settled twice takes two lines. The second line makes a payment not plain.
//   - Paid unsettled, and the end of a life, take a due time: the payment's next
//     moment is at or before the first of them, and an event that arrives at or
//     after it makes the payment not plain.
//   - Where one capture or sale is owed and then one line has paid as much before it
//     was due, nothing is left to fall due: the next moment is the end of the life.
//     Whatever is owed after that makes the payment not plain. A line that stands before
//     it in the log may have arrived after it was due.
//
// A moment that was foreseen and turns out to be none is not judged: see judgeForeseen.

// plain tells whether an event can be part of a plain payment.
func (f *pendingFact) plain() bool {
	switch f.kind {
	case event.Kind_KIND_AUTHORIZATION, event.Kind_KIND_CAPTURE, event.Kind_KIND_SETTLEMENT:
		return f.replaces.IsZero() && f.cycle == "" &&
			(f.operation == event.Operation_OPERATION_NEW || f.operation == event.Operation_OPERATION_UNKNOWN)
	default:
		return false
	}
}

// foresee gives the flags and the next moment that a payment has with a new event.
func (s *State) foresee(flags byte, next int64, f *pendingFact, t *template, group int) (byte, int64) {
	eager := flags &^ plainFlags // what was deferred stays so until the next judgement
	if !s.alertsOnly || group == noGroup || flags&flagPlain == 0 || !f.plain() || f.effective >= next ||
		(f.kind == event.Kind_KIND_SETTLEMENT && flags&flagLine != 0) || (f.obliges() && settled(flags)) {
		return eager, min(next, f.effective)
	}
	terms := s.terms[group]
	end := f.effective + terms.LifeMs()
	flags = f.settles(flags, t, terms)
	if f.obliges() {
		due, known := s.dueOf(f, group)
		if !known {
			return eager, min(next, f.effective)
		}
		end = min(end, due)
	}
	switch {
	case end <= f.effective: // beyond what an int64 holds
		return eager, min(next, f.effective)
	case settled(flags) && f.kind == event.Kind_KIND_SETTLEMENT:
		return flags | flagDeferred, end // and not when it would have been due
	}
	return flags | flagDeferred, min(next, end)
}

// settles notes what a plain event says of what is owed and paid.
func (f *pendingFact) settles(flags byte, t *template, terms *calendar.Terms) byte {
	same := f.amount == t.amount && f.currency == t.currency
	switch {
	case f.kind == event.Kind_KIND_SETTLEMENT:
		flags |= flagLine
		if same && f.fact.effective() && f.stage == terms.Stage() {
			flags |= flagPaid
		}
	case !f.obliges():
	case same && f.approvedAmount() <= f.amount && flags&(flagOwed|flagLine) == 0:
		flags |= flagOwed
	default:
		flags |= flagOwedMore
	}
	return flags
}

// settled: one capture or sale, and one line that paid all of it.
func settled(flags byte) bool {
	return flags&(flagOwed|flagOwedMore|flagPaid) == flagOwed|flagPaid
}

// obliges: what has a clearing date.
func (f *fact) obliges() bool { return f.kind == event.Kind_KIND_CAPTURE || f.isSale() }

// dueOf is when evidence for an obligation is due. It is not known where the
// channel of another event decides.
func (s *State) dueOf(f *pendingFact, group int) (ms int64, known bool) {
	if f.channel == "" && len(s.config.Groups[group].Terms.ChannelCutoffs) > 0 {
		return 0, false
	}
	clearing := calendar.Date(f.clearingDate(s.terms[group], f.channel))
	last := &s.lastDue[group]
	if last.known && last.clearing == clearing {
		return last.ms, true
	}
	due, err := s.terms[group].Due(clearing, "")
	if err != nil {
		return 0, false
	}
	*last = dueAnswer{clearing, due.EvidenceDueMs, true}
	return due.EvidenceDueMs, true
}

// A dueAnswer is what the terms of a group said last: most captures clear on the same day.
type dueAnswer struct {
	clearing calendar.Date
	ms       int64
	known    bool
}

// foreseen tells whether a moment that was foreseen for the unpacked payment may be
// none of it: no event arrived then, and no CONFIG asks for it.
func (h *history) foreseen(moment, judgeFrom int64) bool {
	if h.flags&flagDeferred == 0 {
		return false
	}
	last := h.lastEvent(moment + 1)
	return last == hop.Never || last < moment && moment != judgeFrom
}

// judgeForeseen judges a payment at a foreseen moment if it is one. That is seen from
// its last event, and where it is none the payment stays as judged there: when that was
// matters as soon as a CONFIG moves it to a group whose frontier is behind.
func (s *State) judgeForeseen(b *bucket, slot int, hash uint64, moment int64, group int, out *Output) error {
	key := event.PaymentKey(strings.Clone(string(s.judge.history.key)))
	if err := s.judgeDeferred(b, slot, hash, moment, group, out); err != nil {
		return err
	}
	if b, slot = s.payments.find(key, hash); slot < 0 {
		return nil
	}
	if h, err := peek(b.payment(slot)); err != nil {
		return corrupt(key)
	} else if h.next != moment {
		return nil
	}
	return s.judgeAt(key, moment, group, out)
}

// judgeDeferred brings a payment to where it would be if each of the moments of its
// events before one had been judged. Nothing was said at them, so nothing is now.
func (s *State) judgeDeferred(b *bucket, slot int, hash uint64, before int64, group int, out *Output) error {
	j, h := &s.judge, &s.judge.history
	if err := h.unpack(b.payment(slot)); err != nil {
		return err
	}
	if last := h.lastEvent(before); last != hop.Never {
		s.readAt(last, group)
		s.settle(b, slot, hash, group, last, out)
		return nil
	}
	first := h.firstEvent()
	h.flags, h.epoch = 0, s.epoch
	s.packed, j.scratch = h.pack(s.packed[:0], j.scratch, first)
	s.payments.set(b, slot, hash, s.packed)
	s.timers[group].set(first, hash)
	return nil
}

// lastEvent is when the last event that waits arrived before a moment; hop.Never
// where none did.
func (h *history) lastEvent(before int64) int64 {
	last := hop.Never
	for i := range h.pending {
		if e := h.pending[i].effective; e < before {
			last = max(last, e)
		}
	}
	return last
}

// firstEvent is when the first event that waits arrived; noMoment without one.
func (h *history) firstEvent() int64 {
	first := noMoment
	for i := range h.pending {
		first = min(first, h.pending[i].effective)
	}
	return first
}
