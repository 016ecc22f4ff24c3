package join

import (
	"settlewatch/pipelines/hop"
	"settlewatch/schemas/event"
)

// Frontier is how far the feeds of one group are known completely.
type Frontier struct {
	Group string
	// TMs is Unix milliseconds; hop.Never before every expected source has marked.
	TMs int64
	// Holder is the source that holds it back; empty for a group without sources.
	Holder string
}

// Frontiers of the groups that CONFIG names, in its order.
func (s *State) Frontiers() []Frontier {
	groups := s.hop.Groups()
	out := make([]Frontier, len(groups))
	for g := range groups {
		out[g] = Frontier{Group: groups[g].Name, TMs: groups[g].Frontier, Holder: s.hop.Holder(g)}
	}
	return out
}

// SourceMark is the last mark of a source that a group expects.
type SourceMark struct {
	Group, Source string
	// TMs is Unix milliseconds; hop.Never before the first mark.
	TMs int64
}

// SourceMarks of all groups; a source of two groups comes twice.
func (s *State) SourceMarks() []SourceMark {
	at := make(map[string]int64)
	for _, p := range s.hop.Positions() {
		at[p.Source] = p.T
	}
	var out []SourceMark
	for _, g := range s.hop.Groups() {
		for _, source := range g.Sources {
			t, seen := at[source]
			if !seen {
				t = hop.Never
			}
			out = append(out, SourceMark{Group: g.Name, Source: source, TMs: t})
		}
	}
	return out
}

// Config in force, nil before the first. Not to be changed.
func (s *State) Config() *event.Config { return s.config }

// ConfigNumber of the CONFIG in force, its offset in the configuration topic; -1
// before the first.
func (s *State) ConfigNumber() int64 {
	if s.config == nil {
		return -1
	}
	return s.configNumber
}

// calendarNoticeDays is how long before a calendar's known years end it is said:
// the notice for the next year usually comes between late October and December.
const calendarNoticeDays = 30

// CalendarEnding names a calendar whose known years end within 30 days of its
// group's frontier, and its last known day; payments due later are held. Empty
// while there is time.
func (s *State) CalendarEnding() string {
	for g, terms := range s.terms {
		f := s.hop.Frontier(g)
		if f != hop.Never && terms.LocalDate(f)+calendarNoticeDays > terms.LastKnown() {
			return terms.CalendarLabel() + " ends on " + terms.LastKnown().String()
		}
	}
	return ""
}
