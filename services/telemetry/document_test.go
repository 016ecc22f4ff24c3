package telemetry

import (
	"errors"
	"flag"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"settlewatch/pipelines/calendar"
	"settlewatch/pipelines/join"
	"settlewatch/schemas/event"
	"settlewatch/schemas/ruleset"
	"settlewatch/services/health"
)

var update = flag.Bool("update", false, "write the table into the document")

const (
	document      = "../../docs/metrics.md"
	documentBegin = "<!-- metrics: this table is held to the code by services/telemetry/document_test.go; run it with -update -->\n"
	documentEnd   = "<!-- end of metrics -->"
)

// TestDocument holds the documented metrics to those of the code.
func TestDocument(t *testing.T) {
	text, err := os.ReadFile(document)
	if err != nil {
		t.Fatal(err)
	}
	before, rest, begins := strings.Cut(string(text), documentBegin)
	written, after, ends := strings.Cut(rest, documentEnd)
	if !begins || !ends {
		t.Fatalf("%s has no place for the table", document)
	}
	var table strings.Builder
	table.WriteString("| metric | kind | labels | services | what it is |\n|-|-|-|-|-|\n")
	for _, f := range families {
		fmt.Fprintf(&table, "| `%s` | %s | %s | %s | %s |\n", f.name, f.kind, strings.Join(f.labels, ", "), f.services, f.about)
	}
	if written == table.String() {
		return
	}
	if !*update {
		t.Fatalf("%s has\n%s\nwant\n%s", document, written, table.String())
	}
	if err := os.WriteFile(document, []byte(before+documentBegin+table.String()+documentEnd+after), 0o644); err != nil {
		t.Fatal(err)
	}
}

var exposed = regexp.MustCompile(`(?m)^# TYPE (settlewatch_\S+) (\S+)$`)

// TestFamilies holds what each service exposes to the table.
func TestFamilies(t *testing.T) {
	for _, service := range []string{"authorization", "capture", "settlement", "joiner", "warehouse"} {
		t.Run(service, func(t *testing.T) {
			m, h := metricsOf(t, service)
			place := health.Place{Topic: "payment-log.v1", Partition: 3}
			h.Own(place)
			h.Refuse(place, "log_changed", errors.New("cut"))
			m.RecordsRead.WithLabelValues("t")
			m.Retries.WithLabelValues(Kafka)
			m.DeadLetters.WithLabelValues("r")
			m.CommitSeconds.WithLabelValues(Kafka)
			switch service {
			case "joiner":
				m.Alerts.WithLabelValues("k", "s")
				m.Fold(3, marked(t))
				m.Kept(3, 1)
			case "warehouse":
				m.RowsInserted.WithLabelValues("t")
			}
			var got, want []string
			for _, match := range exposed.FindAllStringSubmatch(scrape(t, m), -1) {
				got = append(got, match[1]+" "+match[2])
			}
			for _, f := range families {
				if f.services == all || strings.Contains(f.services, service) {
					want = append(want, f.name+" "+f.kind)
				}
			}
			slices.Sort(got)
			slices.Sort(want)
			if !slices.Equal(got, want) {
				t.Errorf("got\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
			}
		})
	}
}

func TestFrontierOfTheSlowestPartition(t *testing.T) {
	m, _ := metricsOf(t, "joiner")
	fast, slow := marked(t, mark("a", 90_000), mark("b", 80_000)), marked(t, mark("a", 70_000), mark("b", 75_000))
	m.Fold(0, fast)
	m.Fold(1, slow)
	requireLines(t, scrape(t, m),
		`settlewatch_frontier_timestamp_seconds{group="default",service="joiner"} 70`,
		`settlewatch_frontier_age_seconds{group="default",service="joiner"} 30`,
		`settlewatch_frontier_held{group="default",service="joiner",source="a"} 1`,
		`settlewatch_source_mark_age_seconds{group="default",service="joiner",source="b"} 25`,
		`settlewatch_config_number{service="joiner"} 7`,
		`settlewatch_open_payments{partition="1",service="joiner"} 0`)
	m.Forget(1)
	requireLines(t, scrape(t, m), `settlewatch_frontier_age_seconds{group="default",service="joiner"} 20`)
}

func TestSourceThatNeverMarked(t *testing.T) {
	m, _ := metricsOf(t, "joiner")
	m.Fold(0, marked(t, mark("a", 90_000)))
	requireLines(t, scrape(t, m),
		`settlewatch_frontier_timestamp_seconds{group="default",service="joiner"} 0`,
		`settlewatch_frontier_age_seconds{group="default",service="joiner"} +Inf`,
		`settlewatch_frontier_held{group="default",service="joiner",source="b"} 1`,
		`settlewatch_source_mark_age_seconds{group="default",service="joiner",source="b"} +Inf`,
		`settlewatch_source_mark_age_seconds{group="default",service="joiner",source="a"} 10`)
}

func TestLagOfOwnedPartitions(t *testing.T) {
	m, h := metricsOf(t, "capture")
	place := health.Place{Topic: "raw.capture.v1", Partition: 1}
	release := h.Own(place)
	h.Beat(place, 5)
	h.End(place, 12)
	requireLines(t, scrape(t, m),
		`settlewatch_consumer_lag_records{partition="1",service="capture",topic="raw.capture.v1"} 7`,
		`settlewatch_owned_partitions{service="capture"} 1`)
	release()
	if text := scrape(t, m); strings.Contains(text, "settlewatch_consumer_lag_records{") {
		t.Errorf("lag of a partition that is not owned:\n%s", text)
	}
}

func TestRefusedPartitions(t *testing.T) {
	m, h := metricsOf(t, "joiner")
	for p := range int32(3) {
		place := health.Place{Topic: "payment-log.v1", Partition: p}
		h.Own(place)
		if p > 0 {
			h.Refuse(place, "log_changed", errors.New("cut"))
		}
	}
	requireLines(t, scrape(t, m), `settlewatch_refused_partitions{reason="log_changed",service="joiner"} 2`, `settlewatch_stalled_partitions{service="joiner"} 0`)
}

func metricsOf(t *testing.T, service string) (*Metrics, *health.Health) {
	t.Helper()
	now := func() time.Time { return time.UnixMilli(100_000) }
	h := health.New(health.Options{Now: now})
	return NewMetrics(service, h, now), h
}

func mark(source string, t int64) *event.LogRecord {
	return &event.LogRecord{Origin: &event.Origin{Source: source}, ArrivalMs: t, Body: &event.LogRecord_Mark{Mark: &event.Mark{TMs: t}}}
}

func scrape(t *testing.T, m *Metrics) string {
	t.Helper()
	answer := httptest.NewRecorder()
	m.Handler().ServeHTTP(answer, httptest.NewRequest(http.MethodGet, "/metrics", http.NoBody))
	if answer.Code != http.StatusOK {
		t.Fatalf("%d: %s", answer.Code, answer.Body)
	}
	return answer.Body.String()
}

func requireLines(t *testing.T, text string, lines ...string) {
	t.Helper()
	for _, line := range lines {
		if !strings.Contains(text, line+"\n") {
			t.Errorf("no line %q in\n%s", line, text)
		}
	}
}

// marked is a state under a configuration of one group with the sources a and b.
func marked(t *testing.T, marks ...*event.LogRecord) *join.State {
	t.Helper()
	s := join.New()
	var out join.Output
	for _, r := range append([]*event.LogRecord{configured(t)}, marks...) {
		if err := s.Step(r, &out); err != nil {
			t.Fatal(err)
		}
	}
	return s
}

func configured(t *testing.T) *event.LogRecord {
	t.Helper()
	versions, err := calendar.Versions()
	if err != nil {
		t.Fatal(err)
	}
	abilities := ruleset.Abilities{
		JoinVersion: join.Version, TZData: calendar.TZDataVersion, Calendar: versions[len(versions)-1].Version,
	}
	config := ruleset.Default(abilities,
		&event.ExpectedSource{Name: "a", Clock: event.Clock_CLOCK_PLAYED}, &event.ExpectedSource{Name: "b", Clock: event.Clock_CLOCK_PLAYED})
	return &event.LogRecord{
		Origin: &event.Origin{Source: "config/config.v1/0/config@1", Offset: 7}, Body: &event.LogRecord_Config{Config: config},
	}
}
