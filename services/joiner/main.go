// Command joiner folds the payment log and publishes alerts.
package main

import (
	"context"
	"log/slog"
	"os"

	"settlewatch/pipelines/bus"
	"settlewatch/pipelines/stage"
	"settlewatch/schemas/topic"
	"settlewatch/services/boot"
)

func main() {
	os.Exit(boot.Main(boot.Service{
		Name:  "joiner",
		About: "Folds " + topic.PaymentLog.Name + " into alerts, with its state in Redis.",
		Need:  boot.NeedKafka | boot.NeedRedis,
		Run:   run,
	}))
}

func run(ctx context.Context, s boot.Settings, log *slog.Logger) error {
	kafka, err := boot.ConnectKafka(ctx, s, log, "joiner")
	if err != nil {
		return err
	}
	defer kafka.Close()
	redis, err := boot.ConnectRedis(ctx, s, log)
	if err != nil {
		return err
	}
	defer func() { _ = redis.Close() }() // every commit was acknowledged
	joiner := &stage.Joiner{
		Log: kafka, Clock: boot.Clock{}, Logger: log,
		State: func(p int32) stage.State { return redis.Partition(topic.PaymentLog.Name, p) },
	}
	group := kafka.Group(bus.GroupOptions{ID: boot.GroupJoiner, Topics: []string{topic.PaymentLog.Name}})
	return group.Run(ctx, joiner.Own)
}
