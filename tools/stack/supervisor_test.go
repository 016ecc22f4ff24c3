package stack_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"settlewatch/pipelines/servers"
	"settlewatch/tools/stack"
)

const (
	// serviceEnv makes the test binary a service, frontEnv the front end that
	// supervises one. Both hold the path of the socket that the service listens on.
	serviceEnv = "STACK_TEST_SERVICE"
	frontEnv   = "STACK_TEST_FRONT"
)

func TestMain(m *testing.M) {
	servers.MaybeRunChild()
	if socket := os.Getenv(frontEnv); socket != "" {
		os.Exit(front(socket))
	}
	if socket := os.Getenv(serviceEnv); socket != "" {
		os.Exit(service(socket))
	}
	os.Exit(m.Run())
}

// service holds connections open while it lives, says "bye" at SIGTERM, and dies with
// status 3 when somebody writes to it.
func service(socket string) int {
	ctx, cancel := signal.NotifyContext(context.Background(), syscall.SIGTERM)
	defer cancel()
	_ = os.Remove(socket)
	// Who can connect may rely on this line being in the log.
	fmt.Println("ready")
	listener, err := net.Listen("unix", socket)
	if err != nil {
		fmt.Println(err)
		return 1
	}
	go func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			go func() {
				if _, err := conn.Read(make([]byte, 1)); err == nil {
					fmt.Println("asked to die")
					os.Exit(3)
				}
			}()
		}
	}()
	<-ctx.Done()
	fmt.Println("bye")
	return 0
}

// front supervises one service until a signal comes, as a front end does.
func front(socket string) int {
	ctx, cancel := signal.NotifyContext(context.Background(), os.Interrupt)
	defer cancel()
	dir := filepath.Dir(socket)
	s, err := stack.Supervise(ctx, dir, []stack.Service{testService("only", socket)}, nil)
	if err != nil {
		fmt.Println(err)
		return 1
	}
	fmt.Println("supervising")
	<-s.Done()
	if err := s.Stop(); err != nil {
		fmt.Println(err)
		return 1
	}
	return 0
}

// testService is the test binary as a service. The front end's own mark must not
// reach it.
func testService(name, socket string) stack.Service {
	return stack.Service{Name: name, Path: os.Args[0], Env: []string{serviceEnv + "=" + socket, frontEnv + "="}}
}

// shortDir is a folder for sockets: a socket's path is limited to about 100 bytes.
func shortDir(t *testing.T) string {
	t.Helper()
	//nolint:usetesting // t.TempDir holds the test's name, which makes it too long.
	dir, err := os.MkdirTemp("", "sw")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	return dir
}

// connect returns a connection that ends when the service does. It tries until the
// service listens.
func connect(t *testing.T, socket string) net.Conn {
	t.Helper()
	for t.Context().Err() == nil {
		if conn, err := net.Dial("unix", socket); err == nil {
			t.Cleanup(func() { _ = conn.Close() })
			return conn
		}
	}
	t.Fatal("the service does not listen")
	return nil
}

// requireEnd waits until the service at the other end has ended.
func requireEnd(t *testing.T, conn net.Conn) {
	t.Helper()
	if _, err := conn.Read(make([]byte, 1)); !errors.Is(err, io.EOF) && !errors.Is(err, syscall.ECONNRESET) {
		t.Fatalf("got %v instead of the end", err)
	}
}

// recorder keeps the events of each service apart.
type recorder map[string]chan stack.Event

func record(names ...string) recorder {
	r := recorder{}
	for _, name := range names {
		r[name] = make(chan stack.Event, 100)
	}
	return r
}

func (r recorder) event(e stack.Event) {
	if events := r[e.Name]; events != nil {
		events <- e
	}
}

// next returns the next event of one service, which must be of the kind.
func (r recorder) next(t *testing.T, name string, kind stack.Kind) stack.Event {
	t.Helper()
	e := <-r[name]
	if e.Kind != kind {
		t.Fatalf("got event %q, want kind %d", e, kind)
	}
	return e
}

func requireGone(t *testing.T, pid int) {
	t.Helper()
	if err := syscall.Kill(-pid, 0); !errors.Is(err, syscall.ESRCH) {
		t.Fatalf("processes of group %d are left (%v)", pid, err)
	}
}

func read(t *testing.T, path string) string {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

func TestServicesAreStartedAgain(t *testing.T) {
	dir := shortDir(t)
	events := record("a")
	a, b := filepath.Join(dir, "a.sock"), filepath.Join(dir, "b.sock")
	s, err := stack.Supervise(t.Context(), dir, []stack.Service{testService("a", a), testService("b", b)},
		events.event)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Stop() })
	bystander := s.Pid("b")

	// kill -9.
	conn := connect(t, a)
	first := events.next(t, "a", stack.Started).Pid
	if err := syscall.Kill(first, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	requireEnd(t, conn)
	died := events.next(t, "a", stack.Died)
	if died.Pid != first || !strings.Contains(died.String(), "a died (signal: killed): ready; starting it again in ") {
		t.Errorf("got %q of %d", died, died.Pid)
	}
	again := events.next(t, "a", stack.Restarted)
	if again.Restarts != 1 || again.Pid == first || again.Pid != s.Pid("a") {
		t.Errorf("got %+v, pid now %d", again, s.Pid("a"))
	}

	// An end of its own: its status and last words are told, and the pause grows.
	conn = connect(t, a)
	if _, err := conn.Write([]byte("x")); err != nil {
		t.Fatal(err)
	}
	second := events.next(t, "a", stack.Died)
	if !strings.Contains(second.String(), "a died (exit status 3): asked to die;") || second.Delay <= died.Delay {
		t.Errorf("got %q after a pause of %s", second, died.Delay)
	}
	last := events.next(t, "a", stack.Restarted)
	connect(t, a)

	if s.Pid("b") != bystander {
		t.Error("b was started again too")
	}
	connect(t, b)
	for range 2 {
		if err := s.Stop(); err != nil {
			t.Fatal(err)
		}
	}
	<-s.Done()
	for _, pid := range []int{last.Pid, bystander} {
		requireGone(t, pid)
	}
	events.next(t, "a", stack.Stopped)
	if got := read(t, filepath.Join(dir, "logs", "b.log")); got != "ready\nbye\n" {
		t.Errorf("b's log is %q", got)
	}
	if got := read(t, filepath.Join(dir, "logs", "a.log")); got != "ready\nready\nasked to die\nready\nbye\n" {
		t.Errorf("a's log is %q", got)
	}
	if s.Pid("a") != 0 || s.Resume("a") == nil {
		t.Error("a lives on after Stop")
	}
}

func TestHaltAndResume(t *testing.T) {
	dir := shortDir(t)
	socket := filepath.Join(dir, "a.sock")
	s, err := stack.Supervise(t.Context(), dir, []stack.Service{testService("a", socket)}, nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Stop() })
	connect(t, socket)
	pid := s.Pid("a")
	for range 2 {
		if err := s.Halt("a"); err != nil {
			t.Fatal(err)
		}
		requireGone(t, pid)
	}
	for range 2 {
		if err := s.Resume("a"); err != nil {
			t.Fatal(err)
		}
	}
	connect(t, socket)
	if s.Pid("a") == 0 || s.Halt("b") == nil || s.Resume("b") == nil {
		t.Error("a does not run, or b does")
	}
}

func TestOneMissingServiceStopsAll(t *testing.T) {
	dir := shortDir(t)
	var started, stopped int
	count := func(e stack.Event) {
		switch e.Kind {
		case stack.Started:
			started++
		case stack.Stopped:
			stopped++
		case stack.Died, stack.Restarted:
			t.Errorf("got event %q", e)
		}
	}
	_, err := stack.Supervise(t.Context(), dir, []stack.Service{
		testService("a", filepath.Join(dir, "a.sock")), {Name: "b", Path: filepath.Join(dir, "missing")},
	}, count)
	if err == nil || !strings.Contains(err.Error(), "supervise b: start "+filepath.Join(dir, "missing")) {
		t.Fatalf("got %v", err)
	}
	if started != 1 || stopped != 1 {
		t.Errorf("%d started, %d stopped", started, stopped)
	}
}

// TestFrontEndEnds ends a front end as a terminal does, by Ctrl-C to its group, and as
// kill -9 does.
func TestFrontEndEnds(t *testing.T) {
	for _, way := range []syscall.Signal{syscall.SIGINT, syscall.SIGKILL} {
		t.Run(way.String(), func(t *testing.T) {
			dir := shortDir(t)
			socket := filepath.Join(dir, "a.sock")
			cmd := exec.CommandContext(t.Context(), os.Args[0])
			cmd.Env = append(os.Environ(), frontEnv+"="+socket)
			cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
			out, err := cmd.StdoutPipe()
			if err != nil {
				t.Fatal(err)
			}
			if err := cmd.Start(); err != nil {
				t.Fatal(err)
			}
			if line, err := bufio.NewReader(out).ReadString('\n'); line != "supervising\n" {
				t.Fatalf("got %q, %v", line, err)
			}
			conn := connect(t, socket)
			if err := syscall.Kill(-cmd.Process.Pid, way); err != nil {
				t.Fatal(err)
			}
			requireEnd(t, conn)
			err = cmd.Wait()
			if way == syscall.SIGINT && err != nil {
				t.Errorf("the front end ended with %v", err)
			}
			want := map[syscall.Signal]string{syscall.SIGINT: "ready\nbye\n", syscall.SIGKILL: "ready\n"}[way]
			if got := read(t, filepath.Join(dir, "logs", "only.log")); got != want {
				t.Errorf("the log is %q, want %q", got, want)
			}
		})
	}
}
