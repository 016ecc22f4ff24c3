// Package demo plays seeded card traffic through the whole product and holds what
// comes out to what was planted. It starts the embedded stack, or uses servers
// that are there; the services are the same processes in both cases.
package demo

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"time"

	"settlewatch/pipelines/bus"
	"settlewatch/pipelines/calendar"
	"settlewatch/pipelines/intake"
	"settlewatch/pipelines/join"
	"settlewatch/pipelines/warehouse"
	"settlewatch/schemas/event"
	"settlewatch/schemas/ruleset"
	"settlewatch/schemas/topic"
	"settlewatch/services/boot"
	"settlewatch/tools/configlog"
	"settlewatch/tools/stack"
)

// Services in the order of the flow; each is a binary of that name.
var Services = []string{"authorization", "capture", "settlement", "joiner", "warehouse"}

// Addresses of the servers that the services use.
type Addresses struct {
	Brokers       []string
	Redis         []string
	RedisCluster  bool
	ClickHouseDSN string
	// Environment is more of the services' environment, such as users, passwords and
	// certificates. Kafka and ClickHouse say the same to the demo's own connections;
	// addresses and names are filled in.
	Environment []string
	Kafka       bus.Options
	ClickHouse  warehouse.Options
}

// Ports of the embedded servers.
type Ports struct{ Kafka, Redis, ClickHouse, ClickHouseHTTP int }

// PlatformOptions say where everything runs.
type PlatformOptions struct {
	// External servers; nil starts the embedded stack.
	External *Addresses
	// Ports of the embedded servers; 0 chooses free ones.
	Ports Ports
	// Replication of the topics that are made. Defaults to 1.
	Replication int
	// ServiceEnvironment is more of one service's environment, by its name.
	ServiceEnvironment map[string][]string
	// Binaries are the services' executables by name. Nil takes those beside this
	// program, or builds them from the source tree around it.
	Binaries map[string]string
	// Dir holds the servers' data and every process's log.
	Dir      string
	Log      io.Writer // one line per step; nil is silent
	Progress func(what string, done, total int64)
	Events   func(stack.Event)
}

// Platform is the running product.
type Platform struct {
	Addresses
	Stack      *stack.Stack // nil on external servers
	Bus        *bus.Bus
	Warehouse  *warehouse.Warehouse
	Supervisor *stack.Supervisor

	options PlatformOptions
}

// demoCardKey makes the demo's card tokens. It is no secret: the cards are invented.
var demoCardKey = base64.StdEncoding.EncodeToString([]byte("settlewatch demo: not a secret"))

// StartPlatform starts servers, makes topics and tables, puts the configuration
// into the log, and starts the services.
func StartPlatform(ctx context.Context, o PlatformOptions, config *event.Config) (*Platform, error) {
	p := &Platform{options: o}
	if err := p.start(ctx, config); err != nil {
		return nil, errors.Join(err, p.Stop())
	}
	return p, nil
}

func (p *Platform) start(ctx context.Context, config *event.Config) error {
	var err error
	binaries := p.options.Binaries
	if binaries == nil {
		if binaries, err = stack.Binaries(ctx, Services, p.options.Progress); err != nil {
			return err
		}
	}
	if err := p.reach(ctx); err != nil {
		return err
	}
	if err := p.prepare(ctx, config); err != nil {
		return err
	}
	services := make([]stack.Service, 0, len(Services))
	for _, name := range Services {
		services = append(services, stack.Service{Name: name, Path: binaries[name], Env: append(p.environment(), p.options.ServiceEnvironment[name]...)})
	}
	p.say("starting %s", strings.Join(Services, ", "))
	if p.Stack != nil {
		p.Supervisor, err = p.Stack.Supervise(ctx, services)
	} else {
		p.Supervisor, err = stack.Supervise(ctx, p.options.Dir, services, p.options.Events)
	}
	return err
}

func (p *Platform) say(format string, args ...any) {
	if p.options.Log != nil {
		_, _ = fmt.Fprintf(p.options.Log, format+"\n", args...) // a lost line of progress changes nothing
	}
}

// reach starts the embedded stack, or takes the given servers, and connects.
func (p *Platform) reach(ctx context.Context) error {
	if p.options.External != nil {
		p.Addresses = *p.options.External
	} else {
		embedded, err := stack.Start(ctx, stack.Options{
			Dir: p.options.Dir, Progress: p.options.Progress, Log: p.options.Log, Events: p.options.Events,
			BrokerPort: p.options.Ports.Kafka, RedisPort: p.options.Ports.Redis,
			ClickHousePort: p.options.Ports.ClickHouse, ClickHouseHTTPPort: p.options.Ports.ClickHouseHTTP,
		})
		if err != nil {
			return err
		}
		p.Stack = embedded
		p.Addresses = Addresses{Brokers: embedded.Brokers, Redis: embedded.Redis, ClickHouseDSN: embedded.ClickHouseDSN}
	}
	kafka, clickHouse := p.Kafka, p.ClickHouse
	kafka.Brokers, kafka.ClientID, clickHouse.DSN = p.Brokers, "settlewatch-demo", p.ClickHouseDSN
	var err error
	if p.Bus, err = bus.Dial(ctx, kafka); err != nil {
		return err
	}
	p.Warehouse, err = warehouse.Dial(ctx, clickHouse)
	return err
}

// prepare makes topics and tables and applies the configuration.
func (p *Platform) prepare(ctx context.Context, config *event.Config) error {
	p.say("making topics, tables and the configuration")
	if err := p.Bus.CreateTopics(ctx, topic.All, max(1, p.options.Replication)); err != nil {
		return err
	}
	for _, t := range topic.All {
		for n := range t.Partitions {
			if _, end, err := p.Bus.Bounds(ctx, t.Name, int32(n)); err != nil {
				return err
			} else if end > 0 {
				return fmt.Errorf("topic %s is not empty: the demo wants servers of its own, since it checks all that comes out", t.Name)
			}
		}
	}
	if err := p.Warehouse.Migrate(ctx, nil); err != nil {
		return err
	}
	_, err := configlog.Append(ctx, p.Bus, config, time.Now())
	return err
}

// environment of a service: the same names that an operator would set.
func (p *Platform) environment() []string {
	var before []string
	if p.options.External == nil {
		// An operator's shell may hold settings of other servers.
		before = boot.NoConnections(os.Environ())
	}
	return slices.Concat(before, []string{
		"SETTLEWATCH_KAFKA_BROKERS=" + strings.Join(p.Brokers, ","),
		"SETTLEWATCH_REDIS_ADDRS=" + strings.Join(p.Redis, ","),
		fmt.Sprintf("SETTLEWATCH_REDIS_CLUSTER=%t", p.RedisCluster),
		"SETTLEWATCH_CLICKHOUSE_DSN=" + p.ClickHouseDSN,
		"SETTLEWATCH_CARD_KEY_ID=demo",
		"SETTLEWATCH_CARD_KEY=" + demoCardKey,
		// Several stacks may run on one machine.
		"SETTLEWATCH_HTTP_ADDR=127.0.0.1:0",
	}, p.Environment)
}

// Stop ends services and servers, in this order; nothing is left.
func (p *Platform) Stop() error {
	var errs []error
	if p.Supervisor != nil {
		errs = append(errs, p.Supervisor.Stop())
	}
	if p.Warehouse != nil {
		errs = append(errs, p.Warehouse.Close())
	}
	if p.Bus != nil {
		p.Bus.Close()
	}
	if p.Stack != nil {
		errs = append(errs, p.Stack.Stop())
	}
	return errors.Join(errs...)
}

// Abilities of this build, for a configuration that it is to run under.
func Abilities() (ruleset.Abilities, error) {
	versions, err := calendar.Versions()
	if err != nil {
		return ruleset.Abilities{}, err
	}
	a := ruleset.Abilities{JoinVersion: join.Version, TZData: calendar.TZDataVersion}
	for _, v := range versions {
		a.Calendar = v.Version // sorted: the newest is last
	}
	return a, nil
}

// LiveSources are all partitions of the raw topics, as the ingest services of this
// release name them; their marks follow the clock.
func LiveSources() []*event.ExpectedSource {
	var out []*event.ExpectedSource
	for _, feed := range []struct {
		service string
		topic   topic.Topic
	}{
		{intake.Authorization.String(), topic.RawAuthorization},
		{intake.Capture.String(), topic.RawCapture},
		{intake.Settlement.String(), topic.RawSettlement},
	} {
		for n := range feed.topic.Partitions {
			name := event.Source{
				Service: feed.service, Topic: feed.topic.Name, Partition: int32(n),
				Profile: boot.Profile, Version: boot.ProfileVersion,
			}
			out = append(out, &event.ExpectedSource{Name: name.String(), Clock: event.Clock_CLOCK_LIVE})
		}
	}
	return out
}
