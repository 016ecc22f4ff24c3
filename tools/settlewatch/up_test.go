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
	other := filepath.Join(t.TempDir(), "t2.yaml")
	text, err := os.ReadFile(config)
	if err != nil {
		t.Fatal(err)
	}
	text = bytes.Replace(text, []byte("rules: china-t1"), []byte("rules: china-t2"), 1)
	if err := os.WriteFile(other, text, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		args string
		want string // part of what it prints
		fail bool
	}{
		{"up", "another stack runs on this machine (process ", true},
		{"apply " + config, "configuration 0 says the same already", false},
		{"apply --dry-run " + other, "+rules: china-t2", false},
		{"apply --json " + other, `"number":1,"number_before":0`, false},
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
	}
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
