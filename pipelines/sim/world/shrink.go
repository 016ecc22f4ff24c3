package world

import (
	"context"
	"slices"
)

// Shrink drops faults, records, and what else a failing schedule does not need,
// until nothing can go without the failure going too, ctx ends, or tries are used
// up. It returns the smallest schedule that still violates the same check.
func Shrink(ctx context.Context, failed *Report, tries int) *Report {
	s := &shrinker{ctx: ctx, best: failed, check: failed.Violations[0].Check, tries: tries}
	for before := -1; before != s.kept; {
		before = s.kept
		s.shorten()
		s.drop(func(c *Schedule) int { return len(c.Faults) }, func(c *Schedule, i, n int) {
			c.Faults = slices.Delete(c.Faults, i, i+n)
		})
		s.drop(func(c *Schedule) int { return len(c.Plan.Items) }, func(c *Schedule, i, n int) {
			c.Plan.Items = slices.Delete(c.Plan.Items, i, i+n)
		})
		s.simplify()
	}
	return s.best
}

type shrinker struct {
	ctx   context.Context
	best  *Report
	check string
	tries int
	kept  int // how many candidates have taken the place of the best
}

// try keeps a changed copy of the best schedule if it fails too.
func (s *shrinker) try(change func(c *Schedule)) bool {
	if s.tries <= 0 || s.ctx.Err() != nil {
		return false
	}
	s.tries--
	c := *s.best.Schedule
	c.Faults, c.Plan.Items, c.Plan.Played = slices.Clone(c.Faults), slices.Clone(c.Plan.Items), slices.Clone(c.Plan.Played)
	change(&c)
	r, err := Replay(&c)
	if err != nil || !r.Failed() || r.Violations[0].Check != s.check {
		return false
	}
	s.best = r
	s.kept++
	return true
}

// drop removes runs of elements, long ones first.
func (s *shrinker) drop(length func(*Schedule) int, remove func(c *Schedule, i, n int)) {
	for n := (length(s.best.Schedule) + 1) / 2; n > 0; n /= 2 {
		for i := 0; i+n <= length(s.best.Schedule); {
			if !s.try(func(c *Schedule) { remove(c, i, n) }) {
				i += n
			}
		}
	}
}

// shorten ends the faults' time earlier: where it failed, or after the last fault.
func (s *shrinker) shorten() {
	best := s.best.Schedule
	for _, steps := range []int{lastFault(best) + 2, best.Plan.Steps / 2, best.Plan.Steps * 3 / 4, s.best.Stats.Steps + 1} {
		if steps < s.best.Schedule.Plan.Steps {
			s.try(func(c *Schedule) { c.Plan.Steps = steps })
		}
	}
}

func lastFault(s *Schedule) int {
	if len(s.Faults) == 0 {
		return 0
	}
	return s.Faults[len(s.Faults)-1].Step
}

// simplify makes the world smaller, one thing at a time.
func (s *shrinker) simplify() {
	for _, change := range []func(p *Plan){
		func(p *Plan) { p.LogPartitions = 1 },
		func(p *Plan) { p.RawPartitions = 1 },
		func(p *Plan) { p.Instances = 1 },
		func(p *Plan) { p.Warehouse = false },
		func(p *Plan) { p.Split = false },
		func(p *Plan) { p.Played = nil },
		func(p *Plan) { p.SkewMs = 0 },
		func(p *Plan) { p.LifeDays = 60 },
		func(p *Plan) { p.BatchMax = 50 },
	} {
		before := s.best.Schedule.Plan
		after := before
		change(&after)
		if after.LogPartitions != before.LogPartitions || after.RawPartitions != before.RawPartitions ||
			after.Instances != before.Instances || after.Warehouse != before.Warehouse || after.Split != before.Split ||
			len(after.Played) != len(before.Played) || after.LifeDays != before.LifeDays || after.BatchMax != before.BatchMax {
			s.try(func(c *Schedule) { change(&c.Plan) })
		}
	}
}
