package stage

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/cespare/xxhash/v2"

	"settlewatch/pipelines/join"
	"settlewatch/schemas/event"
)

// ErrLogChanged is a payment log that is not the one that the stored state was
// folded from, or that no longer reaches back to where it must be folded from.
var ErrLogChanged = errors.New("the payment log is not the one that the state was folded from")

// Joiner folds partitions of the payment log and publishes alerts.
type Joiner struct {
	Log Log
	// State opens the state of one partition for a new owner.
	State func(partition int32) State
	// Checkpoints are where a state comes back from that the store has lost. Nil:
	// then it is folded from the beginning of the log.
	Checkpoints Checkpoints
	Clock       Clock
	Logger      *slog.Logger
	// FencedWait is how long an owner that was fenced stays away before it draws a
	// token again, if its assignment lasts. Defaults to 2s.
	FencedWait time.Duration
	// CommitEvery is the longest time between commits while only marks come in.
	// Defaults to 1s.
	CommitEvery time.Duration
	// AlertsOnly leaves out payment snapshots of partitions that begin anew, where no
	// warehouse wants them. The alerts are the same, and take less work.
	AlertsOnly bool
	// Seen is told of every batch; nil is silent.
	Seen func(JoinProgress)
	// Refuse takes a record of the log that is none of ours, for example to a
	// dead-letter topic; it is left out of the fold, wherever and whenever it is
	// folded. It may be called again for the same record after a restart. Nil: such a
	// record ends Own with its error.
	Refuse func(ctx context.Context, r Refused) error
}

// JoinProgress is what one batch of a partition came to.
type JoinProgress struct {
	Partition           int32
	Records             int
	Alerts              int
	Next, HighWatermark int64
	// Out is what was published, State what the batch has led to. Both may be read
	// during the call only: the next batch changes them.
	Out   *join.Output
	State *join.State
}

// Own folds one assigned partition until ctx is done, which is no error.
func (j *Joiner) Own(ctx context.Context, a Assignment) error {
	limit := flushFrom
	for {
		err := j.own(ctx, a, limit)
		switch {
		case ctx.Err() != nil:
			return nil //nolint:nilerr // whatever ended with the assignment is no failure
		case errors.Is(err, ErrFenced):
			// Another owner drew a token, or the store was wiped or rolled back. Either
			// way what is in memory is worth nothing; the store says where to go on.
			j.Logger.Warn("fenced, loading again after a pause", "partition", a.Partition, "pause", j.fencedWait())
			if err := j.Clock.Sleep(ctx, j.fencedWait()); err != nil {
				return nil //nolint:nilerr // the assignment ended
			}
		case errors.Is(err, ErrTooLarge) && limit > 1:
			// What was published comes again, the same bytes.
			limit = max(1, limit/flushShrink)
			j.Logger.Warn("a commit was too large, folding again in smaller ones", "partition", a.Partition, "payments", limit, "error", err)
		case err != nil:
			return fmt.Errorf("join partition %d: %w", a.Partition, err)
		}
	}
}

func (j *Joiner) fencedWait() time.Duration {
	if j.FencedWait > 0 {
		return j.FencedWait
	}
	return 2 * time.Second
}

func (j *Joiner) commitEvery() time.Duration {
	if j.CommitEvery > 0 {
		return j.CommitEvery
	}
	return time.Second
}

// folding is one owner's time with a partition.
type folding struct {
	*Joiner
	assignment Assignment
	reader     Reader
	store      State
	state      *join.State
	recorder   *join.Recorder
	config     *event.Config // in force; nil before the first
	counted    time.Time     // when the log's partitions were counted last
	ending     string        // the calendar that was last said to end soon

	sequence  uint64 // of the last commit
	committed int64
	hinted    int64 // the offset that the group took last, and when
	told      time.Time
	flushFrom int           // what full() goes by
	position  join.Position // behind the last folded record
	last      []byte        // that record's value, until flush has its hash
	since     time.Time     // of the last commit
	keys      [][]byte      // of the next records
	out       join.Output
	outbox    outbox
}

func (j *Joiner) own(ctx context.Context, a Assignment, flushFrom int) error {
	reader, err := j.Log.Open(a.Topic, a.Partition)
	if err != nil {
		return fmt.Errorf("open: %w", err)
	}
	defer func() { _ = reader.Close() }()
	f := &folding{Joiner: j, assignment: a, reader: reader, store: j.State(a.Partition), hinted: a.Offset, flushFrom: flushFrom}
	if err := f.load(ctx); err != nil {
		return err
	}
	f.since = j.Clock.Now()
	for ctx.Err() == nil {
		if err := f.batch(ctx); err != nil {
			return err
		}
	}
	return nil
}

// load draws the token first, so that no earlier owner can commit any more, and
// then reads. Nothing is published before the state is whole.
func (f *folding) load(ctx context.Context) error {
	if err := f.store.Acquire(ctx); err != nil {
		return fmt.Errorf("acquire: %w", err)
	}
	stored, err := f.store.Load(ctx)
	if err != nil {
		return fmt.Errorf("load: %w", err)
	}
	first, end, err := f.reader.Bounds(ctx)
	if err != nil {
		return fmt.Errorf("read bounds: %w", err)
	}
	if stored.Meta != nil {
		err = f.resume(ctx, stored, first, end)
	} else {
		stored, err = f.restore(ctx, first, end)
	}
	if err == nil {
		err = f.checkPartitions(ctx)
	}
	if err != nil {
		return err
	}
	f.sequence, f.committed = stored.Sequence, f.position.Offset
	f.recorder = join.NewRecorder(f.state)
	if f.state.AlertsOnly() != f.AlertsOnly {
		f.Logger.Warn("the stored state began with the other choice of payment snapshots and stays with it: rebuild it to change that",
			"partition", f.assignment.Partition, "payment_snapshots", !f.state.AlertsOnly())
	}
	f.Logger.Info("partition loaded", "partition", f.assignment.Partition, "offset", f.position.Offset, "payments", f.state.Payments())
	return nil
}

// checkPartitions counts the log's partitions now and then: somebody may add some.
func (f *folding) checkPartitions(ctx context.Context) error {
	now := f.Clock.Now()
	if !f.counted.IsZero() && now.Sub(f.counted) < partitionsEvery {
		return nil
	}
	_, err := countPartitions(ctx, f.Log, f.config)
	f.counted = now
	return err
}

// checkPrevious compares the record before the stored position with the hash that
// the commit holds: a log made anew, or folded by somebody else, differs there.
func (f *folding) checkPrevious(ctx context.Context, first int64) error {
	previous := f.position.Offset - 1
	if previous < first {
		return nil
	}
	for {
		batch, err := f.reader.Fetch(ctx, previous, time.Second)
		if err != nil {
			return fmt.Errorf("fetch offset %d: %w", previous, err)
		}
		for _, r := range batch.Records {
			if r.Offset < previous {
				continue
			}
			if r.Offset > previous || xxhash.Sum64(r.Value) != f.position.RecordSum {
				return fmt.Errorf("%w: another record stands at offset %d", ErrLogChanged, previous)
			}
			return nil
		}
		if ctx.Err() != nil {
			return ctx.Err()
		}
	}
}

// batch folds what one fetch brings, publishes, and commits. Commit follows
// publish: a crash between them repeats the same bytes, never loses.
func (f *folding) batch(ctx context.Context) error {
	began := f.Clock.Now()
	batch, err := f.reader.Fetch(ctx, f.position.Offset, f.commitEvery())
	if errors.Is(err, ErrOffsetOutOfRange) {
		return fmt.Errorf("fetch offset %d: %w: %w", f.position.Offset, ErrLogChanged, err)
	}
	if err != nil {
		return fmt.Errorf("fetch offset %d: %w", f.position.Offset, err)
	}
	folded := 0
	for i := range batch.Records {
		if i%join.LookAhead == 0 {
			f.lookAhead(batch.Records[i:])
		}
		r := &batch.Records[i]
		if r.Offset < f.position.Offset {
			continue
		}
		if err := f.fold(ctx, r); err != nil {
			return fmt.Errorf("fold offset %d: %w", r.Offset, err)
		}
		if folded++; f.full() {
			if err := f.flush(ctx, folded, batch.HighWatermark); err != nil {
				return err
			}
			folded = 0
		}
	}
	if err := f.flush(ctx, folded, batch.HighWatermark); err != nil {
		return err
	}
	f.hint(ctx, len(batch.Records) == 0)
	if rest := gathering(&batch, began, f.Clock.Now(), joinerGathers); rest > 0 {
		return f.Clock.Sleep(ctx, rest)
	}
	return nil
}

// lookAhead tells the state of the next records.
func (f *folding) lookAhead(records []Record) {
	f.keys = f.keys[:0]
	for i := range records[:min(join.LookAhead, len(records))] {
		f.keys = append(f.keys, records[i].Key)
	}
	f.state.Ahead(f.keys)
}

// flushFrom is how many changes of payments, or alerts and snapshots, may have been
// made, before they are published and committed. Few records can make many: marks
// that pass the moment at which a day's payments are due. Where the store finds a
// commit too large all the same, the partition goes on with a tenth.
const (
	flushFrom   = 20_000
	flushBytes  = 8 << 20
	flushShrink = 10
)

func (f *folding) full() bool {
	changes, size := f.state.Unstored()
	return changes >= f.flushFrom || size >= flushBytes || len(f.out.Alerts)+len(f.out.Payments) >= f.flushFrom
}

// flush publishes and commits what was folded since the last time.
func (f *folding) flush(ctx context.Context, folded int, highWatermark int64) error {
	if f.last != nil {
		f.position.RecordSum, f.last = xxhash.Sum64(f.last), nil
	}
	if ending := f.state.CalendarEnding(); ending != f.ending {
		f.ending = ending
		f.Logger.Warn("a calendar ends soon, payments due later will be held: load its next version", "calendar", ending)
	}
	if err := f.checkPartitions(ctx); err != nil {
		return err
	}
	if err := f.outbox.publish(ctx, f.Log, &f.out); err != nil {
		return err
	}
	if f.Seen != nil {
		f.Seen(JoinProgress{
			Partition: f.assignment.Partition, Records: folded, Alerts: len(f.out.Alerts),
			Next: f.position.Offset, HighWatermark: highWatermark,
			Out: &f.out, State: f.state,
		})
	}
	f.out.Reset()
	return f.commit(ctx)
}

func (f *folding) fold(ctx context.Context, r *Record) error {
	err := f.state.Fold(r.Value, &f.out)
	var none *join.DecodeError
	if errors.As(err, &none) && f.Refuse != nil {
		// Refused before the commit: a crash between repeats, never loses.
		refused := Refused{Topic: f.assignment.Topic, Partition: f.assignment.Partition, Record: *r, Err: err}
		if err := f.Refuse(ctx, refused); err != nil {
			return fmt.Errorf("refuse: %w", err)
		}
	} else if err != nil {
		return err
	}
	if config := f.state.Config(); config != f.config {
		f.config = config
		f.counted = time.Time{} // count again before anything of this batch is published
	}
	f.position.Offset, f.last = r.Offset+1, r.Value
	return nil
}

// idleCommitEvery is the time between commits while nothing comes in.
const idleCommitEvery = 5 * time.Second

// commit stores the batch. Marks alone change no payment: their place is stored
// with the next change, or after a while.
func (f *folding) commit(ctx context.Context) error {
	now := f.Clock.Now()
	wait := time.Duration(0)
	switch {
	case f.sequence == 0 && f.position.Offset == 0:
		return nil // nothing was ever folded
	case f.position.Offset == f.committed:
		// An owner that has nothing to do asks whether it still is the owner, and whether
		// the store still has the state: a rebuild must not wait for the next record.
		wait = idleCommitEvery
	case !f.state.Changed():
		wait = f.commitEvery()
	}
	if now.Sub(f.since) < wait {
		return nil
	}
	changes, err := f.recorder.Commit(f.sequence+1, f.position)
	if err != nil {
		return err
	}
	c := Commit{
		Sequence: f.sequence + 1, FromOffset: f.committed, ToOffset: f.position.Offset,
		Meta: changes.Meta, Delta: changes.Delta, TrimTo: changes.TrimTo,
		Buckets: changes.Buckets,
	}
	if err := f.store.Commit(ctx, c); err != nil {
		return fmt.Errorf("commit up to offset %d: %w", f.position.Offset, err)
	}
	f.recorder.Stored()
	f.sequence, f.committed, f.since = c.Sequence, c.ToOffset, now
	return nil
}

// hint tells the group how far the state is stored, for people who watch the lag;
// Redis is the truth. A group that is between two generations, or an owner that
// ended before it got here, would leave a lag that is none until the next record:
// so what the group has not taken is told again at every batch, an empty one too.
func (f *folding) hint(ctx context.Context, idle bool) {
	now := f.Clock.Now()
	if f.hinted == f.committed || !idle && now.Sub(f.told).Abs() < offsetsEvery {
		return
	}
	if err := f.assignment.Commit(ctx, f.committed); err == nil {
		f.hinted, f.told = f.committed, now
	} else if ctx.Err() == nil {
		f.Logger.Warn("the group did not take the offset", "partition", f.assignment.Partition, "error", err)
	}
}
