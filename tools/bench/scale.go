package bench

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"settlewatch/pipelines/intake"
	"settlewatch/pipelines/servers/process"
	"settlewatch/pipelines/statestore"
	"settlewatch/schemas/topic"
	"settlewatch/services/boot"
)

// ScalePlan is one size and shape.
type ScalePlan struct {
	// Payments that are there before anything is measured: open, or settled and kept.
	Payments int64
	Settled  bool
	// LogPartitions of the payment log, Joiners that share them, Cluster for a Redis
	// Cluster of three instead of one Redis.
	LogPartitions, Joiners int
	Cluster                bool
	// Extra payments whose events are measured on top, a multiple of a thousand.
	Extra int64
	// Drain waits, before memory is measured and on top of the peak, until the ring has
	// gone into the snapshot, which it does within minutes where only marks come in.
	Drain bool
	Limit time.Duration
}

// ScaleResult of a plan. Bytes are per payment that was there before.
type ScaleResult struct {
	Payments        int64   `json:"payments"`
	Settled         bool    `json:"settled"`
	LogPartitions   int     `json:"log_partitions"`
	Joiners         int     `json:"joiners"`
	Cluster         bool    `json:"redis_cluster"`
	FillPerSecond   float64 `json:"fill_events_per_second"`
	EventsPerSecond float64 `json:"events_per_second"`
	// RedisBytes is what Redis holds, once the ring has gone into the snapshot where
	// the plan waits for that; RedisPeakBytes the most that it held while it was filled.
	RedisBytes     float64 `json:"redis_bytes_per_payment"`
	RedisPeakBytes float64 `json:"redis_peak_bytes_per_payment"`
	// DrainSeconds is how long the ring took to empty; 0 where nobody waited.
	DrainSeconds float64 `json:"drain_seconds,omitempty"`
	// JoinerBytes and JoinerPeakBytes are resident memory of all joiners, whole.
	JoinerBytes     float64 `json:"joiner_bytes_per_payment"`
	JoinerPeakBytes float64 `json:"joiner_peak_bytes_per_payment"`
	// TakeoverSeconds is from the first partition's assignment to the first alert;
	// WholeTakeoverSeconds to the last of those that waited.
	TakeoverSeconds      float64 `json:"takeover_seconds"`
	WholeTakeoverSeconds float64 `json:"whole_takeover_seconds"`
	OtherCPUSeconds      float64 `json:"other_cpu_seconds"`
	Exact                bool    `json:"exact"`
	// Skipped says why this row was not measured.
	Skipped string   `json:"skipped,omitempty"`
	Notes   []string `json:"notes,omitempty"`
}

const (
	// scaleStepMs lets a whole day's payments happen in some hours.
	scaleStepMs = 1
	// scaleDays keeps everything open.
	scaleDays = 30
	// takeoverPayments wait for the joiner that takes over; five are settled twice, and
	// become certain behind most of the others.
	takeoverPayments = 5_000
	// settledGap between two workloads, in payments: the first has happened by then.
	settledGap = 3_000_000
	lagPoll    = 200 * time.Millisecond
	// drainPoll is how often a mark is written while the ring empties; the joiner
	// commits once a second then.
	drainPoll = 250 * time.Millisecond
	drainMax  = 5 * time.Minute
)

// RunScale fills the state, then measures on top of it.
func (b *Bench) RunScale(ctx context.Context, plan ScalePlan) (ScaleResult, error) {
	o := b.newOurs(Workload{
		Payments: plan.Payments, Partitions: topic.PaymentLog.Partitions, StepMs: scaleStepMs, Unsettled: !plan.Settled, Stays: true,
	}, VariantOurs)
	o.logPartitions, o.joiners, o.cluster = plan.LogPartitions, plan.Joiners, plan.Cluster
	limited, cancel := context.WithTimeoutCause(ctx, plan.Limit, errTooSlow)
	defer cancel()
	r, err := o.scale(limited, plan)
	if err = errors.Join(err, o.stop()); err != nil {
		return r, fmt.Errorf("measure %d payments: %w", plan.Payments, err)
	}
	return r, nil
}

func (o *ours) scale(ctx context.Context, plan ScalePlan) (ScaleResult, error) {
	r := ScaleResult{
		Payments: plan.Payments, Settled: plan.Settled, LogPartitions: plan.LogPartitions, Joiners: plan.Joiners, Cluster: plan.Cluster,
	}
	if err := o.bench.Feed(ctx, o.workload); err != nil {
		return r, err
	}
	config, err := Config(o.workload, scaleDays)
	if err == nil {
		err = o.prepare(ctx, config)
	}
	if err != nil {
		return r, err
	}
	empty, err := o.redisInfo(ctx, "memory", "used_memory")
	if err == nil {
		err = o.fill(ctx, &r)
	}
	if err == nil && plan.Drain {
		err = o.drain(ctx, &r)
	}
	if err == nil {
		err = o.stopIngests()
	}
	if err == nil {
		err = o.weigh(ctx, empty, &r)
	}
	if err != nil {
		return r, err
	}
	next := o.workload
	next.First, next.Payments, next.Unsettled = plan.Payments+settledGap, plan.Extra, false
	if err := o.onTop(ctx, next, &r); err != nil {
		return r, err
	}
	next.First, next.Payments = next.First+plan.Extra+settledGap, takeoverPayments
	err = o.takeover(ctx, next, &r)
	r.Exact = len(r.Notes) == 0
	return r, err
}

// fill lets the services work off what was fed.
func (o *ours) fill(ctx context.Context, r *ScaleResult) error {
	o.bench.options.Say("filling the state")
	watch := newStopwatch(o.servers())
	if err := o.startServices(ctx, watch); err != nil {
		return err
	}
	if err := wait(ctx, watch.first, o.processes); err != nil {
		return err
	}
	began := time.Now()
	if err := o.workedOff(ctx); err != nil {
		return err
	}
	r.FillPerSecond = float64(o.workload.EventCount()) / time.Since(began).Seconds()
	return nil
}

// workedOff waits until the services have read all there is.
func (o *ours) workedOff(ctx context.Context) error {
	for n, feed := range ingestFeeds {
		if err := o.awaitRead(ctx, boot.GroupIngest(feed, profileLabel), inputs[n].Name, lagPoll); err != nil {
			return err
		}
	}
	return o.awaitRead(ctx, boot.GroupJoiner, topic.PaymentLog.Name, lagPoll)
}

// drain lets marks come in, and nothing else, until the ring of every partition is in
// the snapshot.
func (o *ours) drain(ctx context.Context, r *ScaleResult) error {
	o.bench.options.Say("waiting until the ring has gone into the snapshot")
	var addrs []string
	for _, one := range o.redis {
		addrs = append(addrs, one.Addr())
	}
	store, err := statestore.Dial(ctx, statestore.Options{Addrs: addrs, Cluster: o.cluster})
	if err != nil {
		return err
	}
	defer func() { _ = store.Close() }()
	feed := o.workload
	feed.First = feed.Payments // what lies in the topics stays
	feeder, err := newFeeder(ctx, o.bench.bus, feed)
	if err != nil {
		return err
	}
	began := time.Now()
	tick := time.NewTicker(drainPoll)
	defer tick.Stop()
	// Behind all that was fed, and before what is measured on top of it.
	for at := o.workload.lastMs() + markEveryMs; ; at++ {
		feeder.mark(at)
		if err := feeder.flush(ctx); err != nil {
			return err
		}
		left, err := o.inRing(ctx, store)
		r.DrainSeconds = time.Since(began).Seconds()
		if err != nil || left == 0 {
			return err
		}
		if r.DrainSeconds > drainMax.Seconds() {
			o.bench.options.Say("! the ring is not empty after %s: %d commits", drainMax, left)
			return nil
		}
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-tick.C:
		}
	}
}

// inRing counts the commits that wait in the rings.
func (o *ours) inRing(ctx context.Context, store *statestore.Client) (left uint64, err error) {
	for p := range o.logPartitions {
		view, err := store.Partition(topic.PaymentLog.Name, int32(p)).ReadBucket(ctx, 0)
		if err != nil {
			return 0, err
		}
		if view.RingFirst <= view.Sequence {
			left += view.Sequence + 1 - view.RingFirst
		}
	}
	return left, nil
}

// weigh asks Redis and the joiners for their memory.
func (o *ours) weigh(ctx context.Context, empty float64, r *ScaleResult) error {
	full, err := o.redisInfo(ctx, "memory", "used_memory")
	if err != nil {
		return err
	}
	peak, err := o.redisInfo(ctx, "memory", "used_memory_peak")
	if err != nil {
		return err
	}
	each := 1 / float64(r.Payments)
	r.RedisBytes, r.RedisPeakBytes = (full-empty)*each, (peak-empty)*each
	for name, p := range o.processes {
		if binaryOf(name) != joinerName {
			continue
		}
		now, err := statusBytes(p.Pid(), "VmRSS")
		if err != nil {
			return err
		}
		most, err := statusBytes(p.Pid(), "VmHWM")
		if err != nil {
			return err
		}
		r.JoinerBytes, r.JoinerPeakBytes = r.JoinerBytes+float64(now)*each, r.JoinerPeakBytes+float64(most)*each
	}
	return nil
}

// ingestFeeds in the order of the steps.
var ingestFeeds = []intake.Feed{intake.Authorization, intake.Capture, intake.Settlement}

func (o *ours) stopIngests() error {
	var g errgroup.Group
	for _, feed := range feeds {
		p := o.processes[feed]
		delete(o.processes, feed)
		g.Go(func() error { return p.Stop(serviceGrace) })
	}
	return g.Wait()
}

// onTop measures another workload while the first one is kept.
func (o *ours) onTop(ctx context.Context, w Workload, r *ScaleResult) error {
	if err := o.bench.Feed(ctx, w); err != nil {
		return err
	}
	o.bench.options.Say("measuring on top of it")
	watch := newStopwatch(o.servers())
	eyes := newWatcher(ourOutput(), w.Truth(), watch.end)
	for name, p := range o.processes {
		watch.pids[name] = p.Pid()
	}
	eyes.before = w.First
	if err := o.startIngests(watch); err != nil {
		return err
	}
	limit, _ := ctx.Deadline()
	if err := o.bench.run(ctx, race{watch: watch, eyes: eyes, processes: o.processes, limit: time.Until(limit)}); err != nil {
		return err
	}
	measured := watch.result("", w)
	r.EventsPerSecond, r.OtherCPUSeconds = measured.EventsPerSecond, measured.OtherCPUSeconds
	notes, _, _ := eyes.verdict()
	r.Notes = append(r.Notes, notes...)
	return nil
}

// takeover kills the joiners, lets alerts wait in the log, and starts them again.
func (o *ours) takeover(ctx context.Context, w Workload, r *ScaleResult) error {
	o.bench.options.Say("killing the joiner and starting it again")
	for name, p := range o.processes {
		if binaryOf(name) == joinerName {
			delete(o.processes, name)
			if err := p.Kill(); err != nil {
				return err
			}
		}
	}
	if err := o.bench.Feed(ctx, w); err != nil {
		return err
	}
	for n, feed := range ingestFeeds {
		if err := o.awaitLag(ctx, boot.GroupIngest(feed, profileLabel), inputs[n].Name, lagPoll); err != nil {
			return err
		}
	}
	var mu sync.Mutex
	var assigned, first time.Time
	done := make(chan struct{})
	eyes := newWatcher(ourOutput(), w.Truth(), func() { close(done) })
	eyes.before = w.First
	eyes.onFirst = func() {
		mu.Lock()
		defer mu.Unlock()
		first = time.Now()
	}
	watching, stop := context.WithCancel(ctx)
	defer stop()
	var g errgroup.Group
	g.Go(func() error { return eyes.run(watching, o.bench.bus) })
	on := map[string]func(string){assignedTo(topic.PaymentLog.Name): func(string) {
		mu.Lock()
		defer mu.Unlock()
		if assigned.IsZero() {
			assigned = time.Now()
		}
	}}
	err := o.start(joinerName, nil, on)
	if err == nil {
		err = wait(ctx, done, map[string]*process.Process{joinerName: o.processes[joinerName]})
	}
	last := time.Now()
	stop()
	if err = errors.Join(err, g.Wait()); err != nil {
		return err
	}
	mu.Lock()
	defer mu.Unlock()
	r.TakeoverSeconds, r.WholeTakeoverSeconds = first.Sub(assigned).Seconds(), last.Sub(assigned).Seconds()
	notes, _, _ := eyes.verdict()
	r.Notes = append(r.Notes, notes...)
	return nil
}

// redisInfo sums a number that a section of INFO has over all Redis.
func (o *ours) redisInfo(ctx context.Context, section, field string) (float64, error) {
	var total float64
	for _, r := range o.redis {
		info, err := r.Command(ctx, "INFO", section)
		if err != nil {
			return 0, fmt.Errorf("ask Redis for its %s: %w", section, err)
		}
		for line := range strings.Lines(info) {
			if text, found := strings.CutPrefix(line, field+":"); found {
				n, err := strconv.ParseFloat(strings.TrimSpace(text), 64)
				if err != nil {
					return 0, fmt.Errorf("ask Redis for its %s: %w", section, err)
				}
				total += n
			}
		}
	}
	return total, nil
}
