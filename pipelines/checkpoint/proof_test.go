package checkpoint_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"testing"
	"time"

	"settlewatch/pipelines/calendar"
	"settlewatch/pipelines/checkpoint"
	"settlewatch/pipelines/join"
	"settlewatch/pipelines/stage"
	"settlewatch/schemas/event"
	"settlewatch/schemas/ruleset"
)

const (
	saleFeed = "authorization/raw.authorization.v1/0/json@1"
	hourMs   = int64(3_600_000)
	// 2026-03-02, 10:00 in Shanghai.
	monday = int64(1_772_416_800_000)
)

// folded is a state as the store holds it after some hundred commits: payments of one
// sale and of many (more than a part of the checksum), some ended and dropped, in
// buckets and in a ring that was trimmed.
func folded(t *testing.T) stage.Stored {
	t.Helper()
	atTheEdge := "" // of those that are proved together
	for n := 0; join.BucketOf(event.PaymentKey(atTheEdge))%(join.BucketCount/8) != 0; n++ {
		atTheEdge = fmt.Sprintf("acq|o|edge%d", n)
	}
	log := []*event.LogRecord{configRecord()}
	const sales = 2000
	for i := range int64(sales) {
		key := fmt.Sprintf("acq|o|%d", i%150)
		switch i % 10 {
		case 0:
			key = "acq|o|large"
		case 5:
			key = atTheEdge
		}
		log = append(log, saleRecord(key, i, monday+i*hourMs), markRecord(i, monday+i*hourMs))
	}
	held := map[int][]byte{}
	s := stage.Stored{RingFirst: 1}
	commit(t, log, 20, func(c *join.Changes) {
		s.Sequence++
		s.Offset = int64(20 * s.Sequence)
		s.Meta, s.Ring = c.Meta, append(s.Ring, bytes.Clone(c.Delta))
		if s.Sequence == 100 {
			s.Ring, s.RingFirst = s.Ring[c.TrimTo-s.RingFirst:], c.TrimTo
		}
		for _, b := range c.Buckets {
			if s.Sequence <= 100 || s.Sequence%3 == 0 {
				held[b.Index] = bytes.Clone(b.Value)
			}
		}
	})
	// As read by Snapshot from commit 100 on: each bucket is of some commit since.
	s.Buckets = bucketsOf(held)
	return s
}

// commit folds a log, and shows a commit for every so many records.
func commit(t testing.TB, log []*event.LogRecord, records int, show func(*join.Changes)) {
	t.Helper()
	state, out := join.New(), new(join.Output)
	recorder := join.NewRecorder(state)
	for at := 0; at < len(log); at += records {
		for _, r := range log[at:min(at+records, len(log))] {
			if err := state.Step(r, out); err != nil {
				t.Fatal(err)
			}
		}
		out.Alerts, out.Payments = out.Alerts[:0], out.Payments[:0]
		c, err := recorder.Commit(uint64(at/records+1), join.Position{Offset: int64(at + records)})
		if err != nil {
			t.Fatal(err)
		}
		show(&c)
	}
}

func bucketsOf(held map[int][]byte) (buckets []stage.Bucket) {
	for _, index := range slices.Sorted(maps.Keys(held)) {
		buckets = append(buckets, stage.Bucket{Index: index, Value: held[index]})
	}
	return buckets
}

func configRecord() *event.LogRecord {
	return &event.LogRecord{
		Origin: &event.Origin{Source: "config/config.v1/0/config@1"},
		Body: &event.LogRecord_Config{Config: ruleset.Default(ruleset.Abilities{JoinVersion: join.Version, TZData: calendar.TZDataVersion, Calendar: "2026.1"},
			&event.ExpectedSource{Name: saleFeed, Clock: event.Clock_CLOCK_PLAYED})},
	}
}

// saleRecord and markRecord are the i-th of each.

func saleRecord(key string, i, at int64) *event.LogRecord {
	minor, id := 100+i, event.NewID("sale", fmt.Sprint(i))
	return &event.LogRecord{
		Origin: &event.Origin{Source: saleFeed, Offset: 2 * i}, ArrivalMs: at,
		Body: &event.LogRecord_Event{Event: &event.Event{
			Id: id[:], PaymentKey: key, Kind: event.Kind_KIND_AUTHORIZATION, Operation: event.Operation_OPERATION_NEW,
			Mode: event.Mode_MODE_SINGLE, Outcome: event.Outcome_OUTCOME_REJECTED,
			Amounts: &event.Amounts{Currency: "CNY", TransactionMinor: &minor}, Time: &event.Time{BusinessMs: &at},
			Parties: &event.Parties{Merchant: "M1"},
		}},
	}
}

func markRecord(i, at int64) *event.LogRecord {
	return &event.LogRecord{
		Origin: &event.Origin{Source: saleFeed, Offset: 2*i + 1}, ArrivalMs: at, Body: &event.LogRecord_Mark{Mark: &event.Mark{TMs: at}},
	}
}

func loads(ctx context.Context, s stage.Stored, pace *checkpoint.Pace) error {
	return checkpoint.Loads(ctx, s, checkpoint.Ordered(s.Buckets), pace)
}

// What join.Load loads passes, and nothing else does, whatever is spoilt.
func TestLoadsAsJoinDoes(t *testing.T) {
	whole := folded(t)
	both := func(s stage.Stored) (ours, theirs error) {
		_, _, theirs = join.Load(s.Meta, s.Buckets, s.Ring)
		return loads(t.Context(), s, nil), theirs
	}
	if ours, theirs := both(whole); ours != nil || theirs != nil {
		t.Fatalf("a state as it was stored: %v; join says %v", ours, theirs)
	}
	if len(whole.Buckets) < 100 || len(whole.Ring) < 100 {
		t.Fatalf("%d buckets and %d deltas show too little", len(whole.Buckets), len(whole.Ring))
	}
	bucket := func(i int, value []byte) func(*stage.Stored) {
		return func(s *stage.Stored) { s.Buckets[i].Value = value }
	}
	meta := func(field, value string) func(*stage.Stored) {
		return func(s *stage.Stored) {
			s.Meta = regexp.MustCompile(`"`+field+`":("[^"]*"|\d+|\[[^]]*\])`).ReplaceAll(s.Meta, []byte(`"`+field+`":`+value))
		}
	}
	unused := 0
	for slices.ContainsFunc(whole.Buckets, func(b stage.Bucket) bool { return b.Index == unused }) {
		unused++
	}
	cases := map[string]func(*stage.Stored){
		"nothing":              func(s *stage.Stored) { *s = stage.Stored{} },
		"no bucket":            func(s *stage.Stored) { s.Buckets = nil },
		"a bucket of another":  func(s *stage.Stored) { s.Buckets[0].Index, s.Buckets[1].Index = s.Buckets[1].Index, s.Buckets[0].Index },
		"a bucket too many":    func(s *stage.Stored) { s.Buckets[0].Index = join.BucketCount },
		"a bucket below":       func(s *stage.Stored) { s.Buckets[0].Index = -1 },
		"an empty bucket":      bucket(0, nil),
		"an empty bucket more": func(s *stage.Stored) { s.Buckets = append(s.Buckets, stage.Bucket{Index: unused}) },
		"half a bucket":        bucket(0, whole.Buckets[0].Value[:len(whole.Buckets[0].Value)/2]),
		"more than a bucket":   bucket(0, append(slices.Clone(whole.Buckets[0].Value), 5)),
		"the ring's last":      func(s *stage.Stored) { s.Ring = s.Ring[:len(s.Ring)-1] },
		"a delta of no length": func(s *stage.Stored) { s.Ring[7] = nil },
		"no ring":              func(s *stage.Stored) { s.Ring = nil },
		"a payment less":       meta("payments", "1"),
		"another sum":          meta("checksum", "1"),
		"a newer format":       meta("format", "1000000"),
		"an older format":      meta("format", "1"),
		"no configuration":     meta("config", `"AAAA"`),
		"a group's frontier":   meta("judge_from", "[]"),
		"cut meta":             func(s *stage.Stored) { s.Meta = s.Meta[:len(s.Meta)-1] },
	}
	for i := 0; i < len(whole.Buckets); i += 13 {
		cases[fmt.Sprintf("bucket %d is gone", i)] = func(s *stage.Stored) { s.Buckets = slices.Delete(s.Buckets, i, i+1) }
		cases[fmt.Sprintf("a bit of bucket %d", i)] = func(s *stage.Stored) {
			v := bytes.Clone(s.Buckets[i].Value)
			v[len(v)-3] ^= 1
			s.Buckets[i].Value = v
		}
	}
	for i := 1; i < len(whole.Ring); i += 9 {
		cases[fmt.Sprintf("delta %d is gone", i)] = func(s *stage.Stored) { s.Ring = slices.Delete(s.Ring, i, i+1) }
		cases[fmt.Sprintf("delta %d comes twice", i)] = func(s *stage.Stored) { s.Ring[i-1] = s.Ring[i] }
		cases[fmt.Sprintf("a bit of delta %d", i)] = func(s *stage.Stored) {
			v := bytes.Clone(s.Ring[i])
			v[len(v)-3] ^= 1
			s.Ring[i] = v
		}
	}
	refused := 0
	for name, spoil := range cases {
		s := whole
		s.Buckets, s.Ring = slices.Clone(whole.Buckets), slices.Clone(whole.Ring)
		spoil(&s)
		ours, theirs := both(s)
		if (ours == nil) != (theirs == nil) {
			t.Errorf("%s: %v; join says %v", name, ours, theirs)
		}
		if errors.Is(theirs, join.ErrInconsistent) && !errors.Is(ours, join.ErrInconsistent) {
			t.Errorf("%s: %v, join says that it is another state", name, ours)
		}
		if theirs != nil {
			refused++
		}
	}
	if refused < len(cases)/3 {
		t.Errorf("only %d of %d are refused", refused, len(cases))
	}
	// Stored twice is more than is ever stored: join takes the last of them.
	s := whole
	s.Buckets = append(slices.Clone(whole.Buckets), whole.Buckets[0])
	if err := loads(t.Context(), s, nil); !errors.Is(err, join.ErrInconsistent) {
		t.Errorf("a bucket that is there twice: %v", err)
	}
}

// A proof rests between its parts, and ends in the midst of them.
func TestLoadsInParts(t *testing.T) {
	whole := folded(t)
	clock := &workClock{each: 5 * time.Millisecond}
	if err := loads(t.Context(), whole, checkpoint.NewPace(20, 1000*time.Hour, clock)); err != nil {
		t.Fatal(err)
	}
	if least := len(whole.Buckets) + 8*len(whole.Ring); len(clock.rests) < least {
		t.Errorf("it rests %d times where %d buckets and deltas are read", len(clock.rests), least)
	}
	for stop := 1; stop < len(clock.rests); stop += len(clock.rests) / 4 {
		ctx, cancel := context.WithCancel(t.Context())
		again := &workClock{each: 5 * time.Millisecond}
		again.rested = func() {
			if len(again.rests) == stop {
				cancel()
			}
		}
		if err := loads(ctx, whole, checkpoint.NewPace(20, 1000*time.Hour, again)); !errors.Is(err, context.Canceled) || len(again.rests) != stop {
			t.Errorf("cancelled in its rest %d it ends with %v after %d", stop, err, len(again.rests))
		}
	}
}
