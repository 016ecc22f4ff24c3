package join

import (
	"encoding/binary"
	"iter"

	"settlewatch/schemas/event"
)

// A delta is what one commit changes, in order: what was added to payments rather
// than the payments, since a byte logged costs three more of the snapshot.
//
//	sequence  8 bytes, little endian: of the commit
//	change    uvarint: length of what follows << 2 | which of these
//	  whole      a packed payment, new or in another form
//	  removed    a payment's key
//	  extended   place, pending facts that were appended
//	  reheaded   place, flags, epoch, next moment, pending facts that were appended
//
// A place is six bytes: the bucket, and the low half of the hash. It stands for the
// one payment there; where two share it, they are logged whole.
//
// A bucket of the snapshot says up to which commit it goes: what older deltas change
// is in it already.
type delta struct {
	bytes []byte
	count int
}

const (
	changeWhole = iota
	changeRemoved
	changeExtended
	changeReheaded
)

const (
	sequenceBytes = 8
	placeBytes    = 6
)

// A newHead is what a head changes to.
type newHead struct {
	flags byte
	epoch uint64
	next  int64
}

// head makes room for the sequence.
func (d *delta) head() {
	if len(d.bytes) == 0 {
		d.bytes = append(lend(d.bytes, sequenceBytes), make([]byte, sequenceBytes)...)
	}
}

func (d *delta) begin(n int, change uint64) {
	d.head()
	d.bytes = binary.AppendUvarint(d.bytes, uint64(n)<<2|change)
	d.count++
}

func (d *delta) whole(packed []byte) {
	d.begin(len(packed), changeWhole)
	d.bytes = append(d.bytes, packed...)
}

func (d *delta) removed(key event.PaymentKey) {
	d.begin(len(key), changeRemoved)
	d.bytes = append(d.bytes, key...)
}

func (d *delta) extended(hash uint64, tail []byte) {
	d.begin(placeBytes+len(tail), changeExtended)
	d.bytes = append(appendPlace(d.bytes, hash), tail...)
}

func (d *delta) reheaded(hash uint64, n newHead, tail []byte) {
	var room [1 + 2*binary.MaxVarintLen64 + binary.MaxVarintLen64]byte
	head := appendMoment(binary.AppendUvarint(append(room[:0], n.flags), n.epoch), n.next, 0)
	d.begin(placeBytes+len(head)+len(tail), changeReheaded)
	d.bytes = append(append(appendPlace(d.bytes, hash), head...), tail...)
}

func appendPlace(b []byte, hash uint64) []byte {
	return binary.LittleEndian.AppendUint32(binary.LittleEndian.AppendUint16(b, uint16(bucketOf(hash))), uint32(hash))
}

// take is the delta for commit number sequence. It lasts until the next change.
func (d *delta) take(sequence uint64) []byte {
	d.head()
	binary.LittleEndian.PutUint64(d.bytes, sequence)
	taken := d.bytes
	d.bytes, d.count = d.bytes[:0], 0
	return taken
}

// stored: what was taken is not needed any more.
func (d *delta) stored() {
	if len(d.bytes) == 0 {
		d.bytes = giveBack(d.bytes)
	}
}

// A Change is one change of a delta.
type Change struct {
	// Bucket that it belongs to.
	Bucket int

	sequence uint64
	what     uint64
	hash     uint64           // of whole and removed; of the others as far as the place says
	key      event.PaymentKey // of whole and removed
	body     []byte           // what stands behind place and key
}

// ReadDelta gives the changes of a delta as it is stored. An error ends them. They share its memory.
func ReadDelta(stored []byte) iter.Seq2[Change, error] {
	return func(yield func(Change, error) bool) {
		if len(stored) < sequenceBytes {
			yield(Change{}, errCorrupt)
			return
		}
		sequence := binary.LittleEndian.Uint64(stored)
		for u := (unpacker{b: stored[sequenceBytes:]}); len(u.b) > 0; {
			c, err := u.change()
			c.sequence = sequence
			if !yield(c, err) || err != nil {
				return
			}
		}
	}
}

func (u *unpacker) change() (c Change, err error) {
	n := u.uvarint()
	c.what, c.body = n&3, u.bytes(n>>2)
	if u.err != nil {
		return c, u.err
	}
	switch c.what {
	case changeWhole:
		c.key, err = packedKey(c.body)
		c.hash = hashKey(c.key)
	case changeRemoved:
		c.key = event.PaymentKey(view(c.body))
		c.hash = hashKey(c.key)
	default:
		if len(c.body) < placeBytes {
			return c, errCorrupt
		}
		bucket := binary.LittleEndian.Uint16(c.body)
		if bucket >= bucketCount {
			return c, errCorrupt
		}
		c.hash = uint64(bucket)<<(64-bucketBits) | uint64(binary.LittleEndian.Uint32(c.body[2:]))
		c.body = c.body[placeBytes:]
	}
	c.Bucket = bucketOf(c.hash)
	return c, err
}

// applyDelta makes the changes of a delta as it is stored.
func (t *table) applyDelta(stored []byte) error {
	for c, err := range ReadDelta(stored) {
		if err == nil {
			err = t.apply(&c)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// apply makes a change of a loaded delta, unless the snapshot has it.
func (t *table) apply(c *Change) error {
	b := &t.buckets[c.Bucket]
	if c.sequence <= t.at[c.Bucket] {
		return nil
	}
	t.waits(b, c.hash, c.sequence)
	switch c.what {
	case changeWhole:
		_, slot := t.find(c.key, c.hash)
		t.put(b, slot, c.hash, c.body, 0)
		return nil
	case changeRemoved:
		if _, slot := t.find(c.key, c.hash); slot >= 0 {
			t.drop(b, slot)
		}
		return nil
	}
	slot := b.first(uint32(c.hash))
	if slot < 0 || b.next(slot, uint32(c.hash)) >= 0 {
		return errCorrupt
	}
	if c.what == changeExtended {
		t.appendTail(b, slot, c.body)
		return nil
	}
	h, err := peek(b.payment(slot))
	if err != nil {
		return err
	}
	u := unpacker{b: c.body}
	n := newHead{flags: u.byte(), epoch: u.uvarint(), next: u.moment(0)}
	if u.err != nil {
		return u.err
	}
	t.room = append(appendReheaded(t.room[:0], b.payment(slot), &h, n), u.b...)
	t.put(b, slot, c.hash, t.room, slackOf(len(t.room)))
	return nil
}
