package capacity

import (
	"errors"
	"fmt"
	"math"
)

// A Demand is what is to be borne.
type Demand struct {
	// PaymentsPerSecond all day long, each of EventsPerPayment.
	PaymentsPerSecond float64 `json:"payments_per_second"`
	EventsPerPayment  float64 `json:"events_per_payment"`
	// Peak is how many times that the busiest minutes are.
	Peak float64 `json:"peak_factor"`
	// OpenDays until a payment is settled, LifeDays until it is forgotten.
	OpenDays float64 `json:"open_days"`
	LifeDays float64 `json:"life_days"`
}

// DesignLoad is that of China's NetsUnion, taken as if it lasted all day.
var DesignLoad = Demand{PaymentsPerSecond: 120_000, EventsPerPayment: 3, Peak: 2, OpenDays: 1.5, LifeDays: 7}

// Validate says what is wrong with a demand.
func (d Demand) Validate() error {
	var wrong []error
	for _, v := range []struct {
		name  string
		value float64
		least float64
	}{
		{"payments per second", d.PaymentsPerSecond, 0.001},
		{"events per payment", d.EventsPerPayment, 1},
		{"peak factor", d.Peak, 1},
		{"open days", d.OpenDays, 0},
		{"life", d.LifeDays, d.OpenDays},
	} {
		if !(v.value >= v.least) || v.value > 1e9 {
			wrong = append(wrong, fmt.Errorf("%s is %v: give %v to 1e9", v.name, v.value, v.least))
		}
	}
	return errors.Join(wrong...)
}

// A Line of a plan. How is the arithmetic that gave Value, in words and numbers.
type Line struct {
	Section string  `json:"section"`
	Name    string  `json:"name"`
	Value   float64 `json:"value"`
	Unit    string  `json:"unit"`
	How     string  `json:"how"`
}

// Shown is the value for people.
func (l Line) Shown() string { return format(l.Value, l.Unit) }

// A Machine is what a role needs: Count alike, one more than the load takes.
type Machine struct {
	Role  string  `json:"role"`
	Count float64 `json:"count"`
	// Cores, MemoryBytes and DiskBytes of each.
	Cores       float64 `json:"cores"`
	MemoryBytes float64 `json:"memory_bytes"`
	DiskBytes   float64 `json:"disk_bytes"`
	PerMonth    float64 `json:"money_per_month"`
}

// A Plan is what a demand needs.
type Plan struct {
	Demand   Demand    `json:"demand"`
	Lines    []Line    `json:"lines"`
	Machines []Machine `json:"machines"`
	// Cell is what one of the like installations has that share the load.
	Cell Cell `json:"cell"`
}

// A Cell is one consumer group of joiners with its log and its Redis.
type Cell struct {
	Joiners     int     `json:"joiners"`
	Partitions  int     `json:"partitions"`
	RedisShards int     `json:"redis_shards"`
	Brokers     int     `json:"brokers"`
	Cores       float64 `json:"cores_per_joiner"`
	// Payments of a partition, its bytes in Redis, and its records a second, marks
	// included, on average.
	Payments float64 `json:"payments_per_partition"`
	Bytes    float64 `json:"redis_bytes_per_partition"`
	Records  float64 `json:"records_per_second_of_partition"`
	// FoldSeconds of a core for a record.
	FoldSeconds float64 `json:"fold_seconds_per_record"`
}

// Line of a plan by name; the value is 0 where there is none.
func (p *Plan) Line(name string) Line {
	for _, l := range p.Lines {
		if l.Name == name {
			return l
		}
	}
	return Line{}
}

// planner writes lines as it computes.
type planner struct {
	costs   *Costs
	plan    *Plan
	section string

	eventsMean, eventsPeak, open, kept, payments Quantity
	stateRedis, stateJoiner                      Quantity
	partitions, joiners, shards, redisNodes      Quantity
	cells, rawPartitions, marks, requests        Quantity
	brokers                                      Quantity
	month                                        Quantity
}

func (p *planner) figure(name string) Quantity { return p.costs.Figure(name).quantity() }

// line notes a result; what uses it shows its value and not all that led to it.
func (p *planner) line(name, unit string, q Quantity) Quantity {
	p.plan.Lines = append(p.plan.Lines, Line{Section: p.section, Name: name, Value: q.Value, Unit: unit, How: q.text})
	return Quantity{Value: q.Value, text: format(q.Value, unit)}
}

func given(v float64, unit string) Quantity {
	return Quantity{Value: v, text: format(v, unit) + "(g)"}
}

var (
	secondsOfDay = Quantity{Value: 86_400, text: "86,400 s"}
	microseconds = Quantity{Value: 1e6, text: "1,000,000 µs"}
	one          = number(1)
	two          = number(2)
)

// Make a plan of a demand.
func Make(c *Costs, d Demand) (*Plan, error) {
	if err := d.Validate(); err != nil {
		return nil, fmt.Errorf("plan: %w", err)
	}
	p := &planner{costs: c, plan: &Plan{Demand: d}}
	p.load(d)
	p.state()
	p.joinersAndRedis()
	p.cellsAndMarks()
	p.ingest()
	p.broker()
	p.warehouse()
	p.money()
	p.cell()
	return p.plan, nil
}

func (p *planner) load(d Demand) {
	p.section = "load"
	rate := given(d.PaymentsPerSecond, "payments/s")
	p.eventsMean = p.line("events a second, mean", "/s", rate.times(given(d.EventsPerPayment, "events")))
	p.eventsPeak = p.line("events a second, peak", "/s", p.eventsMean.times(given(d.Peak, "")))
	daily := p.line("payments a day", "", rate.times(secondsOfDay))
	p.open = p.line("open payments", "", daily.times(given(d.OpenDays, "days")))
	p.kept = p.line("settled payments that are kept", "", daily.times(given(d.LifeDays, "days").minus(given(d.OpenDays, "days"))))
	p.payments = p.line("payments in the state", "", p.open.plus(p.kept))
	p.line("raw records, peak", "B/s", p.eventsPeak.times(p.figure("raw-bytes")))
	p.line("raw topics, peak, compressed", "B/s", p.eventsPeak.times(p.figure("raw-stored")))
	p.line("payment log, peak, compressed", "B/s", p.eventsPeak.times(p.figure("log-stored")))
}

// state is how much has to be remembered, and into how many partitions it is cut.
func (p *planner) state() {
	p.section = "state and partitions"
	p.stateRedis = p.line("state in Redis", "B", p.open.times(p.figure("redis-open")).plus(p.kept.times(p.figure("redis-kept"))))
	p.stateJoiner = p.line("state in the joiners", "B", p.open.times(p.figure("joiner-open")).plus(p.kept.times(p.figure("joiner-kept"))))
	byRate := p.line("log partitions by rate: one folds on one core", "",
		p.eventsPeak.times(p.figure("joiner-cpu")).over(microseconds).over(p.figure("utilisation")).up())
	bySize := p.line("log partitions by size: none larger than was measured", "", p.payments.over(p.figure("partition-payments")).up())
	byTakeover := p.line("log partitions by takeover: one loads on one core", "",
		p.payments.over(p.figure("load-rate")).over(p.figure("takeover")).up())
	p.partitions = p.line("log partitions", "", most(byRate, bySize, byTakeover))
}

func (p *planner) joinersAndRedis() {
	p.section = "joiners"
	memory, cores := p.figure("joiner-memory"), p.figure("joiner-cores")
	loaded := p.stateRedis.over(p.partitions) // as it is stored
	byMemory := p.line("machines by memory, while one partition is loaded", "",
		p.stateJoiner.over(memory.times(p.figure("memory-utilisation")).minus(loaded)).up())
	if byMemory.Value < 1 {
		byMemory = p.line("machines by memory: loading one partition does not fit", "", p.partitions)
	}
	byCPU := p.line("machines by CPU, peak", "", p.cpuMachines(p.eventsPeak, "joiner-cpu", cores))
	p.joiners = p.line("joiners (N+1)", "", most(byMemory, byCPU).plus(one))
	p.line("seconds in which a joiner loads all it owns: every rebalance, today", "s",
		p.payments.over(p.joiners).over(p.figure("load-rate").times(cores)))
	p.section = "Redis"
	bySize := p.line("shards by size", "", p.stateRedis.over(p.figure("shard-bytes")).up())
	byRate := p.line("shards by CPU, peak: a shard is one thread", "",
		p.eventsPeak.times(p.figure("redis-cpu")).over(microseconds).over(p.figure("utilisation")).up())
	p.shards = p.line("shards", "", most(bySize, byRate))
	p.redisNodes = p.line("nodes with replicas", "", p.shards.times(one.plus(p.figure("redis-replicas"))))
	p.line("machines (N+1)", "",
		p.redisNodes.times(p.figure("shard-bytes")).over(p.figure("redis-memory").times(p.figure("memory-utilisation"))).up().plus(one))
	p.machine("Redis", p.plan.Lines[len(p.plan.Lines)-1].Value, "redis-cores", "redis-memory", "")
}

// cpuMachines so that the cores are busy by no more than the utilisation.
func (p *planner) cpuMachines(perSecond Quantity, cost string, cores Quantity) Quantity {
	return perSecond.times(p.figure(cost)).over(microseconds).over(p.figure("utilisation")).over(cores).up()
}

// cellsAndMarks: what grows with partitions times partitions.
func (p *planner) cellsAndMarks() {
	p.section = "cells: like installations, acquirers shared out"
	byGroup := p.joiners.over(p.figure("group-members")).up()
	byRedis := p.redisNodes.over(p.figure("cluster-nodes")).up()
	p.cells = p.line("cells", "", most(byGroup, byRedis, one))
	feeds := p.figure("feeds")
	byCPU := p.eventsPeak.times(p.figure("ingest-cpu")).over(microseconds).over(p.figure("utilisation"))
	byBytes := p.eventsPeak.times(p.figure("raw-stored")).over(p.figure("partition-bytes"))
	perCell := p.line("raw partitions of a feed in a cell", "", most(byCPU, byBytes).over(feeds).over(p.cells).up())
	p.rawPartitions = p.line("raw partitions", "", perCell.times(feeds).times(p.cells))
	logPerCell := p.line("log partitions of a cell", "", p.partitions.over(p.cells).up())
	p.marks = p.line("marks a second: each raw partition marks each log partition of its cell", "/s",
		p.rawPartitions.times(logPerCell).over(p.figure("mark-every")))
	p.line("marks for each event, mean", "", p.marks.over(p.eventsMean))
	p.line("joiner cores that marks take", "", p.marks.times(p.figure("mark-cpu")).over(microseconds))
	p.requests = p.line("appends to the log a second, peak", "/s",
		least(p.eventsPeak.plus(p.marks), p.rawPartitions.times(logPerCell).over(p.figure("append-every"))))
	p.line("events of an append", "", p.eventsPeak.over(p.requests))
	p.machine("joiner", p.joiners.Value, "joiner-cores", "joiner-memory", "")
}

func (p *planner) ingest() {
	p.section = "ingest"
	cores := p.line("cores, peak", "", p.eventsPeak.times(p.figure("ingest-cpu")).plus(p.requests.times(p.figure("append-client-cpu"))).over(microseconds))
	count := p.line("machines (N+1 for each feed)", "", cores.over(p.figure("utilisation")).over(p.figure("ingest-cores")).up().plus(p.figure("feeds")))
	p.line("most instances that have work", "", p.rawPartitions)
	p.machine("ingest", count.Value, "ingest-cores", "ingest-memory", "")
}

func (p *planner) broker() {
	p.section = "brokers"
	replicas, utilisation := p.figure("kafka-replicas"), p.figure("utilisation")
	raw := p.eventsPeak.times(p.figure("raw-stored"))
	logged := p.line("payment log with marks, peak", "B/s", p.eventsPeak.times(p.figure("log-stored")).plus(p.marks.times(p.figure("mark-bytes"))))
	checkpoints := p.line("checkpoints: the whole state each time", "B/s", p.stateRedis.over(p.figure("checkpoint-every")))
	written := p.line("written, without replicas", "B/s", raw.plus(logged).plus(checkpoints))
	out := p.line("sent: followers, ingest, joiner, warehouse, and checkpoints read back", "B/s",
		written.times(replicas.minus(one)).plus(raw).plus(logged.times(two)).plus(checkpoints))
	byNet := p.line("brokers by network", "", out.over(p.figure("broker-net").times(utilisation)).up())
	cores := p.line("cores, peak", "",
		p.eventsPeak.times(p.figure("broker-cpu")).plus(p.requests.times(p.figure("append-broker-cpu"))).
			times(one.plus(p.figure("follower-share").times(replicas.minus(one)))).over(microseconds))
	byCPU := p.line("brokers by CPU", "", cores.over(utilisation).over(p.figure("broker-cores")).up())
	kept := p.line("raw topics on disk, without replicas", "B",
		p.eventsMean.times(p.figure("raw-stored")).times(secondsOfDay).times(p.figure("raw-days")))
	log := p.line("payment log on disk, without replicas", "B",
		p.eventsMean.times(p.figure("log-stored")).plus(p.marks.times(p.figure("mark-bytes"))).times(secondsOfDay).times(p.figure("log-days")))
	disk := p.line("disk with replicas and two checkpoints of each partition", "B", kept.plus(log).plus(two.times(p.stateRedis)).times(replicas))
	byDisk := p.line("brokers by disk", "", disk.over(p.figure("broker-disk").times(p.figure("disk-utilisation"))).up())
	byPartitions := p.line("brokers by partitions", "",
		p.partitions.times(p.figure("topics-like-log")).plus(p.rawPartitions).times(replicas).over(p.figure("broker-partitions")).up())
	p.brokers = p.line("brokers (N+1)", "", most(byNet, byCPU, byDisk, byPartitions, replicas).plus(one))
	p.machine("broker", p.brokers.Value, "broker-cores", "broker-memory", "broker-disk")
}

func (p *planner) warehouse() {
	p.section = "warehouse"
	rows := p.line("rows a second, peak", "/s", p.eventsPeak.times(p.figure("rows-per-event")))
	p.line("service instances (N+1)", "", p.cpuMachines(rows, "warehouse-cpu", p.figure("ingest-cores")).plus(one))
	p.machine("warehouse service", p.plan.Lines[len(p.plan.Lines)-1].Value, "ingest-cores", "ingest-memory", "")
	cores := p.line("ClickHouse cores, peak: loading, and as much again for questions", "",
		rows.times(p.figure("clickhouse-cpu")).over(microseconds).times(p.figure("questions")))
	disk := p.line("bytes on disk of one replica", "B",
		p.eventsMean.times(p.figure("clickhouse-bytes")).times(secondsOfDay).times(p.figure("warehouse-days")))
	shards := p.line("ClickHouse shards", "", most(
		cores.over(p.figure("utilisation")).over(p.figure("clickhouse-cores")).up(),
		disk.over(p.figure("clickhouse-disk").times(p.figure("disk-utilisation"))).up()))
	count := p.line("ClickHouse machines (a replica is the spare)", "", shards.times(p.figure("clickhouse-replicas")))
	p.machine("ClickHouse", count.Value, "clickhouse-cores", "clickhouse-memory", "clickhouse-disk")
}

// machine notes what a role needs; disk is empty where the smallest one does.
func (p *planner) machine(role string, count float64, cores, memory, disk string) {
	m := Machine{Role: role, Count: count, Cores: p.costs.Figure(cores).Value, MemoryBytes: p.costs.Figure(memory).Value}
	if disk != "" {
		m.DiskBytes = p.costs.Figure(disk).Value
	}
	hours := p.costs.Figure("month-hours").Value
	m.PerMonth = count * (m.Cores*p.costs.Figure("core-hour").Value*hours +
		m.MemoryBytes/1e9*p.costs.Figure("gb-hour").Value*hours + m.DiskBytes/1e9*p.costs.Figure("disk-gb-month").Value)
	p.plan.Machines = append(p.plan.Machines, m)
}

func (p *planner) money() {
	p.section = "money"
	var machines, cores, memory, disk float64
	for _, m := range p.plan.Machines {
		machines += m.Count
		cores += m.Count * m.Cores
		memory += m.Count * m.MemoryBytes
		disk += m.Count * m.DiskBytes
	}
	sum := func(v float64, unit string) Quantity {
		return Quantity{Value: v, text: "the sum over the machines: " + format(v, unit)}
	}
	p.line("machines", "", sum(machines, ""))
	c := p.line("cores", "", sum(cores, ""))
	gb := p.line("memory, GB", "", sum(memory/1e9, ""))
	d := p.line("disk, GB", "", sum(disk/1e9, ""))
	hours := p.figure("month-hours")
	p.month = p.line("money a month", "", c.times(p.figure("core-hour")).times(hours).
		plus(gb.times(p.figure("gb-hour")).times(hours)).plus(d.times(p.figure("disk-gb-month"))))
	monthly := given(p.plan.Demand.PaymentsPerSecond, "payments/s").times(hours).times(number(3600))
	p.line("money for a million payments", "", p.month.over(monthly).times(number(1e6)))
}

// cell is what one cell has, in whole things: what the simulation starts from.
func (p *planner) cell() {
	part := func(q Quantity) int { return max(1, int(math.Ceil(q.Value/p.cells.Value))) }
	partitions := part(p.partitions)
	p.plan.Cell = Cell{
		Joiners: max(2, part(p.joiners)), Partitions: partitions, RedisShards: part(p.shards), Brokers: part(p.brokers),
		Cores:    p.costs.Figure("joiner-cores").Value,
		Payments: p.payments.Value / p.partitions.Value,
		Bytes:    p.stateRedis.Value / p.partitions.Value,
		Records:  (p.eventsMean.Value + p.marks.Value) / p.partitions.Value,
		FoldSeconds: (p.eventsMean.Value*p.figure("joiner-cpu").Value + p.marks.Value*p.figure("mark-cpu").Value) /
			1e6 / (p.eventsMean.Value + p.marks.Value),
	}
}
