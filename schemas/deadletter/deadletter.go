// Package deadletter is what an ingest service publishes in place of an event
// when it cannot read a raw record: where the record lies, what is wrong with it
// and as much of it as may be kept.
//
// In goes a place, a reason and bytes that are already masked (intake.Mask); out
// goes one JSON object. The package masks nothing itself: it must never be given
// raw bytes. Decode of Encode is the identity, and equal letters encode to equal
// bytes. A payload is at most MaxPayloadBytes; a longer one is cut and says so.
package deadletter

import (
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"unicode/utf8"
)

// MaxPayloadBytes bounds what is kept of a record, before base64.
const MaxPayloadBytes = 64 << 10

// Letter is one dead letter. All of it is safe to show and to log.
type Letter struct {
	// Service that could not read the record: authorization, capture, settlement.
	Service string `json:"service"`
	// Profile by which it was read, name@version.
	Profile string `json:"profile"`
	Source  Source `json:"source"`
	// ArrivalMs is the raw record's Kafka timestamp, Unix milliseconds.
	ArrivalMs int64 `json:"arrival_ms"`
	// Path is the JSON pointer of the field; empty for the record as a whole.
	Path string `json:"path"`
	// Reason is one of intake's codes; Detail explains it to people.
	Reason  string  `json:"reason"`
	Detail  string  `json:"detail"`
	Payload Payload `json:"payload"`
}

// Source is where the raw record lies in Kafka.
type Source struct {
	Topic     string `json:"topic"`
	Partition int32  `json:"partition"`
	Offset    int64  `json:"offset"`
}

// Payload is the masked bytes of the record. Make it with NewPayload.
type Payload struct {
	// Text is the bytes as they are if they are UTF-8, else in standard base64.
	Text   string `json:"text"`
	Base64 bool   `json:"base64,omitempty"`
	// Truncated: the masked bytes were longer than MaxPayloadBytes.
	Truncated bool `json:"truncated,omitempty"`
	// Size is the number of masked bytes before any cut.
	Size int `json:"size"`
}

// NewPayload takes masked bytes. Text is cut on a boundary of characters, and
// never inside of a long number: a part of one can look like a card number.
func NewPayload(masked []byte) Payload {
	p := Payload{Size: len(masked), Base64: !utf8.Valid(masked), Truncated: len(masked) > MaxPayloadBytes}
	if p.Truncated {
		masked = cut(masked, p.Base64)
	}
	if p.Base64 {
		p.Text = base64.StdEncoding.EncodeToString(masked)
	} else {
		p.Text = string(masked)
	}
	return p
}

// Bytes is what the payload holds, base64 undone.
func (p Payload) Bytes() ([]byte, error) {
	if !p.Base64 {
		return []byte(p.Text), nil
	}
	masked, err := base64.StdEncoding.DecodeString(p.Text)
	if err != nil {
		return nil, fmt.Errorf("decode payload of dead letter: %w", err)
	}
	return masked, nil
}

// longestNumber is how much of a number's end goes when a cut falls inside it:
// more than the 19 digits of a card number with a separator after each.
const longestNumber = 40

func cut(masked []byte, binary bool) []byte {
	end := MaxPayloadBytes
	for !binary && !utf8.RuneStart(masked[end]) {
		end--
	}
	for start := end; end > 0 && start-end < longestNumber && inNumber(masked[end-1]); {
		end--
	}
	return masked[:end]
}

func inNumber(c byte) bool { return c >= '0' && c <= '9' || c == ' ' || c == '-' }

// Key is the record key: all letters of one raw partition stay in order.
func Key(topic string, partition int32) []byte {
	return strconv.AppendInt(append([]byte(topic), '/'), int64(partition), 10)
}

// Key is the letter's record key.
func (l *Letter) Key() []byte { return Key(l.Source.Topic, l.Source.Partition) }

// Encode writes the letter as JSON.
func (l *Letter) Encode() ([]byte, error) {
	encoded, err := json.Marshal(l)
	if err != nil {
		return nil, fmt.Errorf("encode dead letter: %w", err)
	}
	return encoded, nil
}

// ErrNoReason is a letter that does not say why it is one.
var ErrNoReason = errors.New("dead letter without a reason")

// Decode reads what Encode wrote. Fields that a later version added are ignored.
func Decode(encoded []byte) (*Letter, error) {
	l := new(Letter)
	if err := json.Unmarshal(encoded, l); err != nil {
		return nil, fmt.Errorf("decode dead letter: %w", err)
	}
	if l.Reason == "" {
		return nil, ErrNoReason
	}
	return l, nil
}
