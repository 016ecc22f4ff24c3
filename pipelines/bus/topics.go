package bus

import (
	"context"
	"errors"
	"fmt"
	"strconv"

	"github.com/segmentio/kafka-go"

	"settlewatch/schemas/topic"
)

const (
	// maxMessageBytes is Kafka's own default, written down so that a broker with
	// another default does not change what can be appended.
	maxMessageBytes = 1 << 20
	// A dead letter holds a raw record of any size that its topic took, encoded
	// and with its reason around it.
	maxDeadLetterBytes = 4 << 20
	// timestampAfterMaxMs refuses a marker from an ingest whose clock runs ahead
	// by more: the frontier would pass events that have not arrived.
	timestampAfterMaxMs = 60_000
)

// CreateTopics makes the topics that do not exist yet. One that exists is left as
// it is; it is an error when its number of partitions differs from the declared
// one and must not: the payment log places payments by it, and the configuration
// topic's offset is a number only with one partition.
func (b *Bus) CreateTopics(ctx context.Context, topics []topic.Topic, replication int) error {
	request := &kafka.CreateTopicsRequest{}
	for _, t := range topics {
		request.Topics = append(request.Topics, kafka.TopicConfig{
			Topic:             t.Name,
			NumPartitions:     t.Partitions,
			ReplicationFactor: replication,
			ConfigEntries:     topicConfig(t, replication),
		})
	}
	retry := b.newRetry("", 0, adminTimeout)
	for {
		// A repeat after a lost reply finds the topics existing.
		err := b.createOnce(ctx, request)
		if err == nil {
			break
		}
		if err := retry.next(ctx, err); err != nil {
			return fmt.Errorf("create topics: %w", err)
		}
	}
	for _, t := range topics {
		n, err := b.Partitions(ctx, t.Name)
		if err != nil {
			return err
		}
		if n != t.Partitions && fixedPartitions(t) {
			return fmt.Errorf("topic %s has %d partitions and %d are declared: its number never changes, "+
				"declare %d or use a new topic", t.Name, n, t.Partitions, n)
		}
	}
	return nil
}

func (b *Bus) createOnce(ctx context.Context, request *kafka.CreateTopicsRequest) error {
	reply, err := b.client.CreateTopics(ctx, request)
	if err != nil {
		return err
	}
	var failed []error
	for _, t := range request.Topics {
		err := reply.Errors[t.Topic]
		switch {
		case err == nil, errors.Is(err, kafka.TopicAlreadyExists):
		case errors.Is(err, kafka.InvalidConfiguration):
			failed = append(failed, fmt.Errorf("%s: %w (the settings need Kafka 3.6 or later)", t.Topic, err))
		case errors.Is(err, kafka.InvalidReplicationFactor):
			failed = append(failed, fmt.Errorf("%s: %w (%d replicas are asked for)", t.Topic, err, t.ReplicationFactor))
		default:
			failed = append(failed, fmt.Errorf("%s: %w", t.Topic, err))
		}
	}
	return errors.Join(failed...)
}

func topicConfig(t topic.Topic, replication int) []kafka.ConfigEntry {
	entries := []kafka.ConfigEntry{
		{ConfigName: "retention.ms", ConfigValue: strconv.FormatInt(t.RetentionMs, 10)},
		{ConfigName: "cleanup.policy", ConfigValue: "delete"},
		{ConfigName: "max.message.bytes", ConfigValue: strconv.Itoa(maxMessageBytes)},
	}
	if t.Compacted {
		entries[1].ConfigValue = "compact"
	}
	if replication >= 3 {
		entries = append(entries, kafka.ConfigEntry{ConfigName: "min.insync.replicas", ConfigValue: strconv.Itoa(replication - 1)})
	}
	switch t.Name {
	case topic.PaymentLog.Name:
		entries = append(entries,
			// A marker's time is T, so the broker's clock must not replace it.
			kafka.ConfigEntry{ConfigName: "message.timestamp.type", ConfigValue: "CreateTime"},
			kafka.ConfigEntry{ConfigName: "message.timestamp.after.max.ms", ConfigValue: strconv.Itoa(timestampAfterMaxMs)})
	case topic.DeadLetters.Name:
		entries[2].ConfigValue = strconv.Itoa(maxDeadLetterBytes)
	}
	return entries
}

func fixedPartitions(t topic.Topic) bool {
	return t.Name == topic.PaymentLog.Name || t.Name == topic.Config.Name
}
