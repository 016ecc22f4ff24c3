package intake

import "bytes"

// removePairs removes the values of forbidden fields and of card_number from a
// text that is not JSON, or only a part of it. It knows what such texts mostly
// are: broken JSON ("cvv": "123"), JSON inside of a string (\"cvv\":\"123\"),
// forms (cvv=123&…), lines (cvv: 123) and XML (<cvv>123</cvv>). It errs on the
// side of removing.
func removePairs(text []byte) []byte {
	var out []byte // nil: nothing was removed
	copied := 0
	for i := 0; i < len(text); {
		if !isNameByte(text[i]) {
			i++
			continue
		}
		start := i
		for i < len(text) && isNameByte(text[i]) {
			i++
		}
		if ruleOfName(text[start:i]) == nameFree || start > 0 && text[start-1] == '/' {
			continue
		}
		value, found := valueAfter(text, i)
		if !found {
			continue
		}
		if bytes.HasPrefix(text[value.start:], []byte(removedText)) {
			i = value.start + len(removedText) // the work of an earlier pass
			continue
		}
		out = append(out, text[copied:value.start]...)
		out = append(out, removedText...)
		copied, i = value.end, value.end
	}
	if out == nil {
		return text
	}
	return append(out, text[copied:]...)
}

func isNameByte(c byte) bool { return isAlphanumeric(c) || c == '_' || c == '-' }

// valueAfter finds the value that belongs to a name which ends at i, without its
// quotes. A value that nothing closes reaches to the end of the text.
func valueAfter(text []byte, i int) (value span, found bool) {
	if i < len(text) && text[i] == '>' { // XML
		return span{i + 1, before(text, i+1, "<")}, true
	}
	i = skip(text, i, "\"'\\ \t\r\n")
	if i == len(text) || text[i] != ':' && text[i] != '=' {
		return span{}, false
	}
	i = skip(text, i+1, " \t\r\n")
	if i == len(text) {
		return span{}, false
	}
	switch c := text[i]; {
	case c == '{' || c == '[':
		// Whatever is nested here goes, to the end: the text is broken anyway.
		return span{i, len(text)}, true
	case c == '\\' && i+1 < len(text) && (text[i+1] == '"' || text[i+1] == '\''):
		return span{i + 2, before(text, i+2, "\\")}, true
	case c == '"' || c == '\'':
		return span{i + 1, closingQuote(text, i+1, c)}, true
	default:
		return span{i, before(text, i, ",;&}]<>\"' \t\r\n")}, true
	}
}

func skip(text []byte, i int, set string) int {
	for i < len(text) && bytes.IndexByte([]byte(set), text[i]) >= 0 {
		i++
	}
	return i
}

// before is where the first byte of the set stands, from i on.
func before(text []byte, i int, set string) int {
	if n := bytes.IndexAny(text[i:], set); n >= 0 {
		return i + n
	}
	return len(text)
}

func closingQuote(text []byte, i int, quote byte) int {
	for ; i < len(text); i++ {
		switch text[i] {
		case quote:
			return i
		case '\\':
			i++
		}
	}
	return len(text)
}
