// Package invariant is what must hold whatever fails, in one place. Each of I1 to
// I7 is a function of what was observed: records of the payment log, of the alert
// and payment topics, what the state store holds and was asked to commit, rows of
// the warehouse, measurements. What leaves is a list of violations, empty when the
// invariant holds. Nothing here does I/O: whoever runs a fault, on real servers or
// in the simulation, collects the observations and asks.
package invariant

import "fmt"

// The invariants.
const (
	I1 = "I1" // the stored state is a pure fold of the log
	I2 = "I2" // the alerts are the oracle's; repeats are byte for byte the same
	I3 = "I3" // commits follow each other without a gap, none of a stale owner
	I4 = "I4" // the warehouse holds what Kafka holds, each once
	I5 = "I5" // amounts are conserved, per currency
	I6 = "I6" // recovery time and memory are bounded
	I7 = "I7" // nothing stalls or is lost without being said
)

// A Violation is one thing found that an invariant forbids.
type Violation struct {
	Invariant string // I1 … I7
	// Place is a partition, an alert, a table: where to look.
	Place string
	What  string
}

func (v Violation) String() string { return fmt.Sprintf("%s: %s: %s", v.Invariant, v.Place, v.What) }

// most is how many violations of one kind are listed: a broken invariant is often
// broken a thousand times, and the first ones say why.
const most = 20

// A list collects violations of one invariant.
type list struct {
	invariant string
	found     []Violation
}

func (l *list) add(place, what string, args ...any) {
	if len(l.found) < most {
		l.found = append(l.found, Violation{l.invariant, place, fmt.Sprintf(what, args...)})
	}
}
