package stack

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"settlewatch/pipelines/servers/process"
)

// Service is one process to keep running.
type Service struct {
	// Name is unique; the log is named after it.
	Name string
	// Path of the executable, and its arguments.
	Path string
	Args []string
	// Env is added to this process's environment, "NAME=value".
	Env []string
}

// serviceGrace is what a service has for ending after SIGTERM: the batch at hand, and
// leaving its consumer group.
const serviceGrace = 15 * time.Second

// Supervisor keeps services running. Its methods may be called at the same time by
// several.
type Supervisor struct {
	dir  string
	emit func(Event)

	slots   map[string]*slot
	done    chan struct{}
	once    sync.Once
	errStop error
}

// Supervise starts the services, each in a process group of its own with its output
// appended to a log of its own, and starts again what dies. When the context ends,
// all are stopped. An error means that a service could not be started at all, and that
// none is left.
func (s *Stack) Supervise(ctx context.Context, services []Service) (*Supervisor, error) {
	supervisor, err := Supervise(ctx, s.options.Dir, services, s.emit)
	if err != nil {
		return nil, err
	}
	s.mu.Lock()
	stopped := s.stopped
	s.supervisors = append(s.supervisors, supervisor)
	s.mu.Unlock()
	if stopped { // Nobody would stop them any more.
		return nil, errors.Join(errors.New("supervise: the stack was stopped"), supervisor.Stop())
	}
	return supervisor, nil
}

// Supervise is the method of the same name for services on servers elsewhere: logs go
// to dir/logs, events to the callback, which may be nil.
func Supervise(ctx context.Context, dir string, services []Service, events func(Event)) (*Supervisor, error) {
	s := &Supervisor{dir: dir, emit: serial(events), slots: map[string]*slot{}, done: make(chan struct{})}
	for _, service := range services {
		if s.slots[service.Name] != nil {
			_ = s.Stop()
			return nil, fmt.Errorf("supervise %s: the name is taken", service.Name)
		}
		slot := newSlot(dir, service, s.emit)
		if err := slot.start(); err != nil {
			_ = s.Stop()
			return nil, fmt.Errorf("supervise %s: %w", service.Name, err)
		}
		s.slots[service.Name] = slot
	}
	go func() {
		select {
		case <-ctx.Done():
			_ = s.Stop()
		case <-s.done:
		}
	}()
	return s, nil
}

// Stop ends all services at the same time: SIGTERM, a bound, then SIGKILL. It returns
// when none is left. Repeating it returns the same error.
func (s *Supervisor) Stop() error {
	s.once.Do(func() {
		var all sync.WaitGroup
		var mu sync.Mutex
		var errs []error
		for _, slot := range s.slots {
			all.Go(func() {
				err := slot.stop(true)
				mu.Lock()
				defer mu.Unlock()
				errs = append(errs, err)
			})
		}
		all.Wait()
		s.errStop = errors.Join(errs...)
		close(s.done)
	})
	<-s.done
	return s.errStop
}

// Done is closed when Stop has ended all services.
func (s *Supervisor) Done() <-chan struct{} { return s.done }

// errUnknown is a name that was not given to Supervise.
var errUnknown = errors.New("no such service")

// Pid returns the service's process id, 0 while it has none.
func (s *Supervisor) Pid(name string) int {
	if slot := s.slots[name]; slot != nil {
		return int(slot.pid.Load())
	}
	return 0
}

// Halt stops one service and leaves it stopped.
func (s *Supervisor) Halt(name string) error {
	slot := s.slots[name]
	if slot == nil {
		return fmt.Errorf("halt %s: %w", name, errUnknown)
	}
	return slot.stop(false)
}

// Resume starts a service that was halted. One that runs is left alone.
func (s *Supervisor) Resume(name string) error {
	slot := s.slots[name]
	if slot == nil {
		return fmt.Errorf("resume %s: %w", name, errUnknown)
	}
	if err := slot.start(); err != nil {
		return fmt.Errorf("resume %s: %w", name, err)
	}
	return nil
}

// slot is one service, running or halted.
type slot struct {
	service Service
	dir     string
	keeper  *keeper

	// turn holds back start while stop is at work, and the other way round.
	turn   sync.Mutex
	closed bool
	cancel context.CancelFunc
	ended  chan error

	pid atomic.Int64
}

func newSlot(dir string, service Service, emit func(Event)) *slot {
	s := &slot{service: service, dir: dir}
	s.keeper = &keeper{
		name: service.Name, emit: s.watched(emit), start: s.launch,
		said: func() string { return lastLine(logPath(dir, service.Name)) },
	}
	return s
}

// watched notes the process id before it passes an event on, so that who sees the
// event sees the id too.
func (s *slot) watched(emit func(Event)) func(Event) {
	return func(e Event) {
		switch e.Kind {
		case Started, Restarted:
			s.pid.Store(int64(e.Pid))
		case Died, Stopped:
			s.pid.Store(0)
		}
		emit(e)
	}
}

// start makes the first start, whose failure is the caller's, and keeps the service
// running from then on.
func (s *slot) start() error {
	s.turn.Lock()
	defer s.turn.Unlock()
	if s.closed {
		return errors.New("all services were stopped")
	}
	if s.cancel != nil {
		return nil
	}
	now, err := s.launch(context.Background())
	if err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(context.Background())
	s.cancel, s.ended = cancel, make(chan error, 1)
	s.pid.Store(int64(now.Pid()))
	go func() { s.ended <- s.keeper.keepUp(ctx, now) }()
	return nil
}

// stop returns when the service has ended and will not be started again, unless by
// start; final rules that out too.
func (s *slot) stop(final bool) error {
	s.turn.Lock()
	defer s.turn.Unlock()
	s.closed = s.closed || final
	if s.cancel == nil {
		return nil
	}
	s.cancel()
	s.cancel = nil
	return <-s.ended
}

// launch starts the process once, with its output appended to its log.
func (s *slot) launch(context.Context) (running, error) {
	log, err := openLog(s.dir, s.service.Name)
	if err != nil {
		return nil, err
	}
	// The child has a descriptor of its own for the log.
	defer func() { _ = log.Close() }()
	p, err := process.Start(process.Command{
		Path: s.service.Path, Args: s.service.Args,
		Env: append(os.Environ(), s.service.Env...), Output: log,
	})
	if err != nil {
		return nil, err
	}
	return serviceProcess{p}, nil
}

// lastLineBytesMax bounds how much of a log is read for its last line.
const lastLineBytesMax = 4 << 10

// lastLine returns a log's last line that is not blank, or nothing.
func lastLine(path string) string {
	f, err := os.Open(path)
	if err != nil {
		return ""
	}
	defer func() { _ = f.Close() }()
	if info, err := f.Stat(); err == nil && info.Size() > lastLineBytesMax {
		if _, err := f.Seek(-lastLineBytesMax, io.SeekEnd); err != nil {
			return ""
		}
	}
	text, err := io.ReadAll(io.LimitReader(f, lastLineBytesMax))
	if err != nil {
		return ""
	}
	text = bytes.TrimSpace(text)
	return string(bytes.TrimSpace(text[bytes.LastIndexByte(text, '\n')+1:]))
}
