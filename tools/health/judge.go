package health

import (
	"fmt"
	"time"
)

// Healthy tells whether there is nothing that an operator should look at.
func (r *Report) Healthy() bool { return len(r.Problems) == 0 }

// Unreadable tells whether no server answered at all.
func (r *Report) Unreadable() bool {
	for _, s := range r.Servers {
		if s.Reachable {
			return false
		}
	}
	return true
}

// Judge fills in the problems. stale is how far a live frontier may lie behind the
// clock; lagMax how many records a service may be behind in one topic, 0 for any
// number: a backlog that is worked off is no fault.
func (r *Report) Judge(stale time.Duration, lagMax int64) {
	for _, name := range ServerNames {
		if s := r.Servers[name]; s != nil && s.Error != "" {
			r.problem("%s: %s", name, s.Error)
		}
	}
	if r.Servers[Kafka] != nil && r.Servers[Kafka].Reachable && r.Config == nil {
		r.problem("no configuration was applied: nothing is judged; `settlewatch apply FILE`")
	}
	for i := range r.Services {
		r.judgeService(&r.Services[i], lagMax)
	}
	for i := range r.Frontiers {
		r.judgeFrontier(&r.Frontiers[i], stale)
	}
	if r.Config != nil && len(r.Config.Behind) > 0 {
		r.problem("configuration %d is not yet in force in partitions %v of the payment log", r.Config.Number, r.Config.Behind)
	}
}

func (r *Report) problem(format string, args ...any) {
	r.Problems = append(r.Problems, fmt.Sprintf(format, args...))
}

func (r *Report) judgeService(s *Service, lagMax int64) {
	if s.Members == 0 {
		r.problem("%s: no instance runs (group %s has no member)%s", s.Name, s.Group, elsewhere(s.Name))
		return
	}
	for _, l := range s.Legs {
		if l.Owned < l.Partitions {
			r.problem("%s: %d of %d partitions of %s have no owner; a rebalance ends within a minute", s.Name, l.Partitions-l.Owned, l.Partitions, l.Topic)
		}
		if lagMax > 0 && l.Lag > lagMax {
			r.problem("%s: %d records behind in %s", s.Name, l.Lag, l.Topic)
		}
	}
}

// elsewhere is what else may be: an ingest service reads by the profile that it was
// started with, and waits where the configuration expects another.
func elsewhere(service string) string {
	switch service {
	case "authorization", "capture", "settlement":
		return "; one that was started with another --profile waits, and its /readyz says for what"
	}
	return ""
}

func (r *Report) judgeFrontier(f *Frontier, stale time.Duration) {
	switch {
	case f.Time == nil && f.Played:
		r.problem("group %s: nothing is judged until the loader of %s writes its first mark", f.Group, f.HeldBy)
	case f.Time == nil:
		r.problem("group %s: nothing is judged, for %s has not marked yet: is its ingest service up, and does its topic have that partition?", f.Group, f.HeldBy)
	case f.AgeSeconds != nil && *f.AgeSeconds > stale.Seconds():
		r.problem("group %s: held at %s by %s", f.Group, f.Time.UTC().Format(time.RFC3339), f.HeldBy)
	}
}
