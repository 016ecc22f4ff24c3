package statestore_test

import (
	"errors"
	"testing"

	"settlewatch/pipelines/servers/serverstest"
	"settlewatch/pipelines/statestore"
)

func TestReadingFromOutside(t *testing.T) {
	client := dial(t, statestore.Options{Addrs: serverstest.RedisCluster(t), Cluster: true})
	owner, reader := client.Partition(topic, 5), client.Partition(topic, 5)
	if v, err := reader.ReadBucket(t.Context(), 1); err != nil || v.Sequence != 0 || v.Value != nil {
		t.Errorf("an empty partition reads as %+v, %v", v, err)
	}
	if tail, err := reader.ReadRingTail(t.Context(), 1); err != nil || tail.Sequence != 0 || tail.Deltas != nil {
		t.Errorf("an empty ring reads as %+v, %v", tail, err)
	}
	must(t, owner.Acquire(t.Context()))
	for sequence := uint64(1); sequence <= 6; sequence++ {
		c := number(sequence)
		if sequence == 5 {
			c.TrimTo = 3
		}
		must(t, owner.Commit(t.Context(), c))
	}
	v, err := reader.ReadBucket(t.Context(), 4)
	must(t, err)
	if string(v.Value) != "bucket 4" || v.Sequence != 6 || v.Offset != 6 || string(v.Meta) != "meta 6" || v.RingFirst != 3 {
		t.Errorf("read bucket 4 as %+v", v)
	}
	if v, err = reader.ReadBucket(t.Context(), 99); err != nil || v.Value != nil || v.Sequence != 6 {
		t.Errorf("read a bucket that is not there as %+v, %v", v, err)
	}
	for from, want := range map[uint64]int{3: 4, 4: 3, 6: 1, 7: 0, 100: 0} {
		tail, err := reader.ReadRingTail(t.Context(), from)
		if err != nil || tail.Sequence != 6 || len(tail.Deltas) != want {
			t.Errorf("read the ring from %d as %+v, %v, want %d deltas", from, tail, err, want)
		}
		if want > 0 && (tail.First != from || string(tail.Deltas[0]) != string(number(from).Delta) || string(tail.Deltas[want-1]) != "delta 6") {
			t.Errorf("read the ring from %d as %+v", from, tail)
		}
	}
	for _, from := range []uint64{0, 1, 2} {
		if _, err := reader.ReadRingTail(t.Context(), from); !errors.Is(err, statestore.ErrTrimmed) {
			t.Errorf("read the ring from %d: got %v, want ErrTrimmed", from, err)
		}
	}
	must(t, owner.Commit(t.Context(), number(7))) // reading has fenced nobody
}
