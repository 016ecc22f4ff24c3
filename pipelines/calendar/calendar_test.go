package calendar

import (
	"errors"
	"strconv"
	"strings"
	"testing"
	"time"
)

func mainland(t testing.TB) *Calendar {
	t.Helper()
	c, err := Lookup("cn-mainland", "2026.1")
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func TestEmbeddedCalendarsLoad(t *testing.T) {
	versions, err := Versions()
	if err != nil {
		t.Fatal(err)
	}
	if len(versions) == 0 {
		t.Fatal("no calendar is embedded")
	}
	for _, v := range versions {
		c, err := Lookup(v.GetName(), v.GetVersion())
		if err != nil {
			t.Errorf("%s@%s: %v", v.GetName(), v.GetVersion(), err)
		} else if c.Source() == "" {
			t.Errorf("%s has no source", c.Label())
		}
	}
}

func TestLookupOfAnUnknownCalendarNamesWhatThereIs(t *testing.T) {
	_, err := Lookup("cn-mainland", "1999.1")
	if !errors.Is(err, ErrUnknownCalendar) || !strings.Contains(err.Error(), "cn-mainland@2026.1") {
		t.Fatalf("got %v", err)
	}
}

// The number of working days of each year, counted from the notices: weekdays,
// less weekdays off, plus weekend days worked.
func TestMainlandWorkingDaysPerYear(t *testing.T) {
	c := mainland(t)
	for year, want := range map[int]int{
		2018: 250, 2019: 250, 2020: 249, 2021: 250, 2022: 249, 2023: 249, 2024: 251, 2025: 248, 2026: 248,
	} {
		got := 0
		for d := DateOf(year, time.January, 1); d < DateOf(year+1, time.January, 1); d++ {
			works, err := c.Working(d)
			if err != nil {
				t.Fatal(err)
			}
			if works {
				got++
			}
		}
		if got != want {
			t.Errorf("%d has %d working days, want %d", year, got, want)
		}
	}
}

func TestMainlandKnowsItsYears(t *testing.T) {
	c := mainland(t)
	if c.FirstKnown().String() != "2018-01-01" || c.LastKnown().String() != "2026-12-31" {
		t.Errorf("known from %s to %s", c.FirstKnown(), c.LastKnown())
	}
	for text, year := range map[string]int{"2017-12-31": 2017, "2027-01-01": 2027} {
		_, err := c.Working(day(t, text))
		var unknown *UnknownYearError
		if !errors.As(err, &unknown) || unknown.Year != year || unknown.Calendar != "cn-mainland@2026.1" {
			t.Errorf("%s: got %v", text, err)
		}
		if err != nil && !strings.Contains(err.Error(), strconv.Itoa(year)) {
			t.Errorf("%s: %v does not name the year", text, err)
		}
		if !errors.Is(err, ErrUnknownYear) {
			t.Errorf("%s: %v is not ErrUnknownYear", text, err)
		}
	}
}

func TestLoadRefuses(t *testing.T) {
	const head = `{"name":"x","version":"1","source":"s","years":`
	for name, test := range map[string]struct{ file, want string }{
		"no JSON":            {`{`, "decode"},
		"unknown key":        {`{"nmae":"x"}`, "unknown field"},
		"nothing":            {`{}`, "no years"},
		"no source":          {`{"name":"x","version":"1","years":{"2025":{}}}`, "source is missing"},
		"year of words":      {head + `{"next":{}}}`, "four digits"},
		"years with a gap":   {head + `{"2023":{},"2025":{}}}`, "year before it is missing"},
		"day of other year":  {head + `{"2025":{"off":["2024-12-31"]}}}`, "outside its year"},
		"range over the end": {head + `{"2025":{"off":["2025-12-30/2026-01-02"]}}}`, "outside its year"},
		"reversed range":     {head + `{"2025":{"off":["2025-01-03/2025-01-01"]}}}`, "ends before"},
		"no date":            {head + `{"2025":{"off":["2025-02-30"]}}}`, "YYYY-MM-DD"},
		"no last date":       {head + `{"2025":{"off":["2025-02-01/"]}}}`, "YYYY-MM-DD"},
		"off twice":          {head + `{"2025":{"off":["2025-01-01","2025-01-01"]}}}`, "listed twice"},
		"off and worked":     {head + `{"2025":{"off":["2025-01-04"],"work":["2025-01-04"]}}}`, "listed twice"},
		"worked weekday":     {head + `{"2025":{"work":["2025-01-06"]}}}`, "no weekend day"},
	} {
		if _, err := load([]byte(test.file)); err == nil || !strings.Contains(err.Error(), test.want) {
			t.Errorf("%s: got %v, want %q", name, err, test.want)
		}
	}
}

func TestLoadReportsAllMistakes(t *testing.T) {
	_, err := load([]byte(`{"name":"x","version":"1","source":"s","years":{
		"2024":{"off":["2025-01-01"]},"2025":{"work":["2025-01-06","2025-01-07"]}}}`))
	if err == nil || strings.Count(err.Error(), "\n") != 2 {
		t.Fatalf("want three lines, got %v", err)
	}
}
