package console

import (
	"context"
	"fmt"
	"time"

	"settlewatch/pipelines/stage"
)

// fetchWait is how long a reader waits for something new before it looks whether
// it is to end.
const fetchWait = 500 * time.Millisecond

// place is a partition and the next offset to read there.
type place struct {
	topic     string
	partition int32
	next      int64
}

// readPresent reads every partition of a topic from its first record to the end
// that it has now, and returns where it stopped. The records' memory is only
// read's until it returns.
func readPresent(ctx context.Context, log stage.Log, topic string, read func(partition int32, r stage.Record) error) ([]place, error) {
	n, err := log.Partitions(ctx, topic)
	if err != nil {
		return nil, err
	}
	places := make([]place, 0, n)
	for p := range int32(n) {
		reader, err := log.Open(topic, p)
		if err != nil {
			return nil, err
		}
		at := place{topic: topic, partition: p}
		err = func() error {
			defer reader.Close()
			first, end, err := reader.Bounds(ctx)
			if err != nil {
				return err
			}
			for at.next = first; at.next < end; {
				if err := readBatch(ctx, reader, &at, end, read); err != nil {
					return err
				}
			}
			return nil
		}()
		if err != nil {
			return nil, err
		}
		places = append(places, at)
	}
	return places, nil
}

// readBatch reads once, at most up to end, and moves the place.
func readBatch(ctx context.Context, reader stage.Reader, at *place, end int64, read func(int32, stage.Record) error) error {
	batch, err := reader.Fetch(ctx, at.next, fetchWait)
	if err != nil {
		return err
	}
	for _, r := range batch.Records {
		if r.Offset < at.next || r.Offset >= end {
			continue
		}
		if err := read(at.partition, r); err != nil {
			return fmt.Errorf("read %s/%d at %d: %w", at.topic, at.partition, r.Offset, err)
		}
	}
	at.next = min(max(at.next, batch.Next), end)
	return nil
}
