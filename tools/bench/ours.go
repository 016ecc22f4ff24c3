package bench

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"

	"settlewatch/pipelines/bus"
	"settlewatch/pipelines/servers"
	"settlewatch/pipelines/servers/process"
	"settlewatch/pipelines/stage"
	"settlewatch/pipelines/warehouse"
	"settlewatch/schemas/event"
	"settlewatch/schemas/topic"
	"settlewatch/services/boot"
	"settlewatch/tools/configlog"
)

// Services that are measured; each is a binary of that name.
var Services = []string{"authorization", "capture", "settlement", joinerName, warehouseName}

const (
	joinerName    = "joiner"
	warehouseName = "warehouse"
	serviceGrace  = 15 * time.Second
)

// benchCardKey makes card tokens. It is no secret: the workload has no cards.
var benchCardKey = base64.StdEncoding.EncodeToString([]byte("settlewatch bench: not a secret"))

// Variants of our pipeline.
const (
	VariantOurs = "settlewatch"
	// VariantEvents has every event and every alert in ClickHouse, VariantWarehouse every
	// version of every payment too.
	VariantEvents     = "settlewatch+events"
	VariantWarehouse  = "settlewatch+warehouse"
	VariantStockRedis = "settlewatch+stock-redis"
)

// A setup is what a variant runs with.
type setup struct {
	warehouse bool
	// snapshots of payments are published by the joiner. Without a warehouse nobody reads
	// them; the peers publish alerts only too.
	snapshots bool
	// redisArgs replace recommended settings.
	redisArgs []string
}

var setups = map[string]setup{
	VariantOurs:      {},
	VariantEvents:    {warehouse: true},
	VariantWarehouse: {warehouse: true, snapshots: true},
	// Redis's own defaults of what deploy/redis/redis.conf changes.
	VariantStockRedis: {redisArgs: []string{
		"--rdbcompression", "yes", "--rdbchecksum", "yes",
		"--auto-aof-rewrite-min-size", "64mb", "--auto-aof-rewrite-percentage", "100",
	}},
}

// ours is our pipeline in one run.
type ours struct {
	bench    *Bench
	workload Workload
	variant  string
	setup    setup
	round    int
	// logPartitions, joiners and cluster are the shape of a scale run.
	logPartitions, joiners int
	cluster                bool

	redis      []*servers.Redis
	clickHouse *servers.ClickHouse // nil: without the warehouse
	// clickHouseBytes bound its memory; 0 is the default.
	clickHouseBytes int64
	tables          *warehouse.Warehouse

	processes map[string]*process.Process
	// listening has room for every service: each tells its address once.
	listening chan listener
	stopped   []func() error
}

// listener is where a service answers over HTTP.
type listener struct{ name, addr string }

// RunOurs measures a variant of our pipeline on the log that Feed has filled.
func (b *Bench) RunOurs(ctx context.Context, w Workload, variant string, round int, limit time.Duration) (Result, error) {
	o := b.newOurs(w, variant)
	o.round = round
	starting, cancel := context.WithTimeoutCause(ctx, limit, errTooSlow)
	defer cancel()
	r, err := o.measure(starting, limit)
	if err = errors.Join(err, o.stop()); err != nil {
		return r, fmt.Errorf("run %s: %w", variant, err)
	}
	return r, nil
}

func (b *Bench) newOurs(w Workload, variant string) *ours {
	return &ours{
		bench: b, workload: w, variant: variant, setup: setups[variant],
		logPartitions: topic.PaymentLog.Partitions, joiners: 1,
		processes: make(map[string]*process.Process), listening: make(chan listener, 2*len(Services)),
	}
}

func (o *ours) measure(ctx context.Context, limit time.Duration) (Result, error) {
	config, err := Config(o.workload, ruleDays)
	if err == nil {
		err = o.prepare(ctx, config)
	}
	if err != nil {
		return Result{}, err
	}
	pids := o.servers()
	var loaders []string
	if o.setup.warehouse {
		pids[clickHouseName], loaders = o.clickHouse.Pid(), []string{warehouseName}
	}
	watch := newStopwatch(pids)
	if err := o.startServices(ctx, watch, loaders...); err != nil {
		return Result{}, err
	}
	run := race{watch: watch, processes: o.processes, limit: limit}
	end := watch.end
	if o.setup.warehouse {
		end, run.more = func() {}, o.awaitRows
	}
	run.eyes = newWatcher(ourOutput(), o.workload.Truth(), end)
	err = forgetPeak(o.bench.kafka.Pid())
	var taking errgroup.Group
	if o.bench.options.Profiles != "" {
		taking.Go(func() error { return o.takeProfiles(ctx) })
	}
	if err == nil {
		err = o.bench.run(ctx, run)
	}
	if err != nil && !errors.Is(err, errTooSlow) {
		return Result{}, errors.Join(err, taking.Wait())
	}
	if err != nil {
		watch.end()
	}
	r := watch.result(o.variant, o.workload)
	r.Round = o.round
	r.Notes, r.Alerts, r.Repeated = run.eyes.verdict()
	notes, err := o.inspect(ctx)
	r.Notes = append(r.Notes, notes...)
	r.Exact = len(r.Notes) == 0
	return r, errors.Join(err, taking.Wait())
}

// prepare makes what a run begins with: empty topics, groups without positions, an
// empty Redis, the configuration in the log.
func (o *ours) prepare(ctx context.Context, config *event.Config) error {
	if err := o.emptyLog(ctx); err != nil {
		return err
	}
	if err := o.startRedis(ctx); err != nil {
		return err
	}
	if o.setup.warehouse {
		if err := o.startClickHouse(ctx); err != nil {
			return err
		}
	}
	if _, err := configlog.Append(ctx, o.bench.bus, config, time.Now()); err != nil {
		return err
	}
	return o.carryConfig(ctx)
}

// emptyLog makes all topics but the input anew and forgets all groups.
func (o *ours) emptyLog(ctx context.Context) error {
	groups := []string{boot.GroupConfig, boot.GroupJoiner, boot.GroupWarehouse}
	for _, feed := range ingestFeeds {
		groups = append(groups, boot.GroupIngest(feed, profileLabel))
	}
	if err := o.bench.bus.RemoveGroups(ctx, groups); err != nil {
		return err
	}
	var topics []topic.Topic
	for _, t := range topic.All {
		if strings.HasPrefix(t.Name, "raw.") {
			continue
		}
		if t.Name == topic.PaymentLog.Name {
			t.Partitions = o.logPartitions
		}
		topics = append(topics, t)
	}
	return makeAnew(ctx, o.bench.bus, topics)
}

// carryConfig puts the configuration into the log, as an ingest service would, before
// anybody measures.
func (o *ours) carryConfig(ctx context.Context) error {
	carrying, stop := context.WithCancel(ctx)
	defer stop()
	var g errgroup.Group
	g.Go(func() error {
		configure := &stage.Configure{Log: o.bench.bus}
		group := o.bench.bus.Group(bus.GroupOptions{ID: boot.GroupConfig, Topics: []string{topic.Config.Name}})
		return group.Run(carrying, configure.Own)
	})
	err := o.awaitLag(ctx, boot.GroupConfig, topic.Config.Name, 50*time.Millisecond)
	stop()
	return errors.Join(err, g.Wait())
}

// awaitLag waits until the group has worked off all that the topic holds.
func (o *ours) awaitLag(ctx context.Context, group, name string, poll time.Duration) error {
	return o.followLag(ctx, group, name, poll, func(int64) {})
}

// awaitRead does so and shows how far it is.
func (o *ours) awaitRead(ctx context.Context, group, name string, poll time.Duration) error {
	var most int64
	return o.followLag(ctx, group, name, poll, func(lag int64) {
		most = max(most, lag)
		o.bench.options.Progress("read of "+name, most-lag, most)
	})
}

func (o *ours) followLag(ctx context.Context, group, name string, poll time.Duration, seen func(lag int64)) error {
	tick := time.NewTicker(poll)
	defer tick.Stop()
	for {
		lag, err := o.bench.bus.Lag(ctx, group, name)
		if err != nil {
			return err
		}
		if seen(lag); lag == 0 {
			return nil
		}
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-tick.C:
		}
	}
}

// startRedis starts one Redis, or a cluster of three.
func (o *ours) startRedis(ctx context.Context) error {
	log, err := o.bench.openLog(redisName)
	if err != nil {
		return err
	}
	options := servers.RedisOptions{Options: o.bench.serverOptions(redisName, log), AppendOnly: true, Args: o.setup.redisArgs}
	if o.cluster {
		cluster, err := servers.StartRedisCluster(ctx, options)
		if err != nil {
			return err
		}
		o.redis = cluster.Nodes
		o.onStop(cluster.Stop)
		return o.tellRedis(ctx)
	}
	one, err := servers.StartRedis(ctx, options)
	if err != nil {
		return err
	}
	o.redis = []*servers.Redis{one}
	o.onStop(one.Stop)
	return o.tellRedis(ctx)
}

func (o *ours) tellRedis(ctx context.Context) error {
	version, err := o.redis[0].Version(ctx)
	if err == nil {
		o.bench.tell("Redis", version)
	}
	return err
}

// servers are the processes that are not services of ours.
func (o *ours) servers() map[string]int {
	pids := harness()
	pids[brokerName] = o.bench.kafka.Pid()
	for n, r := range o.redis {
		name := redisName
		if n > 0 {
			name = fmt.Sprintf("%s-%d", redisName, n+1)
		}
		pids[name] = r.Pid()
	}
	return pids
}

func (o *ours) startClickHouse(ctx context.Context) error {
	log, err := o.bench.openLog(clickHouseName)
	if err != nil {
		return err
	}
	o.clickHouse, err = servers.StartClickHouse(ctx, servers.ClickHouseOptions{
		Options: o.bench.serverOptions(clickHouseName, log), MemoryBytesMax: o.clickHouseBytes,
	})
	if err != nil {
		return err
	}
	o.onStop(o.clickHouse.Stop)
	o.bench.tell("ClickHouse", o.clickHouse.Version())
	o.tables, err = warehouse.Dial(ctx, warehouse.Options{DSN: o.clickHouse.DSN()})
	if err != nil {
		return err
	}
	o.onStop(o.tables.Close)
	return o.tables.Migrate(ctx, nil)
}

// rowsPoll is how often it is asked whether all events are in ClickHouse.
const rowsPoll = 100 * time.Millisecond

func (o *ours) awaitRows(ctx context.Context) error {
	return o.awaitLag(ctx, boot.GroupWarehouse, topic.PaymentLog.Name, rowsPoll)
}

// startServices starts the joiner first and waits until it owns the log, so that the
// stopwatch, which begins with the first input partition, does not count its start.
func (o *ours) startServices(ctx context.Context, watch *stopwatch, others ...string) error {
	err := o.startJoiners(ctx)
	for i := 0; i < len(others) && err == nil; i++ {
		err = o.startOwner(ctx, others[i])
	}
	if err == nil {
		err = o.startIngests(watch)
	}
	for name, p := range o.processes {
		watch.pids[name] = p.Pid()
	}
	return err
}

func (o *ours) startJoiners(ctx context.Context) error {
	if err := o.startOwner(ctx, joinerName); err != nil {
		return err
	}
	for n := 2; n <= o.joiners; n++ {
		if err := o.start(fmt.Sprintf("%s-%d", joinerName, n), nil, map[string]func(string){}); err != nil {
			return err
		}
	}
	return o.awaitMembers(ctx, boot.GroupJoiner, o.joiners)
}

// startOwner starts a service and waits until the whole log is its own.
func (o *ours) startOwner(ctx context.Context, name string) error {
	owned := make(chan struct{}, 10*o.logPartitions)
	on := map[string]func(string){assignedTo(topic.PaymentLog.Name): func(string) { owned <- struct{}{} }}
	if err := o.start(name, nil, on); err != nil {
		return err
	}
	for range o.logPartitions {
		if err := wait(ctx, owned, o.processes); err != nil {
			return err
		}
	}
	return nil
}

// membersPoll is how often a group that changes is looked at.
const membersPoll = 100 * time.Millisecond

// awaitMembers waits until the group has that many members, each with something to do.
func (o *ours) awaitMembers(ctx context.Context, group string, n int) error {
	tick := time.NewTicker(membersPoll)
	defer tick.Stop()
	for {
		members, err := o.bench.bus.Members(ctx, group)
		if err != nil {
			return err
		}
		idle := slices.ContainsFunc(members, func(m bus.Member) bool { return len(m.Partitions) == 0 })
		if len(members) == n && !idle {
			return nil
		}
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-tick.C:
		}
	}
}

func (o *ours) startIngests(watch *stopwatch) error {
	for n, feed := range feeds {
		env, err := o.profileOf(feed)
		if err != nil {
			return err
		}
		begun := map[string]func(string){assignedTo(inputs[n].Name): func(string) { watch.begun() }}
		if err := o.start(feed, env, begun); err != nil {
			return err
		}
	}
	return nil
}

// assignedTo is what a service logs when a partition of the topic becomes its own, and
// never else.
func assignedTo(name string) string { return " topic=" + name + " partition=" }

var listeningAt = regexp.MustCompile(`http_addr=(\S+)`)

func (o *ours) start(name string, env []string, on map[string]func(string)) error {
	log, err := o.bench.openLog(name)
	if err != nil {
		return err
	}
	on["msg=listening"] = func(line string) {
		if found := listeningAt.FindStringSubmatch(line); found != nil {
			o.listening <- listener{name, found[1]}
		}
	}
	p, err := process.Start(process.Command{
		Path: o.bench.options.Binaries[binaryOf(name)], Output: &spotter{next: log, on: on}, Env: append(o.environment(), env...),
	})
	if err != nil {
		return err
	}
	o.processes[name] = p
	return nil
}

// binaryOf a second instance is that of the first.
func binaryOf(name string) string {
	binary, _, _ := strings.Cut(name, "-")
	return binary
}

func (o *ours) environment() []string {
	var addrs []string
	for _, r := range o.redis {
		addrs = append(addrs, r.Addr())
	}
	env := append(os.Environ(),
		"SETTLEWATCH_KAFKA_BROKERS="+o.bench.kafka.Addr(),
		"SETTLEWATCH_REDIS_ADDRS="+strings.Join(addrs, ","),
		fmt.Sprintf("SETTLEWATCH_REDIS_CLUSTER=%t", o.cluster),
		"SETTLEWATCH_CARD_KEY_ID=bench",
		"SETTLEWATCH_CARD_KEY="+benchCardKey,
		"SETTLEWATCH_HTTP_ADDR=127.0.0.1:0",
		fmt.Sprintf("SETTLEWATCH_PAYMENT_SNAPSHOTS=%t", o.setup.snapshots),
		fmt.Sprintf("SETTLEWATCH_PPROF=%t", o.bench.options.Profiles != ""),
	)
	if o.clickHouse != nil {
		env = append(env, "SETTLEWATCH_CLICKHOUSE_DSN="+o.clickHouse.DSN())
	}
	return env
}

// inspect looks at what a run must not have left: dead letters, and in ClickHouse
// another number of events than there are.
func (o *ours) inspect(ctx context.Context) (notes []string, err error) {
	for p := range topic.DeadLetters.Partitions {
		_, end, err := o.bench.bus.Bounds(ctx, topic.DeadLetters.Name, int32(p))
		if err != nil {
			return nil, err
		}
		if end > 0 {
			notes = append(notes, fmt.Sprintf("%d records were refused as dead letters", end))
		}
	}
	if o.tables == nil {
		return notes, nil
	}
	summary, err := o.tables.Summary(ctx)
	if err != nil {
		return nil, err
	}
	if want := o.workload.EventCount(); summary.Events != uint64(want) {
		notes = append(notes, fmt.Sprintf("%d events in ClickHouse, want %d", summary.Events, want))
	}
	return notes, nil
}

func (o *ours) onStop(stop func() error) { o.stopped = append(o.stopped, stop) }

// stop ends the services, then their servers.
func (o *ours) stop() error {
	var g errgroup.Group
	for _, p := range o.processes {
		g.Go(func() error { return p.Stop(serviceGrace) })
	}
	errs := []error{g.Wait()}
	for i := len(o.stopped) - 1; i >= 0; i-- {
		errs = append(errs, o.stopped[i]())
	}
	for _, name := range []string{redisName, clickHouseName} {
		errs = append(errs, os.RemoveAll(filepath.Join(o.bench.options.Dir, name)))
	}
	return errors.Join(errs...)
}
