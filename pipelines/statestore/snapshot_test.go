package statestore_test

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"sync"
	"testing"

	"settlewatch/pipelines/servers/serverstest"
	"settlewatch/pipelines/stage"
	"settlewatch/pipelines/statestore"
)

// The commits of these tests: one payment a bucket. Commit n changes or removes
// some payments, rewrites every rollCycle-th bucket, and trims what every bucket has
// behind it. The ring is short, so that a reader who does not follow it is overtaken.
const (
	rollBuckets = 600
	rollCycle   = 6
	rollChanges = 40
)

func changedBy(n uint64, i int) (payment int, value string) {
	payment = (int(n)*rollChanges + i) * 7 % rollBuckets
	if (n+uint64(i))%5 == 0 {
		return payment, "" // removed
	}
	return payment, strconv.FormatUint(n, 10)
}

// standing is every payment after commit n.
func standing(n uint64) (all [rollBuckets]string) {
	const round = rollBuckets/rollChanges + 1
	for k := n - min(n, round) + 1; k <= n; k++ {
		for i := range rollChanges {
			payment, value := changedBy(k, i)
			all[payment] = value
		}
	}
	return all
}

func deltaOf(n uint64) []byte {
	var delta []byte
	for i := range rollChanges {
		payment, value := changedBy(n, i)
		delta = fmt.Appendf(delta, "%d=%s,", payment, value)
	}
	return delta
}

func snapshotCommit(n uint64) stage.Commit {
	c := stage.Commit{
		Sequence: n, FromOffset: int64(n) - 1, ToOffset: int64(n), Meta: fmt.Appendf(nil, "meta %d", n), Delta: deltaOf(n),
	}
	now := standing(n)
	for index := int(n % rollCycle); index < rollBuckets; index += rollCycle {
		c.Buckets = append(c.Buckets, stage.Bucket{Index: index, Value: []byte(now[index])})
	}
	if n >= rollCycle {
		c.TrimTo = n - rollCycle + 2
	}
	return c
}

// checkSnapshot holds what was read to the commit that it claims to be of.
func checkSnapshot(s stage.Stored) error {
	if string(s.Meta) != fmt.Sprintf("meta %d", s.Sequence) || s.Offset != int64(s.Sequence) {
		return fmt.Errorf("sequence %d with %q and offset %d", s.Sequence, s.Meta, s.Offset)
	}
	var got [rollBuckets]string
	for _, b := range s.Buckets {
		got[b.Index] = string(b.Value)
	}
	for i, d := range s.Ring {
		if string(d) != string(deltaOf(s.RingFirst+uint64(i))) {
			return fmt.Errorf("delta %q as sequence %d", d, s.RingFirst+uint64(i))
		}
		for change := range strings.SplitSeq(strings.TrimSuffix(string(d), ","), ",") {
			payment, value, _ := strings.Cut(change, "=")
			index, err := strconv.Atoi(payment)
			if err != nil {
				return err
			}
			got[index] = value
		}
	}
	if want := standing(s.Sequence); got != want {
		return fmt.Errorf("sequence %d is read as\n%v\nwant\n%v", s.Sequence, got, want)
	}
	return nil
}

// unresting reads as fast as it can.
var unresting = context.Context.Err

// gathered is a sink that keeps all.
type gathered struct {
	t       testing.TB
	began   bool
	offset  int64
	buckets []stage.Bucket
}

func (g *gathered) Begin(offset int64) error {
	if g.began {
		g.t.Error("it begins twice")
	}
	g.began, g.offset = true, offset
	return nil
}

func (g *gathered) Bucket(b stage.Bucket) error {
	if n := len(g.buckets); !g.began || n > 0 && g.buckets[n-1].Index >= b.Index {
		g.t.Errorf("bucket %d comes out of order, begun: %t", b.Index, g.began)
	}
	g.buckets = append(g.buckets, b)
	return nil
}

// snapshot reads one into memory.
func snapshot(t testing.TB, p *statestore.Partition, rest func(context.Context) error) (stage.Stored, error) {
	t.Helper()
	into := gathered{t: t}
	s, err := p.Snapshot(t.Context(), &into, rest)
	if into.began && err == nil && (s.Meta == nil || s.Offset < into.offset) {
		t.Errorf("it begins at offset %d and ends at %d, meta %q", into.offset, s.Offset, s.Meta)
	}
	s.Buckets = into.buckets
	return s, err
}

// A snapshot is whole however fast the owner commits.
func TestSnapshotBesideAnOwner(t *testing.T) {
	client := dial(t, statestore.Options{Addrs: []string{serverstest.Redis(t)}})
	owner, reader := client.Partition("log", 1), client.Partition("log", 1)
	if s, err := snapshot(t, reader, unresting); err != nil || s.Meta != nil {
		t.Fatalf("nothing stored reads as sequence %d (%v)", s.Sequence, err)
	}
	must(t, owner.Acquire(t.Context()))
	if s, err := snapshot(t, reader, unresting); err != nil || s.Meta != nil {
		t.Fatalf("a token alone reads as sequence %d (%v)", s.Sequence, err)
	}
	stop := make(chan struct{})
	var commits sync.WaitGroup
	var last uint64
	commits.Go(func() {
		for last = 1; ; last++ {
			if err := owner.Commit(t.Context(), snapshotCommit(last)); err != nil {
				t.Error(err)
				return
			}
			select {
			case <-stop:
				return
			default:
			}
		}
	})
	moved := 0
	for range 100 {
		before, err := reader.ReadBucket(t.Context(), 0)
		must(t, err)
		s, err := snapshot(t, reader, unresting)
		must(t, err)
		if s.Meta == nil {
			continue // before the first commit
		}
		must(t, checkSnapshot(s))
		if s.Sequence > before.Sequence+1 {
			moved++
		}
	}
	close(stop)
	commits.Wait()
	if moved == 0 {
		t.Error("the owner never committed while a snapshot was read")
	}
	s, err := snapshot(t, reader, unresting)
	must(t, err)
	must(t, checkSnapshot(s))
	if s.Sequence != last {
		t.Errorf("sequence %d is read, the last is %d", s.Sequence, last)
	}
	// What was read can be restored, older deltas and all.
	heir := client.Partition("log", 2)
	must(t, heir.Acquire(t.Context()))
	must(t, heir.Restore(t.Context(), s))
	again, err := snapshot(t, reader, unresting)
	must(t, err)
	must(t, checkSnapshot(again))
	must(t, heir.Commit(t.Context(), snapshotCommit(last+1)))
}

// A process that ends while it restores leaves nothing, and the next one restores.
func TestRestoreHalfWayIsNothing(t *testing.T) {
	client := dial(t, statestore.Options{Addrs: []string{serverstest.Redis(t)}})
	source := client.Partition("log", 1)
	must(t, source.Acquire(t.Context()))
	for n := uint64(1); n <= 50; n++ {
		must(t, source.Commit(t.Context(), snapshotCommit(n)))
	}
	s, err := snapshot(t, source, unresting)
	must(t, err)
	dying := client.Partition("log", 2)
	must(t, dying.Acquire(t.Context()))
	broken := s
	broken.Buckets = append(broken.Buckets[:len(broken.Buckets):len(broken.Buckets)], stage.Bucket{Index: 3, Value: []byte("twice")})
	if err := dying.Restore(t.Context(), broken); !errors.Is(err, stage.ErrFenced) {
		t.Fatalf("parts that are not whole end with: %v", err)
	}
	heir := client.Partition("log", 2)
	if got, err := heir.Load(t.Context()); err != nil || got.Meta != nil {
		t.Fatalf("half a restore loads as sequence %d (%v)", got.Sequence, err)
	}
	must(t, heir.Acquire(t.Context()))
	must(t, heir.Restore(t.Context(), s))
	got, err := heir.Load(t.Context())
	must(t, err)
	must(t, checkSnapshot(got))
}

// A Redis that is told to evict while it runs is found out.
func TestCheckFindsEviction(t *testing.T) {
	addr := serverstest.Redis(t)
	client := dial(t, statestore.Options{Addrs: []string{addr}})
	must(t, client.Check(t.Context()))
	rawSet(t, addr, "maxmemory-policy", "allkeys-lru")
	if err := client.Check(t.Context()); !errors.Is(err, statestore.ErrUnsafe) {
		t.Errorf("it is found to be %v", err)
	}
	if _, err := statestore.Dial(t.Context(), statestore.Options{Addrs: []string{addr}}); !errors.Is(err, statestore.ErrUnsafe) {
		t.Errorf("a new connection is %v", err)
	}
	rawSet(t, addr, "maxmemory-policy", "noeviction")
	must(t, client.Check(t.Context()))
}
