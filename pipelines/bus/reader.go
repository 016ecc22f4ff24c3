package bus

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/segmentio/kafka-go"

	"settlewatch/pipelines/stage"
)

// Reader reads one partition. It is not safe for concurrent use: records of a
// batch share memory that the next Fetch overwrites.
type Reader struct {
	bus       *Bus
	topic     string
	partition int32
	maxBytes  int
	exchange  *fetchExchange
	aborted   []abortedTransaction
	decoder   decoder
}

var _ stage.Reader = (*Reader)(nil)

// Open returns a reader of one partition. It sends nothing: a topic that does not
// exist shows at the first Fetch.
func (b *Bus) Open(topic string, partition int32) (stage.Reader, error) {
	if topic == "" || partition < 0 {
		return nil, fmt.Errorf("open partition %d of topic %q: no such place", partition, topic)
	}
	return &Reader{bus: b, topic: topic, partition: partition, maxBytes: b.options.FetchBytes}, nil
}

// Fetch returns the committed records from offset on, at least one when one is
// there or comes within maxWait. Connections lost and leaders moved are retried
// up to Options.FetchTimeout.
func (r *Reader) Fetch(ctx context.Context, offset int64, maxWait time.Duration) (stage.Batch, error) {
	retry := retry{bus: r.bus, topic: r.topic, partition: r.partition, timeout: r.bus.options.FetchTimeout}
	for {
		batch, err := r.fetch(ctx, offset, maxWait)
		if err == nil {
			return batch, nil
		}
		if errors.Is(err, kafka.OffsetOutOfRange) {
			return stage.Batch{}, r.outOfRange(ctx, offset)
		}
		if err := retry.next(ctx, err); err != nil {
			return stage.Batch{}, fmt.Errorf("fetch %s/%d from offset %d: %w", r.topic, r.partition, offset, err)
		}
	}
}

func (r *Reader) fetch(ctx context.Context, offset int64, maxWait time.Duration) (stage.Batch, error) {
	for {
		reply, err := r.roundTrip(ctx, offset, maxWait)
		if err != nil {
			return stage.Batch{}, err
		}
		r.aborted = reply.aborted
		next, err := r.decoder.decode(reply.batches, offset, reply.aborted)
		if err != nil {
			return stage.Batch{}, err
		}
		if next == offset && len(reply.batches) > 0 {
			// Not even one whole batch. Brokers send the first one whole whatever its
			// size, but without that this reader would stand still for ever.
			if r.maxBytes *= 2; r.maxBytes > fetchBytesMax {
				return stage.Batch{}, fmt.Errorf("a batch of more than %d bytes: %w", fetchBytesMax, errUnsupported)
			}
			continue
		}
		return stage.Batch{
			Records:       r.decoder.records,
			Next:          next,
			HighWatermark: reply.lastStable,
			LogStart:      reply.logStart,
		}, nil
	}
}

func (r *Reader) roundTrip(ctx context.Context, offset int64, maxWait time.Duration) (fetchReply, error) {
	x := r.exchange
	// Until the reply is there, the connection's goroutine owns the exchange.
	r.exchange = nil
	if x == nil {
		x = &fetchExchange{topic: r.topic, partition: r.partition, clientID: r.bus.options.ClientID}
	}
	x.offset, x.maxBytes = offset, int32(r.maxBytes)
	x.maxWaitMs = int32(min(max(maxWait.Milliseconds(), 0), time.Hour.Milliseconds()))

	ctx, cancel := context.WithTimeout(ctx, maxWait+requestTimeout)
	defer cancel()
	if _, err := r.bus.transport.RoundTrip(ctx, r.bus.addr, x); err != nil {
		return fetchReply{}, err
	}
	r.exchange = x
	return x.reply(r.aborted)
}

func (r *Reader) outOfRange(ctx context.Context, offset int64) error {
	first, end, err := r.Bounds(ctx)
	if err != nil {
		return fmt.Errorf("fetch %s/%d from offset %d: %w; its bounds are unknown: %w",
			r.topic, r.partition, offset, stage.ErrOffsetOutOfRange, err)
	}
	return fmt.Errorf("fetch %s/%d from offset %d: %w: the log holds %d up to, not including, %d",
		r.topic, r.partition, offset, stage.ErrOffsetOutOfRange, first, end)
}

// Bounds are the first offset that exists and the one after the last that can be
// read.
func (r *Reader) Bounds(ctx context.Context) (first, end int64, err error) {
	return r.bus.Bounds(ctx, r.topic, r.partition)
}

// Close gives the reader's memory up. Connections belong to the Bus.
func (r *Reader) Close() error {
	r.exchange, r.decoder = nil, decoder{}
	return nil
}
