package hop

import (
	"math"
	"strings"

	"settlewatch/schemas/event"
)

// Never is the frontier of a group one of whose sources has not marked yet, and
// the T of such a source: before every moment.
const Never int64 = math.MinInt64

// Position is how far one source has been read from a log partition.
type Position struct {
	Source     string
	Generation uint32
	Offset     int64 // of the last accepted record; -1 before the first
	Index      uint32
	T          int64 // of the greatest mark, Unix milliseconds; Never before the first
}

// Group is a set of sources whose marks a deadline waits for together.
type Group struct {
	Name    string
	Sources []string
	// Frontier never goes back, also when sources are added.
	Frontier int64
}

// Reader is the reading end of all sources of one log partition. It is not safe
// for concurrent use.
type Reader struct {
	positions []Position
	index     map[string]int
	groups    []Group
	members   [][]int // per group, indexes into positions
	last      int     // the source of the last record: mostly it is the next one's too
}

// NewReader starts from stored positions and groups; nil for a new partition.
func NewReader(positions []Position, groups []Group) *Reader {
	r := &Reader{index: make(map[string]int), last: -1}
	for _, p := range positions {
		r.index[p.Source] = len(r.positions)
		r.positions = append(r.positions, p)
	}
	r.setGroups(groups)
	return r
}

// Source is the number of a source, given out in the order of first sight; it
// is stable within the partition's state.
func (r *Reader) Source(name string) int {
	if r.last >= 0 && r.positions[r.last].Source == name {
		return r.last
	}
	i, ok := r.index[name]
	if !ok {
		// The name may be a part of a record whose memory is used again.
		name = strings.Clone(name)
		i = len(r.positions)
		r.index[name] = i
		r.positions = append(r.positions, Position{Source: name, Offset: -1, T: Never})
	}
	r.last = i
	return i
}

// Accept takes a record's origin: false for a repeat, which the caller drops.
func (r *Reader) Accept(o *event.Origin) (source int, fresh bool) {
	source = r.Source(o.Source)
	p := &r.positions[source]
	switch {
	case o.Generation != p.Generation:
		fresh = o.Generation > p.Generation
	case o.Offset != p.Offset:
		fresh = o.Offset > p.Offset
	default:
		fresh = o.Index > p.Index
	}
	if fresh {
		p.Generation, p.Offset, p.Index = o.Generation, o.Offset, o.Index
	}
	return source, fresh
}

// Mark notes a source's T. Only marks move T, and it never goes back.
func (r *Reader) Mark(source string, tMs int64) {
	i := r.Source(source)
	if tMs <= r.positions[i].T {
		return
	}
	r.positions[i].T = tMs
	for g, members := range r.members {
		for _, m := range members {
			if m == i {
				r.advance(g)
				break
			}
		}
	}
}

// Expect replaces the groups by those of a new CONFIG. A group that was there
// keeps its frontier; a new one starts where the furthest group stands, because
// payments may come over from there and must not be judged twice.
func (r *Reader) Expect(groups []Group) {
	old := make(map[string]int64, len(r.groups))
	furthest := Never
	for _, g := range r.groups {
		old[g.Name] = g.Frontier
		furthest = max(furthest, g.Frontier)
	}
	for i := range groups {
		f, known := old[groups[i].Name]
		if !known {
			f = furthest
		}
		groups[i].Frontier = f
	}
	r.setGroups(groups)
	for g := range r.groups {
		r.advance(g)
	}
}

func (r *Reader) setGroups(groups []Group) {
	r.groups = groups
	r.members = make([][]int, len(groups))
	for g := range groups {
		for _, name := range groups[g].Sources {
			r.members[g] = append(r.members[g], r.Source(name))
		}
	}
}

func (r *Reader) advance(g int) {
	least := int64(math.MaxInt64)
	for _, m := range r.members[g] {
		least = min(least, r.positions[m].T)
	}
	if len(r.members[g]) == 0 {
		return // nobody to wait for is nobody to hear from
	}
	r.groups[g].Frontier = max(r.groups[g].Frontier, least)
}

// Frontier of group g: every event that lay in an expected source before it
// stands earlier in the log.
func (r *Reader) Frontier(g int) int64 { return r.groups[g].Frontier }

// Positions of all sources seen, in the order of their numbers. Not to be changed.
func (r *Reader) Positions() []Position { return r.positions }

// Groups in force, with their frontiers. Not to be changed.
func (r *Reader) Groups() []Group { return r.groups }

// Holder names the source that holds group g's frontier back: the one with the
// smallest T, the first of several by name; empty for a group without sources.
func (r *Reader) Holder(g int) string {
	holder, least := "", int64(math.MaxInt64)
	for _, m := range r.members[g] {
		p := r.positions[m]
		if holder == "" || p.T < least || (p.T == least && p.Source < holder) {
			holder, least = p.Source, p.T
		}
	}
	return holder
}
