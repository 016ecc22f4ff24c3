// Package process starts child processes that cannot outlive their starter.
//
// A command enters; a running Process leaves. Guaranteed: each child leads a
// process group of its own, so a Ctrl-C at the terminal does not reach it before
// its starter has decided in which order things end; when the child has ended,
// whatever else is left in its group is killed; on Linux the kernel kills the
// child when the starter dies, however it dies. On other systems a starter that
// is killed with SIGKILL leaves the child behind, unless the child ends by itself
// when its standard input closes.
package process

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"runtime"
	"sync"
	"syscall"
	"time"
)

// Command says what to run.
type Command struct {
	// Path of the executable and its arguments, without argv[0].
	Path string
	Args []string
	// Env is the whole environment, "NAME=value". Nil inherits the starter's.
	Env []string
	// Dir is the working directory. Empty is the starter's.
	Dir string
	// Output receives standard output and standard error. Nil discards them. It is
	// written from one goroutine at a time.
	Output io.Writer
	// Inherit are files that the child gets as descriptors 3, 4, …; the starter
	// may close its own copies once Start has returned.
	Inherit []*os.File
	// HoldStdin connects the child's standard input to a pipe that stays open as
	// long as the starter lives or until Stop: for children that end at its end.
	// Such a child is not killed by the kernel when the starter dies.
	HoldStdin bool
}

// outputDelay bounds the wait for output after a child has ended: a grandchild
// may hold the pipe open.
const outputDelay = 2 * time.Second

// Process is a child that was started.
type Process struct {
	pid   int
	stdin io.Closer

	done chan struct{}
	err  error

	stop sync.Once
}

// Start starts the command. The process lives until it ends by itself or is
// stopped; there is no context because a cancelled one must not skip an orderly
// Stop.
func Start(command Command) (*Process, error) {
	//nolint:noctx // Stop and Kill end the child; see above.
	cmd := exec.Command(command.Path, command.Args...)
	cmd.Env, cmd.Dir = command.Env, command.Dir
	cmd.Stdout, cmd.Stderr = command.Output, command.Output
	cmd.ExtraFiles = command.Inherit
	cmd.WaitDelay = outputDelay
	cmd.SysProcAttr = attributes(!command.HoldStdin)

	p := &Process{done: make(chan struct{})}
	if command.HoldStdin {
		pipe, err := cmd.StdinPipe()
		if err != nil {
			return nil, fmt.Errorf("open standard input for %s: %w", command.Path, err)
		}
		p.stdin = pipe
	}

	started := make(chan error, 1)
	go func() {
		// The kernel's parent-death signal follows the thread that forked, not the
		// process. The thread therefore stays with this goroutine until the child has
		// ended.
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		if err := cmd.Start(); err != nil {
			started <- err
			return
		}
		p.pid = cmd.Process.Pid
		started <- nil
		p.err = cmd.Wait()
		// What is left in the group has lost its leader: nobody would end it later.
		_ = syscall.Kill(-p.pid, syscall.SIGKILL)
		close(p.done)
	}()
	if err := <-started; err != nil {
		if p.stdin != nil {
			_ = p.stdin.Close()
		}
		return nil, fmt.Errorf("start %s: %w", command.Path, err)
	}
	return p, nil
}

// Pid is the process id, which is also the id of its group.
func (p *Process) Pid() int { return p.pid }

// Done is closed when the process has ended and was reaped.
func (p *Process) Done() <-chan struct{} { return p.done }

// Err says how the process ended: nil for exit status 0. It is valid once Done
// is closed.
func (p *Process) Err() error {
	select {
	case <-p.done:
		return p.err
	default:
		return nil
	}
}

// Stop asks the process to end (by the end of its standard input if that is held,
// else by SIGTERM to the process itself), waits up to grace, then kills its group.
// It returns when the process has ended; only a process that had to be killed is
// an error. It may be called repeatedly and at the same time by several.
func (p *Process) Stop(grace time.Duration) error {
	var err error
	p.stop.Do(func() {
		select {
		case <-p.done:
			return
		default:
		}
		if p.stdin != nil {
			_ = p.stdin.Close()
		} else {
			_ = syscall.Kill(p.pid, syscall.SIGTERM)
		}
		timer := time.NewTimer(grace)
		defer timer.Stop()
		select {
		case <-p.done:
		case <-timer.C:
			err = fmt.Errorf("stop process %d: still running after %s, killed", p.pid, grace)
			_ = syscall.Kill(-p.pid, syscall.SIGKILL)
		}
	})
	<-p.done
	return err
}

// Kill sends SIGKILL to the whole group and returns when the process has ended.
func (p *Process) Kill() error {
	select {
	case <-p.done:
		return nil
	default:
	}
	err := syscall.Kill(-p.pid, syscall.SIGKILL)
	if err != nil && !errors.Is(err, syscall.ESRCH) {
		return fmt.Errorf("kill process group %d: %w", p.pid, err)
	}
	<-p.done
	return nil
}

// Run starts a command and waits for its end. When the context ends first, the
// group is killed and the context's cause is returned.
func Run(ctx context.Context, command Command) error {
	p, err := Start(command)
	if err != nil {
		return err
	}
	select {
	case <-p.Done():
		return p.Err()
	case <-ctx.Done():
		_ = p.Kill()
		return context.Cause(ctx)
	}
}
