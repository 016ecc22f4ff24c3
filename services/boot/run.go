package boot

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"time"

	"settlewatch/pipelines/bus"
	"settlewatch/pipelines/stage"
	"settlewatch/pipelines/statestore"
	"settlewatch/pipelines/warehouse"
	"settlewatch/schemas/table"
	"settlewatch/services/health"
	"settlewatch/services/telemetry"
)

// Run is one life of a service: what it works with, and what it shows of itself.
// Its methods lay health, metrics, traces and a clean end around the loops of package
// stage, which know nothing of them.
type Run struct {
	Settings Settings
	Log      *slog.Logger
	Health   *health.Health
	Metrics  *telemetry.Metrics
	traces   *telemetry.Traces

	// drain is done when nothing more shall be read.
	drain  context.Context
	owners owners
}

// Kafka connects, and counts what is repeated from then on.
func (r *Run) Kafka(ctx context.Context, client string) (*bus.Bus, error) {
	r.Health.Waiting("Kafka")
	return connectKafka(ctx, r.Settings, r.Log, client, func(err error) { r.retried(telemetry.Kafka, err) })
}

// Clock of this service.
func (r *Run) Clock() Clock { return Clock{Offset: r.Settings.ClockOffset} }

// Group is this service's member of a consumer group.
func (r *Run) Group(kafka *bus.Bus, id string, topics ...string) stage.Group {
	return kafka.Group(bus.GroupOptions{ID: id, Topics: topics, SessionTimeout: r.Settings.KafkaSession})
}

// Redis connects likewise.
func (r *Run) Redis(ctx context.Context) (*statestore.Client, error) {
	r.Health.Waiting("Redis")
	return connectRedis(ctx, r.Settings, r.Log, func(err error) { r.retried(telemetry.Redis, err) })
}

// ClickHouse connects likewise.
func (r *Run) ClickHouse(ctx context.Context) (*warehouse.Warehouse, error) {
	r.Health.Waiting("ClickHouse")
	return connectClickHouse(ctx, r.Settings, r.Log, func(err error) { r.retried(telemetry.ClickHouse, err) })
}

func (r *Run) retried(server string, err error) {
	r.Health.Retry(server, err)
	r.Metrics.Retries.WithLabelValues(server).Inc()
}

// Own lays health, traces and the end around what a group calls for each partition.
// A partition that is drained is kept, idle, until the service leaves the group.
func (r *Run) Own(own func(context.Context, stage.Assignment) error) func(context.Context, stage.Assignment) error {
	return func(ctx context.Context, a stage.Assignment) error {
		defer r.owners.add()()
		defer r.Health.Own(health.Place{Topic: a.Topic, Partition: a.Partition})()
		ctx = r.traces.Own(ctx, a.Topic, a.Partition)
		defer telemetry.BatchesOf(ctx).Next()
		r.Log.Info("partition assigned", "topic", a.Topic, "partition", a.Partition, "offset", a.Offset)
		err := r.holdRefused(ctx, a, own)
		if errors.Is(err, stage.ErrDrained) {
			return nil
		}
		return err
	}
}

// CommitTo measures the commits of an assignment, where they are what makes the
// work durable.
func (r *Run) CommitTo(server string, a stage.Assignment) stage.Assignment {
	commit := a.Commit
	a.Commit = func(ctx context.Context, offset int64) error {
		done := r.committing(ctx, server)
		err := commit(ctx, offset)
		done(err)
		return err
	}
	return a
}

func (r *Run) committing(ctx context.Context, server string) func(error) {
	began, done := time.Now(), telemetry.BatchesOf(ctx).Commit(server)
	return func(err error) {
		done(err)
		if err == nil {
			r.Metrics.CommitSeconds.WithLabelValues(server).Observe(time.Since(began).Seconds())
		}
	}
}

// Watch lays health, metrics, traces and the end around a log.
func (r *Run) Watch(log stage.Log) stage.Log { return &watchedLog{log, r} }

type watchedLog struct {
	stage.Log
	run *Run
}

func (l *watchedLog) Open(topic string, partition int32) (stage.Reader, error) {
	reader, err := l.Log.Open(topic, partition)
	if err != nil {
		return nil, err
	}
	return &watchedReader{reader, l.run, health.Place{Topic: topic, Partition: partition}}, nil
}

func (l *watchedLog) Append(ctx context.Context, batches ...stage.Outgoing) error {
	told := telemetry.BatchesOf(ctx)
	if told == nil {
		return l.Log.Append(ctx, batches...)
	}
	done := make([]func(error), len(batches))
	for i := range batches {
		done[i] = told.Publish(batches[i].Topic, batches[i].Partition, len(batches[i].Records))
	}
	err := l.Log.Append(ctx, batches...)
	for i := range done {
		done[i](err)
	}
	return err
}

type watchedReader struct {
	stage.Reader
	run   *Run
	place health.Place
}

// Fetch ends with stage.ErrDrained, also while it waits, once the service is asked to end.
func (w *watchedReader) Fetch(ctx context.Context, offset int64, maxWait time.Duration) (stage.Batch, error) {
	w.run.Health.Beat(w.place, offset)
	batches := telemetry.BatchesOf(ctx)
	batches.Next()
	if w.run.drain.Err() != nil {
		return stage.Batch{}, stage.ErrDrained
	}
	fetching, cancel := context.WithCancel(ctx)
	defer cancel()
	defer context.AfterFunc(w.run.drain, cancel)()
	began := time.Now()
	batch, err := w.Reader.Fetch(fetching, offset, maxWait)
	if err != nil {
		if w.run.drain.Err() != nil && ctx.Err() == nil {
			return stage.Batch{}, stage.ErrDrained
		}
		return batch, err
	}
	w.run.Health.End(w.place, batch.HighWatermark)
	w.run.Metrics.RecordsRead.WithLabelValues(w.place.Topic).Add(float64(len(batch.Records)))
	batches.Fetched(ctx, began, batch)
	return batch, nil
}

// State measures the commits of a partition's state.
func (r *Run) State(state stage.State) stage.State { return &watchedState{state, r} }

type watchedState struct {
	stage.State
	run *Run
}

func (s *watchedState) Commit(ctx context.Context, c stage.Commit) error {
	done := s.run.committing(ctx, telemetry.Redis)
	err := s.State.Commit(ctx, c)
	done(err)
	return err
}

// Warehouse measures inserts and counts their rows.
func (r *Run) Warehouse(w stage.Warehouse) stage.Warehouse { return &watchedWarehouse{w, r} }

type watchedWarehouse struct {
	stage.Warehouse
	run *Run
}

func (w *watchedWarehouse) Insert(ctx context.Context, b table.Block, token string) error {
	done := w.run.committing(ctx, telemetry.ClickHouse)
	err := w.Warehouse.Insert(ctx, b, token)
	done(err)
	if err == nil {
		w.run.Metrics.RowsInserted.WithLabelValues(b.Table).Add(float64(b.Rows))
	}
	return err
}

// owners counts the partitions at work, and says when none is left.
type owners struct {
	mu    sync.Mutex
	count int
	none  chan struct{} // made when somebody waits, closed when the count is 0
}

func (o *owners) add() (done func()) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.count++
	return func() {
		o.mu.Lock()
		defer o.mu.Unlock()
		if o.count--; o.count == 0 && o.none != nil {
			close(o.none)
			o.none = nil
		}
	}
}

// idle is closed when no partition is at work.
func (o *owners) idle() <-chan struct{} {
	o.mu.Lock()
	defer o.mu.Unlock()
	none := make(chan struct{})
	if o.count == 0 {
		close(none)
	} else {
		o.none = none
	}
	return none
}
