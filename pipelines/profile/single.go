package profile

import (
	"bytes"
	"errors"
	"io"

	"settlewatch/pipelines/intake"
	"settlewatch/schemas/event"
)

// single reads Kafka records, which are the records of a file without the file.
type single struct {
	m     *mapping
	maker recordMaker
	flat  flattener
	row   row
}

func (p *Profile) newSingle() (*single, *intake.DecodeError) {
	s := &single{m: p.files[0]}
	if s.m.documented {
		// Its files have an arrival around each record; Kafka keeps it beside.
		s.maker = newDocumentedMaker(0, p.key)
		return s, nil
	}
	k, err := newMaker(p, s.m, "")
	if err != nil {
		return nil, refuse("", intake.ReasonContradiction, "the profile needs a file")
	}
	k.alone = true
	s.maker = k
	return s, nil
}

func (s *single) decode(raw []byte) ([]*event.Event, error) {
	switch {
	case len(raw) == 0:
		return nil, refuse("", intake.ReasonEmpty, "no bytes")
	case len(raw) > intake.MaxBytes:
		return nil, refuse("", intake.ReasonTooLarge, "more than 256 KiB")
	}
	if documented, is := s.maker.(*documentedMaker); is {
		e, err := documented.decode(feedOfRecord(raw), raw)
		if err != nil {
			return nil, err
		}
		return []*event.Event{e}, nil
	}
	if err := s.take(raw); err != nil {
		return nil, err
	}
	var events []*event.Event
	for _, record := range s.maker.records(&s.row) {
		if record.Err != nil {
			return nil, record.Err
		}
		events = append(events, record.Events...)
	}
	return events, nil
}

// take makes a row of the bytes.
func (s *single) take(raw []byte) *intake.DecodeError {
	if encodings[s.m.encoding] != nil || bytes.HasPrefix(raw, []byte("\xEF\xBB\xBF")) {
		r, err := decoded(bytes.NewReader(raw), s.m.encoding)
		if err == nil {
			raw, err = io.ReadAll(r) // at most a few times MaxBytes
		}
		if err != nil {
			return refuse("", intake.ReasonNotUTF8, "not in the profile's encoding")
		}
	}
	if badText(raw, s.m.encoding) {
		return refuse("", intake.ReasonNotUTF8, "not in the profile's encoding")
	}
	s.row.reset(1, raw)
	switch s.m.format {
	case formatJSON, formatJSONL:
		s.row.err = s.flat.json(&s.row, raw)
		return nil
	case formatXML:
		return s.takeOne(newXMLFile(bytes.NewReader(raw), s.m.rootless()))
	default:
		if s.m.csv.columns == nil && s.m.csv.headerLine >= 0 {
			return refuse("", intake.ReasonContradiction, "a row by itself has no header: the profile must name the columns")
		}
		return s.takeOne(newCSVFile(bytes.NewReader(raw), s.m.bare()))
	}
}

// errSecond is a Kafka record with more than one record in it.
var errSecond = errors.New("a second record")

// takeOne reads the only row of a reader.
func (s *single) takeOne(rows rowReader) *intake.DecodeError {
	count := 0
	err := rows.each(func(r *row) error {
		if count++; count > 1 {
			return errSecond
		}
		s.row.reset(1, bytes.Clone(r.raw))
		s.row.err = r.err
		for _, c := range r.cells {
			s.row.add(c.name, c.value)
		}
		return nil
	})
	switch {
	case errors.Is(err, errSecond):
		return refuse("", intake.ReasonContradiction, "more than one record")
	case err != nil:
		return refuse("", intake.ReasonBadText, "not a record in the profile's format")
	case count == 0:
		return refuse("", intake.ReasonEmpty, "no record")
	}
	return nil
}

// rootless is the mapping of an element that stands by itself.
func (m *mapping) rootless() *mapping {
	alone := *m
	alone.records = m.records[len(m.records)-1:]
	return &alone
}

// bare is the mapping of a row that has been decoded and stands by itself.
func (m *mapping) bare() *mapping {
	alone := *m
	alone.csv.footer = 0
	return &alone
}
