package bus

import (
	"encoding/binary"
	"fmt"
	"io"

	"github.com/segmentio/kafka-go"
	"github.com/segmentio/kafka-go/protocol"
)

// fetchVersion is the one version of the fetch request that is spoken: the
// highest that kafka-go negotiates, known to brokers since Kafka 2.3.
const fetchVersion = 11

// fetchExchange is a fetch of one partition that writes itself to the connection
// and leaves the reply as raw bytes: kafka-go's own response would copy every
// record into pages and hide the batch headers.
//
// Request, version 11 (strings have a length of 2 bytes, arrays a count of 4):
//
//	size 4 | api key 2 | version 2 | correlation 4 | client id |
//	replica 4 | max wait ms 4 | min bytes 4 | max bytes 4 | isolation 1 | session 4 | epoch 4 |
//	topics [ name, partitions [ partition 4 | leader epoch 4 | offset 8 | log start 8 | max bytes 4 ] ] |
//	forgotten topics [] | rack
//
// Reply:
//
//	size 4 | correlation 4 | throttle ms 4 | error 2 | session 4 |
//	topics [ name, partitions [ partition 4 | error 2 | high watermark 8 | last stable offset 8 |
//	log start 8 | aborted [ producer 8 | first offset 8 ] | preferred replica 4 | records: size 4, batches ] ]
//
// The exchange belongs to the connection's goroutine from the round trip on. When
// the round trip fails, by a cancelled context too, that goroutine may still be
// writing to it: it must then be dropped, never used again.
type fetchExchange struct {
	topic     string
	partition int32
	offset    int64
	maxWaitMs int32
	maxBytes  int32
	clientID  string

	version int16
	out     []byte
	in      []byte
}

var (
	_ protocol.BrokerMessage = (*fetchExchange)(nil)
	_ protocol.RawExchanger  = (*fetchExchange)(nil)
)

const correlationID = 1 // a connection carries one exchange at a time

func (x *fetchExchange) ApiKey() protocol.ApiKey { return protocol.Fetch } //nolint:revive // kafka-go's interface spells it so

// Broker is the partition's leader.
func (x *fetchExchange) Broker(cluster protocol.Cluster) (protocol.Broker, error) {
	topic, ok := cluster.Topics[x.topic]
	if !ok {
		return protocol.Broker{}, protocol.NewErrNoTopic(x.topic)
	}
	partition, ok := topic.Partitions[x.partition]
	if !ok {
		return protocol.Broker{}, protocol.NewErrNoPartition(x.topic, x.partition)
	}
	broker, ok := cluster.Brokers[partition.Leader]
	if !ok {
		return protocol.Broker{}, protocol.NewErrNoLeader(x.topic, x.partition)
	}
	return broker, nil
}

// Required is always true; it is the one call that tells the negotiated version.
func (x *fetchExchange) Required(versions map[protocol.ApiKey]int16) bool {
	x.version = versions[protocol.Fetch]
	return true
}

// RawExchange writes the request and reads the whole reply. An error closes the
// connection, so a reply that was read in part can never be taken for another's.
func (x *fetchExchange) RawExchange(rw io.ReadWriter) (protocol.Message, error) {
	if x.version < fetchVersion {
		return nil, fmt.Errorf("the broker speaks fetch version %d, needed is %d (Kafka 2.3 or later): %w",
			x.version, fetchVersion, errUnsupported)
	}
	x.request()
	if _, err := rw.Write(x.out); err != nil {
		return nil, fmt.Errorf("write fetch request: %w", err)
	}
	var size [4]byte
	if _, err := io.ReadFull(rw, size[:]); err != nil {
		return nil, fmt.Errorf("read fetch reply: %w", err)
	}
	n := int(int32(binary.BigEndian.Uint32(size[:])))
	if n < 0 || n > fetchBytesMax {
		return nil, fmt.Errorf("fetch reply of %d bytes, at most %d are read: %w", n, fetchBytesMax, errUnsupported)
	}
	if cap(x.in) < n {
		// Replies are bounded by the size that was asked for, so a little more than
		// the largest so far is soon enough for all.
		x.in = make([]byte, n+n/8)
	}
	x.in = x.in[:n]
	if _, err := io.ReadFull(rw, x.in); err != nil {
		return nil, fmt.Errorf("read fetch reply: %w", err)
	}
	return x, nil
}

func (x *fetchExchange) request() {
	const (
		minBytes      = 1
		readCommitted = 1
		none          = ^uint32(0) // -1: no replica, no session epoch, no leader epoch
	)
	be := binary.BigEndian
	b := append(x.out[:0], 0, 0, 0, 0)
	b = be.AppendUint16(b, uint16(protocol.Fetch))
	b = be.AppendUint16(b, fetchVersion)
	b = be.AppendUint32(b, correlationID)
	b = appendString(b, x.clientID)
	b = be.AppendUint32(b, none)
	b = be.AppendUint32(b, uint32(x.maxWaitMs))
	b = be.AppendUint32(b, minBytes)
	b = be.AppendUint32(b, uint32(x.maxBytes))
	b = append(b, readCommitted)
	b = be.AppendUint32(b, 0)
	b = be.AppendUint32(b, none)
	b = be.AppendUint32(b, 1)
	b = appendString(b, x.topic)
	b = be.AppendUint32(b, 1)
	b = be.AppendUint32(b, uint32(x.partition))
	b = be.AppendUint32(b, none)
	b = be.AppendUint64(b, uint64(x.offset))
	b = be.AppendUint64(b, ^uint64(0))
	b = be.AppendUint32(b, uint32(x.maxBytes))
	b = be.AppendUint32(b, 0)
	b = appendString(b, "")
	be.PutUint32(b, uint32(len(b)-4))
	x.out = b
}

func appendString(b []byte, s string) []byte {
	b = binary.BigEndian.AppendUint16(b, uint16(len(s)))
	return append(b, s...)
}

// fetchReply is what a reply says of the one partition that was asked for.
type fetchReply struct {
	highWatermark int64
	lastStable    int64
	logStart      int64
	aborted       []abortedTransaction
	batches       []byte
}

// reply reads the bytes that RawExchange left. batches points into them.
func (x *fetchExchange) reply(aborted []abortedTransaction) (fetchReply, error) {
	var r fetchReply
	w := wire{b: x.in}
	if id := w.int32(); id != correlationID {
		return r, fmt.Errorf("fetch reply has correlation id %d: %w", id, errCorrupt)
	}
	w.int32() // throttled for: the broker has waited already
	if code := w.int16(); code != 0 {
		return r, kafka.Error(code)
	}
	w.int32() // session
	if n := w.int32(); n == 0 && !w.bad {
		return r, protocol.NewErrNoTopic(x.topic)
	}
	w.string()
	if n := w.int32(); n == 0 && !w.bad {
		return r, protocol.NewErrNoPartition(x.topic, x.partition)
	}
	partition := w.int32()
	code := w.int16()
	r.highWatermark, r.lastStable, r.logStart = w.int64(), w.int64(), w.int64()
	r.aborted = aborted[:0]
	for n := w.int32(); n > 0 && !w.bad; n-- {
		r.aborted = append(r.aborted, abortedTransaction{producer: w.int64(), first: w.int64()})
	}
	w.int32() // preferred replica: none without a rack
	r.batches = w.bytes(int(w.int32()))
	if w.bad || partition != x.partition {
		return r, fmt.Errorf("fetch reply of %d bytes is cut off or not for partition %d: %w", len(x.in), x.partition, errCorrupt)
	}
	if code != 0 {
		return r, kafka.Error(code)
	}
	return r, nil
}

// wire reads fixed-size numbers; bad stays set after the first that does not fit.
type wire struct {
	b   []byte
	bad bool
}

func (w *wire) bytes(n int) []byte {
	if n < 0 { // null
		return nil
	}
	if n > len(w.b) {
		w.b, w.bad = nil, true
		return nil
	}
	v := w.b[:n]
	w.b = w.b[n:]
	return v
}

func (w *wire) int16() int16 {
	if b := w.bytes(2); b != nil {
		return int16(binary.BigEndian.Uint16(b))
	}
	return 0
}

func (w *wire) int32() int32 {
	if b := w.bytes(4); b != nil {
		return int32(binary.BigEndian.Uint32(b))
	}
	return 0
}

func (w *wire) int64() int64 {
	if b := w.bytes(8); b != nil {
		return int64(binary.BigEndian.Uint64(b))
	}
	return 0
}

func (w *wire) string() { w.bytes(int(w.int16())) }
