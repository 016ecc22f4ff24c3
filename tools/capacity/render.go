package capacity

import (
	"context"
	"fmt"
	"io"
	"strings"
)

// A Variant is a demand beside the one that is planned for.
type Variant struct {
	Name   string
	Change func(Demand) Demand
}

// Variants that the document compares.
var Variants = []Variant{
	{"as planned", func(d Demand) Demand { return d }},
	{"a life of 2 days", func(d Demand) Demand { d.LifeDays = 2; return d }},
	{"a life of 30 days", func(d Demand) Demand { d.LifeDays = 30; return d }},
	{"a life of 60 days, as in the example rules", func(d Demand) Demand { d.LifeDays = 60; return d }},
	{"the rate is the peak, a third of it the mean", func(d Demand) Demand { d.PaymentsPerSecond /= 3; d.Peak = 3; return d }},
	{"a tenth of the rate", func(d Demand) Demand { d.PaymentsPerSecond /= 10; return d }},
	{"a hundredth of the rate", func(d Demand) Demand { d.PaymentsPerSecond /= 100; return d }},
}

// Runs of a scenario, with as many seeds.
const Runs = 3

// A Report is everything that the command prints.
type Report struct {
	Costs *Costs `json:"costs"`
	Plan  *Plan  `json:"plan"`
	// Outcomes of every scenario under every policy.
	Outcomes []Outcome `json:"outcomes"`
	// Grid of a lost joiner, today.
	Grid []GridRow `json:"grid"`
	Held []Held    `json:"held"`
}

// A GridRow is the loss of a joiner with another cut of the same state.
type GridRow struct {
	PartitionsPerJoiner int     `json:"partitions_per_joiner"`
	Cores               float64 `json:"cores_per_joiner"`
	// ShardBytes is how large the Redis shards are.
	ShardBytes float64 `json:"shard_bytes"`
	// Utilisation of the joiner's cores by the mean load.
	Utilisation float64 `json:"utilisation"`
	Outcome     Outcome `json:"outcome"`
}

// Held is a figure of the simulation beside what was seen on real servers.
type Held struct {
	Session   float64 `json:"session_seconds"`
	Simulated float64 `json:"simulated_seconds"`
	Seen      float64 `json:"seen_seconds"`
}

// MakeReport plans and simulates.
func MakeReport(ctx context.Context, c *Costs, d Demand, seed uint64) (*Report, error) {
	plan, err := Make(c, d)
	if err != nil {
		return nil, err
	}
	r := &Report{Costs: c, Plan: plan}
	s := SettingsOf(c, plan)
	s.Seed = seed
	for _, scenario := range Scenarios {
		for _, policy := range Policies {
			if err := context.Cause(ctx); err != nil {
				return nil, err
			}
			s.Policy = policy
			o, err := Simulate(s, scenario, Runs)
			if err != nil {
				return nil, err
			}
			r.Outcomes = append(r.Outcomes, o)
		}
	}
	s.Policy = Today
	if r.Grid, err = grid(s); err != nil {
		return nil, err
	}
	r.Held, err = held(c, seed)
	return r, err
}

// grid of a lost joiner: the cell's state in fewer and in more partitions, by joiners
// with less and more CPU to spare, from larger and smaller Redis shards.
func grid(s Settings) ([]GridRow, error) {
	whole := s.Cell
	records, bytes := whole.Records*float64(whole.Partitions), whole.Bytes*float64(whole.Partitions)
	var rows []GridRow
	for _, each := range []int{8, 32, 128} {
		for _, cores := range []float64{2, 16} {
			for _, shards := range []int{1, 4} {
				s.Cell = whole
				s.Cell.Cores, s.Cell.Partitions, s.Cell.RedisShards = cores, each*whole.Joiners, shards*whole.RedisShards
				by := float64(whole.Partitions) / float64(s.Cell.Partitions)
				s.Cell.Payments, s.Cell.Bytes, s.Cell.Records = whole.Payments*by, whole.Bytes*by, whole.Records*by
				o, err := Simulate(s, Scenarios[1], Runs)
				if err != nil {
					return nil, err
				}
				used := records * s.FoldSeconds / float64(whole.Joiners) / cores
				rows = append(rows, GridRow{each, cores, bytes / float64(s.Cell.RedisShards), used, o})
			}
		}
	}
	return rows, nil
}

// held puts the simulation beside the smallest thing that was measured: one joiner of
// a toy's state, killed and started again at once.
func held(c *Costs, seed uint64) ([]Held, error) {
	var out []Held
	for _, name := range []string{"seen-takeover-3s", "seen-takeover-6s"} {
		seen := c.Figure(name)
		s := Settings{
			// The other joiner is there because a group of one has nobody to hand over to; it
			// owns the other partition.
			Cell:        Cell{Joiners: 2, Partitions: 2, RedisShards: 1, Brokers: 1, Cores: 2, Payments: 1000, Bytes: 100_000, Records: 1000},
			FoldSeconds: c.Figure("joiner-cpu").Value / 1e6, LoadPerSecond: c.Figure("load-rate").Value, ShardRead: c.Figure("shard-read").Value,
			Session: map[string]float64{"seen-takeover-3s": 3, "seen-takeover-6s": 6}[name], Restart: 0.5,
			JoinRound: c.Figure("join-round").Value, IngestUtilisation: 1, Policy: Today, Seed: seed,
		}
		o, err := Simulate(s, Scenarios[0], 1)
		if err != nil {
			return nil, err
		}
		out = append(out, Held{Session: s.Session, Simulated: o.LateMax, Seen: seen.Value})
	}
	return out, nil
}

// A Table for people; the first row is the header.
type Table [][]string

// PlanTable is the plan with its arithmetic.
func (r *Report) PlanTable() Table {
	t := Table{{"", "value", "how"}}
	section := ""
	for _, l := range r.Plan.Lines {
		if l.Section != section {
			section = l.Section
			t = append(t, []string{section, "", ""})
		}
		t = append(t, []string{l.Name, l.Shown(), l.How})
	}
	return t
}

// MachineTable is what to buy.
func (r *Report) MachineTable() Table {
	t := Table{{"role", "machines", "cores each", "memory each", "disk each", "money a month"}}
	for _, m := range r.Plan.Machines {
		disk := ""
		if m.DiskBytes > 0 {
			disk = format(m.DiskBytes, "B")
		}
		t = append(t, []string{m.Role, digits(m.Count), digits(m.Cores), format(m.MemoryBytes, "B"), disk, digits(m.PerMonth)})
	}
	return t
}

// FigureTable is where every number comes from.
func (r *Report) FigureTable() Table {
	t := Table{{"figure", "value", "what", "", "from"}}
	for _, f := range r.Costs.Figures {
		t = append(t, []string{f.Name, format(f.Value, f.Unit), f.About, map[string]string{"m": "measured", "s": "set", "a": "assumed"}[f.Mark()], f.Source()})
	}
	return t
}

// VariantTable compares demands.
func VariantTable(c *Costs, d Demand) (Table, error) {
	columns := []struct{ title, line string }{
		{"state in Redis", "state in Redis"},
		{"log partitions", "log partitions"},
		{"joiners", "joiners (N+1)"},
		{"Redis nodes", "nodes with replicas"},
		{"cells", "cells"},
		{"brokers", "brokers (N+1)"},
		{"marks for each event", "marks for each event, mean"},
		{"events of an append", "events of an append"},
		{"a rebalance, s", "seconds in which a joiner loads all it owns: every rebalance, today"},
		{"machines", "machines"},
		{"money a month", "money a month"},
		{"for a million payments", "money for a million payments"},
	}
	t := Table{{""}}
	for _, column := range columns {
		t[0] = append(t[0], column.title)
	}
	for _, v := range Variants {
		p, err := Make(c, v.Change(d))
		if err != nil {
			return nil, fmt.Errorf("%s: %w", v.Name, err)
		}
		row := []string{v.Name}
		for _, column := range columns {
			l := p.Line(column.line)
			row = append(row, strings.TrimSuffix(l.Shown(), " s"))
		}
		t = append(t, row)
	}
	return t, nil
}

// OutcomeTable of every scenario and policy.
func (r *Report) OutcomeTable() Table {
	t := Table{{"what happens", "policy", "late by, p50", "p99", "max", "all current after", "rebalances", "states loaded"}}
	for _, o := range r.Outcomes {
		t = append(t, []string{o.Scenario, o.Policy, seconds(o.LateP50), seconds(o.LateP99), seconds(o.LateMax), o.current(), digits(o.Rebalances), digits(o.Loads)})
	}
	return t
}

// GridTable of a lost joiner.
func (r *Report) GridTable() Table {
	t := Table{{"partitions of a joiner", "cores", "used, mean", "a Redis shard", "late by, p50", "p99", "max", "all current after"}}
	for _, g := range r.Grid {
		t = append(t, []string{
			digits(float64(g.PartitionsPerJoiner)), digits(g.Cores), digits(100*g.Utilisation) + " %", format(g.ShardBytes, "B"),
			seconds(g.Outcome.LateP50), seconds(g.Outcome.LateP99), seconds(g.Outcome.LateMax), g.Outcome.current(),
		})
	}
	return t
}

// HeldTable is the simulation beside the real thing.
func (r *Report) HeldTable() Table {
	t := Table{{"session", "simulated", "seen on real servers"}}
	for _, h := range r.Held {
		t = append(t, []string{seconds(h.Session), seconds(h.Simulated), seconds(h.Seen)})
	}
	return t
}

func (o Outcome) current() string {
	if o.Never {
		return "not within a day"
	}
	return seconds(o.CurrentAgain)
}

// seconds for people.
func seconds(s float64) string {
	switch {
	case s >= 7200:
		return fmt.Sprintf("%.1f h", s/3600)
	case s >= 120:
		return fmt.Sprintf("%.1f min", s/60)
	default:
		return fmt.Sprintf("%.1f s", s)
	}
}

// markdown writes a table in Markdown.
func (t Table) markdown(w io.Writer) {
	for i, row := range t {
		cells := make([]string, len(row))
		for n, c := range row {
			cells[n] = strings.ReplaceAll(c, "|", "\\|")
		}
		if i > 0 && len(strings.Join(row[1:], "")) == 0 {
			cells[0] = "**" + cells[0] + "**" // a section
		}
		_, _ = fmt.Fprintf(w, "| %s |\n", strings.Join(cells, " | "))
		if i == 0 {
			_, _ = fmt.Fprintf(w, "|%s\n", strings.Repeat("-|", len(row)))
		}
	}
	_, _ = fmt.Fprintln(w)
}
