package calendar

import (
	"math"
	"testing"
	"time"

	"pgregory.net/rapid"
)

// day parses a date that a test is sure of.
func day(t testing.TB, text string) Date {
	t.Helper()
	d, err := ParseDate(text)
	if err != nil {
		t.Fatal(err)
	}
	return d
}

func TestDateIsDaysSince1970(t *testing.T) {
	for text, want := range map[string]Date{
		"1970-01-01": 0,
		"1969-12-31": -1,
		"2000-02-29": 11016,
		"2026-01-01": 20454,
		"0000-01-01": minDate,
		"9999-12-31": maxDate,
	} {
		if got := day(t, text); got != want {
			t.Errorf("%s is day %d, want %d", text, got, want)
		}
		if got := want.String(); got != text {
			t.Errorf("day %d is %s, want %s", want, got, text)
		}
	}
}

func TestParseDateRefuses(t *testing.T) {
	for _, text := range []string{"", "2025-1-01", "2025-02-30", "2025-13-01", " 2025-01-01", "2025-01-01Z", "20250101", "10000-01-01"} {
		if d, err := ParseDate(text); err == nil {
			t.Errorf("%q was read as %s", text, d)
		}
	}
}

func TestDateOfNormalisesAndSaturates(t *testing.T) {
	if got := DateOf(2025, time.October, 32).String(); got != "2025-11-01" {
		t.Errorf("October 32 is %s", got)
	}
	if got := DateOf(1_000_000, time.January, 1); got != maxDate {
		t.Errorf("year 1,000,000 is %d, want %d", got, maxDate)
	}
}

func TestDateEndsOfWeekAndMonth(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		d := Date(rapid.Int32Range(-100_000, 100_000).Draw(t, "day"))
		sunday, last := d.endOfWeek(), d.endOfMonth()
		if sunday.Weekday() != time.Sunday || sunday < d || sunday > d+6 {
			t.Fatalf("week of %s ends %s", d, sunday)
		}
		if _, _, next := (last + 1).Civil(); next != 1 || last < d || last > d+30 {
			t.Fatalf("month of %s ends %s", d, last)
		}
		if d.Weekday() != d.civil().Weekday() {
			t.Fatalf("%s is a %s, want %s", d, d.Weekday(), d.civil().Weekday())
		}
		if d.Year() != d.civil().Year() {
			t.Fatalf("%s is of year %d", d, d.Year())
		}
	})
}

func FuzzParseDate(f *testing.F) {
	for _, text := range []string{"2025-09-30", "0000-01-01", "9999-12-31", "2025-02-29", "x"} {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		d, err := ParseDate(text)
		if err != nil {
			return
		}
		if d.String() != text {
			t.Fatalf("%q is read as %s", text, d)
		}
		if d < minDate || d > maxDate || int64(d) > math.MaxInt32/2 {
			t.Fatalf("%q is day %d", text, d)
		}
	})
}

func FuzzParseCycle(f *testing.F) {
	for _, text := range []string{"T+1", "D+0", "W+1", "M+12", "T+01", "t+1", "T-1", "T+366", "W+0"} {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		c, err := parseCycle(text)
		if err != nil {
			return
		}
		if c.String() != text {
			t.Fatalf("%q is read as %s", text, c)
		}
		if c.days < 0 || c.days > cycleDaysMax {
			t.Fatalf("%q has %d days", text, c.days)
		}
	})
}
