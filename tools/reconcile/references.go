package reconcile

import (
	"encoding/binary"

	"settlewatch/schemas/event"
)

// references are what a file's records call themselves, which the join does not keep and
// a report wants of a few. They are packed, because there is one for every event, and read
// once at the end. An entry is the line as a difference to the entry before, index, length
// and text.
type references struct {
	chunks [][]byte
	line   int64 // of the last entry
}

const (
	referenceChunk = 1 << 16
	// referenceMost is more than an entry takes beside its text.
	referenceMost = 3 * binary.MaxVarintLen64
)

func (r *references) add(where place, reference string) {
	if reference == "" {
		return
	}
	need, last := len(reference)+referenceMost, len(r.chunks)-1
	if last < 0 || cap(r.chunks[last])-len(r.chunks[last]) < need {
		r.chunks = append(r.chunks, make([]byte, 0, max(referenceChunk, need)))
		last++
	}
	b := binary.AppendVarint(r.chunks[last], where.line-r.line)
	b = binary.AppendUvarint(b, uint64(where.index))
	b = binary.AppendUvarint(b, uint64(len(reference)))
	r.chunks[last], r.line = append(b, reference...), where.line
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

// look finds the references of the wanted places of the file, few of very many.
func (r *references) look(file int32, wanted map[at]string) {
	var lines [1 << 16]bool // that are wanted of some file, by their last bits
	for w := range wanted {
		lines[uint16(w.line)] = true
	}
	where := at{file: file}
	for _, b := range r.chunks {
		for len(b) > 0 {
			line, n := binary.Varint(b)
			index, m := binary.Uvarint(b[n:])
			size, k := binary.Uvarint(b[n+m:])
			b = b[n+m+k:]
			where.line += line
			where.index = uint32(index)
			if lines[uint16(where.line)] {
				if _, is := wanted[where]; is {
					wanted[where] = string(b[:size])
				}
			}
			b = b[size:]
		}
	}
}

// at is a place in one of the files.
type at struct {
	file int32
	place
}
