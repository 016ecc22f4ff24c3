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
	"settlewatch/schemas/event"
	"settlewatch/schemas/topic"
	"settlewatch/services/telemetry"
)

// The profile under which the ingest services read the documented JSON.
const (
	Profile        = "documented"
	ProfileVersion = 1
)

// Consumer groups of the services.
const (
	GroupConfig    = "settlewatch.config"
	GroupJoiner    = "settlewatch.joiner"
	GroupWarehouse = "settlewatch.warehouse"
)

// GroupIngest is the consumer group of one feed. Its name holds the profile's
// version, as the source's name does: a new version begins anew.
func GroupIngest(feed intake.Feed) string {
	return fmt.Sprintf("settlewatch.%s.%s@%d", feed, Profile, ProfileVersion)
}

// Ingest is the service of one feed: the three differ in nothing else.
func Ingest(feed intake.Feed, raw topic.Topic, httpAddr string) Service {
	return Service{
		Name:     feed.String(),
		About:    "Reads " + raw.Name + ", makes canonical events and appends them to " + topic.PaymentLog.Name + ".",
		Need:     NeedKafka | NeedCardKey,
		HTTPAddr: httpAddr,
		Run:      func(ctx context.Context, r *Run) error { return runIngest(ctx, r, feed, raw) },
	}
}

func runIngest(ctx context.Context, r *Run, feed intake.Feed, raw topic.Topic) error {
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
		group := r.Group(kafka, GroupIngest(feed), raw.Name)
		return group.Run(ctx, r.Own(func(ctx context.Context, a stage.Assignment) error {
			ingest := &stage.Ingest{
				Log: log, Clock: r.Clock(), Configs: configs, Logger: r.Log,
				Intake:  &jsonIntake{run: r, decoder: intake.NewDecoder(feed, r.Settings.CardKey)},
				Service: feed.String(), Profile: Profile, Version: ProfileVersion,
				Seen: func(p stage.IngestProgress) {
					totals.add(p)
					r.Metrics.EventsAppended.Add(float64(p.Events))
					r.Metrics.UnknownFields.Add(float64(p.UnknownFields))
				},
			}
			return ingest.Own(ctx, r.CommitTo(telemetry.Kafka, a))
		}))
	})
	g.Go(func() error { totals.report(ctx, r.Log); return nil })
	return g.Wait()
}

// jsonIntake reads the documented JSON of one feed; one belongs to one partition.
type jsonIntake struct {
	run     *Run
	decoder *intake.Decoder
}

var _ stage.Intake = (*jsonIntake)(nil)

func (j *jsonIntake) Events(raw []byte, into []*event.Event) ([]*event.Event, error) {
	e, err := j.decoder.Borrow(raw)
	if err != nil {
		return nil, err
	}
	return append(into, e), nil
}

// DeadLetter masks the record and says where it lies and what was wrong.
func (j *jsonIntake) DeadLetter(source event.Source, raw stage.Record, reason error) (stage.Record, error) {
	return j.run.deadLetter(source, raw, reason)
}

// ingestTotals counts since the start, for the log.
type ingestTotals struct{ events, letters, unknown atomic.Int64 }

func (t *ingestTotals) add(p stage.IngestProgress) {
	t.events.Add(int64(p.Events))
	t.letters.Add(int64(p.DeadLetters))
	t.unknown.Add(int64(p.UnknownFields))
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
			if n := t.events.Load() + t.letters.Load(); n != last {
				last = n
				log.Info("appended", "events", t.events.Load(), "dead_letters", t.letters.Load(), "unknown_fields", t.unknown.Load())
			}
		}
	}
}
