package faults

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"sync/atomic"
	"syscall"
	"time"

	"settlewatch/pipelines/bus"
	"settlewatch/pipelines/oracle/invariant"
	"settlewatch/pipelines/stage"
	"settlewatch/pipelines/statestore"
	"settlewatch/schemas/topic"
	"settlewatch/services/boot"
	"settlewatch/tools/stack"
)

// rate of the feed beside a fault, records a second: the services are at work, and
// some of it is left when the fault is over.
const rate = 400

var joinerScenarios = []Scenario{
	{Number: 1, Name: "kill -9 joiner", Holds: []string{i1, i2, i3}, Quick: true, inject: killJoiner, mostSeconds: 12},
	{
		Number: 1, Name: "kill -9 joiner, session of 6 s as brokers grant by default", Holds: []string{i1, i2, i3}, inject: killJoiner, mostSeconds: 15,
		env: func(string) []string { return []string{"SETTLEWATCH_KAFKA_SESSION_TIMEOUT=" + sessionDefault.String()} },
	},
	{
		Number: 2, Name: "kill -9 joiner between the commit and its reply", Holds: []string{i1, i3}, Quick: true,
		inject: func(w *world) error { return killAtCommit(w, loseReply) }, mostSeconds: 12,
	},
	{
		Number: 3, Name: "kill -9 joiner between alerts and commit", Holds: []string{i2}, Quick: true,
		inject: func(w *world) error { return killAtCommit(w, loseRequest) }, mostSeconds: 12,
	},
	{Number: 5, Name: "kill -9 ingest mid-batch", Holds: []string{i1, i5}, inject: killIngest, mostSeconds: 12},
	{
		Number: 6, Name: "SIGSTOP joiner past its session, then resume (zombie)", Holds: []string{i3, i2}, Quick: true,
		inject: zombie, Scale: "session 3 s, stopped for 5 s",
	},
	{Number: 7, Name: "two joiners on every partition", Holds: []string{i3}, inject: twoOwners},
	{
		Number: 8, Name: "rebalance storm", Holds: []string{i1, i6}, inject: storm,
		Scale: "a joiner comes or goes every 2 s, for 8 s",
	},
	{
		Number: 9, Name: "a worker ignores that its partition has moved", Holds: []string{i3, i7}, inject: deafWorker,
		Scale: "for 12 s instead of 60",
	},
}

// busy feeds the beginning and lets the rest trickle; it returns when alerts flow.
func (w *world) busy() error {
	if err := w.feed(0.3); err != nil {
		return err
	}
	w.trickle(0.85, rate)
	return w.untilAlertsFlow()
}

func (w *world) untilAlertsFlow() error {
	return w.until("alerts flow", func() (bool, error) {
		n, err := w.alerts()
		return n > 0, err
	})
}

// killJoiner kills at a random moment while the joiner is at work. It is back when a
// new alert has come.
func killJoiner(w *world) error {
	if err := w.busy(); err != nil {
		return err
	}
	if err := w.pause(w.between(0, 1500*time.Millisecond)); err != nil {
		return err
	}
	return w.killAndMeasure("joiner", w.alerts)
}

// killAndMeasure kills a service and measures until it has gone on.
func (w *world) killAndMeasure(name string, p progress) error {
	if err := w.signal(name, syscall.SIGKILL); err != nil {
		return err
	}
	return w.recovery(name, p)
}

// killAtCommit kills the joiner when it sends a commit: once Redis has applied it,
// or before Redis has seen it, when its alerts are published.
func killAtCommit(w *world, fate verdict) error {
	if err := w.busy(); err != nil {
		return err
	}
	pid := w.supervisor.Pid("joiner")
	struck := make(chan error, 1)
	var once atomic.Bool
	strike := func() verdict {
		if !once.CompareAndSwap(false, true) {
			return pass
		}
		struck <- syscall.Kill(pid, syscall.SIGKILL)
		return fate
	}
	if fate == loseReply {
		w.atCommit(leave, strike)
	} else {
		w.atCommit(strike, leave)
	}
	select {
	case err := <-struck:
		if err != nil {
			return fmt.Errorf("kill the joiner: %w", err)
		}
	case <-time.After(patience):
		return errors.New("no commit came by")
	}
	return w.recovery("joiner", w.stored)
}

// leave lets a commit be.
func leave() verdict { return pass }

// atCommit asks what happens to each commit: when its EXEC is sent and Redis has not seen it, and
// again when Redis has applied it, with the reply in hand.
func (w *world) atCommit(sent, applied func() verdict) {
	const executed = 1
	w.redisProxy.change(func(p *proxy) {
		p.request = func(l *link, piece []byte) verdict {
			if !endsCommit(piece) {
				return pass
			}
			l.stage = executed
			return sent()
		}
		p.reply = func(l *link, piece []byte) verdict {
			// EXEC is answered by a list; what is queued before it is not.
			if l.stage != executed || !bytes.Contains(piece, []byte("*")) {
				return pass
			}
			l.stage = 0
			return applied()
		}
	})
}

// endsCommit tells whether the bytes end a commit: an EXEC, and not the one of a read at one
// moment, which is a single piece.
func endsCommit(piece []byte) bool {
	return bytes.HasSuffix(piece, []byte("*1\r\n$4\r\nexec\r\n")) && !bytes.Contains(piece, []byte("\r\nhmget\r\n"))
}

// killIngest kills one of the three while it reads.
func killIngest(w *world) error {
	if err := w.busy(); err != nil {
		return err
	}
	name := []string{"authorization", "capture", "settlement"}[w.dice.IntN(3)]
	if err := w.pause(w.between(0, time.Second)); err != nil {
		return err
	}
	return w.killAndMeasure(name, w.committed(name))
}

// second starts another joiner beside the first.
func (w *world) second(name string) (*stack.Supervisor, error) { return w.beside("joiner", name) }

// beside starts another instance of a service, with settings of its own.
func (w *world) beside(binary, name string, env ...string) (*stack.Supervisor, error) {
	service, err := w.service(binary, name)
	if err != nil {
		return nil, err
	}
	service.Env = append(service.Env, env...)
	s, err := stack.Supervise(w.ctx, w.dir, []stack.Service{service}, nil)
	if err == nil {
		w.extra = append(w.extra, s)
	}
	return s, err
}

// members waits until the joiners' group has so many members with partitions.
func (w *world) members(count int) error {
	return w.until(fmt.Sprintf("%d joiners share the partitions", count), func() (bool, error) {
		members, err := w.bus.Members(w.ctx, boot.GroupJoiner)
		if err != nil {
			return false, err
		}
		owning := 0
		for _, m := range members {
			if len(m.Partitions) > 0 {
				owning++
			}
		}
		return owning == count && len(members) == count, nil
	})
}

// every is whether all partitions have gone on since, counted in partitions.
func (w *world) every() progress {
	before := map[int32]int64{}
	for p := range int32(topic.PaymentLog.Partitions) {
		place, _ := w.storedPlace(p)
		before[p] = place.Offset
	}
	return func() (moved int64, err error) {
		for p, offset := range before {
			if place, err := w.storedPlace(p); err == nil && place.Offset > offset {
				moved++
			}
		}
		return moved, nil
	}
}

// zombie stops one of two joiners for longer than its session. The other takes its
// partitions; when it wakes it believes that they are its own.
func zombie(w *world) error {
	if _, err := w.second("joiner-2"); err != nil {
		return err
	}
	if err := w.members(2); err != nil {
		return err
	}
	if err := w.busy(); err != nil {
		return err
	}
	if err := w.signal("joiner", syscall.SIGSTOP); err != nil {
		return err
	}
	stopped := time.Now()
	all := w.every()
	if err := w.recoverBeyond("partitions of the stopped joiner", all, int64(topic.PaymentLog.Partitions)-1); err != nil {
		return err
	}
	if err := w.pause(5*time.Second - time.Since(stopped)); err != nil {
		return err
	}
	if err := w.signal("joiner", syscall.SIGCONT); err != nil {
		return err
	}
	all = w.every()
	return w.until("all partitions go on", func() (bool, error) {
		n, err := all()
		return n == int64(topic.PaymentLog.Partitions), err
	})
}

// twoOwners has this process fold every partition too, without the group's leave.
func twoOwners(w *world) error {
	if err := w.busy(); err != nil {
		return err
	}
	client, err := statestore.Dial(w.ctx, statestore.Options{Addrs: []string{w.redis.Addr()}})
	if err != nil {
		return err
	}
	defer func() { _ = client.Close() }()
	running, stop := context.WithTimeout(w.ctx, 6*time.Second)
	defer stop()
	joiner, done := w.intruder(client), make(chan error)
	for p := range int32(topic.PaymentLog.Partitions) {
		go func() {
			done <- joiner.Own(running, stage.Assignment{
				Topic: topic.PaymentLog.Name, Partition: p, Offset: stage.None,
				Commit: func(context.Context, int64) error { return nil },
			})
		}()
	}
	for range topic.PaymentLog.Partitions {
		if err := <-done; err != nil {
			return fmt.Errorf("the second owner: %w", err)
		}
	}
	if w.fenced() == 0 {
		return errors.New("nobody was fenced: the two owners never met")
	}
	return w.recovery("joiner", w.stored)
}

// intruder is a joiner inside this process, on the same log and state.
func (w *world) intruder(client *statestore.Client) *stage.Joiner {
	out, err := os.OpenFile(filepath.Join(w.dir, "logs", "intruder.log"), os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o644)
	if err != nil {
		out = os.Stderr
	} else {
		w.endings = append(w.endings, out.Close)
	}
	return &stage.Joiner{
		Log: w.bus, Clock: boot.Clock{}, Logger: slog.New(slog.NewTextHandler(out, nil)),
		State: func(p int32) stage.State { return client.Partition(topic.PaymentLog.Name, p) },
	}
}

// fenced counts how often an owner said that another one has its partition.
func (w *world) fenced() int {
	n := 0
	for _, name := range []string{"joiner", "joiner-2", "intruder"} {
		n += bytes.Count([]byte(w.log(name)), []byte("fenced"))
	}
	return n
}

// storm makes a second joiner come and go.
func storm(w *world) error {
	if err := w.busy(); err != nil {
		return err
	}
	s, err := w.second("joiner-2")
	if err != nil {
		return err
	}
	for end := time.Now().Add(8 * time.Second); time.Now().Before(end); {
		if err := w.pause(2 * time.Second); err != nil {
			return err
		}
		if err := s.Halt("joiner-2"); err != nil {
			return err
		}
		if err := w.pause(2 * time.Second); err != nil {
			return err
		}
		if err := s.Resume("joiner-2"); err != nil {
			return err
		}
	}
	all := w.every()
	return w.recoverBeyond("all partitions", all, int64(topic.PaymentLog.Partitions)-1)
}

// deafState is a state store whose commit hangs, whatever its context says, and goes
// through when it is let go: a worker that does not hear that its partition moved.
type deafState struct {
	stage.State
	held    chan struct{}
	late    chan<- error
	holding *atomic.Bool
}

func (s *deafState) Commit(ctx context.Context, c stage.Commit) error {
	if !s.holding.Load() {
		return s.State.Commit(ctx, c)
	}
	<-s.held
	err := s.State.Commit(context.WithoutCancel(ctx), c)
	s.late <- err
	return err
}

// deafWorker is a member of the group that hangs in a commit while its partitions
// are given to another. Its late commits must be refused.
func deafWorker(w *world) error {
	if err := w.busy(); err != nil {
		return err
	}
	client, err := statestore.Dial(w.ctx, statestore.Options{Addrs: []string{w.redis.Addr()}})
	if err != nil {
		return err
	}
	defer func() { _ = client.Close() }()
	held, late, holding := make(chan struct{}), make(chan error, topic.PaymentLog.Partitions), new(atomic.Bool)
	joiner := w.intruder(client)
	joiner.State = func(p int32) stage.State {
		return &deafState{State: client.Partition(topic.PaymentLog.Name, p), held: held, late: late, holding: holding}
	}
	group := w.bus.Group(bus.GroupOptions{
		ID: boot.GroupJoiner, Topics: []string{topic.PaymentLog.Name}, SessionTimeout: session, RebalanceTimeout: session,
	})
	running, stop := context.WithCancel(w.ctx)
	ended := make(chan error, 1)
	go func() { ended <- group.Run(running, joiner.Own) }()
	defer stop()
	if err := w.members(2); err != nil {
		return err
	}
	holding.Store(true)
	if err := w.pause(time.Second); err != nil { // until it hangs
		return err
	}
	// The first joiner leaves and comes back: the group moves on without the deaf one.
	if err := w.signal("joiner", syscall.SIGKILL); err != nil {
		return err
	}
	all := w.every()
	if err := w.recoverBeyond("all partitions", all, int64(topic.PaymentLog.Partitions)-1); err != nil {
		return err
	}
	if err := w.pause(5 * time.Second); err != nil {
		return err
	}
	stop()
	close(held)
	if err := <-ended; err != nil {
		return fmt.Errorf("the deaf member: %w", err)
	}
	close(late)
	n := 0
	for err := range late {
		if n++; !errors.Is(err, stage.ErrFenced) {
			w.found = append(w.found, invariant.Violation{Invariant: i3, Place: "deaf worker", What: fmt.Sprintf("its late commit came to: %v", err)})
		}
	}
	if n == 0 {
		return errors.New("the deaf worker had nothing to commit")
	}
	w.note("%d late commits of a worker that had lost its partition, all refused", n)
	return nil
}
