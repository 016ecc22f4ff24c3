// Package bus is Kafka, behind the interfaces of package stage.
//
// What enters: the addresses of a cluster, records to append, offsets to read
// from. What leaves: committed records in the order of their partition, the
// partitions that a consumer group assigns, typed errors.
//
// What it guarantees:
//   - Append has one request in flight per partition and keeps the order over
//     retries. A record may be repeated, never reordered, never dropped without
//     an error.
//   - A Reader never jumps: an offset that does not exist is
//     stage.ErrOffsetOutOfRange, not silently another one.
//   - A Reader shows the time of the log: the broker's where the topic uses
//     append time, which kafka-go's own readers hide.
//   - A Reader leaves out aborted transactions and control records, and its high
//     watermark is the last stable offset: it is reached when everything that
//     can be read has been read.
//   - A Group ends every assignment before it takes part in the next one.
//
// Files: batch.go, encode.go and lz4.go are the record batch on the wire, exchange.go
// the fetch request around it, reader.go and append.go the two ends of a
// partition, group.go the consumer group, topics.go what an installation
// creates, retry.go which failures pass by themselves.
package bus

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"strings"
	"sync"
	"time"

	"github.com/segmentio/kafka-go"
	"github.com/segmentio/kafka-go/sasl"

	"settlewatch/pipelines/stage"
)

// Options say how to reach a cluster.
type Options struct {
	// Brokers are host:port addresses of one or more brokers; one that answers
	// is enough.
	Brokers []string
	// ClientID names this process in the broker's logs and quotas. Defaults to
	// "settlewatch".
	ClientID string
	// TLS encrypts every connection. Nil means plain text.
	TLS *tls.Config
	// SASL authenticates every connection. Nil means no authentication.
	SASL sasl.Mechanism
	// WaitReady is how long Dial tries again when no broker answers. Zero tries
	// once.
	WaitReady time.Duration
	// AppendTimeout is how long one produce request is retried before Append
	// fails. Defaults to 60s.
	AppendTimeout time.Duration
	// FetchTimeout is how long a fetch is retried before it fails. Defaults to
	// 60s.
	FetchTimeout time.Duration
	// TopicTimeout is how long a topic or partition may be missing before that
	// is an error; a topic just created takes a moment to be known to every
	// broker. Defaults to 5s.
	TopicTimeout time.Duration
	// FetchBytes is the size of a fetch reply, as a hint to the broker. Defaults
	// to 1 MiB.
	FetchBytes int
	// Logger hears about failures that are retried. Nil means silence.
	Logger *slog.Logger
	// OnRetry, if set, is called before each pause of a request that is repeated.
	// It may be called from several goroutines at a time.
	OnRetry func(error)
}

const (
	// requestTimeout is what one request may take beyond the wait it asks for. A
	// broker that needs longer is treated as gone.
	requestTimeout = 15 * time.Second
	// produceTimeoutMs is how long the broker waits for its replicas; it is
	// below requestTimeout so that the broker's answer comes first.
	produceTimeoutMs = 10_000
	adminTimeout     = 30 * time.Second
	// fetchBytesMax bounds a reader's memory: a reply beyond it is an error.
	fetchBytesMax = 128 << 20
)

func (o *Options) setDefaults() error {
	if len(o.Brokers) == 0 {
		return errors.New("no broker address is configured")
	}
	for _, address := range o.Brokers {
		if _, _, err := net.SplitHostPort(address); err != nil {
			return fmt.Errorf("broker address %q is not host:port: %w", address, err)
		}
	}
	if o.ClientID == "" {
		o.ClientID = "settlewatch"
	}
	if o.AppendTimeout == 0 {
		o.AppendTimeout = time.Minute
	}
	if o.FetchTimeout == 0 {
		o.FetchTimeout = time.Minute
	}
	if o.TopicTimeout == 0 {
		o.TopicTimeout = 5 * time.Second
	}
	if o.FetchBytes == 0 {
		o.FetchBytes = 1 << 20
	}
	if o.FetchBytes < 0 || o.FetchBytes > fetchBytesMax {
		return fmt.Errorf("fetch size of %d bytes is not between 1 and %d", o.FetchBytes, fetchBytesMax)
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	return nil
}

// Bus is a connection to one cluster. It is safe for concurrent use.
type Bus struct {
	options   Options
	addr      net.Addr
	transport *kafka.Transport
	client    *kafka.Client
	log       *slog.Logger

	refreshing  sync.Mutex
	refreshedAt time.Time

	asker asker

	lanesMutex sync.Mutex
	lanes      map[partitionKey]*lane
}

type partitionKey struct {
	topic     string
	partition int32
}

var _ stage.Log = (*Bus)(nil)

// Dial connects and asks for the cluster's metadata, so that a wrong address, a
// wrong password or a wrong protocol is an error here and not later.
func Dial(ctx context.Context, options Options) (*Bus, error) {
	if err := options.setDefaults(); err != nil {
		return nil, fmt.Errorf("connect to Kafka: %w", err)
	}
	transport := &kafka.Transport{
		ClientID:    options.ClientID,
		TLS:         options.TLS,
		SASL:        options.SASL,
		DialTimeout: 5 * time.Second,
		IdleTimeout: 2 * time.Minute,
	}
	addr := kafka.TCP(options.Brokers...)
	b := &Bus{
		options:   options,
		addr:      addr,
		transport: transport,
		client:    &kafka.Client{Addr: addr, Transport: transport, Timeout: adminTimeout},
		log:       options.Logger,
		lanes:     map[partitionKey]*lane{},
	}
	if err := b.dial(ctx); err != nil {
		b.Close()
		return nil, err
	}
	return b, nil
}

func (b *Bus) dial(ctx context.Context) error {
	if b.options.WaitReady == 0 {
		return b.Ping(ctx)
	}
	ctx, cancel := context.WithTimeout(ctx, b.options.WaitReady)
	defer cancel()
	return b.WaitReady(ctx)
}

// Close gives up all connections. Readers and appends that are under way fail or
// finish; nothing new should be started.
func (b *Bus) Close() {
	b.asker.close()
	b.transport.CloseIdleConnections()
}

// Ping asks the cluster for its metadata over a connection of its own. The error
// names the addresses and what to check.
func (b *Bus) Ping(ctx context.Context) error {
	// The transport answers Metadata from a cache, which would tell of a broker
	// that is gone: a transport of its own has none.
	transport := &kafka.Transport{
		ClientID: b.options.ClientID, TLS: b.options.TLS, SASL: b.options.SASL,
		DialTimeout: 5 * time.Second,
	}
	defer transport.CloseIdleConnections()
	client := &kafka.Client{Addr: b.addr, Transport: transport, Timeout: requestTimeout}
	reply, err := client.Metadata(ctx, &kafka.MetadataRequest{})
	if err == nil && len(reply.Brokers) == 0 {
		err = kafka.BrokerNotAvailable
	}
	if err != nil {
		return b.unreachable(err)
	}
	return nil
}

// WaitReady waits until the cluster answers, or ctx ends. A failure that waiting
// does not mend, such as a wrong password, ends it at once.
func (b *Bus) WaitReady(ctx context.Context) error {
	retry := newBackoff()
	for {
		err := b.Ping(ctx)
		if err == nil || final(err) || errors.Is(err, ErrRefused) {
			return err
		}
		b.log.Warn("waiting for Kafka", "brokers", b.options.Brokers, "error", err)
		if !retry.sleep(ctx) {
			return err
		}
	}
}

// tlsAlert is what crypto/tls calls an answer of the other side that ends a handshake.
const tlsAlert = "remote error"

func (b *Bus) unreachable(err error) error {
	var hint string
	var certificate *tls.CertificateVerificationError
	var alert *net.OpError
	switch {
	case errors.Is(err, kafka.SASLAuthenticationFailed), errors.Is(err, kafka.UnsupportedSASLMechanism):
		hint = "check the user, its password and the SASL mechanism that this listener accepts"
		err = fmt.Errorf("%w: %w", ErrRefused, err)
	case errors.As(err, &certificate):
		hint = "check the certificate authority and the server name of the TLS settings"
		err = fmt.Errorf("%w: %w", ErrRefused, err)
	case errors.As(err, &alert) && alert.Op == tlsAlert:
		hint = "the listener refuses the TLS handshake: check whether it asks for a client certificate, and which"
		err = fmt.Errorf("%w: %w", ErrRefused, err)
	case b.options.TLS == nil:
		hint = "check that the addresses can be reached from here and that the listener speaks plain text"
	default:
		hint = "check that the addresses can be reached from here, that the listener speaks TLS " +
			"and that its certificate is for these names"
	}
	return fmt.Errorf("connect to Kafka at %s: %w (%s)", strings.Join(b.options.Brokers, ", "), err, hint)
}

// refresh makes the next request ask for the cluster's metadata again, as leaders
// may have moved. Many readers can fail at the same moment: one refresh serves
// them all.
func (b *Bus) refresh() {
	b.refreshing.Lock()
	defer b.refreshing.Unlock()
	if now := time.Now(); now.Sub(b.refreshedAt) > backoffMin {
		b.transport.CloseIdleConnections()
		b.refreshedAt = now
	}
}

// ErrNoTopic is a topic that is not there, and has not been for Options.TopicTimeout.
var ErrNoTopic = errors.New("the topic does not exist")

// Partitions of a topic as a broker knows them now; ErrNoTopic where it is missing.
func (b *Bus) Partitions(ctx context.Context, topic string) (int, error) {
	retry := b.newRetry(topic, 0, b.options.FetchTimeout)
	for {
		n, err := b.partitionsOnce(ctx, topic)
		if err == nil {
			return n, nil
		}
		if err := retry.next(ctx, err); err != nil {
			if errors.Is(err, kafka.UnknownTopicOrPartition) {
				err = fmt.Errorf("%w: %w", ErrNoTopic, err)
			}
			return 0, fmt.Errorf("count partitions of %s: %w", topic, err)
		}
	}
}

func (b *Bus) partitionsOnce(ctx context.Context, topic string) (int, error) {
	reply, err := b.client.Metadata(ctx, &kafka.MetadataRequest{Topics: []string{topic}})
	if err != nil {
		return 0, err
	}
	// What the cache lacks may be missing: a broker that makes topics on demand must
	// not be asked about it.
	if err := reply.Topics[0].Error; err != nil {
		return 0, err
	}
	return b.asker.partitions(ctx, &b.options, topic)
}

// Bounds are the first offset of a partition that exists and the one after the
// last that can be read (the last stable offset).
func (b *Bus) Bounds(ctx context.Context, topic string, partition int32) (first, end int64, err error) {
	retry := b.newRetry(topic, partition, b.options.FetchTimeout)
	for {
		first, end, err = b.boundsOnce(ctx, topic, partition)
		if err == nil {
			return first, end, nil
		}
		if err := retry.next(ctx, err); err != nil {
			return 0, 0, fmt.Errorf("list offsets of %s/%d: %w", topic, partition, err)
		}
	}
}

func (b *Bus) boundsOnce(ctx context.Context, topic string, partition int32) (first, end int64, err error) {
	reply, err := b.client.ListOffsets(ctx, &kafka.ListOffsetsRequest{
		Topics: map[string][]kafka.OffsetRequest{
			topic: {kafka.FirstOffsetOf(int(partition)), kafka.LastOffsetOf(int(partition))},
		},
		IsolationLevel: kafka.ReadCommitted,
	})
	if err != nil {
		return 0, 0, err
	}
	for _, p := range reply.Topics[topic] {
		if p.Partition != int(partition) {
			continue
		}
		// The reply as a whole succeeds when one of its halves did.
		if p.Error != nil {
			return 0, 0, p.Error
		}
		if p.FirstOffset < 0 || p.LastOffset < 0 {
			return 0, 0, kafka.LeaderNotAvailable
		}
		return p.FirstOffset, p.LastOffset, nil
	}
	return 0, 0, kafka.UnknownTopicOrPartition
}
