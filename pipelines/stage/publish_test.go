package stage

import (
	"fmt"
	"slices"
	"testing"

	"settlewatch/schemas/event"
	"settlewatch/schemas/payment"
)

// Of each life the last snapshot is left, where it stood among the others.
func TestOutboxLeavesLastSnapshots(t *testing.T) {
	var o outbox
	for round := range 3 { // its memory is used again
		var all []*payment.Payment
		for i := range 400 {
			life := event.ID{byte(i % 3 / 2), byte(round)}
			all = append(all, &payment.Payment{PaymentKey: fmt.Sprintf("acq|o|%d", i%(7+round)*(i%5)), Life: life[:], Version: uint64(i)})
		}
		var want []uint64
		for i, p := range all {
			if !slices.ContainsFunc(all[i+1:], func(x *payment.Payment) bool {
				return x.PaymentKey == p.PaymentKey && string(x.Life) == string(p.Life)
			}) {
				want = append(want, p.Version)
			}
		}
		for i := range o.out {
			o.out[i].Records = o.out[i].Records[:0]
		}
		if err := o.addPayments(all); err != nil {
			t.Fatal(err)
		}
		var got []uint64
		for _, out := range o.out {
			last := uint64(0)
			for _, r := range out.Records {
				var p payment.Payment
				if err := p.UnmarshalVT(r.Value); err != nil {
					t.Fatal(err)
				}
				if p.Version < last {
					t.Errorf("partition %d has %d behind %d", out.Partition, p.Version, last)
				}
				last = p.Version
				got = append(got, last)
			}
		}
		if slices.Sort(got); !slices.Equal(got, want) {
			t.Errorf("round %d: snapshots %v, want %v", round, got, want)
		}
	}
}
