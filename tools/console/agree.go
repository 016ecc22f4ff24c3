package console

import (
	"fmt"
	"strconv"
	"strings"

	"settlewatch/pipelines/join"
	"settlewatch/schemas/alert"
	"settlewatch/schemas/event"
)

// Agreement is what Redis and ClickHouse say of the same payment.
type Agreement struct {
	// Compared is false where one of them was not read.
	Compared bool `json:"compared"`
	Agree    bool `json:"agree"`
	// Behind are differences that pass when the one behind catches up; Faults do not.
	Behind []string `json:"behind,omitempty"`
	Faults []string `json:"faults,omitempty"`
	// Notes are no differences: what one of them rightly does not keep.
	Notes []string `json:"notes,omitempty"`
}

func (a *Agreement) behind(format string, args ...any) {
	a.Behind = append(a.Behind, fmt.Sprintf(format, args...))
}

func (a *Agreement) fault(format string, args ...any) {
	a.Faults = append(a.Faults, fmt.Sprintf(format, args...))
}

func (a *Agreement) note(format string, args ...any) {
	a.Notes = append(a.Notes, fmt.Sprintf(format, args...))
}

// Standing of a recorded event in Redis.
const (
	standingJudged    = "judged"
	standingPending   = "waits"      // for the frontier
	standingUnread    = "unread"     // the joiner has not come to it
	standingRepeat    = "said again" // a repeat of a fact, or another content under its identity
	standingUncounted = "no amount"  // a kind that changes no amount
	standingOther     = "no longer"  // of an earlier life, or of one that has ended
	standingUnknown   = ""           // Redis was not read
)

// originOf is an event's identity in the log: where its raw record lies.
func originOf(source string, generation uint32, offset int64, index uint32) string {
	return fmt.Sprintf("%s %d %d %d", source, generation, offset, index)
}

func (e *RecordedEvent) origin() string {
	return originOf(e.Source, uint32(e.Generation), e.Offset, uint32(e.Index))
}

// standings says of every recorded event how Redis holds it.
func standings(live *Live, recorded *Recorded) []string {
	out := make([]string, len(recorded.Events))
	if live == nil {
		return out
	}
	held, ids := map[string]string{}, map[string]bool{}
	if p := live.Payment; p != nil {
		for _, facts := range []struct {
			facts    []join.Fact
			standing string
		}{{p.Judged, standingJudged}, {p.Pending, standingPending}} {
			for _, f := range facts.facts {
				held[originOf(f.Source, f.Generation, f.Offset, f.Index)] = facts.standing
				ids[f.ID.String()] = true
			}
		}
	}
	for i := range recorded.Events {
		e := &recorded.Events[i]
		standing, holds := held[e.origin()]
		switch {
		case holds:
			out[i] = standing
		case e.LogOffset >= live.Place.LogOffset:
			out[i] = standingUnread
		case ids[e.EventID]:
			out[i] = standingRepeat
		case live.Payment != nil && !hasFacts(e.Kind):
			out[i] = standingUncounted
		default:
			out[i] = standingOther
		}
	}
	return out
}

// hasFacts tells whether the join keeps facts of a kind, by the word of the table.
func hasFacts(kind string) bool {
	return join.KindName(event.Kind(event.Kind_value["KIND_"+strings.ToUpper(kind)])) != ""
}

// Compare says whether the two agree about the payment. Redis was read first, so
// that a running stream makes ClickHouse the one that knows more.
func Compare(live *Live, recorded *Recorded) Agreement {
	a := Agreement{Compared: live != nil && recorded != nil}
	if !a.Compared {
		return a
	}
	if live.Payment == nil {
		a.compareEnded(live, recorded)
	} else {
		a.compareEvents(live, recorded)
		a.compareAlerts(live.Payment, recorded)
		a.compareLife(live.Payment, recorded)
	}
	a.Agree = len(a.Behind) == 0 && len(a.Faults) == 0
	return a
}

// compareEnded: Redis forgets a payment when its life has ended; then nothing of
// it may be open.
func (a *Agreement) compareEnded(live *Live, recorded *Recorded) {
	unread := count(standings(live, recorded), standingUnread)
	if unread > 0 {
		a.behind("Redis is behind by %s that the joiner has not read", plural(unread, "event"))
		return
	}
	if len(recorded.Events) == 0 {
		return
	}
	if len(recorded.Lives) == 0 {
		a.fault("ClickHouse has %s, and neither Redis nor the payments table knows of a judgement", plural(len(recorded.Events), "event"))
		return
	}
	open := 0
	for _, latest := range latestAlerts(recorded) {
		if latest.Status == alert.Open {
			open++
		}
	}
	if open > 0 {
		a.fault("Redis does not hold the payment, and %s open in ClickHouse", plural(open, "alert"))
		return
	}
	a.note("the payment's life has ended: Redis has let go of it, ClickHouse keeps it")
}

func (a *Agreement) compareEvents(live *Live, recorded *Recorded) {
	p := live.Payment
	found := standings(live, recorded)
	unread := count(found, standingUnread)
	if unread > 0 {
		a.behind("Redis is behind by %s that the joiner has not read", plural(unread, "event"))
	}
	held := int(p.Events) + len(p.Pending)
	there := len(found) - unread
	switch extra := there - held; {
	case extra < 0:
		a.behind("ClickHouse is behind by %s", plural(-extra, "event"))
	case extra > 0 && len(recorded.Lives) > 1:
		a.note("%s of earlier lives of the payment: Redis has let go of them", plural(extra, "event"))
	case extra > 0:
		a.fault("ClickHouse has %s that Redis does not count", plural(extra, "event"))
	default:
		missing := len(p.Judged) + len(p.Pending) - count(found, standingJudged) - count(found, standingPending)
		if missing > 0 {
			a.fault("%s of Redis from other places than those in ClickHouse", plural(missing, "event"))
		}
	}
	if n := count(found, standingRepeat); n > 0 {
		a.note("%s said again what was known, or otherwise under the same identity: counted, and of no effect", plural(n, "event"))
	}
}

func count(standings []string, which string) int {
	n := 0
	for _, s := range standings {
		if s == which {
			n++
		}
	}
	return n
}

// latestAlerts by id: revisions are in order of their moments.
func latestAlerts(r *Recorded) map[string]*alert.Alert {
	out := map[string]*alert.Alert{}
	for _, x := range r.Alerts {
		if held := out[x.ID]; held == nil || x.Revision > held.Revision {
			out[x.ID] = x
		}
	}
	return out
}

func (a *Agreement) compareAlerts(p *join.Explanation, recorded *Recorded) {
	latest := latestAlerts(recorded)
	for _, have := range p.Alerts {
		name := fmt.Sprintf("alert %s (%s)", have.ID, have.Kind)
		there := latest[have.ID]
		delete(latest, have.ID)
		switch {
		case there == nil:
			a.behind("ClickHouse is behind by %s of %s", plural(int(have.Revision), "revision"), name)
		case there.Revision < have.Revision:
			a.behind("ClickHouse is behind by %s of %s", plural(int(have.Revision-there.Revision), "revision"), name)
		case there.Revision > have.Revision:
			a.behind("Redis is behind by %s of %s: published, and not committed yet", plural(int(there.Revision-have.Revision), "revision"), name)
		case there.Status != have.Status || there.AmountMinor != have.AmountMinor:
			a.fault("%s revision %d is %s %s in Redis and %s %s in ClickHouse", name, have.Revision, have.Status,
				Amount(have.AmountMinor, have.Currency), there.Status, Amount(there.AmountMinor, there.Currency))
		}
	}
	if len(latest) == 0 {
		return
	}
	if len(recorded.Lives) > 1 {
		a.note("%s of earlier lives of the payment", plural(len(latest), "alert"))
	} else {
		a.behind("Redis does not hold %s that ClickHouse has: published, and not committed yet", plural(len(latest), "alert"))
	}
}

func (a *Agreement) compareLife(p *join.Explanation, recorded *Recorded) {
	if p.Life.IsZero() {
		return
	}
	for _, l := range recorded.Lives {
		if l.Life != p.Life.String() {
			continue
		}
		version := int64(p.Version)
		status := strings.ToLower(strings.TrimPrefix(p.Status.String(), "STATUS_"))
		switch {
		case l.Version < version:
			a.behind("ClickHouse is behind by %s", plural(int(version-l.Version), "judgement"))
		case l.Version > version:
			a.behind("Redis is behind by %s: published, and not committed yet", plural(int(l.Version-version), "judgement"))
		case l.Status != status:
			a.fault("the payment is %s in Redis and %s in ClickHouse, both after judgement %s", status, l.Status, strconv.FormatInt(version, 10))
		}
		return
	}
	a.behind("ClickHouse does not have this life of the payment yet")
}
