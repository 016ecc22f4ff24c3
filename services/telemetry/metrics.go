// Package telemetry is what a service shows of itself: Prometheus metrics and,
// where they are wanted, OpenTelemetry traces. What enters are counts and durations
// of the loops; what leaves are the families that docs/metrics.md lists, and spans.
//
// What it guarantees: no family beside those of the table below, so that the
// document, the dashboards and the code cannot drift apart unseen; and without
// traces not one instruction of the loops is different.
package telemetry

import (
	"math"
	"net/http"
	"runtime"
	"runtime/debug"
	"strconv"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"settlewatch/pipelines/hop"
	"settlewatch/pipelines/join"
	"settlewatch/services/health"
)

// family is one row of the table in docs/metrics.md.
type family struct {
	name, kind string
	labels     []string
	services   string
	about      string
}

const (
	counter   = "counter"
	gauge     = "gauge"
	histogram = "histogram"

	all    = "all"
	ingest = "authorization, capture, settlement"
	joiner = "joiner"
	loader = "warehouse"
)

// families are all there are, besides those of the Go runtime and the process.
// Each also has the label service.
var families = []family{
	{"settlewatch_build_info", gauge, []string{"version", "revision", "go"}, all, "Always 1; the labels say what runs."},
	{"settlewatch_ready", gauge, nil, all, "1 when /readyz says so, else 0."},
	{"settlewatch_stalled_partitions", gauge, nil, all, "Owned partitions that stand still while input waits; above 0, /healthz fails."},
	{"settlewatch_refused_partitions", gauge, []string{"reason"}, all, "Owned partitions that are not worked on, because going on would be wrong; the reasons are in the runbook refused.md."},
	{"settlewatch_owned_partitions", gauge, nil, all, "Partitions that consumer groups have assigned to this instance."},
	{"settlewatch_consumer_lag_records", gauge, []string{"topic", "partition"}, all, "Records of an owned partition that have not been read yet."},
	{"settlewatch_records_read_total", counter, []string{"topic"}, all, "Records read, repeats after a start included."},
	{"settlewatch_retries_total", counter, []string{"server"}, all, "Requests that kafka, redis or clickhouse did not take and that were repeated."},
	{"settlewatch_commit_duration_seconds", histogram, []string{"server"}, all, "How long a commit took, retries included: the group's offset in kafka (ingest), the state in redis (joiner), an insert into clickhouse (warehouse)."},
	{"settlewatch_dead_letters_total", counter, []string{"reason"}, all, "Records that could not be read, by the reason that the dead letter names."},
	{"settlewatch_events_appended_total", counter, nil, ingest, "Events appended to the payment log."},
	{"settlewatch_unknown_fields_total", counter, nil, ingest, "Fields of raw records that the documented JSON, or the profile, does not have."},
	{"settlewatch_left_out_total", counter, nil, ingest, "Raw records that the profile's filter leaves out."},
	{"settlewatch_alerts_published_total", counter, []string{"kind", "status"}, joiner, "Revisions of alerts published, repeats after a crash included."},
	{"settlewatch_open_payments", gauge, []string{"partition"}, joiner, "Payments in the state of an owned partition: those whose life has not ended."},
	{"settlewatch_config_number", gauge, nil, joiner, "Number of the configuration in force, the lowest over the owned partitions; -1 before the first."},
	{"settlewatch_frontier_timestamp_seconds", gauge, []string{"group"}, joiner, "Frontier of a group, Unix time, the lowest over the owned partitions: what arrived before it is known completely. 0 before every expected source has marked."},
	{"settlewatch_frontier_age_seconds", gauge, []string{"group"}, joiner, "Time since the frontier; +Inf before every expected source has marked. Played traffic is as old as its events."},
	{"settlewatch_frontier_held", gauge, []string{"group", "source"}, joiner, "1 for the source that holds a group's frontier back."},
	{"settlewatch_source_mark_timestamp_seconds", gauge, []string{"group", "source"}, joiner, "Last mark of an expected source, Unix time, the lowest over the owned partitions; 0 before the first."},
	{"settlewatch_source_mark_age_seconds", gauge, []string{"group", "source"}, joiner, "Time since that mark; +Inf before the first."},
	{"settlewatch_checkpoint_timestamp_seconds", gauge, []string{"partition"}, joiner, "When the newest checkpoint of an owned partition was made, Unix time; absent before the first."},
	{"settlewatch_rows_inserted_total", counter, []string{"table"}, loader, "Rows inserted into ClickHouse, repeats that it drops included."},
}

func describe(name string) family {
	for _, f := range families {
		if f.name == name {
			return f
		}
	}
	panic("metric " + name + " is not in the table")
}

// Metrics of one service.
type Metrics struct {
	RecordsRead    *prometheus.CounterVec // topic
	Retries        *prometheus.CounterVec // server
	CommitSeconds  *prometheus.HistogramVec
	DeadLetters    *prometheus.CounterVec // reason
	EventsAppended prometheus.Counter
	UnknownFields  prometheus.Counter
	LeftOut        prometheus.Counter
	Alerts         *prometheus.CounterVec // kind, status
	RowsInserted   *prometheus.CounterVec // table

	registry *prometheus.Registry
	health   *health.Health
	now      func() time.Time

	mu    sync.Mutex
	folds map[int32]fold // by owned partition
	kept  map[int32]int64
}

// fold is what the joiner's state of one partition shows.
type fold struct {
	at        time.Time
	payments  int
	config    int64
	frontiers []join.Frontier
	marks     []join.SourceMark
}

// Servers that commits go to and requests are repeated at.
const (
	Kafka      = "kafka"
	Redis      = "redis"
	ClickHouse = "clickhouse"
)

// NewMetrics of the service of that name, which reports on h. now is the clock.
func NewMetrics(service string, h *health.Health, now func() time.Time) *Metrics {
	m := &Metrics{registry: prometheus.NewRegistry(), health: h, now: now, folds: make(map[int32]fold), kept: make(map[int32]int64)}
	to := prometheus.WrapRegistererWith(prometheus.Labels{"service": service}, m.registry)
	counters := func(name string) *prometheus.CounterVec {
		f := describe(name)
		c := prometheus.NewCounterVec(prometheus.CounterOpts{Name: f.name, Help: f.about}, f.labels)
		to.MustRegister(c)
		return c
	}
	m.RecordsRead = counters("settlewatch_records_read_total")
	m.Retries = counters("settlewatch_retries_total")
	m.DeadLetters = counters("settlewatch_dead_letters_total")
	switch service {
	case "joiner":
		m.Alerts = counters("settlewatch_alerts_published_total")
	case "warehouse":
		m.RowsInserted = counters("settlewatch_rows_inserted_total")
	default:
		m.EventsAppended = counters("settlewatch_events_appended_total").WithLabelValues()
		m.UnknownFields = counters("settlewatch_unknown_fields_total").WithLabelValues()
		m.LeftOut = counters("settlewatch_left_out_total").WithLabelValues()
	}
	commit := describe("settlewatch_commit_duration_seconds")
	m.CommitSeconds = prometheus.NewHistogramVec(prometheus.HistogramOpts{
		Name: commit.name, Help: commit.about, Buckets: prometheus.ExponentialBuckets(0.001, 2, 15), // 1 ms to 16 s
	}, commit.labels)
	to.MustRegister(m.CommitSeconds, buildInfo(), (*snapshot)(m),
		collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	return m
}

// Handler answers with all metrics.
func (m *Metrics) Handler() http.Handler {
	return promhttp.HandlerFor(m.registry, promhttp.HandlerOpts{})
}

// release is what this build is called; the Makefile sets it, and whoever builds with
// -ldflags "-X settlewatch/services/telemetry.release=v1.2.3".
var release string

// Version of this build, and the commit it was made from where that is known.
func Version() (version, revision string) {
	version, revision = "unknown", "unknown"
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return version, revision
	}
	switch {
	case release != "":
		version = release
	case info.Main.Version != "":
		version = info.Main.Version
	}
	for _, s := range info.Settings {
		if s.Key == "vcs.revision" {
			revision = s.Value
		}
	}
	return version, revision
}

func buildInfo() prometheus.Collector {
	f := describe("settlewatch_build_info")
	g := prometheus.NewGaugeVec(prometheus.GaugeOpts{Name: f.name, Help: f.about}, f.labels)
	version, revision := Version()
	g.WithLabelValues(version, revision, runtime.Version()).Set(1)
	return g
}

// foldEvery is how often a partition's state is looked at; a scrape is slower.
const foldEvery = time.Second

// Fold looks at the joiner's state of a partition, which may change after the call.
func (m *Metrics) Fold(partition int32, s *join.State) {
	m.mu.Lock()
	defer m.mu.Unlock()
	now := m.now()
	if now.Sub(m.folds[partition].at) < foldEvery {
		return
	}
	m.folds[partition] = fold{
		at: now, payments: s.Payments(), config: s.ConfigNumber(), frontiers: s.Frontiers(), marks: s.SourceMarks(),
	}
}

// Kept notes when a partition's newest checkpoint was made, Unix milliseconds.
func (m *Metrics) Kept(partition int32, atMs int64) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.kept[partition] = atMs
}

// Forget a partition that is not owned any more.
func (m *Metrics) Forget(partition int32) {
	m.mu.Lock()
	defer m.mu.Unlock()
	delete(m.folds, partition)
	delete(m.kept, partition)
}

// snapshot collects what is only known when somebody asks.
type snapshot Metrics

var _ prometheus.Collector = (*snapshot)(nil)

// Describe nothing: which labels there are depends on what is owned.
func (s *snapshot) Describe(chan<- *prometheus.Desc) {}

// Collect reads health and folds.
func (s *snapshot) Collect(out chan<- prometheus.Metric) {
	send := func(name string, value float64, labels ...string) {
		f := describe(name)
		out <- prometheus.MustNewConstMetric(prometheus.NewDesc(f.name, f.about, f.labels, nil), prometheus.GaugeValue, value, labels...)
	}
	ready, alive := s.health.Ready(), s.health.Alive()
	send("settlewatch_ready", truth(ready.OK))
	send("settlewatch_stalled_partitions", float64(len(alive.Reasons)))
	send("settlewatch_owned_partitions", float64(len(alive.Partitions)))
	refused := map[string]int{}
	for _, p := range alive.Partitions {
		if p.Refused != "" {
			refused[p.Refused]++
		}
		send("settlewatch_consumer_lag_records", float64(p.Lag), p.Topic, strconv.Itoa(int(p.Partition)))
	}
	for reason, n := range refused {
		send("settlewatch_refused_partitions", float64(n), reason)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for p, at := range s.kept {
		send("settlewatch_checkpoint_timestamp_seconds", unix(at), strconv.Itoa(int(p)))
	}
	if len(s.folds) == 0 {
		return
	}
	config := int64(math.MaxInt64)
	frontiers, marks := map[string]join.Frontier{}, map[join.SourceMark]int64{}
	for p, f := range s.folds {
		send("settlewatch_open_payments", float64(f.payments), strconv.Itoa(int(p)))
		config = min(config, f.config)
		for _, at := range f.frontiers {
			if least, seen := frontiers[at.Group]; !seen || at.TMs < least.TMs {
				frontiers[at.Group] = at
			}
		}
		for _, at := range f.marks {
			key := join.SourceMark{Group: at.Group, Source: at.Source}
			if least, seen := marks[key]; !seen || at.TMs < least {
				marks[key] = at.TMs
			}
		}
	}
	send("settlewatch_config_number", float64(config))
	for group, at := range frontiers {
		send("settlewatch_frontier_timestamp_seconds", unix(at.TMs), group)
		send("settlewatch_frontier_age_seconds", s.age(at.TMs), group)
		if at.Holder != "" {
			send("settlewatch_frontier_held", 1, group, at.Holder)
		}
	}
	for key, t := range marks {
		send("settlewatch_source_mark_timestamp_seconds", unix(t), key.Group, key.Source)
		send("settlewatch_source_mark_age_seconds", s.age(t), key.Group, key.Source)
	}
}

func truth(v bool) float64 {
	if v {
		return 1
	}
	return 0
}

func unix(tMs int64) float64 {
	if tMs == hop.Never {
		return 0
	}
	return float64(tMs) / 1000
}

func (s *snapshot) age(tMs int64) float64 {
	if tMs == hop.Never {
		return math.Inf(1)
	}
	return s.now().Sub(time.UnixMilli(tMs)).Seconds()
}
