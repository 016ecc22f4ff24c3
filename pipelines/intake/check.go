package intake

import (
	"bytes"
	"math/bits"
)

// check holds the record as a whole to the rules of its type.
func (d *Decoder) check() (*recordType, *DecodeError) {
	if !d.has(fType) {
		return nil, fail(pathOf(fType), ReasonMissingField, "every record has a type")
	}
	kind := d.kind // of the last record, and likely of this one
	if text := d.text(d.texts[fType]); kind == nil || string(text) != kind.name {
		known := false
		if kind, known = d.types[string(text)]; !known {
			return nil, fail(pathOf(fType), ReasonUnknownType, "not a record type of this feed")
		}
		d.kind = kind
	}
	if missing := kind.required &^ d.present; missing != 0 {
		return nil, fail(pathOf(lowest(missing)), ReasonMissingField, "this record type needs it")
	}
	if kind.oneOf != 0 && kind.oneOf&d.present == 0 {
		return nil, fail(pathOf(lowest(kind.oneOf)), ReasonMissingField, "this record type needs it or its alternative")
	}
	err := d.checkKey()
	if err == nil {
		err = d.checkAmounts(kind)
	}
	if err == nil {
		err = d.checkReferences(kind)
	}
	if err == nil {
		err = d.checkCard()
	}
	return kind, err
}

func lowest(set fieldSet) fieldID { return fieldID(bits.TrailingZeros64(uint64(set))) }

// checkKey: the payment is named by its order, or by RRN, terminal and date.
func (d *Decoder) checkKey() *DecodeError {
	const detail = "want order_id, or rrn, terminal_id and payment_date"
	if d.has(fOrderID) {
		return nil
	}
	if !d.has(fRRN) {
		return fail(pathOf(fOrderID), ReasonMissingField, detail)
	}
	if missing := setOf(fTerminalID, fPaymentDate) &^ d.present; missing != 0 {
		return fail(pathOf(lowest(missing)), ReasonMissingField, detail)
	}
	return nil
}

// checkAmounts: money has a currency, and only a difference may be negative.
func (d *Decoder) checkAmounts(kind *recordType) *DecodeError {
	amounts := amountFields & d.present
	if amounts != 0 && !d.has(fCurrency) {
		return fail(pathOf(fCurrency), ReasonMissingField, "an amount needs its currency")
	}
	difference := kind.uses.has(fDelta) && d.has(fDelta) && d.numbers[fDelta] == 1
	for ; amounts != 0; amounts &= amounts - 1 {
		id := lowest(amounts)
		if d.numbers[id] < 0 && !(difference && id == fAmount) {
			return fail(pathOf(id), ReasonOutOfRange, "negative; only an adjustment's difference may be")
		}
	}
	return nil
}

// checkReferences: a field that points at another record comes with what it needs.
func (d *Decoder) checkReferences(kind *recordType) *DecodeError {
	changes := d.has(fOperation) && d.numbers[fOperation] != operationNew
	switch {
	case changes && !d.has(fReplaces):
		return fail(pathOf(fReplaces), ReasonMissingField, "a correction or cancellation names what it is about")
	case !changes && d.has(fReplaces):
		return fail(pathOf(fReplaces), ReasonContradiction, "only a correction or cancellation replaces a record")
	case d.has(fReplacesBatchID) && !d.has(fReplaces):
		return fail(pathOf(fReplaces), ReasonMissingField, "replaces_batch_id needs it")
	case kind.uses.has(fTakesBackBatchID) && d.has(fTakesBackBatchID) && !d.has(fTakesBackLineID):
		return fail(pathOf(fTakesBackLineID), ReasonMissingField, "takes_back_batch_id needs it")
	}
	return nil
}

// checkCard: the record's own card number stands nowhere else, not even in an
// identifier or inside of a longer number, where the search does not look.
func (d *Decoder) checkCard() *DecodeError {
	card := d.cardDigits()
	if len(card) == 0 {
		return nil
	}
	const detail = "contains the record's own card number"
	for set := d.present &^ setOf(fCardNumber); set != 0; set &= set - 1 {
		id := lowest(set)
		if fields[id].shape.free() && bytes.Contains(d.text(d.texts[id]), card) {
			return fail(pathOf(id), ReasonCardNumber, detail)
		}
	}
	for _, u := range d.unknown {
		name := unquote(nil, d.raw[u.name.start:u.name.end])
		if bytes.Contains(name, card) || d.nested.holds(d.raw[u.value.start:u.value.end], card) {
			masked := bytes.ReplaceAll(name, card, maskDigits(card))
			return fail(safePath("/"+string(masked)), ReasonCardNumber, detail)
		}
	}
	return nil
}
