package console

import (
	"strings"
	"time"

	"github.com/jedib0t/go-pretty/v6/text"

	"settlewatch/schemas/alert"
)

// Style of what is printed for people.
type Style struct {
	// Colour is for terminals only.
	Colour bool
}

// Paint colours t where the style has colours.
func (s Style) Paint(t string, colours ...text.Color) string {
	if !s.Colour {
		return t
	}
	// The library asks the environment too, once, for the standard output that it
	// assumes; whether to use colours was decided for the real one.
	return text.Colors(colours).EscapeSeq() + t + text.Reset.EscapeSeq()
}

func (s Style) status(status alert.Status, width int) string {
	padded := pad(string(status), width)
	switch status {
	case alert.Open:
		return s.Paint(padded, text.FgRed, text.Bold)
	case alert.Resolved:
		return s.Paint(padded, text.FgGreen)
	case alert.Retracted:
		return s.Paint(padded, text.FgHiBlack)
	default:
		return padded
	}
}

func (s Style) heading(t string) string { return s.Paint(t, text.Bold) }
func (s Style) faint(t string) string   { return s.Paint(t, text.FgHiBlack) }
func (s Style) warning(t string) string { return s.Paint(t, text.FgYellow) }

func pad(t string, width int) string {
	if missing := width - len(t); missing > 0 {
		return t + strings.Repeat(" ", missing)
	}
	return t
}

// instant of Unix milliseconds as people read it in a column; UTC.
func instant(ms int64) string { return time.UnixMilli(ms).UTC().Format("2006-01-02 15:04:05.000Z") }

// shortInstant of an alert's RFC 3339 instant, without what is zero.
func shortInstant(t string) string {
	at, err := time.Parse(time.RFC3339, t)
	if err != nil {
		return t
	}
	return at.UTC().Format("2006-01-02 15:04:05Z")
}

// count with its noun: 1 event, 2 events.
func plural(n int, noun string) string {
	if n == 1 {
		return "1 " + noun
	}
	return commas(int64(n)) + " " + noun + "s"
}

// commas between thousands.
func commas(n int64) string {
	digits := []byte{}
	negative := n < 0
	for i := 0; n != 0 || i == 0; i++ {
		if i > 0 && i%3 == 0 {
			digits = append(digits, ',')
		}
		d := n % 10
		if d < 0 {
			d = -d
		}
		digits = append(digits, byte('0'+d))
		n /= 10
	}
	if negative {
		digits = append(digits, '-')
	}
	for i, j := 0, len(digits)-1; i < j; i, j = i+1, j-1 {
		digits[i], digits[j] = digits[j], digits[i]
	}
	return string(digits)
}
