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
	"settlewatch/schemas/payment"
	"settlewatch/schemas/topic"
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
	for {
		err := j.own(ctx, a)
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
	hinted    int64         // the offset that the group took last
	position  join.Position // behind the last folded record
	since     time.Time     // of the last commit
	out       join.Output
	record    event.LogRecord
}

func (j *Joiner) own(ctx context.Context, a Assignment) error {
	reader, err := j.Log.Open(a.Topic, a.Partition)
	if err != nil {
		return fmt.Errorf("open: %w", err)
	}
	defer func() { _ = reader.Close() }()
	f := &folding{Joiner: j, assignment: a, reader: reader, store: j.State(a.Partition), hinted: a.Offset}
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
	batch, err := f.reader.Fetch(ctx, f.position.Offset, f.commitEvery())
	if errors.Is(err, ErrOffsetOutOfRange) {
		return fmt.Errorf("fetch offset %d: %w: %w", f.position.Offset, ErrLogChanged, err)
	}
	if err != nil {
		return fmt.Errorf("fetch offset %d: %w", f.position.Offset, err)
	}
	f.out.Alerts, f.out.Payments = f.out.Alerts[:0], f.out.Payments[:0]
	for i := range batch.Records {
		r := &batch.Records[i]
		if r.Offset < f.position.Offset {
			continue
		}
		if err := f.fold(ctx, r); err != nil {
			return fmt.Errorf("fold offset %d: %w", r.Offset, err)
		}
	}
	if ending := f.state.CalendarEnding(); ending != f.ending {
		f.ending = ending
		f.Logger.Warn("a calendar ends soon, payments due later will be held: load its next version", "calendar", ending)
	}
	if err := f.checkPartitions(ctx); err != nil {
		return err
	}
	if err := f.publish(ctx); err != nil {
		return err
	}
	if f.Seen != nil {
		f.Seen(JoinProgress{
			Partition: f.assignment.Partition, Records: len(batch.Records), Alerts: len(f.out.Alerts),
			Next: f.position.Offset, HighWatermark: batch.HighWatermark,
			Out: &f.out, State: f.state,
		})
	}
	if err := f.commit(ctx); err != nil {
		return err
	}
	f.hint(ctx)
	return nil
}

func (f *folding) fold(ctx context.Context, r *Record) error {
	if err := f.decode(r); err != nil {
		if f.Refuse == nil {
			return err
		}
		// Refused before the commit: a crash between repeats, never loses.
		refused := Refused{Topic: f.assignment.Topic, Partition: f.assignment.Partition, Record: *r, Err: err}
		if err := f.Refuse(ctx, refused); err != nil {
			return fmt.Errorf("refuse: %w", err)
		}
	} else {
		if config := f.record.GetConfig(); config != nil {
			f.config = config
			f.counted = time.Time{} // count again before anything of this batch is published
		}
		if err := f.state.Step(&f.record, &f.out); err != nil {
			return err
		}
	}
	f.position = join.Position{Offset: r.Offset + 1, RecordSum: xxhash.Sum64(r.Value)}
	return nil
}

var errNoOrigin = errors.New("decode: the record has no origin")

func (f *folding) decode(r *Record) error {
	f.record = event.LogRecord{}
	if err := f.record.UnmarshalVT(r.Value); err != nil {
		return fmt.Errorf("decode: %w", err)
	}
	if f.record.Origin == nil {
		return errNoOrigin
	}
	return nil
}

// publish appends alerts, each kind to its topic, and the last snapshot of every
// payment that was judged.
func (f *folding) publish(ctx context.Context) error {
	var out outbox
	for _, a := range f.out.Alerts {
		body, err := a.Encode()
		if err != nil {
			return err
		}
		t := a.Kind.Topic()
		r := Record{Key: []byte(a.PaymentKey), Value: body, TimeMs: a.MomentMs()}
		for _, h := range a.Headers() {
			r.Headers = append(r.Headers, Header{Key: h.Key, Value: []byte(h.Value)})
		}
		out.add(t.Name, topic.Partition(r.Key, t.Partitions), r)
	}
	for _, p := range latest(f.out.Payments) {
		body, err := p.MarshalVT()
		if err != nil {
			return fmt.Errorf("encode payment: %w", err)
		}
		// Compaction keeps the last of each key, and every life of a payment counts.
		r := Record{Key: fmt.Appendf(nil, "%s|%x", p.PaymentKey, p.Life), Value: body, TimeMs: p.JudgedMs}
		out.add(topic.Payments.Name, topic.Partition([]byte(p.PaymentKey), topic.Payments.Partitions), r)
	}
	if len(out) == 0 {
		return nil
	}
	if err := f.Log.Append(ctx, out...); err != nil {
		return fmt.Errorf("publish: %w", err)
	}
	return nil
}

// outbox gathers records by partition, in the order in which partitions came up.
type outbox []Outgoing

func (o *outbox) add(topic string, partition int32, r Record) {
	for i := range *o {
		if b := &(*o)[i]; b.Partition == partition && b.Topic == topic {
			b.Records = append(b.Records, r)
			return
		}
	}
	*o = append(*o, Outgoing{Topic: topic, Partition: partition, Records: []Record{r}})
}

// latest keeps the last snapshot of each payment's life, in order. Which ones are
// left out depends on the batch; what is left is the same for every cut.
func latest(all []*payment.Payment) []*payment.Payment {
	type life struct{ key, id string }
	last := make(map[life]int, len(all))
	for i, p := range all {
		last[life{p.PaymentKey, string(p.Life)}] = i
	}
	kept := make([]*payment.Payment, 0, len(last))
	for i, p := range all {
		if last[life{p.PaymentKey, string(p.Life)}] == i {
			kept = append(kept, p)
		}
	}
	return kept
}

// commit stores the batch. Marks alone change no payment: their place is stored
// with the next change, or after a while.
func (f *folding) commit(ctx context.Context) error {
	now := f.Clock.Now()
	if f.position.Offset == f.committed || (!f.state.Changed() && now.Sub(f.since) < f.commitEvery()) {
		return nil
	}
	changes, err := f.recorder.Commit(f.sequence+1, f.position)
	if err != nil {
		return err
	}
	c := Commit{
		Sequence: f.sequence + 1, FromOffset: f.committed, ToOffset: f.position.Offset,
		Meta: changes.Meta, Delta: changes.Delta, TrimTo: changes.TrimTo,
		Buckets: make([]Bucket, len(changes.Buckets)),
	}
	for i, b := range changes.Buckets {
		c.Buckets[i] = Bucket{Index: b.Index, Value: b.Value}
	}
	if err := f.store.Commit(ctx, c); err != nil {
		return fmt.Errorf("commit up to offset %d: %w", f.position.Offset, err)
	}
	f.sequence, f.committed, f.since = c.Sequence, c.ToOffset, now
	return nil
}

// hint tells the group how far the state is stored, for people who watch the lag;
// Redis is the truth. A group that is between two generations, or an owner that
// ended before it got here, would leave a lag that is none until the next record:
// so what the group has not taken is told again at every batch, an empty one too.
func (f *folding) hint(ctx context.Context) {
	if f.hinted == f.committed {
		return
	}
	if err := f.assignment.Commit(ctx, f.committed); err == nil {
		f.hinted = f.committed
	} else if ctx.Err() == nil {
		f.Logger.Warn("the group did not take the offset", "partition", f.assignment.Partition, "error", err)
	}
}
