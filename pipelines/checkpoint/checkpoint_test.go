package checkpoint_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"reflect"
	"slices"
	"strings"
	"testing"

	"settlewatch/pipelines/bus"
	"settlewatch/pipelines/checkpoint"
	"settlewatch/pipelines/servers/serverstest"
	"settlewatch/pipelines/sim"
	"settlewatch/pipelines/stage"
	"settlewatch/schemas/topic"
)

func TestMain(m *testing.M) { serverstest.Main(m) }

// stateAt is a state of some size that says its offset everywhere.
func stateAt(offset int64, bytes int) stage.Stored {
	random := rand.New(rand.NewPCG(uint64(offset), 1))
	s := stage.Stored{Sequence: uint64(offset) + 7, Offset: offset, Meta: fmt.Appendf(nil, "meta %d", offset)}
	for n := 0; n < bytes; {
		value := make([]byte, 1+random.IntN(1+bytes/3))
		for i := range value {
			value[i] = byte(random.Uint32())
		}
		if n += len(value); n%3 == 0 {
			s.Ring = append(s.Ring, value)
		} else {
			s.Buckets = append(s.Buckets, stage.Bucket{Index: n, Value: value})
		}
	}
	s.RingFirst = s.Sequence + 1 - uint64(len(s.Ring))
	return s
}

func newTopic(t *testing.T, partitions int) *sim.Log {
	t.Helper()
	log := sim.NewLog()
	if err := log.CreateTopic(topic.Checkpoints.Name, partitions); err != nil {
		t.Fatal(err)
	}
	return log
}

func save(t *testing.T, s *checkpoint.Store, partition int32, stored stage.Stored) checkpoint.Manifest {
	t.Helper()
	m, err := s.Save(t.Context(), partition, stored)
	if err != nil {
		t.Fatal(err)
	}
	return m
}

func mustBeLatest(t *testing.T, s *checkpoint.Store, partition int32, want stage.Stored) {
	t.Helper()
	got, found, err := s.Latest(t.Context(), partition)
	if err != nil || !found {
		t.Fatalf("no checkpoint (%v)", err)
	}
	if !reflect.DeepEqual(got, want) {
		t.Fatalf("the latest is sequence %d at offset %d with %d buckets and %d deltas, want offset %d, %d, %d",
			got.Sequence, got.Offset, len(got.Buckets), len(got.Ring), want.Offset, len(want.Buckets), len(want.Ring))
	}
}

func TestRoundTrip(t *testing.T) {
	log := newTopic(t, 2)
	log.LimitBatch(3)
	s := &checkpoint.Store{Log: log}
	if _, found, err := s.Latest(t.Context(), 0); found || err != nil {
		t.Fatalf("an empty topic has one (%v)", err)
	}
	offset := int64(0)
	for _, size := range []int{0, 1, 1000, 511 << 10, 512 << 10, 513 << 10, 3 << 20, 10, 5 << 20} {
		for partition := range int32(3) { // two of them share a partition of the topic
			offset++
			want := stateAt(offset, size)
			m := save(t, s, partition, want)
			mustBeLatest(t, s, partition, want)
			if m.Bytes < int64(size) || m.Chunks < size>>19 {
				t.Errorf("%d bytes are %+v", size, m)
			}
		}
	}
	for p := range int32(2) {
		records, err := log.Records(topic.Checkpoints.Name, p)
		if err != nil {
			t.Fatal(err)
		}
		keys := map[string]bool{}
		for _, r := range records {
			if len(r.Value) > 512<<10 {
				t.Errorf("%s has %d bytes", r.Key, len(r.Value))
			}
			keys[string(r.Key)] = len(r.Value) > 0
		}
		// What compaction keeps: two slots a partition, nothing of longer ones before.
		for key, stands := range keys {
			if stands && !strings.HasSuffix(key, "manifest") && !slices.ContainsFunc(manifests(t, s, p, p+2), func(m checkpoint.Manifest) bool {
				var chunk int
				rest, ours := strings.CutPrefix(key, fmt.Sprintf("payment-log.v1/%d/%d/", m.Partition, m.Slot))
				_, err := fmt.Sscanf(rest, "%d", &chunk)
				return ours && err == nil && chunk < m.Chunks
			}) {
				t.Errorf("%s stays for ever", key)
			}
		}
	}
}

func manifests(t *testing.T, s *checkpoint.Store, partitions ...int32) (all []checkpoint.Manifest) {
	t.Helper()
	for _, p := range partitions {
		of, err := s.Manifests(t.Context(), p)
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, of...)
	}
	return all
}

// failing lets so many appends through.
type failing struct {
	stage.Log
	left int
}

var errDown = errors.New("down")

func (f *failing) Append(ctx context.Context, batches ...stage.Outgoing) error {
	if f.left--; f.left < 0 {
		return errDown
	}
	return f.Log.Append(ctx, batches...)
}

// A process that ends while it writes one leaves the one before, whole.
func TestCrashLeavesTheOneBefore(t *testing.T) {
	for left := 0; ; left++ {
		log := newTopic(t, 1)
		s := &checkpoint.Store{Log: log}
		save(t, s, 0, stateAt(1, 4<<20))
		second := stateAt(2, 4<<20)
		save(t, s, 0, second)
		third := stateAt(3, 2<<20)
		_, err := (&checkpoint.Store{Log: &failing{log, left}}).Save(t.Context(), 0, third)
		if err == nil {
			mustBeLatest(t, s, 0, third)
			if left < 4 {
				t.Errorf("it takes %d appends", left)
			}
			return
		}
		mustBeLatest(t, s, 0, second)
		save(t, s, 0, third) // in the slot that was left half-way
		mustBeLatest(t, s, 0, third)
		fourth := stateAt(4, 1<<20)
		save(t, s, 0, fourth)
		mustBeLatest(t, s, 0, fourth)
	}
}

// Without its newest checkpoint a partition has the one before.
func TestDamageFallsBack(t *testing.T) {
	first, second := stateAt(1, 3<<20), stateAt(2, 3<<20)
	log := newTopic(t, 1)
	s := &checkpoint.Store{Log: log}
	save(t, s, 0, first)
	save(t, s, 0, second)
	records, err := log.Records(topic.Checkpoints.Name, 0)
	if err != nil {
		t.Fatal(err)
	}
	last := len(records) - 2 // the last chunk of the second
	for name, spoil := range map[string]func([]stage.Record) []stage.Record{
		"a byte":               func(r []stage.Record) []stage.Record { r[last].Value[100] ^= 1; return r },
		"a byte of one before": func(r []stage.Record) []stage.Record { r[last-2].Value[100] ^= 1; return r },
		"a chunk is gone":      func(r []stage.Record) []stage.Record { return slices.Delete(r, last-1, last) },
		"of a zombie":          func(r []stage.Record) []stage.Record { r[last-1].Value[0] ^= 1; return r },
		"cut":                  func(r []stage.Record) []stage.Record { r[last].Value = r[last].Value[:len(r[last].Value)-1]; return r },
		"chunk repeated":       func(r []stage.Record) []stage.Record { return slices.Insert(r, last, r[last-1]) },
	} {
		again := newTopic(t, 1)
		if err := again.Append(t.Context(), stage.Outgoing{Topic: topic.Checkpoints.Name, Records: spoil(clone(records))}); err != nil {
			t.Fatal(err)
		}
		want := first
		if name == "chunk repeated" {
			want = second // a repeat is no damage
		}
		t.Run(name, func(t *testing.T) { mustBeLatest(t, &checkpoint.Store{Log: again}, 0, want) })
	}
}

func clone(records []stage.Record) (out []stage.Record) {
	for _, r := range records {
		r.Value = bytes.Clone(r.Value)
		out = append(out, r)
	}
	return out
}

func TestSaveRefuses(t *testing.T) {
	s := &checkpoint.Store{Log: newTopic(t, 1)}
	newer := stateAt(9, 100)
	save(t, s, 0, newer)
	if _, err := s.Save(t.Context(), 0, stateAt(8, 100)); !errors.Is(err, checkpoint.ErrNewer) {
		t.Errorf("an older state takes a newer one's place: %v", err)
	}
	if _, err := s.Save(t.Context(), 0, newer); !errors.Is(err, checkpoint.ErrSame) {
		t.Errorf("a state takes its own place: %v", err)
	}
	if _, err := s.Save(t.Context(), 0, stage.Stored{}); err == nil {
		t.Error("nothing was saved")
	}
	s.Check = func(context.Context, stage.Stored, checkpoint.Buckets, *checkpoint.Pace) error { return errDown }
	if _, err := s.Save(t.Context(), 0, stateAt(10, 100)); !errors.Is(err, errDown) {
		t.Errorf("what does not load is saved: %v", err)
	}
	mustBeLatest(t, s, 0, newer)
	if err := s.Discard(t.Context(), 0); err != nil {
		t.Fatal(err)
	}
	if _, found, err := s.Latest(t.Context(), 0); found || err != nil {
		t.Errorf("discarded, and there (%v)", err)
	}
	s.Check = nil
	older := stateAt(3, 100)
	save(t, s, 0, older)
	mustBeLatest(t, s, 0, older)
}

func TestOnKafka(t *testing.T) {
	kafka, err := bus.Dial(t.Context(), bus.Options{Brokers: []string{serverstest.Kafka(t)}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(kafka.Close)
	if err := kafka.CreateTopics(t.Context(), []topic.Topic{topic.Checkpoints}, 1); err != nil {
		t.Fatal(err)
	}
	s := &checkpoint.Store{Log: kafka}
	for offset, size := range []int{3 << 20, 6 << 20, 100, 2 << 20} {
		want := stateAt(int64(offset+1), size)
		save(t, s, 2, want)
		mustBeLatest(t, s, 2, want)
	}
	if err := s.Discard(t.Context(), 2); err != nil {
		t.Fatal(err)
	}
	if _, found, err := s.Latest(t.Context(), 2); found || err != nil {
		t.Errorf("discarded, and there (%v)", err)
	}
}
