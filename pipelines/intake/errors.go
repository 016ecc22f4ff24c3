package intake

import (
	"bytes"
	"unicode"
	"unicode/utf8"
)

// Reason says in one word why a record was refused. The set is closed: a
// dashboard may list it.
type Reason string

// The reasons.
const (
	ReasonEmpty           Reason = "empty"            // no bytes, or a text of no characters
	ReasonTooLarge        Reason = "too_large"        // the record, more than MaxBytes
	ReasonNotJSON         Reason = "not_json"         // not one JSON object
	ReasonNotUTF8         Reason = "not_utf8"         // bytes that are no UTF-8
	ReasonDuplicateName   Reason = "duplicate_name"   // a name twice in one object
	ReasonNULByte         Reason = "nul_byte"         // U+0000, plain or escaped
	ReasonWrongType       Reason = "wrong_type"       // a number where text belongs, null, …
	ReasonNotInteger      Reason = "not_integer"      // a number with a point or an exponent
	ReasonOutOfRange      Reason = "out_of_range"     // a number outside the field's limits
	ReasonTooLong         Reason = "too_long"         // a text of more than 128 characters
	ReasonBadText         Reason = "bad_text"         // characters that the field may not have
	ReasonBadDate         Reason = "bad_date"         // no date or time that exists in 2000–2099
	ReasonUnknownType     Reason = "unknown_type"     // a record type that the feed does not have
	ReasonUnknownValue    Reason = "unknown_value"    // none of the words that the field knows
	ReasonUnknownCurrency Reason = "unknown_currency" // not in ISO 4217
	ReasonMissingField    Reason = "missing_field"    // the path names the field
	ReasonContradiction   Reason = "contradiction"    // fields that cannot go together
	ReasonCardNumber      Reason = "card_number"      // a card number where none may be
	ReasonTrackData       Reason = "track_data"       // the content of a magnetic stripe
	ReasonForbiddenField  Reason = "forbidden_field"  // a field that may never be stored
)

// DecodeError is why a record became a dead letter. None of its parts quotes a
// value of the record, so that all of it is safe to log.
type DecodeError struct {
	// Path is the JSON pointer of the field, "/amount_minor"; empty for the
	// record as a whole. A card number in a field's name is masked.
	Path   string
	Reason Reason
	// Detail is one of a few fixed texts for people.
	Detail string
}

// Error is "decode /amount_minor: out_of_range: …".
func (e *DecodeError) Error() string {
	if e.Path == "" {
		return "decode record: " + string(e.Reason) + ": " + e.Detail
	}
	return "decode " + e.Path + ": " + string(e.Reason) + ": " + e.Detail
}

func fail(path string, reason Reason, detail string) *DecodeError {
	return &DecodeError{Path: path, Reason: reason, Detail: detail}
}

// maxPathBytes keeps a dead letter small whatever the names in the record are.
const maxPathBytes = 256

// safePath makes a pointer that contains the record's own names fit to log.
func safePath(path string) string {
	masked := bytes.ToValidUTF8(maskText([]byte(path)), []byte("\uFFFD"))
	printable := bytes.Map(func(r rune) rune {
		if unicode.IsControl(r) {
			return '\uFFFD'
		}
		return r
	}, masked)
	return string(cutText(printable, maxPathBytes))
}

// cutText shortens text to at most limit bytes, on a boundary of characters, and
// not inside of digits: a part of a long number can look like a card number.
func cutText(text []byte, limit int) []byte {
	if len(text) <= limit {
		return text
	}
	for limit > 0 && !utf8.RuneStart(text[limit]) {
		limit--
	}
	text = text[:limit]
	for len(text) > 0 {
		size, open := lastDigitOrSeparator(text)
		if !open {
			break
		}
		text = text[:len(text)-size]
	}
	return text
}
