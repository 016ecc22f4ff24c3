package checkpoint

import (
	"encoding/binary"
	"fmt"

	"github.com/cespare/xxhash/v2"

	"settlewatch/pipelines/stage"
)

// A frame is its kind, a bucket's index (0 for the others), a length, and so many
// bytes; the numbers are uvarints. Frames run on from chunk to chunk, in any order of
// their kinds.
const (
	frameMeta   = 'm'
	frameBucket = 'b'
	frameDelta  = 'd'
)

// frameMax bounds a frame: the state store takes no larger commit.
const frameMax = 256 << 20

func damaged(why string, args ...any) error {
	return fmt.Errorf("%s: %w", fmt.Sprintf(why, args...), ErrDamaged)
}

// frameHead begins a frame of so many bytes.
func frameHead(kind byte, index, size int) []byte {
	return binary.AppendUvarint(binary.AppendUvarint([]byte{kind}, uint64(index)), uint64(size))
}

// A reading is one checkpoint that is read from the topic, among whatever else lies
// there. Its errors are ErrDamaged, or those of frame.
type reading struct {
	of Manifest
	// frame takes each; its value is there until it returns.
	frame   func(kind byte, index int, value []byte) error
	next    int // chunk
	sum     *xxhash.Digest
	pending []byte // of a frame that goes on in the next chunk
	meta    bool   // was there
}

func newReading(of Manifest, frame func(kind byte, index int, value []byte) error) *reading {
	return &reading{of: of, frame: frame, sum: xxhash.New()}
}

// visit takes the next record of the topic, see Store.read.
func (r *reading) visit(slot int, part string, record *stage.Record) error {
	if slot != r.of.Slot || generationOf(record.Value) != r.of.Generation || part != chunkName(r.next) {
		return nil // another's, or a repeat
	}
	r.next++
	chunk := record.Value[8:]
	_, _ = r.sum.Write(chunk) // never fails
	r.pending = append(r.pending, chunk...)
	rest, err := r.frames(r.pending)
	r.pending = r.pending[:copy(r.pending, rest)]
	return err
}

// frames shows all that are whole, and gives what is left.
func (r *reading) frames(b []byte) (rest []byte, err error) {
	for len(b) > 0 {
		index, n := binary.Uvarint(b[1:])
		if n <= 0 {
			return b, short(n)
		}
		at := 1 + n
		size, n := binary.Uvarint(b[at:])
		if n <= 0 {
			return b, short(n)
		}
		if at += n; size > frameMax || index > 1<<31 {
			return b, damaged("%d bytes for index %d", size, index)
		}
		if uint64(len(b)-at) < size {
			return b, nil // the next chunk has more
		}
		switch b[0] {
		case frameMeta:
			r.meta = true
		case frameBucket, frameDelta:
		default:
			return b, damaged("a frame of kind %q", b[0])
		}
		end := at + int(size)
		if err := r.frame(b[0], int(index), b[at:end:end]); err != nil {
			return b, err
		}
		b = b[end:]
	}
	return nil, nil
}

// short is a number that goes on in the next chunk, or none.
func short(n int) error {
	if n < 0 {
		return damaged("a number of more than 64 bits")
	}
	return nil
}

// end tells whether all was there, with this checksum.
func (r *reading) end(checksum uint64) error {
	switch {
	case r.next != r.of.Chunks:
		return damaged("%d of %d chunks are there", r.next, r.of.Chunks)
	case r.sum.Sum64() != checksum || len(r.pending) > 0 || !r.meta:
		return damaged("its checksum is another")
	}
	return nil
}
