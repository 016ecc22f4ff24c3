package statestore_test

import (
	"bytes"
	"context"
	"errors"
	"testing"

	"settlewatch/pipelines/servers/serverstest"
	"settlewatch/pipelines/stage"
	"settlewatch/pipelines/statestore"
)

// quietCommit is one of a partition to which little comes: everything that it changes
// it also writes to the snapshot, and no delta stays in the ring.
func quietCommit(n uint64) stage.Commit {
	c := snapshotCommit(n)
	c.Buckets = nil
	for i := range rollChanges {
		payment, value := changedBy(n, i)
		c.Buckets = append(c.Buckets, stage.Bucket{Index: payment, Value: []byte(value)})
	}
	c.TrimTo = n + 1
	return c
}

// pagedRedis gives a small hash page by page, as it does a large one.
func pagedRedis(t *testing.T) (addr string) {
	t.Helper()
	addr = serverstest.Redis(t)
	rawSet(t, addr, "hash-max-listpack-entries", "1")
	return addr
}

// A reader that takes its time is not overtaken by an owner whose ring is empty after
// each commit; and the ring keeps what has still to be read, no more.
func TestSnapshotIsNotOvertaken(t *testing.T) {
	addr := pagedRedis(t)
	client := dial(t, statestore.Options{Addrs: []string{addr}})
	owner, reader := client.Partition("log", 1), client.Partition("log", 1)
	must(t, owner.Acquire(t.Context()))
	last := uint64(0)
	commit := func() {
		last++
		must(t, owner.Commit(t.Context(), quietCommit(last)))
	}
	ring := func() int {
		t.Helper()
		tail, err := reader.ReadBucket(t.Context(), 0)
		must(t, err)
		return int(tail.Sequence + 1 - tail.RingFirst)
	}
	const atOnce = 20 // more than are read at once
	for last < 50 {
		commit()
	}
	rests, longest := 0, 0
	s, err := snapshot(t, reader, func(context.Context) error {
		if rests++; rests > 1000 {
			return errors.New("it never comes to an end")
		}
		for range atOnce {
			commit()
		}
		longest = max(longest, ring())
		return nil
	})
	must(t, err)
	must(t, checkSnapshot(s))
	if s.Sequence < 250 || longest > 150 {
		t.Errorf("%d commits were made beside it, and the ring grew to %d deltas: those that were read were not trimmed", s.Sequence, longest)
	}
	commit()
	if n := ring(); n != 0 {
		t.Errorf("behind the reader %d deltas stay", n)
	}
}

// What is read is of one history, also where another has come as far meanwhile.
func TestSnapshotIsOfOneHistory(t *testing.T) {
	client := dial(t, statestore.Options{Addrs: []string{pagedRedis(t)}})
	owner, reader := client.Partition("log", 1), client.Partition("log", 1)
	fold := func(of string) {
		must(t, owner.Acquire(t.Context()))
		for n := range uint64(30) {
			c := stage.Commit{Sequence: n + 1, FromOffset: int64(n), ToOffset: int64(n) + 1, Meta: []byte(of), Delta: []byte(of)}
			for i := range 10 {
				c.Buckets = append(c.Buckets, stage.Bucket{Index: 10*int(n) + i, Value: []byte(of)})
			}
			must(t, owner.Commit(t.Context(), c))
		}
	}
	fold("one")
	rests := 0
	read := func() (stage.Stored, error) {
		return snapshot(t, reader, func(context.Context) error {
			if rests++; rests == 8 { // the ring takes five
				must(t, owner.Wipe(t.Context()))
				fold("other")
			}
			return nil
		})
	}
	if _, err := read(); !errors.Is(err, statestore.ErrMoved) || rests != 8 {
		t.Errorf("wiped after rest %d, it ends with: %v", rests, err)
	}
	s, err := read()
	must(t, err)
	for _, b := range s.Buckets {
		if string(b.Value) != string(s.Meta) {
			t.Fatalf("bucket %d is of %s, meta of %s", b.Index, b.Value, s.Meta)
		}
	}
	if string(s.Meta) != "other" || len(s.Buckets) != 300 {
		t.Errorf("%d buckets of %s after %d rests", len(s.Buckets), s.Meta, rests)
	}
}

// A large state is read in small parts, and left in the midst of them.
func TestSnapshotRests(t *testing.T) {
	client := dial(t, statestore.Options{Addrs: []string{serverstest.Redis(t)}})
	owner, reader := client.Partition("log", 1), client.Partition("log", 1)
	must(t, owner.Acquire(t.Context()))
	const buckets, deltas, each = 320, 64, 64 << 10
	for n := range uint64(deltas) {
		c := stage.Commit{
			Sequence: n + 1, FromOffset: int64(n), ToOffset: int64(n) + 1, Meta: []byte("meta"), Delta: bytes.Repeat([]byte{'d'}, each),
		}
		for i := range buckets / deltas {
			c.Buckets = append(c.Buckets, stage.Bucket{Index: int(n)*buckets/deltas + i, Value: bytes.Repeat([]byte{'b'}, each)})
		}
		must(t, owner.Commit(t.Context(), c))
	}
	rests := 0
	s, err := snapshot(t, reader, func(context.Context) error { rests++; return nil })
	must(t, err)
	if len(s.Buckets) != buckets || len(s.Ring) != deltas {
		t.Fatalf("%d buckets and %d deltas are read", len(s.Buckets), len(s.Ring))
	}
	// 24 MiB in pages of half of one, about.
	if rests < 30 {
		t.Errorf("it rests %d times", rests)
	}
	enough := errors.New("enough")
	for stop := 1; stop < rests; stop += 5 {
		n := 0
		_, err := snapshot(t, reader, func(context.Context) error {
			if n++; n == stop {
				return enough
			}
			return nil
		})
		if !errors.Is(err, enough) || n != stop {
			t.Errorf("told to end at rest %d it rests %d times and ends with %v", stop, n, err)
		}
	}
	// Nothing holds the ring any more.
	must(t, owner.Commit(t.Context(), stage.Commit{
		Sequence: deltas + 1, FromOffset: deltas, ToOffset: deltas + 1, Meta: []byte("meta"), Delta: []byte("d"), TrimTo: deltas + 2,
	}))
	if s, err := snapshot(t, reader, unresting); err != nil || len(s.Ring) != 0 {
		t.Errorf("%d deltas stay (%v)", len(s.Ring), err)
	}
}
