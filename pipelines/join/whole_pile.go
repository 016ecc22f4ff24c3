package join

import (
	"encoding/binary"

	"settlewatch/schemas/event"
)

// A pile holds the events of some payments in the order in which they came, in chunks.
// An entry is
//
//	header   4 bytes, little endian: length of what follows it
//	         4 bytes: the low half of the key's hash
//	key      text
//	currency
//	event    packed as a pending fact whose template has nothing but that currency
type pile struct {
	last []byte // of the chunks, which is not yet among the full ones
	full [][]byte
}

const (
	pileBits  = 8
	pileCount = 1 << pileBits

	pileHeaderBytes = 8
	pileChunkFirst  = 1 << 10
	pileChunkLast   = 1 << 16
	// pileEntryMost is more than an ordinary entry; a longer one makes its chunk longer.
	pileEntryMost = 1 << 9
)

// add copies the event.
func (p *pile) add(key string, hash uint32, f *pendingFact) {
	if cap(p.last)-len(p.last) < pileEntryMost {
		p.another()
	}
	t := template{currency: f.currency}
	at := len(p.last)
	b := appendText(append(p.last, 0, 0, 0, 0, 0, 0, 0, 0), key)
	b = appendCurrency(b, t.currency)
	b = appendPending(b, f, &t)
	binary.LittleEndian.PutUint32(b[at:], uint32(len(b)-at-pileHeaderBytes))
	binary.LittleEndian.PutUint32(b[at+4:], hash)
	p.last = b
}

// another begins a chunk.
func (p *pile) another() {
	size := pileChunkFirst
	if p.last != nil {
		p.full = append(p.full, p.last)
		size = min(pileChunkLast, 2*cap(p.last))
	}
	p.last = make([]byte, 0, size)
}

// apart is a pile taken apart into payments. Its memory is used again for the next.
type apart struct {
	chunks   [][]byte
	entries  []entryPlace
	payments []together
	index    []int32 // open addressing by hash: 1 + the number of a payment
}

// An entryPlace is where an entry begins behind its header, and the next one of its payment.
type entryPlace struct {
	chunk, at, bytes uint32
	next             int32 // none: it is the last
}

const none = -1

// together are the entries of one payment, in the order of the pile.
type together struct {
	first, last int32
	hash        uint32
	count       int
	bytes       int
}

// take takes a pile apart.
func (a *apart) take(p *pile) {
	a.chunks, a.entries, a.payments = append(p.full, p.last), a.entries[:0], a.payments[:0]
	for c, chunk := range a.chunks {
		for at := 0; at < len(chunk); {
			size := binary.LittleEndian.Uint32(chunk[at:])
			at += pileHeaderBytes
			a.entries = append(a.entries, entryPlace{uint32(c), uint32(at), size, none})
			at += int(size)
		}
	}
	size := 1
	for size < 2*len(a.entries) {
		size *= 2
	}
	if size > len(a.index) {
		a.index = make([]int32, size)
	} else {
		clear(a.index)
	}
	for i := range a.entries {
		a.join(int32(i))
	}
}

// join puts an entry behind those of its payment.
func (a *apart) join(entry int32) {
	e := &a.entries[entry]
	hash := binary.LittleEndian.Uint32(a.chunks[e.chunk][e.at-4:])
	mask := uint32(len(a.index) - 1)
	slot := hash & mask
	for ; a.index[slot] != 0; slot = (slot + 1) & mask {
		p := &a.payments[a.index[slot]-1]
		if p.hash == hash && a.key(p.first) == a.key(entry) {
			a.entries[p.last].next = entry
			p.last = entry
			p.count++
			p.bytes += int(e.bytes)
			return
		}
	}
	a.payments = append(a.payments, together{entry, entry, hash, 1, int(e.bytes)})
	a.index[slot] = int32(len(a.payments))
}

func (a *apart) body(entry int32) []byte {
	e := &a.entries[entry]
	return a.chunks[e.chunk][e.at : e.at+e.bytes]
}

// key of an entry, a part of the pile.
func (a *apart) key(entry int32) event.PaymentKey {
	u := unpacker{b: a.body(entry)}
	return event.PaymentKey(u.text())
}

// read unpacks an entry; its texts are parts of the pile, and of names.
func (a *apart) read(entry int32, f *pendingFact, names *[]byte) bool {
	u := unpacker{b: a.body(entry), names: names}
	u.text()
	t := template{currency: u.currency()}
	u.pending(f, &t)
	return u.err == nil && len(u.b) == 0
}
