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

// lockFolder takes the folder for one server. The lock belongs to the open file:
// the server inherits it and frees it with its last process, so that a server
// whose starter was killed still keeps a second one out.
func lockFolder(ctx context.Context, dir string) (*os.File, error) {
	ctx, cancel := context.WithTimeout(ctx, lockWait)
	defer cancel()
	lock, err := lockFile(ctx, filepath.Join(dir, lockName), nil)
	if errors.Is(err, errLocked) {
		return nil, fmt.Errorf("folder %s is in use by another server: stop it, or choose another folder", dir)
	}
	return lock, err
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
