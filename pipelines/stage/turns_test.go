package stage_test

import (
	"context"
	"testing"
	"time"

	"settlewatch/pipelines/stage"
)

// turns let a stage fetch from one topic only when the test says so: what the
// stage did with the last batch is done when it asks for the next.
type turns struct {
	stage.Log
	topic string
	asked chan struct{}
	given chan struct{}
}

func (l *turns) Open(topic string, partition int32) (stage.Reader, error) {
	r, err := l.Log.Open(topic, partition)
	if err != nil || topic != l.topic {
		return r, err
	}
	return &turnReader{r, l}, nil
}

type turnReader struct {
	stage.Reader
	*turns
}

func (r *turnReader) Fetch(ctx context.Context, offset int64, _ time.Duration) (stage.Batch, error) {
	select {
	case r.asked <- struct{}{}:
	case <-ctx.Done():
	}
	select {
	case <-r.given:
	case <-ctx.Done():
	}
	return r.Reader.Fetch(ctx, offset, 0)
}

// running is a stage that runs in turns.
type running struct {
	*turns
	t      *testing.T
	cancel context.CancelFunc
	ended  chan error
}

// start runs a stage on the log until it asks for its first batch of the topic.
func start(t *testing.T, log stage.Log, topic string, own func(context.Context, stage.Log) error) *running {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	r := &running{
		turns: &turns{Log: log, topic: topic, asked: make(chan struct{}), given: make(chan struct{})},
		t:     t, cancel: cancel, ended: make(chan error, 1),
	}
	t.Cleanup(cancel)
	go func() { r.ended <- own(ctx, r.turns) }()
	r.await()
	return r
}

// await returns when the stage asks for its next batch.
func (r *running) await() {
	r.t.Helper()
	select {
	case <-r.asked:
	case err := <-r.ended:
		r.t.Fatalf("the stage ended: %v", err)
	}
}

// turn gives the stage one batch, and returns when it asks for the next.
func (r *running) turn() {
	r.t.Helper()
	r.begin()
	r.await()
}

// begin gives the stage one batch and does not wait.
func (r *running) begin() { r.given <- struct{}{} }

// fail gives the stage one batch, at which it must end.
func (r *running) fail() error {
	r.t.Helper()
	r.begin()
	select {
	case <-r.asked:
		r.t.Fatal("the stage goes on")
		return nil
	case err := <-r.ended:
		return err
	}
}

// stop ends the assignment, which is no error.
func (r *running) stop() {
	r.t.Helper()
	r.cancel()
	if err := <-r.ended; err != nil {
		r.t.Fatalf("the end of an assignment is an error: %v", err)
	}
}
