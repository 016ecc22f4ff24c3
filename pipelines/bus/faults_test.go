package bus

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/segmentio/kafka-go"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kmsg"

	"settlewatch/pipelines/stage"
)

// lossy is a listener whose connections close, instead of sending their next
// reply, once lose was set.
type lossy struct {
	net.Listener
	lose *atomic.Bool
}

func (l lossy) Accept() (net.Conn, error) {
	conn, err := l.Listener.Accept()
	return lossyConn{conn, l.lose}, err
}

type lossyConn struct {
	net.Conn
	lose *atomic.Bool
}

func (c lossyConn) Write(p []byte) (int, error) {
	if c.lose.CompareAndSwap(true, false) {
		c.Conn.Close()
		return 0, net.ErrClosed
	}
	return c.Conn.Write(p)
}

// TestAppendKeepsOrderOverFaults loses every third reply after the records were
// written and refuses every fourth request.
func TestAppendKeepsOrderOverFaults(t *testing.T) {
	var lose atomic.Bool
	cluster := fakeCluster(t, kfake.ListenFn(func(network, address string) (net.Listener, error) {
		l, err := net.Listen(network, address)
		return lossy{l, &lose}, err
	}))
	b := dialTest(t, cluster.ListenAddrs()...)
	name := makeTopic(t, b)
	var requests int
	cluster.ControlKey(int16(kmsg.Produce), func(request kmsg.Request) (kmsg.Response, error, bool) {
		cluster.KeepControl()
		switch requests++; {
		case requests%4 == 0:
			reply := request.ResponseKind().(*kmsg.ProduceResponse)
			topic := kmsg.NewProduceResponseTopic()
			topic.Topic = name
			partition := kmsg.NewProduceResponseTopicPartition()
			partition.ErrorCode = kerr.NotLeaderForPartition.Code
			topic.Partitions = append(topic.Partitions, partition)
			reply.Topics = append(reply.Topics, topic)
			return reply, nil, true
		case requests%3 == 0:
			lose.Store(true)
		}
		return nil, nil, false
	})
	const appends, each = 12, 3
	for i := range appends {
		var records []stage.Record
		for j := range each {
			records = append(records, stage.Record{Value: strconv.AppendInt(nil, int64(i*each+j), 10)})
		}
		if err := b.Append(t.Context(), stage.Outgoing{Topic: name, Partition: 0, Records: records}); err != nil {
			t.Fatal(err)
		}
	}
	_, end, err := b.Bounds(t.Context(), name, 0)
	if err != nil {
		t.Fatal(err)
	}
	if end == appends*each {
		t.Fatal("no reply was lost: the test shows nothing")
	}
	next := 0
	for _, r := range readTo(t, b, name, end) {
		v, err := strconv.Atoi(string(r.Value))
		if err != nil || v > next {
			t.Fatalf("offset %d holds %q before %d", r.Offset, r.Value, next)
		}
		if v == next {
			next++
		}
	}
	if next != appends*each {
		t.Errorf("%d of %d values came", next, appends*each)
	}
}

func TestAppendGivesUp(t *testing.T) {
	cluster := fakeCluster(t)
	b, err := Dial(t.Context(), Options{Brokers: cluster.ListenAddrs(), AppendTimeout: 100 * time.Millisecond})
	if err != nil {
		t.Fatal(err)
	}
	defer b.Close()
	name := makeTopic(t, b)
	cluster.Close()
	err = b.Append(t.Context(), stage.Outgoing{Topic: name, Partition: 0, Records: sample(1)})
	if err == nil || !strings.Contains(err.Error(), "gave up after") || !strings.Contains(err.Error(), "0 acknowledged") {
		t.Errorf("append without a broker returned %v", err)
	}
}

func TestAppendSplitsAndRefuses(t *testing.T) {
	onClusters(t, func(t *testing.T, b *Bus) {
		name := makeTopic(t, b, kafka.ConfigEntry{ConfigName: "max.message.bytes", ConfigValue: "10000"})
		records := noise(50, 1000)
		records[37] = noise(1, 20_000)[0]
		err := b.Append(t.Context(), stage.Outgoing{Topic: name, Partition: 0, Records: records})
		var large *RecordTooLargeError
		if !errors.As(err, &large) || large.Index != 37 || large.Bytes < 20_000 {
			t.Fatalf("append with a record of 20 kB returned %v (%+v)", err, large)
		}
		// Those before it are in the log, in order.
		got := readTo(t, b, name, 37)
		for i, r := range got {
			if string(r.Value) != string(records[i].Value) {
				t.Errorf("record %d differs", i)
			}
		}
		if len(got) != 37 {
			t.Errorf("%d records are in the log, want 37", len(got))
		}
	})
}

// noise does not compress.
func noise(n, size int) []stage.Record {
	records := make([]stage.Record, n)
	state := uint32(size)
	for i := range records {
		value := make([]byte, size)
		for j := range value {
			state = state*1664525 + 1013904223
			value[j] = byte(state >> 24)
		}
		records[i].Value = value
	}
	return records
}

// TestLeaderMoves reads and appends while the leader changes under both.
func TestLeaderMoves(t *testing.T) {
	cluster, err := kfake.NewCluster(kfake.NumBrokers(3), kfake.SleepOutOfOrder())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(cluster.Close)
	b := dialTest(t, cluster.ListenAddrs()...)
	name := makeTopic(t, b)
	reader, err := b.Open(name, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer reader.Close()
	for i := range int64(6) {
		if err := cluster.MoveTopicPartition(name, 0, int32(i%3)); err != nil {
			t.Fatal(err)
		}
		record := stage.Record{Value: fmt.Appendf(nil, "value %d", i)}
		if i%2 == 0 { // either side may meet the new leader first
			if _, err := reader.Fetch(t.Context(), i, 0); err != nil {
				t.Fatal(err)
			}
		}
		if err := b.Append(t.Context(), stage.Outgoing{Topic: name, Partition: 0, Records: []stage.Record{record}}); err != nil {
			t.Fatal(err)
		}
		batch, err := reader.Fetch(t.Context(), i, 5*time.Second)
		if err != nil || len(batch.Records) != 1 || string(batch.Records[0].Value) != string(record.Value) {
			t.Fatalf("fetch %d after a move: %+v, %v", i, batch, err)
		}
	}
}

// TestReaderAllocatesLittle counts what a fetch of many records allocates: the
// round trip, and nothing per record.
func TestReaderAllocatesLittle(t *testing.T) {
	b := dialTest(t, fakeCluster(t).ListenAddrs()...)
	name := makeTopic(t, b)
	const n = 3000
	if err := b.Append(t.Context(), stage.Outgoing{Topic: name, Partition: 0, Records: sample(n)}); err != nil {
		t.Fatal(err)
	}
	x := &fetchExchange{topic: name, clientID: "test", maxBytes: 4 << 20}
	if _, err := b.transport.RoundTrip(t.Context(), b.addr, x); err != nil {
		t.Fatal(err)
	}
	var d decoder
	decodeReply := func() {
		reply, err := x.reply(nil)
		if err == nil {
			_, err = d.decode(reply.batches, 0, nil)
		}
		if err != nil || len(d.records) != n {
			t.Fatalf("%d records, %v", len(d.records), err)
		}
	}
	decodeReply()
	// The codec's reader, not the records: a few for 3,000.
	if allocs := testing.AllocsPerRun(20, decodeReply); allocs > 10 {
		t.Errorf("decoding %d records allocates %.0f times", n, allocs)
	}
}

func BenchmarkFetch(b *testing.B) {
	bus := dialTest(b, fakeCluster(b).ListenAddrs()...)
	name := makeTopic(b, bus)
	const n = 9000
	if err := bus.Append(b.Context(), stage.Outgoing{Topic: name, Partition: 0, Records: sample(n)}); err != nil {
		b.Fatal(err)
	}
	reader, err := bus.Open(name, 0)
	if err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	records := 0
	for b.Loop() {
		for offset := int64(0); offset < n; {
			batch, err := reader.Fetch(b.Context(), offset, time.Second)
			if err != nil {
				b.Fatal(err)
			}
			offset = batch.Next
			records += len(batch.Records)
		}
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(records), "ns/record")
}

func BenchmarkAppend(b *testing.B) {
	bus := dialTest(b, fakeCluster(b).ListenAddrs()...)
	name := makeTopic(b, bus)
	records := sample(3000)
	b.ReportAllocs()
	for b.Loop() {
		if err := bus.Append(b.Context(), stage.Outgoing{Topic: name, Partition: 0, Records: records}); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N*len(records)), "ns/record")
}

// TestFailedRoundTripGivesUpItsMemory: the connection's goroutine may still be
// using what a cancelled request was made of.
func TestFailedRoundTripGivesUpItsMemory(t *testing.T) {
	b := dialTest(t, fakeCluster(t).ListenAddrs()...)
	name := makeTopic(t, b)
	r := &Reader{bus: b, topic: name, maxBytes: 1 << 20}
	if _, err := r.roundTrip(t.Context(), 0, 0); err != nil || r.exchange == nil {
		t.Fatalf("exchange %v, %v", r.exchange, err)
	}
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := r.roundTrip(ended, 0, time.Minute); err == nil || r.exchange != nil {
		t.Errorf("after a cancelled fetch (%v) the exchange is kept", err)
	}

	l := b.lane(name, 0)
	if err := b.produce(t.Context(), l, name, 0, sample(1)); err != nil || l.body == nil {
		t.Fatalf("body %v, %v", l.body, err)
	}
	// The reply may win against the ended context; what is kept must tell.
	for range 50 {
		if err := b.produce(ended, l, name, 0, sample(1)); (err == nil) != (l.body != nil) {
			t.Fatalf("produce returned %v, body kept: %t", err, l.body != nil)
		}
	}
}
