package process_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"

	"settlewatch/pipelines/servers/process"
)

// shell starts a shell script whose output comes back line by line.
func shell(t *testing.T, script string, hold bool) (*process.Process, func() string) {
	t.Helper()
	reader, writer, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = reader.Close() })
	sh, err := exec.LookPath("sh")
	if err != nil {
		t.Fatal(err)
	}
	// An *os.File goes to the child itself: its end is the end of all that hold it.
	p, err := process.Start(process.Command{Path: sh, Args: []string{"-c", script}, Output: writer, HoldStdin: hold})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = p.Kill() })
	if err := writer.Close(); err != nil {
		t.Fatal(err)
	}
	return p, func() string {
		var line []byte
		for b := make([]byte, 1); ; {
			if _, err := reader.Read(b); err != nil || b[0] == '\n' {
				if errors.Is(err, io.EOF) {
					return "EOF"
				}
				return string(line)
			}
			line = append(line, b[0])
		}
	}
}

func TestStopAsksFirst(t *testing.T) {
	p, line := shell(t, `trap 'echo asked; exit 0' TERM; echo ready; while :; do sleep 0.01; done`, false)
	if got := line(); got != "ready" {
		t.Fatalf("got %q", got)
	}
	for range 2 {
		if err := p.Stop(time.Minute); err != nil {
			t.Fatal(err)
		}
	}
	if got := line(); got != "asked" || p.Err() != nil {
		t.Fatalf("got %q, %v", got, p.Err())
	}
}

func TestStopEndsStandardInput(t *testing.T) {
	p, line := shell(t, `echo ready; cat; echo ended`, true)
	if got := line(); got != "ready" {
		t.Fatalf("got %q", got)
	}
	if err := p.Stop(time.Minute); err != nil {
		t.Fatal(err)
	}
	if got := line(); got != "ended" || p.Err() != nil {
		t.Fatalf("got %q, %v", got, p.Err())
	}
}

func TestStopKillsTheDeaf(t *testing.T) {
	p, line := shell(t, `trap '' TERM; echo ready; while :; do sleep 0.01; done`, false)
	if got := line(); got != "ready" {
		t.Fatalf("got %q", got)
	}
	if err := p.Stop(time.Millisecond); err == nil {
		t.Fatal("a killed process was reported as stopped in good order")
	}
	// The pipe ends only when nobody of the group is left to hold it.
	if got := line(); got != "EOF" {
		t.Fatalf("got %q", got)
	}
}

func TestGrandchildrenEndWithTheLeader(t *testing.T) {
	p, line := shell(t, `sleep 1000 & echo ready; wait`, false)
	if got := line(); got != "ready" {
		t.Fatalf("got %q", got)
	}
	// Only the leader is killed: the rest is the package's to end.
	if err := syscall.Kill(p.Pid(), syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	if got := line(); got != "EOF" {
		t.Fatalf("got %q", got)
	}
	<-p.Done()
	var exit *exec.ExitError
	if !errors.As(p.Err(), &exit) || !strings.Contains(p.Err().Error(), "signal: killed") {
		t.Fatalf("got %v", p.Err())
	}
	if err := p.Kill(); err != nil {
		t.Fatal(err)
	}
}

func TestRunEndsWithItsContext(t *testing.T) {
	broken := errors.New("enough")
	ctx, cancel := context.WithCancelCause(t.Context())
	cancel(broken)
	if err := process.Run(ctx, process.Command{Path: "/bin/sh", Args: []string{"-c", "sleep 1000"}}); !errors.Is(err, broken) {
		t.Fatalf("got %v", err)
	}
}

func TestStartNamesWhatIsMissing(t *testing.T) {
	if _, err := process.Start(process.Command{Path: "/no/such/program", HoldStdin: true}); err == nil || !strings.Contains(err.Error(), "/no/such/program") {
		t.Fatalf("got %v", err)
	}
}

func TestTailKeepsTheEnd(t *testing.T) {
	var all bytes.Buffer
	tail := process.NewTail(&all)
	for range 10_000 {
		if n, err := tail.Write([]byte("line\n\n")); n != 6 || err != nil {
			t.Fatal(n, err)
		}
	}
	if _, err := tail.Write([]byte("last")); err != nil {
		t.Fatal(err)
	}
	if got := tail.Last(2); got != "line\nlast" {
		t.Errorf("got %q", got)
	}
	if all.Len() != 60_004 {
		t.Errorf("passed on %d bytes", all.Len())
	}
}
