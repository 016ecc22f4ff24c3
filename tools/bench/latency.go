package bench

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/HdrHistogram/hdrhistogram-go"
	"golang.org/x/sync/errgroup"

	"settlewatch/schemas/alert"
	"settlewatch/schemas/event"
)

// LatencyPlan is one measurement at one rate.
type LatencyPlan struct {
	// EventsPerSecond that are written, all the time.
	EventsPerSecond float64
	// Duration of what is measured; a warm-up comes before.
	Duration   time.Duration
	Partitions int
}

// Latency of one kind of alert, milliseconds.
type Latency struct {
	Kind    alert.Kind `json:"kind"`
	Alerts  int64      `json:"alerts"`
	Missing int64      `json:"missing"`
	P50     float64    `json:"p50_ms"`
	P99     float64    `json:"p99_ms"`
	P999    float64    `json:"p99_9_ms"`
	Max     float64    `json:"max_ms"`
	// Course is the p99 of each tenth of the time, by the moment at which an alert
	// became certain: what grows with the run is seen here, and when something happened.
	Course []float64 `json:"p99_course_ms"`
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

// In this traffic a payment is captured, settled and settled again some seconds apart,
// so that what is expected becomes certain within the run. What is never settled is
// due at a moment every five seconds: evidence comes due at a time of the day, so
// each of these moments is an acquirer with terms of its own.
const (
	// latencyStart is for the services to start: the due times are in the configuration,
	// which comes before them.
	latencyStart     = 15 * time.Second
	latencyWarmUp    = 15 * time.Second
	latencyTick      = 20 * time.Millisecond
	latencyStepLag   = 2 * time.Second
	latencyDueEvery  = 5 * time.Second
	latencyPatience  = 20 * time.Second
	latencyMaxMs     = 600_000
	latencyDigits    = 3
	latencyAcquirers = "due-%03d"
	latencyTenths    = 10
)

// live is the traffic of a latency run.
type live struct {
	plan   LatencyPlan
	begin  time.Time // of the traffic
	due    []time.Time
	feeder *feeder
	// backMs is how long before its arrival a payment was made: a day, so that its
	// money is due today.
	backMs int64

	mu       sync.Mutex
	certain  map[Expected]time.Time // when an expected alert became certain
	overdue  []string               // acquirer of each unsettled payment, by payment / 1000
	seen     map[alert.Kind]*course
	expected map[alert.Kind]int64
}

// course is what was seen in each tenth of the time, in microseconds.
type course [latencyTenths]*hdrhistogram.Histogram

func newCourse() *course {
	var c course
	for n := range c {
		c[n] = hdrhistogram.New(1, latencyMaxMs*1000, latencyDigits)
	}
	return &c
}

// whole is all of it in one.
func (c *course) whole() *hdrhistogram.Histogram {
	all := hdrhistogram.New(1, latencyMaxMs*1000, latencyDigits)
	for _, h := range c {
		all.Merge(h)
	}
	return all
}

// tenth of the run in which a moment lies.
func (l *live) tenth(at time.Time) int {
	return min(max(0, int(latencyTenths*at.Sub(l.begin)/l.plan.Duration)), latencyTenths-1)
}

// RunLatency measures how long after it became certain an alert can be read.
func (b *Bench) RunLatency(ctx context.Context, plan LatencyPlan) (LatencyResult, error) {
	o := b.newOurs(Workload{Partitions: plan.Partitions}, 0)
	r, err := o.latency(ctx, plan)
	if err = errors.Join(err, o.stop()); err != nil {
		return r, fmt.Errorf("measure latency: %w", err)
	}
	return r, nil
}

func (o *ours) latency(ctx context.Context, plan LatencyPlan) (LatencyResult, error) {
	l := &live{
		plan: plan, backMs: dayMs, begin: time.Now().Add(latencyStart + latencyWarmUp), certain: map[Expected]time.Time{},
		seen: map[alert.Kind]*course{}, expected: map[alert.Kind]int64{},
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
		err = o.prepare(ctx, config, false)
	}
	if err != nil {
		return LatencyResult{}, err
	}
	watch := newStopwatch(o.servers())
	if err := o.startServices(ctx, watch, false); err != nil {
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
	stop()
	if err = errors.Join(err, g.Wait(), watch.err); err != nil {
		return LatencyResult{}, err
	}
	return l.result(watch), nil
}

// config has terms under which what was made yesterday is due today, at another time
// of the day for each acquirer of unsettled payments, and not at all for the others.
func (l *live) config(w Workload) (*event.Config, error) {
	const far = 30 // days
	c, err := Config(w, far)
	if err != nil {
		return nil, err
	}
	all := sources(w, event.Clock_CLOCK_LIVE)
	c.Groups[0].Sources = all
	last := l.begin.Add(l.plan.Duration)
	midnight := l.begin.UTC().Truncate(24 * time.Hour)
	if !last.UTC().Truncate(24 * time.Hour).Equal(midnight) {
		return nil, fmt.Errorf("it would run past midnight UTC, and its due times are of one day: start it at another time")
	}
	for at := l.begin.Add(2 * latencyStepLag).Truncate(latencyDueEvery).Add(latencyDueEvery); at.Before(last); at = at.Add(latencyDueEvery) {
		terms := newTerms(ruleDays)
		terms.PublishDays, terms.PublishMs = 0, at.Sub(midnight).Milliseconds()
		c.Groups = append(c.Groups, &event.Group{
			Name: fmt.Sprintf(latencyAcquirers, len(l.due)), Acquirers: []string{fmt.Sprintf(latencyAcquirers, len(l.due))},
			Sources: all, Terms: terms,
		})
		l.due = append(l.due, at)
	}
	return c, nil
}

// play writes at the rate, from the warm-up on. A tick that comes late writes all that
// is due by then, so the rate holds.
func (l *live) play(ctx context.Context) error {
	began := time.Now()
	perSecond := l.plan.EventsPerSecond / eventsPerPayment
	end := l.begin.Add(l.plan.Duration)
	lag := int64(latencyStepLag.Seconds() * perSecond)
	tick := time.NewTicker(latencyTick)
	defer tick.Stop()
	for next := int64(0); ; {
		now := time.Now()
		if now.After(end) {
			return nil
		}
		until := int64(now.Sub(began).Seconds() * perSecond)
		for ; next < until; next++ {
			for s := range stepCount {
				if i := next - lag*int64(s); i >= 0 && (Workload{}).happens(s, i) {
					l.add(s, i, now)
				}
			}
		}
		if err := l.feeder.flush(ctx); err != nil {
			return err
		}
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-tick.C:
		}
	}
}

// eventsPerPayment of the workload.
const eventsPerPayment = 2.96

// add writes one event and notes what it makes certain.
func (l *live) add(s Step, i int64, now time.Time) {
	who := acquirer
	if unsettled(i) {
		who = l.acquirerOf(i, now)
	}
	measured := now.After(l.begin)
	if s == SecondSettlement && measured {
		l.expect(Expected{alert.SettledTwice, i}, now)
	}
	l.feeder.addAt(Event{s, i, now.UnixMilli() - l.backMs}, who, now.UnixMilli())
}

// acquirerOf an unsettled payment is that whose money is due next; its authorization
// comes first and decides.
func (l *live) acquirerOf(i int64, now time.Time) string {
	n := int(i / 1000)
	for len(l.overdue) <= n {
		l.overdue = append(l.overdue, "")
	}
	if l.overdue[n] == "" {
		l.overdue[n] = acquirer // due long after the end
		for k, at := range l.due {
			// Its capture must be there before.
			if at.After(now.Add(2 * latencyStepLag)) {
				l.overdue[n] = fmt.Sprintf(latencyAcquirers, k)
				l.expect(Expected{alert.PaidUnsettled, i}, at)
				break
			}
		}
	}
	return l.overdue[n]
}

func (l *live) expect(e Expected, certain time.Time) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.certain[e] = certain
	l.expected[e.Kind]++
}

// output notes when an expected alert is read. Those of the warm-up are not expected.
func (l *live) output() output {
	out := ourOutput()
	out.read = func(body []byte) (sighting, error) {
		now := time.Now()
		var a ourAlert
		if err := json.Unmarshal(body, &a); err != nil {
			return sighting{}, fmt.Errorf("alert cannot be read: %w", err)
		}
		i, known := paymentOf(a.PaymentKey[max(0, len(a.PaymentKey)-paymentDigits):])
		if !known {
			return sighting{}, fmt.Errorf("alert for %q, which is not in the workload", a.PaymentKey)
		}
		s := sighting{Expected{a.Kind, i}, a.ID}
		l.mu.Lock()
		defer l.mu.Unlock()
		if at, waiting := l.certain[s.Expected]; waiting {
			delete(l.certain, s.Expected)
			return s, l.seen[a.Kind][l.tenth(at)].RecordValue(now.Sub(at).Microseconds())
		}
		return s, nil
	}
	return out
}

// patience waits for the last alerts.
func (l *live) patience(ctx context.Context) error {
	limit := time.After(latencyPatience)
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	for {
		l.mu.Lock()
		left := len(l.certain)
		l.mu.Unlock()
		if left == 0 {
			return nil
		}
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-limit:
			return nil // they are missing
		case <-tick.C:
		}
	}
}

func (l *live) result(watch *stopwatch) LatencyResult {
	l.mu.Lock()
	defer l.mu.Unlock()
	r := LatencyResult{
		EventsPerSecond: l.plan.EventsPerSecond,
		Written:         float64(l.feeder.written) / watch.seconds(),
		Cores:           map[string]float64{},
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
			times.Course = append(times.Course, ms(tenth, 99))
		}
		r.Latencies = append(r.Latencies, times)
	}
	return r
}
