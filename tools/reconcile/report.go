package reconcile

import (
	"cmp"
	"errors"
	"slices"

	"settlewatch/pipelines/profile"
	"settlewatch/schemas/alert"
	"settlewatch/schemas/event"
)

// Report is what a run came to.
type Report struct {
	AsOfMs int64
	// Alerts are all revisions, in the order (moment, payment key).
	Alerts []*alert.Alert
	// Unsettled are payments that owe and are not due yet, or are held, by the time
	// at which evidence is due.
	Unsettled []Open
	// Unknown are settlement lines of payments that were never captured, by file
	// and line. A line that came twice counts once.
	Unknown  []Line
	Rejected []Rejection // the first of them, by file and line
	Files    []File
	Money    []Completeness // by currency
	Summary  Summary
}

// Summary are the totals, as --json prints them.
type Summary struct {
	Payments   int `json:"payments"`
	Events     int `json:"events"`
	Settled    int `json:"settled"`
	OpenNotDue int `json:"open_not_due"` // payments that owe, not due or held
	// ByAlertKind are the alerts that are open at the moment.
	ByAlertKind map[alert.Kind]int `json:"by_alert_kind"`
	// SettledUnknown are the lines of Report.Unknown.
	SettledUnknown int `json:"settled_unknown"`
	Rejected       int `json:"rejected"`
	// IdentityHolds: of every payment, captured = settled + open + alerted + excluded.
	IdentityHolds bool `json:"identity_holds"`
	// AlertsClosed were opened and closed again before the moment.
	AlertsClosed int `json:"alerts_closed"`
	// AfterAsOf are events that arrived at the moment or later; they are left out.
	AfterAsOf int `json:"after_as_of"`
}

// Open is a payment that owes.
type Open struct {
	PaymentKey, Merchant, Currency string
	AmountMinor                    int64
	EvidenceDueMs                  int64  // 0: no due time is known
	Held                           string // why it is held; empty: it is not due
}

// Line is one settlement line.
type Line struct {
	File                  string
	Line                  int64
	PaymentKey, Reference string
	AmountMinor           int64
	Currency              string
}

// File is one file's share.
type File struct {
	Name                                       string
	Records, Events, Skipped, Rejected, TooNew int
	Empty                                      bool
}

// Completeness is the identity of one currency, minor units.
type Completeness struct {
	Currency                                   string
	Captured, Settled, Open, Alerted, Excluded int64
}

// Findings tells whether there is anything to look at.
func (r *Report) Findings() bool {
	s := &r.Summary
	open := 0
	for _, n := range s.ByAlertKind {
		open += n
	}
	return open > 0 || s.SettledUnknown > 0 || s.Rejected > 0 || !s.IdentityHolds
}

// Latest are the alerts as they stand: the last revision of each, in the order of
// their first.
func (r *Report) Latest() []*alert.Alert {
	var out []*alert.Alert
	index := map[string]int{}
	for _, a := range r.Alerts {
		if i, known := index[a.ID]; known {
			out[i] = a
			continue
		}
		index[a.ID] = len(out)
		out = append(out, a)
	}
	return out
}

func (r *run) report() *Report {
	out := &Report{AsOfMs: r.AsOfMs, Summary: Summary{ByAlertKind: map[alert.Kind]int{}}}
	for _, k := range alert.Kinds {
		out.Summary.ByAlertKind[k] = 0
	}
	for _, s := range r.shards {
		out.Alerts = append(out.Alerts, s.alerts...)
	}
	// Revisions of one payment come from one shard, in order.
	slices.SortStableFunc(out.Alerts, func(a, b *alert.Alert) int {
		return cmp.Or(cmp.Compare(a.MomentJudged, b.MomentJudged), cmp.Compare(a.PaymentKey, b.PaymentKey))
	})
	for _, a := range out.Latest() {
		if a.Status == alert.Open {
			out.Summary.ByAlertKind[a.Kind]++
		} else {
			out.Summary.AlertsClosed++
		}
	}
	r.addFiles(out)
	r.addPayments(out)
	r.addReferences(out)
	return out
}

func (r *run) addFiles(out *Report) {
	for _, f := range r.files {
		out.Files = append(out.Files, File{
			Name: f.name, Records: f.records, Events: f.events, Skipped: f.skipped, Rejected: f.rejected, TooNew: f.late,
			Empty: errors.Is(f.failed, profile.ErrEmptyFile),
		})
		out.Summary.Events += f.events
		out.Summary.Rejected += f.rejected
		out.Summary.AfterAsOf += f.late
		out.Rejected = append(out.Rejected, f.samples...)
	}
	out.Rejected = out.Rejected[:min(len(out.Rejected), rejectionsKept)]
}

func (r *run) addPayments(out *Report) {
	var all totals
	var lines []unknown
	for _, s := range r.shards {
		t := &s.totals
		out.Summary.Payments += t.payments
		out.Summary.Settled += t.settled
		out.Summary.OpenNotDue += t.openNotDue
		out.Unsettled = append(out.Unsettled, t.unsettled...)
		all.broken = all.broken || t.broken
		for i := range t.money {
			all.sum(&t.money[i])
		}
		lines = append(lines, t.unknown...)
	}
	r.addUnknown(out, lines)
	out.Money, out.Summary.IdentityHolds = all.money, !all.broken
	slices.SortFunc(out.Money, func(a, b Completeness) int { return cmp.Compare(a.Currency, b.Currency) })
	slices.SortFunc(out.Unsettled, func(a, b Open) int {
		return cmp.Or(cmp.Compare(a.EvidenceDueMs, b.EvidenceDueMs), cmp.Compare(a.PaymentKey, b.PaymentKey))
	})
	slices.SortFunc(out.Unknown, func(a, b Line) int {
		return cmp.Or(cmp.Compare(a.File, b.File), cmp.Compare(a.Line, b.Line), cmp.Compare(a.Reference, b.Reference))
	})
	out.Summary.SettledUnknown = len(out.Unknown)
}

// addUnknown lists lines that belong to no payment, each once.
func (r *run) addUnknown(out *Report, lines []unknown) {
	slices.SortFunc(lines, func(a, b unknown) int {
		return cmp.Or(cmp.Compare(a.file, b.file), cmp.Compare(a.line, b.line), cmp.Compare(a.index, b.index))
	})
	wanted, seen := map[at]string{}, map[event.ID]bool{}
	lines = slices.DeleteFunc(lines, func(l unknown) bool {
		again := seen[l.id]
		seen[l.id] = true
		return again
	})
	for _, l := range lines {
		wanted[l.at] = ""
	}
	r.look(wanted)
	for _, l := range lines {
		out.Unknown = append(out.Unknown, Line{
			File: r.files[l.file].name, Line: l.line, PaymentKey: l.paymentKey,
			Reference: wanted[l.at], AmountMinor: l.amount, Currency: l.currency,
		})
	}
}

// look finds the references of the wanted places.
func (r *run) look(wanted map[at]string) {
	if len(wanted) == 0 {
		return
	}
	for _, f := range r.files {
		f.references.look(f.number, wanted)
	}
}

// addReferences gives the alerts' evidence the records' own references.
func (r *run) addReferences(out *Report) {
	numbers := map[string]int32{}
	for _, f := range r.files {
		numbers[f.name] = f.number
	}
	where := func(e *alert.Evidence) at {
		return at{numbers[e.File], place{e.Line, e.Index}}
	}
	wanted := map[at]string{}
	for _, a := range out.Alerts {
		for i := range a.Evidence {
			wanted[where(&a.Evidence[i])] = ""
		}
	}
	r.look(wanted)
	for _, a := range out.Alerts {
		for i := range a.Evidence {
			a.Evidence[i].Reference = wanted[where(&a.Evidence[i])]
		}
	}
}
