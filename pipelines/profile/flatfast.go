package profile

import (
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
	if last < 1 || text[0] != '{' || text[last] != '}' || !intake.Printable(text) {
		return false
	}
	cells := r.cells[:0]
	at, members, same := 1, 0, r.flat
	for ; ; members++ {
		at = skipSpaces(text, at)
		quoted := ""
		if members < len(f.quoted) {
			quoted = f.quoted[members]
		}
		if quoted == "" || len(text)-at < len(quoted) || string(text[at:at+len(quoted)]) != quoted {
			if quoted = f.learn(members, text[at:]); quoted == "" {
				return false
			}
			same = false
		}
		at = skipSpaces(text, at+len(quoted))
		if text[at] != ':' {
			return false
		}
		at = skipSpaces(text, at+1)
		value, end := flatValue(text, at)
		if end == 0 {
			return false
		}
		if text[at] == 'n' {
			same = false // a member without a cell moves those behind it
		} else {
			cells = append(cells, cell{quoted[1 : len(quoted)-1], value})
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
	members++
	same = same && members == len(f.quoted)
	f.quoted = f.quoted[:members]
	r.setFlat(cells, same, len(cells) == members)
	return true
}

// learn reads the name that text begins with as the n-th of this and later
// records. It is empty for what is not an ordinary name, or one that occurs twice.
func (f *flattener) learn(n int, text []byte) string {
	if text[0] != '"' || n >= flatMembersMax {
		return ""
	}
	end := intake.ClosingQuote(text, 1)
	if end <= 1 {
		return ""
	}
	for _, other := range f.quoted[:n] {
		if other == string(text[:end+1]) {
			return ""
		}
	}
	// Names outlive their record: errors and verdicts keep them.
	quoted := string(text[:end+1])
	f.quoted = append(f.quoted[:n], quoted)
	return quoted
}

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
		if end = intake.ClosingQuote(text, at+1); end == 0 {
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
