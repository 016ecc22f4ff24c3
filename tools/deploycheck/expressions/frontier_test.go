package expressions

import (
	"maps"
	"math"
	"slices"
	"strconv"
	"testing"
	"time"

	"github.com/prometheus/prometheus/model/histogram"
	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/model/rulefmt"
	"github.com/prometheus/prometheus/promql"
	"github.com/prometheus/prometheus/storage"
	"github.com/prometheus/prometheus/tsdb/chunkenc"
	"github.com/prometheus/prometheus/tsdb/chunks"
	"github.com/prometheus/prometheus/util/annotations"
)

// sample is a value at the time 0.
type sample float64

func (sample) T() int64                      { return 0 }
func (s sample) F() float64                  { return float64(s) }
func (sample) H() *histogram.Histogram       { return nil }
func (sample) FH() *histogram.FloatHistogram { return nil }
func (sample) Type() chunkenc.ValueType      { return chunkenc.ValFloat }
func (s sample) Copy() chunks.Sample         { return s }

// scraped are series as Prometheus has them; it answers every question with all that
// match.
type scraped []storage.Series

func (s scraped) Querier(int64, int64) (storage.Querier, error) {
	return &storage.MockQuerier{SelectMockFunction: func(_ bool, _ *storage.SelectHints, matchers ...*labels.Matcher) storage.SeriesSet {
		var found []storage.Series
		for _, each := range s {
			if !slices.ContainsFunc(matchers, func(m *labels.Matcher) bool { return !m.Matches(each.Labels().Get(m.Name)) }) {
				found = append(found, each)
			}
		}
		return &set{series: found}
	}}, nil
}

// set goes through series.
type set struct {
	series []storage.Series
	next   int
}

func (s *set) Next() bool                      { s.next++; return s.next <= len(s.series) }
func (s *set) At() storage.Series              { return s.series[s.next-1] }
func (*set) Err() error                        { return nil }
func (*set) Warnings() annotations.Annotations { return nil }

// expression of the rule of that name.
func expression(t *testing.T, alert string) string {
	t.Helper()
	groups, errs := rulefmt.Parse(read(t, "deploy/prometheus/rules.yaml"))
	if len(errs) > 0 {
		t.Fatal(errs)
	}
	for _, g := range groups.Groups {
		for _, r := range g.Rules {
			if r.Alert.Value == alert {
				return r.Expr.Value
			}
		}
	}
	t.Fatalf("no rule %s", alert)
	return ""
}

// A feed that is silent is one alert, whatever number of partitions it has, of groups
// that wait for it, and of joiners that say so.
func TestOneAlertForASilentFeed(t *testing.T) {
	const live, silent = 3, 1200
	never := math.Inf(1)
	for name, c := range map[string]struct {
		settlement, capture float64
		want                []string
	}{
		"all live":          {live, live, nil},
		"settlement silent": {silent, live, []string{"settlement"}},
		"it never began":    {never, live, []string{"settlement"}},
		"two feeds silent":  {silent, silent, []string{"capture", "settlement"}},
	} {
		t.Run(name, func(t *testing.T) {
			var all scraped
			for _, from := range [][2]string{{"joiner-0", "east"}, {"joiner-0", "west"}, {"joiner-1", "east"}} {
				for p := range 2 {
					for feed, age := range map[string]float64{"settlement": c.settlement, "capture": c.capture, "authorization": live} {
						all = append(all, storage.NewListSeries(labels.FromStrings(
							labels.MetricName, "settlewatch_source_mark_age_seconds", "service", "joiner", "instance", from[0], "group", from[1],
							"source", feed+"/raw."+feed+".v1/"+strconv.Itoa(p)+"/documented@1"), []chunks.Sample{sample(age)}))
					}
				}
			}
			engine := promql.NewEngine(promql.EngineOpts{MaxSamples: 10_000, Timeout: time.Minute})
			query, err := engine.NewInstantQuery(t.Context(), all, nil, expression(t, "SettlewatchFrontierHeld"), time.Unix(0, 0))
			if err != nil {
				t.Fatal(err)
			}
			defer query.Close()
			result, err := query.Exec(t.Context()).Vector()
			if err != nil {
				t.Fatal(err)
			}
			got := map[string]bool{}
			for _, raised := range result {
				got[raised.Metric.Get("service")] = true
			}
			if feeds := slices.Sorted(maps.Keys(got)); len(result) != len(c.want) || !slices.Equal(feeds, c.want) {
				t.Errorf("it raises %s, want one for each of %q", result, c.want)
			}
		})
	}
}
