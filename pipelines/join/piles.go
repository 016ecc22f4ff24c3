package join

import (
	"slices"

	"settlewatch/schemas/event"
)

// piles hold a log's events while nothing of it can be judged, in the parts of the table
// that their payments will lie in. A part fits into the processor's cache, the table does
// not: filed pile by pile, an event finds its payment there, and not in memory.
//
// An entry is the payment's key, the currency, and the event packed as a pending fact
// whose template has nothing but that currency. Those of one payment stay in their order.
type piles struct {
	chunks [pileCount][][]byte
	names  []byte // see hexName
}

const (
	pileBits  = 8
	pileCount = 1 << pileBits
	// bucketsOfPile are the table's that a pile belongs into.
	bucketsOfPile = bucketCount / pileCount

	pileChunkFirst = 1 << 10
	pileChunkLast  = 1 << 16
	// pileEntryMost is more than an ordinary entry; a longer one makes its chunk longer.
	pileEntryMost = 1 << 9
)

// add copies the event.
func (p *piles) add(key event.PaymentKey, f *pendingFact) {
	pile := &p.chunks[hashKey(key)>>(64-pileBits)]
	last := len(*pile) - 1
	if last < 0 || cap((*pile)[last])-len((*pile)[last]) < pileEntryMost {
		size := pileChunkFirst
		if last >= 0 {
			size = min(pileChunkLast, 2*cap((*pile)[last]))
		}
		*pile = append(*pile, make([]byte, 0, size))
		last++
	}
	t := template{currency: f.currency}
	b := appendText((*pile)[last], string(key))
	b = appendCurrency(b, t.currency)
	(*pile)[last] = appendPending(b, f, &t)
}

// FileWaiting files the events that a state begun by NewLateSnapshots has let wait, and
// sets the timers of what their payments have become. The first mark does it too; who
// calls it before may end it: after each of some hundred parts, filed is called. After
// an error the state is of no use.
func (s *State) FileWaiting(filed func() error) error {
	if !s.unmarked {
		return nil
	}
	for i, pile := range s.piles.chunks {
		s.payments.expect(i, pile)
		for _, chunk := range pile {
			if err := s.filePile(chunk); err != nil {
				return err
			}
		}
		s.piles.chunks[i] = nil
		if err := filed(); err != nil {
			return err
		}
	}
	s.unmarked = false
	return s.setTimers()
}

// expect makes room for a pile, which becomes a little smaller when it is filed.
func (t *table) expect(i int, pile [][]byte) {
	size := 0
	for _, chunk := range pile {
		size += len(chunk)
	}
	for n := range bucketsOfPile {
		b := &t.buckets[i*bucketsOfPile+n]
		b.array = slices.Grow(b.array, (size-size/8)/bucketsOfPile)
	}
}

func neverEnds() error { return nil }

func (s *State) filePile(chunk []byte) error {
	f := &s.incoming
	for u := (unpacker{b: chunk, names: &s.piles.names}); len(u.b) > 0; {
		*u.names = (*u.names)[:0]
		key := event.PaymentKey(u.text())
		t := template{currency: u.currency()}
		u.pending(f, &t)
		if u.err != nil {
			return corrupt(key)
		}
		if err := s.file(key, f); err != nil {
			return err
		}
	}
	return nil
}
