package table

import (
	"fmt"

	"settlewatch/schemas/payment"
	"settlewatch/schemas/wire"
)

// paymentReader reads records of the payments topic.
type paymentReader struct{ fieldReader }

func (p *paymentReader) read(_ int64, value []byte, r *row) (bool, error) {
	if p.readWire(value, r) {
		return true, nil
	}
	r.clear()
	decoded, ok, err := decodePayment(value)
	if ok {
		fillRow(paymentColumns, &decoded, r)
	}
	return ok, err
}

// paymentFields are the columns of the payment's fields 1, 2, …; the status is apart.
var paymentFields = compileMessage(paymentColumns, []string{
	"payment_key", "life", "version", "judged_time", "", "acquirer", "merchant", "terminal", "channel", "currency",
	"authorized_minor", "captured_minor", "settled_minor", "open_minor", "alerted_minor", "excluded_minor",
	"received_minor", "refunded_minor", "excess_minor", "clearing_date", "money_due", "evidence_due", "held_reason",
	"events", "repeats", "conflicts", "mismatches", "unmatched",
})

// The fields that a row must have, and the status.
const (
	paymentKeyField    = 1
	paymentLifeField   = 2
	paymentStatusField = 5
)

var paymentStatus = wireEnum{paymentStatusField, columnOf(paymentColumns, "status"), namesOf("STATUS_", payment.Status_name)}

// readWire is false where the record is unusual; the row is to be cleared then.
func (p *paymentReader) readWire(value []byte, r *row) bool {
	p.hex = p.hex[:0]
	f := wire.Of(value)
	var status int32
	seen := uint64(0)
	for f.Next() {
		n := f.Number
		switch {
		case n >= uint64(len(paymentFields)) || seen&(1<<n) != 0:
			return false
		case n == paymentStatusField && !f.Bytes:
			status = int32(f.V)
		case n <= paymentLifeField && len(f.Part) == 0:
			return false // to be refused
		case !p.readField(&f, paymentFields[n], r):
			return false
		}
		seen |= 1 << n
	}
	const needed = 1<<paymentKeyField | 1<<paymentLifeField
	if f.Unusual || seen&needed != needed {
		return false
	}
	c := r.at(paymentStatus.column)
	c.set, c.text = true, paymentStatus.name(status)
	return true
}

// paymentRow is what the joiner knew of one life of a payment after a judgement.
type paymentRow struct{ *payment.Payment }

// decodePayment reads a record of the payments topic. A tombstone of the
// compacted topic makes no row: what was known stays known.
func decodePayment(value []byte) (paymentRow, bool, error) {
	if len(value) == 0 {
		return paymentRow{}, false, nil
	}
	p := new(payment.Payment)
	if err := p.UnmarshalVT(value); err != nil {
		return paymentRow{}, false, fmt.Errorf("decode payment: %w", err)
	}
	switch {
	case p.GetPaymentKey() == "":
		return paymentRow{}, false, refuse(Payments.Name, "payment_key", "missing")
	case len(p.GetLife()) == 0:
		return paymentRow{}, false, refuse(Payments.Name, "life", "missing")
	}
	return paymentRow{p}, true, nil
}

var paymentColumns = []column[paymentRow]{
	text("payment_key", func(r *paymentRow) string { return r.GetPaymentKey() }),
	hexed("life", func(r *paymentRow) []byte { return r.GetLife() }),
	counter("version", func(r *paymentRow) uint64 { return r.GetVersion() }),
	instant("judged_time", func(r *paymentRow) int64 { return r.GetJudgedMs() }),
	label("status", func(r *paymentRow) string { return enum("STATUS_", r.GetStatus()) }),
	label("acquirer", func(r *paymentRow) string { return r.GetAcquirer() }),
	text("merchant", func(r *paymentRow) string { return r.GetMerchant() }),
	text("terminal", func(r *paymentRow) string { return r.GetTerminal() }),
	label("channel", func(r *paymentRow) string { return r.GetChannel() }),
	label("currency", func(r *paymentRow) string { return r.GetCurrency() }),
	signed("authorized_minor", func(r *paymentRow) int64 { return r.GetAuthorizedMinor() }),
	signed("captured_minor", func(r *paymentRow) int64 { return r.GetCapturedMinor() }),
	signed("settled_minor", func(r *paymentRow) int64 { return r.GetSettledMinor() }),
	signed("open_minor", func(r *paymentRow) int64 { return r.GetOpenMinor() }),
	signed("alerted_minor", func(r *paymentRow) int64 { return r.GetAlertedMinor() }),
	signed("excluded_minor", func(r *paymentRow) int64 { return r.GetExcludedMinor() }),
	signed("received_minor", func(r *paymentRow) int64 { return r.GetReceivedMinor() }),
	signed("refunded_minor", func(r *paymentRow) int64 { return r.GetRefundedMinor() }),
	signed("excess_minor", func(r *paymentRow) int64 { return r.GetExcessMinor() }),
	maybeDate("clearing_date", func(r *paymentRow) *int32 { return r.ClearingDate }),
	maybeInstant("money_due", func(r *paymentRow) *int64 { return r.MoneyDueMs }),
	maybeInstant("evidence_due", func(r *paymentRow) *int64 { return r.EvidenceDueMs }),
	label("held_reason", func(r *paymentRow) string { return r.GetHeldReason() }),
	small("events", func(r *paymentRow) uint32 { return r.GetEvents() }),
	small("repeats", func(r *paymentRow) uint32 { return r.GetRepeats() }),
	small("conflicts", func(r *paymentRow) uint32 { return r.GetConflicts() }),
	small("mismatches", func(r *paymentRow) uint32 { return r.GetMismatches() }),
	small("unmatched", func(r *paymentRow) uint32 { return r.GetUnmatched() }),
}
