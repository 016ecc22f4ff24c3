package join

import (
	"encoding/binary"

	"settlewatch/schemas/event"
)

// piles hold a log's events while nothing of it can be judged, in the parts of the table
// that their payments will lie in. A part fits into the processor's cache, the table does
// not: filed pile by pile, an event finds its payment there, and not in memory.
//
// An event lies in its pile as the packed payment that it would begin. Those of one
// payment stay in their order.
type piles struct {
	chunks [pileCount][][]byte
	entry  []byte // the next one
}

const (
	pileBits  = 8
	pileCount = 1 << pileBits

	pileChunkFirst = 1 << 10
	pileChunkLast  = 1 << 16
)

// add copies the event.
func (p *piles) add(key event.PaymentKey, f *pendingFact) {
	t := templateOf(f)
	p.entry = appendHead(p.entry[:0], 0, key, 0, 0, &t)
	p.entry = appendPending(p.entry, f, &t)
	pile := &p.chunks[hashKey(key)>>(64-pileBits)]
	last, need := len(*pile)-1, binary.MaxVarintLen64+len(p.entry)
	if last < 0 || cap((*pile)[last])-len((*pile)[last]) < need {
		size := pileChunkFirst
		if last >= 0 {
			size = min(pileChunkLast, 2*cap((*pile)[last]))
		}
		*pile = append(*pile, make([]byte, 0, max(size, need)))
		last++
	}
	chunk := &(*pile)[last]
	*chunk = append(binary.AppendUvarint(*chunk, uint64(len(p.entry))), p.entry...)
}

// begin files what waits, and sets the timers of what the payments have become by it.
func (s *State) begin() error {
	if !s.unmarked {
		return nil
	}
	for i := range s.piles.chunks {
		for _, chunk := range s.piles.chunks[i] {
			if err := s.filePile(chunk); err != nil {
				return err
			}
		}
		s.piles.chunks[i] = nil
	}
	s.unmarked = false
	return s.setTimers()
}

func (s *State) filePile(chunk []byte) error {
	h := &s.judge.history
	for len(chunk) > 0 {
		n, size := binary.Uvarint(chunk)
		chunk = chunk[size:]
		if err := h.unpack(chunk[:n]); err != nil {
			return err
		}
		if err := s.file(h.key, &h.pending[0]); err != nil {
			return err
		}
		chunk = chunk[n:]
	}
	return nil
}
