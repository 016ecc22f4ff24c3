package join

import (
	"maps"
	"testing"

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
