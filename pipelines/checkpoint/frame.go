package checkpoint

import (
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"

	"github.com/cespare/xxhash/v2"

	"settlewatch/pipelines/stage"
)

// A frame is its kind, a bucket's index (0 for the others), a length, and so many
// bytes; the numbers are uvarints. Frames run on from chunk to chunk.
const (
	frameMeta   = 'm'
	frameBucket = 'b'
	frameDelta  = 'd'
)

// frameMax bounds a frame: the state store takes no larger commit.
const frameMax = 256 << 20

var errFrame = errors.New("a frame cannot be read")

// writer cuts frames into chunks.
type writer struct {
	ctx        context.Context
	store      *Store
	place      int32
	pace       *Pace
	manifest   *Manifest
	generation [8]byte
	chunk      []byte
	sum        *xxhash.Digest
}

func (w *writer) write(s stage.Stored) error {
	err := w.frame(frameMeta, 0, s.Meta)
	for i := 0; i < len(s.Buckets) && err == nil; i++ {
		err = w.frame(frameBucket, s.Buckets[i].Index, s.Buckets[i].Value)
	}
	for i := 0; i < len(s.Ring) && err == nil; i++ {
		err = w.frame(frameDelta, 0, s.Ring[i])
	}
	if err == nil && len(w.chunk) > 0 {
		err = w.flush()
	}
	return err
}

func (w *writer) frame(kind byte, index int, value []byte) error {
	head := binary.AppendUvarint(binary.AppendUvarint([]byte{kind}, uint64(index)), uint64(len(value)))
	if err := w.add(head); err != nil {
		return err
	}
	return w.add(value)
}

func (w *writer) add(b []byte) error {
	for len(b) > 0 {
		if len(w.chunk) == 0 {
			w.chunk = append(w.chunk, w.generation[:]...)
		}
		n := min(len(b), chunkBytes-len(w.chunk))
		w.chunk, b = append(w.chunk, b[:n]...), b[n:]
		if len(w.chunk) == chunkBytes {
			if err := w.flush(); err != nil {
				return err
			}
		}
	}
	return nil
}

func (w *writer) flush() error {
	m := w.manifest
	if err := w.store.append(w.ctx, w.place, stage.Record{Key: chunkKey(m.Partition, m.Slot, m.Chunks), Value: w.chunk}); err != nil {
		return err
	}
	_, _ = w.sum.Write(w.chunk[8:]) // never fails
	m.Chunks++
	m.Bytes += int64(len(w.chunk) - 8)
	w.chunk = w.chunk[:0]
	return w.pace.Rest(w.ctx)
}

// last are the records that end a checkpoint: what a longer one before it has left
// in the slot goes, and then the manifest says that it is whole.
func (w *writer) last(before []Manifest) ([]stage.Record, error) {
	m := w.manifest
	m.Checksum = w.sum.Sum64()
	value, err := json.Marshal(m)
	if err != nil {
		return nil, fmt.Errorf("encode manifest: %w", err)
	}
	var records []stage.Record
	for _, b := range before {
		for chunk := m.Chunks; b.Slot == m.Slot && chunk < b.Chunks; chunk++ {
			records = append(records, stage.Record{Key: chunkKey(m.Partition, m.Slot, chunk)})
		}
	}
	return append(records, stage.Record{Key: manifestKey(m.Partition, m.Slot), Value: value}), nil
}

// decoder puts frames together again.
type decoder struct {
	stored  stage.Stored
	pending []byte
}

// add takes the next chunk. What is kept is copied.
func (d *decoder) add(chunk []byte) error {
	d.pending = append(d.pending, chunk...)
	for len(d.pending) > 0 {
		b := d.pending[1:]
		index, n := binary.Uvarint(b)
		if n <= 0 {
			return d.short(n)
		}
		b = b[n:]
		size, n := binary.Uvarint(b)
		if n <= 0 {
			return d.short(n)
		}
		if b = b[n:]; size > frameMax || index > 1<<31 {
			return fmt.Errorf("%w: %d bytes for index %d", errFrame, size, index)
		}
		if uint64(len(b)) < size {
			return nil // the next chunk has more
		}
		value := append(make([]byte, 0, size), b[:size]...)
		switch d.pending[0] {
		case frameMeta:
			d.stored.Meta = value
		case frameBucket:
			d.stored.Buckets = append(d.stored.Buckets, stage.Bucket{Index: int(index), Value: value})
		case frameDelta:
			d.stored.Ring = append(d.stored.Ring, value)
		default:
			return fmt.Errorf("%w: kind %q", errFrame, d.pending[0])
		}
		d.pending = b[size:]
	}
	d.pending = nil
	return nil
}

// short is a number that goes on in the next chunk, or none.
func (d *decoder) short(n int) error {
	if n < 0 {
		return fmt.Errorf("%w: a number of more than 64 bits", errFrame)
	}
	return nil
}

func (d *decoder) done() bool { return len(d.pending) == 0 && d.stored.Meta != nil }
