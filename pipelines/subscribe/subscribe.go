// Package subscribe reads the alert topics for a downstream service.
//
// What enters are the records of the alert topics and the positions that the
// caller stored. What leaves are typed alerts, to a function of the caller's, one
// at a time: each revision that is higher than those before it, once. Guaranteed:
// a position is stored only after everything before it was handled, so a crash
// repeats and never loses; repeats and late lower revisions are taken out also
// across a restart, because what came before the stored position is read again,
// silently, to know it.
//
// Handling is at least once: what was handled after the last stored position comes
// again. Where that matters, store the position in the transaction that does the
// work (Positions), or make the work's key (id, revision).
package subscribe

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"settlewatch/pipelines/stage"
	"settlewatch/schemas/alert"
	"settlewatch/schemas/alert/fold"
)

// Place is one partition of an alert topic.
type Place struct {
	Topic     string
	Partition int32
}

// String is topic/partition.
func (p Place) String() string { return fmt.Sprintf("%s/%d", p.Topic, p.Partition) }

// Positions keeps, for the caller, the next offset to handle of each partition.
// Calls never overlap.
type Positions interface {
	// Load is stage.None where nothing was stored: the first record is next.
	Load(ctx context.Context, place Place) (next int64, err error)
	Store(ctx context.Context, place Place, next int64) error
}

// Delivery is one fresh revision.
type Delivery struct {
	Alert  *alert.Alert
	Place  Place
	Offset int64
	// Body is the record's value, the JSON as published. It is the receiver's.
	Body []byte
}

// Odd is a record that is no usable alert: it cannot be decoded, is of another
// kind than its topic, or has another body than an earlier record of the same id
// and revision (a *fold.DifferenceError).
type Odd struct {
	Place  Place
	Offset int64
	Err    error
}

func (o *Odd) Error() string {
	return fmt.Sprintf("read alert at %s offset %d: %v", o.Place, o.Offset, o.Err)
}

func (o *Odd) Unwrap() error { return o.Err }

// GapError is a stored position that the log cannot serve: records between it and
// First are gone (retention), or it lies beyond the End of a log that was made anew.
// Nothing is skipped in silence: store First, or the position that you want, and
// start again.
type GapError struct {
	Place              Place
	Stored, First, End int64
}

func (e *GapError) Error() string {
	return fmt.Sprintf("resume %s at offset %d: the log holds %d to %d; store the position to go on from", e.Place, e.Stored, e.First, e.End)
}

// Subscriber of the alert topics. Log and Handle are required, and Positions for
// Run and CatchUp.
type Subscriber struct {
	Log       stage.Log
	Positions Positions
	// Kinds to subscribe to; nil for all.
	Kinds []alert.Kind
	// Handle is called for each fresh revision, in the order of its partition, and
	// never twice at a time. Its error ends the subscription.
	Handle func(ctx context.Context, d Delivery) error
	// Odd is called for a record that is no usable alert, which is skipped when it
	// returns nil. Without it such a record ends the subscription.
	Odd func(ctx context.Context, o *Odd) error
	// ForgetHistory does not read again what lies before the stored position. Right
	// for a caller whose own store keeps the highest revision of each id.
	ForgetHistory bool

	calls sync.Mutex
}

// maxWait is how long one fetch waits at the end of a partition.
const maxWait = 500 * time.Millisecond

// Run subscribes to every partition until ctx is done, which is no error, or
// something fails.
func (s *Subscriber) Run(ctx context.Context) error { return s.all(ctx, false) }

// CatchUp returns when everything is handled that was there when it was called:
// for a job that runs now and then, and for tests.
func (s *Subscriber) CatchUp(ctx context.Context) error { return s.all(ctx, true) }

func (s *Subscriber) all(ctx context.Context, toEnd bool) error {
	if s.Positions == nil {
		return errors.New("subscribe: no Positions to resume from")
	}
	kinds := s.Kinds
	if kinds == nil {
		kinds = alert.Kinds
	}
	g, runCtx := errgroup.WithContext(ctx)
	for _, kind := range kinds {
		name := kind.Topic().Name
		partitions, err := s.Log.Partitions(ctx, name)
		if err != nil {
			return fmt.Errorf("subscribe to %s: %w", name, err)
		}
		for p := range int32(partitions) {
			place := Place{Topic: name, Partition: p}
			g.Go(func() error { return s.fromStored(runCtx, kind, place, toEnd) })
		}
	}
	err := g.Wait()
	if !toEnd && ctx.Err() != nil && errors.Is(err, context.Canceled) {
		return nil
	}
	return err
}

func (s *Subscriber) fromStored(ctx context.Context, kind alert.Kind, place Place, toEnd bool) error {
	s.calls.Lock()
	next, err := s.Positions.Load(ctx, place)
	s.calls.Unlock()
	if err != nil {
		return fmt.Errorf("load position of %s: %w", place, err)
	}
	return s.follow(ctx, kind, place, next, toEnd, func(ctx context.Context, next int64) error {
		return s.Positions.Store(ctx, place, next)
	})
}

// Own subscribes to one partition that a consumer group gave to this member: with
// it several processes share the work, and the group keeps the positions. Use it as
// group.Run(ctx, subscriber.Own).
func (s *Subscriber) Own(ctx context.Context, a stage.Assignment) error {
	for _, kind := range alert.Kinds {
		if kind.Topic().Name == a.Topic {
			err := s.follow(ctx, kind, Place{Topic: a.Topic, Partition: a.Partition}, a.Offset, false, a.Commit)
			if ctx.Err() != nil && errors.Is(err, context.Canceled) {
				return nil
			}
			return err
		}
	}
	return fmt.Errorf("subscribe to %s: not an alert topic", a.Topic)
}

// follow handles one partition from next on.
func (s *Subscriber) follow(ctx context.Context, kind alert.Kind, place Place, next int64, toEnd bool, store func(context.Context, int64) error) error {
	reader, err := s.Log.Open(place.Topic, place.Partition)
	if err != nil {
		return fmt.Errorf("open %s: %w", place, err)
	}
	defer reader.Close()
	first, end, err := reader.Bounds(ctx)
	if err != nil {
		return fmt.Errorf("ask for the bounds of %s: %w", place, err)
	}
	if next == stage.None {
		next = first
	}
	if next < first || next > end {
		return &GapError{Place: place, Stored: next, First: first, End: end}
	}
	f := &follower{s: s, kind: kind, place: place, next: next, stored: next, store: store}
	at := first
	if s.ForgetHistory {
		at = next
	}
	for !toEnd || at < end {
		batch, err := reader.Fetch(ctx, at, maxWait)
		if err != nil {
			return fmt.Errorf("read %s at offset %d: %w", place, at, err)
		}
		if err := f.take(ctx, batch); err != nil {
			return err
		}
		at = batch.Next
	}
	return nil
}

// follower is the state of one partition.
type follower struct {
	s            *Subscriber
	kind         alert.Kind
	place        Place
	next, stored int64
	store        func(context.Context, int64) error
	seen         fold.Fold
}

// take handles a batch and stores the position behind what was handled, also when
// it ends early.
func (f *follower) take(ctx context.Context, batch stage.Batch) error {
	f.s.calls.Lock()
	defer f.s.calls.Unlock()
	var err error
	for i := range batch.Records {
		if err = f.one(ctx, &batch.Records[i]); err != nil {
			break
		}
		f.next = max(f.next, batch.Records[i].Offset+1)
	}
	if err == nil {
		f.next = max(f.next, batch.Next)
	}
	if f.next == f.stored {
		return err
	}
	// What was handled is handled, also when the caller is just stopping.
	storeCtx, cancel := context.WithTimeout(context.WithoutCancel(ctx), storeMax)
	defer cancel()
	if storeErr := f.store(storeCtx, f.next); storeErr != nil {
		return errors.Join(err, fmt.Errorf("store position %d of %s: %w", f.next, f.place, storeErr))
	}
	f.stored = f.next
	return err
}

// storeMax is how long storing a position may take.
const storeMax = 10 * time.Second

// one judges a record, and handles it unless it lies in the history.
func (f *follower) one(ctx context.Context, r *stage.Record) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	history := r.Offset < f.next
	a, verdict, err := f.judge(r)
	switch {
	case history:
		// What was odd then was said then.
		return nil
	case err != nil:
		odd := &Odd{Place: f.place, Offset: r.Offset, Err: err}
		if f.s.Odd == nil {
			return odd
		}
		return f.s.Odd(ctx, odd)
	case verdict != fold.Fresh:
		return nil
	}
	body := append([]byte(nil), r.Value...)
	if err := f.s.Handle(ctx, Delivery{Alert: a, Place: f.place, Offset: r.Offset, Body: body}); err != nil {
		return fmt.Errorf("handle alert %s revision %d: %w", a.ID, a.Revision, err)
	}
	return nil
}

func (f *follower) judge(r *stage.Record) (*alert.Alert, fold.Verdict, error) {
	a, err := alert.Decode(r.Value)
	if err != nil {
		return nil, 0, err
	}
	if a.Kind != f.kind {
		return nil, 0, fmt.Errorf("the kind is %q and the topic is that of %q", string(a.Kind), string(f.kind))
	}
	verdict, err := f.seen.Add(a.ID, a.Revision, r.Value)
	return a, verdict, err
}
