// Package calendar says when money is due and when the evidence of it is due.
//
// In go the terms of a group as CONFIG names them, the instants of payments and
// their clearing dates; out come clearing dates, due dates and the line of
// arithmetic that an alert shows. The package is pure: no clock, no files, no
// zone data of the machine. The working days and the time zones are data of
// its own, each with the version that CONFIG names, so that the same log gives
// the same due times on every machine. A calendar knows its years: asked
// beyond them it answers with an UnknownYearError and assumes nothing.
package calendar

import (
	"bytes"
	"embed"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"path"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"settlewatch/schemas/event"
)

//go:embed data/*.json
var files embed.FS

// ErrUnknownCalendar is a calendar name and version that this binary lacks.
var ErrUnknownCalendar = errors.New("unknown calendar")

// ErrUnknownYear is what every UnknownYearError is, for errors.Is.
var ErrUnknownYear = errors.New("year beyond the calendar")

// UnknownYearError is a question about a year that the calendar has no data for.
type UnknownYearError struct {
	Calendar string // name@version
	Year     int
}

func (e *UnknownYearError) Error() string {
	return fmt.Sprintf("calendar %s has no data for %d", e.Calendar, e.Year)
}

// Is makes errors.Is(err, ErrUnknownYear) true.
func (e *UnknownYearError) Is(target error) bool { return target == ErrUnknownYear }

// Calendar is one version of the working days of one settlement cycle. It does
// not change after loading and may be shared between goroutines.
type Calendar struct {
	name, version string
	source        string
	first         Date
	working       []bool // from first on, without gaps
}

// Lookup finds an embedded calendar; ErrUnknownCalendar where this binary does
// not have that version.
func Lookup(name, version string) (*Calendar, error) {
	all, err := embedded()
	if err != nil {
		return nil, err
	}
	if c, found := all[label(name, version)]; found {
		return c, nil
	}
	return nil, fmt.Errorf("look up calendar %.60q: %w; this binary has %s",
		label(name, version), ErrUnknownCalendar, strings.Join(slices.Sorted(maps.Keys(all)), ", "))
}

// Versions lists the embedded calendars by name, then version.
func Versions() ([]*event.CalendarVersion, error) {
	all, err := embedded()
	if err != nil {
		return nil, err
	}
	var out []*event.CalendarVersion
	for _, key := range slices.Sorted(maps.Keys(all)) {
		out = append(out, &event.CalendarVersion{Name: all[key].name, Version: all[key].version})
	}
	return out, nil
}

// Label is name@version.
func (c *Calendar) Label() string { return label(c.name, c.version) }

// Source says where the days come from.
func (c *Calendar) Source() string { return c.source }

// FirstKnown is the first day that the calendar has data for.
func (c *Calendar) FirstKnown() Date { return c.first }

// LastKnown is the last day that the calendar has data for.
func (c *Calendar) LastKnown() Date { return c.first + Date(len(c.working)-1) }

// Working tells whether settlement runs on the day; an UnknownYearError where
// the calendar has no data for its year.
func (c *Calendar) Working(d Date) (bool, error) {
	if d < c.first || d > c.LastKnown() {
		return false, &UnknownYearError{Calendar: c.Label(), Year: d.Year()}
	}
	return c.working[d-c.first], nil
}

// rollForward is d if it is a working day, else the next one.
func (c *Calendar) rollForward(d Date) (Date, error) {
	for {
		works, err := c.Working(d)
		if err != nil || works {
			return d, err
		}
		d++
	}
}

// addWorking is the n-th working day strictly after d; d itself for n = 0,
// which must be a day that the calendar knows all the same.
func (c *Calendar) addWorking(d Date, n int) (Date, error) {
	if _, err := c.Working(d); err != nil {
		return 0, err
	}
	for ; n > 0; n-- {
		next, err := c.rollForward(d + 1)
		if err != nil {
			return 0, err
		}
		d = next
	}
	return d, nil
}

func label(name, version string) string { return name + "@" + version }

// embedded reads the embedded calendars once.
var embedded = sync.OnceValues(func() (map[string]*Calendar, error) {
	entries, err := files.ReadDir("data")
	if err != nil {
		return nil, fmt.Errorf("list embedded calendars: %w", err)
	}
	all := map[string]*Calendar{}
	for _, entry := range entries {
		content, err := files.ReadFile(path.Join("data", entry.Name()))
		if err != nil {
			return nil, fmt.Errorf("read embedded calendar: %w", err)
		}
		c, err := load(content)
		if err != nil {
			return nil, fmt.Errorf("load calendar %s: %w", entry.Name(), err)
		}
		all[c.Label()] = c
	}
	return all, nil
})

// calendarFile is the form of the files in data: per year the days and ranges
// of days that are off, and those that are worked though they are weekend days.
type calendarFile struct {
	Name    string               `json:"name"`
	Version string               `json:"version"`
	Source  string               `json:"source"`
	Rule    string               `json:"rule"`
	Years   map[string]yearDates `json:"years"`
}

type yearDates struct {
	Off  []string `json:"off"`
	Work []string `json:"work"`
}

// load reads and checks one calendar file; all mistakes at once.
func load(content []byte) (*Calendar, error) {
	var file calendarFile
	decoder := json.NewDecoder(bytes.NewReader(content))
	decoder.DisallowUnknownFields()
	if err := decoder.Decode(&file); err != nil {
		return nil, fmt.Errorf("decode: %w", err)
	}
	var mistakes []error
	for key, value := range map[string]string{"name": file.Name, "version": file.Version, "source": file.Source} {
		if value == "" {
			mistakes = append(mistakes, fmt.Errorf("%s is missing", key))
		}
	}
	years := slices.Sorted(maps.Keys(file.Years))
	if len(years) == 0 {
		mistakes = append(mistakes, errors.New("no years"))
	}
	c := &Calendar{name: file.Name, version: file.Version, source: file.Source}
	for i, text := range years {
		year, err := strconv.Atoi(text)
		if err != nil || len(text) != 4 {
			mistakes = append(mistakes, fmt.Errorf("year %.20q: want four digits", text))
			continue
		}
		jan1, next := DateOf(year, time.January, 1), DateOf(year+1, time.January, 1)
		if i == 0 {
			c.first = jan1
		}
		if c.first+Date(len(c.working)) != jan1 {
			mistakes = append(mistakes, fmt.Errorf("year %d: the year before it is missing", year))
			continue
		}
		days, err := yearDays(jan1, next, file.Years[text])
		if err != nil {
			mistakes = append(mistakes, fmt.Errorf("year %d: %w", year, err))
		}
		c.working = append(c.working, days...)
	}
	if len(mistakes) > 0 {
		return nil, errors.Join(mistakes...)
	}
	return c, nil
}

// yearDays is one flag per day of the year [jan1, next): does it work?
func yearDays(jan1, next Date, dates yearDates) ([]bool, error) {
	working := make([]bool, next-jan1)
	for i := range working {
		working[i] = !isWeekend(jan1 + Date(i))
	}
	var mistakes []error
	listed := make(map[Date]bool)
	mark := func(ranges []string, works bool) {
		for _, text := range ranges {
			from, to, err := parseRange(text)
			if err != nil {
				mistakes = append(mistakes, err)
				continue
			}
			if from < jan1 || to >= next {
				mistakes = append(mistakes, fmt.Errorf("%s is outside its year", text))
				continue
			}
			for d := from; d <= to; d++ {
				if listed[d] {
					mistakes = append(mistakes, fmt.Errorf("%s is listed twice", d))
				}
				if works && !isWeekend(d) {
					mistakes = append(mistakes, fmt.Errorf("%s is listed as worked but is no weekend day", d))
				}
				listed[d] = true
				working[d-jan1] = works
			}
		}
	}
	mark(dates.Off, false)
	mark(dates.Work, true)
	return working, errors.Join(mistakes...)
}

// parseRange reads a day or first/last.
func parseRange(text string) (from, to Date, err error) {
	first, last, isRange := strings.Cut(text, "/")
	if from, err = ParseDate(first); err != nil {
		return 0, 0, err
	}
	if !isRange {
		return from, from, nil
	}
	if to, err = ParseDate(last); err != nil {
		return 0, 0, err
	}
	if to <= from {
		return 0, 0, fmt.Errorf("range %s ends before it begins", text)
	}
	return from, to, nil
}

func isWeekend(d Date) bool {
	return d.Weekday() == time.Saturday || d.Weekday() == time.Sunday
}
