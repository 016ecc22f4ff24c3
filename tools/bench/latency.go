package bench

import (
	"context"
	"errors"
	"fmt"
	"math"
	"time"

	"github.com/HdrHistogram/hdrhistogram-go"
	"golang.org/x/sync/errgroup"

	"settlewatch/schemas/alert"
)

// LatencyPlan is one measurement at one rate.
type LatencyPlan struct {
	// EventsPerSecond that are written, all the time.
	EventsPerSecond float64
	// Duration of what is measured; a warm-up comes before.
	Duration   time.Duration
	Partitions int
	// Climb is what the rate is multiplied with after each tenth of the time, until alerts
	// come later and later; 0 leaves it as it is.
	Climb float64
}

// rate of a tenth of the time.
func (p LatencyPlan) rate(tenth int) float64 {
	if p.Climb == 0 {
		return p.EventsPerSecond
	}
	return p.EventsPerSecond * math.Pow(p.Climb, float64(tenth))
}

// top is the highest rate.
func (p LatencyPlan) top() float64 { return p.rate(latencyTenths - 1) }

// Latency of one kind of alert, milliseconds.
type Latency struct {
	Kind    alert.Kind `json:"kind"`
	Alerts  int64      `json:"alerts"`
	Missing int64      `json:"missing"`
	P50     float64    `json:"p50_ms"`
	P99     float64    `json:"p99_ms"`
	P999    float64    `json:"p99_9_ms"`
	Max     float64    `json:"max_ms"`
	// Tenths are what each tenth of the time had, by the moment at which an alert became
	// certain: what grows with the run is seen here, and when something happened.
	Tenths []LatencyTenth `json:"tenths"`
}

// LatencyTenth is a tenth of the time, milliseconds.
type LatencyTenth struct {
	P50 float64 `json:"p50_ms"`
	P99 float64 `json:"p99_ms"`
}

// LatencyResult of one rate.
type LatencyResult struct {
	EventsPerSecond float64 `json:"events_per_second"`
	// Written is the rate that was reached.
	Written   float64   `json:"written_events_per_second"`
	Latencies []Latency `json:"latencies"`
	// Cores that each process kept busy: where they come near to the machine's, the
	// rate is more than it takes, and latency is a queue's length.
	Cores map[string]float64 `json:"cores"`
	// RewriteSeconds are how long Redis rewrote its file in each tenth of the time: a process
	// of its own does it, as fast as it can.
	RewriteSeconds []float64 `json:"redis_rewrite_seconds"`
	// RewriteCPUSeconds are what those processes used that have ended.
	RewriteCPUSeconds float64 `json:"redis_rewrite_cpu_seconds"`
	// OtherCPUSeconds is what neither we nor the servers used.
	OtherCPUSeconds float64 `json:"other_cpu_seconds"`
	Others          []Other `json:"others,omitempty"`
}

// Exact tells whether every expected alert came.
func (r LatencyResult) Exact() bool {
	for _, l := range r.Latencies {
		if l.Missing > 0 || l.Alerts == 0 {
			return false
		}
	}
	return true
}

// RunLatency measures how long after it became certain an alert can be read.
func (b *Bench) RunLatency(ctx context.Context, plan LatencyPlan) (LatencyResult, error) {
	o := b.newOurs(Workload{Partitions: plan.Partitions}, VariantOurs)
	r, err := o.latency(ctx, plan)
	if err = errors.Join(err, o.stop()); err != nil {
		return r, fmt.Errorf("measure latency: %w", err)
	}
	return r, nil
}

func (o *ours) latency(ctx context.Context, plan LatencyPlan) (LatencyResult, error) {
	l := &live{
		plan: plan, backMs: dayMs, begin: time.Now().Add(latencyStart + latencyWarmUp), certain: map[Expected]time.Time{},
		seen: map[alert.Kind]*course{},
	}
	for _, k := range alert.Kinds {
		l.seen[k] = newCourse()
	}
	var err error
	if l.feeder, err = newFeeder(ctx, o.bench.bus, o.workload); err != nil {
		return LatencyResult{}, err
	}
	config, err := l.config(o.workload)
	if err == nil {
		err = o.prepare(ctx, config)
	}
	if err != nil {
		return LatencyResult{}, err
	}
	watch := newStopwatch(o.servers())
	if err := o.startServices(ctx, watch); err != nil {
		return LatencyResult{}, err
	}
	early := time.Until(l.begin.Add(-latencyWarmUp))
	if early < -time.Second {
		o.bench.options.Say("! the services took %s longer to start than they have: the warm-up is as much shorter", -early.Round(time.Second))
	}
	if err := wait(ctx, after(early), o.processes); err != nil {
		return LatencyResult{}, err
	}
	watching, stop := context.WithCancel(ctx)
	defer stop()
	var g errgroup.Group
	eyes := &watcher{out: l.output()}
	g.Go(func() error { return eyes.run(watching, o.bench.bus) })
	g.Go(func() error { return l.watchRewrites(watching, o) })
	if err := watch.start(); err != nil {
		return LatencyResult{}, err
	}
	var taking errgroup.Group
	if o.bench.options.Profiles != "" {
		taking.Go(func() error {
			middle := time.Until(l.begin.Add(plan.Duration / 2))
			if err := wait(watching, after(middle), nil); err != nil {
				return err
			}
			return o.takeProfiles(watching)
		})
	}
	err = l.play(ctx)
	watch.end()
	if err == nil {
		err = errors.Join(l.patience(ctx), taking.Wait())
	}
	if err == nil {
		err = l.askRewrites(ctx, o)
	}
	stop()
	if err = errors.Join(err, g.Wait(), watch.err); err != nil {
		return LatencyResult{}, err
	}
	return l.result(watch), nil
}

func (l *live) result(watch *stopwatch) LatencyResult {
	l.mu.Lock()
	defer l.mu.Unlock()
	r := LatencyResult{
		EventsPerSecond: l.plan.EventsPerSecond,
		Written:         float64(l.feeder.written) / watch.seconds(),
		Cores:           map[string]float64{},
		RewriteSeconds:  l.rewrites[:], RewriteCPUSeconds: l.rewriteCPU,
	}
	used, other := watch.used()
	for name, cpu := range used {
		r.Cores[name] = cpu / watch.seconds()
	}
	r.OtherCPUSeconds, r.Others = other, others(watch.began, watch.ended, watch.pids, other)
	missing := map[alert.Kind]int64{}
	for e := range l.certain {
		missing[e.Kind]++
	}
	ms := func(h *hdrhistogram.Histogram, percent float64) float64 {
		return float64(h.ValueAtPercentile(percent)) / 1000
	}
	for _, k := range alert.Kinds {
		h := l.seen[k].whole()
		times := Latency{
			Kind: k, Alerts: h.TotalCount(), Missing: missing[k],
			P50: ms(h, 50), P99: ms(h, 99), P999: ms(h, 99.9), Max: float64(h.Max()) / 1000,
		}
		for _, tenth := range l.seen[k] {
			times.Tenths = append(times.Tenths, LatencyTenth{ms(tenth, 50), ms(tenth, 99)})
		}
		r.Latencies = append(r.Latencies, times)
	}
	return r
}

// A climb looks for the highest rate of live traffic that the machine takes, the generator
// included. At a rate that is too high by a twentieth, alerts are a second later after
// the twenty seconds of a tenth: it is not kept where half of them are later than keptMs.
const (
	climbStep     = 1.1
	climbDuration = 200 * time.Second
	keptMs        = 500
)

// ClimbFrom is a rate that a small machine keeps.
const ClimbFrom = 100_000

// Climb is the plan that looks for the highest rate, beginning with another.
func Climb(from float64, partitions int) LatencyPlan {
	return LatencyPlan{EventsPerSecond: from, Duration: climbDuration, Partitions: partitions, Climb: climbStep}
}

// Kept is the highest rate of a climb with which settled twice kept up, and whether there
// may be a higher one; 0 where not even the first was kept.
func (r LatencyResult) Kept(p LatencyPlan) (rate float64, higher bool) {
	for _, l := range r.Latencies {
		if l.Kind != alert.SettledTwice {
			continue
		}
		for n, tenth := range l.Tenths {
			if tenth.P50 == 0 || tenth.P50 > keptMs {
				return rate, false
			}
			rate = p.rate(n)
		}
	}
	return rate, true
}
