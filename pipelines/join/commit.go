package join

import (
	"encoding/binary"
	"fmt"
)

// A commit rewrites snapshotShare times as much of the snapshot as it logs, and at
// least minSnapshotBytes, where there is something to rewrite: so the ring is at most
// about as large as the snapshot. More would be rewritten for a smaller ring, and
// condensing is what a commit costs. A bucket is rewritten whole: what it has beyond
// that, later commits rewrite less. A commit without changes, which comes when
// the log is silent, rewrites silentBytes for every payment that the state holds,
// and after a few minutes the ring is empty.
const (
	minSnapshotBytes = 16 << 10
	snapshotShare    = 1
	silentBytes      = 1
)

// Position is a place in the log: the next offset to read, and a hash of the
// value of the record before it, by which a log that was cut or made anew is
// noticed.
type Position struct {
	Offset    int64  `json:"offset"`
	RecordSum uint64 `json:"record_sum"`
}

// Bucket is one part of the snapshot to rewrite.
type Bucket struct {
	Index int
	Value []byte
}

// Changes is what a commit must hold of the steps since the last one. It is the
// recorder's memory, until the next Commit or step.
type Changes struct {
	Meta    []byte
	Delta   []byte
	Buckets []Bucket
	// TrimTo: ring entries of commits before it are in the snapshot by now.
	TrimTo uint64
}

// A Recorder cuts a State into commits. The snapshot's buckets that changed wait in
// a queue for being written again; the ring is needed back to the change that the
// first of them lacks. One belongs to one owner's time with a partition.
type Recorder struct {
	state *State
	share int // bytes of the snapshot that a commit rewrites, for each that it logs
	least int // and at least
	over  int // bytes that were rewritten beyond that

	memory    []byte // of the last commit's buckets
	buckets   []Bucket
	condenser condenser
}

// NewRecorder goes on with the rolling snapshot where the stored one stands.
func NewRecorder(s *State) *Recorder {
	return &Recorder{state: s, share: snapshotShare, least: minSnapshotBytes}
}

// Commit collects the changes for commit number sequence, whose last folded
// record lies before position.
func (r *Recorder) Commit(sequence uint64, position Position) (Changes, error) {
	t := r.state.payments
	budget := max(r.least, r.share*len(t.delta.bytes))
	if t.delta.count == 0 {
		budget = max(r.least, silentBytes*t.count)
	}
	budget -= r.over
	c := Changes{Delta: t.delta.take(sequence), Buckets: r.buckets[:0]}
	t.sequence = sequence + 1
	size := t.waitingBytes(budget)
	r.memory = lend(r.memory, size)
	written := 0
	for ; written < len(t.queue) && budget > 0; written++ {
		index := int(t.queue[written])
		b := &t.buckets[index]
		b.waiting = false
		// An empty bucket too: the ring may hold older changes of what was in it.
		start := len(r.memory)
		b.trim()
		r.memory = r.condenser.bucket(r.memory, b, sequence)
		value := r.memory[start:len(r.memory):len(r.memory)]
		budget -= len(value)
		c.Buckets = append(c.Buckets, Bucket{Index: index, Value: value})
	}
	r.over = max(0, -budget)
	r.buckets = c.Buckets
	t.queue = append(t.queue[:0], t.queue[written:]...)
	c.TrimTo = sequence + 1
	if len(t.queue) > 0 {
		c.TrimTo = t.since[t.queue[0]]
	}
	var err error
	c.Meta, err = r.state.encodeMeta(position)
	return c, err
}

// Stored says that the last commit is stored: its memory may serve other partitions.
// Without it, all is as it would be, but for memory.
func (r *Recorder) Stored() {
	r.memory = giveBack(r.memory)
	clear(r.buckets)
	r.state.payments.delta.stored()
}

// waitingBytes is how many bytes the buckets take, about, that a commit with this budget writes:
// memory that grows piece by piece is copied more than once.
func (t *table) waitingBytes(budget int) (size int) {
	for _, index := range t.queue {
		if size >= budget {
			break
		}
		b := &t.buckets[index]
		size += len(b.array) - int(b.dead) + binary.MaxVarintLen64
	}
	return size
}

// Load makes the state again from a snapshot and the ring's deltas, oldest first.
// It fails when the checksum over all payments is not the stored one: the store
// was read while it changed, or it was damaged.
func Load(metaBytes []byte, buckets []Bucket, ring [][]byte) (*State, Position, error) {
	s, m, err := decodeHead(metaBytes)
	if err != nil {
		return nil, Position{}, err
	}
	t := s.payments
	for _, b := range buckets {
		if b.Index < 0 || b.Index >= bucketCount {
			return nil, Position{}, fmt.Errorf("load bucket %d: %w", b.Index, errCorrupt)
		}
		if err := t.loadBucket(b.Index, b.Value); err != nil {
			return nil, Position{}, fmt.Errorf("load bucket %d: %w", b.Index, err)
		}
	}
	for i, delta := range ring {
		if err := t.applyDelta(delta); err != nil {
			return nil, Position{}, fmt.Errorf("apply delta %d of the ring: %w", i, err)
		}
	}
	t.expander = nil
	if err := t.tally().Match(m.Tally); err != nil {
		return nil, Position{}, err
	}
	return s, m.Position, s.resume(m)
}

// LoadHead is Load but for the payments: it fails where Load fails at what else is
// stored, and gives the Tally that the payments must have.
func LoadHead(metaBytes []byte) (Tally, error) {
	s, m, err := decodeHead(metaBytes)
	if err != nil {
		return Tally{}, err
	}
	return m.Tally, s.resume(m)
}

// resume puts the stored CONFIG in force again, judging nothing.
func (s *State) resume(m meta) error {
	if m.config == nil {
		return nil
	}
	s.config = m.config
	var err error
	if s.terms, err = compile(s.config); err != nil {
		return &UnsupportedConfigError{s.configNumber, err}
	}
	if n := len(s.config.Groups); len(s.hop.Groups()) != n || len(m.JudgeFrom) != n {
		return fmt.Errorf("%d frontiers for %d groups of the stored configuration: %w", len(s.hop.Groups()), n, ErrInconsistent)
	}
	s.placeGroups()
	copy(s.judgeFrom, m.JudgeFrom)
	return s.setTimers()
}
