package bus

import (
	"context"
	"fmt"

	"github.com/segmentio/kafka-go"
)

// Lag is how many records of a topic a consumer group has not committed yet, over
// all partitions. A partition that the group has never committed counts whole.
func (b *Bus) Lag(ctx context.Context, group, topic string) (int64, error) {
	n, err := b.Partitions(ctx, topic)
	if err != nil {
		return 0, err
	}
	partitions := make([]int, n)
	for p := range n {
		partitions[p] = p
	}
	committed, err := b.committed(ctx, group, topic, partitions)
	if err != nil {
		return 0, err
	}
	var lag int64
	for p := range n {
		first, end, err := b.Bounds(ctx, topic, int32(p))
		if err != nil {
			return 0, err
		}
		at, known := committed[p]
		if !known || at < first {
			at = first
		}
		lag += max(0, end-at)
	}
	return lag, nil
}

func (b *Bus) committed(ctx context.Context, group, topic string, partitions []int) (map[int]int64, error) {
	retry := b.newRetry(topic, 0, b.options.FetchTimeout)
	for {
		offsets, err := b.committedOnce(ctx, group, topic, partitions)
		if err == nil {
			return offsets, nil
		}
		if err := retry.next(ctx, err); err != nil {
			return nil, fmt.Errorf("read offsets of group %s: %w", group, err)
		}
	}
}

func (b *Bus) committedOnce(ctx context.Context, group, topic string, partitions []int) (map[int]int64, error) {
	reply, err := b.client.OffsetFetch(ctx, &kafka.OffsetFetchRequest{
		GroupID: group, Topics: map[string][]int{topic: partitions},
	})
	if err != nil {
		return nil, err
	}
	if reply.Error != nil {
		return nil, reply.Error
	}
	offsets := make(map[int]int64)
	for _, p := range reply.Topics[topic] {
		if p.Error != nil {
			return nil, p.Error
		}
		if p.CommittedOffset >= 0 {
			offsets[p.Partition] = p.CommittedOffset
		}
	}
	return offsets, nil
}
