package join

import (
	"iter"

	"settlewatch/schemas/event"
)

// BucketCount is into how many buckets a snapshot is cut.
const BucketCount = bucketCount

// Entry is one payment of a bucket or of a delta.
type Entry struct {
	Key event.PaymentKey
	// Packed is nil where a delta removes the payment.
	Packed []byte
}

// Entries of a bucket or delta as it is stored, for readers from outside. An error
// ends them. They share the memory of value.
func Entries(value []byte) iter.Seq2[Entry, error] {
	return func(yield func(Entry, error) bool) {
		u := unpacker{b: value}
		for u.err == nil && len(u.b) > 0 {
			var e Entry
			if n := u.uvarint(); n == 0 {
				e.Key = event.PaymentKey(u.text())
			} else if e.Packed = u.bytes(n); u.err == nil {
				e.Key, u.err = packedKey(e.Packed)
			}
			if u.err == nil && !yield(e, nil) {
				return
			}
		}
		if u.err != nil {
			yield(Entry{}, u.err)
		}
	}
}

// Bucket is what the snapshot would hold of one bucket now; its entries are in no
// order.
func (s *State) Bucket(index int) []byte { return s.payments.buckets[index].pack() }
