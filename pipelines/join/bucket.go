package join

import (
	"encoding/binary"
	"iter"
	"slices"
)

// A bucket is one array of entries and an index into it. An entry is a header and
// a packed payment:
//
//	header   4 bytes, little endian: length of the slot << 3 | slack, dirty, dead
//	         4 bytes: the low half of the key's hash, to make the index of
//	used     4 bytes, only with slack: length of the payment
//	payment
//
// What changes is written anew at the end unless it fits where it stood; the dead
// entries go when the bucket is full. A large payment gets slack, so that the
// thousandth event of one does not copy the other 999.
type bucket struct {
	array []byte
	index []uint32 // open addressing; tag << offsetBits | offset + 1
	live  int      // entries
	taken int      // slots of the index that are or were in use
	dead  int      // bytes of array

	waiting bool   // for the snapshot
	since   uint64 // the commit whose change the snapshot lacks; 0: not known
	stored  bool   // the snapshot has it
}

const (
	headerBytes = 8

	isDead   = 1
	isDirty  = 2
	hasSlack = 4

	// leastRoom is what a larger array has more than it needs, beside an eighth: some
	// payments.
	leastRoom = 512

	// slackFrom is the size from which a payment gets a quarter more than it needs.
	slackFrom = 1024

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
func (e entry) clear(bit uint32)   { binary.LittleEndian.PutUint32(e, e.header()&^bit) }
func (e entry) hash() uint32       { return binary.LittleEndian.Uint32(e[4:]) }
func (e entry) slot() int          { return int(e.header() >> 3) }

func (e entry) payload() []byte {
	n := e.slot()
	if !e.is(hasSlack) {
		return e[headerBytes : headerBytes+n : headerBytes+n]
	}
	used := int(binary.LittleEndian.Uint32(e[headerBytes:]))
	return e[headerBytes+4 : headerBytes+4+used]
}

// slotBytes is what the slot of a payment takes without its header.
func slotBytes(n int) int {
	if n < slackFrom {
		return n
	}
	return 4 + n + n/4
}

// appendEntry writes an entry at the end of the array, which has room.
func appendEntry(array, packed []byte, hash, flags uint32) []byte {
	n := slotBytes(len(packed))
	if n == len(packed) {
		array = binary.LittleEndian.AppendUint32(array, uint32(n)<<3|flags)
		array = binary.LittleEndian.AppendUint32(array, hash)
		return append(array, packed...)
	}
	end := len(array) + headerBytes + n
	array = binary.LittleEndian.AppendUint32(array, uint32(n)<<3|flags|hasSlack)
	array = binary.LittleEndian.AppendUint32(array, hash)
	array = binary.LittleEndian.AppendUint32(array, uint32(len(packed)))
	return append(array, packed...)[:end]
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

// add stores a payment that is not there.
func (b *bucket) add(hash uint32, packed []byte, flags uint32) {
	b.reserve(headerBytes + slotBytes(len(packed)))
	if 4*(b.taken+1) > 3*len(b.index) {
		b.reindex(b.live + 1)
	}
	at := len(b.array)
	b.array = appendEntry(b.array, packed, hash, flags)
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
// else at the end. Its flags stay.
func (b *bucket) replace(slot int, packed []byte) {
	e := b.entry(slot)
	has, needs := e.slot(), slotBytes(len(packed))
	switch {
	case e.is(hasSlack) && len(packed) >= slackFrom && len(packed)+4 <= has:
		binary.LittleEndian.PutUint32(e[headerBytes:], uint32(len(packed)))
		copy(e[headerBytes+4:], packed)
	case !e.is(hasSlack) && len(packed) < slackFrom && (needs == has || needs+headerBytes <= has):
		flags := e.header() & isDirty
		binary.LittleEndian.PutUint32(e, uint32(needs)<<3|flags)
		copy(e[headerBytes:], packed)
		if rest := has - needs; rest > 0 {
			binary.LittleEndian.PutUint32(e[headerBytes+needs:], uint32(rest-headerBytes)<<3|isDead)
			b.dead += rest
		}
	default:
		flags, hash := e.header()&isDirty, e.hash()
		e.set(isDead)
		b.dead += headerBytes + has
		if b.reserve(headerBytes + needs) {
			// The index was made anew, without the dead entry.
			at := len(b.array)
			b.array = appendEntry(b.array, packed, hash, flags)
			b.point(hash, at)
			return
		}
		at := len(b.array)
		b.array = appendEntry(b.array, packed, hash, flags)
		b.index[slot] = b.index[slot]&^offsetMask | uint32(at+1)
	}
}

// extend appends to the payment at slot if its slack allows.
func (b *bucket) extend(slot int, tail []byte) bool {
	e := b.entry(slot)
	if !e.is(hasSlack) {
		return false
	}
	used := len(e.payload())
	if 4+used+len(tail) > e.slot() {
		return false
	}
	binary.LittleEndian.PutUint32(e[headerBytes:], uint32(used+len(tail)))
	copy(e[headerBytes+4+used:], tail)
	return true
}

// drop removes the payment at slot.
func (b *bucket) drop(slot int) {
	e := b.entry(slot)
	e.set(isDead)
	b.dead += headerBytes + e.slot()
	b.index[slot] |= tombstone
	b.live--
}

// reserve makes room for n bytes at the end: by dropping what is dead if that is a
// fifth, else by a larger array. It tells whether entries moved, and with them the
// index; one place in that stays free for an entry that was just marked dead.
func (b *bucket) reserve(n int) (moved bool) {
	if len(b.array)+n <= cap(b.array) {
		return false
	}
	if need := len(b.array) - b.dead + n; 5*b.dead < len(b.array) || need > cap(b.array) {
		b.compact(slices.Grow([]byte(nil), need+max(need/8, leastRoom)))
	} else {
		b.compact(b.array[:0])
	}
	return true
}

// compact moves what lives to another array, or to the front of its own.
func (b *bucket) compact(to []byte) {
	for e := range b.entries() {
		to = append(to, e[:headerBytes+e.slot()]...)
	}
	if len(to) > maxBucketBytes {
		panic("join: a bucket of more than 128 MB: the partition holds too much for one, the log needs more partitions")
	}
	b.array, b.dead = to, 0
	b.reindex(b.live)
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

// pack is the snapshot form of the bucket: entries as in a delta. An array that is
// mostly empty, as after a day on which much ended, is given back.
func (b *bucket) pack() []byte {
	if live := len(b.array) - b.dead; live+live/2 < cap(b.array) {
		b.compact(slices.Grow([]byte(nil), live+live/8))
	}
	out := make([]byte, 0, len(b.array)-b.dead)
	for e := range b.entries() {
		p := e.payload()
		out = binary.AppendUvarint(out, uint64(len(p)))
		out = append(out, p...)
	}
	return out
}
