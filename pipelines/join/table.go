package join

import (
	"iter"

	"github.com/cespare/xxhash/v2"

	"settlewatch/schemas/event"
)

// bucketCount is into how many parts a partition's snapshot is cut. It is part
// of the stored format.
const (
	bucketBits  = 11
	bucketCount = 1 << bucketBits
)

// A table holds the payments of one partition in the buckets of its snapshot, and
// what changed since the last commit.
//
// Payments are packed bytes in a few thousand arrays without pointers: tens of
// millions of them are nothing to the garbage collector.
type table struct {
	buckets [bucketCount]bucket
	// since is the commit whose change the snapshot lacks, of a bucket that waits; at the
	// commit up to which it has the bucket, while a stored state loads.
	since, at [bucketCount]uint64

	checksum uint64 // the sum of those of all payments; not kept if unstored
	count    int
	room     []byte // a payment on its way into its bucket
	ahead    ahead
	expander *expander // of a stored state that loads

	delta delta
	// unstored: nobody asks for what changed.
	unstored bool
	// queue are the buckets that the snapshot does not hold as they are, the longest
	// waiting first.
	queue []uint16
	// sequence of the next commit; 0: not known.
	sequence uint64
}

func newTable() *table { return new(table) }

// hashKey places a payment: the top bits are its bucket, the low half its place and
// its tag in the bucket's index. It only places: what a payment is, its whole key
// says.
func hashKey(key event.PaymentKey) uint64 { return xxhash.Sum64String(string(key)) }

// hashBytes is hashKey of a key that is bytes.
func hashBytes(key []byte) uint64 { return xxhash.Sum64(key) }

func bucketOf(hash uint64) int { return int(hash >> (64 - bucketBits)) }

func (t *table) bucket(hash uint64) *bucket { return &t.buckets[bucketOf(hash)] }

// find gives the place of a payment in its bucket's index, -1 where there is none.
func (t *table) find(key event.PaymentKey, hash uint64) (b *bucket, slot int) {
	b = t.bucket(hash)
	for slot := b.first(uint32(hash)); slot >= 0; slot = b.next(slot, uint32(hash)) {
		if k, err := packedKey(b.payment(slot)); err == nil && k == key {
			return b, slot
		}
		b.collides = true
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
	slack := 0
	if slot < 0 {
		slack = growthBytes
	}
	t.put(b, slot, hash, packed, slack)
	if t.changes(b, hash) {
		t.delta.whole(packed)
	}
}

// extend appends to a payment's packed form.
func (t *table) extend(b *bucket, slot int, hash uint64, tail []byte) {
	packed := t.appendTail(b, slot, tail)
	switch {
	case !t.changes(b, hash):
	case b.collides:
		t.delta.whole(packed)
	default:
		t.delta.extended(hash, tail)
	}
}

// rehead gives a payment another epoch, other flags and another next moment, and
// appends to it; h is its head.
func (t *table) rehead(b *bucket, slot int, hash uint64, h *head, n newHead, tail []byte) {
	t.room = append(appendReheaded(t.room[:0], b.payment(slot), h, n), tail...)
	t.put(b, slot, hash, t.room, slackOf(len(t.room)))
	switch {
	case !t.changes(b, hash):
	case b.collides:
		t.delta.whole(t.room)
	default:
		t.delta.reheaded(hash, n, tail)
	}
}

func (t *table) remove(b *bucket, slot int, hash uint64, key event.PaymentKey) {
	if t.changes(b, hash) {
		t.delta.removed(key)
	}
	t.drop(b, slot)
}

// changes puts a bucket that changes into the queue for the snapshot, and tells
// whether to note what changes.
func (t *table) changes(b *bucket, hash uint64) bool {
	t.waits(b, hash, t.sequence)
	return !t.unstored
}

func (t *table) waits(b *bucket, hash, sequence uint64) {
	if !b.waiting && !t.unstored {
		b.waiting = true
		t.since[bucketOf(hash)] = sequence
		t.queue = append(t.queue, uint16(bucketOf(hash)))
	}
}

// put, appendTail and drop change a payment and what is counted of all.

func (t *table) put(b *bucket, slot int, hash uint64, packed []byte, slack int) {
	t.add(packed, 0)
	if slot >= 0 {
		t.subtract(b.payment(slot), 0)
		b.replace(slot, packed, slack)
		return
	}
	t.count++
	b.add(uint32(hash), packed, slack)
}

func (t *table) appendTail(b *bucket, slot int, tail []byte) (packed []byte) {
	packed = b.payment(slot)
	at := len(packed)
	t.subtract(packed, at)
	if b.extend(slot, tail) {
		packed = b.payment(slot)
	} else {
		t.room = append(append(t.room[:0], packed...), tail...)
		packed = t.room
		b.replace(slot, packed, slackOf(len(packed)))
	}
	t.add(packed, at)
	return packed
}

func (t *table) drop(b *bucket, slot int) {
	t.subtract(b.payment(slot), 0)
	t.count--
	b.drop(slot)
}

// slackOf is what a payment gets that has outgrown its place.
func slackOf(n int) int {
	if n < slackFrom {
		return 0
	}
	return n / 4
}

// add and subtract keep the checksum, from what depends on byte at on.

func (t *table) add(packed []byte, at int) {
	if !t.unstored {
		t.checksum += checksumFrom(packed, at)
	}
}

func (t *table) subtract(packed []byte, at int) {
	if !t.unstored {
		t.checksum -= checksumFrom(packed, at)
	}
}

// checksum of a packed payment: the sum over its parts, so that an event of a large
// one need not go through all of it.
func checksum(packed []byte) uint64 { return checksumFrom(packed, 0) }

const checksumPart = 1 << 10

// checksumFrom is what of the checksum depends on byte at and what follows.
func checksumFrom(packed []byte, at int) (sum uint64) {
	for part := at / checksumPart; part*checksumPart < len(packed); part++ {
		end := min(len(packed), (part+1)*checksumPart)
		sum += xxhash.Sum64(packed[part*checksumPart:end]) * uint64(2*part+1)
	}
	return sum
}

// loadBucket loads a bucket of the snapshot.
func (t *table) loadBucket(index int, value []byte) error {
	if t.expander == nil {
		t.expander = new(expander)
	}
	sequence, err := t.expander.bucket(value, func(packed []byte) error {
		key, err := packedKey(packed)
		if err != nil {
			return err
		}
		hash := hashKey(key)
		if bucketOf(hash) != index {
			return errCorrupt
		}
		b, slot := t.find(key, hash)
		t.put(b, slot, hash, packed, 0)
		return nil
	})
	t.at[index] = sequence
	return err
}

// all payments by key, bucket by bucket. What it gives lasts until the table changes.
func (t *table) all() iter.Seq2[event.PaymentKey, []byte] {
	return func(yield func(event.PaymentKey, []byte) bool) {
		for i := range t.buckets {
			for key, p := range t.buckets[i].payments() {
				if !yield(key, p) {
					return
				}
			}
		}
	}
}
