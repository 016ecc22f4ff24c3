package expressions

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/model/rulefmt"
	"github.com/prometheus/prometheus/promql/parser"
)

const root = "../../../"

// processMetrics are of the Go runtime and the process, which the document names
// only as families; what is used of them stands here.
var processMetrics = []string{"process_start_time_seconds", "process_resident_memory_bytes"}

// metric is one row of the document.
type metric struct {
	kind   string
	labels []string
}

var row = regexp.MustCompile("(?m)^\\| `(settlewatch_[a-z_]+)` \\| ([a-z]+) \\| ([^|]*) \\|")

func documented(t *testing.T) map[string]metric {
	t.Helper()
	text := read(t, "docs/metrics.md")
	metrics := map[string]metric{}
	for _, m := range row.FindAllStringSubmatch(string(text), -1) {
		metrics[m[1]] = metric{kind: m[2], labels: strings.Split(m[3], ", ")}
	}
	if len(metrics) < 10 {
		t.Fatalf("docs/metrics.md lists %d metrics: is its table still of this form?", len(metrics))
	}
	return metrics
}

func TestRules(t *testing.T) {
	text := read(t, "deploy/prometheus/rules.yaml")
	groups, errs := rulefmt.Parse(text)
	for _, err := range errs {
		t.Error(err)
	}
	metrics := documented(t)
	rules := 0
	for _, g := range groups.Groups {
		for _, r := range g.Rules {
			rules++
			check(t, metrics, r.Alert.Value, r.Expr.Value)
			page := r.Annotations["runbook"]
			if !strings.HasPrefix(page, "deploy/runbooks/") {
				t.Errorf("%s names no runbook", r.Alert.Value)
			} else if _, err := os.Stat(root + page); err != nil {
				t.Errorf("%s: %v", r.Alert.Value, err)
			}
			if s := r.Labels["severity"]; s != "page" && s != "ticket" {
				t.Errorf("%s: severity %q", r.Alert.Value, s)
			}
			if r.Annotations["summary"] == "" {
				t.Errorf("%s has no summary", r.Alert.Value)
			}
		}
	}
	if rules == 0 {
		t.Error("no rules")
	}
	// A chart can hold only files of its own folder.
	chart := read(t, "deploy/helm/settlewatch/rules.yaml")
	if at := bytes.Index(text, []byte("groups:")); !bytes.Equal(text[at:], chart) {
		t.Error("deploy/helm/settlewatch/rules.yaml is not deploy/prometheus/rules.yaml from `groups:` on: copy it")
	}
}

// Every page about the pipeline is reached from a rule, or nobody will read it.
func TestRunbooksAreNamed(t *testing.T) {
	rules := string(read(t, "deploy/prometheus/rules.yaml"))
	pages, err := filepath.Glob(root + "deploy/runbooks/*.md")
	if err != nil {
		t.Fatal(err)
	}
	for _, page := range pages {
		name := filepath.Base(page)
		if name != "README.md" && !strings.Contains(rules, "deploy/runbooks/"+name) {
			t.Errorf("no rule names deploy/runbooks/%s", name)
		}
	}
}

type dashboard struct {
	UID    string `json:"uid"`
	Title  string `json:"title"`
	Panels []struct {
		ID         int    `json:"id"`
		Title      string `json:"title"`
		Type       string `json:"type"`
		Datasource struct {
			UID string `json:"uid"`
		} `json:"datasource"`
		Description string `json:"description"`
		GridPos     struct{ X, Y, W, H int }
		Targets     []struct {
			Expr   string `json:"expr"`
			RawSQL string `json:"rawSql"`
		} `json:"targets"`
	} `json:"panels"`
}

var runbook = regexp.MustCompile(`deploy/runbooks/[a-z-]+\.md`)

func TestDashboards(t *testing.T) {
	metrics := documented(t)
	sources := string(read(t, "deploy/grafana/provisioning/datasources/settlewatch.yaml"))
	paths, err := filepath.Glob(root + "deploy/grafana/dashboards/*.json")
	if err != nil || len(paths) < 2 {
		t.Fatalf("%d dashboards, %v", len(paths), err)
	}
	uids := map[string]bool{}
	for _, path := range paths {
		t.Run(filepath.Base(path), func(t *testing.T) {
			var d dashboard
			if err := json.Unmarshal(read(t, strings.TrimPrefix(path, root)), &d); err != nil {
				t.Fatal(err)
			}
			if d.UID == "" || d.Title == "" || uids[d.UID] {
				t.Errorf("uid %q, title %q: missing, or taken", d.UID, d.Title)
			}
			uids[d.UID] = true
			ids := map[int]bool{}
			for _, p := range d.Panels {
				if ids[p.ID] {
					t.Errorf("%s: id %d is taken", p.Title, p.ID)
				}
				ids[p.ID] = true
				if p.GridPos.X+p.GridPos.W > 24 {
					t.Errorf("%s does not fit the width", p.Title)
				}
				if p.Type == "row" {
					continue
				}
				if !strings.Contains(sources, "uid: "+p.Datasource.UID+"\n") {
					t.Errorf("%s: data source %q is not provisioned", p.Title, p.Datasource.UID)
				}
				if len(p.Targets) == 0 {
					t.Errorf("%s asks nothing", p.Title)
				}
				for _, target := range p.Targets {
					if target.RawSQL == "" {
						check(t, metrics, p.Title, target.Expr)
					}
				}
				for _, page := range runbook.FindAllString(p.Description, -1) {
					if _, err := os.Stat(root + page); err != nil {
						t.Errorf("%s: %v", p.Title, err)
					}
				}
			}
		})
	}
}

// The expressions that the document itself gives.
func TestDocument(t *testing.T) {
	metrics := documented(t)
	text := string(read(t, "docs/metrics.md"))
	for _, m := range regexp.MustCompile("`([^`]*settlewatch_[^`]*[({=][^`]*)`").FindAllStringSubmatch(text, -1) {
		check(t, metrics, "docs/metrics.md", m[1])
	}
}

// check parses an expression and holds its metrics and labels to the document.
func check(t *testing.T, metrics map[string]metric, where, text string) {
	t.Helper()
	expr, err := parser.ParseExpr(text)
	if err != nil {
		t.Errorf("%s: %s: %v", where, text, err)
		return
	}
	var used []string
	parser.Inspect(expr, func(node parser.Node, path []parser.Node) error {
		v, ok := node.(*parser.VectorSelector)
		if !ok {
			return nil
		}
		name := v.Name
		for _, m := range v.LabelMatchers {
			if m.Name == labels.MetricName {
				name = m.Value
			}
		}
		if slices.Contains(processMetrics, name) {
			used = append(used, "service", "instance")
			return nil
		}
		m, ok := metrics[name]
		if base, bucket := strings.CutSuffix(name, "_bucket"); !ok && bucket {
			if m, ok = metrics[base]; ok && m.kind != "histogram" {
				t.Errorf("%s: %s is a %s, it has no buckets", where, base, m.kind)
			}
		}
		if !ok {
			t.Errorf("%s: %s is not in docs/metrics.md", where, name)
			return nil
		}
		have := append([]string{"service", "instance", "le"}, m.labels...)
		used = append(used, have...)
		for _, matcher := range v.LabelMatchers {
			if matcher.Name != labels.MetricName && !slices.Contains(have, matcher.Name) {
				t.Errorf("%s: %s has no label %s", where, name, matcher.Name)
			}
		}
		if rated(path) != (m.kind != "gauge") {
			t.Errorf("%s: %s is a %s: rate and increase are for counters and histograms, and those are for nothing else", where, name, m.kind)
		}
		return nil
	})
	if used == nil {
		return
	}
	parser.Inspect(expr, func(node parser.Node, _ []parser.Node) error {
		if a, ok := node.(*parser.AggregateExpr); ok {
			for _, l := range a.Grouping {
				if !slices.Contains(used, l) {
					t.Errorf("%s: grouped by %s, which nothing in it has", where, l)
				}
			}
		}
		return nil
	})
}

// rated tells whether a selector stands in a function of counters.
func rated(path []parser.Node) bool {
	for _, node := range path {
		if call, ok := node.(*parser.Call); ok && slices.Contains([]string{"rate", "increase", "irate"}, call.Func.Name) {
			return true
		}
	}
	return false
}

func read(t *testing.T, path string) []byte {
	t.Helper()
	text, err := os.ReadFile(root + path)
	if err != nil {
		t.Fatal(err)
	}
	return text
}
