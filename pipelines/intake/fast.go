package intake

import "bytes"

// The fast path. Nearly every record is a flat object of known fields, written in
// printable ASCII without an escape, by one program that always writes the fields
// in one order. Reading such a record with a general JSON tokenizer costs several
// times what everything else here does. scan reads it in one pass and fills the
// same scratch memory with the same parsers of values, so that what follows (the
// checks of the record, the event) is the same code on the same data.
//
// It never refuses a record: it gives up on anything that is not ordinary, wrong
// values included, and the strict reader starts over and says what is the matter.
// So nothing can pass here that would not pass there, card numbers least of all: the
// search that known fields' parsers and unknown fields get is the same. FuzzFast holds the two to each other.

// scan reads d.raw; false means that the strict reader has to.
func (d *Decoder) scan() bool {
	raw := d.raw
	last := len(raw) - 1
	if last < 1 || raw[0] != '{' || raw[last] != '}' {
		return false
	}
	// Without escapes a text in the arena stands where it stands in the record.
	d.arena = append(d.arena[:0], raw...)
	at := 1
	for n := range d.order {
		at = skipSpaces(raw, at)
		// The field that stood here in the last record is likely to do so again.
		id := d.order[n]
		if name := members[id]; len(raw)-at > len(name) && string(raw[at:at+len(name)]) == name {
			at += len(name)
		} else if id, at = d.scanName(raw, at); at == 0 {
			return false
		}
		at = skipSpaces(raw, at)
		var end int
		if id == fieldCount {
			end = d.scanUnknown(raw, at)
		} else if end = d.scanKnown(raw, id, at); end > 0 {
			d.order[n] = id
		}
		if end == 0 {
			return false
		}
		at = skipSpaces(raw, end)
		switch {
		case raw[at] == '}':
			return at == last
		case raw[at] != ',':
			return false
		}
		at++
	}
	return false // more fields than any record needs
}

// skipSpaces needs no bound: the record ends with a brace.
func skipSpaces(raw []byte, at int) int {
	for raw[at] == ' ' {
		at++
	}
	return at
}

// scanKnown files a field of the feed and returns where its value ends; 0 if it is
// not an ordinary one for the field.
func (d *Decoder) scanKnown(raw []byte, id fieldID, at int) (end int) {
	if d.has(id) {
		return 0
	}
	f := &fields[id]
	switch c := raw[at]; {
	case c == '"':
		if end = PlainEnd(raw, at+1); end == 0 || !d.fileText(id, f, span{at + 1, end}) {
			return 0
		}
		end++
	case f.shape == shapeAmount, f.shape == shapeCount:
		if end = d.scanNumber(raw, id, at); end == 0 {
			return 0
		}
	case f.shape == shapeBool:
		for _, word := range [...]string{"true", "false"} {
			if bytes.HasPrefix(raw[at:], []byte(word)) {
				end = at + len(word)
				_, _ = d.parseBool(id, raw[at:end]) // it is one of the two
			}
		}
		if end == 0 {
			return 0
		}
	default:
		return 0
	}
	d.present |= 1 << id
	d.where[id] = span{at, end}
	return end
}

// scanUnknown files a field that the feed does not know, whose name was read last.
// It is held to what may never be in a record, as the strict reader does.
func (d *Decoder) scanUnknown(raw []byte, at int) (end int) {
	name := raw[d.newest.start+1 : d.newest.end-1]
	for _, u := range d.unknown {
		if string(raw[u.name.start+1:u.name.end-1]) == string(name) {
			return 0
		}
	}
	switch c := raw[at]; {
	case c == '"':
		if end = PlainEnd(raw, at+1); end > 0 {
			end++
		}
	case c-'0' < 10 || c == '-':
		end = skipInteger(raw, at)
	default:
		for _, word := range [...]string{"true", "false", "null"} {
			if bytes.HasPrefix(raw[at:], []byte(word)) {
				end = at + len(word)
			}
		}
	}
	if end == 0 || d.nested.inspect(name, raw[at:end], identifierNames[string(name)] || d.exempt[string(name)]) != nil {
		return 0
	}
	d.unknown = append(d.unknown, unknownField{name: d.newest, value: span{at, end}})
	return end
}

// scanName reads the quoted name at raw[at:] and its colon, and returns where that
// stands; 0 if it is not an ordinary one. A name that the feed does not know is
// fieldCount and d.newest.
func (d *Decoder) scanName(raw []byte, at int) (id fieldID, end int) {
	if raw[at] != '"' {
		return 0, 0
	}
	if end = PlainEnd(raw, at+1); end == 0 {
		return 0, 0
	}
	id, known := d.known[string(raw[at+1:end])]
	if !known {
		id, d.newest = fieldCount, span{at, end + 1}
	}
	if end = skipSpaces(raw, end+1); raw[end] != ':' {
		return 0, 0
	}
	return id, end + 1
}

// members are the names as they mostly stand in a record, with their colons.
var members = quoteNames()

func quoteNames() (names [fieldCount]string) {
	for id := range names {
		names[id] = `"` + fields[id].name + `":`
	}
	return names
}

// fileText files a text that is known to be plain; false if it is not an ordinary
// one for the field.
func (d *Decoder) fileText(id fieldID, f *field, where span) bool {
	text := d.arena[where.start:where.end]
	d.texts[id] = where
	switch f.shape {
	case shapeText, shapeKeyPart:
		if len(text) == 0 || len(text) > maxTextRunes || f.shape == shapeKeyPart && bytes.IndexByte(text, '|') >= 0 {
			return false
		}
		if f.identifier || len(text) < shortestSecret {
			return true
		}
		reason, _ := d.nested.search(text)
		return reason == ""
	case shapeName:
		reason, _ := checkName(text)
		return len(text) > 0 && reason == ""
	case shapeCurrency:
		if string(text) == string(d.currency[:]) {
			return true
		}
		reason, _ := d.parseText(id, text)
		if reason == "" {
			copy(d.currency[:], text)
		}
		return reason == ""
	case shapeCard:
		reason, _ := d.parseCard(text)
		clear(text)
		return reason == ""
	case shapeAmount, shapeCount, shapeBool:
		return false
	default:
		reason, _ := d.parseText(id, text)
		return reason == ""
	}
}

// scanNumber files an amount or a count and returns where it ends; 0 if it is not
// an ordinary one.
func (d *Decoder) scanNumber(raw []byte, id fieldID, at int) (end int) {
	if end = skipInteger(raw, at); end == 0 {
		return 0
	}
	if reason, _ := d.parseNumber(id, raw[at:end]); reason != "" {
		return 0
	}
	return end
}

// skipInteger is where an integer ends; 0 if it is none that JSON allows.
func skipInteger(raw []byte, at int) int {
	if raw[at] == '-' {
		at++
	}
	first := at
	for raw[at]-'0' < 10 {
		at++
	}
	if at == first || raw[first] == '0' && at > first+1 {
		return 0
	}
	return at
}
