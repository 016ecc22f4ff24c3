package main

import (
	"bytes"
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/creack/pty"
)

// terminal is a program on a pseudo-terminal, and all that it has shown there.
type terminal struct {
	t    *testing.T
	cmd  *exec.Cmd
	keys *os.File

	mu    sync.Mutex
	shown bytes.Buffer
	more  chan struct{} // told of new output; closed at its end
	seen  int           // what see has found lies before
}

const (
	ctrlC = "\x03"
	// terminalPatience ends a program that does not do what is waited for.
	terminalPatience = 2 * time.Minute
)

// onTerminal starts a program on a terminal of 50 rows and 100 columns, which is its
// controlling one: a key such as Ctrl-C becomes a signal there.
func onTerminal(t *testing.T, cmd *exec.Cmd) *terminal {
	t.Helper()
	// Standard output is the terminal even where standard input is a pipe.
	attributes := &syscall.SysProcAttr{Setsid: true, Setctty: true, Ctty: 1}
	keys, err := pty.StartWithAttrs(cmd, &pty.Winsize{Rows: 50, Cols: 100}, attributes)
	if err != nil {
		t.Fatal(err)
	}
	x := &terminal{t: t, cmd: cmd, keys: keys, more: make(chan struct{}, 1)}
	var reading sync.WaitGroup
	reading.Go(func() {
		defer close(x.more)
		b := make([]byte, 4096)
		for {
			n, err := keys.Read(b)
			x.mu.Lock()
			x.shown.Write(b[:n])
			x.mu.Unlock()
			if err != nil {
				return // Linux says so when the program has ended
			}
			select {
			case x.more <- struct{}{}:
			default:
			}
		}
	})
	impatient := time.AfterFunc(terminalPatience, func() { _ = cmd.Process.Kill() })
	t.Cleanup(func() {
		impatient.Stop()
		_ = cmd.Process.Kill()
		reading.Wait()
		_ = keys.Close()
	})
	return x
}

func (x *terminal) screen() string {
	x.mu.Lock()
	defer x.mu.Unlock()
	return x.shown.String()
}

// see waits until the text is shown behind what was seen before.
func (x *terminal) see(text string) {
	x.t.Helper()
	for {
		all := x.screen()
		if at := strings.Index(all[x.seen:], text); at >= 0 {
			x.seen += at + len(text)
			return
		}
		if _, open := <-x.more; !open && x.screen() == all {
			x.t.Fatalf("%q ended without %q; it showed\n%q", x.cmd.Args, text, all)
		}
	}
}

func (x *terminal) press(keys string) {
	x.t.Helper()
	if _, err := x.keys.WriteString(keys); err != nil {
		x.t.Fatal(err)
	}
}

// end waits for the end: all that was shown, and the exit status.
func (x *terminal) end() (shown string, status int) {
	x.t.Helper()
	for range x.more { // until the program has let go of the terminal
	}
	var ended *exec.ExitError
	if err := x.cmd.Wait(); err != nil && !errors.As(err, &ended) {
		x.t.Fatal(err)
	}
	return x.screen(), x.cmd.ProcessState.ExitCode()
}

var (
	escapes = regexp.MustCompile(`\x1b\[[0-9;]*[A-Za-z]`)
	colours = regexp.MustCompile(`\x1b\[[0-9;]*m`)
)

// plain is what a person reads: without colours, and with the line ends of a file.
func plain(shown string) string {
	return strings.ReplaceAll(escapes.ReplaceAllString(shown, ""), "\r\n", "\n")
}

// documented is the block of docs/cli.md that follows a line which begins so.
func documented(t *testing.T, heading string) string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join("..", "..", "docs", "cli.md"))
	if err != nil {
		t.Fatal(err)
	}
	_, rest, found := strings.Cut(string(text), "\n"+heading)
	_, rest, open := strings.Cut(rest, "\n```text\n")
	block, _, closed := strings.Cut(rest, "```\n")
	if !found || !open || !closed {
		t.Fatalf("no block under %q in docs/cli.md", heading)
	}
	return block
}

type starter func(args ...string) *exec.Cmd

// applyOnTerminal: no, Enter and Ctrl-C change nothing, yes does; and the document
// shows what there is to see.
func applyOnTerminal(t *testing.T, command starter, file string) {
	const question = "Apply it? [y/N] "
	for _, c := range []struct {
		name, keys, says string
		status           int
	}{
		{"no", "n\n", "settlewatch: nothing was applied\n", exitFailed},
		{"Enter", "\n", "settlewatch: nothing was applied\n", exitFailed},
		{"Ctrl-C", ctrlC, "nothing was applied\nsettlewatch: stopped\n", exitFailed},
		{"yes", "y\n", "configuration 1: rules china-t2, 1 group\n", exitOK},
	} {
		x := onTerminal(t, command("apply", file))
		x.see(question)
		x.press(c.keys)
		shown, status := x.end()
		if status != c.status || !strings.HasSuffix(plain(shown), c.says) {
			t.Errorf("%s: status %d, want %d; it showed\n%s\nwant at the end\n%s", c.name, status, c.status, shown, c.says)
		}
		for _, want := range []string{"\x1b[32m+  ", "\x1b[31m-  "} {
			if !strings.Contains(shown, want) {
				t.Errorf("%s: no %q: the difference has no colours:\n%q", c.name, want, shown)
			}
		}
		if want := documented(t, "`settlewatch apply`"); c.name == "yes" && plain(shown) != want {
			t.Errorf("it shows\n%s\nand docs/cli.md\n%s", plain(shown), want)
		}
	}
}

// statusOnTerminal: --watch writes over what it wrote, without blank screens in
// between, until Ctrl-C.
func statusOnTerminal(t *testing.T, command starter) {
	for _, coloured := range []bool{true, false} {
		cmd := command("status", "--watch", "--every", "100ms", "--stale", "10m")
		if !coloured {
			cmd.Env = append(cmd.Env, "NO_COLOR=1")
		}
		x := onTerminal(t, cmd)
		for range 2 {
			x.see("\x1b[H")
			x.see("kafka      reachable\x1b[K\r\n")
			x.see("\x1b[J")
		}
		x.press(ctrlC)
		shown, status := x.end()
		if status != exitOK || strings.Contains(shown, "stopped") {
			t.Errorf("status %d at Ctrl-C, want %d:\n%q", status, exitOK, shown)
		}
		if strings.Contains(shown, "\x1b[2J") {
			t.Error("it blanks the screen: that flickers")
		}
		if colours.MatchString(shown) != coloured {
			t.Errorf("colours: %t, want %t\n%q", !coloured, coloured, shown)
		}
	}
}

func alertsOnTerminal(t *testing.T, command starter) {
	x := onTerminal(t, command("alerts", "--follow"))
	x.see("\x1b[31;1mOPEN     \x1b[0m r1 ")
	x.press(ctrlC)
	if shown, status := x.end(); status != exitOK || strings.Contains(shown, "stopped") {
		t.Errorf("status %d at Ctrl-C, want %d:\n%q", status, exitOK, shown)
	}
}

// TestReconcileShowsProgress: what takes long says how far it is, on one line that
// is gone at the end.
func TestReconcileShowsProgress(t *testing.T) {
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	from, to, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer from.Close()
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	cmd := exec.CommandContext(ctx, self, "reconcile", "--as-of", "2025-10-01T00:00:00Z", "-")
	cmd.Env, cmd.Stdin = append(os.Environ(), asTool+"=1"), from
	x := onTerminal(t, cmd)
	const line = `{"arrival":"2025-09-22T10:00:01+08:00","record":{"type":"authorization","event_id":"m1","acquirer":"acq","order_id":"O9","merchant_id":"M1","mode":"single","amount_minor":10000,"currency":"CNY","response_code":"00","business_time":"2025-09-22T10:00:00+08:00"}}`
	if _, err := to.WriteString(line + "\n"); err != nil {
		t.Fatal(err)
	}
	const erase = "\r\x1b[K"
	x.see(erase + "read 0.0 MB")
	if err := to.Close(); err != nil {
		t.Fatal(err)
	}
	shown, status := x.end()
	last := strings.LastIndex(shown, erase)
	if status != exitFindings || last < 0 || !strings.HasPrefix(shown[last+len(erase):], "\x1b[1mAlerts open") {
		t.Errorf("status %d, and the progress is not gone:\n%q", status, shown)
	}
}
