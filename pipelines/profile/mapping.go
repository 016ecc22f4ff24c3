package profile

import (
	"io"

	"settlewatch/pipelines/intake"
	"settlewatch/schemas/event"
)

// format of a file.
type format string

// The formats.
const (
	formatCSV   format = "csv"
	formatJSON  format = "json"
	formatJSONL format = "jsonl"
	formatXML   format = "xml"
)

// mapping is what a profile says of the files of one pattern.
type mapping struct {
	patterns []string
	format   format
	encoding string

	// documented: the built-in profile, with the feed of its files or 0.
	documented bool
	feed       intake.Feed
}

// open gives the rows of a file.
func (m *mapping) open(r io.Reader) (rowReader, error) {
	text, err := decoded(r, m.encoding)
	if err != nil {
		return nil, err
	}
	if m.documented {
		return &jsonLines{lines: newLines(text)}, nil
	}
	return nil, ErrSyntax
}

// recordMaker makes records of rows.
type recordMaker interface {
	records(r *row) []Record
}

func (m *mapping) maker(p *Profile, base string) (recordMaker, error) {
	if m.documented {
		return newDocumentedMaker(m.feed, p.key), nil
	}
	return nil, ErrSyntax
}

// single reads Kafka records.
type single struct{ maker recordMaker }

func (p *Profile) newSingle() (*single, *intake.DecodeError) {
	return &single{}, nil
}

func (s *single) decode(raw []byte) ([]*event.Event, error) {
	return nil, refuse("", intake.ReasonNotJSON, "not yet")
}

// Parse reads a profile. The error joins a *Mistake for each thing wrong.
func Parse(text []byte) (*Profile, error) {
	return nil, ErrSyntax
}

type flattener struct{}

func (f *flattener) json(r *row, text []byte) *intake.DecodeError { return nil }
