package checkpoint_test

import (
	"context"
	"testing"
	"time"

	"settlewatch/pipelines/checkpoint"
)

// workClock goes on by each between two looks: what is done between them takes so long.
type workClock struct {
	now    time.Time
	each   time.Duration
	rests  []time.Duration
	rested func() // if set, after a rest
}

func (c *workClock) Now() time.Time {
	c.now = c.now.Add(c.each)
	return c.now
}

func (c *workClock) Sleep(ctx context.Context, d time.Duration) error {
	c.now = c.now.Add(d)
	c.rests = append(c.rests, d)
	if c.rested != nil {
		c.rested()
	}
	return ctx.Err()
}

func TestPace(t *testing.T) {
	const ms = time.Millisecond
	for name, c := range map[string]struct {
		share        int
		worked, late time.Duration
		rest         time.Duration
	}{
		"a fifth":                    {20, 10 * ms, 0, 40 * ms},
		"the least slice":            {20, 4 * ms, 0, 16 * ms},
		"less than a slice":          {20, 4*ms - 1, 0, 0},
		"all of it":                  {100, 10 * ms, 0, 0},
		"one in a hundred":           {1, 5 * ms, 0, 495 * ms},
		"Redis was away":             {20, time.Hour, 0, time.Second},
		"late by an interval":        {20, 10 * ms, 10 * time.Hour, 15 * ms},
		"late by half of one":        {20, 14 * ms, 5 * time.Hour, 32*ms + 2*ms/3},
		"late by four":               {20, 10 * ms, 40 * time.Hour, 0},
		"much too late":              {20, 10 * ms, 400 * time.Hour, 0},
		"one in a hundred, and late": {1, 4 * ms, 490 * time.Hour, 4 * ms},
	} {
		t.Run(name, func(t *testing.T) {
			clock := &workClock{now: time.UnixMilli(1_000_000)}
			pace := checkpoint.NewPace(c.share, 10*time.Hour, clock)
			clock.now = clock.now.Add(c.late) // as if it had waited for its turn
			if err := pace.Rest(t.Context()); err != nil {
				t.Fatal(err)
			}
			clock.rests, clock.now = nil, clock.now.Add(c.worked)
			if err := pace.Rest(t.Context()); err != nil {
				t.Fatal(err)
			}
			var rested time.Duration
			for _, d := range clock.rests {
				rested += d
			}
			if off := rested - c.rest; off > ms/100 || off < -ms/100 {
				t.Errorf("it rests for %s, want %s", rested, c.rest)
			}
		})
	}
}

// Who is told to end does not rest first.
func TestPaceEnds(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	var none *checkpoint.Pace
	for name, pace := range map[string]*checkpoint.Pace{
		"no pace": none, "in a slice": checkpoint.NewPace(20, time.Hour, &workClock{}),
		"behind one": checkpoint.NewPace(20, time.Hour, &workClock{each: time.Second}),
	} {
		if pace.Rest(t.Context()) != nil || pace.Rest(ctx) == nil {
			t.Errorf("%s: it goes on when it must end, or ends before", name)
		}
	}
}
