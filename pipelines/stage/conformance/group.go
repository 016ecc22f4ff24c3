package conformance

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"

	"settlewatch/pipelines/stage"
)

// owner is a member of a group that writes down what it owns.
type owner struct {
	t      *testing.T
	cancel context.CancelFunc
	ended  chan error
}

// ownership watches that no partition has two owners at a time.
type ownership struct {
	mutex sync.Mutex
	held  map[string]*owner
	// changed is signalled, once at least, after every change.
	changed chan struct{}
}

func newOwnership() *ownership {
	return &ownership{held: map[string]*owner{}, changed: make(chan struct{}, 1)}
}

func (h *ownership) set(t *testing.T, a stage.Assignment, o *owner) {
	h.mutex.Lock()
	defer h.mutex.Unlock()
	at := fmt.Sprintf("%s/%d", a.Topic, a.Partition)
	if o != nil && h.held[at] != nil {
		t.Errorf("%s has two owners", at)
	}
	if h.held[at] = o; o == nil {
		delete(h.held, at)
	}
	select {
	case h.changed <- struct{}{}:
	default:
	}
}

// await waits until ready says yes to the number of partitions that each owner
// holds.
func (h *ownership) await(t *testing.T, what string, ready func(count map[*owner]int) bool) {
	t.Helper()
	for {
		h.mutex.Lock()
		count := map[*owner]int{}
		for _, o := range h.held {
			count[o]++
		}
		h.mutex.Unlock()
		if ready(count) {
			return
		}
		receive(t, h.changed, what)
	}
}

// join runs a member that holds whatever it is given until its context ends.
func (h *ownership) join(t *testing.T, g stage.Group) *owner {
	ctx, cancel := context.WithCancel(t.Context())
	o := &owner{t: t, cancel: cancel, ended: make(chan error, 1)}
	go func() {
		o.ended <- g.Run(ctx, func(ctx context.Context, a stage.Assignment) error {
			h.set(t, a, o)
			<-ctx.Done()
			h.set(t, a, nil)
			return ctx.Err()
		})
	}()
	t.Cleanup(cancel)
	return o
}

func (o *owner) leave() {
	o.t.Helper()
	o.cancel()
	if err := receive(o.t, o.ended, "the end of Run"); err != nil {
		o.t.Errorf("a Run that was cancelled returned %v", err)
	}
}

func groupAssignsAll(t *testing.T, bus Bus) {
	wide, narrow := bus.CreateTopic(t, 5), bus.CreateTopic(t, 2)
	held := newOwnership()
	o := held.join(t, bus.Group("all-"+wide, wide, narrow))
	held.await(t, "all partitions", func(count map[*owner]int) bool { return count[o] == 7 })
	o.leave()
	held.await(t, "the end of every own", func(count map[*owner]int) bool { return count[o] == 0 })
}

func groupCommits(t *testing.T, bus Bus) {
	topic := bus.CreateTopic(t, 2)
	// The third goes back, as the late commit of an owner that was replaced does.
	for run, want := range []int64{stage.None, 41, 42, 7} {
		ctx, cancel := context.WithCancel(t.Context())
		var mutex sync.Mutex
		seen := map[int32]int64{}
		err := bus.Group("commits-"+topic, topic).Run(ctx, func(ctx context.Context, a stage.Assignment) error {
			mutex.Lock()
			seen[a.Partition] = a.Offset
			if len(seen) == 2 {
				defer cancel()
			}
			mutex.Unlock()
			if a.Partition == 1 {
				return a.Commit(context.WithoutCancel(ctx), []int64{41, 42, 7, 8}[run])
			}
			return nil
		})
		cancel()
		if err != nil {
			t.Fatal(err)
		}
		if seen[0] != stage.None || seen[1] != want {
			t.Errorf("run %d began at offsets %v, want %d in partition 1 and none in 0", run, seen, want)
		}
	}
}

func groupOwnFails(t *testing.T, bus Bus) {
	topic := bus.CreateTopic(t, 3)
	broken := errors.New("broken")
	ended := make(chan error, 1)
	go func() {
		ended <- bus.Group("fails-"+topic, topic).Run(t.Context(), func(ctx context.Context, a stage.Assignment) error {
			if a.Partition == 1 {
				return broken
			}
			<-ctx.Done()
			return ctx.Err()
		})
	}()
	if err := receive(t, ended, "the end of Run"); !errors.Is(err, broken) {
		t.Errorf("Run returned %v", err)
	}
}

func groupLateCommit(t *testing.T, bus Bus) {
	topic := bus.CreateTopic(t, 1)
	kept := make(chan stage.Assignment, 1)
	ctx, cancel := context.WithCancel(t.Context())
	err := bus.Group("late-"+topic, topic).Run(ctx, func(ctx context.Context, a stage.Assignment) error {
		kept <- a
		cancel()
		<-ctx.Done()
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if err := (<-kept).Commit(t.Context(), 7); err == nil {
		t.Error("a commit after the end of the assignment succeeded")
	}
}

func groupShares(t *testing.T, bus Bus) {
	topic := bus.CreateTopic(t, 4)
	id := "shares-" + topic
	held := newOwnership()
	first := held.join(t, bus.Group(id, topic))
	held.await(t, "one owner of all", func(count map[*owner]int) bool { return count[first] == 4 })
	second := held.join(t, bus.Group(id, topic))
	held.await(t, "two owners", func(count map[*owner]int) bool { return count[first] == 2 && count[second] == 2 })
	first.leave()
	held.await(t, "the other owner of all", func(count map[*owner]int) bool { return count[second] == 4 })
	second.leave()
}
