// Package stack runs Settlewatch on one machine: the servers it needs and its
// services, each service a process of its own.
//
// A folder enters; addresses, running services and events (what has died, what was
// started again) leave. Guaranteed: the data of an earlier run is gone, because the
// embedded broker keeps nothing on disk and positions in a log that no longer exists
// would be nonsense; a server or service that dies is started again on its address;
// nothing that was started outlives Stop, the end of the context, or this process.
package stack

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"sync"
	"time"

	"settlewatch/pipelines/servers"
)

// Options configure the stack.
type Options struct {
	// Dir receives redis/, clickhouse/ and logs/. It is made if missing.
	Dir string
	// KeepData leaves redis/ and clickhouse/ in place after Stop, for a look at them;
	// the next start removes them all the same.
	KeepData bool
	// Ports to listen on. 0 chooses free ones.
	BrokerPort, RedisPort, ClickHousePort, ClickHouseHTTPPort int
	// ClickHouseMemoryBytesMax bounds ClickHouse. Defaults to 2 GiB.
	ClickHouseMemoryBytesMax int64
	// GroupMinSession is the shortest session that the broker grants a consumer
	// group. Defaults to 6s.
	GroupMinSession time.Duration
	// Progress is called while a server is fetched: what, and how many bytes of how
	// many. Nil is silent.
	Progress func(what string, done, total int64)
	// Log receives one line per step, for people. Nil is silent.
	Log io.Writer
	// Events receives what happens to servers and services, one call at a time. It
	// must not block for long, nor call Stop. Nil is silent.
	Events func(Event)
}

// Stack is a running stack.
type Stack struct {
	// Brokers and Redis are bootstrap addresses, "127.0.0.1:port".
	Brokers, Redis []string
	// RedisEmbedded says that Redis is the imitation inside this process.
	RedisEmbedded bool
	// ClickHouse and ClickHouseHTTP are the addresses of its two interfaces,
	// ClickHouseDSN what clickhouse-go connects with, to the database default.
	ClickHouse, ClickHouseHTTP, ClickHouseDSN string
	// ClickHouseVersion such as 26.7.3.1.
	ClickHouseVersion string

	options Options
	emit    func(Event)

	mu          sync.Mutex
	stoppers    []func() error
	supervisors []*Supervisor
	stopped     bool
	once        sync.Once
	errStop     error
}

const (
	redisName      = "redis"
	clickHouseName = "clickhouse"
	logsName       = "logs"
)

// Start starts broker, Redis and ClickHouse. The context bounds the start; the stack
// runs until Stop.
func Start(ctx context.Context, o Options) (*Stack, error) {
	dir, err := filepath.Abs(o.Dir)
	if err != nil || o.Dir == "" {
		return nil, fmt.Errorf("start stack: no usable folder given (%q)", o.Dir)
	}
	o.Dir = dir
	if err := os.MkdirAll(filepath.Join(dir, logsName), 0o755); err != nil {
		return nil, fmt.Errorf("start stack: make folder for logs: %w", err)
	}
	s := &Stack{options: o, emit: serial(o.Events)}
	for _, start := range []func(context.Context) error{s.startBroker, s.startRedis, s.startClickHouse} {
		if err := start(ctx); err != nil {
			return nil, errors.Join(fmt.Errorf("start stack: %w", err), s.Stop())
		}
	}
	return s, nil
}

// LogPath is where the output of a server or service goes.
func (s *Stack) LogPath(name string) string { return logPath(s.options.Dir, name) }

func logPath(dir, name string) string { return filepath.Join(dir, logsName, name+".log") }

func (s *Stack) startBroker(ctx context.Context) error {
	s.say("starting the embedded broker")
	log, err := s.openLog("broker")
	if err != nil {
		return err
	}
	broker, err := servers.StartBroker(ctx, servers.BrokerOptions{
		Options: servers.Options{Log: log}, Port: s.options.BrokerPort, GroupMinSession: s.options.GroupMinSession,
	})
	if err != nil {
		return err
	}
	s.onStop(broker.Stop)
	s.Brokers = []string{broker.Addr()}
	return nil
}

func (s *Stack) startRedis(ctx context.Context) error {
	s.say("starting Redis")
	log, err := s.openLog(redisName)
	if err != nil {
		return err
	}
	o := servers.RedisOptions{Options: s.serverOptions(redisName, log), AppendOnly: true, AllowEmbedded: true}
	if o.Port, err = port(s.options.RedisPort); err != nil {
		return err
	}
	first, err := servers.StartRedis(ctx, o)
	if err != nil {
		return err
	}
	s.Redis, s.RedisEmbedded = []string{first.Addr()}, first.Embedded()
	if first.Embedded() {
		s.say("redis-server is not on PATH: using an imitation of Redis inside this process, which keeps nothing on disk")
	}
	o.Fresh, o.AllowEmbedded = false, false
	s.keep(redisName, first, func(ctx context.Context) (running, error) {
		again, err := servers.StartRedis(ctx, o)
		if err != nil {
			return nil, err
		}
		return again, nil
	})
	return nil
}

func (s *Stack) startClickHouse(ctx context.Context) error {
	s.say("starting ClickHouse")
	log, err := s.openLog(clickHouseName)
	if err != nil {
		return err
	}
	o := servers.ClickHouseOptions{
		Options:        s.serverOptions(clickHouseName, log),
		MemoryBytesMax: s.options.ClickHouseMemoryBytesMax,
	}
	if o.NativePort, err = port(s.options.ClickHousePort); err != nil {
		return err
	}
	if o.HTTPPort, err = port(s.options.ClickHouseHTTPPort); err != nil {
		return err
	}
	first, err := servers.StartClickHouse(ctx, o)
	if err != nil {
		return err
	}
	s.ClickHouse, s.ClickHouseHTTP = first.Addr(), first.HTTPAddr()
	s.ClickHouseDSN, s.ClickHouseVersion = first.DSN(), first.Version()
	o.Fresh = false
	s.keep(clickHouseName, first, func(ctx context.Context) (running, error) {
		again, err := servers.StartClickHouse(ctx, o)
		if err != nil {
			return nil, err
		}
		return again, nil
	})
	return nil
}

// serverOptions start in an empty folder: positions and rows of an earlier run speak
// of a log that ended with its broker.
func (s *Stack) serverOptions(name string, log io.Writer) servers.Options {
	return servers.Options{
		Dir: filepath.Join(s.options.Dir, name), Fresh: true, Log: log, Progress: s.options.Progress,
	}
}

// openLog opens a log that is closed when the stack has stopped.
func (s *Stack) openLog(name string) (*os.File, error) {
	log, err := openLog(s.options.Dir, name)
	if err != nil {
		return nil, err
	}
	s.onStop(log.Close)
	return log, nil
}

func openLog(dir, name string) (*os.File, error) {
	path := logPath(dir, name)
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return nil, fmt.Errorf("make folder for logs: %w", err)
	}
	log, err := os.OpenFile(path, os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o644)
	if err != nil {
		return nil, fmt.Errorf("open log: %w", err)
	}
	return log, nil
}

// onStop adds what Stop does, in the opposite order.
func (s *Stack) onStop(stop func() error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.stoppers = append(s.stoppers, stop)
}

// Stop ends the services, then the servers, then removes the data unless it is to be
// kept. It returns when all have ended. Repeating it returns the same error.
func (s *Stack) Stop() error {
	s.once.Do(func() {
		s.mu.Lock()
		s.stopped = true
		supervisors, stoppers := s.supervisors, s.stoppers
		s.mu.Unlock()
		var errs []error
		for _, supervisor := range supervisors {
			errs = append(errs, supervisor.Stop())
		}
		for i := len(stoppers) - 1; i >= 0; i-- {
			errs = append(errs, stoppers[i]())
		}
		s.errStop = errors.Join(errs...)
	})
	return s.errStop
}

// removeData removes a server's folder after it has ended.
func (s *Stack) removeData(name string) error {
	if s.options.KeepData {
		return nil
	}
	if err := os.RemoveAll(filepath.Join(s.options.Dir, name)); err != nil {
		return fmt.Errorf("remove data of %s: %w", name, err)
	}
	return nil
}

func (s *Stack) say(line string) {
	if s.options.Log != nil {
		_, _ = fmt.Fprintln(s.options.Log, line)
	}
}

// port returns the wished port or a free one: a server that is started again must
// come back on the same.
func port(wish int) (int, error) {
	if wish != 0 {
		return wish, nil
	}
	return servers.FreePort()
}

// serial makes a callback that is called once at a time, and may be nil.
func serial(call func(Event)) func(Event) {
	var mu sync.Mutex
	return func(e Event) {
		if call == nil {
			return
		}
		mu.Lock()
		defer mu.Unlock()
		call(e)
	}
}
