package bus

import (
	"context"
	"errors"
	"fmt"

	"github.com/segmentio/kafka-go"

	"settlewatch/pipelines/stage"
)

// Lag is how many records of a topic a consumer group has not committed yet, over
// all partitions. A partition that the group has never committed counts whole.
func (b *Bus) Lag(ctx context.Context, group, topic string) (int64, error) {
	places, err := b.Places(ctx, group, topic)
	if err != nil {
		return 0, err
	}
	var lag int64
	for _, p := range places {
		lag += p.Lag()
	}
	return lag, nil
}

// Place is where a consumer group stands in one partition.
type Place struct {
	Partition int32
	// First offset that exists, and the one after the last that can be read.
	First, End int64
	// Committed is the next offset to read; stage.None where there is none.
	Committed int64
}

// Lag is how many records the group has not committed.
func (p Place) Lag() int64 { return max(0, p.End-max(p.Committed, p.First)) }

// Places of a consumer group in all partitions of a topic, by partition.
func (b *Bus) Places(ctx context.Context, group, topic string) ([]Place, error) {
	n, err := b.Partitions(ctx, topic)
	if err != nil {
		return nil, err
	}
	partitions := make([]int, n)
	for p := range n {
		partitions[p] = p
	}
	committed, err := b.committed(ctx, group, topic, partitions)
	if err != nil {
		return nil, err
	}
	places := make([]Place, n)
	for p := range n {
		first, end, err := b.Bounds(ctx, topic, int32(p))
		if err != nil {
			return nil, err
		}
		at, known := committed[p]
		if !known {
			at = stage.None
		}
		places[p] = Place{Partition: int32(p), First: first, End: end, Committed: at}
	}
	return places, nil
}

// Member is one process's part in a consumer group.
type Member struct {
	// ClientID is the name it gave itself, Host where it connected from.
	ClientID, Host string
	// Partitions that it owns, by topic.
	Partitions map[string][]int
}

// Members of a consumer group: none where nobody takes part, also where the group
// was never heard of. During a rebalance they own nothing.
func (b *Bus) Members(ctx context.Context, group string) ([]Member, error) {
	retry := b.newRetry("", 0, b.options.FetchTimeout)
	for {
		members, err := b.membersOnce(ctx, group)
		if err == nil {
			return members, nil
		}
		if err := retry.next(ctx, err); err != nil {
			return nil, fmt.Errorf("describe group %s: %w", group, err)
		}
	}
}

func (b *Bus) membersOnce(ctx context.Context, group string) ([]Member, error) {
	reply, err := b.client.DescribeGroups(ctx, &kafka.DescribeGroupsRequest{GroupIDs: []string{group}})
	if err != nil {
		return nil, err
	}
	var members []Member
	for _, g := range reply.Groups {
		if g.Error != nil && !errors.Is(g.Error, kafka.GroupIdNotFound) {
			return nil, g.Error
		}
		for _, m := range g.Members {
			one := Member{ClientID: m.ClientID, Host: m.ClientHost, Partitions: map[string][]int{}}
			for _, t := range m.MemberAssignments.Topics {
				one.Partitions[t.Topic] = t.Partitions
			}
			members = append(members, one)
		}
	}
	return members, nil
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
	if errors.Is(reply.Error, kafka.GroupIdNotFound) {
		return nil, nil // a group that nobody has joined yet has committed nothing
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
