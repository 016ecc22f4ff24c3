package e2e_test

import (
	"bufio"
	"bytes"
	"encoding/base64"
	"errors"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"

	"settlewatch/pipelines/servers"
	"settlewatch/pipelines/servers/serverstest"
	"settlewatch/tools/demo"
)

// program is a binary that runs with its output kept.
type program struct {
	t     *testing.T
	cmd   *exec.Cmd
	lines chan string // of standard error; closed at its end
	// stdout and stderr are for after the end.
	stdout, stderr bytes.Buffer
}

// run starts a binary as the leader of a process group, as a shell does.
func run(t *testing.T, name string, env []string, args ...string) *program {
	t.Helper()
	p := &program{t: t, cmd: exec.CommandContext(patient(t), binary(t, name), args...), lines: make(chan string, 1<<16)}
	p.cmd.Env = append(bare(), env...)
	p.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	p.cmd.Stdout = &p.stdout
	out, err := p.cmd.StderrPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := p.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	var reading sync.WaitGroup
	reading.Go(func() {
		defer close(p.lines)
		for scanner := bufio.NewScanner(out); scanner.Scan(); {
			p.stderr.WriteString(scanner.Text() + "\n")
			select {
			case p.lines <- scanner.Text():
			default: // nobody looks for a line any more
			}
		}
	})
	t.Cleanup(func() {
		_ = p.cmd.Process.Kill()
		reading.Wait()
	})
	return p
}

// bare is this environment without settings of the product.
func bare() []string {
	var out []string
	for _, v := range os.Environ() {
		if !strings.HasPrefix(v, "SETTLEWATCH_") || strings.HasPrefix(v, servers.CacheEnv+"=") {
			out = append(out, v)
		}
	}
	return out
}

// see waits for a line of standard error with all of the texts, and says how many
// lines it took.
func (p *program) see(texts ...string) (line string, n int) {
	p.t.Helper()
	for line := range p.lines {
		n++
		if containsAll(line, texts) {
			return line, n
		}
	}
	p.t.Fatalf("%s ended without a line about %q; it said:\n%s", p.cmd.Path, texts, p.stderr.String())
	return "", 0
}

func containsAll(line string, texts []string) bool {
	for _, text := range texts {
		if !strings.Contains(line, text) {
			return false
		}
	}
	return true
}

// end waits for the end and returns the exit status, -1 for a signal. No program
// ever ends with a stack trace.
func (p *program) end() int {
	p.t.Helper()
	for range p.lines { // Wait may only be called when all is read.
	}
	err := p.cmd.Wait()
	var ended *exec.ExitError
	if err != nil && !errors.As(err, &ended) {
		p.t.Fatal(err)
	}
	for _, trace := range []string{"goroutine ", "panic:", "fatal error:"} {
		if strings.Contains(p.stderr.String()+p.stdout.String(), trace) {
			p.t.Errorf("%s ended with a stack trace:\n%s", p.cmd.Path, p.stderr.String())
		}
	}
	return p.cmd.ProcessState.ExitCode()
}

// nowhere is an address on which nothing listens.
func nowhere(t *testing.T) string {
	t.Helper()
	port, err := servers.FreePort()
	if err != nil {
		t.Fatal(err)
	}
	return net.JoinHostPort("127.0.0.1", strconv.Itoa(port))
}

var cardKey = []string{
	"SETTLEWATCH_CARD_KEY_ID=e2e",
	"SETTLEWATCH_CARD_KEY=" + base64.StdEncoding.EncodeToString([]byte("no secret: invented cards only")),
}

// linesUntilSaid is how soon a service must have said what is wrong: its start, the
// servers that it has found before, and the first attempt.
const linesUntilSaid = 4

// TestBadAddresses: a server that is not there is named, with what to check, at the
// first attempt; the service goes on trying and ends in good order when asked.
func TestBadAddresses(t *testing.T) {
	broker := serverstest.Broker(t)
	type wrong struct{ service, server, variable, value string }
	absent := nowhere(t)
	var cases []wrong
	for _, service := range demo.Services {
		cases = append(cases, wrong{service, "Kafka", "SETTLEWATCH_KAFKA_BROKERS", absent})
	}
	cases = append(cases,
		wrong{"joiner", "Redis", "SETTLEWATCH_REDIS_ADDRS", absent},
		wrong{"warehouse", "ClickHouse", "SETTLEWATCH_CLICKHOUSE_DSN", "clickhouse://" + absent + "/default"})
	for _, c := range cases {
		t.Run(c.service+" without "+c.server, func(t *testing.T) {
			env := append([]string{"SETTLEWATCH_KAFKA_BROKERS=" + broker, c.variable + "=" + c.value}, cardKey...)
			p := run(t, c.service, env)
			line, n := p.see(c.server, absent, "check")
			t.Logf("line %d: %s", n, line)
			if n > linesUntilSaid {
				t.Errorf("said only in line %d:\n%s", n, p.stderr.String())
			}
			// Twice: it tries again instead of giving up.
			p.see(c.server, absent)
			if err := p.cmd.Process.Signal(syscall.SIGTERM); err != nil {
				t.Fatal(err)
			}
			if status := p.end(); status != 0 {
				t.Errorf("exit status %d when asked to end, want 0:\n%s", status, p.stderr.String())
			}
		})
	}
	t.Run("demo without servers", func(t *testing.T) {
		folder := t.TempDir()
		p := run(t, "settlewatch", []string{"TMPDIR=" + folder}, "demo", "--once", "--kafka-brokers", absent, "--redis-addrs", absent,
			"--clickhouse-dsn", "clickhouse://"+absent+"/default")
		p.see(absent, "check")
		if status := p.end(); status != 2 {
			t.Errorf("exit status %d, want 2:\n%s", status, p.stderr.String())
		}
		if left, err := os.ReadDir(folder); err != nil || len(left) > 0 {
			t.Errorf("left behind: %v, %v", left, err)
		}
	})
}

// TestWrongSettings: what starting again does not help ends with status 2 and one
// line that names the setting.
func TestWrongSettings(t *testing.T) {
	missing := filepath.Join(t.TempDir(), "missing.yaml")
	for _, c := range []struct {
		name, program string
		env, args     []string
		want          string
	}{
		{"no card key", "authorization", nil, nil, "card-key"},
		{"a card key that is no base64", "capture", []string{cardKey[0], "SETTLEWATCH_CARD_KEY=***"}, nil, "card-key"},
		{"a broker without a port", "settlement", cardKey, []string{"--kafka-brokers", "localhost"}, "kafka-brokers"},
		{"a Redis without a port", "joiner", []string{"SETTLEWATCH_REDIS_ADDRS=localhost"}, nil, "redis-addrs"},
		{"an unknown flag", "joiner", nil, []string{"--nonsense"}, "--nonsense"},
		{"an argument too many", "joiner", nil, []string{"extra"}, "extra"},
		{"an unknown log level", "warehouse", nil, []string{"--log-level", "loud"}, "log-level"},
		{"a file that is not there", "warehouse", nil, []string{"--config", missing}, missing},
		{"one server of three", "settlewatch", nil, []string{"demo", "--kafka-brokers", "127.0.0.1:1"}, "--redis-addrs"},
		{"no days", "settlewatch", nil, []string{"demo", "--days", "-1"}, "days"},
		{"an unknown command", "settlewatch", nil, []string{"nonsense"}, "nonsense"},
	} {
		t.Run(c.name, func(t *testing.T) {
			temporary := t.TempDir()
			p := run(t, c.program, append(c.env, "TMPDIR="+temporary), c.args...)
			p.see(c.want)
			if status := p.end(); status != 2 {
				t.Errorf("exit status %d, want 2:\n%s", status, p.stderr.String())
			}
			if left, err := os.ReadDir(temporary); err != nil || len(left) > 0 {
				t.Errorf("it leaves %v behind, %v", left, err)
			}
			for _, secret := range []string{"***"} {
				if strings.Contains(p.stderr.String(), secret) {
					t.Errorf("a secret is shown:\n%s", p.stderr.String())
				}
			}
		})
	}
}

// TestInterrupt presses Ctrl-C during the feed, and during the live traffic after
// the check: everything ends, no process is left. A run that was stopped before its
// check could not run to its end: status 2. Live traffic ends by Ctrl-C and no other
// way: the status is that of the check.
func TestInterrupt(t *testing.T) {
	for _, c := range []struct {
		name   string
		args   []string
		until  string
		status int
	}{
		{"during the feed", []string{"--payments", "100000", "--once"}, "alert revisions so far", 2},
		{"during live traffic", []string{"--payments", "100"}, "ClickHouse  clickhouse://", 0},
	} {
		t.Run(c.name, func(t *testing.T) {
			p := run(t, "settlewatch", nil, append([]string{"demo", "--dir", t.TempDir()}, c.args...)...)
			line, _ := p.see(c.until)
			t.Logf("Ctrl-C at %q", line)
			left := descendants(t, p.cmd.Process.Pid)
			t.Logf("running: %v", left)
			// Five services and two servers; the broker is in the command itself.
			if len(left) < len(demo.Services)+2 {
				t.Errorf("%d processes, want at least %d", len(left), len(demo.Services)+2)
			}
			if err := syscall.Kill(-p.cmd.Process.Pid, syscall.SIGINT); err != nil {
				t.Fatal(err)
			}
			if status := p.end(); status != c.status {
				t.Errorf("exit status %d, want %d", status, c.status)
			}
			t.Logf("it said:\n%s", p.stderr.String())
			for pid, name := range left {
				if err := syscall.Kill(pid, 0); !errors.Is(err, syscall.ESRCH) {
					t.Errorf("%s, process %d, is left (%v)", name, pid, err)
				}
			}
		})
	}
}

// descendants are all processes below one, by id, with their names.
func descendants(t *testing.T, of int) map[int]string {
	t.Helper()
	stats, err := filepath.Glob("/proc/[0-9]*/stat")
	if err != nil || len(stats) == 0 {
		t.Fatalf("list processes: %v (this test needs /proc)", err)
	}
	children := make(map[int][]int)
	names := make(map[int]string)
	for _, path := range stats {
		text, err := os.ReadFile(path)
		if err != nil {
			continue // it has ended
		}
		// pid (name) state ppid …; the name may hold anything.
		head, rest, _ := strings.Cut(string(text), " (")
		end := strings.LastIndex(rest, ") ")
		fields := strings.Fields(rest[end+2:])
		pid, err1 := strconv.Atoi(head)
		parent, err2 := strconv.Atoi(fields[1])
		if err := errors.Join(err1, err2); err != nil {
			t.Fatalf("read %s: %v", path, err)
		}
		names[pid] = rest[:end]
		children[parent] = append(children[parent], pid)
	}
	found := make(map[int]string)
	for queue := children[of]; len(queue) > 0; queue = queue[1:] {
		found[queue[0]] = names[queue[0]]
		queue = append(queue, children[queue[0]]...)
	}
	return found
}
