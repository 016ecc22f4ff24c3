package join

import (
	"bytes"
	"encoding/json"

	"pgregory.net/rapid"
)

// store is a state store of the test: what Redis holds.
type store struct {
	sequence uint64
	meta     []byte
	buckets  map[int][]byte
	ring     [][]byte
	first    uint64
}

func newStore() *store { return &store{buckets: map[int][]byte{}, first: 1} }

// commit stores the recorder's next commit, and gives what it held.
func (s *store) commit(t rapid.TB, r *Recorder, p Position) Changes {
	t.Helper()
	s.sequence++
	c, err := r.Commit(s.sequence, p)
	if err != nil {
		t.Fatal(err)
	}
	s.meta = c.Meta
	s.ring = append(s.ring, bytes.Clone(c.Delta))
	for _, b := range c.Buckets {
		s.buckets[b.Index] = bytes.Clone(b.Value)
	}
	for s.first < c.TrimTo {
		s.ring, s.first = s.ring[1:], s.first+1
	}
	return c
}

// snapshot is what Load takes.
func (s *store) snapshot() (buckets []Bucket) {
	for i, v := range s.buckets {
		buckets = append(buckets, Bucket{Index: i, Value: v})
	}
	return buckets
}

func (s *store) load(t rapid.TB) *State {
	t.Helper()
	state, _, err := Load(s.meta, s.snapshot(), s.ring)
	if err != nil {
		var m map[string]any
		_ = json.Unmarshal(s.meta, &m)
		t.Fatalf("%v (meta %v)", err, m)
	}
	return state
}

// sizes are the bytes of snapshot and ring.
func (s *store) sizes() (snapshot, ring int) {
	for _, v := range s.buckets {
		snapshot += len(v)
	}
	for _, v := range s.ring {
		ring += len(v)
	}
	return snapshot, ring
}
