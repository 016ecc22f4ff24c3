package calendar

import (
	"fmt"
	"strings"
	"time"

	"settlewatch/schemas/event"
)

// arithmeticItemsMax bounds the ranges of days, and the channels, that one line lists.
const arithmeticItemsMax = 8

// Arithmetic shows how Due came to its answer, in one line that is the same
// wherever it is written: cycle and calendar, clearing date and cut-offs, the
// days off and the weekend days worked on the way, and both due times. due must
// be what Due returned for this clearing date.
func (t *Terms) Arithmetic(clearing Date, due Due) string {
	c, err := parseCycle(due.Cycle)
	if err != nil {
		// A due time from elsewhere still shows its result.
		return fmt.Sprintf("%.20q: clearing %s; money due %s", due.Cycle, clearing, due.MoneyDue)
	}
	var line strings.Builder
	line.WriteString(c.String())
	if c.letter == 'D' {
		line.WriteString(" in calendar days")
	} else {
		line.WriteString(" on " + t.calendar.Label())
	}
	fmt.Fprintf(&line, ": clearing %s (%s)", clearing, t.cutoffs())
	t.writeDays(&line, clearing, due.MoneyDue, c)
	fmt.Fprintf(&line, "; money due %s; evidence %s", due.MoneyDue, clock(t.terms.GetPublishMs()))
	if days := t.terms.GetPublishDays(); days > 0 {
		fmt.Fprintf(&line, " + %dd", days)
	}
	fmt.Fprintf(&line, " + %s grace %s", grace(t.terms.GetGraceMs()), t.Zone())
	return line.String()
}

// writeDays lists what the calendar says between clearing date and due date.
func (t *Terms) writeDays(line *strings.Builder, clearing, moneyDue Date, c cycle) {
	if c.letter == 'D' {
		return
	}
	base, _, err := t.moneyDue(clearing, c)
	if err != nil {
		return
	}
	from := clearing + 1
	switch {
	case c.letter == 'W':
		fmt.Fprintf(line, "; week ends %s", base)
		from = base + 1
	case c.letter == 'M':
		fmt.Fprintf(line, "; month ends %s", base)
		from = base + 1
	case c.days == 0:
		from = clearing
	case t.counting == event.Counting_COUNTING_ROLL_FIRST:
		from = clearing
		if base != clearing {
			fmt.Fprintf(line, "; rolled to %s", base)
		}
	}
	written := 0
	for d := from; d <= moneyDue; {
		what := t.remark(d)
		last := d
		for last < moneyDue && t.remark(last+1) == what {
			last++
		}
		if what != "" {
			if written++; written > arithmeticItemsMax {
				line.WriteString("; …")
				return
			}
			fmt.Fprintf(line, "; %s %s", span(d, last), what)
		}
		d = last + 1
	}
}

// remark is what a reader who knows only weekdays would not expect, or needs.
func (t *Terms) remark(d Date) string {
	works, err := t.calendar.Working(d)
	switch {
	case err != nil:
		return "unknown"
	case !works:
		return "off"
	case isWeekend(d):
		return "worked"
	default:
		return ""
	}
}

// cutoffs names all cut-offs: which channel a payment took is in its events.
func (t *Terms) cutoffs() string {
	text := "midnight " + t.Zone()
	if t.cutoffMs != noCutoff {
		text = "cut-off " + clock(t.cutoffMs) + " " + t.Zone()
	}
	for i, c := range t.terms.GetChannelCutoffs() {
		if i == arithmeticItemsMax {
			return text + ", …"
		}
		text += ", " + c.GetChannel() + " "
		if c.CutoffMs == nil {
			text += "none"
		} else {
			text += clock(c.GetCutoffMs())
		}
	}
	return text
}

// span is 2025-10-01..08, with the whole last date where the month differs.
func span(first, last Date) string {
	if first == last {
		return first.String()
	}
	text := last.String()
	if first.endOfMonth() == last.endOfMonth() {
		text = text[len(text)-len("08"):]
	}
	return first.String() + ".." + text
}

// clock is a time of day, 23:00, with seconds and milliseconds only where there
// are some.
func clock(ms int64) string {
	text := fmt.Sprintf("%02d:%02d", ms/3_600_000, ms/60_000%60)
	if rest := ms % 60_000; rest%1000 != 0 {
		text += fmt.Sprintf(":%02d.%03d", rest/1000, rest%1000)
	} else if rest != 0 {
		text += fmt.Sprintf(":%02d", rest/1000)
	}
	return text
}

// grace is 2h0m, with seconds only where there are some.
func grace(ms int64) string {
	d := time.Duration(ms) * time.Millisecond
	text := d.String()
	if d >= time.Minute && d%time.Minute == 0 {
		text = strings.TrimSuffix(text, "0s")
	}
	return text
}
