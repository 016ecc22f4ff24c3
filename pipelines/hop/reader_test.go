package hop_test

import (
	"encoding/json"
	"fmt"
	"math"
	"reflect"
	"slices"
	"testing"
	"unsafe"

	"pgregory.net/rapid"

	"settlewatch/pipelines/hop"
	"settlewatch/schemas/event"
)

func origin(source string, generation uint32, offset int64, index uint32) *event.Origin {
	return &event.Origin{Source: source, Generation: generation, Offset: offset, Index: index}
}

func TestReaderDropsRepeats(t *testing.T) {
	type step struct {
		origin *event.Origin
		fresh  bool
	}
	for name, steps := range map[string][]step{
		"the first offset is fresh once": {
			{origin("a", 0, 0, 0), true},
			{origin("a", 0, 0, 0), false},
			{origin("a", 0, 1, 0), true},
		},
		"offsets may jump, and what is below is a repeat": {
			{origin("a", 0, 10, 0), true},
			{origin("a", 0, 3, 0), false},
			{origin("a", 0, 9, 9), false},
			{origin("a", 0, 11, 0), true},
		},
		"several records of one offset": {
			{origin("a", 0, 5, 0), true},
			{origin("a", 0, 5, 2), true},
			{origin("a", 0, 5, 1), false},
			{origin("a", 0, 5, 2), false},
			{origin("a", 0, 6, 0), true},
			{origin("a", 0, 5, 3), false},
		},
		"a topic created anew counts again, and its past is a repeat": {
			{origin("a", 0, 100, 4), true},
			{origin("a", 1, 0, 0), true},
			{origin("a", 0, 101, 0), false},
			{origin("a", 0, 101, 9), false},
			{origin("a", 1, 0, 0), false},
			{origin("a", 1, 0, 1), true},
			{origin("a", 3, 0, 0), true},
			{origin("a", 2, 50, 0), false},
		},
		"sources are apart": {
			{origin("a", 0, 7, 0), true},
			{origin("b", 0, 7, 0), true},
			{origin("b", 0, 3, 0), false},
			{origin("a", 0, 8, 0), true},
			{origin("a", 0, 7, 0), false},
		},
	} {
		t.Run(name, func(t *testing.T) {
			r := hop.NewReader(nil, nil)
			for i, s := range steps {
				if _, fresh := r.Accept(s.origin); fresh != s.fresh {
					t.Errorf("step %d, %v: fresh is %t", i, s.origin, fresh)
				}
			}
		})
	}
}

// Numbers are given out at first sight and do not move, whatever brings a source in.
func TestReaderNumbersSources(t *testing.T) {
	r := hop.NewReader(nil, nil)
	accept := func(source string) int {
		number, _ := r.Accept(origin(source, 0, 1, 0))
		return number
	}
	r.Expect([]hop.Group{{Name: "g", Sources: []string{"c", "a"}}})
	r.Mark("d", 5)
	for want, source := range []string{"c", "a", "d", "b"} {
		if got := accept(source); got != want {
			t.Errorf("%s has number %d, want %d", source, got, want)
		}
	}
	r = reload(t, r)
	for want, source := range []string{"c", "a", "d", "b"} {
		if got := accept(source); got != want {
			t.Errorf("after a reload %s has number %d, want %d", source, got, want)
		}
	}
}

func TestReaderFrontier(t *testing.T) {
	const g, h = 0, 1
	two := []hop.Group{{Name: "g", Sources: []string{"a", "b"}}, {Name: "h", Sources: []string{"c"}}}
	expect := func(t *testing.T, r *hop.Reader, group int, want int64) {
		t.Helper()
		if got := r.Frontier(group); got != want {
			t.Errorf("frontier of group %d is %d, want %d", group, got, want)
		}
	}
	t.Run("a source that never marked holds its group, no other", func(t *testing.T) {
		r := newReader(two)
		r.Mark("a", 100)
		r.Accept(origin("b", 0, 7, 0)) // an event, whenever it came, is no mark
		r.Mark("c", 30)
		expect(t, r, g, hop.Never)
		expect(t, r, h, 30)
		if got := r.Holder(g); got != "b" {
			t.Errorf("%q holds", got)
		}
		r.Mark("b", 40)
		expect(t, r, g, 40)
	})
	t.Run("it is the least and never goes back", func(t *testing.T) {
		r := newReader(two)
		r.Mark("a", 100)
		r.Mark("b", 40)
		r.Mark("a", 50)
		r.Mark("b", 90)
		expect(t, r, g, 90)
		r.Mark("b", 10)
		expect(t, r, g, 90)
		r.Mark("b", 120)
		expect(t, r, g, 100)
	})
	t.Run("a source of two groups moves both", func(t *testing.T) {
		r := newReader([]hop.Group{{Name: "g", Sources: []string{"a", "b"}}, {Name: "h", Sources: []string{"b"}}})
		r.Mark("a", 5)
		r.Mark("b", 9)
		expect(t, r, g, 5)
		expect(t, r, h, 9)
	})
	t.Run("a new source holds, and takes nothing back", func(t *testing.T) {
		r := newReader(two)
		r.Mark("a", 100)
		r.Mark("b", 90)
		r.Expect([]hop.Group{{Name: "g", Sources: []string{"a", "b", "new"}}, {Name: "h", Sources: []string{"c"}}})
		expect(t, r, g, 90)
		r.Mark("a", 200)
		r.Mark("b", 200)
		expect(t, r, g, 90)
		r.Mark("new", 50)
		expect(t, r, g, 90)
		r.Mark("new", 150)
		expect(t, r, g, 150)
	})
	t.Run("a source that is expected no more holds no more, from CONFIG on", func(t *testing.T) {
		r := newReader(two)
		r.Mark("a", 100)
		r.Expect([]hop.Group{{Name: "g", Sources: []string{"a"}}})
		expect(t, r, g, 100)
	})
	t.Run("a new group starts where the furthest stands", func(t *testing.T) {
		r := newReader(two)
		r.Mark("a", 100)
		r.Mark("b", 70)
		r.Mark("c", 20)
		r.Expect([]hop.Group{{Name: "new", Sources: []string{"b", "d"}}, {Name: "h", Sources: []string{"c"}}, {Name: "g", Sources: []string{"a"}}})
		expect(t, r, 0, 70)
		expect(t, r, 1, 20)
		expect(t, r, 2, 100)
	})
	t.Run("a group without sources hears from nobody", func(t *testing.T) {
		r := newReader([]hop.Group{{Name: "g"}})
		r.Mark("a", 100)
		expect(t, r, 0, hop.Never)
		if got := r.Holder(0); got != "" {
			t.Errorf("%q holds", got)
		}
	})
	t.Run("the holder is the least, the first of several by name", func(t *testing.T) {
		r := newReader([]hop.Group{{Name: "g", Sources: []string{"c", "b", "a"}}})
		for _, s := range []string{"a", "b", "c"} {
			r.Mark(s, 10)
		}
		if got := r.Holder(0); got != "a" {
			t.Errorf("%q holds, want a", got)
		}
		r.Mark("a", 11)
		if got := r.Holder(0); got != "b" {
			t.Errorf("%q holds, want b", got)
		}
	})
}

// newReader expects copies of the groups from before the first mark on.
func newReader(groups []hop.Group) *hop.Reader {
	r := hop.NewReader(nil, nil)
	groups = slices.Clone(groups)
	for i := range groups {
		groups[i].Frontier = hop.Never
	}
	r.Expect(groups)
	return r
}

// failer is what reload needs of *testing.T and *rapid.T.
type failer interface {
	Helper()
	Fatal(args ...any)
}

// reload makes the reader again from what a commit holds, by way of its JSON.
func reload(t failer, r *hop.Reader) *hop.Reader {
	t.Helper()
	var stored struct {
		Positions []hop.Position
		Groups    []hop.Group
	}
	b, err := json.Marshal(map[string]any{"Positions": r.Positions(), "Groups": r.Groups()})
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(b, &stored); err != nil {
		t.Fatal(err)
	}
	return hop.NewReader(stored.Positions, stored.Groups)
}

// model is the reader's rule, written as slowly as it is said.
type model struct {
	accepted map[string][3]int64
	t        map[string]int64
	groups   []hop.Group
}

func (m *model) accept(o *event.Origin) bool {
	place := [3]int64{int64(o.Generation), o.Offset, int64(o.Index)}
	last, seen := m.accepted[o.Source]
	if seen && slices.Compare(place[:], last[:]) <= 0 {
		return false
	}
	m.accepted[o.Source] = place
	return true
}

func (m *model) least(g int) int64 {
	least := int64(math.MaxInt64)
	for _, s := range m.groups[g].Sources {
		t, marked := m.t[s]
		if !marked {
			return hop.Never
		}
		least = min(least, t)
	}
	return least
}

func (m *model) settle() {
	for g := range m.groups {
		if len(m.groups[g].Sources) > 0 {
			m.groups[g].Frontier = max(m.groups[g].Frontier, m.least(g))
		}
	}
}

func (m *model) expect(groups []hop.Group) {
	furthest := hop.Never
	for _, g := range m.groups {
		furthest = max(furthest, g.Frontier)
	}
	for i := range groups {
		groups[i].Frontier = furthest
		for _, g := range m.groups {
			if g.Name == groups[i].Name {
				groups[i].Frontier = g.Frontier
			}
		}
	}
	m.groups = groups
	m.settle()
}

func drawGroups(t *rapid.T, sources []string) []hop.Group {
	var groups []hop.Group
	for _, name := range rapid.SliceOfNDistinct(rapid.SampledFrom([]string{"g", "h", "i"}), 0, 3, rapid.ID).Draw(t, "groups") {
		members := rapid.SliceOfNDistinct(rapid.SampledFrom(sources), 0, len(sources), rapid.ID).Draw(t, "members of "+name)
		// As CONFIG is read: what a group's frontier is, the reader knows.
		groups = append(groups, hop.Group{Name: name, Sources: members, Frontier: rapid.Int64().Draw(t, "ignored")})
	}
	return groups
}

// Any order of records, repeats, marks, configurations and reloads gives what the
// model gives, and no group's frontier ever goes back.
func TestReaderKeepsTheRules(t *testing.T) {
	sources := []string{"a", "b", "c", "d"}
	rapid.Check(t, func(t *rapid.T) {
		r := hop.NewReader(nil, nil)
		m := &model{accepted: map[string][3]int64{}, t: map[string]int64{}}
		frontiers := map[string]int64{}
		for range rapid.IntRange(1, 80).Draw(t, "steps") {
			source := rapid.SampledFrom(sources).Draw(t, "source")
			switch rapid.IntRange(0, 7).Draw(t, "step") {
			case 0, 1, 2:
				o := origin(source, uint32(rapid.IntRange(0, 2).Draw(t, "generation")),
					int64(rapid.IntRange(0, 5).Draw(t, "offset")), uint32(rapid.IntRange(0, 2).Draw(t, "index")))
				number, fresh := r.Accept(o)
				if want := m.accept(o); fresh != want || r.Positions()[number].Source != source {
					t.Fatalf("%v: source %d, fresh is %t, want %t", o, number, fresh, want)
				}
			case 3, 4, 5:
				at := int64(rapid.IntRange(-5, 50).Draw(t, "t"))
				r.Mark(source, at)
				if was, marked := m.t[source]; !marked || at > was {
					m.t[source] = at
				}
				m.settle()
			case 6:
				groups := drawGroups(t, sources)
				m.expect(slices.Clone(groups))
				r.Expect(groups)
				// A group that was left out is forgotten.
				for name := range frontiers {
					if !slices.ContainsFunc(groups, func(g hop.Group) bool { return g.Name == name }) {
						delete(frontiers, name)
					}
				}
			case 7:
				r = reload(t, r)
			}
			compare(t, r, m)
			for g, group := range r.Groups() {
				if was, known := frontiers[group.Name]; known && r.Frontier(g) < was {
					t.Fatalf("the frontier of %s went back from %d to %d", group.Name, was, r.Frontier(g))
				}
				frontiers[group.Name] = r.Frontier(g)
			}
		}
	})
}

func compare(t *rapid.T, r *hop.Reader, m *model) {
	t.Helper()
	if len(r.Groups()) != len(m.groups) {
		t.Fatalf("groups %v, want %v", r.Groups(), m.groups)
	}
	for g, want := range m.groups {
		if got := r.Groups()[g]; got.Name != want.Name || !slices.Equal(got.Sources, want.Sources) ||
			got.Frontier != want.Frontier || r.Frontier(g) != want.Frontier {
			t.Fatalf("group %+v, want %+v", got, want)
		}
		if got := r.Holder(g); got != m.holder(g) {
			t.Fatalf("%q holds group %s, want %q", got, want.Name, m.holder(g))
		}
	}
	for _, p := range r.Positions() {
		want := hop.Position{Source: p.Source, Offset: -1, T: hop.Never}
		if last, seen := m.accepted[p.Source]; seen {
			want.Generation, want.Offset, want.Index = uint32(last[0]), last[1], uint32(last[2])
		}
		if at, marked := m.t[p.Source]; marked {
			want.T = at
		}
		if p != want {
			t.Fatalf("position %+v, want %+v", p, want)
		}
	}
}

func (m *model) holder(g int) string {
	members := slices.Sorted(slices.Values(m.groups[g].Sources))
	if len(members) == 0 {
		return ""
	}
	return slices.MinFunc(members, func(a, b string) int {
		ta, aMarked := m.t[a]
		tb, bMarked := m.t[b]
		switch {
		case aMarked != bMarked:
			return map[bool]int{false: -1, true: 1}[aMarked]
		case ta < tb:
			return -1
		case ta > tb:
			return 1
		}
		return 0
	})
}

// Whatever zombies, retries and restarts append again: if each appends in order
// and from at or below what is there, the reader takes every record once, in order.
func TestReaderTakesEveryRecordOnce(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		const records = 20
		var log []*event.Origin
		end := int64(0) // of the prefix that is in the log
		for end < records {
			from := int64(rapid.IntRange(0, int(end)).Draw(t, "committed"))
			to := int64(rapid.IntRange(int(from), records).Draw(t, "up to"))
			for o := from; o < to; o++ {
				log = append(log, origin("a", 0, o/2, uint32(o%2)))
			}
			end = max(end, to)
		}
		// Two instances at a time: the log is any weave of what each appends.
		at := rapid.IntRange(0, len(log)).Draw(t, "weave at")
		for o := range int64(rapid.IntRange(0, records).Draw(t, "zombie")) {
			if here := slices.IndexFunc(log, func(x *event.Origin) bool { return x.Offset == o/2 && x.Index == uint32(o%2) }); here >= at {
				break // it extends no prefix that is not there yet
			}
			log = slices.Insert(log, at, origin("a", 0, o/2, uint32(o%2)))
			at = rapid.IntRange(at+1, len(log)).Draw(t, "next")
		}
		r := hop.NewReader(nil, nil)
		var taken []string
		for _, o := range log {
			if _, fresh := r.Accept(o); fresh {
				taken = append(taken, fmt.Sprintf("%d.%d", o.Offset, o.Index))
			}
		}
		var want []string
		for o := range records {
			want = append(want, fmt.Sprintf("%d.%d", o/2, o%2))
		}
		if !reflect.DeepEqual(taken, want) {
			t.Fatalf("took %v", taken)
		}
	})
}

// A source's name is often a part of a record whose memory is used again.
func TestReaderCopiesNames(t *testing.T) {
	r := hop.NewReader(nil, nil)
	name := []byte("a")
	r.Mark(unsafe.String(&name[0], len(name)), 5)
	name[0] = 'b'
	if p := r.Positions(); p[0].Source != "a" || r.Source("a") != 0 {
		t.Fatalf("the source is now %q, with the number %d", p[0].Source, r.Source("a"))
	}
}
