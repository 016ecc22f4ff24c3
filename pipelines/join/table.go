package join

import (
	"encoding/binary"
	"iter"

	"github.com/cespare/xxhash/v2"

	"settlewatch/schemas/event"
)

// bucketCount is into how many parts a partition's snapshot is cut. It is part
// of the stored format.
const bucketCount = 1024

// A table holds the payments of one partition in the buckets of its snapshot,
// and knows what changed since the last commit.
type table struct {
	buckets  [bucketCount]bucket
	dirty    []*tracked
	removed  []event.PaymentKey
	checksum uint64 // of all payments as last committed: the sum of their hashes
	count    int
}

type bucket struct {
	payments map[event.PaymentKey]*tracked
	changed  bool // since it was last written to the snapshot
	stored   bool // the snapshot has it
}

func newTable() *table { return new(table) }

func bucketOf(key event.PaymentKey) int { return int(xxhash.Sum64String(string(key)) % bucketCount) }

func (t *table) get(key event.PaymentKey) *tracked { return t.buckets[bucketOf(key)].payments[key] }

func (t *table) put(p *tracked) {
	b := &t.buckets[bucketOf(p.key)]
	if b.payments == nil {
		b.payments = make(map[event.PaymentKey]*tracked)
	}
	b.payments[p.key] = p
	t.count++
}

// touch notes that a payment's packed form changed.
func (t *table) touch(p *tracked) {
	if !p.dirty {
		p.dirty = true
		t.dirty = append(t.dirty, p)
	}
}

func (t *table) remove(p *tracked) {
	b := &t.buckets[bucketOf(p.key)]
	delete(b.payments, p.key)
	b.changed = true
	t.count--
	p.packed = nil
	if p.sum != 0 {
		t.checksum -= p.sum
		t.removed = append(t.removed, p.key)
	}
}

// all payments, in no order.
func (t *table) all() iter.Seq[*tracked] {
	return func(yield func(*tracked) bool) {
		for i := range t.buckets {
			for _, p := range t.buckets[i].payments {
				if !yield(p) {
					return
				}
			}
		}
	}
}

// hash of a packed payment, never 0.
func hash(packed []byte) uint64 { return max(1, xxhash.Sum64(packed)) }

// delta packs what changed since the last call: removals first, because a
// payment that ended may have begun anew. An entry is its length and the packed
// payment; length 0 and a key is a removal.
func (t *table) delta() []byte {
	var b []byte
	for _, key := range t.removed {
		b = binary.AppendUvarint(b, 0)
		b = appendText(b, string(key))
	}
	for _, p := range t.dirty {
		p.dirty = false
		if p.packed == nil {
			continue
		}
		b = binary.AppendUvarint(b, uint64(len(p.packed)))
		b = append(b, p.packed...)
		sum := hash(p.packed)
		t.checksum += sum - p.sum
		p.sum = sum
		t.buckets[bucketOf(p.key)].changed = true
	}
	t.dirty, t.removed = t.dirty[:0], t.removed[:0]
	return b
}

// pack is the snapshot form of one bucket: entries as in a delta.
func (b *bucket) pack() []byte {
	var out []byte
	for _, p := range b.payments {
		out = binary.AppendUvarint(out, uint64(len(p.packed)))
		out = append(out, p.packed...)
	}
	return out
}

// apply loads a delta or bucket on top of what is there.
func (t *table) apply(entries []byte) error {
	u := unpacker{b: entries}
	for u.err == nil && len(u.b) > 0 {
		n := u.uvarint()
		if n == 0 {
			if p := t.get(event.PaymentKey(u.text())); p != nil {
				t.remove(p)
			}
			continue
		}
		packed := append([]byte(nil), u.bytes(n)...)
		if u.err != nil {
			break
		}
		key, judged, err := packedHead(packed)
		if err != nil {
			return err
		}
		p := t.get(key)
		if p == nil {
			p = &tracked{key: key, slot: noSlot}
			t.put(p)
		}
		p.packed, p.next, p.judged = packed, packedNext(packed), judged
		t.buckets[bucketOf(key)].changed = true
	}
	return u.err
}
