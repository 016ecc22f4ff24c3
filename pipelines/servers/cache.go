package servers

import (
	"context"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"
)

// CacheEnv names the environment variable that moves the cache.
const CacheEnv = "SETTLEWATCH_CACHE"

// progressPoll is the pause between two looks at what has arrived.
const progressPoll = 200 * time.Millisecond

// CacheDir is where fetched servers are kept for all checkouts of one user:
// $SETTLEWATCH_CACHE, else settlewatch in the user's cache folder.
func CacheDir() (string, error) {
	dir := os.Getenv(CacheEnv)
	if dir == "" {
		user, err := os.UserCacheDir()
		if err != nil {
			return "", fmt.Errorf("find the user's cache folder (set %s to choose one): %w", CacheEnv, err)
		}
		dir = filepath.Join(user, "settlewatch")
	}
	dir, err := filepath.Abs(dir)
	if err != nil {
		return "", fmt.Errorf("find the cache folder: %w", err)
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return "", fmt.Errorf("make the cache folder: %w", err)
	}
	return dir, nil
}

// fetched is something that is fetched into the cache once.
type fetched struct {
	// name of its folder in the cache; it contains the version.
	name string
	// what is fetched, for people.
	what string
	// bytesTotal on disk, for the progress display.
	bytesTotal int64
	// fetch fills the folder, which exists and is empty.
	fetch func(ctx context.Context, dir string) error
}

// ensure returns the folder in the cache, after fetching it if it is not there. The
// folder appears under its name only when complete, and of several processes that
// need it at the same time one fetches and the others wait.
func (f fetched) ensure(ctx context.Context, progress func(what string, done, total int64)) (string, error) {
	cache, err := CacheDir()
	if err != nil {
		return "", err
	}
	final := filepath.Join(cache, f.name)
	if isDir(final) {
		return final, nil
	}
	partial := final + ".partial"
	report := func() {
		if progress != nil {
			progress(f.what, min(folderBytes(partial), f.bytesTotal), f.bytesTotal)
		}
	}
	lock, err := lockFile(ctx, final+".lock", report)
	if err != nil {
		return "", fmt.Errorf("fetch %s: %w", f.what, err)
	}
	defer func() { _ = lock.Close() }()
	if isDir(final) { // Another process has fetched it meanwhile.
		return final, nil
	}
	// A partial folder is what an interrupted fetch has left.
	if err := os.RemoveAll(partial); err != nil {
		return "", fmt.Errorf("fetch %s: %w", f.what, err)
	}
	if err := os.MkdirAll(partial, 0o755); err != nil {
		return "", fmt.Errorf("fetch %s: %w", f.what, err)
	}
	if err := f.watch(ctx, partial, report); err != nil {
		return "", fmt.Errorf("fetch %s: %w", f.what, err)
	}
	if err := os.Rename(partial, final); err != nil {
		return "", fmt.Errorf("fetch %s: %w", f.what, err)
	}
	if progress != nil {
		progress(f.what, f.bytesTotal, f.bytesTotal)
	}
	return final, nil
}

// watch fetches and reports what has arrived meanwhile: npm and Maven say nothing
// without a terminal.
func (f fetched) watch(ctx context.Context, dir string, report func()) error {
	result := make(chan error, 1)
	go func() { result <- f.fetch(ctx, dir) }()
	tick := time.NewTicker(progressPoll)
	defer tick.Stop()
	report()
	for {
		select {
		case err := <-result:
			return err
		case <-tick.C:
			report()
		}
	}
}

func isDir(path string) bool {
	info, err := os.Stat(path)
	return err == nil && info.IsDir()
}

// folderBytes is the size of all files below a folder; what vanishes during the
// walk counts nothing.
func folderBytes(dir string) int64 {
	var total int64
	_ = filepath.WalkDir(dir, func(_ string, entry fs.DirEntry, err error) error {
		if err != nil {
			return nil //nolint:nilerr // An estimate: the next look sees more.
		}
		if info, err := entry.Info(); err == nil && info.Mode().IsRegular() {
			total += info.Size()
		}
		return nil
	})
	return total
}
