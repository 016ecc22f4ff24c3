package join

import (
	"bytes"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"testing"
	"unsafe"

	"pgregory.net/rapid"

	"settlewatch/schemas/event"
)

// crowd are payments of one bucket.
func crowd(bucket, n int) (keys []event.PaymentKey) {
	for i := 0; len(keys) < n; i++ {
		if key := event.PaymentKey(fmt.Sprintf("acq1|o|%d", i)); bucketOf(hashKey(key)) == bucket {
			keys = append(keys, key)
		}
	}
	return keys
}

// Whatever happens to its payments, a table holds what a map would; and what its
// deltas and buckets bring to another one is the same, with the same checksum.
func TestATableIsAMap(t *testing.T) {
	keys := crowd(7, 60)
	rapid.Check(t, func(t *rapid.T) {
		one, other, want := newTable(), newTable(), map[event.PaymentKey][]byte{}
		tail := func() []byte {
			return bytes.Repeat([]byte{rapid.Byte().Draw(t, "byte")}, rapid.SampledFrom([]int{0, 3, 40, 200, 1500}).Draw(t, "size"))
		}
		for sequence := range uint64(rapid.IntRange(1, 6).Draw(t, "commits")) {
			for range rapid.IntRange(0, 120).Draw(t, "operations") {
				key := rapid.SampledFrom(keys).Draw(t, "key")
				hash := hashKey(key)
				b, slot := one.find(key, hash)
				switch what := rapid.IntRange(0, 6).Draw(t, "what"); {
				case what == 0 && slot >= 0:
					one.remove(b, slot, hash, key)
					delete(want, key)
				case what == 1 && slot >= 0:
					x := tail()
					one.extend(b, slot, hash, x)
					want[key] = append(slices.Clone(want[key]), x...)
				case what == 2 && slot >= 0:
					x, n := tail(), newHead{flags: flagPlain, epoch: rapid.Uint64().Draw(t, "epoch"), next: rapid.Int64().Draw(t, "next")}
					h, err := peek(b.payment(slot))
					if err != nil {
						t.Fatal(err)
					}
					want[key] = append(appendReheaded(nil, want[key], &h, n), x...)
					one.rehead(b, slot, hash, &h, n, x)
				case what > 2:
					packed := append(appendHead(nil, 0, key, 0, 0, &template{}), tail()...)
					one.set(b, slot, hash, packed)
					want[key] = packed
				}
			}
			if err := other.applyDelta(one.delta.take(sequence + 1)); err != nil {
				t.Fatal(err)
			}
		}
		again := newTable()
		if err := again.loadBucket(7, new(condenser).bucket(nil, &one.buckets[7], 1)); err != nil {
			t.Fatal(err)
		}
		for _, got := range []*table{one, other, again} {
			sum := uint64(0)
			held := map[event.PaymentKey][]byte{}
			for key, packed := range got.all() {
				held[key] = packed
				sum += checksum(packed)
			}
			if !maps.EqualFunc(held, want, bytes.Equal) || got.count != len(want) || sum != one.checksum {
				t.Fatalf("%d payments with the sum %x, want %d with %x", len(held), sum, len(want), one.checksum)
			}
			for _, key := range keys {
				if !bytes.Equal(got.get(key), want[key]) {
					t.Fatalf("payment %q is %x, want %x", key, got.get(key), want[key])
				}
			}
		}
	})
}

// twins have one place: they were looked for.
var twins = [2]event.PaymentKey{"acq1|o|2887304", "acq1|o|5504943"}

// Two payments that only their keys tell apart are logged whole, and each keeps its own.
func TestTwoPaymentsOfOnePlace(t *testing.T) {
	keys := twins
	if a, b := hashKey(keys[0]), hashKey(keys[1]); bucketOf(a) != bucketOf(b) || uint32(a) != uint32(b) {
		t.Fatal("the keys have two places")
	}
	one, other := newTable(), newTable()
	extend := func(key event.PaymentKey, tail string) {
		b, slot := one.find(key, hashKey(key))
		one.extend(b, slot, hashKey(key), []byte(tail))
	}
	begin := func(key event.PaymentKey) {
		b, slot := one.find(key, hashKey(key))
		one.set(b, slot, hashKey(key), appendHead(nil, 0, key, 0, 0, &template{}))
	}
	begin(keys[0])
	extend(keys[0], "alone")
	begin(keys[1])
	extend(keys[0], "first")
	extend(keys[1], "second")
	b, slot := one.find(keys[0], hashKey(keys[0]))
	h, err := peek(b.payment(slot))
	if err != nil {
		t.Fatal(err)
	}
	one.rehead(b, slot, hashKey(keys[0]), &h, newHead{flags: flagPlain}, []byte("again"))
	if err := other.applyDelta(one.delta.take(1)); err != nil {
		t.Fatal(err)
	}
	for _, key := range keys {
		if !bytes.Equal(other.get(key), one.get(key)) {
			t.Errorf("%s is loaded as %q, it is %q", key, other.get(key), one.get(key))
		}
	}
}

// A bucket that is larger takes a second line of the cache at each event.
func TestABucketIsALine(t *testing.T) {
	if size := unsafe.Sizeof(bucket{}); size != 64 {
		t.Errorf("a bucket has %d bytes", size)
	}
}

// Buckets that fill alike grow one after another: what is copied at once, alerts wait for.
func TestBucketsGrowOneAfterAnother(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	buckets := make([]bucket, 1000)
	for n := range 150 {
		grown := 0
		for i := range buckets {
			b := &buckets[i]
			before := cap(b.array)
			b.add(random.Uint32(), make([]byte, 90+random.IntN(8)), growthBytes)
			if cap(b.array) != before {
				grown++
			}
		}
		if share := grown * 100 / len(buckets); n >= 20 && share > 50 {
			t.Errorf("%d of 100 buckets grow at payment %d", share, n+1)
		}
	}
}
