package join

import (
	"bytes"
	"fmt"
	"maps"
	"slices"
	"testing"

	"pgregory.net/rapid"

	"settlewatch/schemas/event"
)

// What Entries and Bucket show is what Load takes: put together they are the state.
func TestEntriesAreTheState(t *testing.T) {
	for _, broken := range [][]byte{nil, {1, 0, 0}, deltaOf(5), deltaOf(1<<2, 7), deltaOf(2<<2|changeExtended, 0, 0), deltaOf(6<<2|changeExtended, 0, 16, 0, 0, 0, 0)} {
		ended := false
		for _, err := range ReadDelta(broken) {
			ended = err != nil
		}
		if !ended {
			t.Errorf("%v is no error", broken)
		}
	}
	s := New()
	want := map[event.PaymentKey]string{}
	for i := range 3000 {
		key := event.PaymentKey("acq|o|" + string(rune('a'+i%26)) + string(rune('a'+i/26%26)) + string(rune('a'+i/676)))
		h := history{key: key}
		packed, _ := h.pack(nil, nil, noMoment)
		want[key] = string(packed)
		b, slot := s.payments.find(key, hashKey(key))
		s.payments.set(b, slot, hashKey(key), packed)
	}
	got := map[event.PaymentKey]string{}
	for i := range BucketCount {
		for key, packed := range s.Bucket(i) {
			if BucketOf(key) != i {
				t.Fatalf("bucket %d has %q", i, key)
			}
			got[key] = string(packed)
		}
	}
	if !maps.Equal(got, want) {
		t.Errorf("%d payments, want %d", len(got), len(want))
	}
}

// deltaOf is one as it is stored, of commit 1.
func deltaOf(changes ...byte) []byte { return append([]byte{1, 0, 0, 0, 0, 0, 0, 0}, changes...) }

// A reader that has read other buckets, or failed at some, reads the next one as if it were
// its first.
func TestAReaderBeginsAnew(t *testing.T) {
	crowds := map[int][]event.PaymentKey{0: crowd(0, 2), 7: crowd(7, 60), BucketCount - 1: crowd(BucketCount-1, 20)}
	rapid.Check(t, func(t *rapid.T) {
		reader := NewBucketReader()
		for range rapid.IntRange(2, 8).Draw(t, "buckets") {
			index := rapid.SampledFrom(slices.Sorted(maps.Keys(crowds))).Draw(t, "index")
			owner, value, later := drawBucket(t, index, crowds[index])
			whole := true
			if len(value) > 0 && rapid.IntRange(0, 3).Draw(t, "spoilt") == 0 {
				value, whole = value[:rapid.IntRange(0, len(value)-1).Draw(t, "cut")], false
			}
			fresh := NewBucketReader()
			err, want := reader.Read(index, value, later), fresh.Read(index, value, later)
			if fmt.Sprint(err) != fmt.Sprint(want) || whole && err != nil {
				t.Fatalf("%v, a new reader says %v", err, want)
			}
			if got, want := shown(reader), shown(fresh); !slices.Equal(got, want) {
				t.Fatalf("%q, a new reader has %q", got, want)
			}
			for key, packed := range owner.all() {
				if whole && !bytes.Equal(reader.Payment(key), packed) {
					t.Fatalf("payment %s is %x, stored was %x", key, reader.Payment(key), packed)
				}
			}
			if whole && len(shown(reader)) != owner.count {
				t.Fatalf("%q where %d payments are stored", shown(reader), owner.count)
			}
			for _, keys := range crowds {
				for _, key := range keys {
					if !bytes.Equal(reader.Payment(key), fresh.Payment(key)) {
						t.Fatalf("payment %s is %x, a new reader has %x", key, reader.Payment(key), fresh.Payment(key))
					}
				}
			}
		}
	})
}

// drawBucket is a bucket as its owner has it, as it is stored at one of its commits or not
// yet, and the changes of all: those of other buckets too.
func drawBucket(t *rapid.T, index int, keys []event.PaymentKey) (owner *table, value []byte, later []Change) {
	owner = newTable()
	for sequence := range uint64(rapid.IntRange(1, 4).Draw(t, "commits")) {
		for range rapid.IntRange(0, 30).Draw(t, "operations") {
			key := rapid.SampledFrom(keys).Draw(t, "key")
			hash := hashKey(key)
			b, slot := owner.find(key, hash)
			tail := make([]byte, rapid.SampledFrom([]int{0, 3, 100, 1500}).Draw(t, "size"))
			switch what := rapid.IntRange(0, 3).Draw(t, "what"); {
			case slot < 0 || what == 0:
				owner.set(b, slot, hash, append(appendHead(nil, 0, key, 0, 0, &template{}), tail...))
			case what == 1:
				owner.remove(b, slot, hash, key)
			default:
				owner.extend(b, slot, hash, tail)
			}
		}
		for c, err := range ReadDelta(bytes.Clone(owner.delta.take(sequence + 1))) {
			if err != nil {
				t.Fatal(err)
			}
			other := c
			other.Bucket ^= 1
			later = append(later, other, c)
		}
		if rapid.Bool().Draw(t, "is stored") {
			value = new(condenser).bucket(nil, &owner.buckets[index], sequence+1)
		}
	}
	return owner, value, later
}

// shown are the payments of a reader, in its order.
func shown(r *BucketReader) (payments []string) {
	for key, packed := range r.Payments() {
		payments = append(payments, fmt.Sprintf("%s %x", key, packed))
	}
	return payments
}

func TestAReaderMakesNoGarbage(t *testing.T) {
	owner := newTable()
	for _, key := range crowd(7, 60) {
		b, slot := owner.find(key, hashKey(key))
		owner.set(b, slot, hashKey(key), appendHead(nil, 0, key, 0, 0, &template{}))
	}
	value := new(condenser).bucket(nil, &owner.buckets[7], 1)
	reader := NewBucketReader()
	if n := testing.AllocsPerRun(10, func() {
		if err := reader.Read(7, value, nil); err != nil {
			t.Fatal(err)
		}
		for range reader.Payments() {
			continue
		}
	}); n > 0 {
		t.Errorf("%.0f allocations to read a bucket again", n)
	}
}
