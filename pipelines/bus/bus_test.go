package bus_test

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kfake"

	"settlewatch/pipelines/bus"
	"settlewatch/pipelines/servers/serverstest"
	"settlewatch/pipelines/stage"
	"settlewatch/pipelines/stage/conformance"
	"settlewatch/schemas/topic"
)

func TestMain(m *testing.M) { serverstest.Main(m) }

func TestBusOnKfake(t *testing.T) { conform(t, startKfake(t, 3).ListenAddrs()) }

func TestBusOnKafka(t *testing.T) { conform(t, []string{serverstest.Kafka(t)}) }

func conform(t *testing.T, brokers []string) {
	b := dial(t, bus.Options{Brokers: brokers})
	conformance.Log(t, func(*testing.T) conformance.Bus {
		return conformance.Bus{
			Log:         b,
			CreateTopic: func(t *testing.T, partitions int) string { return createTopic(t, b, partitions) },
			Group: func(id string, topics ...string) stage.Group {
				return b.Group(bus.GroupOptions{ID: id, Topics: topics, HeartbeatInterval: 100 * time.Millisecond})
			},
		}
	})
}

func startKfake(t testing.TB, brokers int, options ...kfake.Opt) *kfake.Cluster {
	t.Helper()
	cluster, err := kfake.NewCluster(append(options, kfake.NumBrokers(brokers), kfake.SleepOutOfOrder())...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(cluster.Close)
	return cluster
}

func dial(t testing.TB, options bus.Options) *bus.Bus {
	t.Helper()
	if options.TopicTimeout == 0 {
		options.TopicTimeout = 200 * time.Millisecond
	}
	b, err := bus.Dial(t.Context(), options)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(b.Close)
	return b
}

var topicNumber atomic.Int64

// createTopic makes a name that is new on a broker with a memory, too.
func createTopic(t testing.TB, b *bus.Bus, partitions int) string {
	t.Helper()
	name := fmt.Sprintf("test-%d-%d", time.Now().UnixNano(), topicNumber.Add(1))
	err := b.CreateTopics(t.Context(), []topic.Topic{{Name: name, Partitions: partitions, RetentionMs: topic.RetainAll}}, 1)
	if err != nil {
		t.Fatal(err)
	}
	return name
}

func TestDialNamesTheAddress(t *testing.T) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	address := listener.Addr().String()
	listener.Close()
	_, err = bus.Dial(t.Context(), bus.Options{Brokers: []string{address}})
	if err == nil || !strings.Contains(err.Error(), address) || !strings.Contains(err.Error(), "check") {
		t.Errorf("dialing a dead address returned %v", err)
	}
	_, err = bus.Dial(t.Context(), bus.Options{Brokers: []string{"nowhere"}})
	if err == nil || !strings.Contains(err.Error(), "host:port") {
		t.Errorf("dialing an address without a port returned %v", err)
	}
	_, err = bus.Dial(t.Context(), bus.Options{})
	if err == nil {
		t.Error("dialed no address")
	}
}

func TestDialWaitsUntilReady(t *testing.T) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	port := listener.Addr().(*net.TCPAddr).Port
	listener.Close()
	dialed := make(chan error, 1)
	go func() {
		b, err := bus.Dial(t.Context(), bus.Options{
			Brokers: []string{fmt.Sprintf("127.0.0.1:%d", port)}, WaitReady: time.Minute,
		})
		if err == nil {
			err = b.Ping(t.Context())
			b.Close()
		}
		dialed <- err
	}()
	startKfake(t, 1, kfake.Ports(port))
	if err := <-dialed; err != nil {
		t.Error(err)
	}
}

func TestPingTellsOfADeadBroker(t *testing.T) {
	cluster := startKfake(t, 1)
	b := dial(t, bus.Options{Brokers: cluster.ListenAddrs()})
	if err := b.Ping(t.Context()); err != nil {
		t.Fatal(err)
	}
	cluster.Close()
	if err := b.Ping(t.Context()); err == nil {
		t.Error("a closed cluster answers")
	}
}

func TestCreateTopicsAgain(t *testing.T) {
	b := dial(t, bus.Options{Brokers: startKfake(t, 1).ListenAddrs()})
	for range 2 {
		if err := b.CreateTopics(t.Context(), topic.All, 1); err != nil {
			t.Fatal(err)
		}
	}
	for _, want := range topic.All {
		if n, err := b.Partitions(t.Context(), want.Name); err != nil || n != want.Partitions {
			t.Errorf("%s has %d partitions, %v; want %d", want.Name, n, err, want.Partitions)
		}
	}

	raw := topic.RawCapture
	raw.Partitions++
	if err := b.CreateTopics(t.Context(), []topic.Topic{raw}, 1); err != nil {
		t.Errorf("a raw topic may have another number of partitions: %v", err)
	}
	log := topic.PaymentLog
	log.Partitions++
	err := b.CreateTopics(t.Context(), []topic.Topic{log}, 1)
	if err == nil || !strings.Contains(err.Error(), "4 partitions and 5 are declared") {
		t.Errorf("a payment log with another number of partitions: %v", err)
	}
}

func TestMissingTopicIsNamed(t *testing.T) {
	b := dial(t, bus.Options{Brokers: startKfake(t, 1).ListenAddrs()})
	reader, err := b.Open("payment-log.v1", 2)
	if err != nil {
		t.Fatal(err)
	}
	_, err = reader.Fetch(t.Context(), 0, 0)
	if err == nil || !strings.Contains(err.Error(), "topic payment-log.v1 has no partition 2") {
		t.Errorf("fetch from a missing topic returned %v", err)
	}
}

func TestOutOfRangeTellsTheBounds(t *testing.T) {
	b := dial(t, bus.Options{Brokers: startKfake(t, 1).ListenAddrs()})
	name := createTopic(t, b, 1)
	if err := b.Append(t.Context(), stage.Outgoing{Topic: name, Partition: 0, Records: []stage.Record{{Value: []byte("v")}}}); err != nil {
		t.Fatal(err)
	}
	reader, err := b.Open(name, 0)
	if err != nil {
		t.Fatal(err)
	}
	_, err = reader.Fetch(t.Context(), 17, 0)
	if !errors.Is(err, stage.ErrOffsetOutOfRange) || !strings.Contains(err.Error(), "holds 0 up to, not including, 1") {
		t.Errorf("fetch above the end returned %v", err)
	}
}

func TestGroupRefusedForGood(t *testing.T) {
	b := dial(t, bus.Options{Brokers: startKfake(t, 1).ListenAddrs()})
	name := createTopic(t, b, 1)
	own := func(context.Context, stage.Assignment) error { return nil }
	// Below group.min.session.timeout.ms: the broker repeats its refusal for ever.
	err := b.Group(bus.GroupOptions{ID: "g", Topics: []string{name}, SessionTimeout: time.Second}).Run(t.Context(), own)
	if err == nil || !strings.Contains(err.Error(), "session timeout of 1s") {
		t.Errorf("a refused session timeout: %v", err)
	}
	err = b.Group(bus.GroupOptions{Topics: []string{name}}).Run(t.Context(), own)
	if err == nil {
		t.Error("joined a group without an id")
	}
}
