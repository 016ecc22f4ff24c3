package stage_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"

	"settlewatch/pipelines/sim"
	"settlewatch/pipelines/stage"
	"settlewatch/schemas/event"
	"settlewatch/schemas/topic"
)

// rawIntake reads an event's own encoding; a value that says why it is bad is bad.
type rawIntake struct{ noLetter error }

// listIntake reads a list of names of events. What is left out of a list of none is
// left out; a bad name refuses itself alone.
type listIntake struct{ rawIntake }

func (listIntake) Events(raw []byte, into []*event.Event) ([]*event.Event, error) {
	var err error
	for name := range strings.SplitSeq(string(raw), " ") {
		if n, notNumber := strconv.Atoi(name); notNumber == nil {
			into = append(into, sale(n, 1))
		} else if name != "" {
			err = errors.New(name)
		}
	}
	return into, err
}

// A raw record gives none, one or several events, each with its index at the
// record's offset, in their order; what is wrong with one of them is one dead letter.
func TestIngestSeveralEvents(t *testing.T) {
	const partitions = 3
	log := newWorld(t, partitions)
	var raw []stage.Record
	want := make([][]string, partitions)
	for offset, list := range []string{"1 2 3", "", "4", "5 wrong 6 7", "wrong", "8 8"} {
		raw = append(raw, stage.Record{Value: []byte(list), TimeMs: int64(offset)})
		index := 0
		for name := range strings.SplitSeq(list, " ") {
			if _, err := strconv.Atoi(name); err != nil {
				continue
			}
			key := "acq|o|" + name
			p := topic.Partition([]byte(key), partitions)
			want[p] = append(want[p], fmt.Sprintf("%d.%d %s", offset, index, key))
			index++
		}
	}
	appendTo(t, log, topic.RawAuthorization.Name, raw...)
	progress := stage.IngestProgress{}
	r := start(t, log, topic.RawAuthorization.Name, func(ctx context.Context, log stage.Log) error {
		i := ingestOf(log, stage.NewConfigs(), saleFeed, &handClock{ms: 5000})
		i.Intake = listIntake{}
		i.Seen = func(p stage.IngestProgress) { progress = p }
		return i.Own(ctx, newOffsets().assignment(topic.RawAuthorization.Name, 0, healthy()))
	})
	r.turn()
	r.stop()
	for p := range partitions {
		var got []string
		for _, r := range decoded(t, log, int32(p)) {
			got = append(got, fmt.Sprintf("%d.%d %s", r.Origin.Offset, r.Origin.Index, r.GetEvent().PaymentKey))
		}
		mustBe(t, fmt.Sprint("log partition ", p), got, want[p])
	}
	if progress.Events != 9 || progress.LeftOut != 1 || progress.DeadLetters != 2 {
		t.Errorf("progress %+v", progress)
	}
}

const bad = "bad: "

func (rawIntake) Events(raw []byte, into []*event.Event) ([]*event.Event, error) {
	if reason, is := isBad(raw); is {
		return nil, errors.New(reason)
	}
	e := new(event.Event)
	return append(into, e), e.UnmarshalVT(raw)
}

func isBad(raw []byte) (string, bool) {
	n := min(len(raw), len(bad))
	return string(raw[n:]), len(raw) == 0 || string(raw[:n]) == bad
}

// DeadLetter says where the raw record lies, what it was, and what the reason is.
func (i rawIntake) DeadLetter(source event.Source, raw stage.Record, reason error) (stage.Record, error) {
	value := fmt.Sprintf("%s offset %d: %s", source, raw.Offset, reason)
	return stage.Record{Key: fmt.Appendf(nil, "%s/%d", source.Topic, source.Partition), Value: []byte(value), TimeMs: raw.TimeMs}, i.noLetter
}

func rawRecord(t *testing.T, a arrival) stage.Record {
	t.Helper()
	if a.event == nil {
		return playedMark(a.atMs)
	}
	r := loadValue(t, a.event)
	r.Key, r.TimeMs = []byte("any"), a.atMs
	return r
}

func playedMark(tMs int64) stage.Record {
	return stage.Record{
		TimeMs:  tMs,
		Headers: []stage.Header{{Key: "other", Value: []byte("x")}, {Key: stage.MarkHeader, Value: []byte(strconv.FormatInt(tMs, 10))}},
	}
}

// ingestOf is one service on a log.
func ingestOf(log stage.Log, configs *stage.Configs, feed event.Source, clock stage.Clock) *stage.Ingest {
	return &stage.Ingest{
		Log: log, Clock: clock, Configs: configs, Intake: rawIntake{}, Logger: slog.New(slog.DiscardHandler),
		Service: feed.Service, Profile: feed.Profile, Version: feed.Version,
	}
}

// appended are a source's records of one log partition in brief.
func appended(t *testing.T, log *sim.Log, partition int32, source event.Source) (briefs []string) {
	t.Helper()
	for _, r := range decoded(t, log, partition) {
		if r.Origin.Source != source.String() {
			continue
		}
		if mark := r.GetMark(); mark != nil {
			briefs = append(briefs, fmt.Sprint("mark ", mark.TMs))
		} else {
			briefs = append(briefs, fmt.Sprintf("%d %s", r.Origin.Offset, r.GetEvent().PaymentKey))
		}
	}
	return briefs
}

func mustBe[T any](t *testing.T, what string, got, want []T) {
	t.Helper()
	if len(got) == 0 && len(want) == 0 {
		return
	}
	if fmt.Sprint(got) != fmt.Sprint(want) {
		t.Fatalf("%s:\n%v\nwant\n%v", what, got, want)
	}
}

// Every event goes to the partition of its payment, in the order of its source,
// with its origin and the raw record's time; whatever the batches are.
func TestIngestAppendsInOrder(t *testing.T) {
	const partitions = 3
	for seed := range uint64(20) {
		random := rand.New(rand.NewPCG(seed, 1))
		log := newWorld(t, partitions)
		log.LimitBatch(1 + random.IntN(9))
		var raw []stage.Record
		want := make([][]string, partitions)
		wantLetters := []string{}
		for offset := range 60 {
			if random.IntN(5) == 0 {
				raw = append(raw, stage.Record{Value: fmt.Appendf(nil, "%sreason %d", bad, offset), TimeMs: int64(offset)})
				wantLetters = append(wantLetters, fmt.Sprintf("raw.authorization.v1/1 %s offset %d: reason %d", saleFeedAt(1), offset, offset))
				continue
			}
			e := sale(random.IntN(10), 100)
			raw = append(raw, rawRecord(t, arrival{atMs: 1000 - int64(offset), event: e}))
			p := topic.Partition([]byte(e.PaymentKey), partitions)
			want[p] = append(want[p], fmt.Sprintf("%d %s", offset, e.PaymentKey))
		}
		if err := log.Append(t.Context(), stage.Outgoing{Topic: topic.RawAuthorization.Name, Partition: 1, Records: raw}); err != nil {
			t.Fatal(err)
		}
		progress := stage.IngestProgress{}
		r := start(t, log, topic.RawAuthorization.Name, func(ctx context.Context, log stage.Log) error {
			i := ingestOf(log, stage.NewConfigs(), saleFeed, &handClock{ms: 5000})
			i.Seen = func(p stage.IngestProgress) {
				progress.Events += p.Events
				progress.DeadLetters += p.DeadLetters
				progress.Source, progress.Next, progress.HighWatermark = p.Source, p.Next, p.HighWatermark
			}
			return i.Own(ctx, newOffsets().assignment(topic.RawAuthorization.Name, 1, healthy()))
		})
		for progress.Next < int64(len(raw)) {
			r.turn()
		}
		r.stop()
		for p := range partitions {
			mustBe(t, fmt.Sprint("log partition ", p), appended(t, log, int32(p), saleFeedAt(1)), want[p])
			checkAppended(t, log, int32(p), raw)
		}
		mustBe(t, "dead letters", deadLetters(t, log), wantLetters)
		if want := (stage.IngestProgress{
			Source: saleFeedAt(1).String(), Events: 60 - len(wantLetters), DeadLetters: len(wantLetters), Next: 60, HighWatermark: 60,
		}); progress != want {
			t.Fatalf("progress %+v, want %+v", progress, want)
		}
	}
}

func saleFeedAt(partition int32) event.Source {
	s := saleFeed
	s.Partition = partition
	return s
}

// checkAppended holds every record of a log partition against the raw one.
func checkAppended(t *testing.T, log *sim.Log, partition int32, raw []stage.Record) {
	t.Helper()
	records, err := log.Records(topic.PaymentLog.Name, partition)
	if err != nil {
		t.Fatal(err)
	}
	for i, r := range decoded(t, log, partition) {
		from := raw[r.Origin.Offset]
		want := new(event.Event)
		if err := want.UnmarshalVT(from.Value); err != nil {
			t.Fatal(err)
		}
		if !proto.Equal(r.GetEvent(), want) || r.ArrivalMs != from.TimeMs || records[i].TimeMs != from.TimeMs ||
			r.Origin.Index != 0 || r.Origin.Generation != 0 || string(records[i].Key) != want.PaymentKey {
			t.Fatalf("record %v with key %q at %d, of raw record at %d", r, records[i].Key, records[i].TimeMs, from.TimeMs)
		}
	}
}

func deadLetters(t *testing.T, log *sim.Log) (lines []string) {
	t.Helper()
	records, err := log.Records(topic.DeadLetters.Name, 0)
	if err != nil {
		t.Fatal(err)
	}
	for _, r := range records {
		lines = append(lines, fmt.Sprintf("%s %s", r.Key, r.Value))
	}
	return lines
}

// A played source, whose process breaks down at any of its calls and starts again
// from what it committed: nothing is missing, nothing is committed too early, and
// the join makes the same of it.
func TestIngestSurvivesEveryBreakdown(t *testing.T) {
	const partitions = 2
	arrivals := history()
	var raw []stage.Record
	for _, a := range arrivals {
		a.feed = saleFeed // one source for all
		raw = append(raw, rawRecord(t, a))
	}
	raw = slices.Insert(raw, 5, stage.Record{Value: []byte(bad + "unreadable")})
	config := configOf(t, event.Clock_CLOCK_PLAYED, saleFeed)

	run := func(b *breakdown) (folds []string, letters []string) {
		log := newWorld(t, partitions)
		log.LimitBatch(4)
		configs, publish := follow(t, log)
		publish(config)
		appendTo(t, log, topic.RawAuthorization.Name, raw...)
		record := &event.LogRecord{Origin: &event.Origin{Source: "config/config.v1/0/config@1"}, Body: &event.LogRecord_Config{Config: config}}
		for p := range partitions {
			if err := log.Append(t.Context(), stage.Outgoing{Topic: topic.PaymentLog.Name, Partition: int32(p), Records: encoded(t, record)}); err != nil {
				t.Fatal(err)
			}
		}
		group := newOffsets()
		group.on = func(offset int64) error {
			if missing := firstMissing(t, log, partitions, raw); missing < offset {
				t.Errorf("offset %d is committed, and what stands at %d is not appended", offset, missing)
			}
			return nil
		}
		if err := ingestAll(t, log, configs, group, b, int64(len(raw))); err != nil {
			if name, _ := b.happened(); !errors.Is(err, errDown) {
				t.Fatalf("a breakdown at %s ends it with: %v", name, err)
			}
			if err := ingestAll(t, log, configs, group, healthy(), int64(len(raw))); err != nil {
				t.Fatalf("the next process ends with: %v", err)
			}
		}
		if !slices.IsSorted(group.all) {
			t.Errorf("commits go back: %v", group.all)
		}
		for p := range partitions {
			folds = append(folds, foldLog(t, log, int32(p)))
		}
		return folds, slices.Compact(deadLetters(t, log))
	}

	wantFolds, wantLetters := run(healthy())
	if len(wantLetters) != 1 || len(wantFolds[0]) == 0 || len(wantFolds[1]) == 0 {
		t.Fatalf("the reference is empty: %v, %v", wantFolds, wantLetters)
	}
	calls := everyBreakdown(func(b *breakdown) {
		folds, letters := run(b)
		name, _ := b.happened()
		mustBe(t, "alerts and payments after a breakdown at "+name, folds, wantFolds)
		mustBe(t, "dead letters after a breakdown at "+name, letters, wantLetters)
	})
	if calls < 30 {
		t.Errorf("only %d calls could break down", calls)
	}
}

// ingestAll is a process that reads one source until all is committed.
func ingestAll(t *testing.T, log *sim.Log, configs *stage.Configs, group *offsets, b *breakdown, end int64) error {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	i := ingestOf(frailLog{log, b}, configs, saleFeed, &handClock{ms: monday10, step: 1})
	i.MarkEvery = time.Millisecond
	i.Seen = func(stage.IngestProgress) {
		if group.get() == end {
			cancel()
		}
	}
	return i.Own(ctx, group.assignment(topic.RawAuthorization.Name, 0, b))
}

// firstMissing is the first raw offset of which something is neither in the log
// nor among the dead letters.
func firstMissing(t *testing.T, log *sim.Log, partitions int, raw []stage.Record) int64 {
	t.Helper()
	events, marks := map[int64]bool{}, map[int64]int{}
	for p := range partitions {
		for _, r := range decoded(t, log, int32(p)) {
			if mark := r.GetMark(); mark != nil {
				marks[mark.TMs] |= 1 << p
			} else if r.GetEvent() != nil {
				events[r.Origin.Offset] = true
			}
		}
	}
	letters := deadLetters(t, log)
	for offset, r := range raw {
		switch reason, isBad := isBad(r.Value); {
		case len(r.Headers) > 0:
			if marks[r.TimeMs] != 1<<partitions-1 {
				return int64(offset)
			}
		case isBad:
			if !slices.Contains(letters, fmt.Sprintf("raw.authorization.v1/0 %s offset %d: %s", saleFeed, offset, reason)) {
				return int64(offset)
			}
		case !events[int64(offset)]:
			return int64(offset)
		}
	}
	return int64(len(raw))
}

func TestIngestStart(t *testing.T) {
	for name, c := range map[string]struct {
		committed int64
		want      []string
		err       error
	}{
		"nothing committed is the first there is": {stage.None, []string{"2 acq|o|2", "3 acq|o|3"}, nil},
		"committed":               {3, []string{"3 acq|o|3"}, nil},
		"committed at the start":  {2, []string{"2 acq|o|2", "3 acq|o|3"}, nil},
		"committed at the end":    {4, nil, nil},
		"committed before it":     {1, nil, stage.ErrSourceChanged},
		"committed beyond it":     {5, nil, stage.ErrSourceChanged},
		"committed far before it": {0, nil, stage.ErrSourceChanged},
	} {
		t.Run(name, func(t *testing.T) {
			log := newWorld(t, 1)
			for p := range 4 {
				appendTo(t, log, topic.RawAuthorization.Name, rawRecord(t, arrival{event: sale(p, 1)}))
			}
			if err := log.Trim(topic.RawAuthorization.Name, 0, 2); err != nil {
				t.Fatal(err)
			}
			group := newOffsets()
			group.committed = c.committed
			own := func(ctx context.Context, log stage.Log) error {
				return ingestOf(log, stage.NewConfigs(), saleFeed, &handClock{ms: 5000}).
					Own(ctx, group.assignment(topic.RawAuthorization.Name, 0, healthy()))
			}
			if c.err != nil {
				if err := own(t.Context(), log); !errors.Is(err, c.err) {
					t.Fatalf("it ends with: %v", err)
				}
				return
			}
			r := start(t, log, topic.RawAuthorization.Name, own)
			r.turn()
			r.stop()
			mustBe(t, "the log", appended(t, log, 0, saleFeed), c.want)
		})
	}
}

// A topic that is created anew while it is read, or a bad dead letter, ends the
// source; so does a topic that is not there. Nothing is committed.
func TestIngestFails(t *testing.T) {
	world := func() (*sim.Log, *offsets, *stage.Ingest) {
		log := newWorld(t, 1)
		appendTo(t, log, topic.RawAuthorization.Name, rawRecord(t, arrival{event: sale(1, 1)}), stage.Record{Value: []byte(bad)})
		return log, newOffsets(), ingestOf(log, stage.NewConfigs(), saleFeed, &handClock{ms: 5000})
	}
	t.Run("created anew", func(t *testing.T) {
		log, group, i := world()
		r := start(t, log, topic.RawAuthorization.Name, func(ctx context.Context, log stage.Log) error {
			i.Log = log
			return i.Own(ctx, group.assignment(topic.RawAuthorization.Name, 0, healthy()))
		})
		r.turn()
		if err := log.Recreate(topic.RawAuthorization.Name); err != nil {
			t.Fatal(err)
		}
		if err := r.fail(); !errors.Is(err, stage.ErrSourceChanged) || !errors.Is(err, stage.ErrOffsetOutOfRange) {
			t.Errorf("it ends with: %v", err)
		}
	})
	t.Run("no dead letter", func(t *testing.T) {
		_, group, i := world()
		i.Intake = rawIntake{noLetter: errDown}
		if err := i.Own(t.Context(), group.assignment(topic.RawAuthorization.Name, 0, healthy())); !errors.Is(err, errDown) {
			t.Errorf("it ends with: %v", err)
		}
		if group.get() != stage.None {
			t.Errorf("committed %d", group.get())
		}
	})
	t.Run("no topic", func(t *testing.T) {
		_, group, i := world()
		if err := i.Own(t.Context(), group.assignment("raw.unknown.v1", 0, healthy())); !errors.Is(err, sim.ErrUnknownPartition) {
			t.Errorf("it ends with: %v", err)
		}
	})
	t.Run("the group moved on", func(t *testing.T) {
		_, group, i := world()
		over := errors.New("the assignment is over")
		group.on = func(int64) error { return over }
		if err := i.Own(t.Context(), group.assignment(topic.RawAuthorization.Name, 0, healthy())); !errors.Is(err, over) {
			t.Errorf("it ends with: %v", err)
		}
	})
}
