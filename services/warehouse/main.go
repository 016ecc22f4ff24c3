// Command warehouse writes events, payments and alerts to ClickHouse.
package main

import (
	"context"
	"os"

	"settlewatch/pipelines/stage"
	"settlewatch/schemas/alert"
	"settlewatch/schemas/topic"
	"settlewatch/services/boot"
)

func main() {
	os.Exit(boot.Main(boot.Service{
		Name:     "warehouse",
		About:    "Writes events, payments and alerts to ClickHouse, exactly once in effect.",
		Need:     boot.NeedKafka | boot.NeedClickHouse,
		HTTPAddr: boot.WarehouseHTTP,
		Run:      run,
	}))
}

func run(ctx context.Context, r *boot.Run) error {
	kafka, err := r.Kafka(ctx, "warehouse")
	if err != nil {
		return err
	}
	defer kafka.Close()
	tables, err := r.ClickHouse(ctx)
	if err != nil {
		return err
	}
	defer func() { _ = tables.Close() }() // every insert was acknowledged
	if err := tables.Migrate(ctx, func(step string) { r.Log.Info("migrating", "step", step) }); err != nil {
		return err
	}
	r.Health.Connected()
	topics := []string{topic.PaymentLog.Name, topic.Payments.Name}
	for _, k := range alert.Kinds {
		topics = append(topics, k.Topic().Name)
	}
	log, rows := r.Watch(kafka), r.Warehouse(tables)
	group := r.Group(kafka, boot.GroupWarehouse, topics...)
	return group.Run(ctx, r.Own(func(ctx context.Context, a stage.Assignment) error {
		return stage.Load(ctx, log, rows, a, stage.LoadOptions{Clock: r.Clock(), Refuse: r.RefuseTo(kafka, "warehouse", "rows")})
	}))
}
