package stack_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"settlewatch/pipelines/servers"
	"settlewatch/tools/stack"
)

func write(t *testing.T, path, text string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(text), 0o755); err != nil {
		t.Fatal(err)
	}
}

func TestBinariesAreBuiltFromSource(t *testing.T) {
	t.Setenv(servers.CacheEnv, t.TempDir())
	root := t.TempDir()
	write(t, filepath.Join(root, "go.work"), "go 1.26.0\n\nuse ./services\n")
	write(t, filepath.Join(root, "services", "go.mod"), "module example/services\n\ngo 1.26.0\n")
	main := filepath.Join(root, "services", "hello", "main.go")
	write(t, main, "package main\n\nfunc main() { println(\"one\") }\n")
	inner := filepath.Join(root, "services", "hello")
	t.Chdir(inner)
	t.Setenv("GOWORK", "")

	for _, want := range []string{"one", "two"} {
		var steps []int64
		paths, err := stack.Binaries(t.Context(), []string{"hello"}, func(_ string, done, total int64) { steps = append(steps, done, total) })
		if err != nil {
			t.Fatal(err)
		}
		out, err := exec.CommandContext(t.Context(), paths["hello"]).CombinedOutput()
		if err != nil || strings.TrimSpace(string(out)) != want {
			t.Fatalf("got %q, %v", out, err)
		}
		if len(steps) != 4 || steps[0] != 0 || steps[2] != 1 || steps[3] != 1 {
			t.Errorf("progress %v", steps)
		}
		write(t, main, "package main\n\nfunc main() { println(\"two\") }\n")
	}

	write(t, main, "package main\n\nfunc main() { nonsense }\n")
	if _, err := stack.Binaries(t.Context(), []string{"hello"}, nil); err == nil || !strings.Contains(err.Error(), "nonsense") {
		t.Errorf("a service that does not compile: %v", err)
	}
	if _, err := stack.Binaries(t.Context(), []string{"hello", "absent"}, nil); err == nil || !strings.Contains(err.Error(), "make build") {
		t.Errorf("a service that does not exist: %v", err)
	}
}

func TestBinariesBesideThisProgram(t *testing.T) {
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(filepath.Dir(self), "beside")
	write(t, path, "#!/bin/sh\n")
	t.Cleanup(func() { _ = os.Remove(path) })
	working := t.TempDir()
	write(t, filepath.Join(working, "beside"), "#!/bin/sh\n") // which nobody named
	t.Chdir(working)
	t.Setenv("SETTLEWATCH_BIN", "")
	paths, err := stack.Binaries(t.Context(), []string{"beside"}, nil)
	if err != nil || paths["beside"] != path {
		t.Fatalf("got %v, %v", paths, err)
	}
	if err := os.Chmod(path, 0o644); err != nil {
		t.Fatal(err)
	}
	if _, err := stack.Binaries(t.Context(), []string{"beside"}, nil); err == nil {
		t.Error("a file that cannot be run was taken for the service")
	}
}
