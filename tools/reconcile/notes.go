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
	references []byte // entries: file, line, index, length, text
	lines      []noted
	currencies []string
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
		n.references = binary.AppendUvarint(n.references, uint64(it.file))
		n.references = binary.AppendUvarint(n.references, uint64(it.line))
		n.references = binary.AppendUvarint(n.references, uint64(it.index))
		n.references = binary.AppendUvarint(n.references, uint64(len(reference)))
		n.references = append(n.references, reference...)
	}
	if it.event.Kind != event.Kind_KIND_SETTLEMENT {
		return
	}
	id, _ := event.IDFromBytes(it.event.Id) // intake always makes 16 bytes
	n.lines = append(n.lines, noted{
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

// look finds the references of the wanted places.
func (n *notes) look(wanted map[at]string) {
	b := n.references
	next := func() uint64 {
		v, size := binary.Uvarint(b)
		b = b[size:]
		return v
	}
	for len(b) > 0 {
		where := at{file: int32(next()), place: place{line: int64(next()), index: uint32(next())}}
		size := next()
		if _, is := wanted[where]; is {
			wanted[where] = string(b[:size])
		}
		b = b[size:]
	}
}
