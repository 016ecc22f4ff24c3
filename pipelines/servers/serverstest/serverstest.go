// Package serverstest gives tests real servers on free ports. A missing server fails
// the test with what to install: nothing is skipped.
//
// ClickHouse and Kafka take seconds to start, so one of each serves all tests of a
// package, and a test uses names of its own there (Name). Redis and the in-process
// broker start within milliseconds: each call gives a fresh one that ends with the
// test. A test that kills its server uses the Start functions, which never share.
//
// Every package that uses it has
//
//	func TestMain(m *testing.M) { serverstest.Main(m) }
package serverstest

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"settlewatch/pipelines/servers"
)

// startMax bounds a start including a first fetch over a slow line.
const startMax = 10 * time.Minute

// ClickHouseAddresses are those of the shared ClickHouse.
type ClickHouseAddresses struct {
	// Native and HTTP are "127.0.0.1:port".
	Native, HTTP string
	// DSN connects clickhouse-go to the database default. Never put another database
	// into a DSN: a failed handshake ends this server for all tests.
	DSN string
}

// shared is one server for all tests of this process.
type shared struct {
	mu     sync.Mutex
	server servers.Server
	err    error
}

var (
	sharedClickHouse, sharedKafka shared

	sharedDirOnce sync.Once
	sharedDir     string
	errSharedDir  error

	names atomic.Int64
)

// Main runs the tests, stops the shared servers and exits. It also is what makes a
// test binary able to run itself again as a ClickHouse.
func Main(m *testing.M) {
	servers.MaybeRunChild()
	os.Exit(Run(m))
}

// Run is Main for a TestMain that has more to do: it calls servers.MaybeRunChild
// first of all, then Run, and exits with the status that Run returns.
func Run(m *testing.M) int {
	status := m.Run()
	for _, s := range []*shared{&sharedClickHouse, &sharedKafka} {
		if s.server == nil {
			continue
		}
		if err := s.server.Stop(); err != nil {
			fmt.Fprintln(os.Stderr, "stop shared server:", err)
			status = 1
		}
	}
	if sharedDir != "" {
		_ = os.RemoveAll(sharedDir)
	}
	return status
}

// get returns the shared server and starts it at the first call, or again if it has
// ended: one test's fault must not fail all others.
func (s *shared) get(t testing.TB, name string, start func(ctx context.Context, dir string) (servers.Server, error)) servers.Server {
	t.Helper()
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.server != nil {
		select {
		case <-s.server.Done():
			t.Logf("the shared %s has ended; starting it again", name)
		default:
			return s.server
		}
	}
	if s.err == nil {
		//nolint:usetesting // The folder outlives the test that asks for it first.
		sharedDirOnce.Do(func() { sharedDir, errSharedDir = os.MkdirTemp("", "settlewatch-servers-") })
		if s.err = errSharedDir; s.err == nil {
			ctx, cancel := context.WithTimeout(context.Background(), startMax)
			defer cancel()
			s.server, s.err = start(ctx, filepath.Join(sharedDir, name))
		}
	}
	if s.err != nil {
		t.Fatal(s.err)
	}
	return s.server
}

// ClickHouse returns the addresses of the shared ClickHouse.
func ClickHouse(t testing.TB) ClickHouseAddresses {
	t.Helper()
	server := sharedClickHouse.get(t, "clickhouse", func(ctx context.Context, dir string) (servers.Server, error) {
		c, err := servers.StartClickHouse(ctx, servers.ClickHouseOptions{Options: options(dir)})
		if err != nil {
			return nil, err
		}
		return c, nil
	})
	c := server.(*servers.ClickHouse)
	return ClickHouseAddresses{Native: c.Addr(), HTTP: c.HTTPAddr(), DSN: c.DSN()}
}

// StartClickHouse starts a ClickHouse for this test alone. An empty Dir is a
// temporary folder.
func StartClickHouse(t testing.TB, o servers.ClickHouseOptions) *servers.ClickHouse {
	t.Helper()
	o.Options = fill(t, o.Options)
	c, err := servers.StartClickHouse(startContext(t), o)
	return own(t, c, err)
}

// Kafka returns the address of the shared Apache Kafka. Its groups may ask for
// sessions of one second.
func Kafka(t testing.TB) string {
	t.Helper()
	return sharedKafka.get(t, "kafka", func(ctx context.Context, dir string) (servers.Server, error) {
		k, err := servers.StartKafka(ctx, servers.KafkaOptions{Options: options(dir), GroupMinSession: time.Second})
		if err != nil {
			return nil, err
		}
		return k, nil
	}).Addr()
}

// StartKafka starts an Apache Kafka for this test alone. An empty Dir is a temporary
// folder.
func StartKafka(t testing.TB, o servers.KafkaOptions) *servers.Kafka {
	t.Helper()
	o.Options = fill(t, o.Options)
	k, err := servers.StartKafka(startContext(t), o)
	return own(t, k, err)
}

// Redis starts a redis-server for this test, with its data in memory, and returns
// its address.
func Redis(t testing.TB) string {
	t.Helper()
	return StartRedis(t, servers.RedisOptions{}).Addr()
}

// StartRedis starts a redis-server for this test. An empty Dir is a temporary folder.
func StartRedis(t testing.TB, o servers.RedisOptions) *servers.Redis {
	t.Helper()
	o.Options = fill(t, o.Options)
	r, err := servers.StartRedis(startContext(t), o)
	return own(t, r, err)
}

// RedisCluster starts a Redis Cluster of three masters for this test and returns
// their addresses.
func RedisCluster(t testing.TB) []string {
	t.Helper()
	return StartRedisCluster(t, servers.RedisOptions{}).Addrs()
}

// StartRedisCluster starts a Redis Cluster for this test. An empty Dir is a temporary
// folder.
func StartRedisCluster(t testing.TB, o servers.RedisOptions) *servers.RedisCluster {
	t.Helper()
	o.Options = fill(t, o.Options)
	c, err := servers.StartRedisCluster(startContext(t), o)
	return own(t, c, err)
}

// Broker starts an in-process broker for this test and returns its address.
func Broker(t testing.TB) string {
	t.Helper()
	return StartBroker(t, servers.BrokerOptions{}).Addr()
}

// StartBroker starts an in-process broker for this test.
func StartBroker(t testing.TB, o servers.BrokerOptions) *servers.Broker {
	t.Helper()
	b, err := servers.StartBroker(startContext(t), o)
	return own(t, b, err)
}

// Name returns a name that no other call in this process returns, made of the test's
// name, for a topic or database on a shared server: lower-case letters, digits and
// underscores, starting with a letter.
func Name(t testing.TB) string {
	t.Helper()
	clean := strings.Map(func(r rune) rune {
		if r >= 'a' && r <= 'z' || r >= '0' && r <= '9' {
			return r
		}
		return '_'
	}, strings.ToLower(t.Name()))
	return fmt.Sprintf("%.60s_%d", clean, names.Add(1))
}

// own ends a server with its test.
func own[S interface{ Stop() error }](t testing.TB, server S, err error) S {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := server.Stop(); err != nil {
			t.Error(err)
		}
	})
	return server
}

// startContext bounds a start. It is not the test's own context, which has ended
// when clean-up functions run.
func startContext(t testing.TB) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), startMax)
	t.Cleanup(cancel)
	return ctx
}

func fill(t testing.TB, o servers.Options) servers.Options {
	t.Helper()
	if o.Dir == "" {
		o.Dir = t.TempDir()
	}
	if o.Progress == nil {
		o.Progress = progress()
	}
	return o
}

func options(dir string) servers.Options { return servers.Options{Dir: dir, Progress: progress()} }

// progress says on standard error what is fetched, at every tenth.
func progress() func(what string, done, total int64) {
	last := int64(-1)
	return func(what string, done, total int64) {
		if tenth := done * 10 / max(total, 1); tenth > last {
			last = tenth
			fmt.Fprintf(os.Stderr, "fetching %s: %d %%\n", what, tenth*10)
		}
	}
}
