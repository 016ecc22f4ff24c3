// Package intake makes canonical events of raw records.
//
// In come the bytes of one record of the documented JSON (docs/raw-events.md)
// and the feed that it came from; out goes an event.Event or a DecodeError with
// the field's path and a reason. The same bytes, feed and key always give the
// same event or the same error: there is no clock, no I/O and no logging here.
//
// Guarantees. No card number, track data or verification value leaves the
// package: a card number becomes BIN, last four and a keyed token; a record
// that carries one elsewhere is refused; no error text quotes the record; and
// Mask removes them from the bytes that a dead letter keeps. Unknown fields are
// counted and kept. The fields, their shapes and the rules of each record type
// are tables (fields.go, types.go) that a test holds to the JSON Schemas.
package intake

import (
	"bytes"
	"crypto/hmac"
	"crypto/sha256"
	"errors"
	"hash"
	"io"
	"unicode/utf8"

	"github.com/go-json-experiment/json/jsontext"

	"settlewatch/schemas/event"
)

// Feed is one of the three raw topics' contracts.
type Feed int

// The feeds. There is no zero feed, so that a forgotten one is noticed.
const (
	Authorization Feed = iota + 1
	Capture
	Settlement
)

// String is the feed's name, which is also part of its records' identities.
func (f Feed) String() string {
	switch f {
	case Authorization:
		return "authorization"
	case Capture:
		return "capture"
	case Settlement:
		return "settlement"
	default:
		return "unknown feed"
	}
}

// MaxBytes is the size of the largest record that is read.
const MaxBytes = 256 << 10

// TokenKey makes card tokens. Secret is the HMAC key, kept apart from the
// events; ID names it in every card it made.
type TokenKey struct {
	ID     string
	Secret []byte
}

// minSecretBytes is the shortest key that is worth having: a token is only as
// hard to reverse as the key is to guess, there being few card numbers.
const minSecretBytes = 16

// ErrWeakKey is a token key without an id or with too short a secret.
var ErrWeakKey = errors.New("token key needs an id and a secret of at least 16 bytes")

// Validate tells whether the key may be used; a service asks at start.
func (k TokenKey) Validate() error {
	if k.ID == "" || len(k.Secret) < minSecretBytes {
		return ErrWeakKey
	}
	return nil
}

// Decoder reads the records of one feed. It keeps scratch memory and is not safe
// for concurrent use; make one for each goroutine.
type Decoder struct {
	feed   Feed
	known  map[string]fieldID
	types  map[string]*recordType
	keyID  string
	mac    hash.Hash // nil: the key is too weak to make a token
	input  bytes.Buffer
	json   *jsontext.Decoder
	nested nestedReader
	// exempt are names of unknown fields that are identifiers besides.
	exempt map[string]bool
	// order are the fields of the last record in the order in which they stood.
	order [fieldCount]fieldID
	// currency and kind are the last valid ones.
	currency     [3]byte
	kind         *recordType
	skipsRawHash bool
	// lent is the memory of the events that Borrow returns.
	lent parts

	record
}

// NewDecoder makes a decoder for one feed. With a key that fails Validate, cards
// get no token: an unkeyed one would be a card number in disguise.
func NewDecoder(feed Feed, key TokenKey) *Decoder {
	d := &Decoder{
		feed:  feed,
		known: knownFields(feed),
		types: recordTypes(feed),
		keyID: key.ID,
		json:  jsontext.NewDecoder(bytes.NewBuffer(nil)),
	}
	if key.Validate() == nil {
		d.mac = hmac.New(sha256.New, key.Secret)
	}
	return d
}

// SkipRawHash leaves Provenance.RawHash out of the events, for who keeps none.
func (d *Decoder) SkipRawHash() { d.skipsRawHash = true }

// Decode makes an event of one record. Origin and arrival are the caller's to
// add, in the log record. The error is always a *DecodeError. The event shares
// no memory with raw.
func (d *Decoder) Decode(raw []byte) (*event.Event, error) { return d.decode(raw, false) }

// Borrow is Decode without an allocation: the event, and every text and slice in
// it, is valid until the next call of the decoder and must not be kept beyond.
func (d *Decoder) Borrow(raw []byte) (*event.Event, error) { return d.decode(raw, true) }

func (d *Decoder) decode(raw []byte, lent bool) (*event.Event, error) {
	switch {
	case len(raw) == 0:
		return nil, fail("", ReasonEmpty, "no bytes")
	case len(raw) > MaxBytes:
		return nil, fail("", ReasonTooLarge, "more than 256 KiB")
	}
	d.record.reset(raw)
	defer d.record.forgetCard()
	if !d.scan() {
		clear(d.arena) // the card number may be in it
		d.record.reset(raw)
		if err := d.read(); err != nil {
			return nil, err
		}
	}
	kind, err := d.check()
	if err != nil {
		return nil, err
	}
	return d.fill(kind, lent), nil
}

// read takes the record's fields apart: every name is looked up, every value
// checked for what may not be there and parsed by its shape.
func (d *Decoder) read() *DecodeError {
	d.input = *bytes.NewBuffer(d.raw)
	d.json.Reset(&d.input)
	if kind := d.json.PeekKind(); kind != '{' {
		if !jsontext.Value(d.raw).IsValid() {
			_, err := d.json.ReadValue()
			return d.syntaxError(err)
		}
		return fail("", ReasonWrongType, "not an object")
	}
	if _, err := d.json.ReadToken(); err != nil {
		return d.syntaxError(err)
	}
	for d.json.PeekKind() == '"' {
		name, err := d.json.ReadValue()
		if err != nil {
			return d.syntaxError(err)
		}
		d.name = unquote(d.name[:0], name)
		end := int(d.json.InputOffset())
		nameAt := span{end - len(name), end}
		value, err := d.json.ReadValue()
		if err != nil {
			return d.syntaxError(err)
		}
		end = int(d.json.InputOffset())
		if err := d.field(nameAt, value, span{end - len(value), end}); err != nil {
			return err
		}
	}
	if _, err := d.json.ReadToken(); err != nil {
		return d.syntaxError(err)
	}
	if _, err := d.json.ReadToken(); !errors.Is(err, io.EOF) {
		return fail("", ReasonNotJSON, "something follows the object")
	}
	return nil
}

// field files one member of the record.
func (d *Decoder) field(nameAt span, value []byte, where span) *DecodeError {
	id, known := d.known[string(d.name)]
	if !known {
		if err := d.nested.inspect(d.name, value, identifierNames[string(d.name)] || d.exempt[string(d.name)]); err != nil {
			return err
		}
		d.unknown = append(d.unknown, unknownField{name: nameAt, value: where})
		return nil
	}
	d.present |= 1 << id
	d.where[id] = where
	if reason, detail := d.parse(id, value); reason != "" {
		// What is wrong with a value matters less than a card number in it.
		exempt := fields[id].identifier || id == fCardNumber
		if err := d.nested.inspect(d.name, value, exempt); err != nil {
			return err
		}
		return fail(pathOf(id), reason, detail)
	}
	return nil
}

// syntaxError says where and why the bytes are not JSON, without quoting them.
func (d *Decoder) syntaxError(err error) *DecodeError {
	path := ""
	var syntax *jsontext.SyntacticError
	if errors.As(err, &syntax) {
		path = safePath(string(syntax.JSONPointer))
	}
	switch {
	case errors.Is(err, jsontext.ErrDuplicateName):
		return fail(path, ReasonDuplicateName, "the name occurs twice")
	case bytes.IndexByte(d.raw, 0) >= 0:
		return fail(path, ReasonNULByte, "a NUL byte")
	case !utf8.Valid(d.raw):
		return fail(path, ReasonNotUTF8, "not UTF-8")
	case len(bytes.TrimSpace(d.raw)) == 0:
		return fail("", ReasonEmpty, "only white space")
	case errors.Is(err, io.ErrUnexpectedEOF):
		return fail(path, ReasonNotJSON, "ends too early")
	default:
		return fail(path, ReasonNotJSON, "not JSON")
	}
}

// unquote appends the text of a JSON string, escapes resolved.
func unquote(dst, quoted []byte) []byte {
	if bytes.IndexByte(quoted, '\\') < 0 {
		return append(dst, quoted[1:len(quoted)-1]...)
	}
	// The value has been read as valid JSON, or as valid but for its UTF-8, which
	// is then replaced: there is nothing that an error could add.
	dst, _ = jsontext.AppendUnquote(dst, quoted)
	return dst
}
