package invariant

import (
	"cmp"
	"fmt"
	"math/big"
	"slices"

	"settlewatch/pipelines/stage"
	"settlewatch/schemas/deadletter"
	"settlewatch/schemas/event"
	"settlewatch/schemas/payment"
)

// Amounts is how the money of one currency adds up, in minor units.
type Amounts struct {
	Currency                                   string
	Captured, Settled, Open, Alerted, Excluded int64
}

// AmountsAreConserved is half of I5: of every payment, and so of every currency,
// what was captured is settled, open, alerted or excluded, nothing is negative,
// and the warehouse adds up to the same sums. payments are the snapshots of
// Kafka, any number of each life; the highest version of a life counts.
func AmountsAreConserved(payments []*payment.Payment, warehouse []Amounts) []Violation {
	l := list{invariant: I5}
	type life struct{ key, id string }
	latest := map[life]*payment.Payment{}
	for _, p := range payments {
		if p.CapturedMinor != p.SettledMinor+p.OpenMinor+p.AlertedMinor+p.ExcludedMinor {
			l.add(p.PaymentKey, "version %d: captured %d is not %d settled + %d open + %d alerted + %d excluded",
				p.Version, p.CapturedMinor, p.SettledMinor, p.OpenMinor, p.AlertedMinor, p.ExcludedMinor)
		}
		if min(p.CapturedMinor, p.SettledMinor, p.OpenMinor, p.AlertedMinor, p.ExcludedMinor, p.ReceivedMinor, p.ExcessMinor) < 0 {
			l.add(p.PaymentKey, "version %d has an amount below zero: %v", p.Version, p)
		}
		id := life{p.PaymentKey, string(p.Life)}
		if held := latest[id]; held == nil || p.Version > held.Version {
			latest[id] = p
		}
	}
	type sums struct{ captured, settled, open, alerted, excluded big.Int }
	want := map[string]*sums{}
	add := func(to *big.Int, minor int64) { to.Add(to, big.NewInt(minor)) }
	for _, p := range latest {
		s := want[p.Currency]
		if s == nil {
			s = new(sums)
			want[p.Currency] = s
		}
		add(&s.captured, p.CapturedMinor)
		add(&s.settled, p.SettledMinor)
		add(&s.open, p.OpenMinor)
		add(&s.alerted, p.AlertedMinor)
		add(&s.excluded, p.ExcludedMinor)
	}
	seen := map[string]bool{}
	for _, a := range warehouse {
		seen[a.Currency] = true
		s := want[a.Currency]
		if s == nil {
			s = new(sums)
		}
		for _, x := range []struct {
			name string
			got  int64
			want *big.Int
		}{
			{"captured", a.Captured, &s.captured},
			{"settled", a.Settled, &s.settled},
			{"open", a.Open, &s.open},
			{"alerted", a.Alerted, &s.alerted},
			{"excluded", a.Excluded, &s.excluded},
		} {
			if big.NewInt(x.got).Cmp(x.want) != 0 {
				l.add("currency "+a.Currency, "the warehouse has %d %s, Kafka %d", x.got, x.name, x.want)
			}
		}
	}
	for currency, s := range want {
		if !seen[currency] && s.captured.Sign() != 0 {
			l.add("currency "+currency, "the warehouse has none of %d captured", &s.captured)
		}
	}
	return l.found
}

// A Raw is the place of one raw record that was acknowledged to a feed.
type Raw struct {
	Topic     string
	Partition int32
	Offset    int64
}

// NothingIsLost is the other half of I5: every raw record that was acknowledged
// became an event of the payment log or a dead letter, and neither holds one that
// was not sent. raw are the records without marks.
func NothingIsLost(raw []Raw, log map[int32][]stage.Record, letters [][]byte) []Violation {
	l := list{invariant: I5}
	sent := make(map[Raw]bool, len(raw))
	for _, r := range raw {
		sent[r] = true
	}
	found := make(map[Raw]bool, len(raw))
	for partition, records := range log {
		for i := range records {
			var r event.LogRecord
			if err := r.UnmarshalVT(records[i].Value); err != nil {
				l.add(fmt.Sprintf("payment log %d/%d", partition, records[i].Offset), "%v", err)
				continue
			}
			if r.GetEvent() == nil {
				continue
			}
			source, err := event.ParseSource(r.Origin.GetSource())
			if err != nil {
				l.add(fmt.Sprintf("payment log %d/%d", partition, records[i].Offset), "%v", err)
				continue
			}
			found[Raw{source.Topic, source.Partition, r.Origin.GetOffset()}] = true
		}
	}
	for _, b := range letters {
		letter, err := deadletter.Decode(b)
		if err != nil {
			l.add("dead letters", "%v", err)
			continue
		}
		found[Raw(letter.Source)] = true
	}
	compare := func(from, in map[Raw]bool, what string) {
		var places []Raw
		for r := range from {
			if !in[r] {
				places = append(places, r)
			}
		}
		slices.SortFunc(places, func(a, b Raw) int {
			return cmp.Or(cmp.Compare(a.Topic, b.Topic), cmp.Compare(a.Partition, b.Partition), cmp.Compare(a.Offset, b.Offset))
		})
		for _, r := range places {
			l.add(fmt.Sprintf("%s/%d/%d", r.Topic, r.Partition, r.Offset), "%s", what)
		}
	}
	compare(sent, found, "neither an event nor a dead letter")
	compare(found, sent, "an event or a dead letter of a record that was not sent")
	return l.found
}
