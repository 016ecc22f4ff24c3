package reconcile

import (
	"bytes"
	"slices"
	"strings"

	"settlewatch/pipelines/join"
	"settlewatch/schemas/event"
	"settlewatch/schemas/money"
	"settlewatch/schemas/payment"
)

// totals are what a shard's payments add up to.
type totals struct {
	payments, settled, openNotDue int
	broken                        bool // of a payment or a sum, the identity does not hold
	unsettled                     []Open
	money                         []Completeness
	unknown                       []unknown
}

// unknown is one settlement line of a payment without a capture.
type unknown struct {
	at
	id         event.ID
	paymentKey string
	amount     int64 // minor units
	currency   string
}

// add counts the lives of one payment, and lists its lines if the last of its lives has
// nothing that they belong to.
func (t *totals) add(j *join.Judged) {
	for i, p := range j.Lives {
		// The same event may open the next life of its key: then the two count as one.
		if last := i == len(j.Lives)-1; last || !bytes.Equal(p.Life, j.Lives[i+1].Life) {
			t.life(p)
		}
	}
	if len(j.Lives) == 0 {
		return
	}
	if p := j.Lives[len(j.Lives)-1]; p.CapturedMinor == 0 && p.ReceivedMinor > 0 {
		key := strings.Clone(j.PaymentKey)
		j.Lines(func(l join.Line) {
			t.unknown = append(t.unknown, unknown{
				at: at{int32(l.Source / len(feeds)), place{l.Offset, l.Index}}, id: l.ID,
				paymentKey: key, amount: l.AmountMinor, currency: strings.Clone(l.Currency),
			})
		})
	}
}

// life counts one life of a payment as it was judged last.
func (t *totals) life(p *payment.Payment) {
	t.payments++
	switch p.Status {
	case payment.Status_STATUS_SETTLED:
		t.settled++
	case payment.Status_STATUS_OPEN, payment.Status_STATUS_HELD:
		t.openNotDue++
		t.unsettled = append(t.unsettled, Open{
			PaymentKey: strings.Clone(p.PaymentKey), Merchant: strings.Clone(p.Merchant), Currency: strings.Clone(p.Currency),
			AmountMinor: p.OpenMinor, EvidenceDueMs: p.GetEvidenceDueMs(), Held: p.HeldReason,
		})
	default:
	}
	sums := Completeness{p.Currency, p.CapturedMinor, p.SettledMinor, p.OpenMinor, p.AlertedMinor, p.ExcludedMinor}
	if !sums.holds() {
		t.broken = true
	}
	if sums.Currency != "" {
		t.sum(&sums)
	}
}

// holds tells whether captured = settled + open + alerted + excluded.
func (c *Completeness) holds() bool {
	return c.Captured == c.Settled+c.Open+c.Alerted+c.Excluded
}

// sum adds amounts to those of their currency.
func (t *totals) sum(c *Completeness) {
	i := slices.IndexFunc(t.money, func(has Completeness) bool { return has.Currency == c.Currency })
	if i < 0 {
		added := *c
		added.Currency = strings.Clone(c.Currency) // the text is lent
		t.money = append(t.money, added)
		return
	}
	sum := &t.money[i]
	for _, part := range [...]struct {
		sum *int64
		add int64
	}{
		{&sum.Captured, c.Captured},
		{&sum.Settled, c.Settled},
		{&sum.Open, c.Open},
		{&sum.Alerted, c.Alerted},
		{&sum.Excluded, c.Excluded},
	} {
		var err error
		if *part.sum, err = money.Add(*part.sum, part.add); err != nil {
			t.broken = true // a sum that cannot be shown proves nothing
		}
	}
}
