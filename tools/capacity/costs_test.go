package capacity

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

func TestShippedFiguresAreAsWritten(t *testing.T) {
	text, err := shippedCosts(t).Marshal()
	if err != nil {
		t.Fatal(err)
	}
	if string(text) != string(shipped) {
		t.Errorf("costs.yaml is not as --save-costs writes it; it writes:\n%s", text)
	}
}

// takeFile reads measurements of testdata.
func takeFile(t *testing.T, c *Costs, name string) []string {
	t.Helper()
	f, err := os.Open(filepath.Join("testdata", name))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = f.Close() }()
	taken, err := c.Take(f)
	if err != nil {
		t.Fatal(err)
	}
	return taken
}

func TestMeasurementsAreTaken(t *testing.T) {
	for file, want := range map[string]map[string]float64{
		"bench.jsonl": {"ingest-cpu": 3.75, "joiner-cpu": 4, "broker-cpu": 3, "redis-cpu": 2},
		// The largest with one joiner and one Redis. 29 million more take 13.5 s more, on
		// two cores; the cluster and the second joiner are another shape.
		"scale.jsonl": {
			"redis-open": 120, "joiner-open": 200, "redis-kept": 95, "joiner-kept": 150,
			"load-rate": 29e6 / 13.5 / 2, "partition-payments": 7.5e6,
		},
		"warehouse.jsonl": {"warehouse-cpu": 10, "clickhouse-cpu": 12, "rows-per-event": 2, "clickhouse-bytes": 120.3},
	} {
		c := shippedCosts(t)
		taken := takeFile(t, c, file)
		if len(taken) != len(want) {
			t.Errorf("%s: took %v", file, taken)
		}
		for name, value := range want {
			f := c.Figure(name)
			if !near(f.Value, value) || f.Mark() != "m" || !slices.Contains(taken, name) {
				t.Errorf("%s: %s is %v (%s), want %v", file, name, f.Value, f.Mark(), value)
			}
		}
		text, err := c.Marshal()
		if err == nil {
			_, err = ParseCosts(text)
		}
		if err != nil {
			t.Errorf("%s: what is saved cannot be read: %v", file, err)
		}
	}
}

func TestMeasurementsThatDoNotCount(t *testing.T) {
	for name, text := range map[string]string{
		"nothing":                 "",
		"no JSON":                 "events/s 100",
		"a peer alone":            `{"summary":{"variant":"flink-hashmap","runs":1}}`,
		"void":                    `{"summary":{"variant":"settlewatch","runs":0,"void":5,"cpu_seconds_per_million_events":{"authorization":{"median":1},"joiner":{"median":1},"broker":{"median":1},"redis":{"median":1}}}}`,
		"not exact":               `{"payments":1,"log_partitions":1,"joiners":1,"redis_bytes_per_payment":1,"joiner_bytes_per_payment":1,"whole_takeover_seconds":1,"exact":false}`,
		"a warehouse with a note": `{"rows":1,"tables":[{"table":"events","rows":1,"bytes_per_row":1}],"notes":["a row is missing"]}`,
		"no events":               `{"rows":1,"tables":[{"table":"payments","rows":1,"bytes_per_row":1}]}`,
		"nothing measured":        `{"summary":{"variant":"settlewatch","runs":1,"cpu_seconds_per_million_events":{}}}`,
	} {
		c := shippedCosts(t)
		if taken, err := c.Take(strings.NewReader(text)); err == nil {
			t.Errorf("%s: took %v", name, taken)
		}
	}
}

func TestFiguresThatAreWrong(t *testing.T) {
	for name, change := range map[string]func(string) string{
		"a missing one": func(s string) string { return strings.Replace(s, "name: ingest-cpu", "name: ingest-gpu", 1) },
		"one twice":     func(s string) string { return strings.Replace(s, "name: ingest-cpu", "name: joiner-cpu", 1) },
		"no source":     func(s string) string { return strings.Replace(s, "    measured: nproc\n", "", 1) },
		"two sources": func(s string) string {
			return strings.Replace(s, "measured: nproc", "measured: nproc\n    set: there", 1)
		},
		"less than none":  func(s string) string { return strings.Replace(s, "value: 0.55", "value: -1", 1) },
		"an unknown word": func(s string) string { return strings.Replace(s, "measured: nproc", "guessed: nproc", 1) },
	} {
		text := change(string(shipped))
		if text == string(shipped) {
			t.Fatalf("%s: nothing was changed", name)
		}
		if _, err := ParseCosts([]byte(text)); err == nil {
			t.Errorf("%s: read", name)
		}
	}
}

func TestOverride(t *testing.T) {
	c := shippedCosts(t)
	if err := c.Override("utilisation=0.4"); err != nil || c.Figure("utilisation").Value != 0.4 || c.Figure("utilisation").Mark() != "a" {
		t.Errorf("%v, %+v", err, c.Figure("utilisation"))
	}
	for _, wrong := range []string{"utilisation", "utilisation=much", "utilisation=2", "utilisation=0", "session=-1", "session=NaN", "horses=4", "session=3s"} {
		if err := c.Override(wrong); err == nil {
			t.Errorf("%s: taken", wrong)
		}
	}
}
