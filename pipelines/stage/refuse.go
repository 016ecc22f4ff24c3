package stage

import (
	"context"
	"errors"
	"fmt"
	"time"

	"settlewatch/schemas/event"
	"settlewatch/schemas/topic"
)

// ErrPartitionsChanged is a payment log with another number of partitions than
// CONFIG says. A payment's partition follows from that number: going on would tear
// payments apart.
var ErrPartitionsChanged = errors.New("the payment log has another number of partitions than its configuration says")

// partitionsEvery is how often a joiner that runs counts the log's partitions.
const partitionsEvery = 30 * time.Second

// countPartitions of the payment log, which must be those that CONFIG says, where
// it says a number.
func countPartitions(ctx context.Context, log Log, config *event.Config) (int, error) {
	n, err := log.Partitions(ctx, topic.PaymentLog.Name)
	if err != nil {
		return 0, fmt.Errorf("partitions of %s: %w", topic.PaymentLog.Name, err)
	}
	return n, samePartitions(n, config)
}

func samePartitions(n int, config *event.Config) error {
	if want := int(config.GetLogPartitions()); want != 0 && want != n {
		return fmt.Errorf("%w: %s has %d, the configuration says %d; more partitions need a new log", ErrPartitionsChanged, topic.PaymentLog.Name, n, want)
	}
	return nil
}
