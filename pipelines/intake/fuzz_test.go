package intake

import (
	"bytes"
	"encoding/json"
	"errors"
	"slices"
	"strings"
	"testing"

	"google.golang.org/protobuf/proto"
)

var allReasons = []Reason{
	ReasonEmpty, ReasonTooLarge, ReasonNotJSON, ReasonNotUTF8, ReasonDuplicateName, ReasonNULByte, ReasonWrongType,
	ReasonNotInteger, ReasonOutOfRange, ReasonTooLong, ReasonBadText, ReasonBadDate, ReasonUnknownType, ReasonUnknownValue,
	ReasonUnknownCurrency, ReasonMissingField, ReasonContradiction, ReasonCardNumber, ReasonTrackData, ReasonForbiddenField,
}

// cardOf reads a record's card number by another library; empty without one.
func cardOf(raw []byte) string {
	var members map[string]json.RawMessage
	var card string
	if json.Unmarshal(raw, &members) != nil || json.Unmarshal(members["card_number"], &card) != nil ||
		len(card) < minCardDigits || len(card) > maxCardDigits || strings.Trim(card, "0123456789") != "" {
		return ""
	}
	return card
}

// FuzzDecode: it never panics; the same bytes give the same answer; what is
// accepted is valid by the schema and its event does not contain the record's
// card number; what is refused has a listed reason and a text without secrets,
// and its masked bytes do not contain the card number either.
func FuzzDecode(f *testing.F) {
	for _, e := range examples() {
		if len(e.record) < 4<<10 {
			f.Add(int(e.feed), []byte(e.record))
		}
	}
	for _, card := range []string{"6222021234567890123", "1111111111111", "4111111111111111"} {
		f.Add(int(Settlement), []byte(edit(baseLine, "card_number", quoted(card), "rrn", quoted("9"+card), "note", card)))
	}
	schemas := compile(f)
	decoders := map[Feed]*Decoder{}
	for feed := range schemas {
		decoders[feed] = NewDecoder(feed, testKey)
	}
	f.Fuzz(func(t *testing.T, number int, raw []byte) {
		feed := Feed(1 + uint(number)%3)
		before := bytes.Clone(raw)
		decoded, err := decoders[feed].Decode(raw)
		if !bytes.Equal(before, raw) {
			t.Fatal("the record was changed")
		}
		again, errAgain := NewDecoder(feed, testKey).Decode(raw)
		if !proto.Equal(decoded, again) || (err == nil) != (errAgain == nil) || err != nil && err.Error() != errAgain.Error() {
			t.Fatalf("once %v, %v; then %v, %v", decoded, err, again, errAgain)
		}
		card := cardOf(raw)
		if err == nil {
			encoded, err := decoded.MarshalVT()
			if err != nil {
				t.Fatal(err)
			}
			if card != "" && bytes.Contains(encoded, []byte(card)) {
				t.Fatalf("the event contains the card number: %v", decoded)
			}
			if !valid(schemas[feed], string(raw)) {
				t.Fatalf("accepted, but not valid by the schema: %s", raw)
			}
			return
		}
		var refusal *DecodeError
		if !errors.As(err, &refusal) || !slices.Contains(allReasons, refusal.Reason) || refusal.Detail == "" {
			t.Fatalf("%v: reason or detail is not a listed one", err)
		}
		if text := found(err.Error()); text != "" || card != "" && strings.Contains(err.Error(), card) {
			t.Fatalf("the error shows %s", text)
		}
		if card != "" && bytes.Contains(Mask(raw), []byte(card)) {
			t.Fatalf("masked: %s", Mask(raw))
		}
	})
}

// FuzzMask: it never panics or changes its input; nothing that looks like a card
// number or track data is left outside of identifiers; no forbidden field of a
// JSON text keeps a value; masking again changes nothing.
func FuzzMask(f *testing.F) {
	for _, e := range examples() {
		if len(e.record) < 4<<10 {
			f.Add([]byte(e.record))
		}
	}
	f.Add([]byte("cvv=123&pan=4111 1111 1111 1111;4111111111111111=25121011234?"))
	f.Add([]byte("4000000 4111111111111111 4111111111111111"))
	f.Fuzz(func(t *testing.T, raw []byte) {
		before := bytes.Clone(raw)
		masked := Mask(raw)
		if !bytes.Equal(before, raw) {
			t.Fatal("the input was changed")
		}
		if again := Mask(masked); !bytes.Equal(again, masked) {
			t.Fatalf("%q is masked to %q, and that to %q", raw, masked, again)
		}
		if !isLooseJSON(raw) {
			if left := found(string(resolveEscapes(masked))); left != "" {
				t.Fatalf("%q keeps %s", masked, left)
			}
			return
		}
		if !isLooseJSON(masked) {
			t.Fatalf("no JSON any more: %q", masked)
		}
		m := masker{raw: masked, json: looseDecoder(masked)}
		m.walk(func(p place, value []byte) {
			if !p.isName && p.name != nil && ruleOfName(p.name) == nameForbidden && string(value) != quoted(removedText) {
				t.Fatalf("%s keeps %s", p.name, value)
			}
			text := value
			if value[0] == '"' {
				text = unquoteLoose(value)
			}
			exempt := !p.isName && p.atTop && identifierNames[string(p.name)]
			if left := found(string(text)); left != "" && !exempt && value[0] != '{' && value[0] != '[' {
				t.Fatalf("%q keeps %s", masked, left)
			}
		})
	})
}
