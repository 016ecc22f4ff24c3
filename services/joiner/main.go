// Command joiner folds the payment log and publishes alerts.
package main

import (
	"context"
	"errors"
	"os"
	"sync"

	"golang.org/x/sync/errgroup"

	"settlewatch/pipelines/bus"
	"settlewatch/pipelines/checkpoint"
	"settlewatch/pipelines/stage"
	"settlewatch/pipelines/statestore"
	"settlewatch/schemas/topic"
	"settlewatch/services/boot"
)

func main() {
	os.Exit(boot.Main(boot.Service{
		Name:     "joiner",
		About:    "Folds " + topic.PaymentLog.Name + " into alerts, with its state in Redis.",
		Need:     boot.NeedKafka | boot.NeedRedis | boot.NeedCheckpoints,
		HTTPAddr: boot.JoinerHTTP,
		Run:      run,
	}))
}

func run(ctx context.Context, r *boot.Run) error {
	kafka, err := r.Kafka(ctx, "joiner")
	if err != nil {
		return err
	}
	defer kafka.Close()
	redis, err := r.Redis(ctx)
	if err != nil {
		return err
	}
	defer func() { _ = redis.Close() }() // every commit was acknowledged
	r.Health.Connected()
	joiner := &stage.Joiner{
		Log: r.Watch(kafka), Clock: r.Clock(), Logger: r.Log,
		State:      func(p int32) stage.State { return r.State(redis.Partition(topic.PaymentLog.Name, p)) },
		Refuse:     r.RefuseTo(kafka, "joiner", "log"),
		AlertsOnly: !r.Settings.PaymentSnapshots,
		Seen: func(p stage.JoinProgress) {
			r.Metrics.Fold(p.Partition, p.State)
			for _, a := range p.Out.Alerts {
				r.Metrics.Alerts.WithLabelValues(string(a.Kind), string(a.Status)).Inc()
			}
		},
	}
	keep, err := checkpoints(ctx, r, kafka, redis, joiner)
	if err != nil {
		return err
	}
	group := r.Group(kafka, boot.GroupJoiner, topic.PaymentLog.Name)
	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() error { return r.RedisSafe(ctx, redis) })
	g.Go(func() error { keepGarbage(ctx); return nil })
	g.Go(func() error {
		return group.Run(ctx, r.Own(func(ctx context.Context, a stage.Assignment) error {
			defer r.Metrics.Forget(a.Partition)
			defer keep(ctx, a.Partition)()
			return joiner.Own(ctx, a)
		}))
	})
	return g.Wait()
}

// checkpoints gives the joiner a place to come back from. keep makes checkpoints of
// an owned partition until it is released.
func checkpoints(ctx context.Context, r *boot.Run, kafka *bus.Bus, redis *statestore.Client, joiner *stage.Joiner) (keep func(context.Context, int32) (release func()), err error) {
	none := func(context.Context, int32) func() { return func() {} }
	switch _, err := kafka.Partitions(ctx, topic.Checkpoints.Name); {
	case errors.Is(err, bus.ErrNoTopic):
		r.Log.Warn("no checkpoints: the topic is missing; `settlewatch apply --create-topics` makes it", "topic", topic.Checkpoints.Name)
		return none, nil
	case err != nil:
		return nil, err
	}
	store := &checkpoint.Store{Log: kafka, Check: checkpoint.Loads}
	joiner.Checkpoints = store
	if r.Settings.CheckpointEvery == 0 {
		return none, nil
	}
	keeper := checkpoint.NewKeeper(store, func(ctx context.Context, partition int32, into stage.Sink, rest func(context.Context) error) (stage.Stored, error) {
		return redis.Partition(topic.PaymentLog.Name, partition).Snapshot(ctx, into, rest)
	}, r.Settings.CheckpointEvery, r.Clock(), r.Log)
	keeper.Kept, keeper.Records, keeper.Share = r.Metrics.Kept, r.Settings.CheckpointRecords, r.Settings.CheckpointShare
	seen := joiner.Seen
	joiner.Seen = func(p stage.JoinProgress) {
		seen(p)
		keeper.Folded(p.Partition, p.Next)
	}
	return func(ctx context.Context, partition int32) func() {
		ctx, cancel := context.WithCancel(ctx)
		var ended sync.WaitGroup
		ended.Go(func() { keeper.Own(ctx, partition) })
		return func() { cancel(); ended.Wait() }
	}, nil
}
