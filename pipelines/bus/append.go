package bus

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/segmentio/kafka-go"
	"github.com/segmentio/kafka-go/protocol"
	"github.com/segmentio/kafka-go/protocol/produce"
	"github.com/segmentio/kafka-go/protocol/rawproduce"
	"golang.org/x/sync/errgroup"

	"settlewatch/pipelines/stage"
)

// appendBytesMax bounds one produce request, before compression: below Kafka's
// default limit of 1 MiB for a batch, and above what a partition of four gets of a
// fetch of 1 MiB, or each would go in two.
const appendBytesMax = 1_000_000

// RecordTooLargeError is a record that the broker refuses for its size, alone in
// its batch. Appending it again cannot succeed.
type RecordTooLargeError struct {
	Topic     string
	Partition int32
	// Index of the record among those given to Append.
	Index int
	// Bytes of its key, value and headers.
	Bytes int
	Err   error
}

func (e *RecordTooLargeError) Error() string {
	return fmt.Sprintf("record %d of %d bytes is larger than max.message.bytes of topic %s", e.Index, e.Bytes, e.Topic)
}

func (e *RecordTooLargeError) Unwrap() error { return e.Err }

// lane is the way to one partition: who holds turn has the one request in flight.
type lane struct {
	turn chan struct{}
	body *requestBody
}

// requestBody is the memory of one request. A connection may still be reading it
// after a failed round trip, so it is used again only after a successful one.
type requestBody struct {
	encoder encoder
	reader  bytes.Reader
}

func (b *Bus) lane(topic string, partition int32) *lane {
	b.lanesMutex.Lock()
	defer b.lanesMutex.Unlock()
	key := partitionKey{topic, partition}
	l := b.lanes[key]
	if l == nil {
		l = &lane{turn: make(chan struct{}, 1)}
		b.lanes[key] = l
	}
	return l
}

// Append writes the records of each partition in order, lz4-compressed, and
// returns when all in-sync replicas have them. To one partition it sends one
// request at a time and repeats it, unchanged, until it is acknowledged or
// Options.AppendTimeout has passed: a lost reply repeats records, and nothing
// overtakes. Partitions go side by side; the first that fails ends the others.
// After an error, the records before a failed request are in the log and those of
// the failed one may be.
func (b *Bus) Append(ctx context.Context, batches ...stage.Outgoing) error {
	if len(batches) == 1 {
		return b.appendTo(ctx, batches[0].Topic, batches[0].Partition, batches[0].Records)
	}
	for i := range batches {
		for j := range i {
			if batches[i].Partition == batches[j].Partition && batches[i].Topic == batches[j].Topic {
				return fmt.Errorf("append to %s/%d: named twice", batches[i].Topic, batches[i].Partition)
			}
		}
	}
	g, ctx := errgroup.WithContext(ctx)
	for _, o := range batches {
		g.Go(func() error { return b.appendTo(ctx, o.Topic, o.Partition, o.Records) })
	}
	return g.Wait()
}

func (b *Bus) appendTo(ctx context.Context, topic string, partition int32, records []stage.Record) error {
	if len(records) == 0 {
		return nil
	}
	l := b.lane(topic, partition)
	select {
	case l.turn <- struct{}{}:
		defer func() { <-l.turn }()
	case <-ctx.Done():
		return fmt.Errorf("append to %s/%d: %w", topic, partition, context.Cause(ctx))
	}
	for done := 0; done < len(records); {
		n := fitting(records[done:])
		written, err := b.appendSome(ctx, l, topic, partition, records[done:done+n])
		done += written
		if err != nil {
			var large *RecordTooLargeError
			if errors.As(err, &large) {
				large.Index = done
			}
			return fmt.Errorf("append %d records to %s/%d: %d acknowledged: %w", len(records), topic, partition, done, err)
		}
	}
	return nil
}

// fitting is how many of the first records go into one request; at least one.
func fitting(records []stage.Record) int {
	total := batchHeaderBytes
	for i := range records {
		total += recordBytesMax(&records[i])
		if total > appendBytesMax && i > 0 {
			return i
		}
	}
	return len(records)
}

// appendSome writes a first part of records, all of them unless the topic's limit
// is lower than ours, and returns how many.
func (b *Bus) appendSome(ctx context.Context, l *lane, topic string, partition int32, records []stage.Record) (int, error) {
	for {
		err := b.appendBatch(ctx, l, topic, partition, records)
		switch {
		case err == nil:
			return len(records), nil
		case !errors.Is(err, kafka.MessageSizeTooLarge) && !errors.Is(err, kafka.RecordListTooLarge):
			return 0, err
		case len(records) == 1:
			r := &records[0]
			return 0, &RecordTooLargeError{Topic: topic, Partition: partition, Bytes: recordBodyBytes(r, 0, 0), Err: err}
		}
		records = records[:len(records)/2]
	}
}

// appendBatch repeats one request until the broker has answered it for good.
func (b *Bus) appendBatch(ctx context.Context, l *lane, topic string, partition int32, records []stage.Record) error {
	retry := retry{bus: b, topic: topic, partition: partition, timeout: b.options.AppendTimeout}
	for {
		err := b.produce(ctx, l, topic, partition, records)
		if err == nil {
			return nil
		}
		if err := retry.next(ctx, err); err != nil {
			return err
		}
	}
}

func (b *Bus) produce(ctx context.Context, l *lane, topic string, partition int32, records []stage.Record) error {
	body := l.body
	l.body = nil
	if body == nil {
		body = &requestBody{}
	}
	batch, err := body.encoder.encode(records)
	if err != nil {
		return err
	}
	body.reader.Reset(batch)
	request := &rawproduce.Request{
		Acks:    int16(kafka.RequireAll),
		Timeout: produceTimeoutMs,
		Topics: []rawproduce.RequestTopic{{
			Topic: topic,
			Partitions: []rawproduce.RequestPartition{{
				Partition: partition,
				RecordSet: protocol.RawRecordSet{Reader: &body.reader},
			}},
		}},
	}
	ctx, cancel := context.WithTimeout(ctx, requestTimeout)
	defer cancel()
	message, err := b.transport.RoundTrip(ctx, b.addr, request)
	if err != nil {
		return err
	}
	l.body = body
	reply, ok := message.(*produce.Response)
	if !ok || len(reply.Topics) != 1 || len(reply.Topics[0].Partitions) != 1 {
		return fmt.Errorf("produce reply is not for %s/%d: %w", topic, partition, errCorrupt)
	}
	err = produceError(&reply.Topics[0].Partitions[0])
	if errors.Is(err, kafka.InvalidTimestamp) {
		return timeAhead(topic, partition, records, time.Now(), err)
	}
	return err
}

// timeAhead says whose clock is wrong. The broker refuses a record whose time is ahead
// of its own clock by more than the topic allows. Where no record is ahead of this
// machine's clock either, that one is wrong.
func timeAhead(topic string, partition int32, records []stage.Record, now time.Time, err error) error {
	newestMs := int64(0)
	for i := range records {
		newestMs = max(newestMs, records[i].TimeMs)
	}
	newest := time.UnixMilli(newestMs).UTC()
	if newest.After(now.Add(time.Second)) {
		return fmt.Errorf("%w: a record for %s/%d is of %s, which this machine's clock has not reached: "+
			"set the clock of the machine that wrote it (NTP); it is taken when its time is near: %w", stage.ErrTimeAhead, topic, partition, newest.Format(time.RFC3339), err)
	}
	return fmt.Errorf("%w: the clock of this machine is ahead of the broker's by more than message.timestamp.after.max.ms of %s: "+
		"set the clock (NTP), here or at the broker: %w", stage.ErrTimeAhead, topic, err)
}

func produceError(p *produce.ResponsePartition) error {
	if p.ErrorCode == 0 {
		return nil
	}
	code := kafka.Error(p.ErrorCode)
	message := p.ErrorMessage
	for i := range p.RecordErrors {
		if message != "" {
			message += "; "
		}
		message += fmt.Sprintf("record %d: %s", p.RecordErrors[i].BatchIndex, p.RecordErrors[i].BatchIndexErrorMessage)
	}
	if message == "" {
		return code
	}
	return fmt.Errorf("%w: %s", code, message)
}
