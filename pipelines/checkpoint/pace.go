package checkpoint

import (
	"context"
	"time"

	"settlewatch/pipelines/stage"
)

// ShareDefault is how much of one core making a checkpoint takes, percent.
const ShareDefault = 10

const (
	// sliceLeast is worked at a time: shorter than anybody waits for an alert, and long
	// enough that waking up costs nothing beside it.
	sliceLeast = 4 * time.Millisecond
	// restMost bounds a rest: what took long once, because Redis was away, is not paid for.
	restMost = time.Second
)

// A Pace keeps one checkpoint to a share of one core, so that alerts do not wait for
// it: after each slice of work it rests so much longer. Work is time that has passed,
// not CPU time: what Redis and Kafka do for a checkpoint counts, and on a machine that
// is busy the work takes longer, and so does the rest.
//
// The share grows by itself for each interval that the checkpoint is late: one of five
// intervals takes five times the share. So the largest state gets its checkpoint.
//
// A nil Pace never rests. It is used by one goroutine.
type Pace struct {
	clock stage.Clock
	share float64 // of one core, up to 1
	every time.Duration
	due   time.Time
	began time.Time // of the slice
}

// NewPace begins the work of a checkpoint that is due now; sharePercent is of one core,
// every the time between two checkpoints.
func NewPace(sharePercent int, every time.Duration, clock stage.Clock) *Pace {
	now := clock.Now()
	return &Pace{clock: clock, share: float64(sharePercent) / 100, every: every, due: now, began: now}
}

// Rest is called between two parts of the work, often: it sleeps when a slice is full.
// The error is the context's.
func (p *Pace) Rest(ctx context.Context) error {
	if p == nil {
		return ctx.Err()
	}
	now := p.clock.Now()
	worked := now.Sub(p.began)
	if worked < sliceLeast {
		return ctx.Err()
	}
	late := float64(now.Sub(p.due)) / float64(p.every)
	if share := p.share * (1 + late); share < 1 {
		rest := min(restMost, time.Duration(float64(worked)*(1-share)/share))
		if err := p.clock.Sleep(ctx, rest); err != nil {
			return err
		}
	}
	p.began = p.clock.Now()
	return ctx.Err()
}
