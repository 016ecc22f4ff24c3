package demo

import (
	"context"
	"fmt"
	"time"

	"settlewatch/pipelines/intake"
	"settlewatch/pipelines/warehouse"
	"settlewatch/schemas/alert"
	"settlewatch/schemas/topic"
	"settlewatch/services/boot"
	"settlewatch/tools/traffic"
)

// Screen is told what happens while the demo runs.
type Screen interface {
	// Progress of a named step: done of total records.
	Progress(step string, done, total int64)
}

// Result of a run.
type Result struct {
	Payments  int
	Events    int
	Verdict   Verdict
	Warehouse warehouse.Summary
	Collected Collected
	// Seconds from the first record written to everything in ClickHouse, and to
	// the first alert; servers and services were up before.
	Seconds           float64
	FirstAlertSeconds float64
}

// Exact tells whether alerts, dead letters and tables are what was planted.
func (r *Result) Exact() bool {
	return r.Verdict.Exact() && r.Warehouse.Holds() && r.warehouseComplete() == ""
}

func (r *Result) warehouseComplete() string {
	switch {
	case r.Warehouse.Events != uint64(r.Events):
		return fmt.Sprintf("%d events in ClickHouse, %d were written", r.Warehouse.Events, r.Events)
	case r.Warehouse.Payments != uint64(r.Payments):
		return fmt.Sprintf("%d payments in ClickHouse, %d were written", r.Warehouse.Payments, r.Payments)
	case r.Warehouse.Alerts != uint64(len(r.Collected.Alerts)):
		return fmt.Sprintf("%d alerts in ClickHouse, %d were published", r.Warehouse.Alerts, len(r.Collected.Alerts))
	}
	return ""
}

// Play feeds the generator's traffic to a running platform, waits until all of it
// has come through, and judges what the collector, which runs beside it, has read.
func Play(ctx context.Context, p *Platform, g *traffic.Generator, c *Collector, screen Screen) (Result, error) {
	truth := g.Truth()
	// The configuration must stand in the log before what is judged by it: behind a
	// small run's last records nothing would come at which to judge all that is due.
	if err := awaitLeg(ctx, p, leg{"carried", boot.GroupConfig, topic.Config.Name}, screen); err != nil {
		return Result{}, err
	}
	start := time.Now()
	r := Result{Payments: truth.Payments, Events: truth.Events}
	total, done := int64(truth.Events+truth.DeadLetterTotal()), int64(0)
	err := Feed(ctx, p.Bus, g.Records(), nil, func(n int) {
		done = min(total, done+int64(n)) // marks come in addition
		screen.Progress("written", done, total)
	})
	if err == nil {
		err = awaitServices(ctx, p, screen)
	}
	if err == nil {
		err = awaitAlerts(ctx, p, c)
	}
	if err != nil {
		return r, err
	}
	r.Seconds = time.Since(start).Seconds()
	if first := c.FirstAlert(); !first.IsZero() {
		r.FirstAlertSeconds = first.Sub(start).Seconds()
	}
	r.Collected = c.Collected()
	r.Verdict = Judge(truth, r.Collected)
	if r.Warehouse, err = p.Warehouse.Summary(ctx); err != nil {
		return r, err
	}
	if problem := r.warehouseComplete(); problem != "" {
		r.Verdict.note("warehouse: %s", problem)
	}
	return r, nil
}

// A leg is one consumer group's way through one topic.
type leg struct{ step, group, topic string }

// legs in the order of the flow: when a leg's lag is gone, the next one's end
// does not move any more, because played traffic brings its own marks.
func legs() []leg {
	out := []leg{
		{"ingested", boot.GroupIngest(intake.Authorization, boot.Documented), topic.RawAuthorization.Name},
		{"ingested", boot.GroupIngest(intake.Capture, boot.Documented), topic.RawCapture.Name},
		{"ingested", boot.GroupIngest(intake.Settlement, boot.Documented), topic.RawSettlement.Name},
		{"joined", boot.GroupJoiner, topic.PaymentLog.Name},
		{"stored", boot.GroupWarehouse, topic.PaymentLog.Name},
		{"stored", boot.GroupWarehouse, topic.Payments.Name},
	}
	for _, k := range alert.Kinds {
		out = append(out, leg{"stored", boot.GroupWarehouse, k.Topic().Name})
	}
	return out
}

func awaitServices(ctx context.Context, p *Platform, screen Screen) error {
	for _, l := range legs() {
		if err := awaitLeg(ctx, p, l, screen); err != nil {
			return err
		}
	}
	return nil
}

// awaitLeg waits until the group has worked off all that the topic holds.
func awaitLeg(ctx context.Context, p *Platform, l leg, screen Screen) error {
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	if err := awaitJoined(ctx, p, l.group, tick); err != nil {
		return fmt.Errorf("wait until %s is %s: %w", l.topic, l.step, err)
	}
	var most int64
	for {
		lag, err := p.Bus.Lag(ctx, l.group, l.topic)
		if err != nil {
			return fmt.Errorf("wait until %s is %s: %w", l.topic, l.step, err)
		}
		most = max(most, lag)
		screen.Progress(l.step+" "+l.topic, most-lag, most)
		if lag == 0 {
			return nil
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-tick.C:
		}
	}
}

// awaitJoined waits until somebody takes part in the group. Before that a broker
// need not know it, and then has no lag to tell.
func awaitJoined(ctx context.Context, p *Platform, group string, tick *time.Ticker) error {
	for {
		members, err := p.Bus.Members(ctx, group)
		if err != nil || len(members) > 0 {
			return err
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-tick.C:
		}
	}
}

// awaitAlerts waits until the collector has read the alert topics to their end.
func awaitAlerts(ctx context.Context, p *Platform, c *Collector) error {
	var published int64
	topics := []topic.Topic{topic.DeadLetters}
	for _, k := range alert.Kinds {
		topics = append(topics, k.Topic())
	}
	for _, t := range topics {
		for n := range t.Partitions {
			_, end, err := p.Bus.Bounds(ctx, t.Name, int32(n))
			if err != nil {
				return err
			}
			published += end
		}
	}
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for c.Records() < published {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-tick.C:
		}
	}
	return nil
}

// livePace is how much event time passes in a second of live traffic: a day a
// minute, so that alerts come while somebody looks.
const livePace = 24 * time.Hour / 60

// Live plays endless traffic behind the planted period until ctx is done, which
// is no error.
func Live(ctx context.Context, p *Platform, g *traffic.Generator) error {
	started, first := time.Now(), g.EndMs()
	var flushed time.Time
	pace := func(ctx context.Context, at int64) (flush bool, err error) {
		due := started.Add(time.Duration(at-first) * time.Millisecond / time.Duration(livePace/time.Second))
		if wait := time.Until(due); wait > 0 {
			select {
			case <-ctx.Done():
				return false, ctx.Err()
			case <-time.After(wait):
			}
		}
		if flush = time.Since(flushed) > 200*time.Millisecond; flush {
			flushed = time.Now()
		}
		return flush, nil
	}
	if err := Feed(ctx, p.Bus, g.Live(first), pace, func(int) {}); err != nil && ctx.Err() == nil {
		return err
	}
	return nil
}
