package capacity

import (
	"cmp"
	"slices"
)

// A Policy is how partitions change hands. Today's is kafka-go's group protocol with
// a range assignment; the others are what could be built.
type Policy struct {
	Name  string `json:"name"`
	About string `json:"about"`
	// Sticky leaves partitions where they are, and a partition that comes back to its
	// owner is not loaded again: the token in Redis is still its own.
	Sticky bool `json:"sticky"`
	// OnlyMoved lets everybody go on with what stays (cooperative rebalance).
	OnlyMoved bool `json:"only_moved"`
	// Static members keep their partitions through a restart that is shorter than the
	// session.
	Static bool `json:"static"`
	// Standby keeps each partition's state in the memory of a second joiner too.
	Standby bool `json:"standby"`
}

// Policies, each with one thing more than the one before it; Static stands beside
// Standby.
var (
	Today       = Policy{Name: "today", About: "everyone stops at a rebalance, ranges shift, every owner loads all it owns"}
	Sticky      = Policy{Name: "sticky", About: "everyone stops; what stays is not loaded again", Sticky: true}
	Cooperative = Policy{Name: "cooperative", About: "sticky, and what stays goes on meanwhile", Sticky: true, OnlyMoved: true}
	Standby     = Policy{Name: "standby", About: "cooperative, and a second joiner has the state in memory before it takes over", Sticky: true, OnlyMoved: true, Standby: true}
	Static      = Policy{Name: "static", About: "cooperative, and a restart within the session moves nothing", Sticky: true, OnlyMoved: true, Static: true}
)

// Policies in that order.
var Policies = []Policy{Today, Sticky, Cooperative, Standby, Static}

// trigger a rebalance: members hear of it with their next heartbeat, one after the
// other, and those that join wait for the last.
func (g *group) trigger() {
	if g.preparing {
		g.complete()
		return
	}
	g.preparing = true
	g.rebalances++
	for j := range g.joiners {
		m := &g.joiners[j]
		m.told = g.random.Float64() * g.Heartbeat
		if !m.alive || !m.member || m.joined {
			continue
		}
		g.after(m.told, func() { g.hear(j) })
	}
	g.complete()
}

// hear of a rebalance: the owner ends what it is at, and joins.
func (g *group) hear(j int) {
	if !g.joiners[j].alive {
		return
	}
	if !g.Policy.OnlyMoved {
		for i := range g.partitions {
			if p := &g.partitions[i]; p.owner == j {
				p.stop()
			}
		}
	}
	g.after(g.Drain, func() {
		g.joiners[j].joined = g.joiners[j].alive
		g.complete()
	})
}

// complete the generation when every member has joined; a dead one is a member until
// its session ends.
func (g *group) complete() {
	if !g.preparing {
		return
	}
	for _, m := range g.joiners {
		if m.member && !m.joined {
			return
		}
	}
	g.generation++
	generation := g.generation
	g.after(g.JoinRound, func() {
		if g.generation == generation {
			g.preparing = false
			for j := range g.joiners {
				g.joiners[j].joined = false
			}
			g.assign()
		}
	})
}

// assign partitions to the members of the new generation.
func (g *group) assign() {
	for i, owner := range g.assignment() {
		p := &g.partitions[i]
		moved, handedOver := owner != p.owner, g.joiners[p.owner].alive && p.mode == running
		p.owner = owner
		switch {
		case !moved && g.Policy.Sticky && p.mode != loading && p.loadLeft == 0:
			p.mode = running // the state is still in memory
		case !moved && g.Policy.OnlyMoved:
			// It goes on loading.
		case g.Policy.Standby && (owner == p.standby || handedOver):
			p.mode, p.loadLeft = running, 0
		default:
			g.load(p)
		}
	}
}

// assignment of each partition to a member.
func (g *group) assignment() []int {
	var members []int
	for j, m := range g.joiners {
		if m.member {
			members = append(members, j)
		}
	}
	if !g.Policy.Sticky || g.partitions[0].owner < 0 {
		return g.ranges(members)
	}
	return g.stickily(members)
}

// ranges as kafka.RangeGroupBalancer cuts them: members by id, partitions in a row.
func (g *group) ranges(members []int) []int {
	slices.SortFunc(members, func(a, b int) int { return cmp.Compare(g.joiners[a].id, g.joiners[b].id) })
	owners := make([]int, len(g.partitions))
	for m, j := range members {
		for p := m * len(owners) / len(members); p < (m+1)*len(owners)/len(members); p++ {
			owners[p] = j
		}
	}
	return owners
}

// stickily leaves as many as balance allows where they are; what has no owner goes to
// its standby where that is a policy, else to who has the fewest.
func (g *group) stickily(members []int) []int {
	counts := make(map[int]int, len(members))
	for _, j := range members {
		counts[j] = 0
	}
	owners := make([]int, len(g.partitions))
	most := (len(owners) + len(members) - 1) / len(members)
	var homeless []int
	for i := range owners {
		p := &g.partitions[i]
		if n, member := counts[p.owner]; member && n < most {
			owners[i] = p.owner
			counts[p.owner]++
		} else {
			homeless = append(homeless, i)
		}
	}
	for _, i := range homeless {
		to := members[0]
		for _, j := range members {
			if counts[j] < counts[to] {
				to = j
			}
		}
		if n, member := counts[g.partitions[i].standby]; g.Policy.Standby && member && n <= most {
			to = g.partitions[i].standby
		}
		owners[i] = to
		counts[to]++
	}
	return owners
}
