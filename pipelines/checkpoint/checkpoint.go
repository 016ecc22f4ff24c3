// Package checkpoint keeps whole states of log partitions outside of Redis, in a
// compacted topic: with one, a lost Redis comes back without the beginning of the
// payment log, so that the log's retention can be bounded.
//
// What enters is a state as the state store holds it, all that a commit holds, at one
// offset of the log: bucket by bucket, so that one in the making costs the memory of a
// bucket and not of a partition. What leaves is the newest complete one. Guaranteed: a
// checkpoint is taken for complete only if every byte of it is there, and loads; writing
// one never touches the newest one before it; an older state never takes a newer one's
// place.
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
// chunks together are frames (frame.go): buckets, meta, deltas of the ring.
package checkpoint

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"iter"
	"slices"
	"strings"
	"sync"
	"time"

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

// ErrNewer says that a checkpoint of a later offset is there already, ErrSame one of
// this offset.
var (
	ErrNewer = errors.New("a newer checkpoint is there")
	ErrSame  = errors.New("there is one of this offset")
)

// ErrUnloadable is a state of which Check says that it is none.
var ErrUnloadable = errors.New("the stored state does not load")

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
	// load must not take the place of what does. The buckets it gets are those that lie
	// in the topic, in ascending order; a value is there until the next one.
	Check func(ctx context.Context, s stage.Stored, buckets Buckets, pace *Pace) error

	mu    sync.Mutex
	views map[int32]view
}

var _ stage.Checkpoints = (*Store)(nil)

// Buckets of one state; an error ends them.
type Buckets = iter.Seq2[stage.Bucket, error]

// Ordered gives buckets in ascending order of their indexes.
func Ordered(buckets []stage.Bucket) Buckets {
	return func(yield func(stage.Bucket, error) bool) {
		for _, b := range inOrder(buckets) {
			if !yield(b, nil) {
				return
			}
		}
	}
}

func inOrder(buckets []stage.Bucket) []stage.Bucket {
	return slices.SortedStableFunc(slices.Values(buckets), func(a, b stage.Bucket) int { return a.Index - b.Index })
}

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

func chunkName(chunk int) string { return fmt.Sprintf("%08d", chunk) }

func chunkKey(partition int32, slot, chunk int) []byte {
	return fmt.Appendf(nil, "%s%d/%s", prefix(partition), slot, chunkName(chunk))
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
	var stored stage.Stored
	r := newReading(m, func(kind byte, index int, value []byte) error {
		switch value = bytes.Clone(value); kind {
		case frameMeta:
			stored.Meta = value
		case frameBucket:
			stored.Buckets = append(stored.Buckets, stage.Bucket{Index: index, Value: value})
		case frameDelta:
			stored.Ring = append(stored.Ring, value)
		}
		return nil
	})
	_, err := s.read(ctx, m.Partition, m.first, m.at, nil, r.visit)
	if err == nil {
		err = r.end(m.Checksum)
	}
	if err != nil {
		return stage.Stored{}, fmt.Errorf("read checkpoint of partition %d at offset %d: %w", m.Partition, m.Offset, err)
	}
	stored.Sequence, stored.Offset, stored.RingFirst = m.Sequence, m.Offset, m.RingFirst
	return stored, nil
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
