package profile

import (
	"encoding/binary"
	"strings"
	"unsafe"

	"settlewatch/pipelines/intake"
)

// The fast path of JSON records, as intake has one for its own: a flat object in
// printable ASCII without escapes, whose members are texts, plain numbers, true,
// false or null, and mostly the same ones in the same order as in the last record.
// Its cells are parts of the record's bytes, and its names are those of the last
// record, so that nothing is copied or looked up again. Anything else is left to
// the tokenizer, which starts over. TestFlatFast holds the two to each other.

// flatMembersMax bounds the members that are compared with each other to find a
// name that occurs twice; records of more are the tokenizer's.
const flatMembersMax = 64

// scan makes a row of text; false means that the tokenizer has to. The cells are
// valid as long as text is.
func (f *flattener) scan(r *row, text []byte) bool {
	last := len(text) - 1
	if last < 1 || text[0] != '{' || text[last] != '}' {
		return false
	}
	before := r.cells
	cells := r.cells[:0]
	// same: the cells so far have the names of those of the last row. Where a member
	// has no cell, in this record or the last one, that is to be looked at.
	at, members, same, moved := 1, 0, r.shape > 0, f.moved
	f.moved = false
	for ; ; members++ {
		at = skipSpaces(text, at)
		if members < len(f.names) && f.names[members].stands(text, at) {
			at += len(f.names[members].text)
		} else {
			var known bool
			if at, known = f.learn(members, text, at); at == 0 {
				return false
			}
			same = same && known
		}
		at = skipSpaces(text, at)
		value, end := flatValue(text, at)
		if end == 0 {
			return false
		}
		n := len(cells)
		switch {
		case text[at] == 'n':
			moved, f.moved = true, true
		case same && !moved && n < len(before):
			cells = cells[:n+1]
			cells[n].value = value
		default:
			name := f.names[members].name()
			same = same && n < len(before) && before[n].name == name
			cells = append(cells, cell{name, value})
		}
		if at = skipSpaces(text, end); text[at] == '}' {
			break
		}
		if text[at] != ',' {
			return false
		}
		at++
	}
	if at != last {
		return false
	}
	f.names = f.names[:members+1]
	r.setFlat(cells, same && len(cells) == len(before))
	return true
}

// learn reads the name at text[at:] as the n-th of this and later records, and its
// colon, and returns where that ends; known tells whether it was the n-th before. It
// is 0 for what is not an ordinary name, or one that occurs twice.
func (f *flattener) learn(n int, text []byte, at int) (end int, known bool) {
	if text[at] != '"' || n >= flatMembersMax {
		return 0, false
	}
	closing := intake.PlainEnd(text, at+1)
	if closing <= at+1 {
		return 0, false
	}
	if end = skipSpaces(text, closing+1); text[end] != ':' {
		return 0, false
	}
	quoted := text[at : closing+1]
	for i, other := range f.names[:min(n+1, len(f.names))] {
		if other.text[:len(other.text)-1] == string(quoted) {
			if i == n {
				return end + 1, true
			}
			return 0, false
		}
	}
	// Names outlive their record: errors and verdicts keep them.
	f.names = append(f.names[:n], newMember(string(quoted)+":"))
	return end + 1, false
}

// memberName is a member's name as it mostly stands in a record, quoted and with its
// colon. Of a usual length it is compared as two words that may overlap: a call for each
// name would cost more than all the rest of it.
type memberName struct {
	text       string
	head, tail uint64
}

const wordBytes = 8

func newMember(text string) memberName {
	m := memberName{text: text}
	if size := len(text); wordBytes <= size && size <= 2*wordBytes {
		m.head = binary.LittleEndian.Uint64([]byte(text))
		m.tail = binary.LittleEndian.Uint64([]byte(text[size-wordBytes:]))
	}
	return m
}

// stands tells whether text has the name at a place, and something behind it.
func (m *memberName) stands(text []byte, at int) bool {
	size := len(m.text)
	if len(text)-at <= size {
		return false
	}
	if m.head == 0 { // of another length: a head begins with a quote
		return string(text[at:at+size]) == m.text
	}
	return binary.LittleEndian.Uint64(text[at:]) == m.head && binary.LittleEndian.Uint64(text[at+size-wordBytes:]) == m.tail
}

func (m *memberName) name() string { return m.text[1 : len(m.text)-len(`":`)] }

// skipSpaces needs no bound: the record ends with a brace.
func skipSpaces(text []byte, at int) int {
	for text[at] == ' ' {
		at++
	}
	return at
}

// flatValue is the text of the value at text[at:] and where it ends; 0 if it is not
// an ordinary one.
func flatValue(text []byte, at int) (value string, end int) {
	switch c := text[at]; {
	case c == '"':
		if end = intake.PlainEnd(text, at+1); end == 0 {
			return "", 0
		}
		return lent(text[at+1 : end]), end + 1
	case c-'0' < 10 || c == '-':
		if end = plainNumber(text, at); end == 0 {
			return "", 0
		}
		return lent(text[at:end]), end
	}
	for _, word := range [...]string{"true", "false", "null"} {
		if strings.HasPrefix(lent(text[at:]), word) {
			return word, at + len(word)
		}
	}
	return "", 0
}

// plainNumber is where a JSON number without an exponent ends; 0 if it is none.
func plainNumber(text []byte, at int) (end int) {
	if text[at] == '-' {
		at++
	}
	first := at
	for text[at]-'0' < 10 {
		at++
	}
	if at == first || text[first] == '0' && at > first+1 {
		return 0
	}
	if text[at] != '.' {
		return at
	}
	point := at
	for at++; text[at]-'0' < 10; at++ {
	}
	if at == point+1 {
		return 0
	}
	return at
}

// lent is the text without a copy, valid as long as its bytes are.
func lent(text []byte) string { return unsafe.String(unsafe.SliceData(text), len(text)) }
