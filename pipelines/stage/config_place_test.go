package stage_test

import (
	"context"
	"slices"
	"testing"

	"settlewatch/pipelines/stage"
	"settlewatch/schemas/event"
	"settlewatch/schemas/topic"
)

// A live mark says how many CONFIGs its ingest knew, so that a partition of the log
// that has not got them yet does not take it for more than it is.
func TestMarksSayWhichConfigTheyRestOn(t *testing.T) {
	log := newWorld(t, 1)
	configs, publish := follow(t, log)
	clock := &handClock{ms: 1000}
	publish(configOf(t, event.Clock_CLOCK_LIVE, saleFeed, saleFeedAt(1)))
	r := start(t, log, topic.RawAuthorization.Name, func(ctx context.Context, log stage.Log) error {
		return ingestOf(log, configs, saleFeed, clock).Own(ctx, newOffsets().assignment(topic.RawAuthorization.Name, 0, healthy()))
	})
	clock.set(2000)
	r.turn()
	publish(configOf(t, event.Clock_CLOCK_LIVE, saleFeed, saleFeedAt(1)))
	clock.set(3000)
	r.turn()
	r.stop()
	var counts []uint64
	for _, record := range decoded(t, log, 0) {
		counts = append(counts, record.GetMark().GetConfigs())
	}
	mustBe(t, "the marks' counts", counts, []uint64{1, 2})
}

// Who catches up reads from the beginning, and takes nothing back of what is known.
func TestConfigsNeverGoBack(t *testing.T) {
	log := newWorld(t, 1)
	configs, publish := follow(t, log)
	publish(configOf(t, event.Clock_CLOCK_LIVE, saleFeed))
	second := configOf(t, event.Clock_CLOCK_PLAYED, saleFeed)
	publish(second)
	log.LimitBatch(1)
	latest := configs.Latest()
	if err := configs.CatchUp(t.Context(), log); err != nil {
		t.Fatal(err)
	}
	if configs.Latest() != latest || configs.Count() != 2 {
		t.Errorf("after catching up the latest of %d is %v", configs.Count(), configs.Latest())
	}
}

// A partition that CONFIG does not know yet is for the version that goes on at the
// others of its topic: two that read it would make two events of each record.
func TestUnknownPartitionIsForWhoGoesOn(t *testing.T) {
	log := newWorld(t, 1)
	configs, publish := follow(t, log)
	second := saleFeed
	second.Version = 2
	config := configOf(t, event.Clock_CLOCK_LIVE, saleFeed, second)
	end := int64(7)
	config.Groups[0].Sources[0].UntilOffset, config.Groups[0].Sources[1].FromOffset = &end, &end
	first, next := saleFeedAt(1), saleFeedAt(1)
	next.Version = 2
	if others := configs.Turn(first.String()).Others; others != nil {
		t.Errorf("while nothing is known it is for %v", others)
	}
	publish(config)
	if others := configs.Turn(first.String()).Others; !slices.Equal(others, []string{next.String()}) {
		t.Errorf("the version that has ended leaves it to %v, want %s", others, next)
	}
	if others := configs.Turn(next.String()).Others; others != nil {
		t.Errorf("the version that goes on leaves it to %v", others)
	}
}
