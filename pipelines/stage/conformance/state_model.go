package conformance

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"testing"

	"settlewatch/pipelines/stage"
)

// plain is a commit of ten records that says its sequence everywhere.
func plain(sequence uint64) stage.Commit {
	return stage.Commit{
		Sequence: sequence, FromOffset: 10 * (int64(sequence) - 1), ToOffset: 10 * int64(sequence),
		Meta: fmt.Appendf(nil, "meta %d", sequence), Delta: fmt.Appendf(nil, "delta %d", sequence),
		Buckets: []stage.Bucket{{Index: int(sequence % 5), Value: fmt.Appendf(nil, "bucket %d", sequence)}},
	}
}

// plainStored is what plain commits up to sequence leave behind.
func plainStored(sequence uint64) stage.Stored {
	var s stage.Stored
	for n := uint64(1); n <= sequence; n++ {
		c := plain(n)
		s = stage.Stored{
			Sequence: n, Offset: c.ToOffset, Meta: c.Meta, RingFirst: 1,
			Ring: append(s.Ring, c.Delta), Buckets: merge(s.Buckets, c.Buckets),
		}
	}
	return s
}

// still is a commit that does not move in the log.
func still(sequence uint64) stage.Commit {
	return stage.Commit{Sequence: sequence, FromOffset: 70, ToOffset: 70, Meta: []byte("m"), Delta: []byte("d")}
}

// rolling is the number of payments, and of buckets, of the rolling commits.
const rolling = 120

// roll is commit number sequence of a joiner that has one payment a bucket: the
// commit changes one payment, rewrites the bucket of another and trims what all
// buckets have behind them.
func roll(sequence uint64) stage.Commit {
	c := stage.Commit{
		Sequence: sequence, FromOffset: 10 * (int64(sequence) - 1), ToOffset: 10 * int64(sequence),
		Meta:  fmt.Appendf(nil, "roll %d", sequence),
		Delta: fmt.Appendf(nil, "%d=%d", changes(sequence), sequence),
	}
	index := int(sequence % rolling)
	bucket := stage.Bucket{Index: index}
	if last := rolled(sequence)[index]; last > 0 {
		bucket.Value = strconv.AppendUint(nil, last, 10)
	}
	c.Buckets = []stage.Bucket{bucket}
	c.TrimTo = rollFirst(sequence)
	return c
}

// changes says which payment a commit changes; it is no neighbour of the bucket
// that the commit rewrites.
func changes(sequence uint64) int { return int(sequence * 7 % rolling) }

// rollFirst is the oldest delta that some bucket does not hold yet.
func rollFirst(sequence uint64) uint64 {
	if sequence < rolling {
		return 1
	}
	return sequence - rolling + 2
}

// rolled is each payment's last commit up to sequence, 0 for none: the fold of
// the prefix.
func rolled(sequence uint64) (last [rolling]uint64) {
	first := uint64(1)
	if sequence > rolling {
		first = sequence - rolling + 1
	}
	for n := first; n <= sequence; n++ {
		last[changes(n)] = n
	}
	return last
}

// checkRoll holds a loaded state against the fold of the prefix that it claims
// to be.
func checkRoll(s stage.Stored) error {
	if s.Meta == nil {
		return nil
	}
	if want := fmt.Sprintf("roll %d", s.Sequence); string(s.Meta) != want || s.Offset != 10*int64(s.Sequence) {
		return fmt.Errorf("loaded sequence %d with meta %q and offset %d", s.Sequence, s.Meta, s.Offset)
	}
	if first := rollFirst(s.Sequence); s.RingFirst != first || uint64(len(s.Ring)) != s.Sequence-first+1 {
		return fmt.Errorf("loaded sequence %d with a ring of %d deltas from %d, want it from %d", s.Sequence, len(s.Ring), s.RingFirst, first)
	}
	var got [rolling]uint64
	for _, b := range s.Buckets {
		last, err := strconv.ParseUint(string(b.Value), 10, 64)
		if err != nil {
			return fmt.Errorf("loaded bucket %d as %q", b.Index, b.Value)
		}
		if last > s.Sequence {
			return fmt.Errorf("loaded sequence %d with a bucket of sequence %d", s.Sequence, last)
		}
		got[b.Index] = last
	}
	for i, d := range s.Ring {
		payment, last, _ := strings.Cut(string(d), "=")
		index, err := strconv.Atoi(payment)
		if err != nil || last != strconv.FormatUint(s.RingFirst+uint64(i), 10) {
			return fmt.Errorf("loaded delta %q as sequence %d", d, s.RingFirst+uint64(i))
		}
		got[index] = s.RingFirst + uint64(i)
	}
	if want := rolled(s.Sequence); got != want {
		return fmt.Errorf("loaded sequence %d as %v, the fold of the log is %v", s.Sequence, got, want)
	}
	return nil
}

func sameRoll(t *testing.T, s stage.Stored) {
	t.Helper()
	if err := checkRoll(s); err != nil {
		t.Fatal(err)
	}
}

func acquired(t *testing.T, owner func() stage.State) stage.State {
	t.Helper()
	s := owner()
	if err := s.Acquire(t.Context()); err != nil {
		t.Fatal(err)
	}
	return s
}

func load(t *testing.T, s stage.State) stage.Stored {
	t.Helper()
	got, err := s.Load(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return got
}

func commit(t *testing.T, s stage.State, c stage.Commit) {
	t.Helper()
	if err := s.Commit(t.Context(), c); err != nil {
		t.Fatalf("commit sequence %d from %d to %d: %v", c.Sequence, c.FromOffset, c.ToOffset, err)
	}
}

func refused(t *testing.T, s stage.State, c stage.Commit) {
	t.Helper()
	if err := s.Commit(t.Context(), c); !errors.Is(err, stage.ErrFenced) {
		t.Fatalf("commit sequence %d from %d to %d: got error %v, want ErrFenced", c.Sequence, c.FromOffset, c.ToOffset, err)
	}
}

func same(t *testing.T, got, want stage.Stored) {
	t.Helper()
	if got.Sequence != want.Sequence || got.Offset != want.Offset || got.RingFirst != want.RingFirst || !bytes.Equal(got.Meta, want.Meta) {
		t.Fatalf("loaded %s\nwant   %s", show(got), show(want))
	}
	if !slices.EqualFunc(got.Ring, want.Ring, bytes.Equal) {
		t.Fatalf("loaded ring of %d: %.2000q\nwant %d: %.2000q", len(got.Ring), got.Ring, len(want.Ring), want.Ring)
	}
	sameBuckets(t, got.Buckets, want.Buckets)
}

func sameBuckets(t *testing.T, got, want []stage.Bucket) {
	t.Helper()
	got, want = byIndex(got), byIndex(want)
	for i := range max(len(got), len(want)) {
		if i >= len(got) || i >= len(want) || got[i].Index != want[i].Index || !bytes.Equal(got[i].Value, want[i].Value) {
			t.Fatalf("loaded %d buckets, want %d; they differ from place %d on", len(got), len(want), i)
		}
	}
}

// byIndex is a sorted copy: a State may give the buckets in any order.
func byIndex(b []stage.Bucket) []stage.Bucket {
	return slices.SortedFunc(slices.Values(b), func(a, b stage.Bucket) int { return cmp.Compare(a.Index, b.Index) })
}

func show(s stage.Stored) string {
	return fmt.Sprintf("sequence %d, offset %d, meta %.100q, ring of %d from %d, %d buckets",
		s.Sequence, s.Offset, s.Meta, len(s.Ring), s.RingFirst, len(s.Buckets))
}

func deltas(texts ...string) [][]byte {
	var ring [][]byte
	for _, s := range texts {
		ring = append(ring, []byte(s))
	}
	return ring
}

// buckets reads "index=value"; an empty value removes.
func buckets(texts ...string) []stage.Bucket {
	var out []stage.Bucket
	for _, s := range texts {
		index, value, _ := strings.Cut(s, "=")
		n, err := strconv.Atoi(index)
		if err != nil {
			panic(err)
		}
		out = append(out, stage.Bucket{Index: n, Value: []byte(value)})
	}
	return out
}

// merge is the snapshot after a commit has rewritten some buckets.
func merge(held, written []stage.Bucket) []stage.Bucket {
	out := slices.DeleteFunc(slices.Clone(held), func(b stage.Bucket) bool {
		return slices.ContainsFunc(written, func(w stage.Bucket) bool { return w.Index == b.Index })
	})
	return append(out, written...)
}
