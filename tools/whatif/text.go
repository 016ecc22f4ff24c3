package whatif

import (
	"encoding/json"
	"fmt"
	"io"
	"strings"

	"github.com/jedib0t/go-pretty/v6/table"
	"github.com/jedib0t/go-pretty/v6/text"

	"settlewatch/schemas/money"
)

// WriteText prints the counts, and the first changes of each sort.
func (r *Report) WriteText(out io.Writer, limit int) error {
	t := table.NewWriter()
	style := table.StyleLight
	style.Format.Header = text.FormatDefault
	style.Options = table.OptionsNoBordersAndSeparators
	style.Options.SeparateHeader = true
	t.SetStyle(style)
	t.AppendHeader(table.Row{"alerts", "before", "after", "open before", "open after", "only before", "only after", "changed"})
	var right []table.ColumnConfig
	for n := 2; n <= 8; n++ {
		right = append(right, table.ColumnConfig{Number: n, Align: text.AlignRight})
	}
	t.SetColumnConfigs(right)
	for _, c := range r.Counts {
		t.AppendRow(table.Row{string(c.Kind), c.Before, c.After, c.OpenBefore, c.OpenAfter, c.OnlyBefore, c.OnlyAfter, c.Changed})
	}
	var b strings.Builder
	fmt.Fprintf(&b, "%d records of the log, replayed under rules %s; nothing was published\n\n%s\n", r.Records, r.Rules, t.Render())
	for _, begin := range r.Begins {
		fmt.Fprintf(&b, "\npartition %d begins with the checkpoint at offset %d: the other rules come into force there", begin.Partition, begin.Offset)
	}
	if len(r.Begins) > 0 {
		b.WriteString("\nwhat was said before a checkpoint stands on both sides\n")
	}
	if !r.Differs() {
		b.WriteString("\nno alert would be another\n")
	}
	for _, part := range []struct {
		title string
		is    func(Change) bool
	}{
		{"only before: these would not be raised", func(c Change) bool { return c.After == nil }},
		{"only after: these would be raised", func(c Change) bool { return c.Before == nil }},
		{"changed", func(c Change) bool { return c.Before != nil && c.After != nil }},
	} {
		shown, left := 0, 0
		for _, c := range r.Changes {
			switch {
			case !part.is(c):
			case shown == limit:
				left++
			default:
				if shown == 0 {
					b.WriteString("\n" + part.title + "\n")
				}
				shown++
				fmt.Fprintf(&b, "  %-14s %-32s %s\n", c.Kind, c.PaymentKey, c.text())
			}
		}
		if left > 0 {
			fmt.Fprintf(&b, "  … and %d more (--json shows all)\n", left)
		}
	}
	_, err := io.WriteString(out, b.String())
	return err
}

func (c Change) text() string {
	switch {
	case c.Before == nil:
		return c.After.text()
	case c.After == nil:
		return c.Before.text()
	default:
		return c.Before.text() + "  →  " + c.After.text()
	}
}

func (s Standing) text() string {
	amount, err := money.Format(s.AmountMinor, s.Currency)
	if err != nil {
		amount = fmt.Sprintf("%d minor units of", s.AmountMinor)
	}
	opened := s.Opened
	if opened == "" {
		opened = "before the checkpoint"
	}
	return fmt.Sprintf("%s %s %s, opened %s", s.Status, amount, s.Currency, opened)
}

// WriteJSON prints one change a line, and the summary as the last line.
func (r *Report) WriteJSON(out io.Writer) error {
	e := json.NewEncoder(out)
	for _, c := range r.Changes {
		if err := e.Encode(c); err != nil {
			return fmt.Errorf("write change: %w", err)
		}
	}
	if err := e.Encode(map[string]any{"summary": r}); err != nil {
		return fmt.Errorf("write summary: %w", err)
	}
	return nil
}
