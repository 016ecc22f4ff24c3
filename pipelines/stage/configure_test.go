package stage_test

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"testing"

	"google.golang.org/protobuf/proto"

	"settlewatch/pipelines/hop"
	"settlewatch/pipelines/sim"
	"settlewatch/pipelines/stage"
	"settlewatch/schemas/event"
	"settlewatch/schemas/topic"
)

// configured are the numbers of the CONFIGs that a reader of one partition of the
// log accepts, in order; each is held against what was written.
func configured(t *testing.T, log *sim.Log, partition int32, written []*event.Config) (numbers []int64) {
	t.Helper()
	reader := hop.NewReader(nil, nil)
	for _, r := range decoded(t, log, partition) {
		if _, fresh := reader.Accept(r.Origin); !fresh {
			continue
		}
		number := r.Origin.Offset
		if want := "config/config.v1/0/config@1"; r.Origin.Source != want || r.ArrivalMs != 1000+number ||
			!proto.Equal(r.GetConfig(), written[number]) {
			t.Errorf("partition %d: CONFIG %d from %s arrived at %d as %v", partition, number, r.Origin.Source, r.ArrivalMs, r.GetConfig())
		}
		numbers = append(numbers, number)
	}
	return numbers
}

// A CONFIG reaches every partition of the log once per origin, in order, whatever
// call breaks down; its offset is committed when it has reached all.
func TestConfigureReachesEveryPartition(t *testing.T) {
	const partitions = 3
	var written []*event.Config
	for _, clock := range []event.Clock{event.Clock_CLOCK_PLAYED, event.Clock_CLOCK_LIVE, event.Clock_CLOCK_PLAYED} {
		written = append(written, configOf(t, clock, saleFeed))
	}
	run := func(b *breakdown) {
		log := newWorld(t, partitions)
		log.LimitBatch(2)
		for number, c := range written {
			r := loadValue(t, c)
			r.TimeMs = 1000 + int64(number)
			appendTo(t, log, topic.Config.Name, r)
		}
		group, end := newOffsets(), int64(len(written))
		own := func(b *breakdown) error {
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			group.on = func(offset int64) error {
				for p := range int32(partitions) {
					if numbers := configured(t, log, p, written); int64(len(numbers)) < offset {
						t.Errorf("offset %d is committed, and partition %d has %v", offset, p, numbers)
					}
				}
				if offset == end {
					cancel()
				}
				return nil
			}
			return (&stage.Configure{Log: frailLog{log, b}}).Own(ctx, group.assignment(topic.Config.Name, 0, b))
		}
		if err := own(b); err != nil {
			if name, _ := b.happened(); !errors.Is(err, errDown) {
				t.Fatalf("a breakdown at %s ends it with: %v", name, err)
			}
			if group.get() < end {
				if err := own(healthy()); err != nil {
					t.Fatalf("the next process ends with: %v", err)
				}
			}
		}
		for p := range int32(partitions) {
			mustBe(t, fmt.Sprint("partition ", p), configured(t, log, p, written), []int64{0, 1, 2})
		}
		if group.get() != end {
			t.Errorf("committed %d", group.get())
		}
	}
	run(healthy())
	if calls := everyBreakdown(run); calls < 15 {
		t.Errorf("only %d calls could break down", calls)
	}
}

func TestConfigureGoesOnFromWhatIsCommitted(t *testing.T) {
	log := newWorld(t, 1)
	for range 3 {
		appendTo(t, log, topic.Config.Name, loadValue(t, configOf(t, event.Clock_CLOCK_LIVE, saleFeed)))
	}
	group := newOffsets()
	group.committed = 2
	r := start(t, log, topic.Config.Name, func(ctx context.Context, log stage.Log) error {
		return (&stage.Configure{Log: log}).Own(ctx, group.assignment(topic.Config.Name, 0, healthy()))
	})
	r.turn()
	r.turn() // an empty reply is nothing to commit
	r.stop()
	if records := decoded(t, log, 0); len(records) != 1 || records[0].Origin.Offset != 2 {
		t.Errorf("appended %v", records)
	}
	mustBe(t, "commits", group.all, []int64{3})
}

// What is no CONFIG must not be handed on, nor passed over.
func TestConfigureRefuses(t *testing.T) {
	log := newWorld(t, 1)
	appendTo(t, log, topic.Config.Name, stage.Record{Value: []byte{0xff}})
	group := newOffsets()
	if err := (&stage.Configure{Log: log}).Own(t.Context(), group.assignment(topic.Config.Name, 0, healthy())); err == nil {
		t.Error("it ends without an error")
	}
	if records := decoded(t, log, 0); len(records) != 0 || group.get() != stage.None {
		t.Errorf("appended %v, committed %d", records, group.get())
	}
	group.committed = 2
	if err := (&stage.Configure{Log: log}).Own(t.Context(), group.assignment(topic.Config.Name, 0, healthy())); !errors.Is(err, stage.ErrSourceChanged) {
		t.Errorf("a committed offset beyond the end ends it with: %v", err)
	}
}

func TestConfigs(t *testing.T) {
	log := newWorld(t, 1)
	configs, publish := follow(t, log)
	expect := func(source event.Source, want event.Clock) {
		t.Helper()
		if got := configs.Clock(source.String()); got != want {
			t.Errorf("the clock of %s is %s, want %s", source, got, want)
		}
	}
	expect(saleFeed, event.Clock_CLOCK_UNKNOWN)
	if latest := configs.Latest(); latest != nil {
		t.Errorf("the latest CONFIG before the first is %v", latest)
	}
	first := configOf(t, event.Clock_CLOCK_LIVE, saleFeed)
	first.Groups = append(first.Groups, configOf(t, event.Clock_CLOCK_PLAYED, lineFeed).Groups...)
	publish(first)
	expect(saleFeed, event.Clock_CLOCK_LIVE)
	expect(lineFeed, event.Clock_CLOCK_PLAYED)
	expect(saleFeedAt(1), event.Clock_CLOCK_UNKNOWN)
	second := configOf(t, event.Clock_CLOCK_PLAYED, saleFeedAt(1))
	publish(second)
	expect(saleFeed, event.Clock_CLOCK_UNKNOWN)
	expect(lineFeed, event.Clock_CLOCK_UNKNOWN)
	expect(saleFeedAt(1), event.Clock_CLOCK_PLAYED)
	if latest := configs.Latest(); !proto.Equal(latest, second) {
		t.Errorf("the latest CONFIG is %v", latest)
	}
	// One that comes later knows the same.
	later, _ := follow(t, log)
	for !proto.Equal(later.Latest(), second) {
		runtime.Gosched()
	}
}

func TestConfigsFail(t *testing.T) {
	if err := stage.NewConfigs().Follow(t.Context(), sim.NewLog()); !errors.Is(err, sim.ErrUnknownPartition) {
		t.Errorf("without a topic it ends with: %v", err)
	}
	log := newWorld(t, 1)
	appendTo(t, log, topic.Config.Name, stage.Record{Value: []byte{0xff}})
	if err := stage.NewConfigs().Follow(t.Context(), log); err == nil {
		t.Error("what is no CONFIG is passed over")
	}
	if err := stage.NewConfigs().Follow(t.Context(), frailLog{log, &breakdown{at: 1}}); !errors.Is(err, errDown) {
		t.Errorf("a fetch that fails ends it with: %v", err)
	}
}
