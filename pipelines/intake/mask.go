package intake

import (
	"bytes"

	"github.com/go-json-experiment/json/jsontext"
)

// What stands where something was removed.
const (
	removedText  = "[removed]"
	removedTrack = "[track data removed]"
)

// Mask makes raw bytes fit for a dead letter: everything that looks like a card
// number keeps its BIN and last four only, track data and the values of
// forbidden fields are removed, and so is the value of card_number, of which
// only 13 to 19 digits leave BIN and last four.
//
// Where the bytes are JSON, with duplicate names and invalid UTF-8 allowed, the
// identifiers at the top of the record stay as they are, unless they contain the
// record's own card number; all other values stay byte for byte if nothing in
// them was masked. Where they are not, everything is searched, escapes included.
// The result may be longer than raw by a little and is not always JSON.
func Mask(raw []byte) []byte {
	if !isLooseJSON(raw) {
		return bytes.Clone(maskText(raw))
	}
	m := masker{raw: raw, json: looseDecoder(raw)}
	m.walk(m.collectCard)
	m.json = looseDecoder(raw)
	m.walk(m.maskValue)
	return append(m.out, raw[m.copied:]...)
}

func looseDecoder(raw []byte) *jsontext.Decoder {
	return jsontext.NewDecoder(bytes.NewBuffer(raw), jsontext.AllowDuplicateNames(true), jsontext.AllowInvalidUTF8(true))
}

func isLooseJSON(raw []byte) bool {
	return jsontext.Value(raw).IsValid(jsontext.AllowDuplicateNames(true), jsontext.AllowInvalidUTF8(true))
}

// masker walks one JSON text and copies it with replacements.
type masker struct {
	raw  []byte
	json *jsontext.Decoder
	// cards are the digits of card_number, wherever it stands.
	cards [][]byte
	// out holds raw up to copied, masked.
	out    []byte
	copied int
}

// place says where in the JSON a value stands.
type place struct {
	isName bool
	// name of the member that the value belongs to; nil in an array.
	name []byte
	// atTop: a member of the record itself.
	atTop bool
}

// walk shows every name and every value to visit. An object or array that is
// the value of a name with a rule is shown whole, others by their parts.
func (m *masker) walk(visit func(p place, value []byte)) {
	var name []byte
	for {
		kind := m.json.PeekKind()
		isName := expectsName(m.json)
		whole := !isName && name != nil && ruleOfName(name) != nameFree
		if kind == '}' || kind == ']' || (kind == '{' || kind == '[') && !whole {
			if _, err := m.json.ReadToken(); err != nil {
				return
			}
			name = nil
			continue
		}
		value, err := m.json.ReadValue()
		if err != nil {
			return // io.EOF: the text is valid
		}
		visit(place{isName: isName, name: name, atTop: m.json.StackDepth() == 1}, value)
		name = nil
		if isName {
			name = unquoteLoose(value)
		}
	}
}

// collectCard is the first walk: it gathers the record's own card numbers.
func (m *masker) collectCard(p place, value []byte) {
	if p.isName || p.name == nil || ruleOfName(p.name) != nameCard {
		return
	}
	text := value
	if value[0] == '"' {
		text = unquoteLoose(value)
	}
	if card := onlyDigits(text); len(card) >= minCardDigits && len(card) <= maxCardDigits {
		m.cards = append(m.cards, card)
	}
}

// maskValue is the second walk: it replaces what may not stay.
func (m *masker) maskValue(p place, value []byte) {
	if !p.isName && p.name != nil {
		switch ruleOfName(p.name) {
		case nameForbidden:
			m.replace(value, []byte(removedText))
			return
		case nameCard:
			m.replace(value, maskCardField(value))
			return
		case nameFree:
		}
	}
	text := value
	switch value[0] {
	case '"':
		text = unquoteLoose(value)
	case '{', '[', 't', 'f', 'n':
		return
	}
	masked := maskOwn(text, m.cards)
	if p.isName || !p.atTop || !identifierNames[string(p.name)] {
		masked = maskText(masked)
	}
	if !bytes.Equal(masked, text) {
		m.replace(value, masked)
	}
}

// maskCardField keeps BIN and last four of 13 to 19 digits, also if nothing else
// was there, and nothing of anything else.
func maskCardField(value []byte) []byte {
	text := value
	if value[0] == '"' {
		text = unquoteLoose(value)
	}
	if card := onlyDigits(text); len(card) >= minCardDigits && len(card) <= maxCardDigits {
		return maskDigits(card)
	}
	if isMasked(text) {
		return text
	}
	return []byte(removedText)
}

// isMasked recognizes what maskDigits makes.
func isMasked(text []byte) bool {
	if len(text) < minCardDigits || len(text) > maxCardDigits {
		return false
	}
	for i, c := range text {
		if hidden := i >= 6 && i < len(text)-4; hidden != (c == '*') || !hidden && c-'0' >= 10 {
			return false
		}
	}
	return true
}

// replace puts text, quoted, in the place of the value that was read last.
func (m *masker) replace(value, text []byte) {
	end := int(m.json.InputOffset())
	m.out = append(m.out, m.raw[m.copied:end-len(value)]...)
	m.out, _ = jsontext.AppendQuote(m.out, bytes.ToValidUTF8(text, []byte("\uFFFD")))
	m.copied = end
}

// unquoteLoose is the text of a JSON string, invalid UTF-8 replaced.
func unquoteLoose(quoted []byte) []byte {
	text, _ := jsontext.AppendUnquote(nil, quoted)
	return text
}

// onlyDigits are the digits of a text that is nothing but digits and what
// separates them; nil of any other.
func onlyDigits(text []byte) []byte {
	digits := []byte{}
	for i := 0; i < len(text); {
		if value, size := digitAt(text, i); size > 0 {
			digits = append(digits, value+'0')
			i += size
		} else if size := separatorAt(text, i); size > 0 {
			i += size
		} else {
			return nil
		}
	}
	return digits
}

// maskDigits is a card number's BIN and last four with stars between.
func maskDigits(card []byte) []byte {
	masked := bytes.Clone(card)
	for i := 6; i < len(masked)-4; i++ {
		masked[i] = '*'
	}
	return masked
}

// maskOwn blanks the middle of every occurrence of the record's own card
// numbers, also inside of longer numbers.
func maskOwn(text []byte, cards [][]byte) []byte {
	owned := false
	for _, card := range cards {
		for from := 0; ; {
			i := bytes.Index(text[from:], card)
			if i < 0 {
				break
			}
			if !owned {
				text, owned = bytes.Clone(text), true
			}
			from += i
			copy(text[from:], maskDigits(card))
			// The last four may begin another occurrence.
			from += len(card) - 4
		}
	}
	return text
}

// maskText masks a text without structure. A text with nothing to hide comes
// back as it is, its escapes too.
func maskText(text []byte) []byte {
	plain := resolveEscapes(text)
	masked := removePairs(plain)
	changed := !bytes.Equal(masked, plain)
	var s scanner
	// What is left of one number may, with its neighbours, look like another: the
	// search goes on until it finds nothing. Every round leaves fewer digits.
	for {
		findings := s.scan(masked)
		if len(findings) == 0 {
			break
		}
		masked, changed = maskFindings(masked, findings), true
	}
	if !changed {
		return text
	}
	return masked
}

func maskFindings(text []byte, findings []finding) []byte {
	masked := make([]byte, 0, len(text)+len(removedTrack))
	copied := 0
	for _, f := range findings {
		masked = append(masked, text[copied:f.start]...)
		if f.kind == secretTrack {
			masked = append(masked, removedTrack...)
		} else {
			masked = appendMasked(masked, text[f.start:f.end])
		}
		copied = f.end
	}
	return append(masked, text[copied:]...)
}

// appendMasked writes a card number with its separators, one star for each digit
// between BIN and last four.
func appendMasked(dst, number []byte) []byte {
	total := 0
	for i := 0; i < len(number); {
		_, size := digitAt(number, i)
		if size > 0 {
			total++
		}
		i += max(size, 1)
	}
	seen := 0
	for i := 0; i < len(number); {
		_, size := digitAt(number, i)
		switch {
		case size == 0:
			dst = append(dst, number[i])
		case seen >= 6 && seen < total-4:
			dst = append(dst, '*')
			seen++
		default:
			dst = append(dst, number[i:i+size]...)
			seen++
		}
		i += max(size, 1)
	}
	return dst
}

// resolveEscapes turns the JSON escapes of printable ASCII characters into the
// characters, wherever they stand: in broken JSON nothing else would.
func resolveEscapes(text []byte) []byte {
	if !bytes.Contains(text, []byte(`\u00`)) {
		return text
	}
	plain := make([]byte, 0, len(text))
	for i := 0; i < len(text); i++ {
		if c, ok := escapeAt(text[i:]); ok {
			plain = append(plain, c)
			i += len(`\u0030`) - 1
		} else {
			plain = append(plain, text[i])
		}
	}
	return plain
}

func escapeAt(text []byte) (c byte, ok bool) {
	if len(text) < len(`\u0030`) || !bytes.HasPrefix(text, []byte(`\u00`)) || !isHex(text[4]) || !isHex(text[5]) {
		return 0, false
	}
	c = hexValue(text[4])<<4 | hexValue(text[5])
	return c, c >= ' ' && c < 0x7F && c != '"' && c != '\\'
}

func hexValue(c byte) byte {
	if c <= '9' {
		return c - '0'
	}
	return c | 0x20 - 'a' + 10
}
