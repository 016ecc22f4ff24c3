package stage

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strconv"
	"time"

	"settlewatch/pipelines/hop"
	"settlewatch/schemas/event"
	"settlewatch/schemas/topic"
)

// MarkHeader is the header of a mark that a loader writes between played records:
// Unix milliseconds, decimal.
const MarkHeader = "settlewatch-mark"

// ErrSourceChanged is a source that no longer reaches back to the committed
// offset, or ends before it: cut, created anew, or past its retention.
var ErrSourceChanged = errors.New("the source is not the one that was read before")

// Intake makes a raw record what the log shall hold. How bytes become events
// must be the same for every instance that appends under one source's name.
type Intake interface {
	// Events appends those of the raw bytes to into: usually one, several in an
	// order that never changes, or none of a record that is left out on purpose.
	// They are the callee's memory, valid until the next call. An error is the reason
	// why it is refused; where that is true of a part of it only, the events of the
	// rest are there besides.
	Events(raw []byte, into []*event.Event) ([]*event.Event, error)
	// DeadLetter is the record for the dead-letter topic; nothing in it is a card number.
	DeadLetter(source event.Source, raw Record, reason error) (Record, error)
}

// Ingest appends one kind of sources to the payment log.
type Ingest struct {
	Log     Log
	Clock   Clock
	Configs *Configs
	Intake  Intake
	Logger  *slog.Logger
	// Service and Profile are parts of the sources' names.
	Service string
	Profile string
	Version uint32
	// MarkEvery is the time between marks. Defaults to 250ms. All sources mark at its
	// multiples by the clock, a little later: a verdict waits for the oldest mark of its sources, and
	// were each marked at a moment of its own, the oldest would be nearly MarkEvery old.
	MarkEvery time.Duration
	// Seen is told of every batch, in two parts where it waits for a CONFIG in
	// between; nil is silent.
	Seen func(IngestProgress)
	// Paused is told when the source stops to append events, and why; with an empty
	// Pause when it goes on. nil is silent.
	Paused func(Pause)
}

// IngestProgress is what one batch of a source, or a part of it, came to.
type IngestProgress struct {
	Source                             string
	Events, DeadLetters, UnknownFields int
	LeftOut                            int // records without an event, on purpose
	Next, HighWatermark                int64
}

func (i *Ingest) source(a Assignment) event.Source {
	return event.Source{
		Service: i.Service, Topic: a.Topic, Partition: a.Partition, Profile: i.Profile, Version: i.Version,
	}
}

// Own reads one assigned partition until ctx is done, which is no error.
func (i *Ingest) Own(ctx context.Context, a Assignment) error {
	source := i.source(a)
	err := i.own(ctx, a, source)
	if ctx.Err() != nil {
		return nil //nolint:nilerr // whatever ended with the assignment is no failure
	}
	if err != nil {
		return fmt.Errorf("ingest %s: %w", source, err)
	}
	return nil
}

func (i *Ingest) own(ctx context.Context, a Assignment, source event.Source) error {
	s := &ingestion{Ingest: i, assignment: a, name: source, source: source.String()}
	turn, err := s.myTurn(ctx)
	if err != nil {
		return err
	}
	if s.reader, err = i.Log.Open(a.Topic, a.Partition); err != nil {
		return fmt.Errorf("open: %w", err)
	}
	defer func() { _ = s.reader.Close() }()
	if s.next, err = startOffset(ctx, s.reader, a.Offset); err != nil {
		return err
	}
	if a.Offset == None && turn.From > s.next {
		s.next, s.ahead = turn.From, true
	}
	s.committed = s.next
	partitions, err := countPartitions(ctx, i.Log, i.Configs.Latest())
	if err != nil {
		return err
	}
	s.queue = newLogQueue(partitions)
	err = s.run(ctx)
	if errors.Is(err, ErrDrained) {
		// The flushes may have left something to commit.
		if err := s.commit(ctx); err != nil {
			return err
		}
	}
	return err
}

// startOffset is the committed offset, or the first there is: no committed offset
// means first, never latest.
func startOffset(ctx context.Context, reader Reader, committed int64) (int64, error) {
	first, end, err := reader.Bounds(ctx)
	if err != nil {
		return 0, fmt.Errorf("read bounds: %w", err)
	}
	if committed == None {
		return first, nil
	}
	if committed < first || committed > end {
		return 0, fmt.Errorf("%w: committed offset %d, but the topic holds %d to %d; "+
			"if it was created anew, give the source a new profile version in the configuration",
			ErrSourceChanged, committed, first, end)
	}
	return committed, nil
}

// ingestion is one Own: one goroutine, so that appends stay in the source's order.
type ingestion struct {
	*Ingest
	assignment Assignment
	name       event.Source
	source     string
	reader     Reader
	writer     hop.Writer

	next, committed int64
	since           time.Time // of the last commit
	ahead           bool      // of the end of the partition, perhaps
	paused          Pause
	queue           *logQueue
	events          []*event.Event // of the record that is being taken
	letters         []Record
	batches         []Outgoing // of the last flush, for its memory
	marked          time.Time  // the multiple of MarkEvery that was marked last, and the mark's T
	markedT         int64
	looked          time.Time // the multiple of MarkEvery since which a fetch has not waited
	progress        IngestProgress
}

func (s *ingestion) markEvery() time.Duration {
	if s.MarkEvery > 0 {
		return s.MarkEvery
	}
	return 250 * time.Millisecond
}

func (s *ingestion) run(ctx context.Context) error {
	for ctx.Err() == nil {
		turn, err := s.myTurn(ctx)
		if err != nil {
			return err
		}
		if rested, err := s.rested(ctx, turn); rested || err != nil {
			if err != nil {
				return err
			}
			continue
		}
		// T is read before the fetch is sent: what the reply does not show arrived later.
		before := s.Clock.Now()
		batch, err := s.reader.Fetch(ctx, s.next, s.patience(before))
		if errors.Is(err, ErrOffsetOutOfRange) {
			return fmt.Errorf("fetch offset %d: %w: %w", s.next, ErrSourceChanged, err)
		}
		if err != nil {
			return fmt.Errorf("fetch offset %d: %w", s.next, err)
		}
		// A fetch waits: a CONFIG that came meanwhile may end this source before what it
		// brought, and what lies behind the end is already written for another.
		if turn, err = s.myTurn(ctx); err != nil {
			return err
		}
		s.writer.Fetched(before.UnixMilli(), min(batch.HighWatermark, turn.Until))
		s.progress = IngestProgress{Source: s.source, HighWatermark: batch.HighWatermark}
		for k := range batch.Records {
			if batch.Records[k].Offset < s.next {
				continue // a compressed batch begins before the offset asked for
			}
			if batch.Records[k].Offset >= turn.Until {
				break
			}
			if err := s.take(ctx, &batch.Records[k]); err != nil {
				return err
			}
		}
		s.next = max(s.next, min(batch.Next, turn.Until))
		s.writer.Queued(s.next)
		if err := s.mark(ctx, before); err != nil {
			return err
		}
		if err := s.flush(ctx, len(batch.Records) == 0); err != nil {
			return err
		}
		if err := s.gather(ctx, before, &batch); err != nil {
			return err
		}
	}
	return nil
}

// patience is how long a fetch waits for records: until marks are due, and once they are
// not at all, for T is the moment before the fetch, and a mark would be as old as the wait.
func (s *ingestion) patience(now time.Time) time.Duration {
	if due := s.due(now); due.After(s.looked) {
		s.looked = due
		return 0
	}
	return s.untilDue(now)
}

// markAfter a multiple of MarkEvery marks are due: evidence falls due at round times, and
// the first mark that is past one is to be this.
const markAfter = 2 * time.Millisecond

// due is when marks were due last.
func (s *ingestion) due(now time.Time) time.Time {
	return now.Add(-markAfter).Truncate(s.markEvery()).Add(markAfter)
}

// untilDue is how long it is until marks are due again.
func (s *ingestion) untilDue(now time.Time) time.Duration {
	return s.due(now).Add(s.markEvery()).Sub(now)
}

// gather lets records come together, but no longer than until marks are due.
func (s *ingestion) gather(ctx context.Context, began time.Time, batch *Batch) error {
	now := s.Clock.Now()
	if rest := min(gathering(batch, began, now, ingestGathers), s.untilDue(now)); rest > 0 {
		return s.Clock.Sleep(ctx, rest)
	}
	return nil
}

// take queues what one raw record becomes.
func (s *ingestion) take(ctx context.Context, raw *Record) error {
	if t, is := markOf(raw); is {
		return s.takeMark(ctx, raw, t)
	}
	events, err := s.Intake.Events(raw.Value, s.events[:0])
	if err != nil {
		if err := s.refuse(raw, err); err != nil {
			return err
		}
	} else if len(events) == 0 {
		s.progress.LeftOut++
	}
	s.events = events
	for index, e := range events {
		if err := s.queueEvent(raw, uint32(index), e); err != nil {
			return err
		}
	}
	return nil
}

// queueEvent queues one of the events that a raw record became.
func (s *ingestion) queueEvent(raw *Record, index uint32, e *event.Event) error {
	s.progress.Events++
	if e.Leftover != nil {
		s.progress.UnknownFields += int(e.Leftover.UnknownCount)
	}
	return s.queue.event(s.source, raw, index, e)
}

func (s *ingestion) refuse(raw *Record, reason error) error {
	s.progress.DeadLetters++
	letter, err := s.Intake.DeadLetter(s.name, *raw, reason)
	if err != nil {
		return fmt.Errorf("make dead letter of offset %d: %w", raw.Offset, err)
	}
	s.letters = append(s.letters, letter)
	return nil
}

func markOf(raw *Record) (int64, bool) {
	for _, h := range raw.Headers {
		if h.Key == MarkHeader {
			t, err := strconv.ParseInt(string(h.Value), 10, 64)
			return t, err == nil && len(raw.Value) == 0
		}
	}
	return 0, false
}

// ErrMarkInLive is a loader's mark in a source whose marks come from the clock.
var ErrMarkInLive = errors.New("a played mark in a live source")

// takeMark queues a loader's mark. A source that CONFIG does not know yet waits:
// without its marks nothing of it could ever become due.
func (s *ingestion) takeMark(ctx context.Context, raw *Record, t int64) error {
	for waiting := false; ; {
		switch s.Configs.Clock(s.source) {
		case event.Clock_CLOCK_PLAYED:
			s.pause(Pause{})
			return s.queue.mark(s.source, t, 0) // it lies in the source, whatever CONFIG says
		case event.Clock_CLOCK_LIVE:
			s.pause(Pause{})
			return s.refuse(raw, ErrMarkInLive)
		default: // not expected, or by a clock that this binary does not know: wait
		}
		if !waiting {
			waiting = true
			s.pause(Pause{Why: "no configuration expects " + s.source + ", which has played marks: apply one that does"})
			if err := s.flush(ctx, false); err != nil {
				return err
			}
		}
		if err := s.Clock.Sleep(ctx, configPoll); err != nil {
			return err
		}
	}
}

// mark queues a live source's mark behind its events, when it is time.
func (s *ingestion) mark(ctx context.Context, now time.Time) error {
	t, ready := s.writer.Mark()
	due := s.due(now)
	if !ready || t <= s.markedT || !due.After(s.marked) {
		return nil
	}
	if s.Configs.Clock(s.source) != event.Clock_CLOCK_LIVE {
		return nil
	}
	expected, err := s.topicExpected(ctx)
	if err != nil || !expected {
		return err
	}
	s.marked, s.markedT = due, t
	// Counted now, hence not fewer than what was decided by.
	return s.queue.mark(s.source, t, s.Configs.Count())
}

// topicExpected: a raw partition that CONFIG does not know yet stops its topic's
// marks, since what lies in it would not be waited for. Which version of a profile
// reads it does not matter.
//
// The number of partitions is asked for at every mark and not kept: a partition that
// is made after the question holds only what arrived after it, hence after the T of
// this mark. An answer of some seconds ago would let marks pass records of a partition
// that was made since.
func (s *ingestion) topicExpected(ctx context.Context) (bool, error) {
	n, err := s.Log.Partitions(ctx, s.assignment.Topic)
	if err != nil {
		return false, fmt.Errorf("partitions of %s: %w", s.assignment.Topic, err)
	}
	for p := range n {
		name := s.name
		name.Partition = int32(p)
		if !s.Configs.Expects(name.String()) {
			return false, nil
		}
	}
	return true, nil
}

// flush appends what is queued, waits for every acknowledgement, and only then
// commits, now and then, or if nothing more comes for the moment. A crash in between
// repeats, and the reader's rule drops the repeats.
func (s *ingestion) flush(ctx context.Context, idle bool) error {
	if err := samePartitions(len(s.queue.partitions), s.Configs.Latest()); err != nil {
		return err
	}
	s.batches = s.queue.batches(s.batches[:0])
	if len(s.letters) > 0 {
		s.batches = append(s.batches, Outgoing{Topic: topic.DeadLetters.Name, Records: s.letters})
	}
	if len(s.batches) > 0 {
		if err := s.Log.Append(ctx, s.batches...); err != nil {
			return fmt.Errorf("append: %w", err)
		}
	}
	s.queue.reset()
	s.letters = s.letters[:0]
	if idle || s.Clock.Now().Sub(s.since).Abs() >= offsetsEvery {
		if err := s.commit(ctx); err != nil {
			return err
		}
	}
	s.tell()
	return nil
}

// commit tells the group how far the source is appended. While take waits for a CONFIG,
// next is still what was committed.
func (s *ingestion) commit(ctx context.Context) error {
	if s.next <= s.committed {
		return nil
	}
	if err := s.assignment.Commit(ctx, s.next); err != nil {
		return fmt.Errorf("commit offset %d: %w", s.next, err)
	}
	s.committed, s.since = s.next, s.Clock.Now()
	return nil
}

func (s *ingestion) tell() {
	s.progress.Next = s.next
	if s.Seen != nil {
		s.Seen(s.progress)
	}
	// A batch that waits for a CONFIG is told of before and after; each part counts once.
	s.progress.Events, s.progress.DeadLetters, s.progress.UnknownFields, s.progress.LeftOut = 0, 0, 0, 0
}
