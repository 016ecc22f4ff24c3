package profile

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"

	"settlewatch/pipelines/intake"
	"settlewatch/schemas/event"
)

// single reads Kafka records, which are the records of a file without the file,
// or else files of their own.
type single struct {
	m     *mapping
	maker recordMaker
	flat  flattener
	row   row
}

func (p *Profile) newSingle(feed intake.Feed) (*single, *intake.DecodeError) {
	s := &single{m: p.serving(feed)}
	if s.m.documented {
		// Its files have an arrival around each record; Kafka keeps it beside.
		s.maker = newDocumentedMaker(0, p.key)
		return s, nil
	}
	k, err := newMaker(p, s.m, "")
	if err != nil {
		return nil, refuse("", intake.ReasonContradiction, "the profile needs a file")
	}
	k.kafka, k.lone = true, !s.m.whole()
	s.maker = k
	return s, nil
}

// whole tells whether a record cannot be read without what stands around it.
func (m *mapping) whole() bool {
	return m.outer || m.format == formatCSV && m.csv.columns == nil && m.csv.headerLine >= 0
}

func (s *single) decode(raw []byte, feed intake.Feed, into []*event.Event) ([]*event.Event, error) {
	switch {
	case len(raw) == 0:
		return nil, refuse("", intake.ReasonEmpty, "no bytes")
	case len(raw) > intake.MaxBytes:
		return nil, refuse("", intake.ReasonTooLarge, "more than 256 KiB")
	}
	k, profiled := s.maker.(*maker)
	switch {
	case !profiled:
		return s.decodeDocumented(raw, feed, into)
	case !k.lone:
		events, err := s.decodeFile(raw, feed)
		return append(into, events...), err
	}
	if err := s.take(raw); err != nil {
		return nil, err
	}
	records := s.maker.records(&s.row)
	for i := range records {
		if err := s.refused(&records[i], feed); err != nil {
			return nil, err
		}
		into = append(into, records[i].Events...)
	}
	return into, nil
}

func (s *single) decodeDocumented(raw []byte, feed intake.Feed, into []*event.Event) ([]*event.Event, error) {
	documented, _ := s.maker.(*documentedMaker)
	if feed == 0 {
		feed = feedOfRecord(raw)
	}
	e, err := documented.decode(feed, raw)
	if err != nil {
		return nil, err
	}
	return append(into, e), nil
}

// refused is why a record makes no events here.
func (s *single) refused(record *Record, feed intake.Feed) *intake.DecodeError {
	if record.Err == nil && feed != 0 && record.Feed != feed && len(record.Events) > 0 {
		return refuse("", intake.ReasonContradiction, "a record of the "+record.Feed.String()+" feed in the "+feed.String()+" feed")
	}
	return record.Err
}

// decodeFile reads a Kafka record that is a file: its good rows stand, and the
// error says what is wrong with the first bad one.
func (s *single) decodeFile(raw []byte, feed intake.Feed) ([]*event.Event, error) {
	if k, profiled := s.maker.(*maker); profiled {
		clear(k.seen) // equal rows are counted by file
	}
	var events []*event.Event
	var first *intake.DecodeError
	read, bad := 0, 0
	rows, err := s.m.open(bytes.NewReader(raw))
	if err == nil {
		err = rows.each(func(r *row) error {
			read++
			var made []*event.Event
			for _, record := range s.maker.records(r) {
				if problem := s.refused(&record, feed); problem != nil {
					if bad++; first == nil {
						first = refuse(problem.Path, problem.Reason, fmt.Sprintf("line %d: %s", r.line, problem.Detail))
					}
					return nil
				}
				made = append(made, record.Events...)
			}
			events = append(events, made...)
			return nil
		})
	}
	if err != nil {
		return events, fileProblem(err)
	}
	if first == nil {
		return events, nil
	}
	if read > 1 {
		first.Detail += fmt.Sprintf(" (%d of %d rows are refused, the others are taken)", bad, read)
	}
	return events, first
}

// fileProblem is what ended the file; its text quotes no value.
func fileProblem(err error) *intake.DecodeError {
	reason := intake.ReasonBadText
	switch {
	case errors.Is(err, ErrEmptyFile):
		reason = intake.ReasonEmpty
	case errors.Is(err, ErrEncoding):
		reason = intake.ReasonNotUTF8
	case errors.Is(err, ErrMissingColumn):
		reason = intake.ReasonMissingField
	}
	detail := err.Error()
	var placed *placedError
	if errors.As(err, &placed) && placed.line > 0 {
		detail = fmt.Sprintf("line %d: %s", placed.line, detail)
	}
	return refuse("", reason, detail)
}

// Mask is a Kafka record's text as a dead letter may keep it.
func (p *Profile) Mask(raw []byte, feed intake.Feed) []byte {
	if encoding := p.serving(feed).encoding; encodings[encoding] != nil {
		r, err := decoded(bytes.NewReader(raw), encoding)
		if err == nil {
			var text []byte
			if text, err = io.ReadAll(r); err == nil {
				return intake.Mask(text)
			}
		}
		// In UTF-16 the digits of a card number have zero bytes between them.
		raw = bytes.ReplaceAll(raw, []byte{0}, nil)
	}
	return intake.Mask(raw)
}

// Serves tells whether Kafka records of a feed can be read by the profile. The
// error joins a *Mistake for each event that the profile would always make for
// another feed, and for each field that only a file has.
func (p *Profile) Serves(feed intake.Feed) error {
	var mistakes []error
	for _, recipe := range p.serving(feed).recipes {
		if kinds := recipe.kind.constants(); !recipe.makes(feed) {
			mistakes = append(mistakes, &Mistake{
				Line: recipe.kind.line, Path: "kind",
				Problem: fmt.Sprintf("%s is no record of the %s feed", strings.Join(kinds, ", "), feed),
			})
		}
		for _, rule := range recipe.rules {
			if t := targets[rule.target]; t.class != classArrival && rule.value.fromFileName() {
				mistakes = append(mistakes, &Mistake{
					Line: rule.value.line, Path: t.name, Problem: "a Kafka record has no file name to take it from",
				})
			}
		}
	}
	return errors.Join(mistakes...)
}

// serving is the mapping by which Kafka records of a feed are read: the first that
// makes events of no other, or else the first of all. Feed 0 is any.
func (p *Profile) serving(feed intake.Feed) *mapping {
	for _, m := range p.files {
		if feed == 0 || !slices.ContainsFunc(m.recipes, func(r *recipe) bool { return !r.makes(feed) }) {
			return m
		}
	}
	return p.files[0]
}

// makes tells whether the event may be one of the feed.
func (r *recipe) makes(feed intake.Feed) bool {
	kinds := r.kind.constants()
	return len(kinds) == 0 || slices.ContainsFunc(kinds, func(kind string) bool {
		of, known := intake.FeedOf(kind)
		return known && of == feed
	})
}

// constants are the texts that the value can have; none where it has others.
func (v *value) constants() []string {
	var texts []string
	switch {
	case v.words != nil:
		texts = slices.Collect(maps.Values(v.words))
		if v.hasOtherwise {
			texts = append(texts, v.otherwise)
		}
	case v.origin == fromConstant:
		texts = append(texts, v.constant)
	default:
		return nil
	}
	if v.hasFallback {
		texts = append(texts, v.fallback)
	}
	slices.Sort(texts)
	return slices.Compact(texts)
}

func (v *value) fromFileName() bool {
	return v.origin == fromFileName || slices.ContainsFunc(v.parts, (*value).fromFileName)
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
	tree := s.m.format == formatJSON || s.m.format == formatJSONL
	s.row.begin(1, raw)
	if tree && s.flat.scan(&s.row, raw) {
		return nil
	}
	s.row.clear()
	switch {
	case badText(raw, s.m.encoding):
		return refuse("", intake.ReasonNotUTF8, "not in the profile's encoding")
	case tree:
		s.row.err = s.flat.json(&s.row, raw)
		return nil
	case s.m.format == formatXML:
		return s.takeOne(newXMLFile(bytes.NewReader(raw), s.m.rootless()))
	default:
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
