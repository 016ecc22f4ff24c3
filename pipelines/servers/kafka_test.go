package servers_test

import (
	"errors"
	"net"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"settlewatch/pipelines/servers"
	"settlewatch/pipelines/servers/serverstest"
)

// client speaks to a broker with another library than the product does.
func client(t *testing.T, addr string, more ...kgo.Opt) *kgo.Client {
	t.Helper()
	c, err := kgo.NewClient(append([]kgo.Opt{kgo.SeedBrokers(addr)}, more...)...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	return c
}

func createTopic(t *testing.T, addr, topic string) {
	t.Helper()
	request := kmsg.NewPtrCreateTopicsRequest()
	request.TimeoutMillis = 30_000
	wanted := kmsg.NewCreateTopicsRequestTopic()
	wanted.Topic, wanted.NumPartitions, wanted.ReplicationFactor = topic, 1, 1
	request.Topics = append(request.Topics, wanted)
	response, err := request.RequestWith(t.Context(), client(t, addr))
	if err != nil {
		t.Fatal(err)
	}
	if code := response.Topics[0].ErrorCode; code != 0 {
		t.Fatalf("create topic: error %d", code)
	}
}

func produce(t *testing.T, addr, topic, value string) error {
	t.Helper()
	c := client(t, addr, kgo.RecordDeliveryTimeout(20*time.Second), kgo.UnknownTopicRetries(1))
	return c.ProduceSync(t.Context(), &kgo.Record{Topic: topic, Value: []byte(value)}).FirstErr()
}

func consumeOne(t *testing.T, addr, topic string) string {
	t.Helper()
	c := client(t, addr, kgo.ConsumeTopics(topic), kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()))
	for {
		fetches := c.PollFetches(t.Context())
		if err := fetches.Err(); err != nil {
			t.Fatal(err)
		}
		if records := fetches.Records(); len(records) > 0 {
			return string(records[0].Value)
		}
	}
}

func TestKafkaKeepsDataOverKill(t *testing.T) {
	o := servers.KafkaOptions{Options: servers.Options{Dir: t.TempDir()}}
	first := serverstest.StartKafka(t, o)
	createTopic(t, first.Addr(), "kept")
	if err := produce(t, first.Addr(), "kept", "open"); err != nil {
		t.Fatal(err)
	}
	if err := first.Kill(); err != nil {
		t.Fatal(err)
	}
	requireGone(t, first)

	second := serverstest.StartKafka(t, o)
	if got := consumeOne(t, second.Addr(), "kept"); got != "open" {
		t.Fatalf("after kill -9 the record is %q", got)
	}
	requireStops(t, second)
}

// TestKafkaShared runs on the shared broker what its configuration promises.
func TestKafkaShared(t *testing.T) {
	addr := serverstest.Kafka(t)
	if serverstest.Kafka(t) != addr {
		t.Fatal("the shared broker is not shared")
	}
	if err := produce(t, addr, serverstest.Name(t), "lost"); err == nil {
		t.Fatal("a topic that nobody made was accepted")
	}
	topic := serverstest.Name(t)
	createTopic(t, addr, topic)
	if err := produce(t, addr, topic, "open"); err != nil {
		t.Fatal(err)
	}
	// A session of one second is refused by a broker with default settings.
	group := client(t, addr, kgo.ConsumerGroup(topic), kgo.ConsumeTopics(topic),
		kgo.SessionTimeout(time.Second), kgo.HeartbeatInterval(200*time.Millisecond),
		kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()))
	for {
		fetches := group.PollFetches(t.Context())
		if err := fetches.Err(); err != nil {
			t.Fatal(err)
		}
		if len(fetches.Records()) > 0 {
			break
		}
	}
}

func TestBrokerServesUntilStopped(t *testing.T) {
	b := serverstest.StartBroker(t, servers.BrokerOptions{})
	createTopic(t, b.Addr(), "topic")
	if err := produce(t, b.Addr(), "topic", "open"); err != nil {
		t.Fatal(err)
	}
	if got := consumeOne(t, b.Addr(), "topic"); got != "open" {
		t.Fatalf("got %q", got)
	}
	if _, err := servers.StartBroker(t.Context(), servers.BrokerOptions{Port: b.Port()}); err == nil {
		t.Fatal("two brokers on one port")
	}
	if err := errors.Join(b.Stop(), b.Stop(), b.Kill()); err != nil {
		t.Fatal(err)
	}
	<-b.Done()
	if conn, err := net.Dial("tcp", b.Addr()); err == nil {
		_ = conn.Close()
		t.Fatal("the broker still listens")
	}
}
