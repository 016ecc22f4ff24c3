package boot

import (
	"context"
	"fmt"
	"log/slog"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"

	"settlewatch/pipelines/intake"
	"settlewatch/pipelines/stage"
	"settlewatch/schemas/topic"
	"settlewatch/services/health"
	"settlewatch/services/telemetry"
)

// The profile under which the ingest services read the documented JSON.
const (
	Profile        = documented
	ProfileVersion = 1
	// Documented is its name and version in one.
	Documented = "documented@1"
)

// Consumer groups of the services.
const (
	GroupConfig    = "settlewatch.config"
	GroupJoiner    = "settlewatch.joiner"
	GroupWarehouse = "settlewatch.warehouse"
)

// GroupIngest is the consumer group of the service of one feed that reads by a
// profile, name@version, as the source's name has it: a new version begins anew.
func GroupIngest(feed intake.Feed, profile string) string {
	return GroupsIngest(feed) + profile
}

// GroupsIngest is how the names of all groups of one feed begin.
func GroupsIngest(feed intake.Feed) string { return fmt.Sprintf("settlewatch.%s.", feed) }

// Ingest is the service of one feed: the three differ in nothing else.
func Ingest(feed intake.Feed, raw topic.Topic, httpAddr string) Service {
	return Service{
		Name:     feed.String(),
		About:    "Reads " + raw.Name + ", makes canonical events and appends them to " + topic.PaymentLog.Name + ".",
		Need:     NeedKafka | NeedCardKey | NeedProfile,
		HTTPAddr: httpAddr,
		Run:      func(ctx context.Context, r *Run) error { return runIngest(ctx, r, feed, raw) },
	}
}

func runIngest(ctx context.Context, r *Run, feed intake.Feed, raw topic.Topic) error {
	reads, err := readsBy(r, feed)
	if err != nil {
		return err
	}
	kafka, err := r.Kafka(ctx, feed.String())
	if err != nil {
		return err
	}
	defer kafka.Close()
	r.Health.Connected()
	log, configs, totals := r.Watch(kafka), stage.NewConfigs(), new(ingestTotals)
	if err := configs.CatchUp(ctx, kafka); err != nil {
		return err
	}
	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() error { return configs.Follow(ctx, kafka) })
	g.Go(func() error {
		// Every ingest service can carry CONFIG into the log; the group chooses one.
		configure := &stage.Configure{Log: log}
		group := r.Group(kafka, GroupConfig, topic.Config.Name)
		return group.Run(ctx, r.Own(configure.Own))
	})
	g.Go(func() error {
		group := r.Group(kafka, GroupIngest(feed, reads.String()), raw.Name)
		return group.Run(ctx, r.Own(func(ctx context.Context, a stage.Assignment) error {
			records, err := reads.intake()
			if err != nil {
				return err
			}
			ingest := &stage.Ingest{
				Log: log, Clock: drainClock{r.Clock(), r.drain}, Configs: configs, Logger: r.Log,
				Intake:  records,
				Service: feed.String(), Profile: reads.name, Version: reads.version,
				Paused: func(p stage.Pause) {
					r.Health.Pause(health.Place{Topic: a.Topic, Partition: a.Partition}, p.Why, p.Ended)
				},
				Seen: func(p stage.IngestProgress) {
					totals.add(p)
					r.Metrics.EventsAppended.Add(float64(p.Events))
					r.Metrics.UnknownFields.Add(float64(p.UnknownFields))
					r.Metrics.LeftOut.Add(float64(p.LeftOut))
				},
			}
			return ingest.Own(ctx, r.CommitTo(telemetry.Kafka, a))
		}))
	})
	g.Go(func() error { totals.report(ctx, r.Log); return nil })
	return g.Wait()
}

// drainClock ends the wait of a loop that asks nothing of Kafka when its service is
// asked to end.
type drainClock struct {
	stage.Clock
	drain context.Context
}

// Sleep ends with stage.ErrDrained once the service is asked to end.
func (c drainClock) Sleep(ctx context.Context, d time.Duration) error {
	sleeping, cancel := context.WithCancel(ctx)
	defer cancel()
	defer context.AfterFunc(c.drain, cancel)()
	if err := c.Clock.Sleep(sleeping, d); err != nil && ctx.Err() == nil {
		return stage.ErrDrained
	}
	return ctx.Err()
}

// ingestTotals counts since the start, for the log.
type ingestTotals struct{ events, letters, unknown, leftOut atomic.Int64 }

func (t *ingestTotals) add(p stage.IngestProgress) {
	t.events.Add(int64(p.Events))
	t.letters.Add(int64(p.DeadLetters))
	t.unknown.Add(int64(p.UnknownFields))
	t.leftOut.Add(int64(p.LeftOut))
}

// report logs the totals every ten seconds in which they changed.
func (t *ingestTotals) report(ctx context.Context, log *slog.Logger) {
	tick := time.NewTicker(10 * time.Second)
	defer tick.Stop()
	var last int64
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
			if n := t.events.Load() + t.letters.Load() + t.leftOut.Load(); n != last {
				last = n
				log.Info("appended", "events", t.events.Load(), "dead_letters", t.letters.Load(), "unknown_fields", t.unknown.Load(),
					"left_out", t.leftOut.Load())
			}
		}
	}
}
