package join

import (
	"encoding/binary"
	"iter"

	"github.com/cespare/xxhash/v2"

	"settlewatch/schemas/event"
)

// bucketCount is into how many parts a partition's snapshot is cut. It is part
// of the stored format.
const (
	bucketBits  = 12
	bucketCount = 1 << bucketBits
)

// A table holds the payments of one partition in the buckets of its snapshot,
// and knows what changed since the last commit.
//
// Payments are packed bytes in a few thousand arrays without pointers: tens of
// millions of them are nothing to the garbage collector.
type table struct {
	buckets [bucketCount]bucket
	dirty   []uint64 // hashes of the keys of payments that changed
	removed []byte   // length-prefixed keys of those that went
	// queue are the buckets that the snapshot does not hold as they are, the longest
	// waiting first.
	queue    []uint16
	checksum uint64 // of all payments as last committed: the sum of their hashes
	count    int
	room     []byte
}

func newTable() *table { return new(table) }

// hashKey places a payment: the top bits are its bucket, the low half its place and
// its tag in the bucket's index. It only places: what a payment is, its whole key
// says.
func hashKey(key event.PaymentKey) uint64 { return xxhash.Sum64String(string(key)) }

func bucketOf(hash uint64) int { return int(hash >> (64 - bucketBits)) }

func (t *table) bucket(hash uint64) *bucket { return &t.buckets[bucketOf(hash)] }

// find gives the place of a payment in its bucket's index, -1 where there is none.
func (t *table) find(key event.PaymentKey, hash uint64) (b *bucket, slot int) {
	b = t.bucket(hash)
	for slot := b.first(uint32(hash)); slot >= 0; slot = b.next(slot, uint32(hash)) {
		if k, err := packedKey(b.payment(slot)); err == nil && k == key {
			return b, slot
		}
	}
	return b, -1
}

// get is a payment's packed form, nil where there is none. It lasts until the
// table changes.
func (t *table) get(key event.PaymentKey) []byte {
	b, slot := t.find(key, hashKey(key))
	if slot < 0 {
		return nil
	}
	return b.payment(slot)
}

// set stores a payment's packed form; slot is where it was found, -1 for a new one.
func (t *table) set(b *bucket, slot int, hash uint64, packed []byte) {
	if slot >= 0 {
		t.touch(b, slot, hash)
		b.replace(slot, packed)
		return
	}
	t.count++
	t.dirty = append(t.dirty, hash)
	b.add(uint32(hash), packed, isDirty)
}

// extend appends to a payment's packed form.
func (t *table) extend(b *bucket, slot int, hash uint64, tail []byte) {
	t.touch(b, slot, hash)
	if !b.extend(slot, tail) {
		t.room = append(append(t.room[:0], b.payment(slot)...), tail...)
		b.replace(slot, t.room)
	}
}

// touch takes a payment that is about to change out of the checksum.
func (t *table) touch(b *bucket, slot int, hash uint64) {
	if e := b.entry(slot); !e.is(isDirty) {
		e.set(isDirty)
		t.checksum -= checksum(e.payload())
		t.dirty = append(t.dirty, hash)
	}
}

func (t *table) remove(b *bucket, slot int, key event.PaymentKey) {
	if e := b.entry(slot); !e.is(isDirty) {
		t.checksum -= checksum(e.payload())
	}
	t.count--
	t.removed = appendText(t.removed, string(key))
	b.drop(slot)
}

// checksum of a packed payment.
func checksum(packed []byte) uint64 { return xxhash.Sum64(packed) }

// changed tells whether there is something to commit.
func (t *table) changed() bool { return len(t.dirty) > 0 || len(t.removed) > 0 }

// delta packs what changed since the last call, for commit number sequence:
// removals first, because a payment that ended may have begun anew. An entry is
// its length and the packed payment; length 0 and a key is a removal.
func (t *table) delta(sequence uint64) []byte {
	b := make([]byte, 0, len(t.removed)+128*len(t.dirty))
	for u := (unpacker{b: t.removed}); len(u.b) > 0; {
		key := event.PaymentKey(u.text())
		b = append(b, 0)
		b = appendText(b, string(key))
		t.waits(hashKey(key), sequence)
	}
	for _, hash := range t.dirty {
		bucket := t.bucket(hash)
		for slot := bucket.first(uint32(hash)); slot >= 0; slot = bucket.next(slot, uint32(hash)) {
			e := bucket.entry(slot)
			if !e.is(isDirty) {
				continue
			}
			e.clear(isDirty)
			p := e.payload()
			t.checksum += checksum(p)
			b = binary.AppendUvarint(b, uint64(len(p)))
			b = append(b, p...)
			t.waits(hash, sequence)
		}
	}
	t.dirty, t.removed = t.dirty[:0], t.removed[:0]
	return b
}

// waits puts a bucket into the queue for the snapshot.
func (t *table) waits(hash, sequence uint64) {
	if b := t.bucket(hash); !b.waiting {
		b.waiting, b.since = true, sequence
		t.queue = append(t.queue, uint16(bucketOf(hash)))
	}
}

// apply loads a delta or bucket on top of what is there; what it changes waits for
// the snapshot if waits is set.
func (t *table) apply(entries []byte, waits bool) error {
	u := unpacker{b: entries}
	for u.err == nil && len(u.b) > 0 {
		n := u.uvarint()
		var packed []byte
		var key event.PaymentKey
		if n == 0 {
			key = event.PaymentKey(u.text())
		} else {
			packed = u.bytes(n)
			if u.err != nil {
				break
			}
			h, err := peek(packed)
			if err != nil {
				return err
			}
			key = h.key
		}
		hash := hashKey(key)
		if waits {
			t.waits(hash, 0)
		}
		b, slot := t.find(key, hash)
		switch {
		case n == 0 && slot >= 0:
			t.count--
			b.drop(slot)
		case n == 0:
		case slot >= 0:
			b.replace(slot, packed)
		default:
			t.count++
			b.add(uint32(hash), packed, 0)
		}
	}
	return u.err
}

// all payments by key, bucket by bucket. What it gives lasts until the table changes.
func (t *table) all() iter.Seq2[event.PaymentKey, []byte] {
	return func(yield func(event.PaymentKey, []byte) bool) {
		for i := range t.buckets {
			for e := range t.buckets[i].entries() {
				p := e.payload()
				if key, _ := packedKey(p); !yield(key, p) {
					return
				}
			}
		}
	}
}
