package profile

import (
	"io"
	"strings"
	"time"

	"settlewatch/pipelines/intake"
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
	csv      dialect
	// records is the path of the array, or of a record's element.
	records []string

	where    *expression
	zone     *time.Location
	amounts  amountFormat
	fileDate *value
	recipes  []*recipe
	values   int // how many there are

	// identifiers are declared by the profile, with their lines in it: columns
	// without a field that may hold any digits.
	identifiers map[string]bool
	ignored     map[string]bool
	// What the fields make of the columns: direct ones become a field's text or a
	// part of it, exempt ones are not searched, cards hold the card number.
	direct, exempt, cards map[string]bool
	// needed are columns that the file must have, with the profile's line.
	needed map[string]int

	// outer: fields are taken from what stands before the record.
	outer bool

	// documented: the built-in profile, with the feed of its files or 0.
	documented bool
	feed       intake.Feed
}

// recipe makes one event of a record.
type recipe struct {
	when     *expression
	kind     *value
	currency *value
	rules    []rule
	// extras are those of the rules that say what the documented record cannot.
	extras []rule
}

// rule fills one field.
type rule struct {
	target int // in targets
	value  *value
}

// open gives the rows of a file.
func (m *mapping) open(r io.Reader) (rowReader, error) {
	text, err := decoded(r, m.encoding)
	if err != nil {
		return nil, err
	}
	switch {
	case m.documented:
		return &jsonLines{lines: newLines(text)}, nil
	case m.format == formatJSONL:
		return &jsonLines{lines: newLines(text), flat: &flattener{}, encoding: m.encoding}, nil
	case m.format == formatJSON:
		return newJSONFile(text, m), nil
	case m.format == formatXML:
		return newXMLFile(text, m), nil
	default:
		return newCSVFile(text, m), nil
	}
}

// recordMaker makes records of rows.
type recordMaker interface {
	records(r *row) []Record
	// lend allows events, and slices of them, that are valid until the next row.
	lend()
	// skipRawHash leaves the hash of the raw record out of the events.
	skipRawHash()
}

func (m *mapping) maker(p *Profile, base string) (recordMaker, error) {
	if m.documented {
		return newDocumentedMaker(m.feed, p.key), nil
	}
	return newMaker(p, m, base)
}

// settle computes what follows from the fields.
func (m *mapping) settle() {
	m.direct, m.exempt, m.cards, m.needed = map[string]bool{}, map[string]bool{}, map[string]bool{}, map[string]int{}
	for name := range m.identifiers {
		m.exempt[name] = true
	}
	need := func(line int, optional bool, name string) {
		m.outer = m.outer || strings.HasPrefix(name, "/")
		if !optional && name != "" && m.needed[name] == 0 {
			m.needed[name] = line
		}
	}
	for _, recipe := range m.recipes {
		for _, rule := range recipe.rules {
			if t := &targets[rule.target]; t.document == "" || t.name == "business_time" && !rule.value.ownZone() {
				recipe.extras = append(recipe.extras, rule)
			}
		}
		for _, rule := range append([]rule{{target: -1, value: recipe.kind}}, recipe.rules...) {
			document := ""
			if rule.target >= 0 {
				document = targets[rule.target].document
			}
			rule.value.columns(func(name string, direct, optional bool) {
				need(rule.value.line, optional, name)
				if !direct || document == "" && rule.target < 0 {
					return
				}
				m.direct[name] = true
				if document == "card_number" {
					m.cards[name], m.exempt[name] = true, true
				}
				if intake.IsIdentifier(document) {
					m.exempt[name] = true
				}
			})
		}
		m.needExpression(recipe.when, need)
	}
	m.needExpression(m.where, need)
	if m.fileDate != nil {
		m.fileDate.columns(func(name string, _, optional bool) { need(m.fileDate.line, optional, name) })
	}
}

func (m *mapping) needExpression(e *expression, need func(line int, optional bool, name string)) {
	if e == nil {
		return
	}
	for _, name := range e.fields {
		need(e.line, false, name)
	}
}
