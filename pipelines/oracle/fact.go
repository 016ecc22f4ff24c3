package oracle

import (
	"cmp"
	"slices"

	"settlewatch/pipelines/calendar"
	"settlewatch/schemas/event"
)

// A fact is one event of a payment and when it was known.
type fact struct {
	*event.Event
	origin             *event.Origin
	id, replaces       event.ID
	arrival, effective int64
	// clearing is found once, by the terms under which the fact is first judged.
	clearing *calendar.Date
}

func newFact(r *event.LogRecord, e *event.Event, effective int64) *fact {
	f := &fact{Event: e, origin: r.Origin, arrival: r.ArrivalMs, effective: effective}
	f.id, f.replaces = identity(e.Id), identity(e.Replaces)
	return f
}

func identity(b []byte) event.ID {
	id, err := event.IDFromBytes(b)
	if err != nil {
		return event.ID{}
	}
	return id
}

// inOrder is the one order of a payment's events.
func inOrder(a, b *fact) int {
	return cmp.Or(
		cmp.Compare(a.effective, b.effective),
		cmp.Compare(a.origin.Source, b.origin.Source),
		cmp.Compare(a.origin.Generation, b.origin.Generation),
		cmp.Compare(a.origin.Offset, b.origin.Offset),
		cmp.Compare(a.origin.Index, b.origin.Index),
	)
}

// names of the kinds that the two rules look at; all others keep a payment alive
// and change no amount.
var names = map[event.Kind]string{
	event.Kind_KIND_AUTHORIZATION: "authorization",
	event.Kind_KIND_CAPTURE:       "capture",
	event.Kind_KIND_SETTLEMENT:    "settlement",
	event.Kind_KIND_REVERSAL:      "reversal",
	event.Kind_KIND_VOID:          "void",
	event.Kind_KIND_REFUND:        "refund",
	event.Kind_KIND_ADJUSTMENT:    "adjustment",
	event.Kind_KIND_PAYOUT_RETURN: "payout_return",
	event.Kind_KIND_LINE_REVERSAL: "line_reversal",
	event.Kind_KIND_HOLD:          "hold",
	event.Kind_KIND_RELEASE:       "release",
}

func (f *fact) is(kinds ...event.Kind) bool { return slices.Contains(kinds, f.Kind) }

func (f *fact) isSale() bool {
	return f.Kind == event.Kind_KIND_AUTHORIZATION && f.Mode == event.Mode_MODE_SINGLE
}

func (f *fact) isCredit() bool {
	return f.Kind == event.Kind_KIND_ADJUSTMENT && f.AdjustmentTarget == event.AdjustmentTarget_ADJUSTMENT_TARGET_CREDIT
}

func (f *fact) isTakeBack() bool {
	return f.is(event.Kind_KIND_PAYOUT_RETURN, event.Kind_KIND_LINE_REVERSAL)
}

func (f *fact) isCancelling() bool {
	return f.is(event.Kind_KIND_REVERSAL, event.Kind_KIND_VOID) && f.happened()
}

// happened: what a settlement feed reports was done unless it says otherwise,
// all else only when it was accepted.
func (f *fact) happened() bool {
	if f.Outcome == event.Outcome_OUTCOME_ACCEPTED {
		return true
	}
	_, known := event.Outcome_name[int32(f.Outcome)]
	silent := f.Outcome == event.Outcome_OUTCOME_UNKNOWN || !known
	reported := f.isCredit() || f.isTakeBack() ||
		f.is(event.Kind_KIND_SETTLEMENT, event.Kind_KIND_HOLD, event.Kind_KIND_RELEASE)
	return silent && reported
}

func (f *fact) definite() bool {
	return f.Outcome == event.Outcome_OUTCOME_ACCEPTED || f.Outcome == event.Outcome_OUTCOME_REJECTED ||
		f.Outcome == event.Outcome_OUTCOME_FAILED
}

// names is the capture that the fact is about; empty: none. A capture without an
// identity of its own is itself.
func (f *fact) names() string {
	if id := f.GetCapture().GetId(); id != "" || f.Kind != event.Kind_KIND_CAPTURE {
		return id
	}
	return f.id.String()
}

// amount is what the record moves or asks for, gross where it says so.
func (f *fact) amount() int64 {
	a := f.GetAmounts()
	if f.Kind == event.Kind_KIND_SETTLEMENT {
		if a != nil && a.GrossMinor != nil {
			return *a.GrossMinor
		}
		if a != nil && a.NetMinor != nil {
			return *a.NetMinor
		}
	}
	if a != nil && a.TransactionMinor != nil {
		return *a.TransactionMinor
	}
	return a.GetRequestedMinor()
}

// netOnly: a line of which only the net amount is known.
func (f *fact) netOnly() bool {
	a := f.GetAmounts()
	return f.Kind == event.Kind_KIND_SETTLEMENT && a != nil && a.GrossMinor == nil && a.NetMinor != nil
}

func (f *fact) fee() (sum int64) {
	for _, fee := range f.GetAmounts().GetFees() {
		sum += fee.AmountMinor
	}
	return sum
}

func (f *fact) approved() int64 {
	if a := f.GetAmounts(); a != nil && a.ApprovedMinor != nil {
		return *a.ApprovedMinor
	}
	return f.amount()
}

// stays is what a partial reversal or void leaves; false for a full one.
func (f *fact) stays() (minor int64, partial bool) {
	if a := f.GetAmounts(); a != nil && a.ReplacementMinor != nil {
		return *a.ReplacementMinor, true
	}
	return 0, false
}

// clear finds the clearing date of what can oblige: the date that the record
// states, else the business day of its time; an offline advice without a date
// counts from the arrival of its upload.
func (f *fact) clear(terms *calendar.Terms, channel string) {
	if f.clearing != nil || f.Kind != event.Kind_KIND_CAPTURE && !f.isSale() {
		return
	}
	if own := f.GetParties().GetChannel(); own != "" {
		channel = own
	}
	at := f.arrival
	if t := f.GetTime(); t != nil && t.BusinessMs != nil && f.Mode != event.Mode_MODE_OFFLINE {
		at = *t.BusinessMs
	}
	date := terms.ClearingDate(at, channel)
	if t := f.GetTime(); t != nil && t.SettlementDate != nil {
		date = calendar.Date(*t.SettlementDate)
	}
	f.clearing = &date
}
