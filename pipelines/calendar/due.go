package calendar

import (
	"settlewatch/schemas/event"
)

// Due is when a capture's money, and the evidence of it, is due.
type Due struct {
	Cycle    string // T+1, D+1, W+1, M+1 …
	MoneyDue Date
	// EvidenceDueMs is Unix milliseconds: the publishing time of the feed on the
	// due date plus the day offset, and the grace after it.
	EvidenceDueMs int64
}

type dueKey struct {
	clearing Date
	cycle    string
}

type dueAnswer struct {
	due Due
	err error
}

// memoMax bounds what Due remembers: a year of clearing dates in a dozen cycles.
// When it is full all of it is forgotten, which changes no answer.
const memoMax = 4096

// LocalDate is the civil date of an instant (Unix milliseconds) in the terms'
// zone.
func (t *Terms) LocalDate(ms int64) Date {
	d, _ := t.zone.local(ms)
	return d
}

// ClearingDate is the date on which the cycle closes that takes a payment made
// at businessMs (Unix milliseconds) through the channel: the local date before
// the channel's cut-off, the next one from the cut-off on. So with a cut-off at
// 23:00 a payment at 22:59:59.999 on the 10th is the 10th's and one at 23:00 the
// 11th's; with a cut-off at 02:00 a payment at 01:00 on the 10th is the 10th's
// and one at 10:00 the 11th's. A channel of which the terms say nothing has the
// terms' cut-off. The date is not rolled to a working day.
func (t *Terms) ClearingDate(businessMs int64, channel string) Date {
	cutoffMs, found := t.channelCutoffMs[channel]
	if !found {
		cutoffMs = t.cutoffMs
	}
	d, clockMs := t.zone.local(businessMs)
	if cutoffMs == noCutoff {
		return d
	}
	if s := t.zone.at(businessMs); businessMs-dayMs >= s.startMs && businessMs+dayMs < s.endMs {
		if clockMs >= cutoffMs {
			return d + 1
		}
		return d
	}
	// Near a change of the clock the wall clock may run backwards; the moment of
	// the cut-off does not.
	for businessMs >= t.zone.instant(d, cutoffMs) {
		d++
	}
	return d
}

// Due is when a payment that clears on the date is due in the cycle; an empty
// cycle is the terms' own. An UnknownYearError means that the calendar does not
// reach; ErrCycle that the cycle is not one, or that these terms cannot judge it
// because its evidence would be due before the day's business has closed.
func (t *Terms) Due(clearing Date, cycle string) (Due, error) {
	key := dueKey{clearing: clearing, cycle: cycle}
	if answer, found := t.memo[key]; found {
		return answer.due, answer.err
	}
	parsed := t.cycle
	if cycle != "" {
		var err error
		if parsed, err = parseCycle(cycle); err == nil {
			err = t.checkOrder(parsed)
		}
		if err != nil {
			// Not remembered: the text comes from outside and has no bound.
			return Due{}, err
		}
	}
	due, err := t.due(clearing, parsed)
	if len(t.memo) >= memoMax {
		clear(t.memo)
	}
	if cycle != "" {
		// The text may be a slice of a whole message, which the map would keep.
		key.cycle = parsed.String()
	}
	t.memo[key] = dueAnswer{due: due, err: err}
	return due, err
}

func (t *Terms) due(clearing Date, c cycle) (Due, error) {
	if clearing < minDate || clearing > maxDate {
		return Due{}, &UnknownYearError{Calendar: t.calendar.Label(), Year: clearing.Year()}
	}
	_, moneyDue, err := t.moneyDue(clearing, c)
	if err != nil {
		return Due{}, err
	}
	published := t.zone.instant(moneyDue+Date(t.terms.GetPublishDays()), t.terms.GetPublishMs())
	evidenceMs := published + t.terms.GetGraceMs()
	// checkOrder reckons by the wall clock; on a day on which the clock is set
	// back, an hour's grace ends an hour earlier by it.
	evidenceMs = max(evidenceMs, t.zone.instant(clearing, t.latestCutoffMs))
	return Due{Cycle: c.String(), MoneyDue: moneyDue, EvidenceDueMs: evidenceMs}, nil
}

// moneyDue also returns the date from which the cycle's days are counted.
func (t *Terms) moneyDue(clearing Date, c cycle) (base, moneyDue Date, err error) {
	base = clearing
	switch c.letter {
	case 'D':
		// Calendar days are never rolled and need no calendar.
		return base, base + Date(c.days), nil
	case 'W':
		base = clearing.endOfWeek()
	case 'M':
		base = clearing.endOfMonth()
	default: // T: parseCycle lets nothing else through
		if c.days == 0 || t.counting == event.Counting_COUNTING_ROLL_FIRST {
			if base, err = t.calendar.rollForward(clearing); err != nil {
				return 0, 0, err
			}
		}
	}
	moneyDue, err = t.calendar.addWorking(base, c.days)
	return base, moneyDue, err
}
