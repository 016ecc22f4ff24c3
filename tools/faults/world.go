package faults

import (
	"cmp"
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sync/errgroup"

	"settlewatch/pipelines/oracle/invariant"
	"settlewatch/pipelines/servers"
	"settlewatch/pipelines/stage"
	"settlewatch/services/boot"
	"settlewatch/tools/demo"
	"settlewatch/tools/stack"
	"settlewatch/tools/traffic"
)

// world is one run: the services as processes on the ground, traffic that is fed
// to them as the scenario says, and what is seen of all of it.
type world struct {
	*ground
	ctx context.Context
	dir string
	// patience is how long anything may take at most.
	patience time.Duration
	dice     *rand.Rand
	options  traffic.Options
	traffic  *traffic.Generator

	// stateAddrs are the Redis that holds the state, past the proxy; the nodes, where
	// it is a cluster.
	stateAddrs []string
	// cluster is that Redis where it is a cluster, else nil.
	cluster *servers.RedisCluster
	// redisEnv, if set, is how the services find another Redis than the ground's.
	redisEnv []string

	supervisor *stack.Supervisor
	// extra supervises services beside the five.
	extra      []*stack.Supervisor
	services   map[string]stack.Service
	http       map[string]string // health addresses
	feeder     *feeder
	collector  *demo.Collector
	watch      *watch
	background errgroup.Group
	stop       context.CancelFunc

	mu     sync.Mutex
	deaths []stack.Event

	// What the scenario says of itself.
	measured []measurement
	replayed []replay
	// checked is how long the invariants took.
	checked time.Duration
	notes   []string
	found   []invariant.Violation
	expects expectation
	// cut are the payment log's records, by partition, that the scenario has had removed
	// from the beginning of the log: the checks are about all of it.
	cut map[int32][]stage.Record
	// endings undo what the scenario has done to the ground.
	endings []func() error
}

// expectation is in what a scenario's outcome differs from an undisturbed run's.
type expectation struct {
	// moreAlerts than the traffic's ground truth, and moreLetters: the scenario has
	// sent records of its own. The oracle's verdict holds in any case.
	moreAlerts, moreLetters bool
	// rolledBack: the state was wiped or rolled back, so that its places go back too.
	rolledBack bool
	// live traffic has no ground truth, and is at rest when the scenario says so.
	live bool
	// refused: the product must not go on, so there is no end to wait for and nothing
	// whole to check; the scenario has looked for itself.
	refused bool
}

// measurement is a time to recover.
type measurement struct {
	what    string
	seconds float64
}

// replay is a lost state that came back by folding the log again.
type replay struct {
	records int64 // of the log
	seconds float64
}

func (r replay) perMillion() float64 { return r.seconds * 1e6 / float64(r.records) }

const (
	// patience ends a wait that would last for ever.
	patience = 90 * time.Second
	// longPatience is for a million records on a machine that has other work too.
	longPatience = 10 * time.Minute
	glance       = 10 * time.Millisecond
	// longGlance is for waits that are measured in tens of seconds: what is asked a
	// hundred times a second is work for the broker too.
	longGlance = 100 * time.Millisecond
)

var cardKey = base64.StdEncoding.EncodeToString([]byte("settlewatch faults: not a secret"))

// begin empties the ground, starts the services, and holds the feed at its start.
func (g *ground) begin(ctx context.Context, s Scenario, seed uint64, payments int, dir string) (*world, error) {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return nil, fmt.Errorf("make a folder for the run: %w", err)
	}
	w := &world{
		ground: g, ctx: ctx, dir: dir, dice: rand.New(rand.NewPCG(seed, uint64(s.Number))),
		services: map[string]stack.Service{}, http: map[string]string{}, collector: demo.NewCollector(),
		options: traffic.Options{Seed: seed, Payments: payments}, stateAddrs: []string{g.redis.Addr()},
		patience: cmp.Or(s.patience, patience),
	}
	if s.traffic != nil {
		s.traffic(&w.options)
	}
	var err error
	if w.traffic, err = traffic.New(w.options); err != nil {
		return nil, err
	}
	abilities, err := demo.Abilities()
	if err != nil {
		return nil, err
	}
	config := traffic.Config(abilities, w.traffic.Sources(boot.Profile, boot.ProfileVersion)...)
	if w.expects.live = s.live; s.live {
		config = w.liveConfig(abilities)
	}
	if err := g.empty(ctx, config); err != nil {
		return nil, fmt.Errorf("empty the servers: %w", err)
	}
	return w, w.start(s)
}

func (w *world) start(s Scenario) (err error) {
	running, stop := context.WithCancel(w.ctx)
	w.stop = stop
	if s.prepare != nil {
		if err := s.prepare(w); err != nil {
			return err
		}
	}
	var services []stack.Service
	for _, name := range demo.Services {
		service, err := w.service(name, name)
		if err != nil {
			return err
		}
		if s.env != nil {
			service.Env = append(service.Env, s.env(name)...)
		}
		w.services[name] = service
		services = append(services, service)
	}
	if w.supervisor, err = stack.Supervise(w.ctx, w.dir, services, w.saw); err != nil {
		return err
	}
	w.background.Go(func() error { return w.collector.Run(running, w.bus, nil) })
	w.watch = newWatch(w)
	w.background.Go(func() error { w.watch.run(running); return nil })
	records := w.traffic.Records()
	if s.order != nil {
		records = s.order(w, records)
	}
	w.feeder = newFeeder(records)
	w.background.Go(func() error { return w.feeder.run(running, w.bus) })
	return nil
}

// service is how a service is started: the settings that an operator would make.
func (w *world) service(binary, name string) (stack.Service, error) {
	port, err := servers.FreePort()
	if err != nil {
		return stack.Service{}, err
	}
	w.http[name] = fmt.Sprintf("127.0.0.1:%d", port)
	return stack.Service{
		Name: name, Path: w.binaries[binary],
		Env: append([]string{
			"SETTLEWATCH_KAFKA_BROKERS=" + w.kafka.Addr(),
			"SETTLEWATCH_KAFKA_SESSION_TIMEOUT=" + session.String(),
			"SETTLEWATCH_REDIS_ADDRS=" + w.redisProxy.addr(),
			"SETTLEWATCH_CLICKHOUSE_DSN=clickhouse://" + w.clickProxy.addr() + "/default",
			"SETTLEWATCH_CARD_KEY_ID=faults", "SETTLEWATCH_CARD_KEY=" + cardKey,
			"SETTLEWATCH_HTTP_ADDR=" + w.http[name],
			"SETTLEWATCH_STALL_AFTER=" + stallAfter.String(),
		}, w.redisEnv...),
	}, nil
}

func (w *world) saw(e stack.Event) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if e.Kind == stack.Died {
		w.deaths = append(w.deaths, e)
	}
}

// end stops the services and everything around them.
func (w *world) end() error {
	var errs []error
	for _, s := range append(w.extra, w.supervisor) {
		if s != nil {
			errs = append(errs, s.Stop())
		}
	}
	if w.stop != nil {
		w.stop()
	}
	if err := w.background.Wait(); err != nil && !errors.Is(err, context.Canceled) {
		errs = append(errs, err)
	}
	return errors.Join(errs...)
}

// undo takes back what the scenario has done to the ground.
func (w *world) undo() error {
	var errs []error
	for i := len(w.endings) - 1; i >= 0; i-- {
		errs = append(errs, w.endings[i]())
	}
	return errors.Join(errs...)
}

// until looks again and again until seen says true.
func (w *world) until(what string, seen func() (bool, error)) error {
	deadline := time.Now().Add(w.patience)
	between := glance
	if w.patience >= longPatience {
		between = longGlance
	}
	tick := time.NewTicker(between)
	defer tick.Stop()
	for {
		done, err := seen()
		if err != nil {
			return fmt.Errorf("wait until %s: %w", what, err)
		}
		if done {
			return nil
		}
		if time.Now().After(deadline) {
			return fmt.Errorf("wait until %s: still not after %s", what, w.patience)
		}
		select {
		case <-w.ctx.Done():
			return fmt.Errorf("wait until %s: %w", what, context.Cause(w.ctx))
		case <-tick.C:
		}
	}
}

// pause lets time pass: for faults that last.
func (w *world) pause(d time.Duration) error {
	select {
	case <-w.ctx.Done():
		return context.Cause(w.ctx)
	case <-time.After(d):
		return nil
	}
}

// between is a random duration, by the run's seed.
func (w *world) between(low, high time.Duration) time.Duration {
	return low + time.Duration(w.dice.Int64N(int64(high-low)))
}

// signal sends a signal to a service.
func (w *world) signal(name string, s syscall.Signal) error {
	pid := w.supervisor.Pid(name)
	if pid == 0 {
		return fmt.Errorf("%s does not run", name)
	}
	if err := syscall.Kill(pid, s); err != nil {
		return fmt.Errorf("send %s to %s: %w", s, name, err)
	}
	return nil
}

// progress is how far something is.
type progress func() (int64, error)

// recovery measures from now until the progress has gone beyond what it is now.
func (w *world) recovery(what string, p progress) error {
	before, err := p()
	if err != nil {
		return err
	}
	return w.recoverBeyond(what, p, before)
}

// recoverBeyond measures from now until the progress is beyond before.
func (w *world) recoverBeyond(what string, p progress, before int64) error {
	began := time.Now()
	err := w.until(what+" goes on", func() (bool, error) {
		now, err := p()
		return now > before, err
	})
	w.measured = append(w.measured, measurement{what, time.Since(began).Seconds()})
	return err
}

func (w *world) note(format string, args ...any) {
	w.notes = append(w.notes, fmt.Sprintf(format, args...))
}

func (w *world) log(name string) string {
	text, err := os.ReadFile(filepath.Join(w.dir, "logs", name+".log"))
	if err != nil {
		return err.Error()
	}
	return string(text)
}
