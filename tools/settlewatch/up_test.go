package main

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"settlewatch/pipelines/servers"
)

// rulesLike a file's, under another name and with another cycle.
func rulesLike(t *testing.T, path, name, cycle string) string {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	text = bytes.Replace(text, []byte("rules: china-t1"), []byte("rules: "+name), 1)
	text = bytes.Replace(text, []byte("cycle: T+1"), []byte("cycle: "+cycle), 1)
	_, short, _ := strings.Cut(name, "-")
	changed := filepath.Join(t.TempDir(), short+".yaml")
	if err := os.WriteFile(changed, text, 0o600); err != nil {
		t.Fatal(err)
	}
	return changed
}

// TestUpAndItsCommands: a stack that stays, found by the commands that look at it,
// refused a second time, and gone after Ctrl-C.
func TestUpAndItsCommands(t *testing.T) {
	shared, err := servers.CacheDir()
	if err != nil {
		t.Fatal(err)
	}
	// What was fetched is shared; who runs is not.
	cache := t.TempDir()
	fetched, err := filepath.Glob(filepath.Join(shared, "clickhouse-*"))
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range fetched {
		if err := os.Symlink(f, filepath.Join(cache, filepath.Base(f))); err != nil {
			t.Fatal(err)
		}
	}
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	command := func(args ...string) *exec.Cmd {
		cmd := exec.CommandContext(t.Context(), self, args...)
		cmd.Env = append(os.Environ(), asTool+"=1", servers.CacheEnv+"="+cache)
		return cmd
	}
	up := command("up", "--json")
	// An operator's shell names other servers: these are none of them.
	up.Env = append(up.Env, "SETTLEWATCH_KAFKA_TLS=true", "SETTLEWATCH_REDIS_USER=nobody", "SETTLEWATCH_CONFIG="+filepath.Join(cache, "nowhere.yaml"))
	var said bytes.Buffer
	up.Stderr = &said
	out, err := up.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := up.Start(); err != nil {
		t.Fatal(err)
	}
	line, err := bufio.NewReader(out).ReadBytes('\n')
	var a upAddresses
	if err = errors.Join(err, json.Unmarshal(line, &a)); err != nil || len(a.Kafka) != 1 || a.Rules != "china-t1" {
		_ = up.Wait()
		t.Fatalf("up printed %q: %v\n%s", line, err, said.String())
	}
	config := filepath.Join("..", "..", "deploy", "config", "china-t1.yaml")
	t2, other := rulesLike(t, config, "china-t2", "T+2"), rulesLike(t, config, "china-d3", "D+3")
	t.Run("apply on a terminal", func(t *testing.T) { applyOnTerminal(t, command, t2) })
	for _, c := range []struct {
		args string
		want string // part of what it prints
		fail bool
	}{
		{"up", "another stack runs on this machine (process ", true},
		{"apply " + t2, "configuration 1 says the same already", false},
		{"apply --dry-run " + other, "+rules: china-d3", false},
		{"apply --json " + other, `"number":2,"number_before":1`, false},
		{"migrate", "nothing to do", false},
		{"migrate --status --json", `"version_before":`, false},
		{"feed --payments 40 --rate 100 --json", `"payments":40`, false},
		{"status --json --stale 10m", `"reachable":true`, false},
	} {
		printed, err := command(strings.Fields(c.args)...).CombinedOutput()
		// A status may be taken while something is behind: it ran, all the same.
		unwell := strings.HasPrefix(c.args, "status")
		if !strings.Contains(string(printed), c.want) || !unwell && (err != nil) != c.fail {
			t.Errorf("%s: %v\n%s\nwant %q", c.args, err, printed, c.want)
		}
		if bytes.ContainsRune(printed, '\x1b') {
			t.Errorf("%s: escape sequences, and there is no terminal:\n%q", c.args, printed)
		}
	}
	t.Run("status on a terminal", func(t *testing.T) { statusOnTerminal(t, command) })
	t.Run("alerts on a terminal", func(t *testing.T) { alertsOnTerminal(t, command) })
	if err := up.Process.Signal(os.Interrupt); err != nil {
		t.Fatal(err)
	}
	if err := up.Wait(); err != nil {
		t.Errorf("up ended with %v\n%s", err, said.String())
	}
	if _, err := os.Stat(filepath.Join(cache, currentFile)); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the addresses are still there: %v", err)
	}
	if _, err := os.Stat(filepath.Dir(a.Logs)); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("data and logs are still there: %v", err)
	}
}
