package calendar

import (
	"archive/zip"
	_ "embed" // for the zone data
	"errors"
	"fmt"
	"io"
	"strings"
	"sync"
	"time"
)

// TZDataVersion is the release of the IANA time zone database in this binary;
// CONFIG names it.
//
// The archive is embedded by this package itself. time.LoadLocation, and with it
// the package time/tzdata, asks the machine's own zone files first and the
// embedded ones only where there are none: the same binary would then compute
// other due times on another machine, under whatever name. The archive is a
// copy of Go's lib/time/zoneinfo.zip, which is in the public domain.
const TZDataVersion = "2025c"

//go:embed data/zoneinfo-2025c.zip
var zoneArchive string

// errUnknownZone is a zone name that the embedded database lacks.
var errUnknownZone = errors.New("unknown time zone")

// zone turns instants into local time and back. It remembers the stretch of
// constant offset that was asked for last, hence belongs to one goroutine.
type zone struct {
	location *time.Location
	current  stretch
}

// stretch is a time of constant offset: instants from startMs to before endMs.
type stretch struct {
	startMs, endMs int64
	offsetMs       int64 // east of UTC
}

// The instants that stand for "always" at either end of a zone's history; far
// from the ends of int64, so that adding an offset cannot overflow.
const (
	distantPastMs   = -1 << 60
	distantFutureMs = 1 << 60
)

// locations are those read so far, *time.Location by name: the archive has hundreds
// of entries, and every CONFIG asks for the same few.
var locations sync.Map

// loadZone finds an IANA zone in the embedded database, and nowhere else.
func loadZone(name string) (*zone, error) {
	if known, ok := locations.Load(name); ok {
		return &zone{location: known.(*time.Location)}, nil
	}
	archive, err := zip.NewReader(strings.NewReader(zoneArchive), int64(len(zoneArchive)))
	if err != nil {
		return nil, fmt.Errorf("open embedded time zones: %w", err)
	}
	for _, entry := range archive.File {
		if entry.Name != name || strings.HasSuffix(name, "/") {
			continue
		}
		reader, err := entry.Open()
		if err != nil {
			return nil, fmt.Errorf("open embedded time zone %s: %w", name, err)
		}
		data, err := io.ReadAll(reader)
		if err = errors.Join(err, reader.Close()); err != nil {
			return nil, fmt.Errorf("read embedded time zone %s: %w", name, err)
		}
		location, err := time.LoadLocationFromTZData(name, data)
		if err != nil {
			return nil, fmt.Errorf("decode embedded time zone %s: %w", name, err)
		}
		locations.Store(name, location)
		return &zone{location: location}, nil
	}
	return nil, fmt.Errorf("%w %.60q in tzdata %s", errUnknownZone, name, TZDataVersion)
}

// at is the stretch that contains the instant.
func (z *zone) at(ms int64) stretch {
	if ms >= z.current.startMs && ms < z.current.endMs {
		return z.current
	}
	t := time.UnixMilli(ms).In(z.location)
	_, offsetSeconds := t.Zone()
	s := stretch{startMs: distantPastMs, endMs: distantFutureMs, offsetMs: int64(offsetSeconds) * 1000}
	start, end := t.ZoneBounds()
	if !start.IsZero() {
		s.startMs = start.UnixMilli()
	}
	if !end.IsZero() {
		s.endMs = end.UnixMilli()
	}
	z.current = s
	return s
}

// local is the instant's date and its wall-clock time in milliseconds after
// midnight.
func (z *zone) local(ms int64) (d Date, clockMs int64) {
	ms = min(max(ms, distantPastMs), distantFutureMs-1)
	wallMs := ms + z.at(ms).offsetMs
	days := floorDiv(wallMs, dayMs)
	return dateOfDays(days), wallMs - days*dayMs
}

// instant is the moment at which the wall clock shows clockMs after midnight on
// the date: the first such moment where there are two; where there is none, the
// time is shifted forward by the length of the gap.
func (z *zone) instant(d Date, clockMs int64) int64 {
	wallMs := int64(d)*dayMs + clockMs
	// No offset reaches a day, so the stretches that can show this time lie
	// within a day of it. They are tried in their order: the first match is the
	// earliest moment.
	before := z.at(wallMs - dayMs)
	for s := before; ; s = z.at(s.endMs) {
		ms := wallMs - s.offsetMs
		if ms < s.startMs {
			// The clock was set forward past this time. Reading it with the offset
			// from before the gap shifts it by the gap.
			return wallMs - before.offsetMs
		}
		if ms < s.endMs {
			return ms
		}
		before = s
	}
}
