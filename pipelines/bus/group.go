package bus

import (
	"context"
	"errors"
	"fmt"
	"net"
	"sync"
	"time"

	"github.com/segmentio/kafka-go"

	"settlewatch/pipelines/stage"
)

// GroupOptions say which group to join, and how patient it is.
type GroupOptions struct {
	// ID of the consumer group.
	ID string
	// Topics whose partitions are shared out.
	Topics []string
	// SessionTimeout is how long a silent member keeps its partitions. Defaults
	// to 6s, the least that a broker allows by default.
	SessionTimeout time.Duration
	// HeartbeatInterval is also how soon a member notices that another one came
	// or left. Defaults to 1s, or a third of the session where that is less.
	HeartbeatInterval time.Duration
	// RebalanceTimeout is how long the others wait for a member that is still
	// ending its assignments. Defaults to 10s.
	RebalanceTimeout time.Duration
	// JoinTimeout is how long joining may fail before Run gives up; a new cluster
	// needs a while to make its offsets topic. Defaults to 60s.
	JoinTimeout time.Duration
}

const (
	// leaveTimeout is how long a clean leave may take before its connections are
	// cut: a member that is waiting in a join would otherwise stay for the others.
	leaveTimeout = 2 * time.Second
	joinBackoff  = 500 * time.Millisecond
	// partitionWatch is how soon a group takes up a new partition or topic.
	partitionWatch = 5 * time.Second
)

// errAssignmentOver is a commit that came after the group had moved on. It ends
// the assignment, not Run.
var errAssignmentOver = errors.New("the assignment is over")

type group struct {
	bus     *Bus
	options GroupOptions
}

var _ stage.Group = (*group)(nil)

// Group returns a member of a consumer group; Run joins it. Run may be called
// again after it returned.
//
// An own that returns nil before its context ends keeps its partition, idle,
// until the group changes. An own that returns what Commit returned, because the
// group had moved on, ends its assignment and not Run; the same holds for
// stage.ErrFenced and the context's own error once that context has ended.
func (b *Bus) Group(options GroupOptions) stage.Group {
	setDefault(&options.SessionTimeout, 6*time.Second)
	setDefault(&options.HeartbeatInterval, min(time.Second, options.SessionTimeout/3))
	setDefault(&options.RebalanceTimeout, 10*time.Second)
	setDefault(&options.JoinTimeout, time.Minute)
	return &group{bus: b, options: options}
}

func setDefault(d *time.Duration, value time.Duration) {
	if *d == 0 {
		*d = value
	}
}

// Run takes part in the group until ctx is done, an own fails or joining fails for
// good. It leaves the group after every own has returned.
func (g *group) Run(ctx context.Context, own func(context.Context, stage.Assignment) error) error {
	conns := &connections{open: map[net.Conn]struct{}{}}
	cg, err := kafka.NewConsumerGroup(g.config(conns))
	if err != nil {
		return fmt.Errorf("join group %q: %w", g.options.ID, err)
	}
	m := &member{group: g, own: own}
	m.ctx, m.fail = context.WithCancelCause(ctx)
	defer m.fail(nil)

	err = m.follow(cg)
	m.fail(err) // every own ends; the first cause stays
	m.owns.Wait()
	leave(cg, conns)
	if m.failed != nil {
		return m.failed
	}
	if ctx.Err() != nil {
		return nil
	}
	return err
}

func (g *group) config(conns *connections) kafka.ConsumerGroupConfig {
	o := g.bus.options
	return kafka.ConsumerGroupConfig{
		ID:      g.options.ID,
		Brokers: o.Brokers,
		Topics:  g.options.Topics,
		Dialer: &kafka.Dialer{
			ClientID: o.ClientID, TLS: o.TLS, SASLMechanism: o.SASL,
			Timeout: 5 * time.Second, DialFunc: conns.dial,
		},
		GroupBalancers:         []kafka.GroupBalancer{kafka.RangeGroupBalancer{}},
		SessionTimeout:         g.options.SessionTimeout,
		HeartbeatInterval:      g.options.HeartbeatInterval,
		RebalanceTimeout:       g.options.RebalanceTimeout,
		JoinGroupBackoff:       joinBackoff,
		WatchPartitionChanges:  true,
		PartitionWatchInterval: partitionWatch,
	}
}

// member is one run of a group.
type member struct {
	group *group
	own   func(context.Context, stage.Assignment) error
	ctx   context.Context // ends with Run's, or when an own fails
	fail  context.CancelCauseFunc
	owns  sync.WaitGroup

	failing sync.Mutex
	failed  error // of the first own that failed
}

// follow starts every generation's assignments until ctx ends or joining has
// failed for too long.
func (m *member) follow(cg *kafka.ConsumerGroup) error {
	o := &m.group.options
	var failingSince time.Time
	for {
		generation, err := cg.Next(m.ctx)
		if m.ctx.Err() != nil {
			return nil //nolint:nilerr // err only says that the context has ended
		}
		if err == nil {
			failingSince = time.Time{}
			m.start(generation)
			continue
		}
		if errors.Is(err, kafka.RebalanceInProgress) {
			continue // the next attempt waits for the others
		}
		if errors.Is(err, kafka.InvalidSessionTimeout) {
			return fmt.Errorf("join group %q with a session timeout of %s, which the broker does not allow "+
				"(group.min.session.timeout.ms, group.max.session.timeout.ms): %w", o.ID, o.SessionTimeout, err)
		}
		if finalForGroup(err) {
			return fmt.Errorf("join group %q: %w", o.ID, err)
		}
		if failingSince.IsZero() {
			failingSince = time.Now()
		}
		if elapsed := time.Since(failingSince); elapsed > o.JoinTimeout {
			return fmt.Errorf("join group %q at %v: gave up after %s: %w",
				o.ID, m.group.bus.options.Brokers, elapsed.Round(time.Second), err)
		}
		if retried := m.group.bus.options.OnRetry; retried != nil {
			retried(err)
		}
		m.group.bus.log.Warn("joining the consumer group failed, trying again", "group", o.ID, "error", err)
	}
}

// finalForGroup reports failures to join that do not pass by themselves. A member
// that the group has forgotten (UnknownMemberId, IllegalGeneration) joins anew.
func finalForGroup(err error) bool {
	return final(err) && !errors.Is(err, kafka.UnknownMemberId) && !errors.Is(err, kafka.IllegalGeneration)
}

func (m *member) start(generation *kafka.Generation) {
	for topic, partitions := range generation.Assignments {
		for _, p := range partitions {
			m.owns.Add(1)
			generation.Start(func(ended context.Context) {
				m.assign(ended, generation, topic, p)
			})
		}
	}
}

// assign runs own for one partition. ended is the generation's context; the
// generation in turn ends when this function returns, so after own it waits, or
// the partition would be handed on while the group is still left in peace.
func (m *member) assign(ended context.Context, generation *kafka.Generation, topic string, p kafka.PartitionAssignment) {
	err := m.run(ended, generation, topic, p)
	m.owns.Done()
	if errors.Is(err, errAssignmentOver) {
		return // ends the generation here too, and joins the next
	}
	<-ended.Done()
}

func (m *member) run(ended context.Context, generation *kafka.Generation, topic string, p kafka.PartitionAssignment) error {
	ctx, cancel := context.WithCancelCause(m.ctx)
	defer cancel(nil)
	stop := context.AfterFunc(ended, func() { cancel(errAssignmentOver) })
	defer stop()

	a := stage.Assignment{Topic: topic, Partition: int32(p.ID), Offset: max(p.Offset, stage.None)}
	a.Commit = func(ctx context.Context, offset int64) error {
		return m.commit(ctx, ended, generation, &a, offset)
	}
	err := m.own(ctx, a)
	switch {
	case err == nil, errors.Is(err, errAssignmentOver):
		return err
	case ctx.Err() != nil && (errors.Is(err, ctx.Err()) || errors.Is(err, context.Cause(ctx)) || errors.Is(err, stage.ErrFenced)):
		return nil
	}
	err = fmt.Errorf("own %s/%d: %w", topic, p.ID, err)
	m.failing.Lock()
	if m.failed == nil {
		m.failed = err
	}
	m.failing.Unlock()
	m.fail(err)
	return err
}

// commit stores the offset in the group. It still works after ctx of Run ended and
// until own returns: a clean leave commits what it has finished.
func (m *member) commit(ctx, ended context.Context, generation *kafka.Generation, a *stage.Assignment, offset int64) error {
	err := ctx.Err()
	if err == nil && ended.Err() != nil {
		err = errAssignmentOver
	}
	if err == nil {
		err = generation.CommitOffsets(map[string]map[int]int64{a.Topic: {int(a.Partition): offset}})
		if err != nil && !finalForGroup(err) {
			// Another generation has begun, or the coordinator is gone, and with it this
			// one: rejoining is the retry.
			m.group.bus.log.Warn("commit refused, joining the group again",
				"group", m.group.options.ID, "topic", a.Topic, "partition", a.Partition, "error", err)
			err = fmt.Errorf("%w: %w", errAssignmentOver, err)
		}
	}
	if err != nil {
		return fmt.Errorf("commit offset %d of %s/%d: %w", offset, a.Topic, a.Partition, err)
	}
	return nil
}

// leave closes cg, which tells the coordinator. A member in the middle of a join
// would wait there for the slowest of the others: after leaveTimeout its
// connections are cut, and it leaves over a new one.
func leave(cg *kafka.ConsumerGroup, conns *connections) {
	cut := time.AfterFunc(leaveTimeout, conns.cut)
	defer cut.Stop()
	_ = cg.Close() // always nil; a leave that fails ends with the session
}

// connections are those that a consumer group has opened.
type connections struct {
	mutex sync.Mutex
	open  map[net.Conn]struct{}
}

func (c *connections) dial(ctx context.Context, network, address string) (net.Conn, error) {
	var dialer net.Dialer
	conn, err := dialer.DialContext(ctx, network, address)
	if err != nil {
		return nil, err
	}
	c.mutex.Lock()
	defer c.mutex.Unlock()
	c.open[conn] = struct{}{}
	return &connection{Conn: conn, all: c}, nil
}

func (c *connections) cut() {
	c.mutex.Lock()
	defer c.mutex.Unlock()
	for conn := range c.open {
		conn.Close()
	}
}

type connection struct {
	net.Conn
	all *connections
}

func (c *connection) Close() error {
	c.all.mutex.Lock()
	delete(c.all.open, c.Conn)
	c.all.mutex.Unlock()
	return c.Conn.Close()
}
