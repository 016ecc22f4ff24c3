package join

import (
	"maps"
	"testing"

	"settlewatch/schemas/event"
)

// What Entries and Bucket show is what Load takes: put together they are the state.
func TestEntriesAreTheState(t *testing.T) {
	delta := []byte{0, 1, 'k'} // a removal
	for e, err := range Entries(delta) {
		if err != nil || e.Key != "k" || e.Packed != nil {
			t.Errorf("a removal is %+v (%v)", e, err)
		}
	}
	for _, broken := range [][]byte{{5}, {0, 9, 'k'}, {1, 0, 7}} {
		ended := false
		for _, err := range Entries(broken) {
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
		for e, err := range Entries(s.Bucket(i)) {
			if err != nil || BucketOf(e.Key) != i {
				t.Fatalf("bucket %d has %q (%v)", i, e.Key, err)
			}
			got[e.Key] = string(e.Packed)
		}
	}
	if !maps.Equal(got, want) {
		t.Errorf("%d payments, want %d", len(got), len(want))
	}
}
