package invariant

import "fmt"

// A Measure is something that has a bound: a time to recover, a peak of memory.
type Measure struct {
	Name  string
	Value float64
	Most  float64
	Unit  string
}

// WithinBounds is I6.
func WithinBounds(measures ...Measure) []Violation {
	l := list{invariant: I6}
	for _, m := range measures {
		if !(m.Value <= m.Most) { // not a number is beyond every bound
			l.add(m.Name, "%.4g %s, the bound is %.4g", m.Value, m.Unit, m.Most)
		}
	}
	return l.found
}

// A Look is a service as it was seen at one moment.
type Look struct {
	AtMs int64
	// Position is how far it is; Waiting: input lies beyond it.
	Position int64
	Waiting  bool
	// Says: its health names trouble, or it has ended with an error.
	Says bool
}

// NothingIsSilent is I7: whoever stands still for longer than the bound while
// input waits says so within it. looks are of one partition of one service, in
// order.
func NothingIsSilent(place string, boundMs int64, looks []Look) []Violation {
	l := list{invariant: I7}
	since := int64(-1) // when it was last seen to move, to have nothing to do, or to speak
	for i, x := range looks {
		still := i > 0 && x.Position == looks[i-1].Position && x.Waiting && !x.Says
		if !still || since < 0 {
			since = x.AtMs
			continue
		}
		if quiet := x.AtMs - since; quiet > boundMs {
			l.add(place, "at position %d for %d ms with input waiting and nothing said; the bound is %d ms", x.Position, quiet, boundMs)
			since = x.AtMs
		}
	}
	return l.found
}

// Refuses is I7 where a service must not go on: it ends or stays unhealthy, its
// reason is said, and nothing is published after the fault.
func Refuses(place string, refused bool, said string, wantSaid func(string) bool, publishedAfter int) []Violation {
	l := list{invariant: I7}
	if !refused {
		l.add(place, "runs on")
	}
	if !wantSaid(said) {
		l.add(place, "does not say what happened: %s", clip(said))
	}
	if publishedAfter > 0 {
		l.add(place, "published %d records that it must not have", publishedAfter)
	}
	return l.found
}

func clip(text string) string {
	if len(text) > 400 {
		return fmt.Sprintf("%s … (%d bytes)", text[:400], len(text))
	}
	return fmt.Sprintf("%q", text)
}
