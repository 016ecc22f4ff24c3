package stack

import (
	"context"
	"errors"
	"time"

	"settlewatch/pipelines/servers"
	"settlewatch/pipelines/servers/process"
)

// running is a server or service that has been started.
type running interface {
	Pid() int
	Done() <-chan struct{}
	Err() error
	Stop() error
}

var (
	_ running = servers.Server(nil)
	_ running = serviceProcess{}
)

// serviceProcess is a service's process.
type serviceProcess struct{ *process.Process }

// Stop ends the service within serviceGrace.
func (p serviceProcess) Stop() error { return p.Process.Stop(serviceGrace) }

// keeper keeps one server or service running.
type keeper struct {
	name string
	emit func(Event)
	// start starts it once; the context's end aborts the start.
	start func(context.Context) (running, error)
	// said is the last line of its log.
	said func() string
}

// keepUp starts again what has ended, and returns when the context has ended and what
// runs has been stopped.
func (k *keeper) keepUp(ctx context.Context, now running) error {
	k.emit(Event{Name: k.name, Kind: Started, Pid: now.Pid()})
	var pause backoff
	for restarts := 1; ; restarts++ {
		since := time.Now()
		select {
		case <-ctx.Done():
			err := now.Stop()
			k.emit(Event{Name: k.name, Kind: Stopped, Pid: now.Pid(), Err: err})
			return err
		case <-now.Done():
		}
		delay := pause.next(time.Since(since))
		k.emit(Event{Name: k.name, Kind: Died, Pid: now.Pid(), Err: now.Err(), Said: k.said(), Delay: delay})
		if now = k.again(ctx, &pause, delay); now == nil {
			k.emit(Event{Name: k.name, Kind: Stopped})
			return nil
		}
		k.emit(Event{Name: k.name, Kind: Restarted, Pid: now.Pid(), Restarts: restarts})
	}
}

// again tries to start until that succeeds, or returns nil when the context has ended.
func (k *keeper) again(ctx context.Context, pause *backoff, delay time.Duration) running {
	for wait(ctx, delay) {
		next, err := k.start(ctx)
		if err == nil {
			return next
		}
		if ctx.Err() != nil {
			break
		}
		delay = pause.next(0)
		k.emit(Event{Name: k.name, Kind: Died, Err: err, Delay: delay})
	}
	return nil
}

// wait waits and says whether the context is still alive.
func wait(ctx context.Context, delay time.Duration) bool {
	timer := time.NewTimer(delay)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-timer.C:
		return true
	}
}

// keep starts a server again whenever it ends, until the stack stops. It comes back
// on the same addresses with the same data.
func (s *Stack) keep(name string, now running, start func(context.Context) (running, error)) {
	ctx, cancel := context.WithCancel(context.Background())
	k := &keeper{
		name: name, emit: s.emit, start: start,
		said: func() string { return lastLine(s.LogPath(name)) },
	}
	done := make(chan error, 1)
	go func() { done <- k.keepUp(ctx, now) }()
	s.onStop(func() error {
		cancel()
		return errors.Join(<-done, s.removeData(name))
	})
}
