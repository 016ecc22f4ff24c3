package stage

import (
	"context"
	"fmt"
	"time"

	"settlewatch/schemas/event"
	"settlewatch/schemas/topic"
)

// Configure carries the configuration topic into every partition of the payment
// log, by the rules of a hop. Every ingest service runs it; the consumer group
// gives the one partition to one of them.
type Configure struct{ Log Log }

// Own reads the assigned partition until ctx is done, which is no error.
func (c *Configure) Own(ctx context.Context, a Assignment) error {
	err := c.own(ctx, a)
	if ctx.Err() != nil {
		return nil //nolint:nilerr // whatever ended with the assignment is no failure
	}
	if err != nil {
		return fmt.Errorf("carry configuration into the log: %w", err)
	}
	return nil
}

func (c *Configure) own(ctx context.Context, a Assignment) error {
	reader, err := c.Log.Open(a.Topic, a.Partition)
	if err != nil {
		return fmt.Errorf("open: %w", err)
	}
	defer func() { _ = reader.Close() }()
	next, err := startOffset(ctx, reader, a.Offset)
	if err != nil {
		return err
	}
	partitions, err := c.Log.Partitions(ctx, topic.PaymentLog.Name)
	if err != nil {
		return fmt.Errorf("partitions of %s: %w", topic.PaymentLog.Name, err)
	}
	source := event.Source{Service: "config", Topic: a.Topic, Partition: a.Partition, Profile: "config", Version: 1}
	for ctx.Err() == nil {
		batch, err := reader.Fetch(ctx, next, time.Second)
		if err != nil {
			return fmt.Errorf("fetch offset %d: %w", next, err)
		}
		for i := range batch.Records {
			if err := c.append(ctx, source.String(), &batch.Records[i], partitions); err != nil {
				return err
			}
		}
		if batch.Next <= next {
			continue
		}
		next = batch.Next
		if err := a.Commit(ctx, next); err != nil {
			return fmt.Errorf("commit offset %d: %w", next, err)
		}
	}
	return nil
}

func (c *Configure) append(ctx context.Context, source string, raw *Record, partitions int) error {
	config := new(event.Config)
	if err := config.UnmarshalVT(raw.Value); err != nil {
		return fmt.Errorf("decode configuration %d: %w", raw.Offset, err)
	}
	if err := samePartitions(partitions, config); err != nil {
		return fmt.Errorf("configuration %d: %w", raw.Offset, err)
	}
	value, err := (&event.LogRecord{
		Origin:    &event.Origin{Source: source, Offset: raw.Offset},
		ArrivalMs: raw.TimeMs,
		Body:      &event.LogRecord_Config{Config: config},
	}).MarshalVT()
	if err != nil {
		return fmt.Errorf("encode configuration %d: %w", raw.Offset, err)
	}
	batches := make([]Outgoing, partitions)
	for p := range batches {
		batches[p] = Outgoing{
			Topic: topic.PaymentLog.Name, Partition: int32(p),
			Records: []Record{{Value: value, TimeMs: raw.TimeMs}},
		}
	}
	if err := c.Log.Append(ctx, batches...); err != nil {
		return fmt.Errorf("append configuration %d: %w", raw.Offset, err)
	}
	return nil
}
