package sim

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"

	"settlewatch/pipelines/stage"
)

// errAssignmentOver is a commit after the group has moved on.
var errAssignmentOver = errors.New("the assignment is over")

// coordinator is one consumer group. A change of members ends the generation:
// every assignment is cancelled, and the partitions are shared out anew, in the
// order in which members joined. A partition starts with its new owner when its
// former one has returned.
type coordinator struct {
	log       *Log
	mutex     sync.Mutex
	freed     *sync.Cond // a partition was given back, or the generation changed
	topics    []string
	committed map[place]int64
	held      map[place]bool
	members   []*member
	// changed is closed when the generation ends.
	changed chan struct{}
}

type place struct {
	topic  string
	number int32
}

// member has a field, so that two of them have different addresses.
type member struct{ _ byte }

// Group returns a member of a consumer group; Run joins it. All members of a
// group name the same topics.
func (l *Log) Group(id string, topics ...string) stage.Group {
	l.mutex.Lock()
	defer l.mutex.Unlock()
	c := l.groups[id]
	if c == nil {
		c = &coordinator{
			log: l, topics: topics, committed: map[place]int64{}, held: map[place]bool{},
			changed: make(chan struct{}),
		}
		c.freed = sync.NewCond(&c.mutex)
		l.groups[id] = c
	}
	return &group{coordinator: c}
}

// DeleteGroup forgets what a group has committed.
func (l *Log) DeleteGroup(id string) {
	l.mutex.Lock()
	c := l.groups[id]
	l.mutex.Unlock()
	if c != nil {
		c.mutex.Lock()
		defer c.mutex.Unlock()
		clear(c.committed)
	}
}

type group struct{ coordinator *coordinator }

var _ stage.Group = (*group)(nil)

// Run takes part in the group until ctx is done or an own fails.
func (g *group) Run(ctx context.Context, own func(context.Context, stage.Assignment) error) error {
	c := g.coordinator
	for _, topic := range c.topics {
		if _, err := c.log.Partitions(ctx, topic); err != nil {
			return fmt.Errorf("join group: %w", err)
		}
	}
	me := new(member)
	ctx, fail := context.WithCancelCause(ctx)
	defer fail(nil)
	c.join(me)
	defer c.leave(me)
	run := &run{coordinator: c, own: own, fail: fail}
	for ctx.Err() == nil {
		run.generation(ctx, me)
	}
	return run.failed
}

// run is one member's Run.
type run struct {
	coordinator *coordinator
	own         func(context.Context, stage.Assignment) error
	fail        context.CancelCauseFunc
	failing     sync.Mutex
	failed      error
}

// generation owns what the present generation gives to me, until it ends.
func (r *run) generation(ctx context.Context, me *member) {
	places, changed := r.coordinator.begin(ctx, me)
	assigned, end := context.WithCancelCause(ctx)
	var owns sync.WaitGroup
	for _, at := range places {
		owns.Go(func() {
			defer r.coordinator.giveBack(at)
			r.assign(assigned, at, changed)
		})
	}
	select {
	case <-changed:
	case <-ctx.Done():
	}
	end(errAssignmentOver)
	owns.Wait()
}

func (r *run) assign(ctx context.Context, at place, changed <-chan struct{}) {
	a, over := r.coordinator.assignment(at, changed)
	err := r.own(ctx, a)
	over()
	switch {
	case err == nil:
	case errors.Is(err, errAssignmentOver):
		if ctx.Err() == nil {
			r.coordinator.rebalance()
		}
	case ctx.Err() != nil && (errors.Is(err, ctx.Err()) ||
		errors.Is(err, context.Cause(ctx)) || errors.Is(err, stage.ErrFenced)):
	default:
		err = fmt.Errorf("own %s/%d: %w", at.topic, at.number, err)
		r.failing.Lock()
		if r.failed == nil {
			r.failed = err
		}
		r.failing.Unlock()
		r.fail(err)
	}
}

// assignment of one partition in the generation that changed ends, and what ends
// it earlier.
func (c *coordinator) assignment(at place, changed <-chan struct{}) (a stage.Assignment, end func()) {
	c.mutex.Lock()
	defer c.mutex.Unlock()
	offset, ok := c.committed[at]
	if !ok {
		offset = stage.None
	}
	over := false
	commit := func(ctx context.Context, offset int64) error {
		c.mutex.Lock()
		defer c.mutex.Unlock()
		err := ctx.Err()
		if err == nil && (over || changed != (<-chan struct{})(c.changed)) {
			err = errAssignmentOver
		}
		if err != nil {
			return fmt.Errorf("commit offset %d of %s/%d: %w", offset, at.topic, at.number, err)
		}
		c.committed[at] = offset
		return nil
	}
	return stage.Assignment{Topic: at.topic, Partition: at.number, Offset: offset, Commit: commit}, func() {
		c.mutex.Lock()
		defer c.mutex.Unlock()
		over = true
	}
}

// begin waits until nobody holds what the present generation gives to m, and takes
// it. It takes nothing when ctx ends first.
func (c *coordinator) begin(ctx context.Context, m *member) (places []place, changed <-chan struct{}) {
	stop := context.AfterFunc(ctx, func() {
		c.mutex.Lock()
		defer c.mutex.Unlock()
		c.freed.Broadcast()
	})
	defer stop()
	c.mutex.Lock()
	defer c.mutex.Unlock()
	for ctx.Err() == nil {
		places = c.share(m)
		if !slices.ContainsFunc(places, func(at place) bool { return c.held[at] }) {
			for _, at := range places {
				c.held[at] = true
			}
			return places, c.changed
		}
		c.freed.Wait()
	}
	return nil, c.changed
}

// share needs the mutex.
func (c *coordinator) share(m *member) []place {
	var places []place
	for _, topic := range c.topics {
		n, err := c.log.Partitions(context.Background(), topic)
		if err != nil {
			continue // deleted since Run looked: nothing to own
		}
		i, all := slices.Index(c.members, m), len(c.members)
		for number := i * n / all; number < (i+1)*n/all; number++ {
			places = append(places, place{topic, int32(number)})
		}
	}
	return places
}

func (c *coordinator) giveBack(at place) {
	c.mutex.Lock()
	defer c.mutex.Unlock()
	delete(c.held, at)
	c.freed.Broadcast()
}

func (c *coordinator) join(m *member) {
	c.mutex.Lock()
	defer c.mutex.Unlock()
	c.members = append(c.members, m)
	c.endGeneration()
}

func (c *coordinator) leave(m *member) {
	c.mutex.Lock()
	defer c.mutex.Unlock()
	c.members = slices.DeleteFunc(c.members, func(other *member) bool { return other == m })
	c.endGeneration()
}

func (c *coordinator) rebalance() {
	c.mutex.Lock()
	defer c.mutex.Unlock()
	c.endGeneration()
}

// endGeneration needs the mutex.
func (c *coordinator) endGeneration() {
	close(c.changed)
	c.changed = make(chan struct{})
	c.freed.Broadcast()
}
