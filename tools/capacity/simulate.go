package capacity

import (
	"container/heap"
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
)

// Settings of a simulation; times in seconds.
type Settings struct {
	Cell Cell
	// FoldSeconds of a core for a record, LoadPerSecond payments that a core loads,
	// ShardRead bytes a second that a Redis shard sends.
	FoldSeconds, LoadPerSecond, ShardRead float64
	Session, Heartbeat, FencedWait        float64
	// JoinRound is what a complete group needs until its members fetch, Drain an owner to
	// publish and commit, Restart a process to come back.
	JoinRound, Drain, Restart               float64
	RedisFailover, RedisLag, BrokerFailover float64
	// IngestUtilisation on average bounds how fast ingest makes up for what it could not
	// append.
	IngestUtilisation float64
	Policy            Policy
	Seed              uint64
}

// SettingsOf a plan.
func SettingsOf(c *Costs, p *Plan) Settings {
	v := func(name string) float64 { return c.Figure(name).Value }
	return Settings{
		Cell: p.Cell, FoldSeconds: p.Cell.FoldSeconds, LoadPerSecond: v("load-rate"), ShardRead: v("shard-read"),
		Session: v("session"), Heartbeat: v("heartbeat"), FencedWait: v("fenced-wait"),
		JoinRound: v("join-round"), Drain: v("drain"), Restart: v("restart"),
		RedisFailover: v("redis-failover"), RedisLag: v("redis-lag"), BrokerFailover: v("broker-failover"),
		IngestUtilisation: v("utilisation") / p.Demand.Peak, Policy: Today,
	}
}

// An Outcome of one scenario, over all partitions of a cell. Late is how long a
// partition's alerts came too late at worst, in seconds.
type Outcome struct {
	Scenario string  `json:"scenario"`
	Policy   string  `json:"policy"`
	LateP50  float64 `json:"late_p50_seconds"`
	LateP99  float64 `json:"late_p99_seconds"`
	LateMax  float64 `json:"late_max_seconds"`
	// CurrentAgain is when no partition had a backlog any more; of several runs the
	// slowest. Never tells that some run did not get there in a day.
	CurrentAgain float64 `json:"current_again_seconds"`
	Never        bool    `json:"never,omitempty"`
	// Rebalances, and how many states were loaded, of a run.
	Rebalances float64 `json:"rebalances"`
	Loads      float64 `json:"loads"`
	late       []float64
}

// zones are as many as replicas: one may go.
const zones = 3

// partition of the log, as a fluid: its backlog grows by rate and falls by folding.
type partition struct {
	owner, shard, standby, broker int
	mode                          mode
	rate, payments, bytes         float64
	backlog, loadLeft             float64
	// arrived and folded records, and those that were folded a second time after a
	// state was rolled back.
	arrived, folded, again float64
	worst                  float64 // lateness in seconds
	folding                bool    // what was decided at the last event
	speed                  float64 // of loading or folding until the next event
}

type mode int

const (
	stopped mode = iota
	loading
	running
)

type joiner struct {
	alive, member bool
	zone          int
	id            uint64 // by which a range assignment sorts
	joined        bool   // has joined the generation in the making
	told          float64
}

type happening struct {
	at  float64
	seq int
	do  func()
}

type queue []happening

func (q queue) Len() int { return len(q) }
func (q queue) Less(i, j int) bool {
	return q[i].at < q[j].at || q[i].at == q[j].at && q[i].seq < q[j].seq
}
func (q queue) Swap(i, j int) { q[i], q[j] = q[j], q[i] }
func (q *queue) Push(x any)   { *q = append(*q, x.(happening)) }
func (q *queue) Pop() any {
	last := (*q)[len(*q)-1]
	*q = (*q)[:len(*q)-1]
	return last
}

// group plays one cell.
type group struct {
	Settings
	now        float64
	events     queue
	seq        int
	partitions []partition
	joiners    []joiner
	shardUp    []float64 // when a shard serves again
	// gate is until when ingest cannot append: one partition without a leader holds a
	// source, and so all partitions.
	gate    float64
	gated   bool
	random  *rand.Rand
	rolling []int // joiners that are still to be restarted
	restart bool  // one is being restarted

	preparing         bool
	generation        int
	rebalances, loads int
	currentAt         float64      // when the last backlog was gone
	checks            func(*group) // of a test, after each step
}

// dayLimit ends what will never be current.
const dayLimit = 86_400

func newGroup(s Settings) *group {
	g := &group{Settings: s, random: rand.New(rand.NewPCG(s.Seed, 0x5e771e)), shardUp: make([]float64, s.Cell.RedisShards)}
	for j := range s.Cell.Joiners {
		g.joiners = append(g.joiners, joiner{alive: true, member: true, zone: j % zones, id: g.random.Uint64()})
	}
	leader := g.random.IntN(s.Cell.Brokers)
	for p := range s.Cell.Partitions {
		// Payments are spread by a hash: no partition differs much from another.
		skew := 0.95 + 0.1*g.random.Float64()
		g.partitions = append(g.partitions, partition{
			owner: -1, shard: p % s.Cell.RedisShards, broker: (p + leader) % s.Cell.Brokers, mode: running,
			rate: s.Cell.Records * skew, payments: s.Cell.Payments * skew, bytes: s.Cell.Bytes * skew,
		})
	}
	for p, owner := range g.assignment() {
		g.partitions[p].owner = owner
	}
	for p := range g.partitions {
		g.partitions[p].standby = g.standbyOf(p)
	}
	return g
}

// standbyOf a partition is a joiner of another zone where there is one; those of one
// joiner are spread over many.
func (g *group) standbyOf(p int) int {
	var others []int
	for j := range g.joiners {
		if owner := g.partitions[p].owner; j != owner && (g.joiners[j].zone != g.joiners[owner].zone || len(g.joiners) <= zones) {
			others = append(others, j)
		}
	}
	return others[p%len(others)]
}

func (g *group) after(seconds float64, do func()) {
	g.seq++
	heap.Push(&g.events, happening{at: g.now + seconds, seq: g.seq, do: do})
}

// run until nothing is to come and everything is current.
func (g *group) run() (never bool) {
	for g.now < dayLimit {
		g.decide()
		next := g.next()
		if math.IsInf(next, 1) {
			return g.backlogged()
		}
		g.advance(next)
		for len(g.events) > 0 && g.events[0].at <= g.now {
			heap.Pop(&g.events).(happening).do()
		}
		if g.checks != nil {
			g.checks(g)
		}
		if g.backlogged() {
			g.currentAt = math.Inf(1)
		} else if math.IsInf(g.currentAt, 1) {
			g.currentAt = g.now
		}
	}
	return true
}

func (g *group) backlogged() bool {
	return slices.ContainsFunc(g.partitions, func(p partition) bool { return p.backlog > 0 || p.mode != running })
}

// works tells whether a partition's owner can get on with it.
func (g *group) works(p *partition) bool {
	return p.owner >= 0 && g.joiners[p.owner].alive && g.now >= g.shardUp[p.shard]
}

// decide how fast everything goes until the next event. What a joiner's current
// partitions need comes first; the rest of its cores is shared by those that load or
// have a backlog, at most a core each.
func (g *group) decide() {
	free, busy := make([]float64, len(g.joiners)), make([]float64, len(g.joiners))
	reading := make([]float64, len(g.shardUp))
	for j := range free {
		free[j] = g.Cell.Cores
	}
	for i := range g.partitions {
		p := &g.partitions[i]
		p.folding, p.speed = false, 0
		switch {
		case !g.works(p) || p.mode == stopped:
		case p.mode == loading:
			busy[p.owner]++
			reading[p.shard]++
		case g.now < g.gate:
		case p.backlog > 0:
			p.folding = true
			busy[p.owner]++
		default:
			p.folding, p.speed = true, p.rate
			free[p.owner] -= p.rate * g.FoldSeconds
		}
	}
	for i := range g.partitions {
		p := &g.partitions[i]
		if !g.works(p) || p.mode == stopped || p.speed > 0 {
			continue
		}
		cores := min(1, max(0, free[p.owner])/busy[p.owner])
		switch {
		case p.mode == loading:
			p.speed = min(cores*g.LoadPerSecond, g.ShardRead/reading[p.shard]/(p.bytes/p.payments))
		case p.folding:
			p.speed = cores / g.FoldSeconds
			if g.gated {
				p.speed = min(p.speed, p.rate/g.IngestUtilisation)
			}
			p.worst = max(p.worst, p.backlog/p.rate)
		}
	}
}

// left is how long a partition needs for what it is at.
func (p *partition) left() float64 {
	switch {
	case p.mode == loading && p.speed > 0:
		return p.loadLeft / p.speed
	case p.folding && p.backlog > 0 && p.speed > p.rate:
		return p.backlog / (p.speed - p.rate)
	}
	return math.Inf(1)
}

// next is when something changes.
func (g *group) next() float64 {
	at := math.Inf(1)
	if len(g.events) > 0 {
		at = g.events[0].at
	}
	for i := range g.partitions {
		at = min(at, g.now+g.partitions[i].left())
	}
	return at
}

// tick joins what ends within so many seconds of each other: thousands of partitions
// that are nearly alike would else be as many steps.
const tick = 0.01

func (g *group) advance(to float64) {
	d := to - g.now
	for i := range g.partitions {
		p := &g.partitions[i]
		done := p.left() <= d+tick
		p.arrived += p.rate * d
		switch {
		case p.mode == loading && done:
			p.mode, p.loadLeft = running, 0
			p.backlog += p.rate * d
		case p.folding && done:
			p.folded += p.backlog + p.rate*d
			p.backlog = 0
		case p.folding && p.backlog == 0:
			p.folded += p.rate * d
		case p.folding:
			p.folded += p.speed * d
			p.backlog += (p.rate - p.speed) * d
		default:
			if p.mode == loading {
				p.loadLeft -= p.speed * d
			}
			p.backlog += p.rate * d
		}
	}
	g.now = to
}

// stop takes a partition from its owner's hands.
func (p *partition) stop() { p.mode = stopped }

// load begins: payments that are not in the owner's memory, from Redis.
func (g *group) load(p *partition) {
	p.mode, p.loadLeft = loading, p.payments
	g.loads++
}

// rollBack is a state that is older than what was folded; it is folded again.
func (p *partition) rollBack(seconds float64) {
	n := min(p.rate*seconds, p.folded)
	p.folded -= n
	p.backlog += n
	p.again += n
}

// Simulate a scenario with the seeds from Settings.Seed on.
func Simulate(s Settings, scenario Scenario, runs int) (Outcome, error) {
	if err := s.Validate(); err != nil {
		return Outcome{}, fmt.Errorf("simulate %s: %w", scenario.Name, err)
	}
	o := Outcome{Scenario: scenario.Name, Policy: s.Policy.Name}
	for range runs {
		g := newGroup(s)
		// A while before, so that there is something that can be rolled back.
		g.after(warmSeconds, func() { scenario.strike(g) })
		o.Never = g.run() || o.Never
		o.CurrentAgain = max(o.CurrentAgain, min(g.currentAt, dayLimit)-warmSeconds)
		o.Rebalances += float64(g.rebalances) / float64(runs)
		o.Loads += float64(g.loads) / float64(runs)
		for _, p := range g.partitions {
			o.late = append(o.late, p.worst)
		}
		s.Seed++
	}
	slices.Sort(o.late)
	at := func(share float64) float64 { return o.late[int(math.Ceil(share*float64(len(o.late))))-1] }
	o.LateP50, o.LateP99, o.LateMax = at(0.5), at(0.99), at(1)
	return o, nil
}

const warmSeconds = 60

// Validate says what cannot be simulated.
func (s Settings) Validate() error {
	c := s.Cell
	switch {
	case c.Joiners < 2 || c.Partitions < c.Joiners || c.RedisShards < 1 || c.Brokers < 1:
		return fmt.Errorf("%d joiners, %d partitions, %d shards, %d brokers: it takes two joiners, a partition for each, a shard and a broker",
			c.Joiners, c.Partitions, c.RedisShards, c.Brokers)
	case !(c.Cores > 0 && c.Payments > 0 && c.Bytes > 0 && c.Records > 0 && s.FoldSeconds > 0 && s.LoadPerSecond > 0 && s.ShardRead > 0):
		return fmt.Errorf("cores, payments, bytes, records and speeds must be more than 0")
	case !(s.IngestUtilisation > 0 && s.IngestUtilisation <= 1):
		return fmt.Errorf("ingest is utilised to %v: give more than 0 and at most 1", s.IngestUtilisation)
	}
	return nil
}
