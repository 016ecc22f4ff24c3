package calendar

import (
	"fmt"
	"time"
)

// Date is a civil date: days since 1970-01-01, no zone.
type Date int32

const dayMs = int64(24 * time.Hour / time.Millisecond)

// The dates that can be written as YYYY-MM-DD: years 0000 to 9999. Instants
// beyond them saturate here, far enough from the ends of Date that adding days
// cannot wrap an absurd date into a plausible one.
const (
	minDate Date = -719528
	maxDate Date = 2932896
)

// DateOf is the date of a civil year, month and day, normalised as time.Date
// does (October 32 is November 1). Beyond years 0000 to 9999 it saturates.
func DateOf(year int, month time.Month, day int) Date {
	return dateOfDays(floorDiv(time.Date(year, month, day, 0, 0, 0, 0, time.UTC).Unix(), 24*60*60))
}

// ParseDate reads 2006-01-02 and nothing else; a day that its month does not
// have is an error.
func ParseDate(text string) (Date, error) {
	t, err := time.Parse(time.DateOnly, text)
	if err != nil {
		return 0, fmt.Errorf("parse date %.40q: want YYYY-MM-DD", text)
	}
	return DateOf(t.Date()), nil
}

// String is 2006-01-02.
func (d Date) String() string { return d.civil().Format(time.DateOnly) }

// Civil is the date's year, month and day.
func (d Date) Civil() (year int, month time.Month, day int) { return d.civil().Date() }

// Year of the date.
func (d Date) Year() int { return d.civil().Year() }

// Weekday of the date; 1970-01-01 was a Thursday.
func (d Date) Weekday() time.Weekday {
	return time.Weekday(((int64(d)+int64(time.Thursday))%7 + 7) % 7)
}

// endOfWeek is the Sunday of the week, Monday to Sunday, that contains d.
func (d Date) endOfWeek() Date { return d + Date((7-int(d.Weekday()))%7) }

// endOfMonth is the last day of the month that contains d.
func (d Date) endOfMonth() Date {
	year, month, _ := d.Civil()
	return DateOf(year, month+1, 0)
}

func (d Date) civil() time.Time { return time.Unix(int64(d)*24*60*60, 0).UTC() }

func dateOfDays(days int64) Date {
	return Date(min(max(days, int64(minDate)), int64(maxDate)))
}

func floorDiv(a, b int64) int64 {
	q := a / b
	if a%b != 0 && (a < 0) != (b < 0) {
		q--
	}
	return q
}
