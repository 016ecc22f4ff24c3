package sim

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"sync"

	"settlewatch/pipelines/stage"
)

var (
	// ErrReplyLost is a commit that was applied, or refused, and whose answer
	// never came. The caller commits the same again.
	ErrReplyLost = errors.New("simulated: reply lost")
	// ErrCrashed is an owner whose process is gone: every later call on it
	// returns this. What it had stored stays stored.
	ErrCrashed = errors.New("simulated: owner crashed")
)

// StateFault is what happens to one commit.
type StateFault int

// The faults of a commit.
const (
	StateOK StateFault = iota
	// StateRequestLost: not applied, ErrReplyLost.
	StateRequestLost
	// StateReplyLost: applied, ErrReplyLost.
	StateReplyLost
	// StateCrashBefore: not applied, ErrCrashed from now on.
	StateCrashBefore
	// StateCrashAfter: applied, ErrCrashed from now on.
	StateCrashAfter
)

// State is the state store of one log partition in memory, with the semantics
// of statestore: what its script checks, in the same order. It is deterministic:
// tokens are counted, where statestore draws random ones, and the count is not
// part of what Restore and Wipe take back, so that a token never comes again.
// It is safe for concurrent use; the hooks are set before the first call.
type State struct {
	// OnCommit, if set, is asked before each commit what is to happen to it.
	OnCommit func(c stage.Commit) StateFault
	// OnRestore, if set, is asked before each restore what is to happen to it.
	OnRestore func(stage.Stored) StateFault
	// Flaws are bugs that a simulation plants, to see them caught.
	Flaws StateFlaws
	// MidLoad, if set, is called between the reads that make up a Load, with no
	// lock held: the place to let another owner commit.
	MidLoad func()

	mu    sync.Mutex
	drawn uint64
	held  stateHeld
}

// StateFlaws are defences that a store lacks.
type StateFlaws struct {
	// NoSecondLook: a Load gives what it read, though the store changed meanwhile.
	NoSecondLook bool
	// NoToken, NoSequence, NoOffset: a commit is applied without that comparison.
	NoToken, NoSequence, NoOffset bool
	// NoneMatchesAll: a store without a token takes every owner's.
	NoneMatchesAll bool
}

// stateHeld is what Redis would hold. The byte slices are never changed in
// place, which lets clones share them.
type stateHeld struct {
	token     string // empty: none stored
	stored    bool
	sequence  uint64
	offset    int64
	meta      []byte
	ringFirst uint64
	ring      [][]byte
	buckets   map[int][]byte
}

func (h stateHeld) clone() stateHeld {
	h.ring = slices.Clone(h.ring)
	h.buckets = maps.Clone(h.buckets)
	return h
}

// StateSnapshot is all that a State held at one moment.
type StateSnapshot struct{ held stateHeld }

// NewState is an empty store.
func NewState() *State { return &State{} }

// Owner is a new owner of the partition, not yet acquired.
func (s *State) Owner() *StateOwner { return &StateOwner{store: s} }

// Snapshot remembers what is stored, token included, as a replica that lags
// behind would.
func (s *State) Snapshot() StateSnapshot {
	s.mu.Lock()
	defer s.mu.Unlock()
	return StateSnapshot{s.held.clone()}
}

// Restore rolls the store back to snap, as a failover to a stale replica does.
// A zero snapshot empties it.
func (s *State) Restore(snap StateSnapshot) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.held = snap.held.clone()
}

// Damage loses one part of what is stored, a bucket or an entry of the ring, as a
// store that evicts would. It tells whether there was one.
func (s *State) Damage(choice uint64) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	indexes := slices.Sorted(maps.Keys(s.held.buckets))
	n := len(indexes) + len(s.held.ring)
	if n == 0 {
		return false
	}
	s.held = s.held.clone() // snapshots keep what they have
	if i := int(choice % uint64(n)); i < len(indexes) {
		delete(s.held.buckets, indexes[i])
	} else {
		s.held.ring = slices.Delete(s.held.ring, i-len(indexes), i-len(indexes)+1)
	}
	return true
}

// StateOwner is one owner's view of a State.
type StateOwner struct {
	store   *State
	token   string
	crashed bool
}

var _ stage.State = (*StateOwner)(nil)

// Crash ends the owner: every later call returns ErrCrashed.
func (o *StateOwner) Crash() { o.crashed = true }

// Acquire implements stage.State.
func (o *StateOwner) Acquire(ctx context.Context) error {
	if err := o.alive(ctx); err != nil {
		return err
	}
	s := o.store
	s.mu.Lock()
	defer s.mu.Unlock()
	s.drawn++
	o.token = strconv.FormatUint(s.drawn, 10)
	s.held.token = o.token
	return nil
}

// Load implements stage.State. Like statestore it reads in parts and takes a
// second look, and gives ErrFenced to an owner that was replaced.
func (o *StateOwner) Load(ctx context.Context) (stage.Stored, error) {
	for {
		if err := o.alive(ctx); err != nil {
			return stage.Stored{}, err
		}
		before := o.look()
		if o.token != "" && before.token != o.token {
			return stage.Stored{}, fmt.Errorf("load: %w", stage.ErrFenced)
		}
		if !before.stored {
			return stage.Stored{}, nil
		}
		o.pause()
		buckets := o.look().buckets
		o.pause()
		ring := o.look().ring
		o.pause()
		after := o.look()
		if after.token == before.token && after.stored && after.sequence == before.sequence || o.store.Flaws.NoSecondLook {
			return before.export(buckets, ring), nil
		}
	}
}

func (o *StateOwner) pause() {
	if o.store.MidLoad != nil {
		o.store.MidLoad()
	}
}

func (o *StateOwner) look() stateHeld {
	o.store.mu.Lock()
	defer o.store.mu.Unlock()
	return o.store.held.clone()
}

// export copies every byte: the caller may keep and change what it gets.
func (h stateHeld) export(buckets map[int][]byte, ring [][]byte) stage.Stored {
	out := stage.Stored{Sequence: h.sequence, Offset: h.offset, Meta: copied(h.meta), RingFirst: h.ringFirst}
	for _, index := range slices.Sorted(maps.Keys(buckets)) {
		out.Buckets = append(out.Buckets, stage.Bucket{Index: index, Value: copied(buckets[index])})
	}
	for _, delta := range ring {
		out.Ring = append(out.Ring, copied(delta))
	}
	return out
}

// Commit implements stage.State.
func (o *StateOwner) Commit(ctx context.Context, c stage.Commit) error {
	if err := o.alive(ctx); err != nil {
		return err
	}
	if err := checkCommit(c); err != nil {
		return fmt.Errorf("commit sequence %d: %w", c.Sequence, err)
	}
	fault := StateOK
	if o.store.OnCommit != nil {
		fault = o.store.OnCommit(c)
	}
	return o.under(fault, func() error { return o.apply(c) })
}

// under does what the fault leaves of a call that changes the store.
func (o *StateOwner) under(fault StateFault, apply func() error) error {
	switch fault {
	case StateOK:
		return apply()
	case StateRequestLost:
		return ErrReplyLost
	case StateReplyLost:
		_ = apply() // its answer is what got lost
		return ErrReplyLost
	case StateCrashBefore:
		o.crashed = true
		return ErrCrashed
	case StateCrashAfter:
		_ = apply()
		o.crashed = true
		return ErrCrashed
	default:
		panic(fmt.Sprintf("sim: unknown StateFault %d", fault))
	}
}

func checkCommit(c stage.Commit) error {
	if c.Sequence == 0 {
		return errors.New("sequences start at 1")
	}
	if c.ToOffset < c.FromOffset {
		return fmt.Errorf("to-offset %d is below from-offset %d", c.ToOffset, c.FromOffset)
	}
	seen := make(map[int]struct{}, len(c.Buckets))
	for _, b := range c.Buckets {
		if _, again := seen[b.Index]; again || b.Index < 0 {
			return fmt.Errorf("bucket %d is negative or given twice", b.Index)
		}
		seen[b.Index] = struct{}{}
	}
	return nil
}

// apply is what a commit of statestore comes to.
func (o *StateOwner) apply(c stage.Commit) error {
	s := o.store
	s.mu.Lock()
	defer s.mu.Unlock()
	h := &s.held
	if !s.Flaws.NoToken && (o.token == "" || h.token != o.token) && (h.token != "" || !s.Flaws.NoneMatchesAll) {
		return fmt.Errorf("commit sequence %d: %w: another owner's token", c.Sequence, stage.ErrFenced)
	}
	if h.stored && h.sequence == c.Sequence && h.offset == c.ToOffset {
		return nil
	}
	if !s.Flaws.NoSequence && (h.stored && h.sequence != c.Sequence-1 || !h.stored && c.Sequence != 1) {
		return fmt.Errorf("commit sequence %d: %w: stored sequence is %d", c.Sequence, stage.ErrFenced, h.sequence)
	}
	if !s.Flaws.NoOffset && h.stored && h.offset != c.FromOffset {
		return fmt.Errorf("commit sequence %d from offset %d: %w: stored offset is %d",
			c.Sequence, c.FromOffset, stage.ErrFenced, h.offset)
	}
	if !h.stored {
		h.stored, h.ring, h.buckets, h.ringFirst = true, nil, make(map[int][]byte), c.Sequence
	}
	h.sequence, h.offset, h.meta = c.Sequence, c.ToOffset, copied(c.Meta)
	h.ring = append(h.ring, copied(c.Delta))
	for h.ringFirst < c.TrimTo && len(h.ring) > 0 {
		h.ring = h.ring[1:]
		h.ringFirst++
	}
	for _, b := range c.Buckets {
		if len(b.Value) == 0 {
			delete(h.buckets, b.Index)
		} else {
			h.buckets[b.Index] = copied(b.Value)
		}
	}
	return nil
}

// Restore implements stage.State. A crash half-way leaves nothing stored, which
// is what statestore's steps come to.
func (o *StateOwner) Restore(ctx context.Context, s stage.Stored) error {
	if err := o.alive(ctx); err != nil {
		return err
	}
	if s.Sequence == 0 || s.RingFirst == 0 || s.RingFirst+uint64(len(s.Ring)) != s.Sequence+1 {
		return fmt.Errorf("restore sequence %d: the ring does not end there", s.Sequence)
	}
	fault := StateOK
	if o.store.OnRestore != nil {
		fault = o.store.OnRestore(s)
	}
	return o.under(fault, func() error { return o.restore(s) })
}

// restore is restore.lua, all of its steps at once.
func (o *StateOwner) restore(s stage.Stored) error {
	o.store.mu.Lock()
	defer o.store.mu.Unlock()
	h := &o.store.held
	switch {
	case o.token == "" || h.token != o.token:
		return fmt.Errorf("restore sequence %d: %w: another owner's token", s.Sequence, stage.ErrFenced)
	case h.stored && h.sequence == s.Sequence && h.offset == s.Offset:
		return nil
	case h.stored:
		return fmt.Errorf("restore sequence %d: %w: sequence %d is stored", s.Sequence, stage.ErrFenced, h.sequence)
	}
	*h = stateHeld{
		token: h.token, stored: true, sequence: s.Sequence, offset: s.Offset, meta: copied(s.Meta),
		ringFirst: s.RingFirst, buckets: make(map[int][]byte),
	}
	for _, d := range s.Ring {
		h.ring = append(h.ring, copied(d))
	}
	for _, b := range s.Buckets {
		h.buckets[b.Index] = copied(b.Value)
	}
	return nil
}

// Wipe removes all that is stored, the token too.
func (o *StateOwner) Wipe(ctx context.Context) error {
	if err := o.alive(ctx); err != nil {
		return err
	}
	o.store.Restore(StateSnapshot{})
	return nil
}

func (o *StateOwner) alive(ctx context.Context) error {
	if o.crashed {
		return ErrCrashed
	}
	return context.Cause(ctx)
}

// copied is never nil: a nil Meta would mean that nothing is stored.
func copied(b []byte) []byte { return append(make([]byte, 0, len(b)), b...) }
