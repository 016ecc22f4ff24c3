package join

import "settlewatch/schemas/event"

// BucketCount is into how many buckets a snapshot is cut.
const BucketCount = bucketCount

// BucketOf is the bucket of the snapshot that holds a payment.
func BucketOf(key event.PaymentKey) int { return bucketOf(hashKey(key)) }

// ReadBucket gives the packed payments of one stored bucket, for readers from outside.
// later are changes of the ring that belong to it, oldest first; those that the bucket
// has already are left out.
func ReadBucket(index int, value []byte, later []Change) (map[event.PaymentKey][]byte, error) {
	t := newTable()
	t.unstored = true
	if len(value) > 0 {
		if err := t.loadBucket(index, value); err != nil {
			return nil, err
		}
	}
	for i := range later {
		if err := t.apply(&later[i]); err != nil {
			return nil, err
		}
	}
	payments := make(map[event.PaymentKey][]byte, t.count)
	for key, packed := range t.all() {
		payments[key] = packed
	}
	return payments, nil
}

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
	payments, err := ReadBucket(index, bucketValue, later)
	if err != nil {
		return nil, err
	}
	if packed, there := payments[key]; there {
		return packed, nil
	}
	return nil, ErrUnknownPayment
}

// Bucket gives the payments of one bucket as the state has them now, in no order. They last until the
// state changes.
func (s *State) Bucket(index int) map[event.PaymentKey][]byte {
	b := &s.payments.buckets[index]
	payments := make(map[event.PaymentKey][]byte, b.live)
	for e := range b.entries() {
		p := e.payload()
		key, _ := packedKey(p)
		payments[key] = p
	}
	return payments
}
