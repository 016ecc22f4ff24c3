package e2e_test

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"io"
	"net"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"settlewatch/pipelines/servers"
	"settlewatch/pipelines/servers/serverstest"
	"settlewatch/tools/demo"
	"settlewatch/tools/traffic"
)

// someThousand is the traffic of most tests: every planted case, in a few seconds.
func someThousand(seed uint64) traffic.Options { return traffic.Options{Seed: seed, Payments: 3000} }

// testDemo is the one end-to-end test, whatever the servers are.
func testDemo(t *testing.T, o traffic.Options, external *demo.Addresses, describe func(*world) string) demo.Result {
	t.Helper()
	w := start(t, o, external)
	t.Log("servers: " + describe(w))
	r := w.play(nil)
	requireExact(t, r)
	requirePlanted(t, r)
	if external == nil {
		ordinary[name(o)], ordinaryRows[name(o)] = r, w.rows()
	}
	return r
}

func TestDemoOnEmbeddedStack(t *testing.T) {
	testDemo(t, someThousand(1), nil, (*world).embeddedServers)
}

// TestDemoOnRealServers also holds the alerts to those of the embedded stack: the
// same log, the same alerts, whoever keeps the log.
func TestDemoOnRealServers(t *testing.T) {
	o := someThousand(1)
	want := undisturbed(t, o)
	t.Log("starting Apache Kafka, redis-server and ClickHouse")
	var said kafkaLog
	kafka := serverstest.StartKafka(t, servers.KafkaOptions{Options: servers.Options{Log: &said}})
	redis := serverstest.StartRedis(t, servers.RedisOptions{AppendOnly: true})
	clickHouse := serverstest.StartClickHouse(t, servers.ClickHouseOptions{})
	version := said.version()
	if !strings.HasPrefix(version, "4.1.") {
		t.Errorf("this is Apache Kafka %q, want 4.1", version)
	}
	got := testDemo(t, o, &demo.Addresses{
		Brokers: []string{kafka.Addr()}, Redis: []string{redis.Addr()}, ClickHouseDSN: clickHouse.DSN(),
	}, func(w *world) string {
		return fmt.Sprintf("Apache Kafka %s on %s; %s; ClickHouse %s on %s",
			version, kafka.Addr(), w.redisVersion(), clickHouse.Version(), clickHouse.Addr())
	})
	requireSameLines(t, got.Collected, want.Collected)
}

// TestDemoOnRedisCluster runs on three nodes: every partition's keys must stay in
// one slot, and the partitions spread over the nodes.
func TestDemoOnRedisCluster(t *testing.T) {
	t.Log("starting a Redis Cluster of three nodes, a broker and ClickHouse")
	cluster := serverstest.StartRedisCluster(t, servers.RedisOptions{})
	broker := serverstest.Broker(t)
	clickHouse := serverstest.StartClickHouse(t, servers.ClickHouseOptions{})
	testDemo(t, traffic.Options{Seed: 1, Payments: 500}, &demo.Addresses{
		Brokers: []string{broker}, Redis: cluster.Addrs(), RedisCluster: true, ClickHouseDSN: clickHouse.DSN(),
	}, func(w *world) string {
		return fmt.Sprintf("in-process broker (kfake) on %s; %s; ClickHouse %s on %s",
			broker, w.redisVersion(), clickHouse.Version(), clickHouse.Addr())
	})
	holding := 0
	for _, node := range cluster.Addrs() {
		keys := redisAsk(t, node, "DBSIZE")
		t.Logf("node %s holds %s keys", node, keys)
		if keys != "0" {
			holding++
		}
	}
	if holding < 2 {
		t.Errorf("%d of %d nodes hold keys", holding, len(cluster.Nodes))
	}
}

// TestSameSeedSameBytes runs one seed twice and another one once.
func TestSameSeedSameBytes(t *testing.T) {
	first := undisturbed(t, someThousand(1))
	w := start(t, someThousand(1), nil)
	again := w.play(nil)
	requireExact(t, again)
	requireSameLines(t, again.Collected, first.Collected)

	other := undisturbed(t, someThousand(2))
	if bytes.Equal(joined(other), joined(first)) {
		t.Error("another seed gives the same alerts")
	}
}

func joined(r demo.Result) []byte { return bytes.Join(r.Collected.Lines(), []byte("\n")) }

// TestCleanMonth: nothing is planted, so no alert may come, over National Day,
// around the cut-over, with repeats and with feeds that are silent for hours.
func TestCleanMonth(t *testing.T) {
	w := start(t, traffic.Options{Seed: 3, Payments: 5000, Days: 30, Clean: true}, nil)
	for _, p := range w.traffic.Options().Pauses {
		t.Logf("the %s feed is silent for %s", p.Feed.Service(), time.Duration(p.To-p.From)*time.Millisecond)
	}
	r := w.play(nil)
	requireExact(t, r)
	if len(r.Collected.Alerts) > 0 || len(r.Collected.Letters) > 0 {
		t.Errorf("%d alerts and %d dead letters of clean traffic", len(r.Collected.Alerts), len(r.Collected.Letters))
	}
	for _, line := range r.Collected.Lines() {
		t.Logf("%s", line)
	}
	if len(w.traffic.Options().Pauses) == 0 || len(r.Warehouse.Completeness) == 0 {
		t.Error("no feed was silent, or ClickHouse knows no currency")
	}
	for _, c := range r.Warehouse.Completeness {
		t.Logf("%+v", c)
		if !c.Holds || c.AlertedMinor != 0 || c.OpenMinor != 0 || c.SettledMinor == 0 {
			t.Errorf("%s at the end of a clean month: %+v", c.Currency, c)
		}
	}
}

// redisVersion asks the first Redis.
func (w *world) redisVersion() string {
	info := redisAsk(w.t, w.Redis[0], "INFO", "server")
	field := func(name string) string {
		_, rest, _ := strings.Cut(info, name+":")
		value, _, _ := strings.Cut(rest, "\r\n")
		return value
	}
	if field("redis_version") == "" {
		w.t.Errorf("what answers on %s is no redis-server: %q", w.Redis[0], info)
	}
	return fmt.Sprintf("redis-server %s, %s, on %s", field("redis_version"), field("redis_mode"), strings.Join(w.Redis, ", "))
}

// redisAsk sends one command and returns the reply as text.
func redisAsk(t *testing.T, addr string, words ...string) string {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	conn, err := new(net.Dialer).DialContext(ctx, "tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.Close() }()
	if _, err := io.WriteString(conn, strings.Join(words, " ")+"\r\n"); err != nil {
		t.Fatal(err)
	}
	reader := bufio.NewReader(conn)
	line, err := reader.ReadString('\n')
	if err != nil {
		t.Fatal(err)
	}
	line = strings.TrimSpace(line)
	if !strings.HasPrefix(line, "$") {
		return strings.TrimLeft(line, "+:")
	}
	size, err := strconv.Atoi(line[1:])
	if err != nil || size < 0 {
		t.Fatalf("%s answers %q to %v", addr, line, words)
	}
	body := make([]byte, size)
	if _, err := io.ReadFull(reader, body); err != nil {
		t.Fatal(err)
	}
	return string(body)
}

// kafkaLog keeps the broker's output, in which it says its version.
type kafkaLog struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (k *kafkaLog) Write(b []byte) (int, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.text.Write(b)
}

func (k *kafkaLog) version() string {
	k.mu.Lock()
	defer k.mu.Unlock()
	_, rest, _ := strings.Cut(k.text.String(), "Kafka version: ")
	version, _, _ := strings.Cut(rest, "\n")
	version, _, _ = strings.Cut(version, " ")
	return version
}
