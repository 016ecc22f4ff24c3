package intake

import (
	"bytes"
	"unsafe"
)

// What a reader of other formats shares with the decoder of the documented
// JSON, so that a profile's file is held to the same rules by the same code.

// FieldNames are the names of all documented fields, in the table's order. The
// slice is the caller's.
func FieldNames() []string {
	names := make([]string, 0, len(fields))
	for i := range fields {
		names = append(names, fields[i].name)
	}
	return names
}

// IsIdentifier tells whether the documented field may hold any digits.
func IsIdentifier(name string) bool { return identifierNames[name] }

// Instant reads RFC 3339 of the years 2000 to 2099 as Unix milliseconds.
func Instant(text string) (ms int64, ok bool) {
	ms, _, ok = parseInstant([]byte(text))
	return ms, ok
}

// FeedOf is the feed that has the record type; false for a type that none has.
func FeedOf(recordType string) (Feed, bool) {
	for i := range recordTable {
		if recordTable[i].name == recordType {
			return recordTable[i].feed, true
		}
	}
	return 0, false
}

// RecordTypes are the names of all record types, feed by feed.
func RecordTypes() []string {
	names := make([]string, 0, len(recordTable))
	for i := range recordTable {
		names = append(names, recordTable[i].name)
	}
	return names
}

// Exempt declares further names of unknown fields to be identifiers, whose
// digits are not searched for card numbers. The record's own card number is
// looked for in them all the same.
func (d *Decoder) Exempt(names ...string) {
	if d.exempt == nil {
		d.exempt = make(map[string]bool, len(names))
	}
	for _, name := range names {
		d.exempt[name] = true
	}
}

// Inspector holds texts of other formats to what may never be in a record. It
// keeps scratch memory and is not safe for concurrent use.
type Inspector struct{ nested nestedReader }

// Name refuses a name that no record may have, or that has a card number in it.
// A name for card numbers is refused unless the caller reads the field as one.
func (i *Inspector) Name(name string, isCard bool) *DecodeError {
	return i.nested.inspectName([]byte(name), "", isCard)
}

// Text refuses a value that contains a card number, track data or NUL. The path
// of the error is empty: it is the caller's to add.
func (i *Inspector) Text(text string) *DecodeError {
	if len(text) == 0 {
		return nil
	}
	bytesOf := unsafe.Slice(unsafe.StringData(text), len(text)) // which the search only reads
	if bytes.IndexByte(bytesOf, 0) >= 0 {
		return fail("", ReasonNULByte, "a NUL character")
	}
	if reason, detail := i.nested.search(bytesOf); reason != "" {
		return fail("", reason, detail)
	}
	return nil
}

// Clean tells of a plain text whether Text would let it pass.
func (i *Inspector) Clean(text string) bool {
	return len(text) < shortestSecret || i.clean(text)
}

func (i *Inspector) clean(text string) bool {
	return len(i.nested.scanner.scan(unsafe.Slice(unsafe.StringData(text), len(text)))) == 0
}

// SafePath makes a path that contains the record's own names fit to log: card
// numbers in it are masked, control characters replaced, its length bounded.
func SafePath(path string) string { return safePath(path) }
