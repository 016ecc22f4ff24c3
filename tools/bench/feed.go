package bench

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"time"

	"settlewatch/pipelines/bus"
	"settlewatch/pipelines/stage"
	"settlewatch/schemas/topic"
)

// inputs are the topics of the three feeds, in the order of the steps.
var inputs = []topic.Topic{topic.RawAuthorization, topic.RawCapture, topic.RawSettlement}

func inputOf(s Step) int { return min(int(s), len(inputs)-1) }

const (
	// feedRound is how many records are made before they are written: about a
	// thousand for each partition of four.
	feedRound = 12_000
	// A step of the joiner judges at most a thousand payments, so the last mark is
	// repeated until all that is due has been judged.
	judgedPerRecord = 1_000
)

// feeder fills the input topics.
type feeder struct {
	log      *bus.Bus
	workload Workload
	arena    []byte
	outbox   []stage.Outgoing // by feed, then partition
	pending  int
	written  int64
}

// Feed fills the input topics; a workload that begins with the first payment makes
// them anew. All of it is written and acknowledged by all in-sync replicas when it
// returns.
func Feed(ctx context.Context, log *bus.Bus, w Workload, progress func(done, total int64)) error {
	f, err := newFeeder(ctx, log, w)
	if err != nil {
		return err
	}
	total := w.EventCount()
	nextMark := w.firstMs() + markEveryMs
	for e := range w.Events() {
		for e.AtMs >= nextMark {
			f.mark(nextMark)
			nextMark += markEveryMs
		}
		f.add(e)
		if f.pending >= feedRound {
			if err := f.flush(ctx); err != nil {
				return err
			}
			progress(f.written, total)
		}
	}
	f.mark(nextMark)
	if !w.Stays {
		for n := range 2 + w.Payments/(judgedPerRecord*int64(w.Partitions)) {
			f.mark(w.EndMs() + n)
		}
	}
	if err := f.flush(ctx); err != nil {
		return err
	}
	progress(total, total)
	return nil
}

// newFeeder makes the input topics anew where the workload begins with the first
// payment.
func newFeeder(ctx context.Context, log *bus.Bus, w Workload) (*feeder, error) {
	f := &feeder{log: log, workload: w}
	var topics []topic.Topic
	for _, t := range inputs {
		t.Partitions = f.workload.Partitions
		topics = append(topics, t)
		for p := range t.Partitions {
			f.outbox = append(f.outbox, stage.Outgoing{Topic: t.Name, Partition: int32(p)})
		}
	}
	if w.First > 0 {
		return f, nil
	}
	if err := makeAnew(ctx, f.log, topics); err != nil {
		return nil, fmt.Errorf("feed: %w", err)
	}
	return f, nil
}

const (
	emptyPoll = 20 * time.Millisecond
	emptyMax  = time.Minute
)

// makeAnew removes topics with all that they hold, and makes them again. A broker that
// is behind its controller takes records for some time into what was removed, and
// acknowledges them: so it returns when every partition is seen to be empty.
func makeAnew(ctx context.Context, log *bus.Bus, topics []topic.Topic) error {
	names := make([]string, 0, len(topics))
	for _, t := range topics {
		names = append(names, t.Name)
	}
	if err := log.RemoveTopics(ctx, names); err != nil {
		return err
	}
	if err := log.CreateTopics(ctx, topics, 1); err != nil {
		return err
	}
	limited, cancel := context.WithTimeout(ctx, emptyMax)
	defer cancel()
	for _, t := range topics {
		for p := range t.Partitions {
			if err := awaitEmpty(limited, log, t.Name, int32(p)); err != nil {
				return err
			}
		}
	}
	return nil
}

func awaitEmpty(ctx context.Context, log *bus.Bus, name string, partition int32) error {
	for {
		_, end, err := log.Bounds(ctx, name, partition)
		if err == nil && end == 0 {
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("topic %s, partition %d, was made anew and ends at %d: %w", name, partition, end, errors.Join(ctx.Err(), err))
		case <-time.After(emptyPoll):
		}
	}
}

func (f *feeder) add(e Event) { f.addAt(e, acquirer, e.AtMs) }

// addAt adds an event of a payment of that acquirer, which arrives at another time than
// it happened.
func (f *feeder) addAt(e Event, acquirer string, arrivalMs int64) {
	begin := len(f.arena)
	f.arena = appendPaymentID(f.arena, acquirer, e.Payment)
	middle := len(f.arena)
	f.arena = e.appendJSON(f.arena, acquirer)
	key, value := f.arena[begin:middle:middle], f.arena[middle:len(f.arena):len(f.arena)]
	at := inputOf(e.Step)*f.workload.Partitions + int(topic.Partition(key, f.workload.Partitions))
	f.put(at, stage.Record{Key: key, Value: value, TimeMs: arrivalMs})
	f.written++
}

// mark says in every partition that all of it before t has been written.
func (f *feeder) mark(t int64) {
	header := []stage.Header{{Key: stage.MarkHeader, Value: strconv.AppendInt(nil, t, 10)}}
	for at := range f.outbox {
		f.put(at, stage.Record{Headers: header, TimeMs: t})
	}
}

func (f *feeder) put(at int, r stage.Record) {
	f.outbox[at].Records = append(f.outbox[at].Records, r)
	f.pending++
}

func (f *feeder) flush(ctx context.Context) error {
	var batches []stage.Outgoing
	for _, b := range f.outbox {
		if len(b.Records) > 0 {
			batches = append(batches, b)
		}
	}
	if err := f.log.Append(ctx, batches...); err != nil {
		return fmt.Errorf("feed: %w", err)
	}
	for at := range f.outbox {
		f.outbox[at].Records = f.outbox[at].Records[:0]
	}
	f.arena, f.pending = f.arena[:0], 0
	return nil
}
