package stage_test

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"testing"

	"settlewatch/pipelines/stage"
	"settlewatch/schemas/event"
	"settlewatch/schemas/topic"
)

// A played mark goes to every partition, behind the events before it and ahead of
// those after it, with the time it says.
func TestIngestPlayedMarks(t *testing.T) {
	log := newWorld(t, 2)
	configs, publish := follow(t, log)
	publish(configOf(t, event.Clock_CLOCK_PLAYED, saleFeed))
	one, two := paymentOf(0, 2), paymentOf(1, 2)
	appendTo(t, log, topic.RawAuthorization.Name,
		rawRecord(t, arrival{atMs: 1, event: sale(one, 1)}), playedMark(100), playedMark(-5),
		rawRecord(t, arrival{atMs: 3, event: sale(two, 1)}), playedMark(200))
	r := start(t, log, topic.RawAuthorization.Name, func(ctx context.Context, log stage.Log) error {
		return ingestOf(log, configs, saleFeed, &handClock{ms: 5000}).Own(ctx, newOffsets().assignment(topic.RawAuthorization.Name, 0, healthy()))
	})
	r.turn()
	r.turn()
	r.stop()
	mustBe(t, "partition 0", appended(t, log, 0, saleFeed), []string{fmt.Sprintf("0 acq|o|%d", one), "mark 100", "mark -5", "mark 200"})
	mustBe(t, "partition 1", appended(t, log, 1, saleFeed), []string{"mark 100", "mark -5", fmt.Sprintf("3 acq|o|%d", two), "mark 200"})
	for _, record := range decoded(t, log, 1) {
		if mark := record.GetMark(); mark != nil && record.ArrivalMs != mark.TMs {
			t.Errorf("the mark %d arrived at %d", mark.TMs, record.ArrivalMs)
		}
	}
}

// paymentOf is a payment whose records go to this one of so many partitions.
func paymentOf(partition int32, partitions int) int {
	for p := 1; ; p++ {
		if topic.Partition(fmt.Appendf(nil, "acq|o|%d", p), partitions) == partition {
			return p
		}
	}
}

// What looks like a mark and is none is read like any other record.
func TestIngestOddMarks(t *testing.T) {
	log := newWorld(t, 1)
	configs, publish := follow(t, log)
	publish(configOf(t, event.Clock_CLOCK_PLAYED, saleFeed))
	withValue := rawRecord(t, arrival{atMs: 1, event: sale(1, 1)})
	withValue.Headers = playedMark(100).Headers
	noNumber := stage.Record{Headers: []stage.Header{{Key: stage.MarkHeader, Value: []byte("soon")}}}
	appendTo(t, log, topic.RawAuthorization.Name, withValue, noNumber)
	r := start(t, log, topic.RawAuthorization.Name, func(ctx context.Context, log stage.Log) error {
		return ingestOf(log, configs, saleFeed, &handClock{ms: 5000}).Own(ctx, newOffsets().assignment(topic.RawAuthorization.Name, 0, healthy()))
	})
	r.turn()
	r.stop()
	mustBe(t, "the log", appended(t, log, 0, saleFeed), []string{"0 acq|o|1"})
	if letters := deadLetters(t, log); len(letters) != 1 {
		t.Errorf("dead letters %v", letters)
	}
}

// A loader's mark in a source whose marks come from the clock would say what
// nobody knows.
func TestIngestRefusesPlayedMarkInLiveSource(t *testing.T) {
	log := newWorld(t, 1)
	configs, publish := follow(t, log)
	publish(configOf(t, event.Clock_CLOCK_LIVE, saleFeed, saleFeedAt(1)))
	appendTo(t, log, topic.RawAuthorization.Name, playedMark(9_999_999))
	group := newOffsets()
	r := start(t, log, topic.RawAuthorization.Name, func(ctx context.Context, log stage.Log) error {
		return ingestOf(log, configs, saleFeed, &handClock{ms: 5000}).Own(ctx, group.assignment(topic.RawAuthorization.Name, 0, healthy()))
	})
	r.turn()
	r.stop()
	mustBe(t, "the log", appended(t, log, 0, saleFeed), []string{"mark 5000"})
	mustBe(t, "dead letters", deadLetters(t, log), []string{
		fmt.Sprintf("raw.authorization.v1/0 %s offset 0: %s", saleFeed, stage.ErrMarkInLive),
	})
	if group.get() != 1 {
		t.Errorf("committed %d", group.get())
	}
}

// A source that CONFIG does not expect stops at its first played mark: what came
// before is in the log, nothing is committed, and it goes on when CONFIG comes.
func TestIngestWaitsForConfig(t *testing.T) {
	for name, c := range map[string]struct {
		clock event.Clock
		want  []string
		lost  int
	}{
		"played": {event.Clock_CLOCK_PLAYED, []string{"0 acq|o|1", "mark 100", "2 acq|o|2"}, 0},
		"live":   {event.Clock_CLOCK_LIVE, []string{"0 acq|o|1", "2 acq|o|2", "mark 5000"}, 1},
	} {
		t.Run(name, func(t *testing.T) {
			log := newWorld(t, 1)
			configs, publish := follow(t, log)
			appendTo(t, log, topic.RawAuthorization.Name,
				rawRecord(t, arrival{atMs: 1, event: sale(1, 1)}), playedMark(100), rawRecord(t, arrival{atMs: 3, event: sale(2, 1)}))
			group := newOffsets()
			seen := make(chan stage.IngestProgress, 10)
			r := start(t, log, topic.RawAuthorization.Name, func(ctx context.Context, log stage.Log) error {
				i := ingestOf(log, configs, saleFeed, &handClock{ms: 5000})
				i.Seen = func(p stage.IngestProgress) { seen <- p }
				return i.Own(ctx, group.assignment(topic.RawAuthorization.Name, 0, healthy()))
			})
			r.begin()
			if p := <-seen; p.Events != 1 || p.Next != 0 {
				t.Errorf("progress while it waits: %+v", p)
			}
			check := func() {
				t.Helper()
				mustBe(t, "the log while it waits", appended(t, log, 0, saleFeed), []string{"0 acq|o|1"})
				if group.get() != stage.None {
					t.Errorf("committed %d while it waits", group.get())
				}
			}
			check()
			publish(configOf(t, c.clock, lineFeed))
			check()
			publish(configOf(t, c.clock, saleFeed, saleFeedAt(1)))
			r.await()
			if p := <-seen; p.Events != 1 || p.DeadLetters != c.lost || p.Next != 3 {
				t.Errorf("progress after it waited: %+v", p)
			}
			r.stop()
			mustBe(t, "the log", appended(t, log, 0, saleFeed), c.want)
			if group.get() != 3 || len(deadLetters(t, log)) != c.lost {
				t.Errorf("committed %d, dead letters %v", group.get(), deadLetters(t, log))
			}
		})
	}
}

// While it waits, the end of the assignment ends it, and a log that fails too.
func TestIngestEndsWhileItWaits(t *testing.T) {
	log := newWorld(t, 1)
	appendTo(t, log, topic.RawAuthorization.Name, rawRecord(t, arrival{atMs: 1, event: sale(1, 1)}), playedMark(100))
	group := newOffsets()
	own := func(seen chan struct{}, b *breakdown) func(ctx context.Context, log stage.Log) error {
		return func(ctx context.Context, log stage.Log) error {
			i := ingestOf(frailLog{log, b}, stage.NewConfigs(), saleFeed, &handClock{ms: 5000})
			i.Seen = func(stage.IngestProgress) { close(seen) }
			return i.Own(ctx, group.assignment(topic.RawAuthorization.Name, 0, healthy()))
		}
	}
	seen := make(chan struct{})
	r := start(t, log, topic.RawAuthorization.Name, own(seen, healthy()))
	r.begin()
	<-seen
	r.stop()
	// Open, bounds, partitions and fetch are the calls before the append.
	r = start(t, log, topic.RawAuthorization.Name, own(make(chan struct{}), &breakdown{at: 4}))
	if err := r.fail(); !errors.Is(err, errDown) {
		t.Errorf("a log that fails while it waits ends it with: %v", err)
	}
	if group.get() != stage.None {
		t.Errorf("committed %d", group.get())
	}
}

// A live mark says the clock before the fetch, and stands behind all that the
// fetch showed to be there.
func TestIngestLiveMarks(t *testing.T) {
	log := newWorld(t, 2)
	log.LimitBatch(2)
	configs, publish := follow(t, log)
	publish(configOf(t, event.Clock_CLOCK_LIVE, saleFeed, saleFeedAt(1)))
	one, two := paymentOf(0, 2), paymentOf(1, 2)
	event := func(offset int) stage.Record {
		return rawRecord(t, arrival{atMs: int64(offset), event: sale([]int{one, two}[offset%2], 1)})
	}
	for offset := range 5 {
		appendTo(t, log, topic.RawAuthorization.Name, event(offset))
	}
	clock := &handClock{ms: 1002}
	r := start(t, log, topic.RawAuthorization.Name, func(ctx context.Context, log stage.Log) error {
		return ingestOf(log, configs, saleFeed, clock).Own(ctx, newOffsets().assignment(topic.RawAuthorization.Name, 0, healthy()))
	})
	expect := func(what string, want ...string) {
		t.Helper()
		all := [2][]string{}
		for _, w := range want {
			if offset, err := strconv.Atoi(w); err == nil {
				all[offset%2] = append(all[offset%2], fmt.Sprintf("%d acq|o|%d", offset, []int{one, two}[offset%2]))
			} else {
				all[0], all[1] = append(all[0], w), append(all[1], w)
			}
		}
		for p := range int32(2) {
			mustBe(t, fmt.Sprintf("%s: partition %d", what, p), appended(t, log, p, saleFeed), all[p])
		}
	}
	// The clock is read before the stage asks, so what a test sets is the next turn's.
	at := func(ms int64) {
		clock.set(ms)
		r.turn()
	}
	at(2002) // the fetch of 1002
	expect("more lies ahead", "0", "1")
	appendTo(t, log, topic.RawAuthorization.Name, event(5))
	at(3002)
	expect("what lay there at 1002 is not all queued", "0", "1", "2", "3")
	at(4002)
	expect("the fetch of 3002 showed all", "0", "1", "2", "3", "4", "5", "mark 3002")
	at(4100)
	expect("an empty reply at the end", "0", "1", "2", "3", "4", "5", "mark 3002", "mark 4002")
	at(4251)
	expect("not more often than every 250 ms", "0", "1", "2", "3", "4", "5", "mark 3002", "mark 4002")
	at(4252)
	at(3002)
	want := []string{"0", "1", "2", "3", "4", "5", "mark 3002", "mark 4002", "mark 4252"}
	expect("the interval is over", want...)
	at(4300)
	at(5002)
	expect("a clock that was set back says nothing", want...)
	at(6002)
	expect("until it is past where it was", append(want, "mark 5002")...)
	r.stop()
}

// Under load that it never catches up with, marks advance all the same.
func TestIngestMarksUnderLoad(t *testing.T) {
	log := newWorld(t, 1)
	log.LimitBatch(1)
	configs, publish := follow(t, log)
	publish(configOf(t, event.Clock_CLOCK_LIVE, saleFeed, saleFeedAt(1)))
	clock := &handClock{ms: 0}
	appendTo(t, log, topic.RawAuthorization.Name, rawRecord(t, arrival{event: sale(1, 1)}), rawRecord(t, arrival{event: sale(1, 1)}))
	r := start(t, log, topic.RawAuthorization.Name, func(ctx context.Context, log stage.Log) error {
		return ingestOf(log, configs, saleFeed, clock).Own(ctx, newOffsets().assignment(topic.RawAuthorization.Name, 0, healthy()))
	})
	for turn := range int64(20) {
		clock.set((turn + 1) * 1000)
		appendTo(t, log, topic.RawAuthorization.Name, rawRecord(t, arrival{event: sale(1, 1)}))
		r.turn()
	}
	r.stop()
	// Two records of backlog: turn n ends what the fetch of turn n-2 showed.
	next, last := int64(-1), int64(-1)
	for _, record := range decoded(t, log, 0) {
		if mark := record.GetMark(); mark == nil {
			next = record.Origin.Offset
		} else {
			// At turn k the topic held k + 3 records.
			if shown := mark.TMs/1000 + 3; next < shown-1 {
				t.Errorf("mark %d behind offset %d, when %d records lay there", mark.TMs, next, shown)
			}
			if mark.TMs <= last {
				t.Errorf("mark %d after %d", mark.TMs, last)
			}
			last = mark.TMs
		}
	}
	if last < 14_000 {
		t.Errorf("after 20 turns the last mark is %d", last)
	}
}

// What lies in a partition that CONFIG does not know would not be waited for: the
// whole topic gives no marks until it does. A played partition counts as known.
func TestIngestMarksWaitForAllPartitions(t *testing.T) {
	log := newWorld(t, 1)
	configs, publish := follow(t, log)
	clock := &handClock{ms: 1000}
	r := start(t, log, topic.RawAuthorization.Name, func(ctx context.Context, log stage.Log) error {
		return ingestOf(log, configs, saleFeed, clock).Own(ctx, newOffsets().assignment(topic.RawAuthorization.Name, 0, healthy()))
	})
	at := func(ms int64, want ...string) {
		t.Helper()
		clock.set(ms)
		r.turn()
		mustBe(t, "the log", appended(t, log, 0, saleFeed), want)
	}
	at(2000)
	publish(configOf(t, event.Clock_CLOCK_LIVE, saleFeed))
	at(3000)
	publish(configOf(t, event.Clock_CLOCK_LIVE, saleFeedAt(1)))
	at(4000)
	other := saleFeedAt(1)
	other.Version = 2 // by whichever version: it is waited for
	publish(configOf(t, event.Clock_CLOCK_LIVE, saleFeed, other))
	at(5000, "mark 4000")
	publish(configOf(t, event.Clock_CLOCK_LIVE, saleFeed, saleFeedAt(1)))
	at(6000, "mark 4000", "mark 5000")
	publish(configOf(t, event.Clock_CLOCK_LIVE, lineFeed))
	at(7000, "mark 4000", "mark 5000")
	publish(configOf(t, event.Clock_CLOCK_PLAYED, saleFeed, saleFeedAt(1)))
	at(8000, "mark 4000", "mark 5000")
	both := configOf(t, event.Clock_CLOCK_LIVE, saleFeed, saleFeedAt(1))
	both.Groups[0].Sources[1].Clock = event.Clock_CLOCK_PLAYED
	publish(both)
	at(9000, "mark 4000", "mark 5000", "mark 8000")
	r.stop()
}
