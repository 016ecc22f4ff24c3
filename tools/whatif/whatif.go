// Package whatif replays the payment log under other rules and says which alerts
// would be others.
//
// What enters are the log and a configuration; what leaves is the difference between
// the alerts that the log gives and those that it would give. Nothing is written.
// Guaranteed: both sides are folds of the same records by the same join, so that
// every difference comes from the rules; the payments of one partition are in memory
// twice, and once more as stored where the fold begins with a checkpoint.
//
// A log that was cut begins with a checkpoint, and there the other rules come into
// force: what was said before it stands, on both sides.
package whatif

import (
	"cmp"
	"context"
	"fmt"
	"math"
	"slices"
	"time"

	"google.golang.org/protobuf/proto"

	"settlewatch/pipelines/join"
	"settlewatch/pipelines/stage"
	"settlewatch/schemas/alert"
	"settlewatch/schemas/event"
	"settlewatch/schemas/topic"
	"settlewatch/tools/replay"
)

// Options of a run.
type Options struct {
	Log stage.Log
	// Config are the other rules. The sources that they expect are replaced by those
	// of the log's own configurations: what is asked is another judgement of what
	// arrived, not another arrival.
	Config *event.Config
	// Checkpoints are where a fold begins whose log does not begin at 0; nil for none.
	Checkpoints stage.Checkpoints
	// FromCheckpoint begins every partition with its newest checkpoint.
	FromCheckpoint bool
	// FromMs and UntilMs bound the moments judged, Unix milliseconds: only alerts with
	// a revision in between are compared, as they stand at UntilMs. 0 is open.
	FromMs, UntilMs int64
	// Progress is called now and then with records of the log; nil is silent.
	Progress func(done, total int64)
}

// Standing is how an alert stands at the end.
type Standing struct {
	Revision     uint32       `json:"revision"`
	Status       alert.Status `json:"status"`
	AmountMinor  int64        `json:"amount_minor"`
	Currency     string       `json:"currency"`
	MomentJudged string       `json:"moment_judged"`
	EvidenceDue  string       `json:"evidence_due,omitempty"`
	// Opened is when the first revision was judged; empty where that was before the
	// checkpoint that the fold began with.
	Opened string `json:"opened,omitempty"`
}

// same tells whether a person would call two standings the same alert; rules and
// number of revisions may differ.
func (s Standing) same(o Standing) bool {
	return s.Status == o.Status && s.AmountMinor == o.AmountMinor && s.Currency == o.Currency && s.Opened == o.Opened
}

// Change is one alert that would be another; Before or After is nil where there is none.
type Change struct {
	ID         string     `json:"id"`
	Kind       alert.Kind `json:"kind"`
	PaymentKey string     `json:"payment_key"`
	Before     *Standing  `json:"before,omitempty"`
	After      *Standing  `json:"after,omitempty"`
}

// Counts of one kind.
type Counts struct {
	Kind alert.Kind `json:"kind"`
	// Before and After are alerts, Open those that stand open at the end.
	Before     int `json:"before"`
	After      int `json:"after"`
	OpenBefore int `json:"open_before"`
	OpenAfter  int `json:"open_after"`
	OnlyBefore int `json:"only_before"`
	OnlyAfter  int `json:"only_after"`
	Changed    int `json:"changed"`
}

// Report is the difference.
type Report struct {
	Records int64  `json:"records"`
	Rules   string `json:"rules"`
	// Begins are the partitions that were not folded from offset 0.
	Begins  []Begin  `json:"begins,omitempty"`
	Counts  []Counts `json:"counts"`
	Changes []Change `json:"-"`
}

// Differs tells whether an alert would be another.
func (r *Report) Differs() bool { return len(r.Changes) > 0 }

// Run replays every partition.
func Run(ctx context.Context, o Options) (*Report, error) {
	n, err := o.Log.Partitions(ctx, topic.PaymentLog.Name)
	if err != nil {
		return nil, fmt.Errorf("partitions of %s: %w", topic.PaymentLog.Name, err)
	}
	r := &run{Options: o, report: &Report{Rules: o.Config.GetRules()}}
	begins, ends := make([]int64, n), make([]int64, n)
	for p := range ends {
		if begins[p], ends[p], err = r.bounds(ctx, int32(p)); err != nil {
			return nil, fmt.Errorf("partition %d: %w", p, err)
		}
		r.total += ends[p] - begins[p]
	}
	for _, k := range alert.Kinds {
		r.report.Counts = append(r.report.Counts, Counts{Kind: k})
	}
	for p, end := range ends {
		if err := r.partition(ctx, int32(p), begins[p], end); err != nil {
			return nil, fmt.Errorf("partition %d: %w", p, err)
		}
	}
	slices.SortFunc(r.report.Changes, func(a, b Change) int {
		return cmp.Or(cmp.Compare(a.opened(), b.opened()), cmp.Compare(a.PaymentKey, b.PaymentKey), cmp.Compare(a.ID, b.ID))
	})
	r.report.Records = r.done
	return r.report, nil
}

func (c Change) opened() string {
	if c.Before != nil {
		return c.Before.Opened
	}
	return c.After.Opened
}

// run is one Run.
type run struct {
	Options
	report      *Report
	done, total int64
}

// side is one of the two folds of a partition.
type side struct {
	state    *join.State
	out      join.Output
	standing map[string]*standing
}

type standing struct {
	Standing
	kind   alert.Kind
	key    string
	within bool // a revision lies between FromMs and UntilMs
	// known: the checkpoint that the fold began with holds an earlier revision.
	known bool
}

func newSide(state *join.State) *side {
	state.NotStored()
	return &side{state: state, standing: map[string]*standing{}}
}

func (r *run) partition(ctx context.Context, partition int32, first, end int64) error {
	start, err := r.start(ctx, partition, first, end)
	if err != nil {
		return err
	}
	before, after := start.before, start.after
	var record event.LogRecord
	err = replay.Records(ctx, r.Log, topic.PaymentLog.Name, partition, start.offset, end, func(raw *stage.Record) error {
		if r.done++; r.done%4096 == 0 && r.Progress != nil {
			r.Progress(r.done, r.total)
		}
		record = event.LogRecord{}
		if err := record.UnmarshalVT(raw.Value); err != nil || record.Origin == nil {
			return nil //nolint:nilerr // the joiner leaves it out as well
		}
		if err := r.step(before, &record); err != nil {
			return fmt.Errorf("under the log's own rules: %w", err)
		}
		if config := record.GetConfig(); config != nil {
			record.Body = &event.LogRecord_Config{Config: r.instead(config)}
		}
		if err := r.step(after, &record); err != nil {
			return fmt.Errorf("under rules %s: %w", r.Config.GetRules(), err)
		}
		return nil
	})
	if err != nil {
		return err
	}
	// What the frontier has passed is judged at the next records: here are none.
	for _, s := range []*side{before, after} {
		for s.state.Pending() {
			if err := s.state.Drain(&s.out); err != nil {
				return err
			}
			r.take(s)
		}
	}
	if err := start.complete(); err != nil {
		return err
	}
	r.compare(before, after)
	return nil
}

// instead is the other configuration in the place of one of the log's.
func (r *run) instead(config *event.Config) *event.Config {
	other := proto.CloneOf(r.Config)
	other.LogPartitions = config.LogPartitions
	var all []*event.ExpectedSource
	named := map[string][]*event.ExpectedSource{}
	seen := map[string]bool{}
	for _, g := range config.Groups {
		named[g.Name] = g.Sources
		for _, s := range g.Sources {
			if !seen[s.Name] {
				seen[s.Name] = true
				all = append(all, s)
			}
		}
	}
	for _, g := range other.Groups {
		if g.Sources = named[g.Name]; g.Sources == nil {
			g.Sources = all
		}
	}
	return other
}

func (r *run) step(s *side, record *event.LogRecord) error {
	if err := s.state.Step(record, &s.out); err != nil {
		return err
	}
	r.take(s)
	return nil
}

// take keeps how alerts stand, and forgets the rest.
func (r *run) take(s *side) {
	until := r.UntilMs
	if until == 0 {
		until = math.MaxInt64
	}
	for _, a := range s.out.Alerts {
		moment := a.MomentMs()
		if moment >= until {
			continue
		}
		at := s.standing[a.ID]
		if at == nil {
			at = &standing{kind: a.Kind, key: a.PaymentKey, known: a.Revision > 1}
			if !at.known {
				at.Opened = a.MomentJudged
			}
			s.standing[a.ID] = at
		}
		at.Revision, at.Status, at.AmountMinor, at.Currency, at.MomentJudged = a.Revision, a.Status, a.AmountMinor, a.Currency, a.MomentJudged
		if a.Due != nil {
			at.EvidenceDue = a.Due.EvidenceDue
		}
		at.within = at.within || moment >= r.FromMs
	}
	s.out.Alerts, s.out.Payments = s.out.Alerts[:0], s.out.Payments[:0]
}

func (r *run) compare(before, after *side) {
	for id, b := range before.standing {
		a := after.standing[id]
		if !b.within && (a == nil || !a.within) {
			continue
		}
		c := r.counts(b.kind)
		c.Before++
		c.OpenBefore += open(b)
		change := Change{ID: id, Kind: b.kind, PaymentKey: b.key, Before: &b.Standing}
		if a == nil {
			c.OnlyBefore++
		} else {
			c.After++
			c.OpenAfter += open(a)
			if change.After = &a.Standing; a.same(b.Standing) {
				continue
			}
			c.Changed++
		}
		r.report.Changes = append(r.report.Changes, change)
	}
	for id, a := range after.standing {
		if before.standing[id] != nil || !a.within {
			continue
		}
		c := r.counts(a.kind)
		c.After++
		c.OpenAfter += open(a)
		c.OnlyAfter++
		r.report.Changes = append(r.report.Changes, Change{ID: id, Kind: a.kind, PaymentKey: a.key, After: &a.Standing})
	}
}

func (r *run) counts(k alert.Kind) *Counts {
	i := slices.IndexFunc(r.report.Counts, func(c Counts) bool { return c.Kind == k })
	return &r.report.Counts[i]
}

func open(s *standing) int {
	if s.Status == alert.Open {
		return 1
	}
	return 0
}

// ParseMoment reads an instant of a command line: RFC 3339 with offset.
func ParseMoment(flag, text string) (ms int64, err error) {
	if text == "" {
		return 0, nil
	}
	at, err := time.Parse(time.RFC3339, text)
	if err != nil {
		return 0, fmt.Errorf("--%s %q: want RFC 3339 with offset, such as 2025-10-10T12:00:00+08:00", flag, text)
	}
	return at.UnixMilli(), nil
}
