// Package conformance holds one test suite per interface of package stage. It is
// run against every implementation, simulated and real: what a service relies on
// is what these tests say.
package conformance

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"

	"settlewatch/pipelines/stage"
)

// Bus is an implementation of stage.Log and stage.Group under test.
type Bus struct {
	Log stage.Log
	// CreateTopic makes an empty topic with a name of its own.
	CreateTopic func(t *testing.T, partitions int) (topic string)
	// Group returns a new member of a group.
	Group func(id string, topics ...string) stage.Group
}

const (
	// patience bounds a wait for something that must happen; it is long, since
	// only a failing test waits for it.
	patience = time.Minute
	// dataWait is the maxWait of a fetch that expects data.
	dataWait = 5 * time.Second
)

// Log runs the suite for stage.Log, stage.Reader and stage.Group. open is called
// once per test.
func Log(t *testing.T, open func(t *testing.T) Bus) {
	for name, test := range map[string]func(*testing.T, Bus){
		"a record comes back as it was appended": recordsComeBack,
		"an empty partition":                     emptyPartition,
		"offsets are contiguous across appends":  contiguousOffsets,
		"fetch from the middle":                  fetchFromMiddle,
		"fetch waits for data":                   fetchWaits,
		"fetch ends with its context":            fetchEndsWithContext,
		"an offset out of range":                 offsetOutOfRange,
		"partitions are apart":                   partitionsApart,
		"one append to several partitions":       appendToSeveral,
		"a large append keeps its order":         largeAppend,
		"concurrent appends keep their order":    concurrentAppends,
		"acknowledged is below the watermark":    watermarkAtOnce,
		"readers do not share memory":            readersApart,
		"a missing topic":                        missingTopic,
		"an append with an ended context":        appendEnded,
		"group: assigns every partition once":    groupAssignsAll,
		"group: commits are found again":         groupCommits,
		"group: an own that fails ends Run":      groupOwnFails,
		"group: a commit after the end fails":    groupLateCommit,
		"group: members share and hand over":     groupShares,
	} {
		t.Run(name, func(t *testing.T) { test(t, open(t)) })
	}
}

func recordsComeBack(t *testing.T, bus Bus) {
	topic := bus.CreateTopic(t, 1)
	want := []stage.Record{
		{Key: []byte("key"), Value: []byte("value"), TimeMs: 1_700_000_000_123},
		{Key: nil, Value: []byte("no key"), TimeMs: 1_700_000_000_000}, // earlier than the one before
		{Key: []byte("no value"), Value: nil, TimeMs: 1_700_000_000_456},
		{Key: []byte{}, Value: []byte{}, TimeMs: 1_600_000_000_000},
		{
			Key: []byte("headers"), Value: []byte{0, 255, 10}, TimeMs: 1_700_000_001_000,
			Headers: []stage.Header{{Key: "a", Value: []byte("1")}, {Key: "", Value: []byte{}}, {Key: "a", Value: []byte("2")}},
		},
	}
	mustAppend(t, bus, topic, 0, want)
	got := readAll(t, bus, topic, 0, 0, len(want))
	for i := range want {
		want[i].Offset = int64(i)
		mustEqual(t, got[i], want[i])
	}
}

func emptyPartition(t *testing.T, bus Bus) {
	topic := bus.CreateTopic(t, 1)
	reader := mustOpen(t, bus, topic, 0)
	batch := mustFetch(t, reader, 0, 10*time.Millisecond)
	if len(batch.Records) != 0 || batch.Next != 0 || batch.HighWatermark != 0 || batch.LogStart != 0 {
		t.Errorf("batch of an empty partition = %+v", batch)
	}
	mustBounds(t, reader, 0, 0)
	mustAppend(t, bus, topic, 0, nil)
	mustBounds(t, reader, 0, 0)
}

func contiguousOffsets(t *testing.T, bus Bus) {
	topic := bus.CreateTopic(t, 1)
	const appends, each = 7, 3
	for i := range appends {
		mustAppend(t, bus, topic, 0, numbered("r", i*each, each))
	}
	got := readAll(t, bus, topic, 0, 0, appends*each)
	for i, r := range got {
		if r.Offset != int64(i) || string(r.Value) != fmt.Sprintf("r%d", i) {
			t.Errorf("record %d has offset %d and value %q", i, r.Offset, r.Value)
		}
	}
	mustBounds(t, mustOpen(t, bus, topic, 0), 0, appends*each)
}

func fetchFromMiddle(t *testing.T, bus Bus) {
	topic := bus.CreateTopic(t, 1)
	mustAppend(t, bus, topic, 0, numbered("r", 0, 10)) // one batch: the broker sends it whole
	reader := mustOpen(t, bus, topic, 0)
	for from := range int64(10) {
		batch := mustFetch(t, reader, from, dataWait)
		if len(batch.Records) == 0 || batch.Records[0].Offset != from {
			t.Fatalf("fetch from %d returned %d records from %+v on", from, len(batch.Records), batch.Records)
		}
	}
	end := mustFetch(t, reader, 10, 10*time.Millisecond)
	if len(end.Records) != 0 || end.Next != 10 || end.HighWatermark != 10 {
		t.Errorf("batch at the end = %+v", end)
	}
}

func fetchWaits(t *testing.T, bus Bus) {
	topic := bus.CreateTopic(t, 1)
	reader := mustOpen(t, bus, topic, 0)
	appended := make(chan error, 1)
	go func() {
		appended <- bus.Log.Append(t.Context(), stage.Outgoing{Topic: topic, Partition: 0, Records: numbered("late", 0, 1)})
	}()
	// An empty reply is not the end, so this loops as every service does.
	for deadline := time.Now().Add(patience); ; {
		batch := mustFetch(t, reader, 0, dataWait)
		if len(batch.Records) > 0 {
			break
		}
		if time.Now().After(deadline) {
			t.Fatal("the appended record never came")
		}
	}
	if err := <-appended; err != nil {
		t.Fatal(err)
	}
}

func fetchEndsWithContext(t *testing.T, bus Bus) {
	topic := bus.CreateTopic(t, 1)
	reader := mustOpen(t, bus, topic, 0)
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() {
		_, err := reader.Fetch(ctx, 0, 10*patience)
		ended <- err
	}()
	cancel()
	if err := receive(t, ended, "the cancelled fetch"); !errors.Is(err, context.Canceled) {
		t.Errorf("a cancelled fetch returned %v", err)
	}
	// The reader is as good as new.
	mustAppend(t, bus, topic, 0, numbered("r", 0, 1))
	if batch := mustFetch(t, reader, 0, dataWait); len(batch.Records) != 1 {
		t.Errorf("after a cancelled fetch: %+v", batch)
	}
}

func offsetOutOfRange(t *testing.T, bus Bus) {
	topic := bus.CreateTopic(t, 1)
	mustAppend(t, bus, topic, 0, numbered("r", 0, 3))
	reader := mustOpen(t, bus, topic, 0)
	for _, offset := range []int64{-1, 4, 1 << 40} {
		batch, err := reader.Fetch(t.Context(), offset, 10*time.Millisecond)
		if !errors.Is(err, stage.ErrOffsetOutOfRange) {
			t.Errorf("fetch from offset %d returned %+v, %v", offset, batch, err)
		}
	}
}

func partitionsApart(t *testing.T, bus Bus) {
	topic := bus.CreateTopic(t, 3)
	if n, err := bus.Log.Partitions(t.Context(), topic); err != nil || n != 3 {
		t.Fatalf("partitions = %d, %v", n, err)
	}
	mustAppend(t, bus, topic, 2, numbered("two-", 0, 2))
	mustAppend(t, bus, topic, 0, numbered("zero-", 0, 1))
	if got := readAll(t, bus, topic, 2, 0, 2); string(got[0].Value) != "two-0" {
		t.Errorf("partition 2 begins with %q", got[0].Value)
	}
	mustBounds(t, mustOpen(t, bus, topic, 0), 0, 1)
	mustBounds(t, mustOpen(t, bus, topic, 1), 0, 0)
	if err := bus.Log.Append(t.Context(), stage.Outgoing{Topic: topic, Partition: 3, Records: numbered("r", 0, 1)}); err == nil {
		t.Error("appended to a partition that does not exist")
	}
}

func appendToSeveral(t *testing.T, bus Bus) {
	topic, other := bus.CreateTopic(t, 3), bus.CreateTopic(t, 1)
	out := []stage.Outgoing{
		{Topic: topic, Partition: 2, Records: numbered("two-", 0, 2)},
		{Topic: other, Records: numbered("other-", 0, 3)},
		{Topic: topic, Partition: 1},
		{Topic: topic, Partition: 0, Records: numbered("zero-", 0, 1)},
	}
	for range 2 { // the second comes behind the first
		if err := bus.Log.Append(t.Context(), out...); err != nil {
			t.Fatal(err)
		}
	}
	for _, o := range out {
		for i, r := range readAll(t, bus, o.Topic, o.Partition, 0, 2*len(o.Records)) {
			if want := o.Records[i%len(o.Records)]; !bytes.Equal(r.Value, want.Value) {
				t.Errorf("%s/%d: record %d is %q, want %q", o.Topic, o.Partition, i, r.Value, want.Value)
			}
		}
	}
	if err := bus.Log.Append(t.Context(), out[0], out[1], out[0]); err == nil {
		t.Error("an append that names a partition twice has no order, and is accepted")
	}
	mustBounds(t, mustOpen(t, bus, topic, 2), 0, 4)
}

func largeAppend(t *testing.T, bus Bus) {
	topic := bus.CreateTopic(t, 1)
	const n, size = 3000, 1000 // about 3 MB, more than a broker takes at once
	records := numbered("", 0, n)
	state := uint32(1)
	for i := range records {
		value := make([]byte, size)
		for j := range value { // does not compress
			state = state*1664525 + 1013904223
			value[j] = byte(state >> 24)
		}
		records[i].Value = value
	}
	mustAppend(t, bus, topic, 0, records)
	for i, r := range readAll(t, bus, topic, 0, 0, n) {
		if !bytes.Equal(r.Value, records[i].Value) || r.Offset != int64(i) {
			t.Fatalf("record %d at offset %d differs", i, r.Offset)
		}
	}
}

func concurrentAppends(t *testing.T, bus Bus) {
	topic := bus.CreateTopic(t, 1)
	const writers, appends, each = 4, 10, 5
	var group sync.WaitGroup
	for w := range writers {
		group.Go(func() {
			for i := range appends {
				records := numbered(fmt.Sprintf("%d-", w), i*each, each)
				if err := bus.Log.Append(t.Context(), stage.Outgoing{Topic: topic, Partition: 0, Records: records}); err != nil {
					t.Error(err)
				}
			}
		})
	}
	group.Wait()
	next := map[byte]int{}
	for _, r := range readAll(t, bus, topic, 0, 0, writers*appends*each) {
		w := r.Value[0]
		if want := fmt.Sprintf("%c-%d", w, next[w]); string(r.Value) != want {
			t.Fatalf("record at offset %d is %q, want %q", r.Offset, r.Value, want)
		}
		next[w]++
	}
}

// watermarkAtOnce: what was acknowledged before a fetch was sent lies below the high
// watermark that its reply shows, also when the reply brings little or nothing. The
// marks of an ingest stand on it.
func watermarkAtOnce(t *testing.T, bus Bus) {
	topic := bus.CreateTopic(t, 1)
	reader := mustOpen(t, bus, topic, 0)
	for i := range int64(30) {
		mustAppend(t, bus, topic, 0, numbered("r", int(i), 1))
		for _, from := range []int64{i, i + 1, 0} { // at the new record, behind it, far before
			batch := mustFetch(t, reader, from, time.Millisecond)
			if batch.HighWatermark != i+1 {
				t.Fatalf("a fetch from offset %d after %d acknowledged records shows the high watermark %d", from, i+1, batch.HighWatermark)
			}
			if batch.Next < from || batch.Next > batch.HighWatermark {
				t.Fatalf("a fetch from offset %d goes on at %d, the high watermark is %d", from, batch.Next, batch.HighWatermark)
			}
		}
	}
}

func readersApart(t *testing.T, bus Bus) {
	topic := bus.CreateTopic(t, 1)
	mustAppend(t, bus, topic, 0, numbered("a", 0, 3))
	mustAppend(t, bus, topic, 0, numbered("b", 0, 3))
	one, other := mustOpen(t, bus, topic, 0), mustOpen(t, bus, topic, 0)
	batch := mustFetch(t, one, 0, dataWait)
	mustFetch(t, other, 3, dataWait)
	mustFetch(t, other, 0, dataWait)
	if got := string(batch.Records[0].Value); got != "a0" {
		t.Errorf("another reader's fetch changed a record to %q", got)
	}
}

func missingTopic(t *testing.T, bus Bus) {
	const topic = "no-such-topic"
	if n, err := bus.Log.Partitions(t.Context(), topic); err == nil {
		t.Errorf("partitions of a missing topic = %d", n)
	}
	reader, err := bus.Log.Open(topic, 0)
	if err == nil {
		defer reader.Close()
		_, err = reader.Fetch(t.Context(), 0, 10*time.Millisecond)
	}
	if err == nil {
		t.Error("fetched from a missing topic")
	}
	if err := bus.Log.Append(t.Context(), stage.Outgoing{Topic: topic, Partition: 0, Records: numbered("r", 0, 1)}); err == nil {
		t.Error("appended to a missing topic")
	}
}

func appendEnded(t *testing.T, bus Bus) {
	topic := bus.CreateTopic(t, 1)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := bus.Log.Append(ctx, stage.Outgoing{Topic: topic, Partition: 0, Records: numbered("r", 0, 1)}); !errors.Is(err, context.Canceled) {
		t.Errorf("append with an ended context returned %v", err)
	}
	mustAppend(t, bus, topic, 0, numbered("r", 0, 1))
}

// numbered makes n records with the values prefix+from, prefix+from+1 and so on.
func numbered(prefix string, from, n int) []stage.Record {
	records := make([]stage.Record, n)
	for i := range records {
		records[i] = stage.Record{
			Key:    []byte("k"),
			Value:  fmt.Appendf(nil, "%s%d", prefix, from+i),
			TimeMs: 1_700_000_000_000 + int64(from+i),
		}
	}
	return records
}

func mustAppend(t *testing.T, bus Bus, topic string, partition int32, records []stage.Record) {
	t.Helper()
	if err := bus.Log.Append(t.Context(), stage.Outgoing{Topic: topic, Partition: partition, Records: records}); err != nil {
		t.Fatal(err)
	}
}

func mustOpen(t *testing.T, bus Bus, topic string, partition int32) stage.Reader {
	t.Helper()
	reader, err := bus.Log.Open(topic, partition)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { reader.Close() })
	return reader
}

func mustFetch(t *testing.T, reader stage.Reader, offset int64, maxWait time.Duration) stage.Batch {
	t.Helper()
	batch, err := reader.Fetch(t.Context(), offset, maxWait)
	if err != nil {
		t.Fatal(err)
	}
	return batch
}

func mustBounds(t *testing.T, reader stage.Reader, first, end int64) {
	t.Helper()
	gotFirst, gotEnd, err := reader.Bounds(t.Context())
	if err != nil || gotFirst != first || gotEnd != end {
		t.Errorf("bounds = %d, %d, %v; want %d, %d", gotFirst, gotEnd, err, first, end)
	}
}

// readAll reads until it has n records, and checks that none follow.
func readAll(t *testing.T, bus Bus, topic string, partition int32, offset int64, n int) []stage.Record {
	t.Helper()
	reader := mustOpen(t, bus, topic, partition)
	var all []stage.Record
	for deadline := time.Now().Add(patience); ; {
		batch := mustFetch(t, reader, offset, dataWait)
		for _, r := range batch.Records {
			all = append(all, clone(r))
		}
		offset = batch.Next
		if offset >= batch.HighWatermark && len(all) >= n {
			break
		}
		if time.Now().After(deadline) {
			t.Fatalf("%d of %d records came", len(all), n)
		}
	}
	if len(all) != n {
		t.Fatalf("%d records came, want %d", len(all), n)
	}
	return all
}

func clone(r stage.Record) stage.Record {
	r.Key, r.Value = bytes.Clone(r.Key), bytes.Clone(r.Value)
	headers := r.Headers
	r.Headers = nil
	for _, h := range headers {
		r.Headers = append(r.Headers, stage.Header{Key: h.Key, Value: bytes.Clone(h.Value)})
	}
	return r
}

func mustEqual(t *testing.T, got, want stage.Record) {
	t.Helper()
	same := func(a, b []byte) bool { return bytes.Equal(a, b) && (a == nil) == (b == nil) }
	ok := same(got.Key, want.Key) && same(got.Value, want.Value) && got.TimeMs == want.TimeMs &&
		got.Offset == want.Offset && len(got.Headers) == len(want.Headers)
	for i := 0; ok && i < len(want.Headers); i++ {
		ok = got.Headers[i].Key == want.Headers[i].Key && same(got.Headers[i].Value, want.Headers[i].Value)
	}
	if !ok {
		t.Errorf("record = %+v, want %+v", got, want)
	}
}

// receive fails the test when nothing comes.
func receive[T any](t *testing.T, from <-chan T, what string) (v T) {
	t.Helper()
	select {
	case v = <-from:
	case <-time.After(patience):
		t.Fatalf("%s did not come within %s", what, patience)
	}
	return v
}
