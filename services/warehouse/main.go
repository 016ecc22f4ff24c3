// Command warehouse writes events, payments and alerts to ClickHouse.
package main

import (
	"context"
	"os"
	"runtime/debug"

	"settlewatch/pipelines/stage"
	"settlewatch/schemas/alert"
	"settlewatch/schemas/topic"
	"settlewatch/services/boot"
)

const (
	// seats are how many partitions collect and send a large insert at a time. Two keep
	// ClickHouse busy while the next is read.
	seats = 2
	// heapBytes is where the garbage collector works harder, unless GOMEMLIMIT says
	// another amount: an insert leaves memory behind that is not needed again. About half of
	// it lives in a backlog, and a bound below that keeps the collector busy all the time.
	heapBytes = 512 << 20
)

func main() {
	if os.Getenv("GOMEMLIMIT") == "" {
		debug.SetMemoryLimit(heapBytes)
	}
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
	large := stage.NewSeats(seats)
	group := r.Group(kafka, boot.GroupWarehouse, topics...)
	return group.Run(ctx, r.Own(func(ctx context.Context, a stage.Assignment) error {
		return stage.Load(ctx, log, rows, a, stage.LoadOptions{
			Clock: r.Clock(), Seats: large, Refuse: r.RefuseTo(kafka, "warehouse", "rows"),
		})
	}))
}
