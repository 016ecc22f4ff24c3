package capacity

import "math"

// A Scenario is something that happens to a cell.
type Scenario struct {
	Name   string
	About  string
	strike func(*group)
}

// Scenarios that are simulated.
var Scenarios = []Scenario{
	{"joiner crashes", "a joiner is killed and started again", func(g *group) { g.crash(g.random.IntN(len(g.joiners)), true) }},
	{"joiner lost", "a joiner is gone with its machine", func(g *group) { g.crash(g.random.IntN(len(g.joiners)), false) }},
	{"zone lost", "a third of joiners, Redis shards and brokers is gone", (*group).loseZone},
	{"rolling restart", "every joiner is restarted, one when the other is current", func(g *group) {
		for j := range g.joiners {
			g.rolling = append(g.rolling, j)
		}
		g.roll()
	}},
	{"Redis shard fails over", "to a replica that lacks the last commits", func(g *group) { g.loseShard(g.random.IntN(len(g.shardUp))) }},
	{"broker lost", "its partitions have no leader for a while, and ingest waits for them", func(g *group) {
		g.loseBroker()
	}},
}

// crash a joiner: the group finds out when its session ends. What it had folded and
// not committed is folded again.
func (g *group) crash(j int, comesBack bool) {
	m := &g.joiners[j]
	m.alive = false
	for i := range g.partitions {
		if p := &g.partitions[i]; p.owner == j {
			p.stop()
			p.rollBack(g.Drain)
			p.loadLeft = p.payments // it is in nobody's memory
		}
	}
	session := g.Session
	if comesBack && g.Policy.Static && g.Restart < g.Session {
		// It comes back under its own name: nothing is shared out anew.
		g.after(g.Restart, func() { g.comeBackStatic(j) })
		return
	}
	// A joiner commits its place at every batch, which the coordinator counts as a sign
	// of life: so the whole session passes, whenever the last heartbeat was.
	g.after(session, func() {
		g.expire(j)
		if comesBack && g.Restart > session {
			g.after(g.Restart-session, func() { g.comeBack(j) })
		}
	})
	if comesBack && g.Restart <= session {
		// A new member, which waits in its join until the old one's session has ended.
		g.joiners = append(g.joiners, joiner{alive: false, zone: m.zone, id: g.random.Uint64()})
		fresh := len(g.joiners) - 1
		g.after(g.Restart, func() { g.comeBack(fresh) })
	}
}

func (g *group) expire(j int) {
	g.joiners[j].member, g.joiners[j].joined = false, false
	g.trigger()
}

// comeBack as a new member, which has joined as soon as it is there.
func (g *group) comeBack(j int) {
	m := &g.joiners[j]
	m.alive, m.member, m.joined = true, true, true
	m.id = g.random.Uint64()
	g.trigger()
}

// comeBackStatic: the member loads what it had.
func (g *group) comeBackStatic(j int) {
	g.joiners[j].alive = true
	g.after(g.JoinRound, func() {
		for i := range g.partitions {
			if p := &g.partitions[i]; p.owner == j {
				g.load(p)
			}
		}
	})
}

// loseShard stops its partitions until the replica serves. Their owners' next commit
// is refused, they wait, load, and fold again what the replica lacks.
func (g *group) loseShard(shard int) {
	g.shardUp[shard] = g.now + g.RedisFailover
	g.after(g.RedisFailover, func() {
		for i := range g.partitions {
			p := &g.partitions[i]
			if p.shard != shard {
				continue
			}
			p.rollBack(g.RedisLag)
			if p.mode == loading {
				continue // whoever loads it, reads the replica
			}
			fenced := p.mode == running
			p.stop()
			p.loadLeft = p.payments // what is in memory is worth nothing
			if !fenced {
				continue
			}
			owner := p.owner
			g.after(g.FencedWait, func() {
				if p.mode == stopped && p.owner == owner && g.joiners[owner].alive {
					g.load(p)
				}
			})
		}
	})
}

func (g *group) loseBroker() {
	g.gate, g.gated = math.Max(g.gate, g.now+g.BrokerFailover), true
	g.after(g.BrokerFailover, func() {})
}

func (g *group) loseZone() {
	zone := g.random.IntN(zones)
	g.loseBroker()
	for shard := range g.shardUp {
		if shard%zones == zone {
			g.loseShard(shard)
		}
	}
	for j := range g.joiners {
		if g.joiners[j].zone == zone {
			g.crash(j, false)
		}
	}
}

// rollPoll is how often the next restart asks whether all is current.
const rollPoll = 1

// roll restarts the next joiner: a clean end, and a new member when it is back.
func (g *group) roll() {
	if g.preparing || g.restart || g.backlogged() {
		if g.now < dayLimit {
			g.after(rollPoll, g.roll)
		}
		return
	}
	if len(g.rolling) == 0 {
		return
	}
	j := g.rolling[0]
	g.rolling = g.rolling[1:]
	g.restart = true
	g.joiners[j].alive = false
	for i := range g.partitions {
		if p := &g.partitions[i]; p.owner == j {
			p.stop()
			p.loadLeft = p.payments
		}
	}
	if g.Policy.Static && g.Restart < g.Session {
		g.after(g.Restart, func() { g.restart = false; g.comeBackStatic(j) })
	} else {
		g.after(g.Drain, func() { g.expire(j) })
		g.after(g.Drain+g.Restart, func() { g.restart = false; g.comeBack(j) })
	}
	g.after(g.Drain+g.Restart+rollPoll, g.roll)
}
