package join

// A pile holds the events of some payments in the order in which they came, in chunks of
// entries (whole_entry.go).
type pile struct {
	last []byte // of the chunks, which is not yet among the full ones
	full [][]byte
}

const (
	pileBits  = 8
	pileCount = 1 << pileBits

	pileChunkFirst = 1 << 10
	pileChunkLast  = 1 << 16
	// pileEntryMost is more than an ordinary entry; a longer one makes its chunk longer.
	pileEntryMost = 1 << 9
)

// add copies the event.
func (p *pile) add(key string, hash uint32, f *pendingFact) {
	if cap(p.last)-len(p.last) < pileEntryMost {
		p.another()
	}
	p.last = appendPiled(p.last, key, hash, f)
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

// An entryPlace is where an entry is, and the next one of its payment.
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
			size := piled(chunk[at:]).size()
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
func (a *apart) join(number int32) {
	e := a.entry(number)
	hash, mask := e.hash(), uint32(len(a.index)-1)
	slot := hash & mask
	for ; a.index[slot] != 0; slot = (slot + 1) & mask {
		p := &a.payments[a.index[slot]-1]
		if p.hash == hash && a.entry(p.first).key() == e.key() {
			a.entries[p.last].next = number
			p.last = number
			p.count++
			p.bytes += len(e)
			return
		}
	}
	a.payments = append(a.payments, together{number, number, hash, 1, len(e)})
	a.index[slot] = int32(len(a.payments))
}

func (a *apart) entry(number int32) piled {
	e := &a.entries[number]
	return a.chunks[e.chunk][e.at : e.at+e.bytes]
}
