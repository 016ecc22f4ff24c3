package servers

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"syscall"
	"time"
)

const (
	lockName = "server.lock"
	// lockWait covers a server whose starter has just died: ClickHouse takes about
	// 1.3 s to end after that.
	lockWait = 15 * time.Second
	lockPoll = 50 * time.Millisecond
)

// errLocked is a lock that another process holds.
var errLocked = errors.New("held by another process")

// folder is a server's folder, taken for it alone.
type folder struct {
	dir string
	// lock belongs to the open file: the server inherits it and frees it with its
	// last process, so that a server whose starter was killed still keeps a second
	// one out.
	lock *os.File
}

// takeFolder makes the folder, takes it and, if so wished, empties it: in this order,
// as a running server's files are not to be touched.
func takeFolder(ctx context.Context, o Options) (*folder, error) {
	if o.Dir == "" {
		return nil, errors.New("no folder given")
	}
	// The server runs in its folder, where a relative path would mean another place.
	dir, err := filepath.Abs(o.Dir)
	if err != nil {
		return nil, fmt.Errorf("find folder: %w", err)
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return nil, fmt.Errorf("make folder: %w", err)
	}
	ctx, cancel := context.WithTimeout(ctx, lockWait)
	defer cancel()
	lock, err := lockFile(ctx, filepath.Join(dir, lockName), nil)
	if errors.Is(err, errLocked) {
		return nil, fmt.Errorf("folder %s is in use by another server: stop it, or choose another folder", dir)
	}
	if err != nil {
		return nil, err
	}
	f := &folder{dir: dir, lock: lock}
	if o.Fresh {
		if err := f.empty(); err != nil {
			f.release()
			return nil, err
		}
	}
	return f, nil
}

// release gives up this process's part of the lock; a server that was started in the
// folder keeps its own.
func (f *folder) release() { _ = f.lock.Close() }

// empty removes everything but the lock.
func (f *folder) empty() error {
	entries, err := os.ReadDir(f.dir)
	if err != nil {
		return fmt.Errorf("empty folder: %w", err)
	}
	for _, entry := range entries {
		if entry.Name() == lockName {
			continue
		}
		if err := os.RemoveAll(filepath.Join(f.dir, entry.Name())); err != nil {
			return fmt.Errorf("empty folder: %w", err)
		}
	}
	return nil
}

// lockFile waits for the exclusive lock on a file, which is made if missing, and
// calls waiting (if not nil) between attempts. Closing the file frees the lock.
func lockFile(ctx context.Context, path string, waiting func()) (*os.File, error) {
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o644)
	if err != nil {
		return nil, fmt.Errorf("open lock: %w", err)
	}
	tick := time.NewTicker(lockPoll)
	defer tick.Stop()
	for {
		err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
		if err == nil {
			return f, nil
		}
		if !errors.Is(err, syscall.EWOULDBLOCK) && !errors.Is(err, syscall.EINTR) {
			_ = f.Close()
			return nil, fmt.Errorf("lock %s: %w", path, err)
		}
		if waiting != nil {
			waiting()
		}
		select {
		case <-ctx.Done():
			_ = f.Close()
			return nil, fmt.Errorf("lock %s: %w (%w)", path, errLocked, context.Cause(ctx))
		case <-tick.C:
		}
	}
}
