package console

import (
	"fmt"
	"strings"

	"settlewatch/schemas/alert"
)

// Line is one alert revision in one line.
func (s Style) Line(a *alert.Alert) string {
	line := fmt.Sprintf("%s  %s r%-2d %-14s %12s %s  %s  %s", shortInstant(a.MomentJudged), s.status(a.Status, 9), a.Revision,
		a.Kind, Amount(a.AmountMinor, a.Currency), a.Currency, orDash(a.Merchant), a.PaymentKey)
	switch {
	case a.Closing != nil:
		line += "  " + s.faint(closingText(a.Closing))
	case a.Due != nil:
		line += "  " + s.faint("money due "+a.Due.MoneyDue)
	case a.Kind == alert.SettledTwice:
		line += "  " + s.faint(fmt.Sprintf("settled %s of %s", Amount(a.Amounts.SettledMinor, a.Currency), Amount(a.Amounts.ObligationMinor, a.Currency)))
	}
	return line
}

func orDash(t string) string {
	if t == "" {
		return "-"
	}
	return t
}

func closingText(c *alert.Closing) string {
	t := strings.ReplaceAll(c.Reason, "_", " ")
	if c.DaysLate > 0 {
		t += ", " + plural(c.DaysLate, "day") + " late"
	}
	return t
}

// Details of an alert, to be printed under its line: what is owed and settled,
// the due time with its arithmetic, what closed it, and the evidence.
func (s Style) Details(a *alert.Alert) string {
	var b strings.Builder
	row := func(name, format string, args ...any) {
		fmt.Fprintf(&b, "    %s %s\n", s.faint(pad(name, 10)), fmt.Sprintf(format, args...))
	}
	amount := func(minor int64) string { return Amount(minor, a.Currency) }
	row("alert", "%s, revision %d", a.ID, a.Revision)
	about := "the payment"
	if a.Capture != "" {
		about = "capture " + a.Capture
	}
	row("amounts", "%s: owed %s, settled %s, refunded %s %s (a line counts when it is %s)", about, amount(a.Amounts.ObligationMinor),
		amount(a.Amounts.SettledMinor), amount(a.Amounts.RefundedMinor), a.Currency, strings.ReplaceAll(a.Stage, "_", " "))
	where := []string{"acquirer " + a.Acquirer}
	for _, w := range [][2]string{{"merchant", a.Merchant}, {"terminal", a.Terminal}, {"channel", a.Channel}} {
		if w[1] != "" {
			where = append(where, w[0]+" "+w[1])
		}
	}
	row("where", "%s", strings.Join(where, ", "))
	if a.Due != nil {
		row("due", "money %s, evidence %s", a.Due.MoneyDue, shortInstant(a.Due.EvidenceDue))
		row("", "%s", a.Due.Arithmetic)
	}
	if a.Closing != nil {
		by := ""
		if a.Closing.EventID != "" {
			by = ", by event " + a.Closing.EventID
		}
		row("closed", "%s%s", closingText(a.Closing), by)
	}
	name := "evidence"
	for _, e := range a.Evidence {
		row(name, "%-14s %12s  %s  event %s", e.Kind, amount(e.AmountMinor), evidencePlace(e), e.EventID)
		name = ""
	}
	if more := a.EvidenceTotal - len(a.Evidence); more > 0 {
		row("", "and %s more", plural(more, "event"))
	}
	row("rules", "%s, configuration %d, join version %d", a.Rules.Name, a.Rules.Config, a.Rules.JoinVersion)
	row("next", "settlewatch payment '%s'", a.PaymentKey)
	return b.String()
}

// evidencePlace is file:line and the record's own reference for what came from a
// file, else topic/partition/offset.
func evidencePlace(e alert.Evidence) string {
	if e.File != "" {
		return strings.TrimRight(fileLine(e.File, e.Line, int64(e.Index))+"  "+e.Reference, " ")
	}
	p := fmt.Sprintf("%s/%d/%d", e.Topic, e.Partition, e.Offset)
	if e.Index > 0 {
		p += fmt.Sprintf(" #%d", e.Index)
	}
	return p
}

// fileLine is where a record of a file begins, as compilers write it; several
// records may stand on one line.
func fileLine(file string, line, index int64) string {
	where := fmt.Sprintf("%s:%d", file, line)
	if index > 0 {
		where += fmt.Sprintf(" #%d", index)
	}
	return where
}
