package intake

import (
	"strconv"
	"unsafe"

	"settlewatch/schemas/event"
)

// Form is the fast path of who has a record's values already, as a profile has. The
// documented record that they make is written as JSON, because its hash is part of
// the event; reading that again would cost more than all the rest. A form writes it
// and files the fields at the same time, with the same parsers of values as scan, so
// that what follows (the checks of the record, the event) is the same code on the
// same data.
//
// Where nobody wants the hash (Decoder.SkipRawHash) nothing is written but what the event
// has as text: names, quotes, numbers and instants are left out. A field to which the
// record type gives no meaning is written all the same, for it stays in the event as JSON.
//
// Like scan it never refuses a record, it gives up: then the record is written as
// JSON and Decode says what is the matter. Texts must be plain. A form belongs to its
// decoder, of which it is another entrance.
type Form struct {
	d    *Decoder
	kind *recordType
	head string // {"type":"…"
	// bare are the fields of which no more than the text is written; left is at least
	// how many bytes that has left out of the record.
	bare fieldSet
	left int
}

// Field is a documented field.
type Field fieldID

// Form is that of one record type; nil if the feed has none of the name.
func (d *Decoder) Form(recordType string) *Form {
	kind := d.types[recordType]
	if kind == nil {
		return nil
	}
	return &Form{d: d, kind: kind, head: `{"type":"` + recordType + `"`}
}

// Field of the name; false if the feed does not know it.
func (f *Form) Field(name string) (Field, bool) {
	id, known := f.d.known[name]
	return Field(id), known && id != fType
}

// Begin starts a record.
func (f *Form) Begin() {
	d := f.d
	d.record.reset(nil)
	f.bare, f.left = 0, 0
	if d.skipsRawHash {
		f.bare = f.kind.uses
	}
	d.arena = append(d.arena, f.head...)
	d.kind, d.present = f.kind, 1<<fType
	end := len(f.head)
	d.where[fType] = span{end - len(f.kind.name) - len(`""`), end}
	d.texts[fType] = span{end - len(f.kind.name) - len(`"`), end - len(`"`)}
}

// GiveUp forgets what has been written.
func (f *Form) GiveUp() {
	clear(f.d.arena) // the card number may be in it
	f.d.record.forgetCard()
}

// Has tells whether the field has been written.
func (f *Form) Has(field Field) bool { return f.d.has(fieldID(field)) }

// Text writes a plain text, which is what Plain says is one; false if it is not an
// ordinary one for the field.
func (f *Form) Text(field Field, text string) bool {
	d, id := f.d, fieldID(field)
	if f.bare.has(id) {
		start := len(d.arena)
		d.arena = append(d.arena, text...)
		return f.counted(id, len(quotedMembers[id])+len(`"`)) && d.fileText(id, &fields[id], span{start, len(d.arena)})
	}
	arena := append(d.arena, quotedMembers[id]...)
	start := len(arena)
	arena = append(arena, text...)
	d.arena = append(arena, '"')
	return f.filed(id, start)
}

// counted notes a field of which so many bytes are not written; false if it has been
// before.
func (f *Form) counted(id fieldID, left int) bool {
	before := f.d.present
	f.d.present |= 1 << id
	f.left += left
	return !before.has(id)
}

// filed files the text that was written last and begins at start.
func (f *Form) filed(id fieldID, start int) bool {
	d, end := f.d, len(f.d.arena)
	if d.has(id) || !d.fileText(id, &fields[id], span{start, end - 1}) {
		return false
	}
	d.present |= 1 << id
	d.where[id] = span{start - 1, end}
	return true
}

// Amount writes a number of minor units; false if it is not an ordinary one.
func (f *Form) Amount(field Field, minor int64) bool {
	d, id := f.d, fieldID(field)
	if f.bare.has(id) && fields[id].shape == shapeAmount && -fewDigits < minor && minor < fewDigits {
		d.numbers[id] = minor
		return f.counted(id, len(quotedMembers[id])-len(`"`)+minCardDigits)
	}
	start := d.open(id)
	d.arena = strconv.AppendInt(d.arena, minor, 10)
	end := len(d.arena)
	if d.has(id) || fields[id].shape != shapeAmount {
		return false
	}
	if reason, _ := d.parseNumber(id, d.arena[start:end]); reason != "" {
		return false
	}
	d.present |= 1 << id
	d.where[id] = span{start, end}
	return true
}

// fewDigits is an amount, in minor units, below which none can be a card number, or too
// large.
const fewDigits = 1e12

// open writes a field's name and returns where its value begins.
func (d *Decoder) open(id fieldID) (start int) {
	name := quotedMembers[id]
	d.arena = append(d.arena, name[:len(name)-1]...)
	return len(d.arena)
}

// UTC writes an instant that is RFC 3339 in UTC to the second or millisecond, without
// zeros at the end of its fraction; false for any other text, of which nothing stays.
func (f *Form) UTC(field Field, text string) bool {
	const second, millisecond = len("2006-01-02T15:04:05Z"), len("2006-01-02T15:04:05.000Z")
	size := len(text)
	if size != second && (size != millisecond || text[second-1] != '.') || text[size-1] != 'Z' {
		return false
	}
	if id := fieldID(field); f.bare.has(id) && fields[id].shape == shapeInstant {
		return f.bareUTC(id, text)
	}
	whole := text[:size-1]
	if size == millisecond {
		for whole[len(whole)-1] == '0' {
			whole = whole[:len(whole)-1]
		}
		if len(whole) == second { // nothing is behind the point
			whole = whole[:second-1]
		}
	}
	id := fieldID(field)
	before := f.d.arena
	arena := append(before, quotedMembers[id]...)
	start := len(arena)
	arena = append(arena, whole...)
	f.d.arena = append(arena, 'Z', '"')
	if fields[id].shape == shapeInstant && f.filed(id, start) {
		return true
	}
	f.d.arena = before
	return false
}

// bareUTC is UTC of a field of which only the zone may be wanted as text.
func (f *Form) bareUTC(id fieldID, text string) bool {
	d := f.d
	ms, _, ok := parseInstant(unsafe.Slice(unsafe.StringData(text), len(text))) // which is only read
	if !ok || d.has(id) {
		return false
	}
	d.numbers[id] = ms
	if id == fBusinessTime {
		d.arena = append(d.arena, 'Z')
		d.zone = span{len(d.arena) - 1, len(d.arena)}
	}
	return f.counted(id, len(quotedMembers[id])+len(text))
}

// Value writes a value as JSON has it; false if it is not an ordinary one.
func (f *Form) Value(field Field, json []byte) bool {
	d, id := f.d, fieldID(field)
	start := d.open(id)
	end := start + len(json)
	d.arena = append(append(d.arena, json...), '}') // numbers are read to what follows them
	ok := d.scanKnown(d.arena, id, start) == end
	d.arena = d.arena[:end]
	return ok
}

// Unknown writes a field that the feed does not know, as collected by UnknownMember.
// Name and text must have been held to what may never be in a record.
func (f *Form) Unknown(member, text string) bool {
	d := f.d
	for _, u := range d.unknown {
		if string(d.arena[u.name.start:u.name.end]) == member[1:len(member)-1] {
			return false
		}
	}
	start := len(d.arena) + len(`,`)
	d.arena = append(d.arena, member...)
	value := len(d.arena)
	d.arena = append(d.arena, '"')
	d.arena = append(d.arena, text...)
	d.arena = append(d.arena, '"')
	d.unknown = append(d.unknown, unknownField{name: span{start, value - 1}, value: span{value, len(d.arena)}})
	return true
}

// UnknownMember is what stands before the value of a field that the feed does not
// know; empty for a name that a form cannot write.
func (f *Form) UnknownMember(name string) string {
	if _, known := f.d.known[name]; known || name == "" || !Plain(name) {
		return ""
	}
	return `,"` + name + `":`
}

// Event ends the record and makes its event, lent as by Borrow or for good; false if
// something is wrong with it.
func (f *Form) Event(lent bool) (*event.Event, bool) {
	d := f.d
	d.arena = append(d.arena, '}')
	if len(d.arena)+f.left > MaxBytes {
		return nil, false
	}
	d.raw = d.arena
	kind, err := d.check()
	if err != nil {
		return nil, false
	}
	e := d.fill(kind, lent)
	d.record.forgetCard()
	return e, true
}

// quotedMembers are the names as they stand before a text that is not the first.
var quotedMembers = quoteMembers()

func quoteMembers() (texts [fieldCount]string) {
	for id, name := range members {
		texts[id] = "," + name + `"`
	}
	return texts
}
