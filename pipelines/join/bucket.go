package join

import (
	"encoding/binary"
	"iter"
	"slices"

	"settlewatch/schemas/event"
)

// A bucket is one array of entries and an index into it. An entry is a header and
// a packed payment:
//
//	header   4 bytes, little endian: length of the slot << 2 | slack, dead
//	         4 bytes: the low half of the key's hash, to make the index of
//	payment
//	slack    bytes that are free; the last ones say how many, see setSlack
//
// A payment that begins gets slack for its capture, a large one a quarter of its size: so
// most events are written where their payment stands. What does not fit is written anew
// at the end; the dead entries go when the bucket is full. The line that settles a payment
// finds no room: millions of open ones would keep it free for days to save one copy.
//
// It is 64 bytes, a line of the processor's cache, of which each event takes another.
type bucket struct {
	array []byte
	index []uint32 // open addressing; tag << offsetBits | offset + 1
	live  int32    // entries
	taken int32    // slots of the index that are or were in use
	dead  int32    // bytes of array

	waiting bool // for the snapshot
	// collides: there are or were two payments that only their keys tell apart.
	collides bool
}

const (
	headerBytes = 8

	isDead   = 1
	hasSlack = 2
	slotBits = 2

	// growthBytes is the slack of a payment that begins: a capture.
	growthBytes = 24
	// slackFrom is the size from which the slack is a quarter; below there is none.
	slackFrom = 256
	// closeFrom is the size from which Go allots whole pages, and an array grows by a few of
	// them: with so many payments memory counts for more than copying.
	closeFrom = 32 << 10
	pageBytes = 8 << 10
	// growthSteps is in how many sizes the arrays of buckets of one size come.
	growthSteps = 32
	// looseBytes is more slack than a payment keeps that needs less than it did.
	looseBytes = 128

	offsetBits = 27
	offsetMask = 1<<offsetBits - 1
	tombstone  = offsetMask
	// maxBucketBytes is what the index can address: 128 MB, of a partition 512 GB.
	maxBucketBytes = tombstone - 1
)

// An entry is the place of one in a bucket's array.
type entry []byte

func (e entry) header() uint32     { return binary.LittleEndian.Uint32(e) }
func (e entry) is(bit uint32) bool { return e.header()&bit != 0 }
func (e entry) set(bit uint32)     { binary.LittleEndian.PutUint32(e, e.header()|bit) }
func (e entry) hash() uint32       { return binary.LittleEndian.Uint32(e[4:]) }
func (e entry) slot() int          { return int(e.header() >> slotBits) }

func (e entry) payload() []byte {
	header := e.header()
	end := headerBytes + int(header>>slotBits)
	if header&hasSlack == 0 {
		return e[headerBytes:end:end]
	}
	return e[headerBytes : end-slackBefore(e[:end])]
}

// setSlack writes how much of the end of a slot is free, in its own last bytes: one
// if that is enough, else 255 and four before it.
func (e entry) setSlack(n int) {
	if n == 0 {
		binary.LittleEndian.PutUint32(e, e.header()&^hasSlack)
		return
	}
	e.set(hasSlack)
	end := headerBytes + e.slot()
	if n < manySlack {
		e[end-1] = byte(n)
		return
	}
	e[end-1] = manySlack
	binary.LittleEndian.PutUint32(e[end-5:], uint32(n))
}

const manySlack = 255

func slackBefore(slot []byte) int {
	last := len(slot) - 1
	if slot[last] < manySlack {
		return int(slot[last])
	}
	return int(binary.LittleEndian.Uint32(slot[last-4:]))
}

// appendEntry writes an entry at the end of the array, which has room.
func appendEntry(array, packed []byte, hash uint32, slack int) []byte {
	at, n := len(array), len(packed)+slack
	array = binary.LittleEndian.AppendUint32(array, uint32(n)<<slotBits)
	array = binary.LittleEndian.AppendUint32(array, hash)
	array = append(array, packed...)[:at+headerBytes+n]
	entry(array[at:]).setSlack(slack)
	return array
}

// entries are those that live.
func (b *bucket) entries() iter.Seq[entry] {
	return func(yield func(entry) bool) {
		for at := 0; at < len(b.array); {
			e := entry(b.array[at:])
			at += headerBytes + e.slot()
			if !e.is(isDead) && !yield(e) {
				return
			}
		}
	}
}

// payments are those of entries, by key.
func (b *bucket) payments() iter.Seq2[event.PaymentKey, []byte] {
	return func(yield func(event.PaymentKey, []byte) bool) {
		for e := range b.entries() {
			p := e.payload()
			if key, _ := packedKey(p); !yield(key, p) {
				return
			}
		}
	}
}

func tagOf(hash uint32) uint32 { return hash << offsetBits }

// home is where in the index a hash is looked for first.
func (b *bucket) home(hash uint32) int { return int(uint64(hash) * uint64(len(b.index)) >> 32) }

// first and next go through the places in the index that hold a hash. -1 ends them.
func (b *bucket) first(hash uint32) int {
	if len(b.index) == 0 {
		return -1
	}
	return b.probe(b.home(hash), hash)
}

func (b *bucket) next(slot int, hash uint32) int {
	if slot++; slot == len(b.index) {
		slot = 0
	}
	return b.probe(slot, hash)
}

// probe goes on to the next place with the hash. There is always an empty one.
func (b *bucket) probe(slot int, hash uint32) int {
	tag := tagOf(hash)
	for {
		v := b.index[slot]
		if v == 0 {
			return -1
		}
		if v&^offsetMask == tag && v&offsetMask != tombstone && b.entry(slot).hash() == hash {
			return slot
		}
		if slot++; slot == len(b.index) {
			slot = 0
		}
	}
}

func (b *bucket) entry(slot int) entry    { return entry(b.array[b.index[slot]&offsetMask-1:]) }
func (b *bucket) payment(slot int) []byte { return b.entry(slot).payload() }

// add stores a payment that is not there, with some slack.
func (b *bucket) add(hash uint32, packed []byte, slack int) {
	b.reserve(headerBytes + len(packed) + slack)
	if 4*(int(b.taken)+1) > 3*len(b.index) {
		b.reindex(int(b.live) + 1)
	}
	at := len(b.array)
	b.array = appendEntry(b.array, packed, hash, slack)
	b.point(hash, at)
	b.live++
}

// point enters an offset into the index.
func (b *bucket) point(hash uint32, at int) {
	slot := b.home(hash)
	for b.index[slot] != 0 {
		if slot++; slot == len(b.index) {
			slot = 0
		}
	}
	b.index[slot] = tagOf(hash) | uint32(at+1)
	b.taken++
}

// replace stores another form of the payment at slot: where it stood if it fits,
// else at the end, with some slack.
func (b *bucket) replace(slot int, packed []byte, slack int) {
	e := b.entry(slot)
	has := e.slot()
	if free := has - len(packed); free >= 0 {
		if free > slack+looseBytes {
			// What is too much becomes an entry of its own, a dead one.
			has = len(packed) + slack
			rest := e[headerBytes+has:]
			binary.LittleEndian.PutUint32(rest, uint32(free-slack-headerBytes)<<slotBits|isDead)
			b.dead += int32(free - slack)
			binary.LittleEndian.PutUint32(e, uint32(has)<<slotBits)
		}
		copy(e[headerBytes:], packed)
		e.setSlack(has - len(packed))
		return
	}
	hash := e.hash()
	e.set(isDead)
	b.dead += int32(headerBytes + has)
	moved := b.reserve(headerBytes + len(packed) + slack)
	at := len(b.array)
	b.array = appendEntry(b.array, packed, hash, slack)
	if moved { // the index was made anew, without the dead entry
		b.point(hash, at)
		return
	}
	b.index[slot] = b.index[slot]&^offsetMask | uint32(at+1)
}

// extend appends to the payment at slot if its slack allows.
func (b *bucket) extend(slot int, tail []byte) bool {
	e := b.entry(slot)
	used := len(e.payload())
	free := e.slot() - used - len(tail)
	if free < 0 {
		return false
	}
	copy(e[headerBytes+used:], tail)
	e.setSlack(free)
	return true
}

// drop removes the payment at slot.
func (b *bucket) drop(slot int) {
	e := b.entry(slot)
	e.set(isDead)
	b.dead += int32(headerBytes + e.slot())
	b.index[slot] |= tombstone
	b.live--
}

// reserve makes room for n bytes at the end: by dropping what is dead if that is a
// fifth, else by a larger array. It tells whether entries moved, and with them the
// index; one place in that stays free for an entry that was just marked dead.
func (b *bucket) reserve(n int) (moved bool) {
	switch need := len(b.array) - int(b.dead) + n; {
	case len(b.array)+n <= cap(b.array):
		return false
	case 5*int(b.dead) < len(b.array):
		b.bound(len(b.array) + n)
		b.array = append(arrayFor(len(b.array)+n), b.array...)
		return false
	case need > cap(b.array):
		b.compact(arrayFor(need))
	default:
		b.compact(b.array[:0])
	}
	return true
}

// arrayFor gives an array for n bytes and about as much again, as long as it is small: each
// that was outgrown is garbage, and the memory of the next is mostly touched for the first time.
// The buckets fill alike, and would all outgrow their arrays in the same second, for which
// alerts wait: so it is half to one and a half times as much, by the last bits of n, in
// which they differ. A large array has a little more, and ends with a page.
func arrayFor(n int) []byte {
	if 2*n < closeFrom {
		return slices.Grow([]byte(nil), n+n/2+n*(n%growthSteps)/growthSteps)
	}
	n = max(closeFrom, n+n/16)
	return make([]byte, 0, (n+pageBytes-1)&^(pageBytes-1))
}

func (b *bucket) bound(n int) {
	if n > maxBucketBytes {
		panic("join: a bucket of more than 128 MB: the partition holds too much for one, the log needs more partitions")
	}
}

// compact moves what lives to another array, or to the front of its own.
func (b *bucket) compact(to []byte) {
	for e := range b.entries() {
		to = append(to, e[:headerBytes+e.slot()]...)
	}
	b.bound(len(to))
	b.array, b.dead = to, 0
	b.reindex(int(b.live))
}

// reindex makes the index anew, with room for n entries and some more.
func (b *bucket) reindex(n int) {
	size := n + 3*n/4 + 4
	if size > cap(b.index) {
		b.index = make([]uint32, size)
	} else {
		b.index = b.index[:size]
		clear(b.index)
	}
	b.taken = 0
	for at := 0; at < len(b.array); {
		e := entry(b.array[at:])
		if !e.is(isDead) {
			b.point(e.hash(), at)
		}
		at += headerBytes + e.slot()
	}
}

// trim gives back an array that is mostly empty, as after a day on which much ended: two
// thirds of a small one, a third of a large one.
func (b *bucket) trim() {
	if live := len(b.array) - int(b.dead); 3*live < cap(b.array) || live+live/2 < cap(b.array)-closeFrom {
		b.compact(arrayFor(live))
	}
}
