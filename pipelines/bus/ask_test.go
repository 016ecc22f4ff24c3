package bus_test

import (
	"testing"
	"time"

	"github.com/segmentio/kafka-go"

	"settlewatch/pipelines/bus"
	"settlewatch/pipelines/servers/serverstest"
)

func TestPartitionsAreThoseOfNowOnKfake(t *testing.T) {
	partitionsNow(t, startKfake(t, 1).ListenAddrs())
}

func TestPartitionsAreThoseOfNowOnKafka(t *testing.T) {
	partitionsNow(t, []string{serverstest.Kafka(t)})
}

// A partition is counted as soon as a record lies in it, which a mark must not pass.
// The cache of the client library would hide it for seconds.
func partitionsNow(t *testing.T, brokers []string) {
	b := dial(t, bus.Options{Brokers: brokers})
	name := createTopic(t, b, 1)
	admin := &kafka.Client{Addr: kafka.TCP(brokers...)}
	for want := 1; want < 8; want++ {
		if n, err := b.Partitions(t.Context(), name); err != nil || n != want {
			t.Fatalf("%d partitions, %v, want %d", n, err, want)
		}
		_, err := admin.CreatePartitions(t.Context(), &kafka.CreatePartitionsRequest{
			Topics: []kafka.TopicPartitionsConfig{{Name: name, Count: int32(want + 1)}},
		})
		if err != nil {
			t.Fatal(err)
		}
		write(t, brokers[0], name, want)
	}
}

// write a record to a partition that was made a moment ago: it may take another
// moment to be known.
func write(t *testing.T, broker, topic string, partition int) {
	t.Helper()
	for end := time.Now().Add(time.Minute); ; {
		leader, err := kafka.DialLeader(t.Context(), "tcp", broker, topic, partition)
		if err == nil {
			_, err = leader.WriteMessages(kafka.Message{Value: []byte("a")})
			_ = leader.Close()
		}
		if err == nil {
			return
		}
		if time.Now().After(end) {
			t.Fatal(err)
		}
	}
}
