package stage_test

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"settlewatch/pipelines/join"
	"settlewatch/pipelines/sim"
	"settlewatch/pipelines/stage"
	"settlewatch/schemas/event"
	"settlewatch/schemas/topic"
)

// second is the next version of a feed's profile.
func second(feed event.Source) event.Source {
	feed.Version++
	return feed
}

// offsetOf is an offset in a CONFIG.
func offsetOf(n int64) *int64 { return &n }

// turnsOf is a CONFIG in which two versions of a profile follow each other at the
// offset; without the first where the switch is over.
func turnsOf(t *testing.T, at int64, over bool) *event.Config {
	t.Helper()
	c := configOf(t, event.Clock_CLOCK_LIVE, saleFeed, second(saleFeed), saleFeedAt(1))
	c.Groups[0].Sources[0].UntilOffset = offsetOf(at)
	c.Groups[0].Sources[1].FromOffset = offsetOf(at)
	if over {
		c.Groups[0].Sources = c.Groups[0].Sources[1:]
	}
	return c
}

// until runs a source until it has said what is waited for.
func until(t *testing.T, i *stage.Ingest, group *offsets, done func(stage.IngestProgress, stage.Pause) bool) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	var progress stage.IngestProgress
	var pause stage.Pause
	ended := false
	look := func() {
		if !ended && done(progress, pause) {
			ended = true
			cancel()
		}
	}
	i.MarkEvery = time.Millisecond
	i.Seen = func(p stage.IngestProgress) { progress = p; look() }
	i.Paused = func(p stage.Pause) { pause = p; look() }
	if err := i.Own(ctx, group.assignment(topic.RawAuthorization.Name, 0, healthy())); err != nil || !ended {
		t.Fatalf("ended %t with: %v", ended, err)
	}
}

// A new version of a profile takes over in the middle of a raw partition: every
// record is in the log once, by the version whose turn it is, and the alerts are
// those of one version for all. The old one may read on past the record before
// which it stops only if it is not told in time, and then says so.
func TestIngestSwitchesVersions(t *testing.T) {
	arrivals := history()
	var raw []stage.Record
	for _, a := range arrivals {
		if a.event != nil {
			raw = append(raw, rawRecord(t, a))
		}
	}
	slices.SortStableFunc(raw, func(a, b stage.Record) int { return int(a.TimeMs - b.TimeMs) })
	end := int64(len(raw))
	last := raw[end-1].TimeMs + 90*24*time.Hour.Milliseconds()
	world := func() (*sim.Log, *stage.Configs, func(*event.Config)) {
		log := newWorld(t, 1)
		log.LimitBatch(3)
		configs, publish := follow(t, log)
		return log, configs, func(c *event.Config) {
			publish(c)
			record := &event.LogRecord{Body: &event.LogRecord_Config{Config: c}, Origin: &event.Origin{Source: "config/config.v1/0/config@1"}}
			configured, err := log.Records(topic.Config.Name, 0)
			if err != nil {
				t.Fatal(err)
			}
			record.Origin.Offset = int64(len(configured))
			if err := log.Append(t.Context(), stage.Outgoing{Topic: topic.PaymentLog.Name, Records: encoded(t, record)}); err != nil {
				t.Fatal(err)
			}
		}
	}
	// idle marks for the partition of which nothing comes.
	idle := func(log *sim.Log, configs *stage.Configs, feed event.Source) {
		t.Helper()
		i := ingestOf(log, configs, feed, &handClock{ms: last, step: 1})
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		i.Seen = func(stage.IngestProgress) { cancel() }
		if err := i.Own(ctx, newOffsets().assignment(topic.RawAuthorization.Name, 1, healthy())); err != nil {
			t.Fatal(err)
		}
	}
	read := func(group *offsets, n int64) func(stage.IngestProgress, stage.Pause) bool {
		return func(stage.IngestProgress, stage.Pause) bool { return group.get() == n }
	}
	ended := func(_ stage.IngestProgress, p stage.Pause) bool { return p.Ended }

	// One version for all.
	log, configs, publish := world()
	publish(configOf(t, event.Clock_CLOCK_LIVE, saleFeed, saleFeedAt(1)))
	appendTo(t, log, topic.RawAuthorization.Name, raw...)
	group := newOffsets()
	until(t, ingestOf(log, configs, saleFeed, &handClock{ms: last, step: 1}), group, read(group, end))
	idle(log, configs, saleFeed)
	want := alertsOf(t, log)
	if len(want) == 0 {
		t.Fatal("the history gives no alert")
	}

	for at := int64(1); at < end; at++ {
		log, configs, publish := world()
		clock := &handClock{ms: 1, step: 1}
		old, young := newOffsets(), newOffsets()
		publish(configOf(t, event.Clock_CLOCK_LIVE, saleFeed, saleFeedAt(1)))
		appendTo(t, log, topic.RawAuthorization.Name, raw[:at/2]...)
		until(t, ingestOf(log, configs, saleFeed, clock), old, func(p stage.IngestProgress, _ stage.Pause) bool { return p.Next == at/2 && max(old.get(), 0) == at/2 })

		// The successor is started too early: it waits, and says for what.
		until(t, ingestOf(log, configs, second(saleFeed), clock), young, func(_ stage.IngestProgress, p stage.Pause) bool {
			return !p.Ended && strings.Contains(p.Why, "the service reads json@2, the configuration expects json@1 of raw.authorization.v1/0")
		})
		// Its turn begins where the partition does not reach yet.
		publish(turnsOf(t, at, false))
		until(t, ingestOf(log, configs, second(saleFeed), clock), young, ended)
		if young.get() != stage.None {
			t.Fatalf("at %d: the successor has committed %d before its turn", at, young.get())
		}
		appendTo(t, log, topic.RawAuthorization.Name, raw[at/2:]...)
		clock.set(last)
		until(t, ingestOf(log, configs, saleFeed, clock), old, func(p stage.IngestProgress, pause stage.Pause) bool {
			return ended(p, pause) && old.get() == at
		})
		until(t, ingestOf(log, configs, second(saleFeed), clock), young, read(young, end))
		publish(turnsOf(t, at, true))
		// The old version has nothing more to say, also if it is started again.
		until(t, ingestOf(log, configs, saleFeed, clock), old, func(_ stage.IngestProgress, p stage.Pause) bool {
			return !p.Ended && strings.Contains(p.Why, "the configuration expects json@2")
		})
		clock.set(last + 1000)
		until(t, ingestOf(log, configs, second(saleFeed), clock), young, func(p stage.IngestProgress, _ stage.Pause) bool { return p.Next == end })
		idle(log, configs, saleFeed)
		var offsets []string
		for _, r := range decoded(t, log, 0) {
			if r.GetEvent() != nil {
				offsets = append(offsets, fmt.Sprintf("%d %s", r.Origin.Offset, r.Origin.Source))
			}
		}
		var wantOffsets []string
		for offset := range end {
			feed := saleFeed
			if offset >= at {
				feed = second(saleFeed)
			}
			wantOffsets = append(wantOffsets, fmt.Sprintf("%d %s", offset, feed))
		}
		mustBe(t, fmt.Sprint("the log, with a switch at ", at), offsets, wantOffsets)
		mustBe(t, fmt.Sprint("the alerts, with a switch at ", at), alertsOf(t, log), want)
	}
}

// alertsOf folds the log and gives the alerts in brief.
func alertsOf(t *testing.T, log *sim.Log) (briefs []string) {
	t.Helper()
	state := join.New()
	out := new(join.Output)
	for _, r := range decoded(t, log, 0) {
		if err := state.Step(r, out); err != nil {
			t.Fatal(err)
		}
	}
	for state.Pending() {
		if err := state.Drain(out); err != nil {
			t.Fatal(err)
		}
	}
	for _, a := range out.Alerts {
		briefs = append(briefs, fmt.Sprintf("%s r%d %s %d %s", a.ID, a.Revision, a.Status, a.AmountMinor, a.MomentJudged))
	}
	slices.Sort(briefs)
	return briefs
}

// One that was told too late says that records were read twice, and appends no more.
func TestIngestPastItsEnd(t *testing.T) {
	log := newWorld(t, 1)
	configs, publish := follow(t, log)
	for p := range 4 {
		appendTo(t, log, topic.RawAuthorization.Name, rawRecord(t, arrival{event: sale(p, 1)}))
	}
	group := newOffsets()
	group.committed = 3
	publish(turnsOf(t, 2, false))
	until(t, ingestOf(log, configs, saleFeed, &handClock{ms: 1, step: 1}), group, func(_ stage.IngestProgress, p stage.Pause) bool {
		return !p.Ended && strings.Contains(p.Why, "until_offset 2, and it has read to offset 3")
	})
	for _, r := range decoded(t, log, 0) {
		if r.GetEvent() != nil {
			t.Errorf("appended %v", r)
		}
	}
}
