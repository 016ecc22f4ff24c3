package join

import (
	"iter"
	"maps"

	"settlewatch/schemas/event"
)

// BucketCount is into how many buckets a snapshot is cut.
const BucketCount = bucketCount

// BucketOf is the bucket of the snapshot that holds a payment.
func BucketOf(key event.PaymentKey) int { return bucketOf(hashKey(key)) }

// A BucketReader gives the packed payments of stored buckets, one bucket after the other,
// for readers from outside. Each is made in the memory of the one before: keys and
// payments last until the next Read.
type BucketReader struct {
	table *table // of one bucket
	index int    // which
}

// NewBucketReader takes a third of a megabyte, so one is made for many buckets.
func NewBucketReader() *BucketReader {
	r := &BucketReader{table: newTable()}
	r.table.unstored = true
	return r
}

// Read makes the bucket with this index of its stored value, empty where none is stored.
// later are changes of the ring, oldest first: those of other buckets are left out, and
// those that the bucket has already. After an error there is nothing to see until the
// next Read.
func (r *BucketReader) Read(index int, value []byte, later []Change) error {
	r.begin(index)
	if len(value) > 0 {
		if err := r.table.loadBucket(index, value); err != nil {
			return err
		}
	}
	for i := range later {
		if later[i].Bucket != index {
			continue
		}
		if err := r.table.apply(&later[i]); err != nil {
			return err
		}
	}
	return nil
}

// begin gives the memory of the bucket before to this one.
func (r *BucketReader) begin(index int) {
	t := r.table
	before := t.buckets[r.index]
	clear(before.index)
	t.buckets[r.index], t.at[r.index], t.count = bucket{}, 0, 0
	t.buckets[index] = bucket{array: before.array[:0], index: before.index}
	r.index = index
}

// Payments of the bucket, in no order.
func (r *BucketReader) Payments() iter.Seq2[event.PaymentKey, []byte] {
	return r.table.buckets[r.index].payments()
}

// Payment is one of the bucket, nil where it holds none with this key.
func (r *BucketReader) Payment(key event.PaymentKey) []byte { return r.table.get(key) }

// Pick finds the packed payment in its bucket and the deltas of the ring, oldest
// first. ErrUnknownPayment where it is in none, or was removed last.
func Pick(key event.PaymentKey, bucketValue []byte, deltas [][]byte) ([]byte, error) {
	index := BucketOf(key)
	var later []Change
	for _, delta := range deltas {
		for c, err := range ReadDelta(delta) {
			if err != nil {
				return nil, err
			}
			if c.Bucket == index {
				later = append(later, c)
			}
		}
	}
	r := NewBucketReader()
	if err := r.Read(index, bucketValue, later); err != nil {
		return nil, err
	}
	if packed := r.Payment(key); packed != nil {
		return packed, nil
	}
	return nil, ErrUnknownPayment
}

// Bucket gives the payments of one bucket as the state has them now. They and their keys
// last until the state changes.
func (s *State) Bucket(index int) map[event.PaymentKey][]byte {
	b := &s.payments.buckets[index]
	payments := make(map[event.PaymentKey][]byte, b.live)
	maps.Insert(payments, b.payments())
	return payments
}
