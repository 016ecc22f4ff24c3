package stage

import (
	"context"
	"encoding/hex"
	"fmt"
	"slices"

	"settlewatch/pipelines/join"
	"settlewatch/schemas/alert"
	"settlewatch/schemas/event"
	"settlewatch/schemas/payment"
	"settlewatch/schemas/topic"
)

// An outbox turns what was folded into records, by partition, in the order in which
// partitions came up. Its memory is used again: nothing of it is needed when Append
// has returned.
type outbox struct {
	out   []Outgoing
	bytes []byte // keys and values of payment snapshots
	later map[life]struct{}
	last  []int // which snapshots are a life's last
}

// A life of a payment.
type life struct {
	key string
	id  event.ID
}

// publish appends alerts, each kind to its topic, and the last snapshot of every
// payment that was judged.
func (o *outbox) publish(ctx context.Context, log Log, from *join.Output) error {
	if len(from.Alerts)+len(from.Payments) == 0 {
		return nil
	}
	for i := range o.out {
		o.out[i].Records = o.out[i].Records[:0]
	}
	o.bytes = o.bytes[:0]
	for _, a := range from.Alerts {
		if err := o.addAlert(a); err != nil {
			return err
		}
	}
	if err := o.addPayments(from.Payments); err != nil {
		return err
	}
	filled := make([]Outgoing, 0, len(o.out))
	for _, out := range o.out {
		if len(out.Records) > 0 {
			filled = append(filled, out)
		}
	}
	if err := log.Append(ctx, filled...); err != nil {
		return fmt.Errorf("publish: %w", err)
	}
	return nil
}

func (o *outbox) addAlert(a *alert.Alert) error {
	body, err := a.Encode()
	if err != nil {
		return err
	}
	t := a.Kind.Topic()
	r := Record{Key: []byte(a.PaymentKey), Value: body, TimeMs: a.MomentMs()}
	for _, h := range a.Headers() {
		r.Headers = append(r.Headers, Header{Key: h.Key, Value: []byte(h.Value)})
	}
	o.add(t.Name, topic.Partition(r.Key, t.Partitions), r)
	return nil
}

// addPayments adds the last snapshot of each payment's life, in order. Which ones
// are left out depends on the batch; what is left is the same for every cut.
func (o *outbox) addPayments(all []*payment.Payment) error {
	if o.later == nil {
		o.later = make(map[life]struct{})
	}
	clear(o.later)
	o.last = o.last[:0]
	for i, p := range slices.Backward(all) {
		o.later[life{p.PaymentKey, event.ID(p.Life)}] = struct{}{}
		if len(o.later) > len(o.last) {
			o.last = append(o.last, i)
		}
	}
	for _, i := range slices.Backward(o.last) {
		p := all[i]
		// Compaction keeps the last of each key, and every life of a payment counts.
		start := len(o.bytes)
		o.bytes = append(o.bytes, p.PaymentKey...)
		payment := o.bytes[start:len(o.bytes):len(o.bytes)]
		o.bytes = hex.AppendEncode(append(o.bytes, '|'), p.Life)
		key := o.bytes[start:len(o.bytes):len(o.bytes)]
		start = len(o.bytes)
		size := p.SizeVT()
		o.bytes = append(o.bytes, make([]byte, size)...)
		value := o.bytes[start:len(o.bytes):len(o.bytes)]
		if _, err := p.MarshalToSizedBufferVT(value); err != nil {
			return fmt.Errorf("encode payment: %w", err)
		}
		r := Record{Key: key, Value: value, TimeMs: p.JudgedMs}
		o.add(topic.Payments.Name, topic.Partition(payment, topic.Payments.Partitions), r)
	}
	return nil
}

func (o *outbox) add(topic string, partition int32, r Record) {
	for i := range o.out {
		if b := &o.out[i]; b.Partition == partition && b.Topic == topic {
			b.Records = append(b.Records, r)
			return
		}
	}
	o.out = append(o.out, Outgoing{Topic: topic, Partition: partition, Records: []Record{r}})
}
