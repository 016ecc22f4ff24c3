package stage_test

import (
	"bytes"
	"compress/flate"
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"testing"
	"time"

	"settlewatch/pipelines/join"
	"settlewatch/pipelines/sim"
	"settlewatch/pipelines/stage"
	"settlewatch/schemas/event"
	"settlewatch/schemas/topic"
)

// grown is a log whose payment log has other partitions than were made.
type grown struct {
	stage.Log
	partitions func() int
}

func (g grown) Partitions(ctx context.Context, name string) (int, error) {
	if name == topic.PaymentLog.Name {
		return g.partitions(), nil
	}
	return g.Log.Partitions(ctx, name)
}

// partitioned is the history under a CONFIG that says how many partitions there are.
func partitioned(t *testing.T, n uint32) []*event.LogRecord {
	t.Helper()
	records := logRecords(t, history())
	records[0].GetConfig().LogPartitions = n
	return records
}

func TestJoinerRefusesAnotherNumberOfPartitions(t *testing.T) {
	t.Run("in the configuration", func(t *testing.T) {
		w := newJoinWorld(t, partitioned(t, 2)...)
		if err := w.fold(healthy()); !errors.Is(err, stage.ErrPartitionsChanged) {
			t.Fatalf("it ends with: %v", err)
		}
		if briefs, _ := published(t, w.log); len(briefs) > 0 || w.stored().Meta != nil {
			t.Errorf("published %v, stored offset %d", briefs, w.stored().Offset)
		}
	})
	t.Run("since the state was stored", func(t *testing.T) {
		w := newJoinWorld(t, partitioned(t, 1)...)
		w.mustFold()
		before := w.stored()
		j := w.joiner(healthy())
		j.Log = grown{w.log, func() int { return 2 }}
		err := j.Own(t.Context(), w.group.assignment(topic.PaymentLog.Name, 0, healthy()))
		if !errors.Is(err, stage.ErrPartitionsChanged) || w.stored().Sequence != before.Sequence {
			t.Fatalf("it ends with: %v", err)
		}
	})
	t.Run("while it runs", func(t *testing.T) {
		w := newJoinWorld(t, partitioned(t, 1)...)
		n, clock := 1, &handClock{ms: monday10}
		r := w.start(func(j *stage.Joiner) {
			j.Log, j.Clock = grown{j.Log, func() int { return n }}, clock
		})
		r.turn()
		n = 2
		r.turn() // not yet looked at again
		clock.set(monday10 + (31 * time.Second).Milliseconds())
		if err := r.fail(); !errors.Is(err, stage.ErrPartitionsChanged) {
			t.Fatalf("it ends with: %v", err)
		}
	})
}

func TestJoinerRefusesANewerState(t *testing.T) {
	records := logRecords(t, history())
	w := newJoinWorld(t, records...)
	w.mustFold()
	newer := w.stored()
	newer.Meta = bytes.Replace(newer.Meta, []byte(`"format":`), []byte(`"format":9`), 1)
	w.store.Restore(sim.StateSnapshot{})
	owner := w.store.Owner()
	if err := errors.Join(owner.Acquire(t.Context()), owner.Restore(t.Context(), newer)); err != nil {
		t.Fatal(err)
	}
	if err := w.fold(healthy()); !errors.Is(err, join.ErrNewerState) {
		t.Fatalf("it ends with: %v", err)
	}
	if after := w.stored(); !bytes.Equal(after.Meta, newer.Meta) {
		t.Error("it changed what is stored")
	}
}

// A state that was folded under a CONFIG which this program cannot run is not loaded by
// it: somebody went back to an older release.
func TestJoinerRefusesAStoredConfigOfAnotherVersion(t *testing.T) {
	w := newJoinWorld(t, logRecords(t, history())...)
	w.mustFold()
	stored := w.stored()
	var meta map[string]json.RawMessage
	read, err := join.ReadMeta(stored.Meta)
	if err = errors.Join(err, json.Unmarshal(stored.Meta, &meta)); err != nil {
		t.Fatal(err)
	}
	config := read.Config
	config.JoinVersion = join.Version + 1
	value, err := config.MarshalVT()
	if err != nil {
		t.Fatal(err)
	}
	var packed bytes.Buffer
	to, err := flate.NewWriter(&packed, flate.BestSpeed)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := to.Write(value); err != nil {
		t.Fatal(err)
	}
	if err := to.Close(); err != nil {
		t.Fatal(err)
	}
	if meta["packed_config"], err = json.Marshal(packed.Bytes()); err != nil {
		t.Fatal(err)
	}
	if stored.Meta, err = json.Marshal(meta); err != nil {
		t.Fatal(err)
	}
	w.store.Restore(sim.StateSnapshot{})
	owner := w.store.Owner()
	if err := errors.Join(owner.Acquire(t.Context()), owner.Restore(t.Context(), stored)); err != nil {
		t.Fatal(err)
	}
	unsupported := new(join.UnsupportedConfigError)
	if err := w.fold(healthy()); !errors.As(err, &unsupported) {
		t.Fatalf("it ends with: %v", err)
	}
	if after := w.stored(); !bytes.Equal(after.Meta, stored.Meta) {
		t.Error("it changed what is stored")
	}
}

// What is no record of ours stops nobody who has a place for it, and changes no alert.
func TestJoinerSetsAsideWhatIsNoRecord(t *testing.T) {
	records, want := reference(t)
	w := newJoinWorld(t, records[:5]...)
	poison := []stage.Record{{Value: bytes.Repeat([]byte("{"), 1<<20)}, {}, {Value: []byte{0xff}}}
	poison = append(poison, encoded(t, &event.LogRecord{Body: &event.LogRecord_Mark{Mark: &event.Mark{TMs: 1}}})...)
	appendTo(t, w.log, topic.PaymentLog.Name, poison...)
	w.append(records[5:]...)
	appendTo(t, w.log, topic.PaymentLog.Name, poison...)
	var offsets []int64
	w.refuse = func(_ context.Context, r stage.Refused) error {
		if len(offsets) == 0 || r.Record.Offset > offsets[len(offsets)-1] {
			offsets = append(offsets, r.Record.Offset)
		}
		return nil
	}
	w.mustFold()
	briefs, bodies := published(t, w.log)
	mustBe(t, "alerts", briefs, historyAlerts)
	for brief, body := range want.bodies {
		if !bytes.Equal(bodies[brief], body) {
			t.Errorf("alert %s:\n%s\nwant\n%s", brief, bodies[brief], body)
		}
	}
	end := w.end()
	mustBe(t, "set aside", offsets, []int64{5, 6, 7, 8, end - 4, end - 3, end - 2, end - 1})
	if w.stored().Offset != end {
		t.Errorf("it stands at offset %d of %d", w.stored().Offset, end)
	}
	w.mustFold() // the record before the position is one of those
}

func TestIngestRefusesAnotherNumberOfPartitions(t *testing.T) {
	log := newWorld(t, 2)
	configs, publish := follow(t, log)
	config := configOf(t, event.Clock_CLOCK_LIVE, saleFeed)
	config.LogPartitions = 4
	publish(config)
	in := &stage.Ingest{
		Log: log, Clock: &handClock{ms: monday10}, Configs: configs, Intake: nil, Logger: slog.New(slog.DiscardHandler),
		Service: saleFeed.Service, Profile: saleFeed.Profile, Version: saleFeed.Version,
	}
	appendTo(t, log, saleFeed.Topic, stage.Record{Value: []byte("x")})
	err := in.Own(t.Context(), newOffsets().assignment(saleFeed.Topic, 0, healthy()))
	if !errors.Is(err, stage.ErrPartitionsChanged) {
		t.Fatalf("it ends with: %v", err)
	}
	configure := &stage.Configure{Log: log}
	err = configure.Own(t.Context(), newOffsets().assignment(topic.Config.Name, 0, healthy()))
	if !errors.Is(err, stage.ErrPartitionsChanged) {
		t.Fatalf("carrying the configuration ends with: %v", err)
	}
	for p := range int32(2) {
		if records, err := log.Records(topic.PaymentLog.Name, p); err != nil || len(records) > 0 {
			t.Errorf("%d records in partition %d (%v)", len(records), p, err)
		}
	}
}
