package capacity

import (
	"bufio"
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"slices"
)

// benchLine is a line of `settlewatch bench … --json`, of whichever measurement.
type benchLine struct {
	// bench
	Summary *struct {
		Variant string            `json:"variant"`
		Runs    int               `json:"runs"`
		CPU     map[string]median `json:"cpu_seconds_per_million_events"`
	} `json:"summary"`
	// bench scale
	scaleLine
	// bench warehouse
	Rows   float64            `json:"rows"`
	CPU    map[string]float64 `json:"cpu_seconds_per_million_rows"`
	Tables []struct {
		Table       string  `json:"table"`
		Rows        float64 `json:"rows"`
		BytesPerRow float64 `json:"bytes_per_row"`
	} `json:"tables"`
	Notes []string `json:"notes"`
}

type scaleLine struct {
	Payments      float64 `json:"payments"`
	Settled       bool    `json:"settled"`
	LogPartitions int     `json:"log_partitions"`
	Joiners       int     `json:"joiners"`
	Cluster       bool    `json:"redis_cluster"`
	RedisBytes    float64 `json:"redis_bytes_per_payment"`
	JoinerBytes   float64 `json:"joiner_bytes_per_payment"`
	WholeTakeover float64 `json:"whole_takeover_seconds"`
	Exact         bool    `json:"exact"`
}

type median struct {
	Median float64 `json:"median"`
}

const (
	byBench     = "settlewatch bench --json"
	byScale     = "settlewatch bench scale --json"
	byWarehouse = "settlewatch bench warehouse --json"
)

// Take replaces figures by what a bench printed with --json, and returns the names of
// those that it replaced. Measurements that are void or not exact are refused: their
// figures count for nothing.
func (c *Costs) Take(r io.Reader) ([]string, error) {
	t := &taking{costs: c, taken: map[string]bool{}}
	lines := bufio.NewScanner(r)
	lines.Buffer(nil, 1<<24)
	for n := 1; lines.Scan(); n++ {
		if len(bytes.TrimSpace(lines.Bytes())) == 0 {
			continue
		}
		var l benchLine
		if err := json.Unmarshal(lines.Bytes(), &l); err != nil {
			return nil, fmt.Errorf("read line %d: it is not what a bench prints with --json: %w", n, err)
		}
		if err := t.line(&l); err != nil {
			return nil, fmt.Errorf("read line %d: %w", n, err)
		}
	}
	if err := lines.Err(); err != nil {
		return nil, fmt.Errorf("read measurements: %w", err)
	}
	t.takeover()
	names := slices.Sorted(maps.Keys(t.taken))
	for _, name := range names {
		if err := inRange(name, c.Figure(name).Value); err != nil {
			return nil, fmt.Errorf("read measurements: %w", err)
		}
	}
	if len(names) == 0 {
		return nil, fmt.Errorf("no figure is in it: give what `settlewatch bench`, `bench scale` or `bench warehouse` printed with --json")
	}
	return names, nil
}

type taking struct {
	costs *Costs
	taken map[string]bool
	open  []scaleLine // of one joiner and one Redis
	most  [2]float64  // payments of the largest run, open and settled
}

func (t *taking) set(name string, value float64, command string) {
	t.costs.measured(name, value, command)
	t.taken[name] = true
}

func (t *taking) line(l *benchLine) error {
	switch {
	case l.Summary != nil && l.Summary.Variant == "settlewatch":
		if l.Summary.Runs == 0 {
			return fmt.Errorf("the summary has no run that counts")
		}
		cpu := func(name string) float64 { return l.Summary.CPU[name].Median }
		t.set("ingest-cpu", cpu("authorization")+cpu("capture")+cpu("settlement"), byBench)
		t.set("joiner-cpu", cpu("joiner"), byBench)
		t.set("broker-cpu", cpu("broker"), byBench)
		t.set("redis-cpu", cpu("redis"), byBench)
	case l.RedisBytes > 0 && l.JoinerBytes > 0:
		if !l.Exact {
			return fmt.Errorf("the run of %.0f payments is not exact", l.Payments)
		}
		t.scale(l.scaleLine)
	case l.Rows > 0 && len(l.Tables) > 0:
		if len(l.Notes) > 0 {
			return fmt.Errorf("the warehouse is not exact: %s", l.Notes[0])
		}
		return t.warehouse(l)
	}
	return nil
}

// scale takes the bytes of the largest run of each kind, in which what is there
// anyway counts least.
func (t *taking) scale(l scaleLine) {
	kind, state := 0, "open"
	if l.Settled {
		kind, state = 1, "kept"
	}
	if l.Payments >= t.most[kind] && l.Joiners == 1 && !l.Cluster {
		t.most[kind] = l.Payments
		t.set("redis-"+state, l.RedisBytes, byScale)
		t.set("joiner-"+state, l.JoinerBytes, byScale)
	}
	if l.Joiners == 1 && !l.Cluster && !l.Settled {
		t.open = append(t.open, l)
	}
}

// takeover by the difference of the largest and the smallest run: what every takeover
// takes, however little there is to load, cancels out.
func (t *taking) takeover() {
	if len(t.open) == 0 {
		return
	}
	bySize := func(a, b scaleLine) int { return int(a.Payments - b.Payments) }
	large := slices.MaxFunc(t.open, bySize)
	small := large
	for _, l := range t.open {
		if l.LogPartitions == large.LogPartitions && l.Payments < small.Payments {
			small = l
		}
	}
	payments, seconds := large.Payments, large.WholeTakeover
	if small.Payments < large.Payments && small.WholeTakeover < large.WholeTakeover {
		payments, seconds = payments-small.Payments, seconds-small.WholeTakeover
	}
	cores := min(t.costs.Figure("bench-cores").Value, float64(large.LogPartitions))
	t.set("load-rate", payments/seconds/cores, byScale)
	most := 0.0
	for _, l := range t.open {
		most = max(most, l.Payments/float64(l.LogPartitions))
	}
	t.set("partition-payments", most, byScale)
}

func (t *taking) warehouse(l *benchLine) error {
	events, size := 0.0, 0.0
	for _, table := range l.Tables {
		if table.Table == "events" {
			events = table.Rows
		}
		size += table.Rows * table.BytesPerRow
	}
	if events == 0 {
		return fmt.Errorf("the warehouse has no events")
	}
	t.set("warehouse-cpu", l.CPU["warehouse"], byWarehouse)
	t.set("clickhouse-cpu", l.CPU["clickhouse"], byWarehouse)
	t.set("rows-per-event", l.Rows/events, byWarehouse)
	t.set("clickhouse-bytes", size/events, byWarehouse)
	return nil
}
