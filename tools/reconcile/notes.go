package reconcile

import (
	"encoding/binary"

	"github.com/cespare/xxhash/v2"

	"settlewatch/schemas/event"
)

// notes are what the join does not keep and a report wants: the records' own
// references, and where the settlement lines stand. They are packed, because
// there is one for every event, and read once at the end.
type notes struct {
	references chunks[byte] // entries: file, line, index, length, text
	lines      chunks[noted]
	currencies []string
	entry      []byte // the next reference
}

// chunks are a list that grows without being copied.
type chunks[E any] [][]E

// chunkSize is the length of a chunk, unless one addition is longer.
const chunkSize = 1 << 13

// add appends elements, all to one chunk.
func (c *chunks[E]) add(elements ...E) {
	last := len(*c) - 1
	if last < 0 || cap((*c)[last])-len((*c)[last]) < len(elements) {
		*c = append(*c, make([]E, 0, max(chunkSize, len(elements))))
		last++
	}
	(*c)[last] = append((*c)[last], elements...)
}

// noted is one settlement line.
type noted struct {
	payment  uint64 // hash of the payment key
	id       event.ID
	file     int32
	currency int32
	amount   int64 // minor units
	place
}

func (n *notes) add(it *item) {
	if reference := referenceOf(it.event); reference != "" {
		n.entry = binary.AppendUvarint(n.entry[:0], uint64(it.file))
		n.entry = binary.AppendUvarint(n.entry, uint64(it.line))
		n.entry = binary.AppendUvarint(n.entry, uint64(it.index))
		n.entry = binary.AppendUvarint(n.entry, uint64(len(reference)))
		n.entry = append(n.entry, reference...)
		n.references.add(n.entry...)
	}
	if it.event.Kind != event.Kind_KIND_SETTLEMENT {
		return
	}
	id, _ := event.IDFromBytes(it.event.Id) // intake always makes 16 bytes
	n.lines.add(noted{
		payment: xxhash.Sum64String(it.event.PaymentKey), id: id, file: it.file, place: it.place,
		amount: it.event.GetAmounts().GetTransactionMinor(), currency: n.currency(it.event.GetAmounts().GetCurrency()),
	})
}

// currency numbers the codes: they would else keep each event's text in memory.
func (n *notes) currency(code string) int32 {
	for i, c := range n.currencies {
		if c == code {
			return int32(i)
		}
	}
	n.currencies = append(n.currencies, string([]byte(code)))
	return int32(len(n.currencies) - 1)
}

// referenceOf is what the record's own side calls it: the line's or the capture's
// id, else the order, else the retrieval reference, else the first there is.
func referenceOf(e *event.Event) string {
	if id := e.GetLine().GetLineId(); id != "" {
		return id
	}
	if id := e.GetCapture().GetId(); id != "" && e.Kind == event.Kind_KIND_CAPTURE {
		return id
	}
	first := ""
	for _, kind := range [...]string{"order", "rrn", ""} {
		for _, r := range e.References {
			if r.Type == kind {
				return r.Value
			}
			if first == "" {
				first = r.Value
			}
		}
	}
	return first
}

// at is a place in one of the files.
type at struct {
	file int32
	place
}

// look finds the references of the wanted places, few of very many.
func (n *notes) look(wanted map[at]string) {
	var lines [1 << 16]bool // that are wanted of some file, by their last bits
	for w := range wanted {
		lines[uint16(w.line)] = true
	}
	for _, b := range n.references {
		next := func() uint64 {
			v, size := binary.Uvarint(b)
			b = b[size:]
			return v
		}
		for len(b) > 0 {
			where := at{file: int32(next()), place: place{line: int64(next()), index: uint32(next())}}
			size := next()
			if lines[uint16(where.line)] {
				if _, is := wanted[where]; is {
					wanted[where] = string(b[:size])
				}
			}
			b = b[size:]
		}
	}
}
