package verify_test

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"testing"

	"settlewatch/pipelines/checkpoint"
	"settlewatch/pipelines/join"
	"settlewatch/pipelines/servers/serverstest"
	"settlewatch/pipelines/sim"
	"settlewatch/pipelines/stage"
	"settlewatch/pipelines/statestore"
	"settlewatch/schemas/event"
	"settlewatch/schemas/topic"
	"settlewatch/tools/replay"
	"settlewatch/tools/replay/replaytest"
	"settlewatch/tools/verify"
)

func TestMain(m *testing.M) { serverstest.Main(m) }

const partitions, payments = 2, 3000

// world is a log and a Redis with its state.
type world struct {
	t     *testing.T
	log   *sim.Log
	redis *statestore.Client
}

func newWorld(t *testing.T) *world {
	t.Helper()
	redis, err := statestore.Dial(t.Context(), statestore.Options{Addrs: []string{serverstest.Redis(t)}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := redis.Close(); err != nil {
			t.Error(err)
		}
	})
	w := &world{t: t, log: replaytest.Log(t, partitions, payments), redis: redis}
	w.log.LimitBatch(500)
	return w
}

func (w *world) partition(p int32) *statestore.Partition {
	return w.redis.Partition(topic.PaymentLog.Name, p)
}

func (w *world) fold(checkpoints stage.Checkpoints) {
	w.t.Helper()
	for p := range int32(partitions) {
		if err := replaytest.Fold(w.t, w.log, p, func() stage.State { return w.partition(p) }, checkpoints); err != nil {
			w.t.Fatal(err)
		}
	}
}

func (w *world) verify(o verify.Options) (*verify.Report, error) {
	o.Log, o.Store = w.log, func(p int32) verify.Store { return w.partition(p) }
	return verify.Run(w.t.Context(), o)
}

func (w *world) mustVerify(o verify.Options) *verify.Report {
	w.t.Helper()
	r, err := w.verify(o)
	if err != nil {
		w.t.Fatal(err)
	}
	return r
}

func requireEqual(t *testing.T, r *verify.Report) {
	t.Helper()
	if !r.Equal() {
		t.Fatalf("it differs: %s", first(r))
	}
	for _, p := range r.Parts {
		if p.Payments == 0 || p.Offset == 0 {
			t.Errorf("%+v", p)
		}
	}
}

func first(r *verify.Report) string {
	for _, p := range r.Parts {
		if p.First != nil {
			return fmt.Sprintf("%d of partition %d: %+v", p.Different, p.Partition, *p.First)
		}
	}
	return "nothing"
}

func TestEqual(t *testing.T) {
	w := newWorld(t)
	if r := w.mustVerify(verify.Options{}); r.Equal() || !strings.Contains(first(r), "nothing is stored") {
		t.Errorf("nothing stored: %s", first(r))
	}
	w.fold(nil)
	requireEqual(t, w.mustVerify(verify.Options{}))
	r := w.mustVerify(verify.Options{Partitions: []int32{1}})
	if requireEqual(t, r); len(r.Parts) != 1 || r.Parts[0].Partition != 1 {
		t.Errorf("%+v", r.Parts)
	}
}

// The owner goes on while its state is verified: it commits once in every sixteen
// buckets that are read.
func TestBesideAnOwner(t *testing.T) {
	w := newWorld(t)
	w.log.LimitBatch(3)
	turns, ended := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(ended)
		if err := replaytest.Fold(t, w.log, 0, func() stage.State { return led{w.partition(0), turns} }, nil); err != nil {
			t.Error(err)
		}
	}()
	for range 2 { // the second turn is taken when the first commit is made
		turns <- struct{}{}
	}
	reads := 0
	lead := func(int32) verify.Store {
		return leading{w.partition(0), func() {
			if reads++; reads%16 == 0 {
				select {
				case turns <- struct{}{}:
				case <-ended:
				}
			}
		}}
	}
	for range 2 {
		r, err := verify.Run(t.Context(), verify.Options{Log: w.log, Store: lead, Partitions: []int32{0}})
		if err != nil {
			t.Fatal(err)
		}
		requireEqual(t, r)
	}
	select {
	case <-ended:
		t.Error("the owner was done before it was verified")
	default:
	}
	close(turns)
	<-ended
	requireEqual(t, w.mustVerify(verify.Options{Partitions: []int32{0}}))
}

// led commits when it is its turn.
type led struct {
	*statestore.Partition
	turns chan struct{}
}

func (s led) Commit(ctx context.Context, c stage.Commit) error {
	<-s.turns
	return s.Partition.Commit(ctx, c)
}

// leading gives turns while it reads.
type leading struct {
	*statestore.Partition
	read func()
}

func (s leading) ReadBucket(ctx context.Context, index int) (statestore.BucketView, error) {
	s.read()
	return s.Partition.ReadBucket(ctx, index)
}

// What was done to the store is found and named.
func TestDifferent(t *testing.T) {
	w := newWorld(t)
	w.fold(nil)
	stored, err := w.partition(0).Load(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	// One payment that stands, from the bucket of some of them.
	entry := func(s stage.Stored) (bucket int, key event.PaymentKey, packed []byte) {
		for i, b := range s.Buckets {
			reader := join.NewBucketReader()
			if err := reader.Read(b.Index, b.Value, nil); err != nil {
				t.Fatal(err)
			}
			for key, packed := range reader.Payments() {
				return i, key, packed
			}
		}
		t.Fatal("no bucket")
		return 0, "", nil
	}
	// One more commit, of a single change.
	change := func(s *stage.Stored, kind int, body []byte) {
		s.Sequence++
		delta := binary.LittleEndian.AppendUint64(nil, s.Sequence)
		delta = binary.AppendUvarint(delta, uint64(len(body)<<2|kind))
		s.Ring = append(s.Ring, append(delta, body...))
	}
	const whole, removed = 0, 1 // kinds of a change
	// A payment of no log; of the buckets behind it each takes its memory.
	more := ""
	for n := 0; join.BucketOf(event.PaymentKey(more))/16 != join.BucketCount/32; n++ {
		more = fmt.Sprintf("acq|o|more%d", n)
	}
	for name, c := range map[string]struct {
		spoil func(s *stage.Stored)
		want  string
	}{
		"a payment is gone": {func(s *stage.Stored) {
			_, key, _ := entry(*s)
			change(s, removed, []byte(key))
		}, "Stored:missing Folded:there"},
		"a payment more": {func(s *stage.Stored) {
			_, key, packed := entry(*s)
			change(s, whole, bytes.Replace(packed, append([]byte{byte(len(key))}, key...), append([]byte{byte(len(more))}, more...), 1))
		}, "Payment:" + more + " Field:payment Stored:there Folded:missing"},
		"a bucket is gone": {func(s *stage.Stored) {
			i, _, _ := entry(*s)
			s.Buckets = append(s.Buckets[:i:i], s.Buckets[i+1:]...)
		}, "Stored:missing Folded:there"},
		"a payment is another": {func(s *stage.Stored) {
			_, _, packed := entry(*s)
			change(s, whole, bytes.Replace(packed, []byte("898310158120004"), []byte("898310158120005"), 1))
		}, "Field:Merchant Stored:898310158120005 Folded:898310158120004"},
		"a count is another": {func(s *stage.Stored) {
			s.Meta = bytes.Replace(s.Meta, []byte(`"events":`), []byte(`"events":1`), 1)
		}, "Field:counts"},
		"the record before is another": {func(s *stage.Stored) {
			s.Meta = regexp.MustCompile(`"record_sum":\d+`).ReplaceAll(s.Meta, []byte(`"record_sum":5`))
		}, "Field:position"},
		"a bucket cannot be read": {func(s *stage.Stored) {
			i, _, _ := entry(*s)
			s.Buckets[i].Value = append(slices.Clone(s.Buckets[i].Value), 5)
		}, "cannot be read"},
	} {
		t.Run(name, func(t *testing.T) {
			s := stored
			s.Buckets, s.Ring = append([]stage.Bucket(nil), stored.Buckets...), append([][]byte(nil), stored.Ring...)
			s.Meta = bytes.Clone(stored.Meta)
			c.spoil(&s)
			p := w.partition(0)
			if err := errors.Join(p.Wipe(t.Context()), p.Acquire(t.Context()), p.Restore(t.Context(), s)); err != nil {
				t.Fatal(err)
			}
			if r := w.mustVerify(verify.Options{}); r.Equal() || !strings.Contains(first(r), c.want) {
				t.Errorf("found %s, want %s", first(r), c.want)
			}
		})
	}
}

// A log that was cut is verified from a checkpoint on.
func TestFromACheckpoint(t *testing.T) {
	w := newWorld(t)
	w.fold(nil)
	store := &checkpoint.Store{Log: w.log, Check: checkpoint.Loads}
	for p := range int32(partitions) {
		s, err := w.partition(p).Load(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if _, err := store.Save(t.Context(), p, s); err != nil {
			t.Fatal(err)
		}
		// The log goes on, and is cut at the checkpoint.
		records, err := w.log.Records(topic.PaymentLog.Name, p)
		if err != nil {
			t.Fatal(err)
		}
		err = w.log.Append(t.Context(), stage.Outgoing{Topic: topic.PaymentLog.Name, Partition: p, Records: records[len(records)-4:]})
		if err == nil {
			err = w.log.Trim(topic.PaymentLog.Name, p, s.Offset)
		}
		if err != nil {
			t.Fatal(err)
		}
		// Redis is lost.
		if err := w.partition(p).Wipe(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	w.fold(store)
	r := w.mustVerify(verify.Options{Checkpoints: store})
	requireEqual(t, r)
	for _, p := range r.Parts {
		if p.From == 0 || p.Offset != p.From+4 {
			t.Errorf("%+v", p)
		}
	}
	if _, err := w.verify(verify.Options{}); !errors.Is(err, replay.ErrBeginning) {
		t.Errorf("without checkpoints: %v", err)
	}
}
