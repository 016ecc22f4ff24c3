package bench

import (
	"context"
	"encoding/json"
	"fmt"
	"sync"
	"time"

	"github.com/HdrHistogram/hdrhistogram-go"

	"settlewatch/schemas/alert"
	"settlewatch/schemas/event"
)

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
	latencyFarBehind = 5 * time.Second
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

	mu      sync.Mutex
	certain map[Expected]time.Time // when an expected alert became certain
	overdue []string               // acquirer of each unsettled payment, by payment / 1000
	seen    map[alert.Kind]*course

	rewrites   [latencyTenths]float64 // seconds, see LatencyResult
	rewriteCPU float64
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
// is due by then, so the rate holds. One that climbs ends where alerts are far behind.
func (l *live) play(ctx context.Context) error {
	last := time.Now()
	end := l.begin.Add(l.plan.Duration)
	lag := int64(latencyStepLag.Seconds() * l.plan.EventsPerSecond / eventsPerPayment)
	tick := time.NewTicker(latencyTick)
	defer tick.Stop()
	due := 0.0 // payments that have begun by now
	for next := int64(0); ; {
		now := time.Now()
		if now.After(end) {
			return nil
		}
		if l.plan.Climb > 0 && l.farBehind(now) {
			l.endAt(now)
			return nil
		}
		due += now.Sub(last).Seconds() * l.plan.rate(l.tenth(now)) / eventsPerPayment
		last = now
		for ; next < int64(due); next++ {
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

// farBehind tells whether an alert is late that was certain some seconds ago.
func (l *live) farBehind(now time.Time) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, certain := range l.certain {
		if now.Sub(certain) > latencyFarBehind {
			return true
		}
	}
	return false
}

// endAt is the end of the traffic: what would have become certain later is not expected.
func (l *live) endAt(now time.Time) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for e, certain := range l.certain {
		if certain.After(now) {
			delete(l.certain, e)
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

// watchRewrites notes when Redis rewrites its file, to about half a second.
func (l *live) watchRewrites(ctx context.Context, o *ours) error {
	const every = 500 * time.Millisecond
	for wait(ctx, after(every), nil) == nil {
		n, err := o.redisInfo(ctx, "persistence", "aof_rewrite_in_progress")
		switch now := time.Now(); {
		case err != nil && ctx.Err() == nil:
			return err
		case n > 0 && now.After(l.begin) && now.Before(l.begin.Add(l.plan.Duration)):
			l.rewrites[l.tenth(now)] += every.Seconds()
		}
	}
	return nil // it is over
}

// askRewrites notes what Redis's children used: it has no others.
func (l *live) askRewrites(ctx context.Context, o *ours) error {
	for _, part := range []string{"used_cpu_user_children", "used_cpu_sys_children"} {
		s, err := o.redisInfo(ctx, "cpu", part)
		if err != nil {
			return err
		}
		l.rewriteCPU += s
	}
	return nil
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
