package join

import (
	"encoding/json"
	"errors"
	"fmt"

	"settlewatch/pipelines/hop"
	"settlewatch/schemas/event"
)

// minSnapshotBytes is how much of the snapshot a commit rewrites at least, where
// there is something to rewrite. Beyond that it rewrites as much as it logs, so
// that the ring never grows longer than about the state itself.
const minSnapshotBytes = 64 << 10

// Position is a place in the log: the next offset to read, and a hash of the
// value of the record before it, by which a log that was cut or made anew is
// noticed.
type Position struct {
	Offset    int64  `json:"offset"`
	RecordSum uint64 `json:"record_sum"`
}

// Bucket is one part of the snapshot to rewrite; an empty value removes it.
type Bucket struct {
	Index int
	Value []byte
}

// Changes is what a commit must hold of the steps since the last one.
type Changes struct {
	Meta    []byte
	Delta   []byte
	Buckets []Bucket
	// TrimTo: ring entries of commits before it are in the snapshot by now.
	TrimTo uint64
}

// meta is everything but the payments, as JSON: an operator can read it in Redis.
type meta struct {
	Format       int            `json:"format"`
	Position     Position       `json:"position"`
	Buckets      int            `json:"buckets"`
	Payments     int            `json:"payments"`
	Checksum     uint64         `json:"checksum"`
	ConfigNumber int64          `json:"config_number"`
	Config       []byte         `json:"config,omitempty"` // settlewatch.event.v1.Config
	Groups       []hop.Group    `json:"groups"`
	Sources      []hop.Position `json:"sources"`
	Counts       Counts         `json:"counts"`
}

// StateFormat counts the versions of the stored form.
const StateFormat = 1

// ErrNewerState is a stored state that a newer binary wrote.
var ErrNewerState = errors.New("stored state is of a newer version")

// A Recorder cuts a State into commits: it remembers where the rolling rewrite of
// the snapshot stands. One belongs to one owner's time with a partition.
type Recorder struct {
	state   *State
	cursor  int    // the next bucket to look at
	started uint64 // the commit that the current round began with
	trimmed uint64
	least   int // bytes of the snapshot that a commit rewrites
}

// NewRecorder starts the rolling snapshot anew, at its first bucket.
func NewRecorder(s *State) *Recorder { return &Recorder{state: s, least: minSnapshotBytes} }

// Commit collects the changes for commit number sequence, whose last folded
// record lies before position.
func (r *Recorder) Commit(sequence uint64, position Position) (Changes, error) {
	t := r.state.payments
	c := Changes{Delta: t.delta()}
	budget := max(r.least, len(c.Delta))
	for range bucketCount {
		if budget <= 0 {
			break
		}
		if r.cursor == 0 {
			r.started = sequence
		}
		if b := &t.buckets[r.cursor]; b.changed {
			b.changed = false
			value := b.pack()
			budget -= len(value)
			if len(value) > 0 || b.stored {
				c.Buckets = append(c.Buckets, Bucket{Index: r.cursor, Value: value})
			}
			b.stored = len(value) > 0
		}
		if r.cursor++; r.cursor == bucketCount {
			// Every bucket was current at some commit since the round began, so
			// no delta up to that first one is needed any more.
			r.cursor, r.trimmed = 0, r.started+1
		}
	}
	c.TrimTo = r.trimmed
	var err error
	c.Meta, err = r.state.encodeMeta(position)
	return c, err
}

func (s *State) encodeMeta(position Position) ([]byte, error) {
	m := meta{
		Format: StateFormat, Position: position, Buckets: bucketCount,
		Payments: s.payments.count, Checksum: s.payments.checksum,
		ConfigNumber: s.configNumber, Groups: s.hop.Groups(), Sources: s.hop.Positions(), Counts: s.counts,
	}
	if s.config != nil {
		var err error
		if m.Config, err = s.config.MarshalVT(); err != nil {
			return nil, fmt.Errorf("encode configuration: %w", err)
		}
	}
	b, err := json.Marshal(m)
	if err != nil {
		return nil, fmt.Errorf("encode state: %w", err)
	}
	return b, nil
}

// Load makes the state again from a snapshot and the ring's deltas, oldest first.
// It fails when the checksum over all payments is not the stored one: the store
// was read while it changed, or it was damaged.
func Load(metaBytes []byte, buckets []Bucket, ring [][]byte) (*State, Position, error) {
	var m meta
	if err := json.Unmarshal(metaBytes, &m); err != nil {
		return nil, Position{}, fmt.Errorf("decode state: %w", err)
	}
	if m.Format > StateFormat || m.Buckets != bucketCount {
		return nil, Position{}, fmt.Errorf("format %d with %d buckets, this binary has %d with %d: %w",
			m.Format, m.Buckets, StateFormat, bucketCount, ErrNewerState)
	}
	s := New()
	s.hop = hop.NewReader(m.Sources, m.Groups)
	s.configNumber, s.counts = m.ConfigNumber, m.Counts
	t := s.payments
	for _, b := range buckets {
		if b.Index < 0 || b.Index >= bucketCount {
			return nil, Position{}, fmt.Errorf("load bucket %d: %w", b.Index, errCorrupt)
		}
		if err := t.apply(b.Value); err != nil {
			return nil, Position{}, fmt.Errorf("load bucket %d: %w", b.Index, err)
		}
		t.buckets[b.Index].stored, t.buckets[b.Index].changed = true, false
	}
	for i, delta := range ring {
		if err := t.apply(delta); err != nil {
			return nil, Position{}, fmt.Errorf("apply delta %d of the ring: %w", i, err)
		}
	}
	for p := range t.all() {
		p.sum = hash(p.packed)
		t.checksum += p.sum
	}
	t.removed = nil
	if t.checksum != m.Checksum || t.count != m.Payments {
		return nil, Position{}, fmt.Errorf("%d payments with checksum %x, stored are %d with %x: %w",
			t.count, t.checksum, m.Payments, m.Checksum, ErrInconsistent)
	}
	return s, m.Position, s.resume(m.Config)
}

// ErrInconsistent is a loaded state that is not the committed one.
var ErrInconsistent = errors.New("loaded state does not match its checksum")

// resume puts the stored CONFIG in force again, judging nothing.
func (s *State) resume(config []byte) error {
	if config == nil {
		return nil
	}
	s.config = new(event.Config)
	if err := s.config.UnmarshalVT(config); err != nil {
		return fmt.Errorf("decode stored configuration: %w", err)
	}
	var err error
	if s.terms, err = compile(s.config); err != nil {
		return &UnsupportedConfigError{s.configNumber, err}
	}
	if len(s.hop.Groups()) != len(s.config.Groups) {
		return fmt.Errorf("%d frontiers for %d groups of the stored configuration: %w", len(s.hop.Groups()), len(s.config.Groups), ErrInconsistent)
	}
	s.placeGroups()
	for p := range s.payments.all() {
		if g := s.group(p.key); g != noGroup {
			s.timers[g].set(p, p.next)
		}
	}
	return nil
}
