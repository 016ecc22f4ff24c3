package checkpoint

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/cespare/xxhash/v2"

	"settlewatch/pipelines/stage"
	"settlewatch/schemas/topic"
)

// Save writes a checkpoint of a state that is in memory, in the slot that does not hold
// the newest one.
func (s *Store) Save(ctx context.Context, partition int32, stored stage.Stored) (Manifest, error) {
	if stored.Meta == nil {
		return Manifest{}, errors.New("save checkpoint: nothing is stored")
	}
	w, err := s.write(ctx, partition, nil)
	if err == nil {
		err = w.Begin(stored.Offset)
	}
	for _, b := range inOrder(stored.Buckets) {
		if err != nil {
			break
		}
		err = w.Bucket(b)
	}
	if err != nil {
		return Manifest{}, err
	}
	return w.finish(stored, time.Now().UnixMilli())
}

// A writer makes one checkpoint: Begin, its buckets, finish. Nothing stands before
// finish has said so.
type writer struct {
	ctx        context.Context
	store      *Store
	place      int32
	pace       *Pace
	view       view       // of the topic before it
	before     []Manifest // the newest first
	manifest   Manifest
	generation [8]byte
	chunk      []byte
	sum        *xxhash.Digest
}

var _ stage.Sink = (*writer)(nil)

// write gets ready for a partition's next checkpoint.
func (s *Store) write(ctx context.Context, partition int32, pace *Pace) (*writer, error) {
	before, err := s.manifests(ctx, partition, pace)
	if err != nil {
		return nil, err
	}
	place, err := s.place(ctx, partition)
	if err != nil {
		return nil, err
	}
	w := &writer{
		ctx: ctx, store: s, place: place, pace: pace, view: s.seen(partition), before: before, sum: xxhash.New(),
		manifest: Manifest{Format: format, Log: topic.PaymentLog.Name, Partition: partition},
	}
	if len(before) > 0 {
		w.manifest.Slot = (before[0].Slot + 1) % slots
	}
	_, _ = rand.Read(w.generation[:]) // never fails
	w.manifest.Generation = generationOf(w.generation[:])
	return w, nil
}

func (w *writer) fails(verb string, err error) error {
	return fmt.Errorf("%s checkpoint of partition %d: %w", verb, w.manifest.Partition, err)
}

// Begin refuses with ErrNewer or ErrSame.
func (w *writer) Begin(offset int64) error {
	if len(w.before) == 0 {
		return nil
	}
	switch newest := w.before[0].Offset; {
	case newest > offset:
		return w.fails("save", fmt.Errorf("at offset %d: %w, at offset %d", offset, ErrNewer, newest))
	case newest == offset:
		return w.fails("save", fmt.Errorf("at offset %d: %w", offset, ErrSame))
	}
	return nil
}

// Bucket writes the next.
func (w *writer) Bucket(b stage.Bucket) error {
	if err := w.frame(frameBucket, b.Index, b.Value); err != nil {
		return w.fails("write", err)
	}
	return nil
}

// finish writes all of a state but its buckets, which were written before, proves what
// lies in the topic, and says that it is whole.
func (w *writer) finish(s stage.Stored, nowMs int64) (Manifest, error) {
	m := &w.manifest
	m.Offset, m.Sequence, m.RingFirst, m.TimeMs = s.Offset, s.Sequence, s.RingFirst, nowMs
	if err := w.end(s); err != nil {
		return Manifest{}, w.fails("write", err)
	}
	if err := w.prove(s); err != nil {
		return Manifest{}, w.fails("save", fmt.Errorf("at offset %d: %w", s.Offset, err))
	}
	last, err := w.last()
	if err == nil {
		err = w.store.append(w.ctx, w.place, last...)
	}
	if err != nil {
		return Manifest{}, w.fails("finish", err)
	}
	return *m, nil
}

// end writes what is not a bucket.
func (w *writer) end(s stage.Stored) error {
	err := w.frame(frameMeta, 0, s.Meta)
	for i := 0; i < len(s.Ring) && err == nil; i++ {
		err = w.frame(frameDelta, 0, s.Ring[i])
	}
	if err == nil && len(w.chunk) > 0 {
		err = w.flush()
	}
	w.manifest.Checksum = w.sum.Sum64()
	return err
}

// prove reads what was written, and asks Check. Whoever looks for checkpoints next goes
// on behind it.
func (w *writer) prove(s stage.Stored) error {
	if w.store.Check == nil {
		return nil
	}
	s.Buckets = nil
	seen := w.view
	var unread error
	err := w.store.Check(w.ctx, s, func(yield func(stage.Bucket, error) bool) {
		r := newReading(w.manifest, func(kind byte, index int, value []byte) error {
			if kind == frameBucket && !yield(stage.Bucket{Index: index, Value: value}, nil) {
				return errEnough
			}
			return nil
		})
		end, err := w.store.read(w.ctx, w.manifest.Partition, seen.next, -1, w.pace, func(slot int, part string, record *stage.Record) error {
			if err := seen.note(slot, part, record); err != nil {
				return err
			}
			return r.visit(slot, part, record)
		})
		if err == nil {
			err = r.end(w.manifest.Checksum)
		}
		switch {
		case err == nil:
			seen.next = end
			w.store.see(w.manifest.Partition, seen)
		case !errors.Is(err, errEnough):
			unread = err
			yield(stage.Bucket{}, err)
		}
	}, w.pace)
	if err != nil && unread == nil && w.ctx.Err() == nil {
		return fmt.Errorf("%w: %w", ErrUnloadable, err)
	}
	return err
}

// errEnough is said by who reads no further.
var errEnough = errors.New("enough is read")

func (w *writer) frame(kind byte, index int, value []byte) error {
	if err := w.add(frameHead(kind, index, len(value))); err != nil {
		return err
	}
	return w.add(value)
}

// add cuts frames into chunks.
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
	m := &w.manifest
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
func (w *writer) last() ([]stage.Record, error) {
	m := &w.manifest
	value, err := json.Marshal(m)
	if err != nil {
		return nil, fmt.Errorf("encode manifest: %w", err)
	}
	var records []stage.Record
	for _, b := range w.before {
		for chunk := m.Chunks; b.Slot == m.Slot && chunk < b.Chunks; chunk++ {
			records = append(records, stage.Record{Key: chunkKey(m.Partition, m.Slot, chunk)})
		}
	}
	return append(records, stage.Record{Key: manifestKey(m.Partition, m.Slot), Value: value}), nil
}
