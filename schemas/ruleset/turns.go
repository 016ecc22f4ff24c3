package ruleset

import (
	"cmp"
	"slices"

	"settlewatch/schemas/event"
)

// turns are the sources of each raw partition. Several versions of a profile take
// turns at it: each record is read by exactly one of them.
type turns struct {
	places []event.Source // in the order of the text, without profile and version
	taken  map[event.Source][]turn
}

type turn struct {
	path   string
	source *event.ExpectedSource
}

// add notes a source; a name that cannot be read has been said to be wrong.
func (t *turns) add(path string, source *event.ExpectedSource) {
	place, err := event.ParseSource(source.GetName())
	if err != nil {
		return
	}
	place.Profile, place.Version = "", 0
	if t.taken == nil {
		t.taken = make(map[event.Source][]turn)
	}
	if t.taken[place] == nil {
		t.places = append(t.places, place)
	}
	t.taken[place] = append(t.taken[place], turn{path, source})
}

// check holds the turns of each raw partition to each other: a gap loses records,
// an overlap makes two events of each.
func (t *turns) check(c *checker) {
	for _, place := range t.places {
		all := t.taken[place]
		slices.SortStableFunc(all, func(a, b turn) int {
			return cmp.Compare(a.source.GetFromOffset(), b.source.GetFromOffset())
		})
		for i, next := range all {
			if until := next.source.UntilOffset; until != nil && *until < next.source.GetFromOffset() {
				c.mistake(next.path+".until_offset", "%d is before from_offset %d", *until, next.source.GetFromOffset())
			}
			if i == 0 {
				continue
			}
			before := all[i-1]
			switch from, until := next.source.FromOffset, before.source.UntilOffset; {
			case from == nil || until == nil:
				c.mistake(next.path, "%.120q reads the same partition: give that one an until_offset and this one the same from_offset, "+
					"so that every record is read once", before.source.GetName())
			case *from != *until:
				c.mistake(next.path+".from_offset", "%d, and %.120q ends at until_offset %d: want the same offset, "+
					"so that every record is read once", *from, before.source.GetName(), *until)
			}
		}
	}
}
