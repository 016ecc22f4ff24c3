package console

import (
	"encoding/json"
	"fmt"
	"io"
	"strings"

	"github.com/jedib0t/go-pretty/v6/table"
	"github.com/jedib0t/go-pretty/v6/text"

	"settlewatch/pipelines/join"
	"settlewatch/schemas/alert"
	"settlewatch/schemas/event"
)

// Timeline is all that is known of one payment. Live or Recorded is nil where
// that server could not be read, and its problem says why.
type Timeline struct {
	Key             event.PaymentKey
	LogPartition    int32
	Live            *Live
	LiveProblem     error
	Recorded        *Recorded
	RecordedProblem error
}

// Known tells whether anyone knows the payment.
func (t *Timeline) Known() bool {
	return (t.Live != nil && t.Live.Payment != nil) || (t.Recorded != nil && len(t.Recorded.Events)+len(t.Recorded.Lives) > 0)
}

// Write prints the timeline for people.
func (t *Timeline) Write(out io.Writer, s Style) error {
	var b strings.Builder
	t.writeHead(&b, s)
	t.writeDue(&b, s)
	t.writeEvents(&b, s)
	t.writeAlerts(&b, s)
	t.writeAgreement(&b, s)
	_, err := io.WriteString(out, b.String())
	return err
}

func (t *Timeline) writeHead(b *strings.Builder, s Style) {
	fmt.Fprintf(b, "%s %s\n", s.heading("payment "), t.Key)
	row := func(name, format string, args ...any) {
		fmt.Fprintf(b, "%s %s\n", s.faint(pad(name, 8)), fmt.Sprintf(format, args...))
	}
	if w := t.whose(); w != "" {
		row("of", "%s", w)
	}
	if t.Live != nil {
		place := t.Live.Place
		frontier := "no frontier yet"
		if place.FrontierMs != join.Never {
			frontier = fmt.Sprintf("frontier %s, held by %s", instant(place.FrontierMs), place.Holder)
		}
		if p := t.Live.Payment; p != nil {
			row("Redis", "%s", liveText(p))
		} else {
			row("Redis", "does not hold it: never seen, or its life has ended")
		}
		row("", "log partition %d, read up to %d; %s; rules %s, configuration %d", t.LogPartition, place.LogOffset, frontier, orDash(place.Rules), place.Config)
	} else {
		row("Redis", "%s", s.warning("not read: "+problemText(t.LiveProblem)))
	}
	switch {
	case t.Recorded == nil:
		row("table", "%s", s.warning("not read, see below"))
	case len(t.Recorded.Lives) == 0:
		row("table", "%s, no judgement", plural(len(t.Recorded.Events), "event"))
	default:
		l := t.Recorded.Lives[0]
		row("table", "%s, judgement %d at %s; captured %s = settled %s + open %s + alerted %s + excluded %s %s", l.Status, l.Version, l.Judged,
			Amount(l.CapturedMin, l.Currency), Amount(l.SettledMin, l.Currency), Amount(l.OpenMin, l.Currency), Amount(l.AlertedMin, l.Currency),
			Amount(l.ExcludedMin, l.Currency), l.Currency)
	}
}

func problemText(err error) string {
	if err == nil {
		return "not asked"
	}
	return err.Error()
}

func liveText(p *join.Explanation) string {
	parts := []string{strings.ToLower(strings.TrimPrefix(p.Status.String(), "STATUS_"))}
	if p.JudgedMs == join.Never || p.Life.IsZero() {
		parts[0] = "not judged yet"
	} else {
		parts[0] += fmt.Sprintf(", judgement %d at %s", p.Version, instant(p.JudgedMs))
	}
	if p.NextMs != join.Never {
		parts = append(parts, "next moment "+instant(p.NextMs))
	} else {
		parts = append(parts, "no next moment")
	}
	return strings.Join(parts, "; ")
}

// whose payment it is, as the one that was read says.
func (t *Timeline) whose() string {
	var merchant, terminal, channel, currency string
	if t.Live != nil && t.Live.Payment != nil {
		p := t.Live.Payment
		merchant, terminal, channel, currency = p.Merchant, p.Terminal, p.Channel, p.Currency
	} else if t.Recorded != nil && len(t.Recorded.Lives) > 0 {
		l := t.Recorded.Lives[0]
		merchant, terminal, channel, currency = l.Merchant, l.Terminal, l.Channel, l.Currency
	}
	var parts []string
	for _, p := range [][2]string{{"merchant ", merchant}, {"terminal ", terminal}, {"channel ", channel}, {"", currency}} {
		if p[1] != "" {
			parts = append(parts, p[0]+p[1])
		}
	}
	return strings.Join(parts, ", ")
}

func (t *Timeline) writeDue(b *strings.Builder, s Style) {
	if t.Live != nil && t.Live.Payment != nil {
		p := t.Live.Payment
		for i, o := range p.Captures {
			if i == 0 {
				fmt.Fprintf(b, "\n%s\n", s.heading("due"))
			}
			fmt.Fprintf(b, "  capture %s: owed %s, settled %s, refunded %s, open %s %s\n", o.Capture, Amount(o.OwedMinor, p.Currency),
				Amount(o.SettledMinor, p.Currency), Amount(o.RefundedMinor, p.Currency), Amount(o.OpenMinor, p.Currency), p.Currency)
			switch {
			case o.Due != nil:
				writeDueTime(b, s, o.Due)
			case o.OwedMinor > 0:
				fmt.Fprintf(b, "    %s\n", s.warning("no due time: the calendar does not know the year, or the capture is not accepted"))
			}
			if o.HeldUntilMs != join.Never {
				fmt.Fprintf(b, "    declared held until %s\n", instant(o.HeldUntilMs))
			}
		}
		return
	}
	if t.Recorded == nil {
		return
	}
	seen := map[string]bool{}
	for _, a := range t.Recorded.Alerts {
		if a.Due == nil || seen[a.Capture] {
			continue
		}
		if len(seen) == 0 {
			fmt.Fprintf(b, "\n%s\n", s.heading("due"))
		}
		seen[a.Capture] = true
		fmt.Fprintf(b, "  capture %s\n", a.Capture)
		writeDueTime(b, s, a.Due)
	}
	if len(seen) == 0 && len(t.Recorded.Lives) > 0 && t.Recorded.Lives[0].EvidenceDue != "" {
		l := t.Recorded.Lives[0]
		fmt.Fprintf(b, "\n%s\n  clearing %s, evidence %s (the arithmetic is in Redis and in alerts)\n", s.heading("due"), l.ClearingDate, shortInstant(l.EvidenceDue))
	}
}

func writeDueTime(b *strings.Builder, s Style, d *alert.Due) {
	fmt.Fprintf(b, "    money %s, evidence %s\n    %s\n", d.MoneyDue, shortInstant(d.EvidenceDue), s.faint(d.Arithmetic))
}

func (t *Timeline) writeEvents(b *strings.Builder, s Style) {
	tw := newTable()
	tw.Style().Options.SeparateHeader = false
	tw.SetColumnConfigs([]table.ColumnConfig{{Name: "amount", Align: text.AlignRight, AlignHeader: text.AlignRight}})
	tw.AppendHeader(table.Row{"arrival, UTC", "event", "outcome", "amount", "", "capture", "raw record", "in the log", "in Redis"})
	switch {
	case t.Recorded != nil:
		found := standings(t.Live, t.Recorded)
		for i := range t.Recorded.Events {
			e := &t.Recorded.Events[i]
			tw.AppendRow(table.Row{
				strings.Replace(e.Arrival, "T", " ", 1), eventWord(e.Kind, e.Operation), outcomeWord(e.Outcome), Amount(e.AmountMinor, e.Currency),
				e.Currency, e.Capture, rawPlace(e.Source, e.Offset, e.Index), fmt.Sprintf("%d/%d", e.LogPartition, e.LogOffset), found[i],
			})
		}
	case t.Live != nil && t.Live.Payment != nil:
		p := t.Live.Payment
		for _, f := range p.Judged {
			tw.AppendRow(factRow(f, "", standingJudged))
		}
		for _, f := range p.Pending {
			tw.AppendRow(factRow(f, instant(f.ArrivalMs), standingPending))
		}
	}
	fmt.Fprintf(b, "\n%s\n", s.heading("events"))
	if tw.Length() == 0 {
		b.WriteString("  none\n")
		return
	}
	b.WriteString(indent(tw.Render()))
}

func indent(block string) string {
	return " " + strings.ReplaceAll(strings.TrimRight(block, "\n"), "\n", "\n ") + "\n"
}

func factRow(f join.Fact, arrival, standing string) table.Row {
	operation := strings.ToLower(strings.TrimPrefix(f.Operation.String(), "OPERATION_"))
	outcome := strings.ToLower(strings.TrimPrefix(f.Outcome.String(), "OUTCOME_"))
	return table.Row{
		arrival, eventWord(join.KindName(f.Kind), operation), outcomeWord(outcome), Amount(f.AmountMinor, f.Currency), f.Currency,
		f.Capture, rawPlace(f.Source, f.Offset, int64(f.Index)), "", standing,
	}
}

func eventWord(kind, operation string) string {
	if operation == "correction" || operation == "cancellation" {
		return kind + " (" + operation + ")"
	}
	return kind
}

func outcomeWord(outcome string) string {
	if outcome == "unknown" || outcome == "unspecified" {
		return ""
	}
	return outcome
}

// rawPlace is where the raw record lies: topic/partition/offset, or file:line.
func rawPlace(source string, offset, index int64) string {
	where := source
	if s, err := event.ParseSource(source); err == nil {
		if file, is := s.File(); is {
			return fileLine(file, offset, index)
		}
		where = fmt.Sprintf("%s/%d", s.Topic, s.Partition)
	}
	where = fmt.Sprintf("%s/%d", where, offset)
	if index > 0 {
		where += fmt.Sprintf(" #%d", index)
	}
	return where
}

func (t *Timeline) writeAlerts(b *strings.Builder, s Style) {
	fmt.Fprintf(b, "\n%s\n", s.heading("alerts"))
	n := 0
	switch {
	case t.Recorded != nil:
		for _, a := range t.Recorded.Alerts {
			n++
			fmt.Fprintf(b, "  %s\n", s.Line(a))
		}
	case t.Live != nil && t.Live.Payment != nil:
		for _, a := range t.Live.Payment.Alerts {
			n++
			fmt.Fprintf(b, "  %s r%-2d %s %s %s %s (the latest revision; earlier ones are in ClickHouse and in the alert topics)\n",
				s.status(a.Status, 9), a.Revision, a.Kind, Amount(a.AmountMinor, a.Currency), a.Currency, a.Capture)
		}
	}
	if n == 0 {
		b.WriteString("  none\n")
	}
}

func (t *Timeline) writeAgreement(b *strings.Builder, s Style) {
	a := Compare(t.Live, t.Recorded)
	b.WriteString("\n")
	switch {
	case !a.Compared && t.Recorded == nil:
		fmt.Fprintf(b, "%s\n", s.warning("ClickHouse was not read, so nothing is compared: "+problemText(t.RecordedProblem)))
	case !a.Compared:
		fmt.Fprintf(b, "%s\n", s.warning("Redis was not read, so nothing is compared."))
	case a.Agree && t.Live.Payment != nil:
		p := t.Live.Payment
		fmt.Fprintf(b, "Redis and ClickHouse agree: %s, %s, judgement %d.\n", plural(int(p.Events)+len(p.Pending), "event"), plural(len(p.Alerts), "alert"), p.Version)
	case a.Agree:
		b.WriteString("Redis and ClickHouse agree.\n")
	default:
		b.WriteString(s.warning("Redis and ClickHouse differ:") + "\n")
	}
	for _, f := range a.Faults {
		fmt.Fprintf(b, "  fault: %s\n", f)
	}
	for _, f := range a.Behind {
		fmt.Fprintf(b, "  %s\n", f)
	}
	if len(a.Faults) > 0 {
		b.WriteString("  A fault does not pass by itself: keep this output, and see the runbooks.\n")
	} else if len(a.Behind) > 0 {
		b.WriteString("  It passes while the services run; `settlewatch status` shows how far each is.\n")
	}
	for _, n := range a.Notes {
		fmt.Fprintf(b, "  note: %s\n", n)
	}
}

// WriteJSON prints the timeline for programs: one object.
func (t *Timeline) WriteJSON(out io.Writer) error {
	v := struct {
		PaymentKey        string        `json:"payment_key"`
		LogPartition      int32         `json:"log_partition"`
		Redis             *liveJSON     `json:"redis,omitempty"`
		RedisProblem      string        `json:"redis_problem,omitempty"`
		ClickHouse        *recordedJSON `json:"clickhouse,omitempty"`
		ClickHouseProblem string        `json:"clickhouse_problem,omitempty"`
		Agreement         Agreement     `json:"agreement"`
	}{PaymentKey: string(t.Key), LogPartition: t.LogPartition, Agreement: Compare(t.Live, t.Recorded)}
	if t.Live != nil {
		v.Redis = newLiveJSON(t.Live)
	} else {
		v.RedisProblem = problemText(t.LiveProblem)
	}
	if t.Recorded != nil {
		v.ClickHouse = newRecordedJSON(t.Live, t.Recorded)
	} else {
		v.ClickHouseProblem = problemText(t.RecordedProblem)
	}
	b, err := json.Marshal(v)
	if err != nil {
		return fmt.Errorf("encode payment: %w", err)
	}
	_, err = out.Write(append(b, '\n'))
	return err
}
