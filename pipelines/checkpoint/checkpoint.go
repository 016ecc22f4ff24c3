// Package checkpoint keeps whole states of log partitions outside of Redis, in a
// compacted topic: with one, a lost Redis comes back without the beginning of the
// payment log, so that the log's retention can be bounded.
//
// What enters is a state as the state store holds it, all that a commit holds, at one
// offset of the log. What leaves is the newest complete one. Guaranteed: a checkpoint
// is taken for complete only if every byte of it is there; writing one never touches
// the newest one before it; an older state never takes a newer one's place.
//
// # Layout
//
// All checkpoints of a log partition lie in one partition of the topic, in two slots
// that are written in turn:
//
//	payment-log.v1/3/0/00000017    chunk 17 in slot 0: generation (8 bytes), then up to chunkBytes
//	payment-log.v1/3/0/manifest    JSON, written last: offset, count, checksum, generation
//
// A generation is a number drawn for one checkpoint, so that chunks of two never mix. The
// chunks together are frames (frame.go): meta, buckets, deltas of the ring.
package checkpoint

import (
	"context"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/cespare/xxhash/v2"

	"settlewatch/pipelines/stage"
	"settlewatch/schemas/topic"
)

const (
	// chunkBytes of a state go into one record: well below Kafka's 1 MiB.
	chunkBytes = 512 << 10
	// slots are written in turn.
	slots = 2
	// format counts the versions of the stored form.
	format = 1

	fetchWait = time.Second
)

// ErrDamaged is a checkpoint whose parts are not all there, or not as they were
// written: its slot was being written again, or the topic lost records.
var ErrDamaged = errors.New("the checkpoint is not whole")

// ErrNewer says that a checkpoint of a later offset is there already.
var ErrNewer = errors.New("a newer checkpoint is there")

// ErrNewerFormat is a checkpoint that a newer release wrote.
var ErrNewerFormat = errors.New("the checkpoint is of a newer format")

// Manifest describes one checkpoint.
type Manifest struct {
	Format    int    `json:"format"`
	Log       string `json:"log"`
	Partition int32  `json:"partition"`
	Slot      int    `json:"slot"`
	// Generation of its chunks, 16 hexadecimal digits.
	Generation string `json:"generation"`
	// Offset of the log: the next record to fold.
	Offset    int64  `json:"offset"`
	Sequence  uint64 `json:"sequence"`
	RingFirst uint64 `json:"ring_first"`
	Chunks    int    `json:"chunks"`
	Bytes     int64  `json:"bytes"`
	// TimeMs is when it was made, Unix milliseconds, for people and for Keeper.
	TimeMs   int64  `json:"time_ms"`
	Checksum uint64 `json:"checksum"` // xxhash64 over all bytes

	// first and at are the offsets of the first chunk and of the manifest itself in
	// the topic.
	first, at int64
}

// Store is the topic. It is safe for concurrent use for different partitions.
type Store struct {
	Log stage.Log
	// Check, if set, is asked before a state becomes a checkpoint: what does not
	// load must not take the place of what does.
	Check func(context.Context, stage.Stored, *Pace) error

	mu    sync.Mutex
	views map[int32]view
}

var _ stage.Checkpoints = (*Store)(nil)

// place is the partition of the topic that holds a log partition's checkpoints.
func (s *Store) place(ctx context.Context, partition int32) (int32, error) {
	n, err := s.Log.Partitions(ctx, topic.Checkpoints.Name)
	if err != nil {
		return 0, fmt.Errorf("partitions of %s: %w", topic.Checkpoints.Name, err)
	}
	return partition % int32(n), nil
}

func prefix(partition int32) string { return fmt.Sprintf("%s/%d/", topic.PaymentLog.Name, partition) }

func manifestKey(partition int32, slot int) []byte {
	return fmt.Appendf(nil, "%s%d/manifest", prefix(partition), slot)
}

func chunkKey(partition int32, slot, chunk int) []byte {
	return fmt.Appendf(nil, "%s%d/%08d", prefix(partition), slot, chunk)
}

// Latest is the complete checkpoint with the highest offset; false where none is
// complete. One of a newer format is an error: what it holds must not be passed over.
func (s *Store) Latest(ctx context.Context, partition int32) (stage.Stored, bool, error) {
	manifests, err := s.Manifests(ctx, partition)
	if err != nil {
		return stage.Stored{}, false, err
	}
	for _, m := range manifests {
		stored, err := s.Load(ctx, m)
		switch {
		case errors.Is(err, ErrDamaged):
		case err != nil:
			return stage.Stored{}, false, err
		default:
			return stored, true, nil
		}
	}
	return stage.Stored{}, false, nil
}

// Manifests that stand, the highest offset first. Whether their chunks are whole
// only Load tells.
func (s *Store) Manifests(ctx context.Context, partition int32) ([]Manifest, error) {
	return s.manifests(ctx, partition, nil)
}

func (s *Store) manifests(ctx context.Context, partition int32, pace *Pace) ([]Manifest, error) {
	v := s.seen(partition)
	from := v.next
	end, err := s.read(ctx, partition, from, -1, pace, v.note)
	if err == nil && end < from { // the topic was made anew
		v = newView()
		end, err = s.read(ctx, partition, 0, -1, pace, v.note)
	}
	if err != nil {
		return nil, fmt.Errorf("look for checkpoints of partition %d: %w", partition, err)
	}
	v.next = end
	s.see(partition, v)
	return v.manifests(), nil
}

func generationOf(chunk []byte) string {
	if len(chunk) < 8 {
		return ""
	}
	return fmt.Sprintf("%016x", binary.BigEndian.Uint64(chunk))
}

// Load reads a checkpoint: ErrDamaged where it is not whole.
func (s *Store) Load(ctx context.Context, m Manifest) (stage.Stored, error) {
	if m.Format > format {
		return stage.Stored{}, fmt.Errorf("format %d, this release has %d: %w", m.Format, format, ErrNewerFormat)
	}
	damaged := func(why string, args ...any) (stage.Stored, error) {
		return stage.Stored{}, fmt.Errorf("checkpoint of partition %d at offset %d: %s: %w", m.Partition, m.Offset, fmt.Sprintf(why, args...), ErrDamaged)
	}
	var d decoder
	sum, next := xxhash.New(), 0
	_, err := s.read(ctx, m.Partition, m.first, m.at, nil, func(slot int, part string, r *stage.Record) error {
		if slot != m.Slot || generationOf(r.Value) != m.Generation || part != fmt.Sprintf("%08d", next) {
			return nil // another's, or a repeat
		}
		next++
		_, _ = sum.Write(r.Value[8:]) // never fails
		return d.add(r.Value[8:])
	})
	switch {
	case errors.Is(err, errFrame):
		return damaged("%v", err)
	case err != nil:
		return stage.Stored{}, fmt.Errorf("read checkpoint of partition %d: %w", m.Partition, err)
	case next != m.Chunks:
		return damaged("%d of %d chunks are there", next, m.Chunks)
	case sum.Sum64() != m.Checksum || !d.done():
		return damaged("its checksum is another")
	}
	stored := d.stored
	stored.Sequence, stored.Offset, stored.RingFirst = m.Sequence, m.Offset, m.RingFirst
	return stored, nil
}

// Save writes a checkpoint in the slot that does not hold the newest one.
func (s *Store) Save(ctx context.Context, partition int32, stored stage.Stored) (Manifest, error) {
	return s.save(ctx, partition, stored, time.Now().UnixMilli(), nil)
}

func (s *Store) save(ctx context.Context, partition int32, stored stage.Stored, nowMs int64, pace *Pace) (Manifest, error) {
	if stored.Meta == nil {
		return Manifest{}, errors.New("save checkpoint: nothing is stored")
	}
	if s.Check != nil {
		if err := s.Check(ctx, stored, pace); err != nil {
			return Manifest{}, fmt.Errorf("save checkpoint of partition %d at offset %d: %w", partition, stored.Offset, err)
		}
	}
	before, err := s.manifests(ctx, partition, pace)
	if err != nil {
		return Manifest{}, err
	}
	m := Manifest{
		Format: format, Log: topic.PaymentLog.Name, Partition: partition,
		Offset: stored.Offset, Sequence: stored.Sequence, RingFirst: stored.RingFirst, TimeMs: nowMs,
	}
	if len(before) > 0 {
		if before[0].Offset > stored.Offset {
			return Manifest{}, fmt.Errorf("save checkpoint of partition %d at offset %d: %w, at offset %d", partition, stored.Offset, ErrNewer, before[0].Offset)
		}
		m.Slot = (before[0].Slot + 1) % slots
	}
	var generation [8]byte
	_, _ = rand.Read(generation[:]) // never fails
	m.Generation = generationOf(generation[:])
	place, err := s.place(ctx, partition)
	if err != nil {
		return Manifest{}, err
	}
	w := &writer{ctx: ctx, store: s, place: place, pace: pace, manifest: &m, generation: generation, sum: xxhash.New()}
	if err := w.write(stored); err != nil {
		return Manifest{}, fmt.Errorf("write checkpoint of partition %d: %w", partition, err)
	}
	last, err := w.last(before)
	if err == nil {
		err = s.append(ctx, place, last...)
	}
	if err != nil {
		return Manifest{}, fmt.Errorf("finish checkpoint of partition %d: %w", partition, err)
	}
	return m, nil
}

// Discard removes the checkpoints of a partition: a rebuild from the log itself
// must not begin with one.
func (s *Store) Discard(ctx context.Context, partition int32) error {
	place, err := s.place(ctx, partition)
	if err != nil {
		return err
	}
	var gone []stage.Record
	for slot := range slots {
		gone = append(gone, stage.Record{Key: manifestKey(partition, slot)})
	}
	if err := s.append(ctx, place, gone...); err != nil {
		return fmt.Errorf("discard the checkpoints of partition %d: %w", partition, err)
	}
	return nil
}

func (s *Store) append(ctx context.Context, place int32, records ...stage.Record) error {
	now := time.Now().UnixMilli() // for people, and for the broker's compaction
	for i := range records {
		records[i].TimeMs = now
	}
	return s.Log.Append(ctx, stage.Outgoing{Topic: topic.Checkpoints.Name, Partition: place, Records: records})
}

// read calls visit for every record of a log partition from an offset of the topic
// on, up to and without end; -1 is the present end, which it gives.
func (s *Store) read(ctx context.Context, partition int32, from, end int64, pace *Pace, visit func(slot int, part string, r *stage.Record) error) (int64, error) {
	place, err := s.place(ctx, partition)
	if err != nil {
		return 0, err
	}
	reader, err := s.Log.Open(topic.Checkpoints.Name, place)
	if err != nil {
		return 0, fmt.Errorf("open %s: %w", topic.Checkpoints.Name, err)
	}
	defer func() { _ = reader.Close() }()
	first, bound, err := reader.Bounds(ctx)
	if err != nil {
		return 0, fmt.Errorf("read bounds of %s: %w", topic.Checkpoints.Name, err)
	}
	if end < 0 {
		end = bound
	}
	for next := max(from, first); next < end; {
		batch, err := reader.Fetch(ctx, next, fetchWait)
		if err != nil {
			return 0, fmt.Errorf("fetch %s/%d at %d: %w", topic.Checkpoints.Name, place, next, err)
		}
		for i := range batch.Records {
			r := &batch.Records[i]
			if r.Offset < next || r.Offset >= end {
				continue
			}
			rest, ours := strings.CutPrefix(string(r.Key), prefix(partition))
			slot, part, found := strings.Cut(rest, "/")
			if !ours || !found || len(slot) != 1 || slot[0] < '0' || slot[0] >= '0'+slots {
				continue
			}
			if err := visit(int(slot[0]-'0'), part, r); err != nil {
				return 0, err
			}
		}
		next = max(next, batch.Next)
		if err := pace.Rest(ctx); err != nil {
			return 0, err
		}
	}
	return end, nil
}
