// Package servers starts the servers that Settlewatch needs (a Kafka broker, Redis,
// ClickHouse) on this machine, without containers and without root, for the local
// stack and for tests.
//
// A folder and options enter; a running server on a loopback address leaves.
// Guaranteed: Start returns when the server answers, or with an error that says
// what is missing and how it ended; two servers never share a folder; what was
// acknowledged survives Kill and a new start in the same folder (except for the
// in-process servers, which keep nothing); no process outlives Stop or the
// starter's own death (process says where that holds).
//
// A program that starts ClickHouse calls MaybeRunChild first of all.
package servers

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"os"
	"strconv"
	"sync"
	"time"

	"settlewatch/pipelines/servers/process"
)

// Options are common to all servers.
type Options struct {
	// Dir is the server's own folder; it is made if missing. Data from an earlier
	// start there is used again.
	Dir string
	// Fresh removes what an earlier start has left in Dir.
	Fresh bool
	// Log receives the server's output. Nil discards it.
	Log io.Writer
	// Progress is called while something is fetched: what, and how many bytes of how
	// many. It may be called often. Nil is silent.
	Progress func(what string, done, total int64)
}

// Server is what all servers have in common.
type Server interface {
	// Addr is "127.0.0.1:port", the address that clients use.
	Addr() string
	// Pid is the server's process id, 0 where it runs inside this process.
	Pid() int
	// Done is closed when the server has ended, for whatever reason, and Err then
	// says how: nil for exit status 0 and for the in-process servers.
	Done() <-chan struct{}
	Err() error
	// Stop ends the server in good order, within a bound, else by force, and returns
	// when it has ended. Repeating it does nothing.
	Stop() error
	// Kill ends the server as kill -9 does and returns when it has ended.
	Kill() error
}

const (
	loopback = "127.0.0.1"
	// readyPoll is the pause between two questions whether a server is up.
	readyPoll = 25 * time.Millisecond
	// readyMax bounds a start: a cold JVM or a long AOF on a busy machine, not a hang.
	readyMax = 2 * time.Minute
	// errorLines of a server's output go into an error.
	errorLines = 12
)

// child is a server in a process of its own.
type child struct {
	*process.Process
	addr  string
	grace time.Duration
}

func (c *child) Addr() string { return c.addr }
func (c *child) Stop() error  { return c.Process.Stop(c.grace) }

// launch starts a command that holds the folder's lock until its last process has
// ended, and waits until ready answers nil.
func launch(ctx context.Context, name string, f *folder, command process.Command, log io.Writer, ready func(context.Context) error) (*process.Process, error) {
	tail := process.NewTail(log)
	command.Output = tail
	command.Dir = f.dir
	// The lock goes first, so that it is descriptor 3 in every child.
	command.Inherit = append([]*os.File{f.lock}, command.Inherit...)
	p, err := process.Start(command)
	if err != nil {
		return nil, fmt.Errorf("start %s: %w", name, err)
	}
	if err := waitReady(ctx, p, tail, ready); err != nil {
		_ = p.Kill()
		return nil, fmt.Errorf("start %s: %w", name, err)
	}
	return p, nil
}

// waitReady polls until ready answers nil, the process ends or time is up.
func waitReady(ctx context.Context, p *process.Process, tail *process.Tail, ready func(context.Context) error) error {
	ctx, cancel := context.WithTimeoutCause(ctx, readyMax, fmt.Errorf("not ready after %s", readyMax))
	defer cancel()
	tick := time.NewTicker(readyPoll)
	defer tick.Stop()
	for {
		err := ready(ctx)
		if err == nil {
			return nil
		}
		select {
		case <-p.Done():
			return fmt.Errorf("%w before it was ready; it said last:\n%s", endOf(p), tail.Last(errorLines))
		case <-ctx.Done():
			return fmt.Errorf("%w (%w); it said last:\n%s", context.Cause(ctx), err, tail.Last(errorLines))
		case <-tick.C:
		}
	}
}

// errEnded is a server that ended with exit status 0 though nobody had asked it to.
var errEnded = errors.New("exit status 0")

// endOf says how a process that has ended did so; it is never nil.
func endOf(p *process.Process) error {
	if err := p.Err(); err != nil {
		return err
	}
	return errEnded
}

const (
	// Ports are taken below the range from which the kernel takes the ports of
	// outgoing connections (32768 on Linux), so that a server that was killed finds
	// its port free when it starts again. Redis Cluster adds 10,000 for its bus.
	portMin, portMax = 12000, 22000
	portTries        = 200
)

// portsGiven are those that FreePort has returned: a server that was given one may
// not listen yet.
var portsGiven sync.Map

// FreePort returns a port on which nothing listens, nor 10,000 above it. It returns
// no port twice.
func FreePort() (int, error) {
	for range portTries {
		port := portMin + rand.IntN(portMax-portMin)
		if !portFree(port) || !portFree(port+10000) {
			continue
		}
		if _, given := portsGiven.LoadOrStore(port, true); !given {
			return port, nil
		}
	}
	return 0, fmt.Errorf("find a free port between %d and %d: none in %d tries", portMin, portMax, portTries)
}

func portFree(port int) bool {
	//nolint:noctx // Listening on loopback does not block.
	l, err := net.Listen("tcp", address(port))
	if err != nil {
		return false
	}
	return l.Close() == nil
}

// choosePort returns the wished port, or a free one for 0.
func choosePort(wish int) (int, error) {
	if wish != 0 {
		return wish, nil
	}
	return FreePort()
}

func address(port int) string { return net.JoinHostPort(loopback, strconv.Itoa(port)) }

// dial says whether something accepts connections at the address.
func dial(ctx context.Context, addr string) error {
	conn, err := (&net.Dialer{Timeout: time.Second}).DialContext(ctx, "tcp", addr)
	if err != nil {
		return err
	}
	return conn.Close()
}
