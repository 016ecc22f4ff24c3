// Command joiner folds the payment log and publishes alerts.
package main

import (
	"context"
	"os"

	"golang.org/x/sync/errgroup"

	"settlewatch/pipelines/stage"
	"settlewatch/schemas/topic"
	"settlewatch/services/boot"
)

func main() {
	os.Exit(boot.Main(boot.Service{
		Name:     "joiner",
		About:    "Folds " + topic.PaymentLog.Name + " into alerts, with its state in Redis.",
		Need:     boot.NeedKafka | boot.NeedRedis,
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
		State:  func(p int32) stage.State { return r.State(redis.Partition(topic.PaymentLog.Name, p)) },
		Refuse: r.RefuseTo(kafka, "joiner", "log"),
		Seen: func(p stage.JoinProgress) {
			r.Metrics.Fold(p.Partition, p.State)
			for _, a := range p.Out.Alerts {
				r.Metrics.Alerts.WithLabelValues(string(a.Kind), string(a.Status)).Inc()
			}
		},
	}
	group := r.Group(kafka, boot.GroupJoiner, topic.PaymentLog.Name)
	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() error { return r.RedisSafe(ctx, redis) })
	g.Go(func() error {
		return group.Run(ctx, r.Own(func(ctx context.Context, a stage.Assignment) error {
			defer r.Metrics.Forget(a.Partition)
			return joiner.Own(ctx, a)
		}))
	})
	return g.Wait()
}
