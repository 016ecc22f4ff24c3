// Command warehouse writes events, payments and alerts to ClickHouse.
package main

import (
	"context"
	"log/slog"
	"os"

	"settlewatch/pipelines/bus"
	"settlewatch/pipelines/stage"
	"settlewatch/schemas/alert"
	"settlewatch/schemas/topic"
	"settlewatch/services/boot"
)

func main() {
	os.Exit(boot.Main(boot.Service{
		Name:  "warehouse",
		About: "Writes events, payments and alerts to ClickHouse, exactly once in effect.",
		Need:  boot.NeedKafka | boot.NeedClickHouse,
		Run:   run,
	}))
}

func run(ctx context.Context, s boot.Settings, log *slog.Logger) error {
	kafka, err := boot.ConnectKafka(ctx, s, log, "warehouse")
	if err != nil {
		return err
	}
	defer kafka.Close()
	tables, err := boot.ConnectClickHouse(ctx, s, log)
	if err != nil {
		return err
	}
	defer func() { _ = tables.Close() }() // every insert was acknowledged
	if err := tables.Migrate(ctx, func(step string) { log.Info("migrating", "step", step) }); err != nil {
		return err
	}
	topics := []string{topic.PaymentLog.Name, topic.Payments.Name}
	for _, k := range alert.Kinds {
		topics = append(topics, k.Topic().Name)
	}
	group := kafka.Group(bus.GroupOptions{ID: boot.GroupWarehouse, Topics: topics})
	return group.Run(ctx, func(ctx context.Context, a stage.Assignment) error {
		return stage.Load(ctx, kafka, tables, a, stage.LoadOptions{Clock: boot.Clock{}, Refuse: boot.RefuseRow(kafka)})
	})
}
