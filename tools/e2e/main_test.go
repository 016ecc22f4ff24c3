// Package e2e_test plays card traffic through the whole product, as its users run
// it: the services are the built binaries in processes of their own, on the
// embedded stack or on real servers.
//
// What enters is a seed. What leaves is a verdict: every alert, dead letter and
// row is what was planted, and nothing else. Guaranteed: no test is skipped, a
// server that is missing fails; nothing waits by sleeping, every wait is for
// something to be seen, with a generous end.
//
// SETTLEWATCH_BIN names a folder with the binaries; without it they are built.
package e2e_test

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"settlewatch/pipelines/servers"
	"settlewatch/pipelines/servers/serverstest"
	"settlewatch/tools/demo"
)

func TestMain(m *testing.M) {
	servers.MaybeRunChild()
	status := serverstest.Run(m)
	if built.temporary {
		_ = os.RemoveAll(built.dir)
	}
	os.Exit(status)
}

// binEnv names the folder of the built binaries.
const binEnv = "SETTLEWATCH_BIN"

// built are the binaries under test.
var built struct {
	once      sync.Once
	dir       string
	temporary bool
	err       error
}

// binary is the path of a service, or of the command settlewatch.
func binary(t *testing.T, name string) string {
	t.Helper()
	built.once.Do(func() {
		if built.dir = os.Getenv(binEnv); built.dir != "" {
			return
		}
		t.Logf("building the binaries (%s is not set)", binEnv)
		built.dir, built.err = build(t.Context())
		built.temporary = built.dir != ""
	})
	if built.err != nil {
		t.Fatal(built.err)
	}
	path, err := filepath.Abs(filepath.Join(built.dir, name))
	if err == nil {
		_, err = os.Stat(path)
	}
	if err != nil {
		t.Fatalf("find the binary of %s: %v (%s is the folder of `make build`)", name, err, binEnv)
	}
	return path
}

// build works with and without the workspace: each module is built in its folder.
func build(ctx context.Context) (dir string, err error) {
	// Not the test's own folder: it serves all tests.
	if dir, err = os.MkdirTemp("", "settlewatch-e2e-"); err != nil {
		return "", err
	}
	root := filepath.Join("..", "..")
	for module, packages := range map[string]string{"services": "./...", "tools": "./settlewatch"} {
		cmd := exec.CommandContext(ctx, "go", "build", "-o", dir+string(filepath.Separator), packages)
		cmd.Dir = filepath.Join(root, module)
		if said, err := cmd.CombinedOutput(); err != nil {
			return dir, fmt.Errorf("build %s: %w: %s", module, err, said)
		}
	}
	return dir, nil
}

// services are the paths of all five.
func services(t *testing.T) map[string]string {
	t.Helper()
	paths := make(map[string]string)
	for _, name := range demo.Services {
		paths[name] = binary(t, name)
	}
	return paths
}

// patience ends a wait that would last for ever. It is no expectation.
const patience = 5 * time.Minute

func patient(t *testing.T) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeoutCause(t.Context(), patience, fmt.Errorf("still not there after %s", patience))
	t.Cleanup(cancel)
	return ctx
}
