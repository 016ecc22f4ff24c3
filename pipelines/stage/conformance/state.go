package conformance

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync"
	"testing"

	"settlewatch/pipelines/stage"
)

// Wiper is what a stage.State has to offer beside its interface, because a
// rebuild needs it: to remove all that is stored, the token too.
type Wiper interface {
	Wipe(ctx context.Context) error
}

// State runs the suite of stage.State. For each test open prepares an empty
// storage; each call of the function it returns is a new owner on that storage,
// with no token yet.
func State(t *testing.T, open func(t *testing.T) func() stage.State) {
	t.Helper()
	for _, c := range []struct {
		name string
		run  func(t *testing.T, owner func() stage.State)
	}{
		{"nothing stored", testNothingStored},
		{"round trip", testRoundTrip},
		{"commit without a token", testCommitWithoutToken},
		{"zombie is fenced", testZombie},
		{"token alone fences", testTokenAlone},
		{"acquiring again fences the earlier token", testAcquireAgain},
		{"sequence must follow", testSequence},
		{"first sequence is 1", testFirstSequence},
		{"offset must be the stored one", testOffset},
		{"numbers above 2^53 are exact", testBigNumbers},
		{"repeat is done once", testRepeat},
		{"repeat differs", testRepeatDiffers},
		{"invalid commits change nothing", testInvalid},
		{"wipe fences and empties", testWipe},
		{"ring is trimmed behind", testTrim},
		{"ring is trimmed to nothing", testTrimAll},
		{"buckets are removed", testBucketRemoval},
		{"bytes are kept", testBytes},
		{"many buckets", testManyBuckets},
		{"load beside commits", testLoadBesideCommits},
		{"two owners racing", testRace},
		{"restore", testRestore},
		{"restore is fenced", testRestoreFenced},
	} {
		t.Run(c.name, func(t *testing.T) { c.run(t, open(t)) })
	}
}

func testNothingStored(t *testing.T, owner func() stage.State) {
	s := acquired(t, owner)
	if got := load(t, s); got.Meta != nil || got.Sequence != 0 || len(got.Ring)+len(got.Buckets) != 0 {
		t.Fatalf("an empty storage loads as %s", show(got))
	}
	// A token alone is not yet a state.
	if got := load(t, owner()); got.Meta != nil {
		t.Fatalf("after Acquire alone it loads as %s", show(got))
	}
}

func testRoundTrip(t *testing.T, owner func() stage.State) {
	s := acquired(t, owner)
	// A fold that starts from a checkpoint does not start at offset 0.
	commit(t, s, stage.Commit{Sequence: 1, FromOffset: 500, ToOffset: 510, Meta: []byte("m1"), Delta: []byte("d1"), Buckets: buckets("3=three", "7=seven")})
	commit(t, s, stage.Commit{Sequence: 2, FromOffset: 510, ToOffset: 520, Meta: []byte("m2"), Delta: []byte("d2"), Buckets: buckets("7=SEVEN")})
	want := stage.Stored{
		Sequence: 2, Offset: 520, Meta: []byte("m2"), RingFirst: 1,
		Ring: deltas("d1", "d2"), Buckets: buckets("3=three", "7=SEVEN"),
	}
	same(t, load(t, s), want)
	same(t, load(t, owner()), want)
	same(t, load(t, acquired(t, owner)), want)

	// Nil and empty are the same on the way in; on the way out Meta tells that
	// something is stored.
	s = acquired(t, owner)
	commit(t, s, stage.Commit{Sequence: 3, FromOffset: 520, ToOffset: 520})
	got := load(t, s)
	if got.Meta == nil {
		t.Error("an empty Meta was loaded as nil, which means that nothing is stored")
	}
	same(t, got, stage.Stored{Sequence: 3, Offset: 520, RingFirst: 1, Ring: deltas("d1", "d2", ""), Buckets: want.Buckets})
}

func testCommitWithoutToken(t *testing.T, owner func() stage.State) {
	refused(t, owner(), plain(1))
	s := acquired(t, owner)
	commit(t, s, plain(1))
	refused(t, owner(), plain(2))
	same(t, load(t, s), plainStored(1))
}

func testZombie(t *testing.T, owner func() stage.State) {
	zombie := acquired(t, owner)
	commit(t, zombie, plain(1))
	heir := acquired(t, owner)
	same(t, load(t, heir), plainStored(1))
	commit(t, heir, plain(2))
	refused(t, zombie, plain(2)) // as late as that
	refused(t, zombie, plain(3)) // or guessing right
	same(t, load(t, heir), plainStored(2))
	if _, err := zombie.Load(t.Context()); !errors.Is(err, stage.ErrFenced) {
		t.Errorf("a replaced owner loads: got error %v, want ErrFenced", err)
	}
	commit(t, heir, plain(3))
	same(t, load(t, heir), plainStored(3))
}

// testTokenAlone has a zombie whose sequence and offset are the stored ones, so
// that nothing but the token can fence it.
func testTokenAlone(t *testing.T, owner func() stage.State) {
	zombie := acquired(t, owner)
	acquired(t, owner)
	refused(t, zombie, plain(1))
	zombie = acquired(t, owner)
	commit(t, zombie, plain(1))
	heir := acquired(t, owner)
	refused(t, zombie, plain(2))
	refused(t, zombie, plain(1)) // "already done" is not for it to hear
	same(t, load(t, heir), plainStored(1))
	commit(t, heir, plain(2))
}

func testAcquireAgain(t *testing.T, owner func() stage.State) {
	first := acquired(t, owner)
	commit(t, first, plain(1))
	acquired(t, owner)
	refused(t, first, plain(2))
	if err := first.Acquire(t.Context()); err != nil {
		t.Fatal(err)
	}
	same(t, load(t, first), plainStored(1))
	commit(t, first, plain(2))
	same(t, load(t, first), plainStored(2))
}

// testSequence keeps token and offsets right: commits that go nowhere in the
// log, so that nothing but the sequence can tell.
func testSequence(t *testing.T, owner func() stage.State) {
	s := acquired(t, owner)
	commit(t, s, still(1))
	commit(t, s, still(2))
	before := load(t, s)
	for _, sequence := range []uint64{1, 4, 5, 10, 12, 20, 1 << 60} {
		c := still(sequence)
		refused(t, s, c)
		c.ToOffset++
		refused(t, s, c)
	}
	same(t, load(t, s), before)
	commit(t, s, still(3))
}

func testFirstSequence(t *testing.T, owner func() stage.State) {
	s := acquired(t, owner)
	refused(t, s, plain(2))
	refused(t, s, still(2))
	if got := load(t, s); got.Meta != nil {
		t.Fatalf("a refused commit left %s", show(got))
	}
	commit(t, s, plain(1))
}

func testOffset(t *testing.T, owner func() stage.State) {
	s := acquired(t, owner)
	commit(t, s, plain(1))
	commit(t, s, plain(2))
	for _, from := range []int64{-1, 0, 1, 10, 19, 21, 30, 200} {
		c := plain(3)
		c.FromOffset, c.ToOffset = from, max(from, 30)
		refused(t, s, c)
	}
	same(t, load(t, s), plainStored(2))
	commit(t, s, plain(3))
}

// testBigNumbers uses offsets that a double cannot tell apart.
func testBigNumbers(t *testing.T, owner func() stage.State) {
	const big = int64(1) << 53
	s := acquired(t, owner)
	commit(t, s, stage.Commit{Sequence: 1, FromOffset: big, ToOffset: big + 1, Delta: []byte("d")})
	refused(t, s, stage.Commit{Sequence: 2, FromOffset: big, ToOffset: big + 2})
	refused(t, s, stage.Commit{Sequence: 2, FromOffset: big + 2, ToOffset: big + 2})
	refused(t, s, stage.Commit{Sequence: 1, FromOffset: big, ToOffset: big})
	commit(t, s, stage.Commit{Sequence: 2, FromOffset: big + 1, ToOffset: 1<<63 - 1, Delta: []byte("e")})
	refused(t, s, stage.Commit{Sequence: 3, FromOffset: 1<<63 - 2, ToOffset: 1<<63 - 1})
	same(t, load(t, s), stage.Stored{Sequence: 2, Offset: 1<<63 - 1, RingFirst: 1, Ring: deltas("d", "e")})
}

func testRepeat(t *testing.T, owner func() stage.State) {
	s := acquired(t, owner)
	for n := uint64(1); n <= 3; n++ {
		c := plain(n)
		c.TrimTo = n - 1
		for range 3 {
			commit(t, s, c)
		}
	}
	want := plainStored(3)
	want.RingFirst, want.Ring = 2, want.Ring[1:]
	same(t, load(t, s), want)

	// After a take-over the earlier owner's repeat is a stale commit, not a done one.
	heir := acquired(t, owner)
	refused(t, s, plain(3))
	c := plain(3)
	c.ToOffset++
	refused(t, heir, c)
	same(t, load(t, heir), want)
}

func testRepeatDiffers(t *testing.T, owner func() stage.State) {
	s := acquired(t, owner)
	commit(t, s, plain(1))
	commit(t, s, plain(2))
	other := plain(2)
	other.ToOffset++
	refused(t, s, other) // another cut of the batch is another commit
	refused(t, s, plain(1))
	same(t, load(t, s), plainStored(2))
}

func testInvalid(t *testing.T, owner func() stage.State) {
	s := acquired(t, owner)
	commit(t, s, plain(1))
	backwards, negative, twice := plain(2), plain(2), plain(2)
	backwards.ToOffset = backwards.FromOffset - 1
	negative.Buckets = []stage.Bucket{{Index: -1, Value: []byte("x")}}
	twice.Buckets = buckets("4=x", "4=y")
	for name, c := range map[string]stage.Commit{
		"sequence 0": {FromOffset: 10, ToOffset: 20}, "offset goes back": backwards,
		"negative bucket": negative, "bucket given twice": twice,
	} {
		if err := s.Commit(t.Context(), c); err == nil {
			t.Errorf("%s was committed", name)
		} else if errors.Is(err, stage.ErrFenced) {
			t.Errorf("%s: got %v: a mistake of the caller's is not another owner", name, err)
		}
	}
	same(t, load(t, s), plainStored(1))
	commit(t, s, plain(2))
}

func testWipe(t *testing.T, owner func() stage.State) {
	s := acquired(t, owner)
	commit(t, s, plain(1))
	commit(t, s, plain(2))
	wiper, ok := owner().(Wiper)
	if !ok {
		t.Fatalf("%T cannot Wipe", s)
	}
	if err := wiper.Wipe(t.Context()); err != nil {
		t.Fatal(err)
	}
	refused(t, s, plain(3))
	refused(t, s, plain(2))
	refused(t, s, plain(1)) // a missing token equals nothing
	if got := load(t, owner()); got.Meta != nil {
		t.Fatalf("after a wipe it loads as %s", show(got))
	}
	heir := acquired(t, owner)
	refused(t, s, plain(1)) // the count of owners starts anew, the token must not
	c := plain(1)
	c.Buckets = buckets("900=only")
	commit(t, heir, c)
	want := plainStored(1)
	want.Buckets = c.Buckets
	same(t, load(t, heir), want)
}

func testTrim(t *testing.T, owner func() stage.State) {
	s := acquired(t, owner)
	for n := uint64(1); n <= 60; n++ {
		commit(t, s, plain(n))
	}
	want := plainStored(60)
	c := plain(61)
	for _, step := range []struct{ trimTo, first uint64 }{
		{0, 1}, {1, 1}, {2, 2}, {2, 2}, {1, 2}, {40, 40}, {66, 66}, {67, 67},
	} {
		c = plain(want.Sequence + 1)
		c.TrimTo = step.trimTo
		commit(t, s, c)
		want.Sequence, want.Offset, want.Meta, want.Buckets = c.Sequence, c.ToOffset, c.Meta, merge(want.Buckets, c.Buckets)
		want.Ring = append(want.Ring, c.Delta)[step.first-want.RingFirst:]
		want.RingFirst = step.first
		same(t, load(t, s), want)
	}
}

func testTrimAll(t *testing.T, owner func() stage.State) {
	s := acquired(t, owner)
	c := plain(1)
	c.TrimTo = 2
	commit(t, s, c)
	commit(t, s, c)
	want := plainStored(1)
	want.RingFirst, want.Ring = 2, nil
	same(t, load(t, s), want)
	commit(t, s, plain(2))
	want = plainStored(2)
	want.RingFirst, want.Ring = 2, want.Ring[1:]
	same(t, load(t, s), want)
	// Beyond the commit's own sequence there is nothing to drop.
	c = plain(3)
	c.TrimTo = 1 << 62
	commit(t, s, c)
	want = plainStored(3)
	want.RingFirst, want.Ring = 4, nil
	same(t, load(t, s), want)
	commit(t, s, plain(4))
	want = plainStored(4)
	want.RingFirst, want.Ring = 4, want.Ring[3:]
	same(t, load(t, s), want)
}

func testBucketRemoval(t *testing.T, owner func() stage.State) {
	s := acquired(t, owner)
	c := still(1)
	c.Buckets = buckets("1=a", "2=b", "3=c", "10=d")
	commit(t, s, c)
	c = still(2)
	c.Buckets = buckets("2=", "3=C", "99=", "1=")
	commit(t, s, c)
	commit(t, s, c)
	got := load(t, s)
	sameBuckets(t, got.Buckets, buckets("3=C", "10=d"))
	c = still(3)
	c.Buckets = buckets("3=", "10=")
	commit(t, s, c)
	sameBuckets(t, load(t, s).Buckets, nil)
	c = still(4)
	c.Buckets = buckets("3=again")
	commit(t, s, c)
	sameBuckets(t, load(t, s).Buckets, c.Buckets)
}

func testBytes(t *testing.T, owner func() stage.State) {
	all := make([]byte, 256)
	for i := range all {
		all[i] = byte(i)
	}
	s := acquired(t, owner)
	var want stage.Stored
	for n, v := range [][]byte{
		all, {0}, []byte("\r\n$5\r\n*1\r\n"), []byte("1.79e+15"), {0xff, 0xfe, 0x80}, bytes.Repeat(all, 8_192),
	} {
		sequence := uint64(n + 1)
		c := stage.Commit{Sequence: sequence, ToOffset: 0, Meta: v, Delta: v, Buckets: []stage.Bucket{{Index: n, Value: v}}}
		commit(t, s, c)
		want = stage.Stored{Sequence: sequence, RingFirst: 1, Meta: v, Ring: append(want.Ring, v), Buckets: append(want.Buckets, c.Buckets...)}
	}
	same(t, load(t, s), want)
}

// testManyBuckets goes over the boundaries at which a script has to cut its
// arguments.
func testManyBuckets(t *testing.T, owner func() stage.State) {
	s := acquired(t, owner)
	held := map[int][]byte{}
	sequence := uint64(0)
	for _, n := range []int{1, 499, 500, 501, 999, 1_000, 1_001, 2_000, 20_000} {
		for _, remove := range []bool{true, false} {
			sequence++
			c := still(sequence)
			for i := range n {
				b := stage.Bucket{Index: i * 3}
				// In the removing commit one in seven stays.
				if !remove || i%7 == 0 {
					b.Value = fmt.Appendf(nil, "%d of commit %d", b.Index, sequence)
					held[b.Index] = b.Value
				} else {
					delete(held, b.Index)
				}
				c.Buckets = append(c.Buckets, b)
			}
			c.TrimTo = sequence
			commit(t, s, c)
		}
		var want []stage.Bucket
		for _, index := range slices.Sorted(maps.Keys(held)) {
			want = append(want, stage.Bucket{Index: index, Value: held[index]})
		}
		sameBuckets(t, load(t, s).Buckets, want)
	}
}

// testLoadBesideCommits has a reader look while the owner commits. Every commit
// is a function of its sequence, so each load can be held against the fold of
// exactly the prefix that it claims to be.
func testLoadBesideCommits(t *testing.T, owner func() stage.State) {
	s, reader := acquired(t, owner), owner()
	sequence := uint64(0)
	for range rolling {
		sequence++
		commit(t, s, roll(sequence))
	}
	for range 30 {
		// Few commits a round: a reader that is overtaken for ever never ends.
		var beside sync.WaitGroup
		beside.Go(func() {
			for range 4 {
				sequence++
				if err := s.Commit(t.Context(), roll(sequence)); err != nil {
					t.Errorf("commit sequence %d: %v", sequence, err)
				}
			}
		})
		got := load(t, reader)
		beside.Wait()
		sameRoll(t, got)
	}
	sameRoll(t, load(t, reader))
}

// testRace has two owners take the partition from each other. Each commit must
// extend exactly what its owner loaded.
func testRace(t *testing.T, owner func() stage.State) {
	var racers sync.WaitGroup
	for range 2 {
		s := owner()
		racers.Go(func() {
			for range 12 {
				if err := takeOver(t.Context(), s, 5); err != nil {
					t.Error(err)
				}
			}
		})
	}
	racers.Wait()
	last := acquired(t, owner)
	sameRoll(t, load(t, last))
	if err := takeOver(t.Context(), last, 2*rolling); err != nil {
		t.Error(err)
	}
	sameRoll(t, load(t, last))
}

// takeOver acquires, loads and commits up to n times; being fenced ends it early.
func takeOver(ctx context.Context, s stage.State, n uint64) error {
	if err := s.Acquire(ctx); err != nil {
		return err
	}
	got, err := s.Load(ctx)
	if errors.Is(err, stage.ErrFenced) {
		return nil
	}
	if err != nil {
		return err
	}
	if err := checkRoll(got); err != nil {
		return err
	}
	for i := range n {
		if err := s.Commit(ctx, roll(got.Sequence+1+i)); errors.Is(err, stage.ErrFenced) {
			return nil
		} else if err != nil {
			return err
		}
	}
	return nil
}
