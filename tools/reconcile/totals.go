package reconcile

import (
	"slices"

	"github.com/cespare/xxhash/v2"

	"settlewatch/schemas/money"
	"settlewatch/schemas/payment"
)

// totals are what a shard's payments add up to.
type totals struct {
	payments, settled, openNotDue int
	broken                        bool // of a payment or a sum, the identity does not hold
	unsettled                     []Open
	money                         []Completeness
	orphans                       map[uint64]string // keys of payments without a capture, by their hash
}

// standing is one life of a payment as it was judged last.
type standing struct {
	life       [16]byte
	status     payment.Status
	received   int64 // minor units
	evidenceMs int64 // 0: no due time is known
	key        string
	merchant   string
	held       string
	sums       Completeness
}

func standingOf(p *payment.Payment) standing {
	return standing{
		life: [16]byte(p.Life), status: p.Status, received: p.ReceivedMinor, evidenceMs: p.GetEvidenceDueMs(),
		key: p.PaymentKey, merchant: p.Merchant, held: p.HeldReason,
		sums: Completeness{p.Currency, p.CapturedMinor, p.SettledMinor, p.OpenMinor, p.AlertedMinor, p.ExcludedMinor},
	}
}

// add counts one life of a payment. The last one of a key tells whether its lines belong
// to nothing.
func (t *totals) add(s *standing, last bool) {
	t.payments++
	switch c := &s.sums; s.status {
	case payment.Status_STATUS_SETTLED:
		t.settled++
	case payment.Status_STATUS_OPEN, payment.Status_STATUS_HELD:
		t.openNotDue++
		t.unsettled = append(t.unsettled, Open{
			PaymentKey: s.key, Merchant: s.merchant, Currency: c.Currency, AmountMinor: c.Open,
			EvidenceDueMs: s.evidenceMs, Held: s.held,
		})
	default:
	}
	if !s.sums.holds() {
		t.broken = true
	}
	if last && s.sums.Captured == 0 && s.received > 0 {
		if t.orphans == nil {
			t.orphans = map[uint64]string{}
		}
		t.orphans[xxhash.Sum64String(s.key)] = s.key
	}
	if s.sums.Currency != "" {
		t.sum(&s.sums)
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
		t.money = append(t.money, *c)
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

// lives adds up a shard's payments as they come: lives that end, and then where each
// payment stands. A key may have several lives; only those keys are remembered.
type lives struct {
	totals *totals
	byKey  map[string]*standing // the last life known, of keys of which one has ended
}

func newLives(t *totals) *lives { return &lives{t, map[string]*standing{}} }

// ended takes a life that has ended. The same event may open the next life of its key:
// then the two count as one.
func (l *lives) ended(s standing) {
	if before := l.byKey[s.key]; before != nil && before.life != s.life {
		l.totals.add(before, false)
	}
	l.byKey[s.key] = &s
}

// last takes a life that goes on.
func (l *lives) last(s standing) {
	if len(l.byKey) > 0 && l.byKey[s.key] != nil {
		l.ended(s)
		return
	}
	l.totals.add(&s, true)
}

// close counts the lives that were the last of their keys.
func (l *lives) close() {
	for _, s := range l.byKey {
		l.totals.add(s, true)
	}
}
