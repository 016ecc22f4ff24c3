package bus

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"time"

	"github.com/segmentio/kafka-go"
	"github.com/segmentio/kafka-go/protocol"
)

const (
	backoffMin = 50 * time.Millisecond
	backoffMax = 2 * time.Second
)

// backoff is a growing pause. Half of it is random, so that instances which lost
// the same broker do not come back in step.
type backoff struct{ pause time.Duration }

func newBackoff() *backoff { return &backoff{pause: backoffMin} }

// sleep reports false when ctx ended first.
func (b *backoff) sleep(ctx context.Context) bool {
	timer := time.NewTimer(b.pause/2 + rand.N(b.pause/2))
	defer timer.Stop()
	b.pause = min(2*b.pause, backoffMax)
	select {
	case <-timer.C:
		return true
	case <-ctx.Done():
		return false
	}
}

// retry decides after each failure of a request to one partition whether to ask
// again.
type retry struct {
	bus          *Bus
	topic        string
	partition    int32
	timeout      time.Duration
	backoff      *backoff
	startedAt    time.Time
	missingSince time.Time
}

func (b *Bus) newRetry(topic string, partition int32, timeout time.Duration) *retry {
	return &retry{bus: b, topic: topic, partition: partition, timeout: timeout}
}

// next pauses and returns nil when the request is worth another attempt, else the
// error to give up with.
func (r *retry) next(ctx context.Context, cause error) error {
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	if final(cause) {
		return cause
	}
	if r.backoff == nil {
		r.backoff, r.startedAt = newBackoff(), time.Now()
	}
	if !samePlace(cause) {
		r.bus.refresh()
	}
	if missing(cause) {
		if cause = r.confirmMissing(ctx, cause); missing(cause) && time.Since(r.missingSince) > r.bus.options.TopicTimeout {
			return fmt.Errorf("topic %s has no partition %d at %v, create the topic first: %w",
				r.topic, r.partition, r.bus.options.Brokers, cause)
		}
	}
	if elapsed := time.Since(r.startedAt); elapsed > r.timeout {
		return fmt.Errorf("gave up after %s: %w", elapsed.Round(time.Millisecond), cause)
	}
	if r.bus.options.OnRetry != nil {
		r.bus.options.OnRetry(cause)
	}
	r.bus.log.Warn("Kafka request failed, trying again",
		"topic", r.topic, "partition", r.partition, "pause", r.backoff.pause, "error", cause)
	if !r.backoff.sleep(ctx) {
		return context.Cause(ctx)
	}
	return nil
}

// confirmMissing asks for fresh metadata: the transport reports a missing topic
// also when it could not reach any broker.
func (r *retry) confirmMissing(ctx context.Context, cause error) error {
	n, err := r.bus.partitionsOnce(ctx, r.topic)
	switch {
	case err != nil && !missing(err):
		r.missingSince = time.Time{}
		return err
	case err == nil && int(r.partition) < n:
		// It is known, only not yet by the broker that was asked.
		r.missingSince = time.Time{}
		return kafka.LeaderNotAvailable
	}
	if r.missingSince.IsZero() {
		r.missingSince = time.Now()
	}
	return cause
}

// missing reports that the cluster does not know the topic or partition.
func missing(err error) bool {
	return errors.Is(err, kafka.UnknownTopicOrPartition) ||
		errors.Is(err, protocol.ErrNoTopic) || errors.Is(err, protocol.ErrNoPartition)
}

// samePlace reports failures that asking another broker does not mend.
func samePlace(err error) bool {
	return errors.Is(err, kafka.RequestTimedOut) || errors.Is(err, kafka.ThrottlingQuotaExceeded) ||
		errors.Is(err, kafka.NotEnoughReplicas) || errors.Is(err, kafka.NotEnoughReplicasAfterAppend)
}

// final reports failures that do not pass by themselves. Everything that is not
// an answer of the broker is a lost connection, and passes.
func final(err error) bool {
	if errors.Is(err, errCorrupt) || errors.Is(err, errUnsupported) {
		return true
	}
	var code kafka.Error
	if !errors.As(err, &code) {
		return false
	}
	// BrokerNotAvailable and LogDirNotFound come and go with a broker's life.
	return !code.Temporary() && code != kafka.BrokerNotAvailable && code != kafka.ReplicaNotAvailable &&
		code != kafka.Unknown && code != kafka.LogDirNotFound
}
