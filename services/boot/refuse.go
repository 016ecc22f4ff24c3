package boot

import (
	"context"
	"errors"
	"time"

	"settlewatch/pipelines/join"
	"settlewatch/pipelines/stage"
	"settlewatch/pipelines/statestore"
	"settlewatch/services/health"
)

// refusedWait is how long a refused partition rests before it is looked at again:
// what a person has mended goes on by itself.
const refusedWait = 30 * time.Second

// refusal names, in a word, what must not be gone on with. Going on would lose,
// invent or repeat, and no number of starts mends it.
func refusal(err error) (reason string, is bool) {
	var config *join.UnsupportedConfigError
	var corrupt *statestore.CorruptError
	switch {
	case errors.Is(err, stage.ErrLogChanged):
		return "log_changed", true
	case errors.Is(err, stage.ErrSourceChanged):
		return "source_changed", true
	case errors.Is(err, stage.ErrTopicChanged):
		return "topic_changed", true
	case errors.Is(err, stage.ErrTimeAhead):
		return "clock_ahead", true
	case errors.Is(err, stage.ErrPartitionsChanged):
		return "partitions_changed", true
	case errors.Is(err, join.ErrNewerState):
		return "newer_state", true
	case errors.Is(err, join.ErrOlderState):
		return "older_state", true
	case errors.As(err, &config):
		return "unsupported_config", true
	case errors.Is(err, join.ErrInconsistent), errors.As(err, &corrupt):
		return "state_corrupt", true
	}
	return "", false
}

// holdRefused keeps a partition that own refuses, without working on it, so that
// the instance's other partitions go on and no other instance runs into the same.
// It shows in /readyz, in settlewatch_refused_partitions and in the log; now and then
// it tries again.
func (r *Run) holdRefused(ctx context.Context, a stage.Assignment, own func(context.Context, stage.Assignment) error) error {
	said := ""
	commit := a.Commit
	a.Commit = func(ctx context.Context, offset int64) error {
		err := commit(ctx, offset)
		if err == nil {
			a.Offset = offset // where the next try begins
		}
		return err
	}
	for {
		err := own(ctx, a)
		reason, is := refusal(err)
		if !is || ctx.Err() != nil {
			return err
		}
		r.Health.Refuse(health.Place{Topic: a.Topic, Partition: a.Partition}, reason, err)
		if text := err.Error(); text != said {
			said = text
			r.Log.Error("refused: going on would be wrong, a person has to act", "topic", a.Topic, "partition", a.Partition,
				"reason", reason, "error", err, "runbook", "deploy/runbooks/refused.md")
		}
		select {
		case <-ctx.Done():
			return nil
		case <-r.drain.Done():
			return nil
		case <-time.After(refusedWait):
		}
	}
}

// RedisSafe returns when Redis is found to be one on which state can be lost,
// though it was not at the start; or nil when ctx is done.
func (r *Run) RedisSafe(ctx context.Context, redis *statestore.Client) error {
	tick := time.NewTicker(refusedWait)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
			if err := redis.Check(ctx); errors.Is(err, statestore.ErrUnsafe) {
				return err
			}
		}
	}
}
