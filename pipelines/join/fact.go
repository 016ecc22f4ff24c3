package join

import (
	"cmp"

	"settlewatch/schemas/event"
)

// absent marks an optional amount that was not given; amounts are never negative
// but for an adjustment's difference, which is not optional.
const absent int64 = -1

// A fact is what the join keeps of one event.
type fact struct {
	id        event.ID
	replaces  event.ID // of a correction or cancellation
	takesBack event.ID // the line that a line reversal or return names
	kind      event.Kind
	operation event.Operation
	outcome   event.Outcome
	mode      event.Mode
	stage     event.Stage
	target    event.AdjustmentTarget
	// delta: the amount of an adjustment is a difference. incremental: an
	// authorization adds to the earlier ones. netOnly: a line whose gross amount is
	// not known.
	delta, incremental, netOnly bool
	capture                     string // the capture it names; empty: none
	currency                    string
	cycle                       string // of a capture with terms of its own
	amount                      int64
	approved                    int64 // authorization; absent: all of amount
	total                       int64 // authorization: the authorized total; absent
	stays                       int64 // reversal, void: what stays of the original (DE95); absent: nothing, it is a full one
	fee                         int64 // line: the fee it states
	holdUntil                   int64 // hold; absent: until released
	clearing                    int32 // capture, sale: days since 1970-01-01, once judged
	hasClearing                 bool

	source     int // number of the source in the partition's hop.Reader
	generation uint32
	offset     int64
	index      uint32
}

// A pendingFact has not been judged yet: its times still matter.
type pendingFact struct {
	fact
	effective   int64 // the later of arrival and the frontier at its place
	arrival     int64
	business    int64
	hasBusiness bool
	settlement  int32 // DE15
	hasDate     bool
	merchant    string
	terminal    string
	channel     string
}

// keeps tells whether the join works with a kind of event; the others count, and
// keep the payment alive, but change no amount (fees and disputes never enter
// what was settled).
func keeps(k event.Kind) bool {
	switch k {
	case event.Kind_KIND_AUTHORIZATION, event.Kind_KIND_CAPTURE, event.Kind_KIND_SETTLEMENT,
		event.Kind_KIND_REVERSAL, event.Kind_KIND_VOID, event.Kind_KIND_REFUND,
		event.Kind_KIND_ADJUSTMENT, event.Kind_KIND_PAYOUT_RETURN, event.Kind_KIND_LINE_REVERSAL,
		event.Kind_KIND_HOLD, event.Kind_KIND_RELEASE:
		return true
	default:
		return false
	}
}

// kindNames are the words of the alert contract.
var kindNames = map[event.Kind]string{
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

func optional(v *int64) int64 {
	if v == nil {
		return absent
	}
	return *v
}

func idOf(b []byte) event.ID {
	id, err := event.IDFromBytes(b)
	if err != nil {
		return event.ID{}
	}
	return id
}

// known keeps a value of an open enum that this version knows; any other is 0, as
// the event's contract says, and never cut to one that means something. The values
// of our enums have no gaps, so that counting them is enough.
func known[E ~int32](value E, names map[int32]string) E {
	if value >= 0 && int(value) < len(names) {
		return value
	}
	return 0
}

// newFact takes from the event what the join works with.
func newFact(e *event.Event) (f pendingFact) {
	f.read(e, nil)
	return f
}

// read is newFact into memory that is there. Names is room for what hexName makes.
func (f *pendingFact) read(e *event.Event, names *[]byte) {
	*f = pendingFact{fact: fact{
		id: idOf(e.Id), replaces: idOf(e.Replaces),
		kind: known(e.Kind, event.Kind_name), operation: known(e.Operation, event.Operation_name),
		outcome: known(e.Outcome, event.Outcome_name), mode: known(e.Mode, event.Mode_name),
		stage: known(e.Stage, event.Stage_name), target: known(e.AdjustmentTarget, event.AdjustmentTarget_name),
		approved: absent, total: absent, stays: absent, holdUntil: absent,
	}}
	if c := e.Capture; c != nil {
		f.capture = c.Id
	}
	if f.kind == event.Kind_KIND_CAPTURE && f.capture == "" {
		f.capture = hexName(names, f.id) // a capture without an id of its own is itself
	}
	if l := e.Line; l != nil {
		f.takesBack = idOf(l.TakesBack)
	}
	f.addAmounts(e.Amounts)
	if s := e.Special; s != nil {
		f.incremental = s.Incremental
	}
	if d := e.Due; d != nil {
		f.cycle = d.Cycle
		f.holdUntil = optional(d.HoldUntilMs)
	}
	if p := e.Parties; p != nil {
		f.merchant, f.terminal, f.channel = p.Merchant, p.Terminal, p.Channel
	}
	if t := e.Time; t != nil {
		if t.BusinessMs != nil {
			f.business, f.hasBusiness = *t.BusinessMs, true
		}
		if t.SettlementDate != nil {
			f.settlement, f.hasDate = *t.SettlementDate, true
		}
	}
}

func (f *pendingFact) addAmounts(a *event.Amounts) {
	if a == nil {
		return
	}
	f.currency = a.Currency
	f.delta = a.Delta
	if a.TransactionMinor != nil {
		f.amount = *a.TransactionMinor
	} else if a.RequestedMinor != nil {
		f.amount = *a.RequestedMinor
	}
	if f.kind == event.Kind_KIND_AUTHORIZATION {
		f.approved, f.total = optional(a.ApprovedMinor), optional(a.AuthorizedTotalMinor)
	}
	if f.kind == event.Kind_KIND_REVERSAL || f.kind == event.Kind_KIND_VOID {
		f.stays = optional(a.ReplacementMinor)
	}
	if f.kind != event.Kind_KIND_SETTLEMENT {
		return
	}
	if a.GrossMinor != nil {
		f.amount = *a.GrossMinor
	} else if a.NetMinor != nil {
		f.netOnly, f.amount = true, *a.NetMinor
	}
	for _, fee := range a.Fees {
		f.fee += fee.AmountMinor
	}
}

// sameContent tells a repeat from a conflict: everything but where and when it
// was seen.
func (f *fact) sameContent(g *fact) bool {
	a, b := *f, *g
	for _, x := range []*fact{&a, &b} {
		x.clearing, x.hasClearing = 0, false
		x.source, x.generation, x.offset, x.index = 0, 0, 0, 0
	}
	return a == b
}

// before is the order in which facts are judged: effective arrival, then the
// source's name (its number would depend on which feed was read first), then the
// place in the source.
func before(a, b *pendingFact, sourceName func(int) string) int {
	if c := cmp.Compare(a.effective, b.effective); c != 0 {
		return c
	}
	if a.source != b.source {
		return cmp.Compare(sourceName(a.source), sourceName(b.source))
	}
	return cmp.Or(cmp.Compare(a.generation, b.generation), cmp.Compare(a.offset, b.offset), cmp.Compare(a.index, b.index))
}
