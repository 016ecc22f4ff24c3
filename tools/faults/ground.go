package faults

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"time"

	"settlewatch/pipelines/bus"
	"settlewatch/pipelines/intake"
	"settlewatch/pipelines/servers"
	"settlewatch/pipelines/warehouse"
	"settlewatch/schemas/event"
	"settlewatch/schemas/topic"
	"settlewatch/services/boot"
	"settlewatch/tools/configlog"
	"settlewatch/tools/demo"
	"settlewatch/tools/stack"
)

const (
	// session of the services' consumer groups in the scenarios, and the least that
	// the broker grants: waits for a dead member are scaled by it.
	session        = 3 * time.Second
	sessionDefault = 6 * time.Second
	sessionLeast   = time.Second
	// stallAfter is the least that the services take.
	stallAfter = 10 * time.Second
)

// ground is what all runs stand on: real servers that stay up, emptied before each
// run, each behind a proxy that can lose and hold back what passes.
type ground struct {
	dir      string
	binaries map[string]string
	log      io.Writer

	kafkaOptions servers.KafkaOptions
	kafka        *servers.Kafka
	redisOptions servers.RedisOptions
	redis        *servers.Redis
	clickOptions servers.ClickHouseOptions
	click        *servers.ClickHouse

	redisProxy, clickProxy *proxy
	// disks says that each server's data lie on a disk of its own.
	disks bool

	bus       *bus.Bus
	warehouse *warehouse.Warehouse
	closers   []func() error
}

// open starts the servers. The context bounds the start.
func open(ctx context.Context, dir string, log io.Writer) (*ground, error) {
	g := &ground{dir: dir, log: log}
	if err := g.open(ctx); err != nil {
		return nil, errors.Join(err, g.close())
	}
	return g, nil
}

func (g *ground) open(ctx context.Context) (err error) {
	if g.binaries, err = stack.Binaries(ctx, demo.Services, nil); err != nil {
		return err
	}
	output, err := os.Create(filepath.Join(g.dir, "servers.log"))
	if err != nil {
		return fmt.Errorf("open the servers' log: %w", err)
	}
	g.closers = append(g.closers, output.Close)
	if err := g.openKafka(ctx, output); err != nil {
		return err
	}
	if err := g.openRedis(ctx, output); err != nil {
		return err
	}
	return g.openClickHouse(ctx, output)
}

func (g *ground) openKafka(ctx context.Context, output io.Writer) (err error) {
	g.kafkaOptions = servers.KafkaOptions{
		Options: servers.Options{Dir: filepath.Join(g.dir, "kafka"), Log: output}, GroupMinSession: sessionLeast,
		Properties: map[string]string{
			// So that what was deleted is gone when the next run makes it again.
			"log.segment.delete.delay.ms": "0", "file.delete.delay.ms": "0",
			"log.retention.check.interval.ms": "500", "log.initial.task.delay.ms": "500",
		},
	}
	if g.kafkaOptions.Port, err = servers.FreePort(); err != nil {
		return err
	}
	if g.kafkaOptions.ControllerPort, err = servers.FreePort(); err != nil {
		return err
	}
	if g.kafka, err = servers.StartKafka(ctx, g.kafkaOptions); err != nil {
		return err
	}
	g.closers = append(g.closers, func() error { return g.kafka.Stop() })
	g.bus, err = bus.Dial(ctx, bus.Options{Brokers: []string{g.kafka.Addr()}, ClientID: "settlewatch-faults", WaitReady: time.Minute, AppendTimeout: 2 * time.Minute})
	if err == nil {
		g.closers = append(g.closers, func() error { g.bus.Close(); return nil })
	}
	return err
}

func (g *ground) openRedis(ctx context.Context, output io.Writer) (err error) {
	g.redisOptions = servers.RedisOptions{
		Options: servers.Options{Dir: filepath.Join(g.dir, "redis"), Log: output}, AppendOnly: true,
		Args: []string{"--enable-protected-configs", "yes"}, // its folder is changed while it runs
	}
	if g.redisOptions.Port, err = servers.FreePort(); err != nil {
		return err
	}
	if g.redis, err = servers.StartRedis(ctx, g.redisOptions); err != nil {
		return err
	}
	g.closers = append(g.closers, func() error { return g.redis.Stop() })
	if g.redisProxy, err = openProxy(ctx, g.redis.Addr()); err != nil {
		return err
	}
	g.closers = append(g.closers, g.redisProxy.close)
	return nil
}

func (g *ground) openClickHouse(ctx context.Context, output io.Writer) (err error) {
	g.clickOptions = servers.ClickHouseOptions{Options: servers.Options{Dir: filepath.Join(g.dir, "clickhouse"), Log: output}}
	if g.clickOptions.NativePort, err = servers.FreePort(); err != nil {
		return err
	}
	if g.clickOptions.HTTPPort, err = servers.FreePort(); err != nil {
		return err
	}
	if g.click, err = servers.StartClickHouse(ctx, g.clickOptions); err != nil {
		return err
	}
	g.closers = append(g.closers, func() error { return g.click.Stop() })
	if g.clickProxy, err = openProxy(ctx, g.click.Addr()); err != nil {
		return err
	}
	g.closers = append(g.closers, g.clickProxy.close)
	g.warehouse, err = warehouse.Dial(ctx, warehouse.Options{DSN: g.click.DSN()})
	if err == nil {
		g.closers = append(g.closers, g.warehouse.Close)
	}
	return err
}

// close ends everything, in the opposite order.
func (g *ground) close() error {
	var errs []error
	for i := len(g.closers) - 1; i >= 0; i-- {
		errs = append(errs, g.closers[i]())
	}
	return errors.Join(errs...)
}

// versions of the servers, for the report.
func (g *ground) versions(ctx context.Context) (string, error) {
	redis, err := g.redis.Version(ctx)
	if err != nil {
		return "", err
	}
	return fmt.Sprintf("Apache Kafka %s, Redis %s, ClickHouse %s", g.kafka.Version(), redis, g.click.Version()), nil
}

// groups are the services' consumer groups.
func groups() []string {
	return []string{
		boot.GroupConfig, boot.GroupJoiner, boot.GroupWarehouse, boot.GroupIngest(intake.Authorization, boot.Documented),
		boot.GroupIngest(intake.Capture, boot.Documented), boot.GroupIngest(intake.Settlement, boot.Documented),
	}
}

// empty makes the servers as new, with the configuration in its topic.
func (g *ground) empty(ctx context.Context, config *event.Config) error {
	g.redisProxy.heal(g.redis.Addr())
	g.clickProxy.heal(g.click.Addr())
	if err := g.bus.RemoveGroups(ctx, groups()); err != nil {
		return err
	}
	var names []string
	for _, t := range topic.All {
		names = append(names, t.Name)
	}
	if err := g.bus.RemoveTopics(ctx, names); err != nil {
		return err
	}
	if err := g.bus.CreateTopics(ctx, topic.All, 1); err != nil {
		return err
	}
	if _, err := ask(ctx, g.redis.Addr(), "FLUSHALL"); err != nil {
		return err
	}
	if _, err := g.sql(ctx, "DROP DATABASE IF EXISTS settlewatch SYNC"); err != nil {
		return err
	}
	if err := g.warehouse.Migrate(ctx, nil); err != nil {
		return err
	}
	_, err := configlog.Append(ctx, g.bus, config, time.Now())
	return err
}

// sql asks ClickHouse over HTTP, past the proxy.
func (g *ground) sql(ctx context.Context, query string) (string, error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://"+g.click.HTTPAddr()+"/", strings.NewReader(query))
	if err != nil {
		return "", fmt.Errorf("ask ClickHouse: %w", err)
	}
	reply, err := http.DefaultClient.Do(request)
	if err != nil {
		return "", fmt.Errorf("ask ClickHouse: %w", err)
	}
	defer func() { _ = reply.Body.Close() }()
	body, err := io.ReadAll(reply.Body)
	if err != nil {
		return "", fmt.Errorf("ask ClickHouse: %w", err)
	}
	if reply.StatusCode != http.StatusOK {
		return "", fmt.Errorf("ask ClickHouse: %s: %.300s", reply.Status, body)
	}
	return strings.TrimSpace(string(body)), nil
}
