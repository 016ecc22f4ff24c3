package deploycheck

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"strings"
	"testing"

	"settlewatch/pipelines/servers/serverstest"
	"settlewatch/pipelines/warehouse"
)

func TestMain(m *testing.M) { serverstest.Main(m) }

// TestDashboardQueries runs every query of the dashboards on the tables of this
// release, empty as they are: a column that is gone shows here.
func TestDashboardQueries(t *testing.T) {
	server := serverstest.ClickHouse(t)
	tables, err := warehouse.Dial(t.Context(), warehouse.Options{DSN: server.DSN})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = tables.Close() }()
	if err := tables.Migrate(t.Context(), func(string) {}); err != nil {
		t.Fatal(err)
	}
	var dashboard struct {
		Panels []struct {
			Title   string
			Targets []struct {
				RawSQL string `json:"rawSql"`
			}
		}
	}
	text, err := os.ReadFile(root + "deploy/grafana/dashboards/risk.json")
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(text, &dashboard); err != nil {
		t.Fatal(err)
	}
	queries := 0
	for _, p := range dashboard.Panels {
		for _, target := range p.Targets {
			if target.RawSQL == "" {
				continue
			}
			queries++
			// What Grafana's plugin puts in place of its macros.
			sql := strings.NewReplacer(
				"$__timeFilter(moment_judged)", "moment_judged >= toDateTime64(0, 3) AND moment_judged <= now64(3)",
				"$__dateFilter(day_utc)", "day_utc >= toDate('2020-01-01') AND day_utc <= toDate('2030-01-01')",
			).Replace(target.RawSQL)
			if err := ask(t, server.HTTP, sql); err != nil {
				t.Errorf("%s: %v", p.Title, err)
			}
		}
	}
	if queries < 5 {
		t.Errorf("%d queries in the risk dashboard", queries)
	}
}

func ask(t *testing.T, address, sql string) error {
	t.Helper()
	request, err := http.NewRequestWithContext(t.Context(), http.MethodPost, "http://"+address+"/", strings.NewReader(sql))
	if err != nil {
		return err
	}
	reply, err := http.DefaultClient.Do(request)
	if err != nil {
		return err
	}
	defer reply.Body.Close()
	if reply.StatusCode != http.StatusOK {
		text, _ := io.ReadAll(io.LimitReader(reply.Body, 400))
		return fmt.Errorf("%s: %s", reply.Status, text)
	}
	return nil
}
