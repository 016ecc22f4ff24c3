package conformance

import (
	"bytes"
	"errors"
	"fmt"
	"testing"

	"settlewatch/pipelines/stage"
)

// bulky is a state that takes a restore several steps, by number and by size.
func bulky() stage.Stored {
	s := stage.Stored{Sequence: 700, Offset: 1<<53 + 1, Meta: []byte("bulky"), RingFirst: 101}
	for n := s.RingFirst; n <= s.Sequence; n++ {
		s.Ring = append(s.Ring, fmt.Appendf(nil, "delta %d", n))
	}
	s.Ring[300] = bytes.Repeat([]byte{0, 0xff}, 3<<20)
	for n := range 1024 {
		s.Buckets = append(s.Buckets, stage.Bucket{Index: n, Value: fmt.Appendf(nil, "bucket %d", n)})
	}
	s.Buckets[7].Value = bytes.Repeat([]byte("7"), 5<<20)
	return s
}

func restore(t *testing.T, s stage.State, stored stage.Stored) {
	t.Helper()
	if err := s.Restore(t.Context(), stored); err != nil {
		t.Fatalf("restore sequence %d: %v", stored.Sequence, err)
	}
}

func testRestore(t *testing.T, owner func() stage.State) {
	want := bulky()
	s := acquired(t, owner)
	restore(t, s, want)
	same(t, load(t, s), want)
	restore(t, s, want) // after a lost reply
	same(t, load(t, s), want)

	c := stage.Commit{
		Sequence: 701, FromOffset: want.Offset, ToOffset: want.Offset + 1, Meta: []byte("m"), Delta: []byte("d"),
		Buckets: buckets("3=three", "4="), TrimTo: 700,
	}
	commit(t, s, c)
	want = stage.Stored{
		Sequence: 701, Offset: c.ToOffset, Meta: c.Meta, RingFirst: 700,
		Ring: deltas("delta 700", "d"), Buckets: append(want.Buckets[:4:4], want.Buckets[5:]...),
	}
	want.Buckets[3].Value = []byte("three")
	same(t, load(t, acquired(t, owner)), want)

	// A small state, in the place of one that was lost, without anything left of it.
	wiper, ok := owner().(Wiper)
	if !ok {
		t.Fatalf("%T cannot Wipe", s)
	}
	if err := wiper.Wipe(t.Context()); err != nil {
		t.Fatal(err)
	}
	s = acquired(t, owner)
	small := stage.Stored{Sequence: 9, Offset: 90, Meta: []byte("small"), RingFirst: 10}
	restore(t, s, small)
	same(t, load(t, s), small)
	for name, broken := range map[string]stage.Stored{
		"no sequence": {RingFirst: 1}, "ring too short": {Sequence: 3, RingFirst: 1, Ring: deltas("a")},
	} {
		if err := s.Restore(t.Context(), broken); err == nil || errors.Is(err, stage.ErrFenced) {
			t.Errorf("%s: got error %v, want a mistake of the caller's", name, err)
		}
	}
}

func testRestoreFenced(t *testing.T, owner func() stage.State) {
	small := stage.Stored{Sequence: 2, Offset: 20, Meta: []byte("small"), RingFirst: 2, Ring: deltas("d2"), Buckets: buckets("1=a")}
	fenced := func(s stage.State, stored stage.Stored) {
		t.Helper()
		if err := s.Restore(t.Context(), stored); !errors.Is(err, stage.ErrFenced) {
			t.Fatalf("got error %v, want ErrFenced", err)
		}
	}
	fenced(owner(), small) // no token
	zombie := acquired(t, owner)
	s := acquired(t, owner)
	fenced(zombie, small)
	if got := load(t, s); got.Meta != nil {
		t.Fatalf("what was fenced loads as %s", show(got))
	}
	commit(t, s, plain(1))
	fenced(s, small) // something is stored
	same(t, load(t, s), plainStored(1))
	commit(t, s, plain(2))
	fenced(zombie, small)
	same(t, load(t, s), plainStored(2))
}
