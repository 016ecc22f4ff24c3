package profile

import (
	"bufio"
	"bytes"
	"errors"
	"io"
	"strings"

	"settlewatch/pipelines/intake"
)

// nextText is the text of the next row, over as many lines as its quotes need,
// and the line on which it begins. Blank lines and comments are none. The text is
// valid until the next call.
func (c *csvFile) nextText() (line int, text []byte, err error) {
	for {
		line = c.line
		first, err := c.peekLine(0)
		if err != nil {
			return line, nil, err
		}
		trimmed := bytes.TrimSpace(first)
		if len(trimmed) == 0 || c.m.csv.comment != "" && bytes.HasPrefix(trimmed, []byte(c.m.csv.comment)) {
			c.take(len(first), 1)
			continue
		}
		if len(first) > intake.MaxBytes {
			text = bytes.Clone(first[:intake.MaxBytes+1])
			return line, text, c.discardLine()
		}
		whole, count := c.wholeRow(first)
		c.scratch = append(c.scratch[:0], whole...)
		c.take(len(whole), count)
		return line, bytes.TrimSuffix(c.scratch, []byte("\n")), nil
	}
}

// peekLine is the physical line that begins at the offset, with its end, without
// taking it. One that is longer than a record may be is cut.
func (c *csvFile) peekLine(offset int) ([]byte, error) {
	searched := offset
	for {
		size := c.in.Buffered()
		if size > searched {
			data, _ := c.in.Peek(size)
			if i := bytes.IndexByte(data[searched:], '\n'); i >= 0 {
				return data[offset : searched+i+1], nil
			}
			searched = size
		}
		if size-offset > intake.MaxBytes || size == c.in.Size() {
			data, _ := c.in.Peek(size)
			return data[offset:], nil
		}
		data, err := c.in.Peek(max(size, offset) + 1)
		switch {
		case err == nil:
		case errors.Is(err, io.EOF) && len(data) > offset:
			return data[offset:], nil
		case errors.Is(err, bufio.ErrBufferFull):
			return data[offset:], nil
		default:
			return nil, err
		}
	}
}

// What bounds a row of several lines.
const (
	rowBytesMax = 64 << 10
	rowLinesMax = 500
)

// wholeRow adds the lines that an open quote needs. A row that never closes, or
// has another number of values than the header, is its first line only.
func (c *csvFile) wholeRow(first []byte) (whole []byte, lineCount int) {
	quote := []byte(c.m.csv.quote)
	if len(quote) == 0 || !bytes.Contains(first, quote) || !c.open(first) {
		return first, 1
	}
	size, quotes := len(first), bytes.Count(first, quote)
	for lineCount = 1; size <= rowBytesMax && lineCount < rowLinesMax; {
		more, err := c.peekLine(size)
		if err != nil {
			break
		}
		size += len(more)
		lineCount++
		// Quotes come in pairs: only where they do, the row is worth taking apart.
		if quotes += bytes.Count(more, quote); quotes%2 != 0 {
			continue
		}
		whole, _ = c.in.Peek(size) // they are buffered: peekLine has seen them
		switch c.split(bytes.TrimSuffix(whole, []byte("\n"))) {
		case problemOpenQuote:
			continue
		case "":
			if len(c.columns) == 0 || len(c.values) == len(c.columns) {
				return whole, lineCount
			}
		}
		break
	}
	whole, _ = c.in.Peek(len(first)) // the buffer may have moved
	return whole, 1
}

// open tells whether the text ends inside of quotes.
func (c *csvFile) open(text []byte) bool {
	return c.split(bytes.TrimSuffix(text, []byte("\n"))) == problemOpenQuote
}

func (c *csvFile) take(size, lineCount int) {
	_, _ = c.in.Discard(size) // it has been peeked
	c.line += lineCount
}

func (c *csvFile) discardLine() error {
	for {
		part, err := c.in.ReadSlice('\n')
		switch {
		case errors.Is(err, bufio.ErrBufferFull):
			continue
		case errors.Is(err, io.EOF) && len(part) == 0:
			return io.EOF
		case err != nil && !errors.Is(err, io.EOF):
			return err
		}
		c.line++
		return nil
	}
}

const (
	problemOpenQuote  = "a quote is opened and never closed"
	problemAfterQuote = "something follows a closing quote"
)

// split takes a row apart into values. What is wrong with it, if anything.
func (c *csvFile) split(text []byte) (problem string) {
	d := &c.m.csv
	c.values = c.values[:0]
	rest := string(text)
	for {
		value, after, quoted := rest, "", false
		if start := strings.TrimLeft(rest, " "); d.quote != "" && strings.HasPrefix(start, d.quote) {
			quoted = true
			var closed bool
			if value, after, closed = cutQuoted(start[1:], d.quote); !closed {
				return problemOpenQuote
			}
			if !strings.HasPrefix(after, d.delimiter) {
				after = strings.TrimLeft(after, " ")
			}
			if after != "" && !strings.HasPrefix(after, d.delimiter) {
				return problemAfterQuote
			}
		} else if i := strings.Index(rest, d.delimiter); i >= 0 {
			value, after = rest[:i], rest[i:]
		}
		c.values = append(c.values, c.clean(value, quoted))
		if after == "" {
			return ""
		}
		rest = after[len(d.delimiter):]
	}
}

// cutQuoted reads up to the closing quote; two quotes are one.
func cutQuoted(text, quote string) (value, after string, closed bool) {
	i := strings.Index(text, quote)
	if i < 0 {
		return "", "", false
	}
	if !strings.HasPrefix(text[i+1:], quote) {
		return text[:i], text[i+1:], true
	}
	var b strings.Builder
	for {
		b.WriteString(text[:i])
		text = text[i+1:]
		if !strings.HasPrefix(text, quote) {
			return b.String(), text, true
		}
		b.WriteString(quote)
		text = text[1:]
		if i = strings.Index(text, quote); i < 0 {
			return "", "", false
		}
	}
}

// clean takes off what the dialect adds to values.
func (c *csvFile) clean(value string, quoted bool) string {
	d := &c.m.csv
	if d.trim && !quoted {
		value = strings.TrimSpace(value)
	}
	if d.strip != "" {
		value = strings.TrimPrefix(value, d.strip)
		if d.trim {
			value = strings.TrimSpace(value)
		}
	}
	return value
}
