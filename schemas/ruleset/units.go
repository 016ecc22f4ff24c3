package ruleset

import (
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"

	"settlewatch/schemas/event"
)

// Every form has a parse function and a format function that are each other's
// inverse. A format function fails on a value that no text stands for.

const (
	minuteMs = int64(time.Minute / time.Millisecond)
	dayMs    = 24 * 60 * minuteMs
)

// choice is a closed list of words for the values of an enumeration.
type choice[T comparable] struct {
	values []T
	words  []string
}

var (
	clocks = choice[event.Clock]{
		[]event.Clock{event.Clock_CLOCK_LIVE, event.Clock_CLOCK_PLAYED},
		[]string{"live", "played"},
	}
	countings = choice[event.Counting]{
		[]event.Counting{event.Counting_COUNTING_FROM_CLEARING, event.Counting_COUNTING_ROLL_FIRST},
		[]string{"from_clearing", "roll_first"},
	}
	refundModes = choice[event.RefundMode]{
		[]event.RefundMode{event.RefundMode_REFUND_MODE_NETTED, event.RefundMode_REFUND_MODE_GROSS},
		[]string{"netted", "gross"},
	}
	stages = choice[event.Stage]{
		[]event.Stage{event.Stage_STAGE_CLEARED, event.Stage_STAGE_FUNDED, event.Stage_STAGE_PAID_OUT},
		[]string{"cleared", "funded", "paid_out"},
	}
)

func (c choice[T]) parse(word string) (T, error) {
	if i := slices.Index(c.words, word); i >= 0 {
		return c.values[i], nil
	}
	var none T
	return none, fmt.Errorf("%.40q: want %s", word, strings.Join(c.words, " or "))
}

func (c choice[T]) format(value T) (string, error) {
	if i := slices.Index(c.values, value); i >= 0 {
		return c.words[i], nil
	}
	return "", fmt.Errorf("%v has no word; want %s", value, strings.Join(c.words, " or "))
}

// parseClock reads a time of day, 23:00, 23:00:30 or 23:00:30.5, as milliseconds
// after midnight.
func parseClock(text string) (int64, error) {
	for _, layout := range []string{"15:04", "15:04:05"} {
		t, err := time.Parse(layout, text)
		if err != nil || len(text) < len(layout) || text[2] != ':' {
			continue // the standard library also takes 9:00
		}
		if since := t.Sub(t.Truncate(24 * time.Hour)); since%time.Millisecond == 0 {
			return since.Milliseconds(), nil
		}
	}
	return 0, fmt.Errorf("%.40q: want a time of day, such as 23:00", text)
}

func formatClock(ms int64) (string, error) {
	if ms < 0 || ms >= dayMs {
		return "", fmt.Errorf("%d ms is no time of day", ms)
	}
	layout := "15:04"
	switch {
	case ms%1000 != 0:
		layout = "15:04:05.000"
	case ms%minuteMs != 0:
		layout = "15:04:05"
	}
	return time.UnixMilli(ms).UTC().Format(layout), nil
}

// noCutoff is the word for a cut-off that a channel does not have.
const noCutoff = "none"

func parseCutoff(text string) (*int64, error) {
	if text == noCutoff {
		return nil, nil //nolint:nilnil // absent is a value of its own in CONFIG
	}
	ms, err := parseClock(text)
	if err != nil {
		return nil, fmt.Errorf("%w, or %s", err, noCutoff)
	}
	return &ms, nil
}

func formatCutoff(ms *int64) (string, error) {
	if ms == nil {
		return noCutoff, nil
	}
	return formatClock(*ms)
}

// parseDuration reads 2h, 90m or 1h30m as milliseconds.
func parseDuration(text string) (int64, error) {
	d, err := time.ParseDuration(text)
	if err != nil || d < 0 || d%time.Millisecond != 0 {
		return 0, fmt.Errorf("%.40q: want a duration in whole milliseconds, such as 2h or 1h30m", text)
	}
	return d.Milliseconds(), nil
}

func formatDuration(ms int64) (string, error) {
	if ms < 0 || ms > math.MaxInt64/int64(time.Millisecond) {
		return "", fmt.Errorf("%d ms is no duration", ms)
	}
	text := (time.Duration(ms) * time.Millisecond).String()
	if ms >= minuteMs {
		// 2h0m0s is 2h to people.
		if trimmed, found := strings.CutSuffix(text, "m0s"); found {
			text = trimmed + "m"
		}
		if trimmed, found := strings.CutSuffix(text, "h0m"); found {
			text = trimmed + "h"
		}
	}
	return text, nil
}

// parsePercent reads 0.6% or 115% as parts of ten thousand; the second decimal is
// the last that there is.
func parsePercent(text string) (int64, error) {
	bad := fmt.Errorf("%.40q: want a percentage with at most two decimals, such as 0.6%%", text)
	digits, found := strings.CutSuffix(text, "%")
	if !found {
		return 0, bad
	}
	whole, part, hasPart := strings.Cut(digits, ".")
	if hasPart && (part == "" || len(part) > 2) {
		return 0, bad
	}
	part += strings.Repeat("0", 2-len(part))
	n, err := strconv.ParseUint(whole, 10, 31)
	if err != nil {
		return 0, bad
	}
	hundredths, err := strconv.ParseUint(part, 10, 31)
	if err != nil {
		return 0, bad
	}
	return int64(n*100 + hundredths), nil
}

func formatPercent(bps int64) (string, error) {
	if bps < 0 || bps/100 > math.MaxInt32 {
		return "", fmt.Errorf("%d parts of ten thousand are no percentage", bps)
	}
	text := strconv.FormatInt(bps/100, 10)
	if bps%100 != 0 {
		text = strings.TrimSuffix(fmt.Sprintf("%s.%02d", text, bps%100), "0")
	}
	return text + "%", nil
}

// parseDays reads 60d.
func parseDays(text string) (int32, error) {
	digits, found := strings.CutSuffix(text, "d")
	n, err := strconv.ParseUint(digits, 10, 31)
	if !found || err != nil {
		return 0, fmt.Errorf("%.40q: want a number of days, such as 60d", text)
	}
	return int32(n), nil
}

func formatDays(days int32) (string, error) {
	if days < 0 {
		return "", fmt.Errorf("%d days are below zero", days)
	}
	return fmt.Sprintf("%dd", days), nil
}

// parseDate reads 2025-01-31 as days since 1970-01-01.
func parseDate(text string) (int32, error) {
	t, err := time.Parse(time.DateOnly, text)
	if err != nil {
		return 0, fmt.Errorf("%.40q: want a date, such as 2025-01-31", text)
	}
	// The years 0000 to 9999 are far inside the range.
	return int32(t.Unix() / (dayMs / 1000)), nil
}

func formatDate(days int32) (string, error) {
	t := time.Unix(int64(days)*(dayMs/1000), 0).UTC()
	if t.Year() < 0 || t.Year() > 9999 {
		return "", fmt.Errorf("day %d has no date of four-digit year", days)
	}
	return t.Format(time.DateOnly), nil
}
