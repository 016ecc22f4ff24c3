package demo

import (
	"fmt"
	"slices"

	"settlewatch/pipelines/intake"
	"settlewatch/schemas/alert"
	"settlewatch/tools/traffic"
)

// Count holds what was found to what was planted.
type Count struct {
	Planted    int `json:"planted"`
	Found      int `json:"found"`
	Missing    int `json:"missing"`
	Unexpected int `json:"unexpected"`
}

// Letters counts dead letters: found are those with a planted path and reason.
type Letters struct {
	Planted int `json:"planted"`
	Found   int `json:"found"`
	// Unexpected have another path or reason than any that was planted.
	Unexpected int `json:"unexpected"`
}

// Verdict is what a run came to.
type Verdict struct {
	Alerts  map[alert.Kind]*Count
	Letters Letters
	// Unequal repeats: the same id and revision with other bytes.
	Unequal int
	// Notes say what was missing or unexpected, a few of each.
	Notes []string
}

// notesMax bounds Notes.
const notesMax = 20

// Exact tells whether everything planted was found, and nothing else.
func (v *Verdict) Exact() bool {
	for _, c := range v.Alerts {
		if c.Missing > 0 || c.Unexpected > 0 {
			return false
		}
	}
	return v.Letters.Found == v.Letters.Planted && v.Letters.Unexpected == 0 && v.Unequal == 0
}

func (v *Verdict) note(format string, args ...any) {
	if len(v.Notes) < notesMax {
		v.Notes = append(v.Notes, fmt.Sprintf(format, args...))
	}
}

// subject is what a planted alert is known by: its id follows from the log.
type subject struct {
	kind         alert.Kind
	key, capture string
}

// Judge compares. An alert counts as found when its last revision, its number of
// revisions and its amount are the planted ones; otherwise it is both missing
// and unexpected.
func Judge(truth traffic.Truth, got Collected) Verdict {
	v := Verdict{Alerts: make(map[alert.Kind]*Count), Unequal: got.Unequal}
	for _, k := range alert.Kinds {
		v.Alerts[k] = new(Count)
	}
	found := make(map[subject][]Revision, len(got.Alerts))
	for _, revisions := range got.Alerts {
		a := revisions[0]
		s := subject{a.Kind, a.PaymentKey, a.Capture}
		if _, twice := found[s]; twice {
			v.Alerts[a.Kind].Unexpected++
			v.note("unexpected: a second alert %s for %s %s %s", a.ID, s.kind, s.key, s.capture)
			continue
		}
		found[s] = revisions
	}
	for _, want := range truth.Alerts {
		c := v.Alerts[want.Kind]
		c.Planted++
		s := subject{want.Kind, want.PaymentKey, want.Capture}
		revisions, there := found[s]
		delete(found, s)
		switch problem := differs(want, revisions); {
		case !there:
			c.Missing++
			v.note("missing: %s %s %s, case %s", want.Kind, want.PaymentKey, want.Capture, want.Case)
		case problem != "":
			c.Missing++
			c.Unexpected++
			v.note("differs: %s %s %s, case %s: %s", want.Kind, want.PaymentKey, want.Capture, want.Case, problem)
		default:
			c.Found++
		}
	}
	for s := range found {
		v.Alerts[s.kind].Unexpected++
		v.note("unexpected: %s %s %s", s.kind, s.key, s.capture)
	}
	v.judgeLetters(truth, got)
	slices.Sort(v.Notes)
	return v
}

func differs(want traffic.Expected, revisions []Revision) string {
	if len(revisions) == 0 {
		return "no revision"
	}
	last := revisions[len(revisions)-1]
	switch {
	case int(last.Revision) != len(revisions):
		return fmt.Sprintf("%d revisions came, the last is number %d", len(revisions), last.Revision)
	case len(revisions) != want.Revisions:
		return fmt.Sprintf("%d revisions, want %d", len(revisions), want.Revisions)
	case last.Status != want.Status:
		return fmt.Sprintf("status %s, want %s", last.Status, want.Status)
	case last.AmountMinor != want.AmountMinor || last.Currency != want.Currency:
		return fmt.Sprintf("amount %d %s, want %d %s", last.AmountMinor, last.Currency, want.AmountMinor, want.Currency)
	}
	return ""
}

func (v *Verdict) judgeLetters(truth traffic.Truth, got Collected) {
	v.Letters.Planted = truth.DeadLetterTotal()
	left := make(map[traffic.DeadLetter]int, len(truth.DeadLetters))
	for k, n := range truth.DeadLetters {
		left[k] = n
	}
	for _, l := range got.Letters {
		k := traffic.DeadLetter{Path: l.Path, Reason: intake.Reason(l.Reason)}
		if left[k] > 0 {
			left[k]--
			v.Letters.Found++
			continue
		}
		v.Letters.Unexpected++
		v.note("unexpected dead letter: %s %s", l.Path, l.Reason)
	}
	for k, n := range left {
		if n > 0 {
			v.note("missing dead letters: %d of %s %s", n, k.Path, k.Reason)
		}
	}
}
