package world

import (
	"fmt"
	"io"
	"math/rand/v2"
	"slices"
	"strings"

	"settlewatch/pipelines/calendar"
	"settlewatch/pipelines/join"
	"settlewatch/schemas/alert"
	"settlewatch/schemas/event"
	"settlewatch/schemas/topic"
)

var rawTopics = []topic.Topic{topic.RawAuthorization, topic.RawCapture, topic.RawSettlement}

// Schedule is all that decides a run.
type Schedule struct {
	Seed uint64 `json:"seed"`
	// Planted is the name of the bug that is in the product, empty for none.
	Planted string  `json:"planted,omitempty"`
	Plan    Plan    `json:"plan"`
	Faults  []Fault `json:"faults"`
	// Watch, if set, is told every step.
	Watch io.Writer `json:"-"`
}

// Plan is the world before anything fails.
type Plan struct {
	Items         []Item `json:"items"`
	LogPartitions int    `json:"log_partitions"`
	RawPartitions int    `json:"raw_partitions"`
	// Grow: the last raw partition of each topic is added while the others are read.
	Grow bool `json:"grow,omitempty"`
	// Played are the raw topics whose marks a loader writes, by the service's name.
	Played    []string `json:"played,omitempty"`
	Instances int      `json:"instances"` // of each service
	Warehouse bool     `json:"warehouse"`
	LifeDays  int32    `json:"life_days"`
	BatchMax  int      `json:"batch_max"` // records of one fetch
	// Steps after which faults end and everything has to come to rest.
	Steps int `json:"steps"`
	// FaultEvery is how many steps lie between two faults on average, 0 for none.
	FaultEvery int `json:"fault_every"`
	// SkewMs is how far clocks may be wrong, ahead or behind.
	SkewMs int64 `json:"skew_ms"`
	// Checkpoints are kept now and then, and the log is cut up to them.
	Checkpoints bool `json:"checkpoints,omitempty"`
	// AlertsOnly: the joiner leaves out payment snapshots.
	AlertsOnly bool `json:"alerts_only,omitempty"`
	// Split: acquirer acq1 is a group of its own.
	Split bool `json:"split,omitempty"`
}

func (p *Plan) played(t topic.Topic) bool {
	return slices.ContainsFunc(p.Played, func(service string) bool { return strings.Contains(t.Name, "."+service+".") })
}

// Draw makes the plan of a seed.
func Draw(seed uint64) *Schedule {
	r := rand.New(rand.NewPCG(seed, 0x5e771e))
	p := Plan{
		LogPartitions: 1 + r.IntN(2), RawPartitions: 1 + r.IntN(4)/3, Instances: 1 + r.IntN(3)/1, Warehouse: r.IntN(4) == 0,
		LifeDays: []int32{1, 3, 60}[r.IntN(3)], BatchMax: []int{1, 2, 4, 50}[r.IntN(4)], Steps: 300 + r.IntN(900),
		FaultEvery: []int{10, 20, 40, 80}[r.IntN(4)], SkewMs: []int64{0, 0, 300, 40_000, 2 * hourMs}[r.IntN(5)], Split: r.IntN(4) == 0,
	}
	p.Instances = min(p.Instances, 2)
	// A warehouse would have to load a log before it is cut.
	p.Checkpoints = !p.Warehouse && r.IntN(3) == 0
	p.AlertsOnly = r.IntN(5) == 0
	p.Grow = p.RawPartitions > 1 && r.IntN(2) == 0
	switch r.IntN(4) {
	case 0:
		p.Played = []string{"authorization", "capture", "settlement"}
	case 1:
		p.Played = []string{[]string{"authorization", "capture", "settlement"}[r.IntN(3)]}
	}
	for payment := range 1 + r.IntN(5) {
		p.Items = append(p.Items, drawPayment(r, payment)...)
	}
	slices.SortStableFunc(p.Items, func(a, b Item) int { return int(a.AtMs - b.AtMs) })
	return &Schedule{Seed: seed, Plan: p}
}

func drawPayment(r *rand.Rand, payment int) (items []Item) {
	if r.IntN(2) == 0 {
		at := monday10
		for _, word := range strings.Fields(cases[r.IntN(len(cases))]) {
			at += []int64{1, minuteMs, hourMs, 26 * hourMs}[r.IntN(4)] * int64(r.IntN(3))
			items = append(items, Item{payment, word, at, r.IntN(2)})
		}
		return items
	}
	for range 1 + r.IntN(7) {
		items = append(items, Item{payment, loose[r.IntN(len(loose))], monday10 + int64(r.IntN(80))*hourMs, r.IntN(2)})
	}
	return items
}

// raw is one raw topic, as far as it has come.
type raw struct {
	topic.Topic
	kind       kind
	partitions int
	// untils are the offsets at which the second version of the profile takes its turn,
	// by partition; nil before.
	untils []int64
	// turning: nothing is written until every reader of the first version knows where
	// it ends.
	turning bool
}

// source is the name of a raw partition as an ingest service reads it.
func (r *raw) source(partition int, version uint32) event.Source {
	return event.Source{Service: r.kind.String(), Topic: r.Name, Partition: int32(partition), Profile: "json", Version: version}
}

// sources are those that CONFIG expects.
func (r *raw) sources(clock event.Clock) (all []*event.ExpectedSource) {
	for n := range r.partitions {
		first := &event.ExpectedSource{Name: r.source(n, 1).String(), Clock: clock}
		second := &event.ExpectedSource{Name: r.source(n, 2).String(), Clock: clock}
		switch {
		case n >= len(r.untils) && r.untils == nil:
			all = append(all, first)
		case n >= len(r.untils):
			all = append(all, second)
		default:
			first.UntilOffset, second.FromOffset = &r.untils[n], &r.untils[n]
			all = append(all, first, second)
		}
	}
	return all
}

// reads tells whether a version of the profile reads an offset.
func (r *raw) reads(partition int, version uint32, offset int64) bool {
	if partition >= len(r.untils) {
		return (version == 1) == (r.untils == nil)
	}
	return (version == 1) == (offset < r.untils[partition])
}

// config is what is in force under a variant of the rules.
func (p *Plan) config(variant int, raws []*raw) *event.Config {
	cutoff := 23 * hourMs
	terms := &event.Terms{
		Cycle: "T+1", Calendar: "cn-mainland", Zone: "Asia/Shanghai", Counting: event.Counting_COUNTING_FROM_CLEARING,
		CutoffMs: &cutoff, PublishMs: 10 * hourMs, GraceMs: 2 * hourMs,
		Refunds: event.RefundMode_REFUND_MODE_NETTED, Stage: int32(event.Stage_STAGE_PAID_OUT),
		MaxFeeBps: 1000, AllowanceBps: 11500, LifeDays: p.LifeDays, HoldCapDays: 3,
	}
	switch variant % 4 {
	case 1:
		terms.ToleranceMinor = 10
	case 2:
		terms.GraceMs = 20 * hourMs
	case 3:
		terms.Refunds = event.RefundMode_REFUND_MODE_GROSS
	}
	versions, err := calendar.Versions()
	if err != nil {
		panic(err) // embedded data
	}
	c := &event.Config{
		Rules: fmt.Sprintf("variant %d", variant%4), JoinVersion: join.Version, AlertVersion: alert.Version,
		TzdataVersion: calendar.TZDataVersion, Calendars: versions,
	}
	rest := &event.Group{Name: "rest", Terms: terms}
	for _, r := range raws {
		clock := event.Clock_CLOCK_LIVE
		if p.played(r.Topic) {
			clock = event.Clock_CLOCK_PLAYED
		}
		rest.Sources = append(rest.Sources, r.sources(clock)...)
	}
	c.Groups = []*event.Group{rest}
	if p.Split {
		c.Groups = append(c.Groups, &event.Group{Name: "own", Acquirers: []string{"acq1"}, Terms: terms, Sources: rest.Sources})
	}
	return c
}
