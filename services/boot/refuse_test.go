package boot

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"slices"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"settlewatch/pipelines/join"
	"settlewatch/pipelines/stage"
	"settlewatch/pipelines/statestore"
	"settlewatch/services/health"
)

// Every cause that no start mends is refused, however deep it lies, and has its word,
// which the runbook explains; everything else ends the partition's owner.
func TestRefusalsHaveTheirWords(t *testing.T) {
	for want, err := range map[string]error{
		"log_changed":        stage.ErrLogChanged,
		"source_changed":     stage.ErrSourceChanged,
		"topic_changed":      stage.ErrTopicChanged,
		"partitions_changed": stage.ErrPartitionsChanged,
		"clock_ahead":        stage.ErrTimeAhead,
		"newer_state":        join.ErrNewerState,
		"older_state":        join.ErrOlderState,
		"unsupported_config": &join.UnsupportedConfigError{},
		"state_corrupt":      join.ErrInconsistent,
	} {
		if got, is := refusal(fmt.Errorf("join partition 3: load: %w", err)); !is || got != want {
			t.Errorf("%v is refused %v, as %q", err, is, got)
		}
	}
	if got, is := refusal(fmt.Errorf("load: %w", new(statestore.CorruptError))); !is || got != "state_corrupt" {
		t.Errorf("a damaged state is refused %v, as %q", is, got)
	}
	for _, err := range []error{nil, io.ErrUnexpectedEOF, stage.ErrFenced, stage.ErrTooLarge, context.Canceled} {
		if got, is := refusal(err); is {
			t.Errorf("%v is refused as %q", err, got)
		}
	}
}

// What was committed before a refusal is not read again after it: an ingest that runs
// for days and then finds its clock wrong begins where it stood.
func TestRefusedPartitionsGoOnWhereTheyStood(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := &Run{Log: slog.New(slog.DiscardHandler), Health: health.New(health.Options{}), drain: t.Context()}
		lost := errors.New("the group has another owner")
		var began, committed []int64
		own := func(ctx context.Context, a stage.Assignment) error {
			began = append(began, a.Offset)
			switch len(began) {
			case 1:
				if err := a.Commit(ctx, 700); err != nil {
					t.Error(err)
				}
				return stage.ErrTimeAhead
			case 2:
				if err := a.Commit(ctx, 900); !errors.Is(err, lost) {
					t.Errorf("the commit ends with %v", err)
				}
				return stage.ErrTimeAhead
			}
			return nil
		}
		a := stage.Assignment{Offset: 3, Commit: func(_ context.Context, offset int64) error {
			if offset == 900 {
				return lost
			}
			committed = append(committed, offset)
			return nil
		}}
		if err := r.holdRefused(t.Context(), a, own); err != nil {
			t.Error(err)
		}
		if !slices.Equal(began, []int64{3, 700, 700}) || !slices.Equal(committed, []int64{700}) {
			t.Errorf("it began at %d, committed %d", began, committed)
		}
	})
}

// A refused partition rests, is tried again after a while, and goes on by itself when a
// person has mended it. What is no refusal ends it, and so does the drain.
func TestRefusedPartitionsRest(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		drain, draining := context.WithCancel(t.Context())
		r := &Run{Log: slog.New(slog.DiscardHandler), Health: health.New(health.Options{}), drain: drain}
		place := health.Place{Topic: "payment-log.v1", Partition: 3}
		defer r.Health.Own(place)()
		r.Health.Connected()
		ended := errors.New("the broker is gone")
		answers := []error{stage.ErrLogChanged, stage.ErrLogChanged, ended}
		var tries atomic.Int32
		own := func(context.Context, stage.Assignment) error {
			return answers[min(int(tries.Add(1)), len(answers))-1]
		}
		a := stage.Assignment{Topic: place.Topic, Partition: place.Partition}
		result := make(chan error, 1)
		go func() { result <- r.holdRefused(t.Context(), a, own) }()
		for want := int32(1); want <= 2; want++ {
			synctest.Wait()
			if tries.Load() != want || r.Health.Ready().OK {
				t.Errorf("%d tries, ready %v", tries.Load(), r.Health.Ready())
			}
			time.Sleep(refusedWait)
		}
		if err := <-result; !errors.Is(err, ended) || tries.Load() != 3 {
			t.Errorf("it ends with %v after %d tries", err, tries.Load())
		}
		tries.Store(0)
		go func() { result <- r.holdRefused(t.Context(), a, own) }()
		synctest.Wait()
		draining()
		if err := <-result; err != nil || tries.Load() != 1 {
			t.Errorf("at the drain it ends with %v after %d tries", err, tries.Load())
		}
	})
}
