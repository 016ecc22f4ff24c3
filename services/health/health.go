// Package health knows whether a service is alive, and ready. What enters are the
// partitions that it owns and how far each has come; what leaves are two verdicts
// with their reasons.
//
// What it guarantees: a partition whose loop does not come round, or that does not
// move while input waits, is told within Options.StallAfter; no silence passes for
// health.
package health

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"
)

// readyAfter is how long a loop may take to come round before its service counts
// as busy with something that fails: each loop waits a second for input at most.
const readyAfter = 10 * time.Second

// Options bound what counts as healthy.
type Options struct {
	// StallAfter is how long a partition may stand still while input waits. Zero is
	// for ever.
	StallAfter time.Duration
	// Now is the clock; nil is the machine's.
	Now func() time.Time
}

// Place is one partition.
type Place struct {
	Topic     string
	Partition int32
}

func (p Place) String() string { return fmt.Sprintf("%s/%d", p.Topic, p.Partition) }

// Health of one service. It is safe for concurrent use.
type Health struct {
	options Options

	mu        sync.Mutex
	waiting   []string // for these servers, at start
	connected bool
	ending    bool
	owned     map[Place]*partition
	retry     retry
}

type partition struct {
	since    time.Time // assigned
	beat     time.Time // the loop came round last; zero before the first time
	advanced time.Time // the position moved last, or nothing was left to read
	next     int64
	end      int64
	owners   int
	refused  refusal
	paused   pause
}

// refusal is why a partition is not worked on; zero where it is.
type refusal struct{ reason, cause string }

type retry struct {
	// since is the first of a series: no two of it lie further apart than readyAfter.
	since  time.Time
	at     time.Time
	server string
	cause  string
}

// New knows of no partition and of no connection.
func New(o Options) *Health {
	if o.Now == nil {
		o.Now = time.Now
	}
	return &Health{options: o, owned: make(map[Place]*partition)}
}

// Waiting says for which server the service waits before it can begin.
func (h *Health) Waiting(server string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.waiting = append(h.waiting, server)
}

// Connected says that all servers answered.
func (h *Health) Connected() {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.connected, h.waiting = true, nil
}

// Ending says that the service was asked to end.
func (h *Health) Ending() {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.ending = true
}

// Own notes an assigned partition until release is called.
func (h *Health) Own(p Place) (release func()) {
	h.mu.Lock()
	defer h.mu.Unlock()
	now := h.options.Now()
	at := h.owned[p]
	if at == nil {
		at = new(partition)
		h.owned[p] = at
	}
	owners := at.owners + 1
	*at = partition{since: now, advanced: now, owners: owners}
	return func() {
		h.mu.Lock()
		defer h.mu.Unlock()
		if at.owners--; at.owners == 0 && h.owned[p] == at {
			delete(h.owned, p)
		}
	}
}

// Beat says that a partition's loop came round: it is done with everything before
// next, and asks for more.
func (h *Health) Beat(p Place, next int64) {
	h.mu.Lock()
	defer h.mu.Unlock()
	at := h.owned[p]
	if at == nil {
		return // the assignment has just ended
	}
	now := h.options.Now()
	if at.beat.IsZero() || next != at.next || next >= at.end || at.refused.reason != "" || at.paused.why != "" {
		at.advanced = now
	}
	at.beat, at.next, at.refused, at.paused = now, next, refusal{}, pause{}
}

// Refuse notes that a partition is not worked on, because going on would be wrong:
// a person has to act. reason is one of a few words, cause the whole of it, which
// must be safe to show. It stands until the loop comes round again.
func (h *Health) Refuse(p Place, reason string, cause error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if at := h.owned[p]; at != nil {
		at.refused = refusal{reason: reason, cause: cause.Error()}
	}
}

// End notes the offset after the last that a partition holds, as a fetch showed it.
func (h *Health) End(p Place, end int64) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if at := h.owned[p]; at != nil {
		if at.next >= at.end {
			at.advanced = h.options.Now() // until now there was nothing to do
		}
		at.end = end
	}
}

// Retry notes a request that a server did not take and that is repeated. cause must
// be safe to show.
func (h *Health) Retry(server string, cause error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	now, since := h.options.Now(), h.retry.since
	if now.Sub(h.retry.at) > readyAfter {
		since = now
	}
	h.retry = retry{since: since, at: now, server: server, cause: cause.Error()}
}

// Partition is how far one partition has come.
type Partition struct {
	Topic     string `json:"topic"`
	Partition int32  `json:"partition"`
	// State is "loading" before the loop has come round for the first time, then
	// "running", "stalled", "refused", "waiting" or "ended".
	State string `json:"state"`
	// Why it is waiting or has ended, for people.
	Why string `json:"why,omitempty"`
	// Refused is the reason, in one word, where it is refused.
	Refused string `json:"refused,omitempty"`
	Next    int64  `json:"next_offset"`
	Lag     int64  `json:"lag_records"`
	// QuietSeconds since the loop came round.
	QuietSeconds float64 `json:"quiet_seconds"`
}

// Report is a verdict with its reasons.
type Report struct {
	OK         bool        `json:"ok"`
	Reasons    []string    `json:"reasons,omitempty"`
	Partitions []Partition `json:"partitions"`
}

// Alive is false when a partition is stalled: its loop has not come round, or its
// position has not moved though input waits, for StallAfter; loading may take ten
// times as long. A refused partition is not stalled: another start does not help.
func (h *Health) Alive() Report {
	h.mu.Lock()
	defer h.mu.Unlock()
	now := h.options.Now()
	r := Report{Partitions: h.partitions(now)}
	for _, p := range r.Partitions {
		if p.State == stalled {
			r.Reasons = append(r.Reasons, h.why(now, Place{p.Topic, p.Partition}))
		}
	}
	r.OK = len(r.Reasons) == 0
	return r
}

// Ready is true when all servers answered and every owned partition is loaded and
// comes round. A service without partitions is idle, and ready to take some, unless
// its requests have been failing for a while: then it may have lost them.
func (h *Health) Ready() Report {
	h.mu.Lock()
	defer h.mu.Unlock()
	now := h.options.Now()
	r := Report{Partitions: h.partitions(now)}
	switch {
	case h.ending:
		r.Reasons = append(r.Reasons, "asked to end")
	case !h.connected:
		r.Reasons = append(r.Reasons, "waiting for "+cmp.Or(strings.Join(h.waiting, ", "), "its servers"))
	case len(h.owned) == 0 && now.Sub(h.retry.at) <= readyAfter && h.retry.at.Sub(h.retry.since) > readyAfter:
		// A member that lost its group owns nothing: that is not the idleness of one
		// that nobody needs.
		r.Reasons = append(r.Reasons, fmt.Sprintf("owns no partition; %s %s ago: %s",
			h.retry.server, now.Sub(h.retry.at).Round(time.Second), h.retry.cause))
	}
	for _, p := range r.Partitions {
		place := Place{p.Topic, p.Partition}
		switch at := h.owned[place]; {
		case p.State == refused:
			r.Reasons = append(r.Reasons, fmt.Sprintf("%s is refused (%s): %s; see deploy/runbooks/refused.md", place, at.refused.reason, at.refused.cause))
		case p.State == waiting:
			r.Reasons = append(r.Reasons, fmt.Sprintf("%s waits: %s", place, at.paused.why))
		case p.State == ended:
		case at.beat.IsZero():
			r.Reasons = append(r.Reasons, fmt.Sprintf("%s is being loaded", place))
		case now.Sub(at.beat) > readyAfter || p.State == stalled:
			r.Reasons = append(r.Reasons, h.why(now, place))
		}
	}
	r.OK = len(r.Reasons) == 0
	return r
}

// The states of a partition.
const (
	loading = "loading"
	running = "running"
	stalled = "stalled"
	refused = "refused"
	waiting = "waiting"
	ended   = "ended"
)

func (h *Health) partitions(now time.Time) []Partition {
	out := make([]Partition, 0, len(h.owned))
	for place, at := range h.owned {
		p := Partition{
			Topic: place.Topic, Partition: place.Partition, State: running,
			Next: at.next, Lag: max(0, at.end-at.next), QuietSeconds: now.Sub(latest(at.beat, at.since)).Seconds(),
		}
		if at.beat.IsZero() {
			p.State = loading
		}
		switch {
		case at.refused.reason != "":
			p.State, p.Refused = refused, at.refused.reason
		case at.paused.ended:
			p.State, p.Why = ended, at.paused.why
		case at.paused.why != "":
			p.State, p.Why = waiting, at.paused.why
		case h.stalled(now, at):
			p.State = stalled
		}
		out = append(out, p)
	}
	slices.SortFunc(out, func(a, b Partition) int {
		return cmp.Or(cmp.Compare(a.Topic, b.Topic), cmp.Compare(a.Partition, b.Partition))
	})
	return out
}

func latest(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}

// loadingFactor: the state of many millions of payments takes minutes to load, and
// a service that is ended meanwhile begins anew.
const loadingFactor = 10

// stalled: a loop that does not come round holds something, be it input or a
// commit; one that does may stand still only when nothing is left to read.
func (h *Health) stalled(now time.Time, at *partition) bool {
	switch {
	case h.options.StallAfter == 0:
		return false
	case at.beat.IsZero():
		return now.Sub(at.since) >= loadingFactor*h.options.StallAfter
	case now.Sub(at.beat) >= h.options.StallAfter:
		return true
	}
	return at.next < at.end && now.Sub(at.advanced) >= h.options.StallAfter
}

// why a partition does not come on, with the last failure that may explain it.
func (h *Health) why(now time.Time, p Place) string {
	at := h.owned[p]
	quiet := now.Sub(latest(at.beat, at.since))
	text := fmt.Sprintf("%s: nothing happened for %s", p, quiet.Round(time.Second))
	if at.next < at.end && quiet < readyAfter {
		text = fmt.Sprintf("%s: stands at offset %d of %d for %s", p, at.next, at.end, now.Sub(at.advanced).Round(time.Second))
	}
	if age := now.Sub(h.retry.at); h.retry.cause != "" && age < readyAfter+quiet {
		text += fmt.Sprintf("; %s %s ago: %s", h.retry.server, age.Round(time.Second), h.retry.cause)
	}
	return text
}

// Owned is how many partitions are owned.
func (h *Health) Owned() int {
	h.mu.Lock()
	defer h.mu.Unlock()
	return len(h.owned)
}
