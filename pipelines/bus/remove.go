package bus

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/segmentio/kafka-go"
)

// RemoveTopics deletes topics with all they hold, and returns when the cluster no
// longer knows them: what is then created under the same name is empty. One that
// does not exist is no error.
func (b *Bus) RemoveTopics(ctx context.Context, names []string) error {
	err := b.untilGone(ctx, names, kafka.UnknownTopicOrPartition, func(left []string) (map[string]error, error) {
		reply, err := b.client.DeleteTopics(ctx, &kafka.DeleteTopicsRequest{Topics: left})
		if err != nil {
			return nil, err
		}
		return reply.Errors, nil
	})
	if err != nil {
		return fmt.Errorf("remove topics: %w", err)
	}
	b.refresh()
	return nil
}

// RemoveGroups forgets consumer groups with their committed offsets. One that still
// has members is waited for, as a member that died leaves only with its session.
func (b *Bus) RemoveGroups(ctx context.Context, ids []string) error {
	// The groups of one request must have one coordinator.
	for _, id := range ids {
		err := b.untilGone(ctx, []string{id}, kafka.GroupIdNotFound, func(left []string) (map[string]error, error) {
			reply, err := b.client.DeleteGroups(ctx, &kafka.DeleteGroupsRequest{GroupIDs: left})
			if err != nil {
				return nil, err
			}
			return reply.Errors, nil
		})
		if err != nil {
			return fmt.Errorf("remove group: %w", err)
		}
	}
	return nil
}

// untilGone repeats a deletion until the answer for each name is that it is not
// there: a success only says that the cluster has begun.
func (b *Bus) untilGone(ctx context.Context, names []string, gone kafka.Error, remove func([]string) (map[string]error, error)) error {
	deadline := time.Now().Add(adminTimeout)
	pause := newBackoff()
	for {
		answers, err := remove(names)
		var left []string
		for _, name := range names {
			answer := err
			if err == nil {
				answer = answers[name]
			}
			switch {
			case errors.Is(answer, gone):
				continue
			case answer != nil && final(answer) && !errors.Is(answer, kafka.NonEmptyGroup):
				return fmt.Errorf("%s: %w", name, answer)
			case answer != nil && time.Now().After(deadline):
				return fmt.Errorf("%s is still there after %s: %w", name, adminTimeout, answer)
			}
			left = append(left, name)
		}
		if names = left; len(names) == 0 {
			return nil
		}
		if !pause.sleep(ctx) {
			return context.Cause(ctx)
		}
	}
}
