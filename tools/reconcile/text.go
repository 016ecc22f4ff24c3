package reconcile

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"time"

	"github.com/jedib0t/go-pretty/v6/table"
	"github.com/jedib0t/go-pretty/v6/text"

	"settlewatch/schemas/alert"
	"settlewatch/schemas/money"
)

// listed is how many of a list people are shown, before the rest is counted.
// Alerts are all shown.
const listed = 20

// WriteJSON writes one alert revision a line, as the alert topics hold it, and
// the summary as the last line.
func (r *Report) WriteJSON(w io.Writer) error {
	out := bufio.NewWriter(w)
	for _, a := range r.Alerts {
		b, err := a.Encode()
		if err != nil {
			return err
		}
		_, _ = out.Write(b)     // Flush returns the first error
		_ = out.WriteByte('\n') // likewise
	}
	b, err := json.Marshal(map[string]any{"summary": r.Summary})
	if err != nil {
		return fmt.Errorf("encode summary: %w", err)
	}
	_, _ = out.Write(append(b, '\n'))
	if err := out.Flush(); err != nil {
		return fmt.Errorf("write result: %w", err)
	}
	return nil
}

// WriteText writes the report for people; colour only where it goes to a terminal.
func (r *Report) WriteText(w io.Writer, colour bool) error {
	out := &printer{Writer: bufio.NewWriter(w), colour: colour}
	out.alerts(r)
	out.unknown(r)
	out.unsettled(r)
	out.rejected(r)
	out.files(r)
	out.money(r)
	out.summary(r)
	if err := out.Flush(); err != nil {
		return fmt.Errorf("write result: %w", err)
	}
	return nil
}

// printer keeps the first error for Flush.
type printer struct {
	*bufio.Writer
	colour bool
}

func (p *printer) say(format string, args ...any) { fmt.Fprintf(p, format+"\n", args...) }

func (p *printer) paint(c text.Color, s string) string {
	if !p.colour {
		return s
	}
	return c.Sprint(s)
}

func amountText(minor int64, currency string) string {
	return money.Amount{Minor: minor, Currency: currency}.String()
}

func instantText(ms int64) string { return time.UnixMilli(ms).UTC().Format("2006-01-02T15:04:05Z") }

// heading begins a section behind an empty line.
func (p *printer) heading(format string, args ...any) {
	p.say("%s", p.paint(text.Bold, fmt.Sprintf(format, args...)))
}

// alerts are shown by their last revision: what is open, and what was.
func (p *printer) alerts(r *Report) {
	open, closed := 0, r.Summary.AlertsClosed
	for _, n := range r.Summary.ByAlertKind {
		open += n
	}
	p.heading("Alerts open at %s: %d, and %d that were closed before", instantText(r.AsOfMs), open, closed)
	for _, a := range r.Latest() {
		status := p.paint(text.FgGreen, fmt.Sprintf("%-9s", a.Status))
		if a.Status == alert.Open {
			status = p.paint(text.FgRed, fmt.Sprintf("%-9s", a.Status))
		}
		line := fmt.Sprintf("  %s %-14s %16s  %s  %s", status, a.Kind, amountText(a.AmountMinor, a.Currency), a.PaymentKey, a.Merchant)
		if a.Revision > 1 {
			line += fmt.Sprintf("  revision %d", a.Revision)
		}
		switch {
		case a.Closing != nil:
			line += "  " + a.Closing.Reason
			if a.Closing.DaysLate > 0 {
				line += fmt.Sprintf(", %d days late", a.Closing.DaysLate)
			}
		case a.Due != nil:
			line += fmt.Sprintf("  money due %s (%s), shown by %s", a.Due.MoneyDue, a.Due.Cycle, a.Due.EvidenceDue)
		}
		p.say("%s", line)
		if a.Status == alert.Open {
			p.evidence(a)
		}
	}
	p.say("")
}

// evidenceShown of one alert.
const evidenceShown = 6

func (p *printer) evidence(a *alert.Alert) {
	for i, e := range a.Evidence {
		if i == evidenceShown {
			p.say("      … and %d more", a.EvidenceTotal-i)
			return
		}
		line := fmt.Sprintf("      %s:%d  %s %s", e.File, e.Line, e.Kind, e.Reference)
		if e.AmountMinor != 0 { // a hold has none
			line += "  " + amountText(e.AmountMinor, a.Currency)
		}
		p.say("%s", line)
	}
}

func (p *printer) rest(n int) {
	if n > listed {
		p.say("  … and %d more", n-listed)
	}
	if n > 0 {
		p.say("")
	}
}

func (p *printer) unknown(r *Report) {
	p.heading("Lines settled, but never captured: %d", len(r.Unknown))
	for _, l := range r.Unknown[:min(listed, len(r.Unknown))] {
		p.say("  %s:%d  %s  %s  %s", l.File, l.Line, l.Reference, amountText(l.AmountMinor, l.Currency), l.PaymentKey)
	}
	p.rest(len(r.Unknown))
}

func (p *printer) unsettled(r *Report) {
	p.heading("Payments captured, not settled, not due yet or held: %d", len(r.Unsettled))
	for _, o := range r.Unsettled[:min(listed, len(r.Unsettled))] {
		why := "evidence due " + instantText(o.EvidenceDueMs)
		switch {
		case o.Held != "":
			why = o.Held
		case o.EvidenceDueMs == 0:
			why = "no due time"
		}
		p.say("  %s  %s  %s  %s", o.PaymentKey, amountText(o.AmountMinor, o.Currency), o.Merchant, why)
	}
	p.rest(len(r.Unsettled))
}

func (p *printer) rejected(r *Report) {
	p.heading("Records that could not be read: %d", r.Summary.Rejected)
	for _, x := range r.Rejected {
		path := x.Path
		if path == "" {
			path = "the record"
		}
		p.say("  %s  %s: %s: %s", p.paint(text.FgYellow, fmt.Sprintf("%s:%d", x.File, x.Line)), path, x.Reason, x.Detail)
	}
	p.rest(r.Summary.Rejected)
}

func (p *printer) table(header table.Row, rows []table.Row) {
	t := table.NewWriter()
	t.SetStyle(table.StyleLight)
	t.Style().Format.Header = text.FormatDefault
	t.AppendHeader(header)
	t.AppendRows(rows)
	p.say("%s", t.Render())
}

func (p *printer) files(r *Report) {
	var rows []table.Row
	for _, f := range r.Files {
		rows = append(rows, table.Row{f.Name, f.Records, f.Events, f.Skipped, f.TooNew, f.Rejected})
	}
	p.table(table.Row{"file", "records", "events", "left out", "too new", "rejected"}, rows)
}

func (p *printer) money(r *Report) {
	if len(r.Money) == 0 {
		return
	}
	var rows []table.Row
	for _, c := range r.Money {
		row := table.Row{c.Currency}
		for _, minor := range [...]int64{c.Captured, c.Settled, c.Open, c.Alerted, c.Excluded} {
			shown, err := money.Format(minor, c.Currency)
			if err != nil {
				shown = fmt.Sprintf("%d minor units", minor)
			}
			row = append(row, shown)
		}
		rows = append(rows, row)
	}
	p.table(table.Row{"currency", "captured", "= settled", "+ open", "+ alerted", "+ excluded"}, rows)
}

func (p *printer) summary(r *Report) {
	s := r.Summary
	rows := []table.Row{
		{"payments", s.Payments}, {"events", s.Events}, {"settled", s.Settled}, {"open, not due", s.OpenNotDue},
	}
	for _, k := range alert.Kinds {
		rows = append(rows, table.Row{string(k), s.ByAlertKind[k]})
	}
	holds := p.paint(text.FgGreen, "holds")
	if !s.IdentityHolds {
		holds = p.paint(text.FgRed, "DOES NOT HOLD")
	}
	rows = append(rows, table.Row{"settled, never captured", s.SettledUnknown}, table.Row{"rejected", s.Rejected})
	if s.AfterAsOf > 0 {
		rows = append(rows, table.Row{"arrived at that moment or later, left out", s.AfterAsOf})
	}
	rows = append(rows, table.Row{"captured = settled + open + alerted + excluded", holds})
	p.table(table.Row{"at " + instantText(r.AsOfMs), ""}, rows)
}
