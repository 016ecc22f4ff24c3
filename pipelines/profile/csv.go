package profile

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"

	"settlewatch/pipelines/intake"
)

// dialect is how a CSV file is written.
type dialect struct {
	delimiter string
	quote     string // one byte, or empty: nothing is quoted
	comment   string
	strip     string // a prefix of values that is no part of them
	trim      bool
	// headerLine is the line of the header; 0: the first that is a row; -1: there is
	// none, and columns are numbered, or named by columns.
	headerLine int
	columns    []string
	footer     int // rows at the end that are no records
}

const footerMax = 100

func plainDialect() dialect { return dialect{delimiter: ",", quote: `"`} }

func (b *fileBuilder) dialect(e entry) {
	known := []string{"delimiter", "quote", "header", "comment", "strip", "footer", "trim"}
	c := &b.m.csv
	for _, e := range b.entries(e.value, e.path) {
		switch e.key {
		case "delimiter":
			if c.delimiter = b.text(e.value, e.path); len(c.delimiter) > 8 || strings.ContainsAny(c.delimiter, "\r\n") {
				b.mistake(e.value, e.path, "want 1 to 8 bytes, none the end of a line")
			}
		case "quote":
			if c.quote = b.text(e.value, e.path); c.quote == "none" {
				c.quote = ""
			} else if len(c.quote) > 1 {
				b.mistake(e.value, e.path, "want one ASCII character, or none")
			}
		case "header":
			b.header(e)
		case "comment":
			c.comment = b.text(e.value, e.path)
		case "strip":
			c.strip = b.text(e.value, e.path)
		case "footer":
			c.footer = b.number(e.value, e.path, 0, footerMax)
		case "trim":
			c.trim = b.flag(e.value, e.path)
		default:
			b.unknown(e, known)
		}
	}
	if c.delimiter != "" && c.delimiter == c.quote {
		b.mistake(e.value, e.path, "delimiter and quote are the same character")
	}
}

func (b *fileBuilder) header(e entry) {
	c := &b.m.csv
	if names := b.texts(e.value, e.path); len(names) > 1 {
		c.headerLine, c.columns = -1, names
		for i, name := range names {
			if slices.Contains(names[:i], name) {
				b.mistake(e.value, e.path, "the column %.40q is named twice", name)
			}
		}
		return
	}
	switch text := b.text(e.value, e.path); text {
	case "yes", "true":
		c.headerLine = 0
	case "no", "false":
		c.headerLine = -1
	default:
		c.headerLine = b.number(e.value, e.path, 1, 10_000)
	}
}

// csvFile reads rows. A row ends with its line unless a quoted value goes on; a
// row that comes out wrong over several lines is refused by its first line alone,
// so that a quote too many costs one line and not the rest of the file.
type csvFile struct {
	m    *mapping
	in   *bufio.Reader
	line int // of the next physical line
	row  row
	// columns of the header and their index.
	columns []string
	index   map[string]int
	values  []string
	scratch []byte
	// held are rows that may turn out to be the footer.
	held []*row
}

func newCSVFile(r io.Reader, m *mapping) *csvFile {
	return &csvFile{m: m, line: 1, in: bufio.NewReaderSize(&newlines{in: r}, 2*intake.MaxBytes)}
}

func (c *csvFile) each(visit func(*row) error) error {
	if err := c.start(); err != nil {
		return err
	}
	for {
		r, err := c.read()
		if errors.Is(err, io.EOF) {
			return nil
		} else if err != nil {
			return &placedError{line: c.line, err: err}
		}
		if r = c.hold(r); r == nil {
			continue
		}
		if err := visit(r); err != nil {
			return err
		}
	}
}

// hold keeps back as many rows as the footer has.
func (c *csvFile) hold(r *row) *row {
	if c.m.csv.footer == 0 {
		return r
	}
	kept := &row{line: r.line, raw: bytes.Clone(r.raw), cells: slices.Clone(r.cells), index: r.index, err: r.err}
	c.held = append(c.held, kept)
	if len(c.held) <= c.m.csv.footer {
		return nil
	}
	first := c.held[0]
	c.held = slices.Delete(c.held, 0, 1)
	return first
}

// start finds the header and holds the profile's columns to it.
func (c *csvFile) start() error {
	if c.m.csv.headerLine < 0 {
		c.setColumns(c.m.csv.columns)
		if c.m.csv.columns != nil {
			return c.check(1)
		}
		return nil
	}
	for c.line < c.m.csv.headerLine {
		if err := c.discardLine(); err != nil {
			return at(c.line, "%w: before line %d, where the profile says that the header is", ErrTruncated, c.m.csv.headerLine)
		}
	}
	line, text, err := c.nextText()
	switch {
	case errors.Is(err, io.EOF):
		return at(c.line, "%w: there is no header", ErrEmptyFile)
	case err != nil:
		return &placedError{line: c.line, err: err}
	case badText(text, c.m.encoding):
		return at(line, "%w: the header is not %s", ErrEncoding, c.m.encoding)
	case bytes.IndexByte(text, 0) >= 0:
		return at(line, "%w: NUL characters in the header; is it UTF-16?", ErrEncoding)
	}
	if problem := c.split(text); problem != "" {
		return at(line, "%w: the header: %s", ErrSyntax, problem)
	}
	c.setColumns(c.values)
	return c.check(line)
}

// setColumns names the columns: a name that came before gets its number, one
// without a name has its place.
func (c *csvFile) setColumns(names []string) {
	for len(names) > 0 && names[len(names)-1] == "" {
		names = names[:len(names)-1] // lines that end with a delimiter
	}
	c.columns, c.index = make([]string, len(names)), make(map[string]int, len(names))
	for i, name := range names {
		name = strings.TrimSpace(name)
		if name == "" {
			name = "#" + strconv.Itoa(i+1)
		}
		base := name
		for n := 2; ; n++ {
			if _, taken := c.index[name]; !taken {
				break
			}
			name = base + "#" + strconv.Itoa(n)
		}
		c.columns[i] = name
		c.index[name] = i
	}
}

// check refuses a file whose header lacks a column that the profile names, or
// has one that may never be stored. Names are masked: a file without a header
// would show its first record.
func (c *csvFile) check(line int) error {
	var missing []string
	for name, profileLine := range c.m.needed {
		if _, found := c.index[name]; !found {
			missing = append(missing, fmt.Sprintf("%q (line %d of the profile)", name, profileLine))
		}
	}
	if len(missing) > 0 {
		slices.Sort(missing)
		have := intake.SafePath(strings.Join(c.columns, ", "))
		return at(line, "%w: %s; it has %s", ErrMissingColumn, strings.Join(missing, ", "), have)
	}
	var inspector intake.Inspector
	for _, name := range c.columns {
		if problem := inspector.Name(name, c.m.cards[name]); problem != nil {
			return at(line, "%w: %s: %s", ErrForbidden, intake.SafePath(name), problem.Detail)
		}
	}
	return nil
}

// read is the next row.
func (c *csvFile) read() (*row, error) {
	line, text, err := c.nextText()
	if err != nil {
		return nil, err
	}
	r := &c.row
	r.line, r.raw, r.cells, r.index, r.err = line, text, r.cells[:0], c.index, nil
	switch {
	case len(text) > intake.MaxBytes:
		r.raw = text[:1024]
		r.err = refuse("", intake.ReasonTooLarge, "more than 256 KiB")
		return r, nil
	case badText(text, c.m.encoding):
		r.err = refuse("", intake.ReasonNotUTF8, "not in the profile's encoding")
		return r, nil
	}
	if problem := c.split(text); problem != "" {
		r.err = refuse("", intake.ReasonBadText, problem)
		return r, nil
	}
	if c.columns == nil || c.m.csv.headerLine < 0 && c.m.csv.columns == nil {
		c.number(len(c.values))
		r.index = c.index
	}
	for i, value := range c.values {
		if i >= len(c.columns) {
			if value != "" {
				r.err = refuse("", intake.ReasonBadText, "more values than the header has columns")
			}
			continue
		}
		r.cells = append(r.cells, cell{c.columns[i], value})
	}
	if len(c.values) < len(c.columns) {
		r.err = refuse("", intake.ReasonMissingField, fmt.Sprintf("%d values, the header has %d columns", len(c.values), len(c.columns)))
	}
	return r, nil
}

// number names the columns of a file without a header from 1 on.
func (c *csvFile) number(count int) {
	if len(c.columns) == count {
		return
	}
	c.columns, c.index = make([]string, count), make(map[string]int, count)
	for i := range count {
		c.columns[i] = strconv.Itoa(i + 1)
		c.index[c.columns[i]] = i
	}
}
