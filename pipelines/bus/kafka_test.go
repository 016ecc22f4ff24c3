package bus

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/segmentio/kafka-go"
	"github.com/segmentio/kafka-go/protocol"
	"github.com/twmb/franz-go/pkg/kfake"

	"settlewatch/pipelines/servers/serverstest"
	"settlewatch/pipelines/stage"
)

// onClusters runs a test on the in-process broker and on Apache Kafka.
func onClusters(t *testing.T, test func(t *testing.T, b *Bus)) {
	t.Run("kfake", func(t *testing.T) { test(t, dialTest(t, fakeCluster(t).ListenAddrs()...)) })
	t.Run("kafka", func(t *testing.T) { test(t, dialTest(t, serverstest.Kafka(t))) })
}

func fakeCluster(t testing.TB, options ...kfake.Opt) *kfake.Cluster {
	t.Helper()
	cluster, err := kfake.NewCluster(append(options, kfake.NumBrokers(1), kfake.SleepOutOfOrder())...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(cluster.Close)
	return cluster
}

func dialTest(t testing.TB, brokers ...string) *Bus {
	t.Helper()
	b, err := Dial(t.Context(), Options{Brokers: brokers, AppendTimeout: 30 * time.Second})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(b.Close)
	return b
}

// makeTopic makes a topic of one partition with settings.
func makeTopic(t testing.TB, b *Bus, settings ...kafka.ConfigEntry) string {
	t.Helper()
	name := serverstest.Name(t)
	reply, err := b.client.CreateTopics(t.Context(), &kafka.CreateTopicsRequest{Topics: []kafka.TopicConfig{{
		Topic: name, NumPartitions: 1, ReplicationFactor: 1, ConfigEntries: settings,
	}}})
	if err == nil {
		err = reply.Errors[name]
	}
	if err != nil {
		t.Fatal(err)
	}
	return name
}

// readTo reads from offset 0 until the high watermark is at least end.
func readTo(t testing.TB, b *Bus, topic string, end int64) []stage.Record {
	t.Helper()
	reader, err := b.Open(topic, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer reader.Close()
	var all []stage.Record
	for offset := int64(0); offset < end; {
		batch, err := reader.Fetch(t.Context(), offset, 5*time.Second)
		if err != nil {
			t.Fatal(err)
		}
		for _, r := range batch.Records {
			r.Key, r.Value = slices.Clone(r.Key), slices.Clone(r.Value)
			r.Headers = slices.Clone(r.Headers)
			for i := range r.Headers {
				r.Headers[i].Value = slices.Clone(r.Headers[i].Value)
			}
			all = append(all, r)
		}
		offset = batch.Next
	}
	return all
}

// TestReadsLikeKafkaGo writes with kafka-go's writer and compares with kafka-go's
// reader.
func TestReadsLikeKafkaGo(t *testing.T) {
	onClusters(t, func(t *testing.T, b *Bus) {
		for _, codec := range codecs {
			name := makeTopic(t, b)
			writer := kafka.Writer{
				Addr: b.addr, Topic: name, Transport: b.transport, RequiredAcks: kafka.RequireAll,
				Compression: codec, BatchSize: 70, BatchTimeout: time.Millisecond,
			}
			var messages []kafka.Message
			for _, r := range sample(200) {
				m := kafka.Message{Key: r.Key, Value: r.Value, Time: time.UnixMilli(r.TimeMs)}
				for _, h := range r.Headers {
					m.Headers = append(m.Headers, kafka.Header{Key: h.Key, Value: h.Value})
				}
				messages = append(messages, m)
			}
			if err := writer.WriteMessages(t.Context(), messages...); err != nil {
				t.Fatal(err)
			}
			if err := writer.Close(); err != nil {
				t.Error(err)
			}

			reader := kafka.NewReader(kafka.ReaderConfig{
				Brokers: b.options.Brokers, Topic: name, MaxWait: 100 * time.Millisecond, MinBytes: 1, MaxBytes: 1 << 20,
			})
			for i, got := range readTo(t, b, name, 200) {
				want, err := reader.ReadMessage(t.Context())
				if err != nil {
					t.Fatal(err)
				}
				if string(got.Key) != string(want.Key) || string(got.Value) != string(want.Value) ||
					got.TimeMs != want.Time.UnixMilli() || got.Offset != want.Offset || len(got.Headers) != len(want.Headers) {
					t.Fatalf("%s: record %d is %+v, kafka-go reads %+v", codec, i, got, want)
				}
				for j, h := range want.Headers {
					if got.Headers[j].Key != h.Key || string(got.Headers[j].Value) != string(h.Value) {
						t.Errorf("%s: header %d of record %d is %+v, kafka-go reads %+v", codec, j, i, got.Headers[j], h)
					}
				}
			}
			if err := reader.Close(); err != nil {
				t.Error(err)
			}
		}
	})
}

// TestAppendTimeOfTheBroker needs the real thing: the in-process broker never
// stamps its own time.
func TestAppendTimeOfTheBroker(t *testing.T) {
	b := dialTest(t, serverstest.Kafka(t))
	name := makeTopic(t, b, kafka.ConfigEntry{ConfigName: "message.timestamp.type", ConfigValue: "LogAppendTime"})
	before := time.Now().UnixMilli()
	if err := b.Append(t.Context(), stage.Outgoing{Topic: name, Partition: 0, Records: sample(3)}); err != nil { // their times are of 2023
		t.Fatal(err)
	}
	after := time.Now().UnixMilli()
	for _, r := range readTo(t, b, name, 3) {
		if r.TimeMs < before || r.TimeMs > after {
			t.Errorf("time of offset %d is %d, not between %d and %d", r.Offset, r.TimeMs, before, after)
		}
	}
}

// TestFutureTimeIsRefused: the broker holds the bound that the frontier rests on.
func TestFutureTimeIsRefused(t *testing.T) {
	b := dialTest(t, serverstest.Kafka(t))
	name := makeTopic(t, b, kafka.ConfigEntry{ConfigName: "message.timestamp.after.max.ms", ConfigValue: "60000"})
	err := b.Append(t.Context(), stage.Outgoing{Topic: name, Partition: 0, Records: []stage.Record{{Value: []byte("v"), TimeMs: time.Now().Add(time.Hour).UnixMilli()}}})
	if !errors.Is(err, kafka.InvalidTimestamp) || !errors.Is(err, stage.ErrTimeAhead) {
		t.Errorf("a record an hour ahead: %v", err)
	}
}

// Whose clock is wrong: this machine's, or that of who wrote the record.
func TestTimeAheadNamesTheClock(t *testing.T) {
	now := time.Date(2026, 3, 2, 10, 0, 0, 0, time.UTC)
	for want, newest := range map[string]time.Time{
		"the clock of this machine is ahead of the broker's by more than message.timestamp.after.max.ms of payment-log.v1: set the clock (NTP)": now,
		"payment-log.v1/2 is of 2026-03-02T10:10:00Z, which this machine's clock has not reached":                                               now.Add(10 * time.Minute),
	} {
		records := []stage.Record{{TimeMs: newest.UnixMilli()}, {TimeMs: now.Add(-time.Hour).UnixMilli()}}
		err := timeAhead("payment-log.v1", 2, records, now, kafka.InvalidTimestamp)
		if !errors.Is(err, stage.ErrTimeAhead) || !strings.Contains(err.Error(), want) {
			t.Errorf("%v, want %q", err, want)
		}
	}
}

func TestReadsOnlyWhatIsCommitted(t *testing.T) {
	onClusters(t, func(t *testing.T, b *Bus) {
		name := makeTopic(t, b)
		one, other := newTransactions(t, b, name, "one"), newTransactions(t, b, name, "other")

		mustAppendValues(t, b, name, "plain-0")          // 0
		one.write(t, "aborted-1", "aborted-2")           // 1, 2
		other.write(t, "committed-3")                    // 3
		mustAppendValues(t, b, name, "plain-4")          // 4
		one.end(t, false)                                // 5
		other.end(t, true)                               // 6
		one.write(t, "committed-7")                      // 7
		one.end(t, true)                                 // 8
		mustAppendValues(t, b, name, "plain-9")          // 9
		awaitEnd(t, b, name, 10)                         // markers are written behind the reply
		other.write(t, "open-10")                        // 10
		mustAppendValues(t, b, name, "behind an open 1") // 11

		reader, err := b.Open(name, 0)
		if err != nil {
			t.Fatal(err)
		}
		var values []string
		offset := int64(0)
		for offset < 10 {
			batch, err := reader.Fetch(t.Context(), offset, time.Second)
			if err != nil {
				t.Fatal(err)
			}
			if batch.HighWatermark != 10 {
				t.Fatalf("high watermark is %d, the last stable offset is 10", batch.HighWatermark)
			}
			for _, r := range batch.Records {
				values = append(values, string(r.Value))
			}
			offset = batch.Next
		}
		if want := []string{"plain-0", "committed-3", "plain-4", "committed-7", "plain-9"}; !reflect.DeepEqual(values, want) {
			t.Errorf("read %q, want %q", values, want)
		}
		if first, end, err := reader.Bounds(t.Context()); first != 0 || end != 10 || err != nil {
			t.Errorf("bounds %d, %d, %v", first, end, err)
		}
		batch, err := reader.Fetch(t.Context(), 10, 10*time.Millisecond)
		if err != nil || len(batch.Records) != 0 || batch.Next != 10 {
			t.Errorf("behind the last stable offset: %+v, %v", batch, err)
		}
		other.end(t, true)
		awaitEnd(t, b, name, 13)
		if got := readTo(t, b, name, 13); len(got) != 7 {
			t.Errorf("%d records after the last commit, want 7", len(got))
		}
	})
}

func mustAppendValues(t *testing.T, b *Bus, topic string, values ...string) {
	t.Helper()
	var records []stage.Record
	for _, v := range values {
		records = append(records, stage.Record{Value: []byte(v), TimeMs: 1_700_000_000_000})
	}
	if err := b.Append(t.Context(), stage.Outgoing{Topic: topic, Partition: 0, Records: records}); err != nil {
		t.Fatal(err)
	}
}

func awaitEnd(t *testing.T, b *Bus, topic string, want int64) {
	t.Helper()
	retryUntil(t, func(ctx context.Context) error {
		_, end, err := b.Bounds(ctx, topic, 0)
		if err == nil && end != want {
			err = fmt.Errorf("the log ends at %d, want %d", end, want)
		}
		return err
	})
}

func retryUntil(t *testing.T, try func(ctx context.Context) error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	for pause := newBackoff(); ; {
		err := try(ctx)
		if err == nil {
			return
		}
		if !pause.sleep(ctx) {
			t.Fatal(err)
		}
	}
}

// transactions is a transactional producer, of which the product has none.
type transactions struct {
	b        *Bus
	topic    string
	id       string
	session  kafka.ProducerSession
	sequence int
}

func newTransactions(t *testing.T, b *Bus, topic, id string) *transactions {
	x := &transactions{b: b, topic: topic, id: topic + "-" + id}
	retryUntil(t, func(ctx context.Context) error { // the coordinator of a new cluster takes a while
		reply, err := b.client.InitProducerID(ctx, &kafka.InitProducerIDRequest{
			TransactionalID: x.id, TransactionTimeoutMs: 60_000, ProducerID: -1, ProducerEpoch: -1,
		})
		if err == nil {
			err = reply.Error
		}
		if err == nil {
			x.session = *reply.Producer
		}
		return err
	})
	return x
}

func (x *transactions) write(t *testing.T, values ...string) {
	t.Helper()
	retryUntil(t, func(ctx context.Context) error { // the last transaction's marker may be on its way
		reply, err := x.b.client.AddPartitionsToTxn(ctx, &kafka.AddPartitionsToTxnRequest{
			TransactionalID: x.id, ProducerID: x.session.ProducerID, ProducerEpoch: x.session.ProducerEpoch,
			Topics: map[string][]kafka.AddPartitionToTxn{x.topic: {{Partition: 0}}},
		})
		if err == nil {
			err = reply.Topics[x.topic][0].Error
		}
		return err
	})
	var records []stage.Record
	for _, v := range values {
		records = append(records, stage.Record{Value: []byte(v), TimeMs: 1_700_000_000_000})
	}
	var e encoder
	body, err := e.encode(records)
	if err != nil {
		t.Fatal(err)
	}
	batch := edit(body[sizePrefixBytes:], func(b []byte) {
		b[batchAttributesAt+1] |= transactionBit
		putProducer(b, x.session, x.sequence)
	})
	x.sequence += len(values)
	reply, err := x.b.client.RawProduce(t.Context(), &kafka.RawProduceRequest{
		Topic: x.topic, Partition: 0, RequiredAcks: kafka.RequireAll, TransactionalID: x.id,
		RawRecords: protocol.RawRecordSet{Reader: sized(batch)},
	})
	if err == nil {
		err = reply.Error
	}
	if err != nil {
		t.Fatal(err)
	}
}

func (x *transactions) end(t *testing.T, commit bool) {
	t.Helper()
	retryUntil(t, func(ctx context.Context) error {
		reply, err := x.b.client.EndTxn(ctx, &kafka.EndTxnRequest{
			TransactionalID: x.id, ProducerID: x.session.ProducerID, ProducerEpoch: x.session.ProducerEpoch, Committed: commit,
		})
		if err == nil {
			err = reply.Error
		}
		return err
	})
}

func putProducer(b []byte, s kafka.ProducerSession, sequence int) {
	binary.BigEndian.PutUint64(b[batchProducerAt:], uint64(s.ProducerID))
	binary.BigEndian.PutUint16(b[batchEpochAt:], uint16(s.ProducerEpoch))
	binary.BigEndian.PutUint32(b[batchSequenceAt:], uint32(sequence))
}

func sized(batch []byte) io.Reader {
	return bytes.NewReader(append(binary.BigEndian.AppendUint32(nil, uint32(len(batch))), batch...))
}
