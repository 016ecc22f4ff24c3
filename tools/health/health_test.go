package health

import (
	"errors"
	"strings"
	"testing"
	"time"

	"settlewatch/pipelines/hop"
	"settlewatch/pipelines/join"
	"settlewatch/schemas/event"
)

const (
	sourceA = "authorization/raw.authorization.v1/0/documented@1"
	sourceB = "capture/raw.capture.v1/0/documented@1"
)

var now = time.Date(2026, time.March, 4, 5, 6, 7, 0, time.UTC)

// sound is a report without a problem.
func sound() *Report {
	at, age := now.Add(-time.Second), 1.0
	return &Report{
		At: now, Servers: map[string]*Server{Kafka: {Reachable: true}, Redis: {Reachable: true}, ClickHouse: {Reachable: true}},
		Config:    &Config{Number: 2, Rules: "r"},
		Services:  []Service{{Name: "joiner", Group: "g", Members: 1, Legs: []Leg{{Topic: "t", Partitions: 4, Owned: 4, Lag: 10}}}},
		Frontiers: []Frontier{{Group: "default", Time: &at, AgeSeconds: &age, HeldBy: sourceA}},
	}
}

func TestJudge(t *testing.T) {
	for name, c := range map[string]struct {
		spoil func(*Report)
		lag   int64
		want  string // "" is healthy
	}{
		"sound":              {func(*Report) {}, 0, ""},
		"a backlog":          {func(r *Report) { r.Services[0].Legs[0].Lag = 1e9 }, 0, ""},
		"too long a backlog": {func(r *Report) { r.Services[0].Legs[0].Lag = 101 }, 100, "joiner: 101 records behind in t"},
		"a server is away":   {func(r *Report) { r.Servers[Redis] = &Server{Error: "connection refused"} }, 0, "redis: connection refused"},
		"nothing applied":    {func(r *Report) { r.Config = nil }, 0, "no configuration was applied"},
		"Kafka away: the configuration is not known to be missing": {
			func(r *Report) { r.Servers[Kafka], r.Config = &Server{}, nil }, 0, "",
		},
		"nobody runs":       {func(r *Report) { r.Services[0].Members = 0 }, 0, "joiner: no instance runs"},
		"an unowned place":  {func(r *Report) { r.Services[0].Legs[0].Owned = 3 }, 0, "1 of 4 partitions of t have no owner"},
		"a stale frontier":  {func(r *Report) { age := 61.0; r.Frontiers[0].AgeSeconds = &age }, 0, "group default: held at 2026-03-04T05:06:06Z by " + sourceA},
		"an old played one": {func(r *Report) { r.Frontiers[0].Played, r.Frontiers[0].AgeSeconds = true, nil }, 0, ""},
		"never marked":      {func(r *Report) { r.Frontiers[0].Time = nil }, 0, sourceA + " has not marked yet"},
		"not yet in force":  {func(r *Report) { r.Config.Behind = []int32{3} }, 0, "not yet in force in partitions [3]"},
	} {
		r := sound()
		c.spoil(r)
		r.Judge(time.Minute, c.lag)
		if got := strings.Join(r.Problems, "\n"); (c.want == "") != r.Healthy() || !strings.Contains(got, c.want) {
			t.Errorf("%s: problems %q, want %q", name, got, c.want)
		}
	}
}

func TestUnreadable(t *testing.T) {
	r := Collect(t.Context(), Connections{Errors: map[string]error{
		Kafka: errors.New("no broker\nnext step"), Redis: errors.New("no redis"), ClickHouse: errors.New("no clickhouse"),
	}}, now)
	r.Judge(time.Minute, 0)
	if !r.Unreadable() || len(r.Problems) != 3 || r.Problems[0] != "kafka: no broker" {
		t.Errorf("unreadable %t, problems %q", r.Unreadable(), r.Problems)
	}
	r.Servers[Redis].Reachable = true
	if r.Unreadable() {
		t.Error("one server answers, and the report is unreadable")
	}
}

// TestPlace: the least frontier over the partitions counts, with the source that
// holds it there.
func TestPlace(t *testing.T) {
	clock := event.Clock_CLOCK_LIVE
	meta := func(partition int32, a, b int64) partitionMeta {
		frontier := min(a, b)
		return partitionMeta{join.Meta{
			Payments: 2, Counts: join.Counts{Events: 5, Alerts: 1},
			Config: &event.Config{Groups: []*event.Group{{Name: "default", Sources: []*event.ExpectedSource{
				{Name: sourceA, Clock: clock}, {Name: sourceB, Clock: clock},
			}}}},
			Groups:  []hop.Group{{Name: "default", Sources: []string{sourceA, sourceB}, Frontier: frontier}},
			Sources: []hop.Position{{Source: sourceA, T: a}, {Source: sourceB, T: b}},
		}, partition}
	}
	at := func(ago time.Duration) int64 { return now.Add(-ago).UnixMilli() }

	r := &Report{}
	r.place([]partitionMeta{meta(0, at(1000), at(2000)), meta(1, at(time.Hour), at(time.Second)), meta(2, at(0), at(0))}, now)
	if len(r.Frontiers) != 1 {
		t.Fatalf("%d frontiers of one group", len(r.Frontiers))
	}
	f := r.Frontiers[0]
	if f.HeldBy != sourceA || f.Partition != 1 || f.AgeSeconds == nil || *f.AgeSeconds != 3600 {
		t.Errorf("held by %s in partition %d, age %v; want %s in 1, an hour", f.HeldBy, f.Partition, f.AgeSeconds, sourceA)
	}
	if r.Payments.Watched != 6 || r.Payments.Events != 15 || r.Payments.Alerts != 3 {
		t.Errorf("totals %+v", r.Payments)
	}

	r = &Report{}
	r.place([]partitionMeta{meta(0, at(0), at(0)), meta(1, hop.Never, at(0))}, now)
	if f := r.Frontiers[0]; f.Time != nil || f.HeldBy != sourceA || f.AgeSeconds != nil {
		t.Errorf("a source never marked: %+v", f)
	}

	clock = event.Clock_CLOCK_PLAYED
	r = &Report{}
	r.place([]partitionMeta{meta(0, at(time.Hour), at(0))}, now)
	if f := r.Frontiers[0]; !f.Played || f.AgeSeconds != nil {
		t.Errorf("a played source has an age: %+v", f)
	}
}

// Each profile that the configuration expects has a group of its own.
func TestPartsFollowTheConfiguration(t *testing.T) {
	config := &event.Config{Groups: []*event.Group{{Sources: []*event.ExpectedSource{
		{Name: "capture/raw.capture.v1/0/vendor@1"}, {Name: "capture/raw.capture.v1/0/vendor@2"}, {Name: "capture/raw.capture.v1/1/vendor@1"},
	}}}}
	var groups []string
	for _, p := range parts(config)[:4] {
		groups = append(groups, p.name+" "+p.group)
	}
	want := []string{
		"authorization settlewatch.authorization.documented@1", "capture settlewatch.capture.vendor@1",
		"capture settlewatch.capture.vendor@2", "settlement settlewatch.settlement.documented@1",
	}
	if strings.Join(groups, "; ") != strings.Join(want, "; ") {
		t.Errorf("groups %q, want %q", groups, want)
	}
}
