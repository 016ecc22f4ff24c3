package boot_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"settlewatch/pipelines/stage"
	"settlewatch/pipelines/statestore"
	"settlewatch/services/boot"
)

// actorEnv makes the test binary a service that behaves as its value says.
const actorEnv = "BOOT_TEST_ACTOR"

func TestMain(m *testing.M) {
	if behaviour := os.Getenv(actorEnv); behaviour != "" {
		os.Exit(boot.Main(boot.Service{
			Name: "actor", About: "An actor.", HTTPAddr: "127.0.0.1:0",
			Run: func(ctx context.Context, r *boot.Run) error { return act(ctx, r, behaviour) },
		}))
	}
	os.Exit(m.Run())
}

// act owns one partition of an endless log until the behaviour says otherwise.
func act(ctx context.Context, r *boot.Run, behaviour string) error {
	log := r.Watch(endless{})
	own := r.Own(func(ctx context.Context, a stage.Assignment) error {
		reader, err := log.Open(a.Topic, a.Partition)
		if err != nil {
			return err
		}
		switch behaviour {
		case "fails":
			return errors.New("it broke")
		case "refuses":
			return fmt.Errorf("fold: %w", stage.ErrLogChanged)
		}
		for offset := int64(0); ; offset++ {
			if _, err := reader.Fetch(ctx, offset, time.Second); err != nil {
				r.Log.Info("loop over", "error", err)
				return err
			}
			r.Log.Info("batch begun")
			switch behaviour {
			case "hangs":
				select {} // a worker that does not hear that it is over
			case "slow":
				<-ctx.Done()
				r.Log.Info("batch given up")
				return ctx.Err()
			}
			if err := a.Commit(ctx, offset); err != nil {
				return err
			}
		}
	})
	r.Health.Connected()
	if behaviour == "unsafe" {
		return fmt.Errorf("check Redis: %w", statestore.ErrUnsafe)
	}
	failed := own(ctx, stage.Assignment{Topic: "t", Commit: func(context.Context, int64) error { return nil }})
	if failed == nil {
		<-ctx.Done() // as a group does, which keeps a drained partition
	}
	return failed
}

// endless has one record at every offset; a fetch past the second waits for ever.
type endless struct{ stage.Log }

func (endless) Open(string, int32) (stage.Reader, error) { return endlessReader{}, nil }

type endlessReader struct{ stage.Reader }

func (endlessReader) Fetch(ctx context.Context, offset int64, _ time.Duration) (stage.Batch, error) {
	if offset > 1 {
		<-ctx.Done()
		return stage.Batch{}, ctx.Err()
	}
	return stage.Batch{Records: []stage.Record{{Offset: offset}}, Next: offset + 1, HighWatermark: 2}, nil
}

// actor is a running service whose log can be waited for.
type actor struct {
	t   *testing.T
	cmd *exec.Cmd

	mu    sync.Mutex
	lines []string
	more  chan struct{}
}

func startActor(t *testing.T, behaviour string, args ...string) *actor {
	t.Helper()
	a := &actor{t: t, cmd: exec.CommandContext(t.Context(), os.Args[0], args...), more: make(chan struct{}, 1000)}
	a.cmd.Env = append(os.Environ(), actorEnv+"="+behaviour)
	out, err := a.cmd.StderrPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := a.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go func() {
		defer close(a.more)
		for scan := bufio.NewScanner(out); scan.Scan(); {
			a.mu.Lock()
			a.lines = append(a.lines, scan.Text())
			a.mu.Unlock()
			a.more <- struct{}{}
		}
	}()
	t.Cleanup(func() { _ = a.cmd.Process.Kill() })
	return a
}

func (a *actor) text() string {
	a.mu.Lock()
	defer a.mu.Unlock()
	return strings.Join(a.lines, "\n")
}

// await waits until the log holds text.
func (a *actor) await(text string) {
	a.t.Helper()
	for !strings.Contains(a.text(), text) {
		if _, more := <-a.more; !more && !strings.Contains(a.text(), text) {
			a.t.Fatalf("it ended without saying %q:\n%s", text, a.text())
		}
	}
}

// addr is where it listens, as its log says.
func (a *actor) addr() string {
	_, rest, _ := strings.Cut(a.text(), "http_addr=")
	addr, _, _ := strings.Cut(rest, "\n")
	return addr
}

func (a *actor) get(path string) string {
	a.t.Helper()
	response, err := http.Get("http://" + a.addr() + path)
	if err != nil {
		a.t.Fatal(err)
	}
	body, err := io.ReadAll(response.Body)
	_ = response.Body.Close()
	if err != nil {
		a.t.Fatal(err)
	}
	return string(body)
}

func (a *actor) signal() {
	a.t.Helper()
	if err := a.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		a.t.Fatal(err)
	}
}

// end waits until it has ended with that status, having said all of want.
func (a *actor) end(status int, want ...string) {
	a.t.Helper()
	for range a.more { // the end of its output is what is waited for
	}
	err := a.cmd.Wait()
	if got := a.cmd.ProcessState.ExitCode(); got != status {
		a.t.Errorf("exit status %d (%v), want %d", got, err, status)
	}
	for _, w := range want {
		if !strings.Contains(a.text(), w) {
			a.t.Errorf("it does not say %q", w)
		}
	}
	if a.t.Failed() {
		a.t.Log(a.text())
	}
}

func TestSignalWhileItWaitsForInput(t *testing.T) {
	a := startActor(t, "waits")
	a.await("batch begun")
	a.signal()
	a.end(0, "nothing more is read", "all that was read is committed", "ended as asked")
}

func TestSignalWhileABatchTakesTooLong(t *testing.T) {
	a := startActor(t, "slow", "--shutdown-timeout", "1s")
	a.await("batch begun")
	a.signal()
	a.end(0, "some of what was read is not committed", "batch given up", "ended as asked")
}

func TestSignalToAWorkerThatHangs(t *testing.T) {
	a := startActor(t, "hangs", "--shutdown-timeout", "1s")
	a.await("batch begun")
	a.signal()
	a.end(1, "did not end in time")
}

func TestSecondSignalEndsAtOnce(t *testing.T) {
	a := startActor(t, "hangs", "--shutdown-timeout", "1h")
	a.await("batch begun")
	a.signal()
	a.await("asked to end")
	a.signal()
	a.end(1, "asked again")
}

func TestFailureIsStatus1(t *testing.T) {
	startActor(t, "fails").end(1, "it broke")
}

func TestUnsafeRedisIsStatus3(t *testing.T) {
	startActor(t, "unsafe").end(3, "redis may drop state")
}

// A refused partition ends nothing: it rests, and health, metric and log say why.
func TestRefusedPartitionRests(t *testing.T) {
	a := startActor(t, "refuses")
	a.await("reason=log_changed")
	for path, want := range map[string]string{
		"/healthz": `"state":"refused"`, "/readyz": "is refused (log_changed)", "/metrics": `settlewatch_refused_partitions{reason="log_changed",service="actor"} 1`,
	} {
		if body := a.get(path); !strings.Contains(body, want) {
			t.Errorf("%s: %s, want %s", path, body, want)
		}
	}
	a.signal()
	a.end(0, "ended as asked")
}

func TestWrongFlagsAreStatus2(t *testing.T) {
	startActor(t, "waits", "--log-levle", "x", "--stall-after", "1s").end(2, "--log-levle: no such flag; did you mean log-level?")
	startActor(t, "waits", "--http-addr", "127.0.0.1:0", "--traces", "nowhere").end(2, "traces (--traces)")
}

func TestListener(t *testing.T) {
	a := startActor(t, "waits")
	a.await("batch begun")
	for path, want := range map[string]string{
		"/healthz": `"ok":true`, "/readyz": `"topic":"t"`, "/metrics": "settlewatch_records_read_total", "/nothing": "404",
	} {
		if body := a.get(path); !strings.Contains(body, want) {
			t.Errorf("%s: %s, want %s", path, body, want)
		}
	}
	addr := a.addr()
	second := startActor(t, "waits", "--http-addr", addr)
	second.end(1, "another one is given by --http-addr", addr)
	a.signal()
	a.end(0)
}
