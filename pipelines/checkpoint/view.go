package checkpoint

import (
	"cmp"
	"encoding/json"
	"fmt"
	"maps"
	"slices"

	"settlewatch/pipelines/stage"
)

// A view is what was seen of a log partition's checkpoints, up to an offset of the
// topic. Between two compactions the topic holds many whole states: who has read them
// once to find the manifests goes on from there.
type view struct {
	next     int64
	standing map[int]Manifest  // by slot
	firsts   map[attempt]int64 // offset of a checkpoint's first chunk
}

// An attempt is one writing of a checkpoint.
type attempt struct {
	slot       int
	generation string
}

func newView() view {
	return view{standing: map[int]Manifest{}, firsts: map[attempt]int64{}}
}

// seen gives a copy of what was seen of a partition.
func (s *Store) seen(partition int32) view {
	s.mu.Lock()
	defer s.mu.Unlock()
	v, known := s.views[partition]
	if !known {
		return newView()
	}
	v.standing, v.firsts = maps.Clone(v.standing), maps.Clone(v.firsts)
	return v
}

// see keeps what was seen of a partition. Of two who looked at once the last is kept:
// either is true.
func (s *Store) see(partition int32, v view) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.views == nil {
		s.views = map[int32]view{}
	}
	s.views[partition] = v
}

// note takes the next record.
func (v view) note(slot int, part string, r *stage.Record) error {
	switch {
	case part != "manifest":
		at := attempt{slot, generationOf(r.Value)}
		if _, seen := v.firsts[at]; !seen && len(r.Value) > 0 {
			v.firsts[at] = r.Offset
		}
	case len(r.Value) == 0:
		delete(v.standing, slot)
	default:
		var m Manifest
		if err := json.Unmarshal(r.Value, &m); err != nil {
			return fmt.Errorf("decode manifest at offset %d: %w", r.Offset, err)
		}
		m.at, m.first = r.Offset, r.Offset
		if first, seen := v.firsts[attempt{slot, m.Generation}]; seen {
			m.first = first
		}
		v.standing[slot] = m
		// What began before it in its slot was never finished, or is overwritten.
		maps.DeleteFunc(v.firsts, func(a attempt, first int64) bool { return a.slot == slot && first <= m.first })
	}
	return nil
}

// manifests that stand, the highest offset first.
func (v view) manifests() []Manifest {
	return slices.SortedFunc(maps.Values(v.standing), func(a, b Manifest) int {
		return cmp.Or(cmp.Compare(b.Offset, a.Offset), cmp.Compare(b.at, a.at))
	})
}
