package demo

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"syscall"

	"go.yaml.in/yaml/v3"

	"settlewatch/pipelines/servers"
)

// The files in servers.CacheDir by which other commands find the stack that runs
// on this machine.
const (
	currentName = "current.yaml"
	claimName   = "current.lock"
)

// Claim is the right to be the stack that other commands of this user find. One
// process has it at a time; the kernel frees it when that process ends.
type Claim struct {
	path string
	lock *os.File
}

// ErrClaimed is a claim that another process has.
var ErrClaimed = errors.New("another stack runs on this machine")

// TakeClaim does not wait: ErrClaimed says that somebody else has it.
func TakeClaim() (*Claim, error) {
	dir, err := servers.CacheDir()
	if err != nil {
		return nil, err
	}
	lock, err := os.OpenFile(filepath.Join(dir, claimName), os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, fmt.Errorf("open lock: %w", err)
	}
	if err := syscall.Flock(int(lock.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		pid, _ := io.ReadAll(io.LimitReader(lock, 20)) // for people only
		_ = lock.Close()
		if errors.Is(err, syscall.EWOULDBLOCK) {
			return nil, fmt.Errorf("%w (process %s): `settlewatch status` looks at it; end it with Ctrl-C where it runs",
				ErrClaimed, strings.TrimSpace(string(pid)))
		}
		return nil, fmt.Errorf("lock %s: %w", lock.Name(), err)
	}
	c := &Claim{path: filepath.Join(dir, currentName), lock: lock}
	if err := errors.Join(lock.Truncate(0), second(lock.WriteAt(fmt.Appendln(nil, os.Getpid()), 0))); err != nil {
		return nil, errors.Join(fmt.Errorf("write lock: %w", err), c.Release())
	}
	return c, nil
}

func second(_ int, err error) error { return err }

// Announce writes the addresses where the other commands look, in the form of the
// services' settings file.
func (c *Claim) Announce(a Addresses) error {
	text, err := yaml.Marshal(map[string]any{
		"kafka-brokers": a.Brokers, "redis-addrs": a.Redis, "clickhouse-dsn": a.ClickHouseDSN,
	})
	if err != nil {
		return fmt.Errorf("encode addresses: %w", err)
	}
	// In one piece: a command may look at any moment.
	partial := c.path + ".partial"
	if err := os.WriteFile(partial, text, 0o600); err != nil {
		return fmt.Errorf("announce the addresses: %w", err)
	}
	if err := os.Rename(partial, c.path); err != nil {
		return fmt.Errorf("announce the addresses: %w", err)
	}
	return nil
}

// Path of the file with the addresses.
func (c *Claim) Path() string { return c.path }

// Release takes the addresses back and gives up the claim. A nil Claim has
// nothing to give up.
func (c *Claim) Release() error {
	if c == nil {
		return nil
	}
	err := os.Remove(c.path)
	if errors.Is(err, os.ErrNotExist) {
		err = nil
	}
	return errors.Join(err, c.lock.Close())
}
