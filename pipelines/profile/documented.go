package profile

import (
	"bytes"
	"errors"
	"io"
	"strings"
	"sync"
	"time"

	"github.com/go-json-experiment/json/jsontext"

	"settlewatch/pipelines/intake"
	"settlewatch/schemas/event"
)

// DocumentedName is the name of the built-in profile.
const DocumentedName = "documented"

// Documented is the built-in profile of docs/raw-events.md, as JSON Lines. Each
// line is the record with its arrival:
//
//	{"arrival":"2025-09-22T09:30:00.123Z","record":{"type":"capture", …}}
//
// The feed is the one that the file's name contains (authorization, capture,
// settlement), and otherwise the one that has the record's type.
func Documented() *Profile {
	return &Profile{
		Name: DocumentedName, Version: 1,
		idle: new([feeds]sync.Pool),
		files: []*mapping{
			{patterns: []string{"*authorization*"}, format: formatJSONL, documented: true, feed: intake.Authorization},
			{patterns: []string{"*capture*"}, format: formatJSONL, documented: true, feed: intake.Capture},
			{patterns: []string{"*settlement*"}, format: formatJSONL, documented: true, feed: intake.Settlement},
			{patterns: []string{"*"}, format: formatJSONL, documented: true},
		},
	}
}

// documentedMaker hands records of the documented JSON to intake.
type documentedMaker struct {
	feed     intake.Feed // 0: by the type
	decoders [intake.Settlement + 1]*intake.Decoder
	lends    bool // events, and slices of them, that are valid until the next row
	events   [1]*event.Event
	batches  [1]Record
}

func newDocumentedMaker(feed intake.Feed, key intake.TokenKey) *documentedMaker {
	m := &documentedMaker{feed: feed}
	for _, feed := range []intake.Feed{intake.Authorization, intake.Capture, intake.Settlement} {
		m.decoders[feed] = intake.NewDecoder(feed, key)
	}
	return m
}

func (m *documentedMaker) lend() { m.lends = true }

func (m *documentedMaker) skipRawHash() {
	for _, d := range m.decoders[1:] {
		d.SkipRawHash()
	}
}

func (m *documentedMaker) records(r *row) []Record {
	if r.err != nil {
		return []Record{{Feed: m.feed, Err: r.err, Raw: intake.Mask(r.raw)}}
	}
	if record, ok := m.plain(r.raw); ok {
		return record
	}
	return m.unwrapped(r)
}

// plain reads a line that is written as the documentation shows it. The record in
// it has been read as one JSON value when it is accepted, so that nothing else can
// stand on the line; if it is not, the line is read again to say why.
func (m *documentedMaker) plain(line []byte) ([]Record, bool) {
	const head, middle = `{"arrival":"`, `","record":`
	const instant = len("2006-01-02T15:04:05.000Z")
	const start = len(head) + instant + len(middle)
	last := len(line) - 1
	if m.feed == 0 || last < start || line[last] != '}' ||
		string(line[:len(head)]) != head || string(line[start-len(middle):start]) != middle {
		return nil, false
	}
	arrivalMs, ok := intake.Instant(lent(line[len(head) : len(head)+instant]))
	if !ok {
		return nil, false
	}
	e, err := m.decode(m.feed, line[start:last])
	if err != nil {
		return nil, false
	}
	return m.accepted(arrivalMs, m.feed, e), true
}

// accepted is the one record of a line.
func (m *documentedMaker) accepted(arrivalMs int64, feed intake.Feed, e *event.Event) []Record {
	record := Record{ArrivalMs: arrivalMs, Feed: feed}
	if !m.lends {
		record.Events = []*event.Event{e}
		return []Record{record}
	}
	m.events[0] = e
	record.Events = m.events[:]
	m.batches[0] = record
	return m.batches[:]
}

func (m *documentedMaker) unwrapped(r *row) []Record {
	arrivalMs, record, err := unwrap(r.raw)
	if err != nil {
		return []Record{{Feed: m.feed, Err: err, Raw: intake.Mask(r.raw)}}
	}
	feed := m.feed
	if feed == 0 {
		feed = feedOfRecord(record)
	}
	e, decodeErr := m.decode(feed, record)
	if decodeErr != nil {
		return []Record{{ArrivalMs: arrivalMs, Feed: feed, Err: decodeErr, Raw: intake.Mask(record)}}
	}
	return m.accepted(arrivalMs, feed, e)
}

func (m *documentedMaker) decode(feed intake.Feed, record []byte) (*event.Event, *intake.DecodeError) {
	var e *event.Event
	var err error
	if m.lends {
		e, err = m.decoders[feed].Borrow(record)
	} else {
		e, err = m.decoders[feed].Decode(record)
	}
	if err == nil {
		return e, nil
	}
	var decodeErr *intake.DecodeError
	if !errors.As(err, &decodeErr) {
		decodeErr = &intake.DecodeError{Reason: intake.ReasonNotJSON, Detail: "not readable"}
	}
	return nil, decodeErr
}

// feedOfRecord is the feed that has the record's type. A record of no known type
// goes where most files are from; there it is refused for its type.
func feedOfRecord(record []byte) intake.Feed {
	typ, _ := memberText(record, "type")
	if feed, known := intake.FeedOf(typ); known {
		return feed
	}
	return intake.Settlement
}

// memberText is the text of a string member of a JSON object.
func memberText(object []byte, name string) (text string, found bool) {
	d := jsontext.NewDecoder(bytes.NewBuffer(object), jsontext.AllowDuplicateNames(true), jsontext.AllowInvalidUTF8(true))
	if token, err := d.ReadToken(); err != nil || token.Kind() != '{' {
		return "", false
	}
	for {
		key, err := d.ReadToken()
		if err != nil || key.Kind() != '"' {
			return "", false
		}
		if key.String() != name {
			if d.SkipValue() != nil {
				return "", false
			}
			continue
		}
		value, err := d.ReadToken()
		if err != nil || value.Kind() != '"' {
			return "", false
		}
		return value.String(), true
	}
}

// unwrap takes the arrival off a record. The record's bytes stay as they are.
func unwrap(line []byte) (arrivalMs int64, record []byte, problem *intake.DecodeError) {
	const detail = `want {"arrival":"…","record":{…}}`
	d := jsontext.NewDecoder(bytes.NewBuffer(line), jsontext.AllowDuplicateNames(true), jsontext.AllowInvalidUTF8(true))
	if token, err := d.ReadToken(); err != nil || token.Kind() != '{' {
		return 0, nil, refuse("", intake.ReasonNotJSON, detail)
	}
	arrived := false
	for d.PeekKind() == '"' {
		name, err := d.ReadToken()
		if err != nil {
			break
		}
		key := name.String()
		value, err := d.ReadValue()
		if err != nil {
			return 0, nil, refuse("", intake.ReasonNotJSON, "not JSON")
		}
		switch {
		case key == "record" && record == nil:
			record = bytes.Clone(value)
		case key == "arrival" && !arrived && value.Kind() == '"':
			text, _ := jsontext.AppendUnquote(nil, value)
			at, err := time.Parse(time.RFC3339Nano, string(text))
			if err != nil || at.Year() < 2000 || at.Year() > 2099 {
				return 0, nil, refuse("arrival", intake.ReasonBadDate, "want RFC 3339 with offset, years 2000 to 2099")
			}
			arrivalMs, arrived = at.UnixMilli(), true
		default:
			return 0, nil, refuse("", intake.ReasonContradiction, detail+" and nothing else")
		}
	}
	if _, err := d.ReadToken(); err != nil {
		return 0, nil, refuse("", intake.ReasonNotJSON, "not JSON")
	}
	if _, err := d.ReadToken(); !errors.Is(err, io.EOF) {
		return 0, nil, refuse("", intake.ReasonNotJSON, "something follows the object")
	}
	switch {
	case !arrived:
		return 0, nil, refuse("arrival", intake.ReasonMissingField, detail)
	case record == nil:
		return 0, nil, refuse("record", intake.ReasonMissingField, detail)
	}
	return arrivalMs, record, nil
}

func refuse(path string, reason intake.Reason, detail string) *intake.DecodeError {
	return &intake.DecodeError{Path: intake.SafePath(path), Reason: reason, Detail: strings.TrimSpace(detail)}
}
