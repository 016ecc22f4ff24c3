package join

// LookAhead is how many records at most it is of use to be told of at once: what is
// read for them must still be in the processor's cache when they are folded.
const LookAhead = 64

// lineBytes is what a processor reads from memory at a time.
const lineBytes = 64

// ahead are the payments of records that are folded, or of timers that are due, next.
type ahead struct {
	hashes []uint64
	read   uint32 // what was read, or the compiler would leave the reading out
}

// Ahead reads where the payments of the next records lie; keys are those of the records,
// which need not be payments'. It changes nothing: a payment is three reads, one behind
// the other, from memory that is in no cache, and for many payments at once they go side
// by side.
func (s *State) Ahead(keys [][]byte) { s.payments.lookAhead(keys) }

func (t *table) lookAhead(keys [][]byte) {
	a := &t.ahead
	a.hashes = a.hashes[:0]
	for _, key := range keys {
		a.hashes = append(a.hashes, hashBytes(key))
	}
	t.touch(a)
}

// lookAheadDue does so for the payments of the timers that come next.
func (t *table) lookAheadDue(next []timer) {
	a := &t.ahead
	a.hashes = a.hashes[:0]
	for i := range next {
		a.hashes = append(a.hashes, next[i].hash)
	}
	t.touch(a)
}

func (t *table) touch(a *ahead) {
	for _, hash := range a.hashes {
		a.read += t.bucket(hash).peekIndex(uint32(hash))
	}
	for _, hash := range a.hashes {
		a.read += t.bucket(hash).peekEntry(uint32(hash))
	}
}

func (b *bucket) peekIndex(hash uint32) uint32 {
	if len(b.index) == 0 {
		return 0
	}
	return b.index[b.home(hash)]
}

// peekEntry reads the first entry that may be the payment's, each line of the processor's
// cache that an open one takes, or the end of the array, where it would begin. It does not compare
// the entry, as probe does: that would wait for each of them.
func (b *bucket) peekEntry(hash uint32) uint32 {
	if len(b.array) == 0 {
		return 0
	}
	for slot := b.home(hash); slot < len(b.index) && b.index[slot] != 0; slot++ {
		if v := b.index[slot]; v&^offsetMask == tagOf(hash) && v&offsetMask != tombstone {
			at, last := int(v&offsetMask-1), len(b.array)-1
			return uint32(b.array[at]) + uint32(b.array[min(at+lineBytes, last)]) + uint32(b.array[min(at+2*lineBytes, last)])
		}
	}
	return uint32(b.array[len(b.array)-1])
}
