package invariant

import (
	"settlewatch/pipelines/stage"
)

// A Commit is one that a state store was asked to apply, and what became of it.
type Commit struct {
	// Owner tells one owner's time with the partition from another's; owners are
	// numbered in the order in which they acquired it.
	Owner int
	stage.Commit
	// Applied: the store holds it. Repeated: it held it already, and said so.
	Applied, Repeated bool
}

// CommitsFollow is I3, from a store whose every commit is seen: applied ones go
// on from one another in sequence and offset, and none is of an owner that
// another had replaced. A wipe or a rollback starts a new history: it is called
// for each with where it starts from.
func CommitsFollow(place string, from stage.Stored, history []Commit) []Violation {
	l := list{invariant: I3}
	sequence, offset, owner := from.Sequence, from.Offset, 0
	for _, c := range history {
		if !c.Applied {
			continue
		}
		switch {
		case c.Owner < owner:
			l.add(place, "sequence %d of owner %d applied after owner %d had the partition", c.Sequence, c.Owner, owner)
		case c.Sequence != sequence+1:
			l.add(place, "sequence %d applied on %d", c.Sequence, sequence)
		case c.FromOffset != offset:
			l.add(place, "sequence %d goes from offset %d, stored is %d", c.Sequence, c.FromOffset, offset)
		case c.ToOffset < c.FromOffset:
			l.add(place, "sequence %d goes back from offset %d to %d", c.Sequence, c.FromOffset, c.ToOffset)
		}
		sequence, offset, owner = c.Sequence, c.ToOffset, max(owner, c.Owner)
	}
	return l.found
}

// A Place is where a state store stood when it was looked at from outside.
type Place struct {
	Sequence uint64
	Offset   int64
}

// PlacesFollow is I3 as far as it can be seen from outside: the store never goes
// back, and goes on only by commits. (A commit may stay where it is: an owner with
// nothing to do asks so whether it still is the owner.) A wipe or a rollback starts
// a new history.
func PlacesFollow(place string, looks []Place) []Violation {
	l := list{invariant: I3}
	for i := 1; i < len(looks); i++ {
		a, b := looks[i-1], looks[i]
		switch {
		case b.Sequence < a.Sequence:
			l.add(place, "sequence went back from %d to %d", a.Sequence, b.Sequence)
		case b.Offset < a.Offset:
			l.add(place, "offset went back from %d to %d", a.Offset, b.Offset)
		case b.Sequence == a.Sequence && b.Offset != a.Offset:
			l.add(place, "offset went from %d to %d without a commit", a.Offset, b.Offset)
		}
	}
	return l.found
}
