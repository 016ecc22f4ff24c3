package intake

import (
	"bytes"
	"encoding/hex"
	"slices"
	"strconv"

	"github.com/go-json-experiment/json/jsontext"

	"settlewatch/schemas/event"
)

// RecordID is the identity of a record of the authorization or capture feed: the
// source's own id of it, within acquirer and feed.
func RecordID(feed Feed, acquirer, eventID string) event.ID {
	return event.NewID(feed.String(), acquirer, eventID)
}

// LineID is the identity of a settlement record that has a line id. The file
// that it came in has no part in it: sent again under another name it is a repeat.
func LineID(acquirer, batchID, lineID string) event.ID {
	return event.NewID(Settlement.String(), "line", acquirer, batchID, lineID)
}

// OrderKey names a payment by the order that both sides carry.
func OrderKey(acquirer, orderID string) event.PaymentKey {
	return event.PaymentKey(acquirer + "|o|" + orderID)
}

// RRNKey names a payment by retrieval reference, terminal and date (YYYY-MM-DD)
// of its original.
func RRNKey(acquirer, rrn, terminalID, paymentDate string) event.PaymentKey {
	return event.PaymentKey(acquirer + "|r|" + rrn + "|" + terminalID + "|" + paymentDate)
}

// contentID is the identity of a settlement record without a line id: acquirer,
// batch, all that the record says, and which of several equal rows it is. The
// card counts by its token, because a hash of its number could be reversed.
//
// What is said counts, not how: the order of fields, white space, escapes and
// the spelling of an instant make no difference, nor do defaults written out.
func (d *Decoder) contentID(token []byte) event.ID {
	parts := make([]string, 0, 2*fieldCount)
	parts = append(parts, Settlement.String(), "content",
		string(d.text(d.texts[fAcquirer])), string(d.text(d.texts[fBatchID])), strconv.FormatInt(d.occurrence(), 10))
	for id := range fieldCount {
		switch {
		case !d.has(id), id == fAcquirer, id == fBatchID, id == fOccurrence, id == fFileID:
		case id == fOperation && d.numbers[id] == operationNew:
		default:
			parts = append(parts, fields[id].name, d.content(id, token))
		}
	}
	type member struct{ name, value string }
	unknown := make([]member, 0, len(d.unknown))
	for _, u := range d.unknown {
		unknown = append(unknown, member{
			name:  string(unquote(nil, d.raw[u.name.start:u.name.end])),
			value: canonical(d.raw[u.value.start:u.value.end]),
		})
	}
	slices.SortFunc(unknown, func(a, b member) int { return bytes.Compare([]byte(a.name), []byte(b.name)) })
	for _, m := range unknown {
		parts = append(parts, m.name, m.value)
	}
	return event.NewID(parts...)
}

func (d *Decoder) content(id fieldID, token []byte) string {
	switch fields[id].shape {
	case shapeCard:
		bin, last4 := d.cardEnds()
		return bin + last4 + hex.EncodeToString(token)
	case shapeAmount, shapeCount, shapeBool, shapeInstant:
		return strconv.FormatInt(d.numbers[id], 10)
	default:
		return string(d.text(d.texts[id]))
	}
}

// occurrence counts from 1, which is also what silence means.
func (d *Decoder) occurrence() int64 {
	if d.has(fOccurrence) {
		return d.numbers[fOccurrence]
	}
	return 1
}

// canonical is a JSON value in the one spelling of what it says. Numbers keep
// their digits: as floats, two long ones could become equal.
func canonical(value []byte) string {
	text, err := jsontext.AppendFormat(nil, value,
		jsontext.CanonicalizeRawInts(false), jsontext.CanonicalizeRawFloats(false),
		jsontext.PreserveRawStrings(false), jsontext.ReorderRawObjects(true))
	if err != nil {
		return string(value) // valid JSON does not come here
	}
	return string(text)
}
