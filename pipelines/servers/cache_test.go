package servers

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"
)

func TestFetchedOnceByAll(t *testing.T) {
	t.Setenv(CacheEnv, t.TempDir())
	var fetches atomic.Int64
	f := fetched{name: "thing-1", what: "a thing", bytesTotal: 3, fetch: func(_ context.Context, dir string) error {
		fetches.Add(1)
		return os.WriteFile(filepath.Join(dir, "file"), []byte("abc"), 0o644)
	}}
	var all sync.WaitGroup
	for range 8 {
		all.Go(func() {
			dir, err := f.ensure(t.Context(), nil)
			if err != nil {
				t.Error(err)
				return
			}
			if text, err := os.ReadFile(filepath.Join(dir, "file")); string(text) != "abc" || err != nil {
				t.Errorf("file is %q, %v", text, err)
			}
		})
	}
	all.Wait()
	if n := fetches.Load(); n != 1 {
		t.Errorf("fetched %d times", n)
	}
}

func TestFailedFetchLeavesNothing(t *testing.T) {
	t.Setenv(CacheEnv, t.TempDir())
	broken := errors.New("the line went dead")
	f := fetched{name: "thing-1", what: "a thing", bytesTotal: 10, fetch: func(_ context.Context, dir string) error {
		return errors.Join(os.WriteFile(filepath.Join(dir, "half"), []byte("abc"), 0o644), broken)
	}}
	if dir, err := f.ensure(t.Context(), nil); !errors.Is(err, broken) {
		t.Fatalf("got %q, %v", dir, err)
	}
	var last int64
	f.fetch = func(_ context.Context, dir string) error {
		left, err := os.ReadDir(dir)
		if len(left) > 0 {
			t.Error("the interrupted fetch is still there")
		}
		return err
	}
	dir, err := f.ensure(t.Context(), func(what string, done, total int64) {
		if what != "a thing" || total != 10 || done > total {
			t.Errorf("progress %q %d of %d", what, done, total)
		}
		last = done
	})
	if err != nil || !isDir(dir) {
		t.Fatalf("got %q, %v", dir, err)
	}
	if last != 10 {
		t.Errorf("the last progress is %d of 10", last)
	}
}

func TestPackageWithOtherBytesIsRefused(t *testing.T) {
	dir := t.TempDir()
	pkg := chdbPackage{name: "@x/y", integrity: "sha512-good"}
	for integrity, want := range map[string]bool{"sha512-good": true, "sha512-evil": false, "": false} {
		lock := `{"packages":{"":{},"node_modules/@x/y":{"version":"1","integrity":"` + integrity + `"}}}`
		if err := os.WriteFile(filepath.Join(dir, "package-lock.json"), []byte(lock), 0o644); err != nil {
			t.Fatal(err)
		}
		if err := pkg.verify(dir); (err == nil) != want {
			t.Errorf("integrity %q: %v", integrity, err)
		}
	}
}

func TestSpotterSeesTextInTwoParts(t *testing.T) {
	s := &spotter{want: []byte("started")}
	for i, part := range []string{"a long line before it\nsta", "rt", "ed", "\n"} {
		if _, err := s.Write([]byte(part)); err != nil {
			t.Fatal(err)
		}
		if got, want := s.seen.Load(), i >= 2; got != want {
			t.Errorf("after part %d: %v", i, got)
		}
	}
}

func TestPortsAreGivenOnce(t *testing.T) {
	given := map[int]bool{}
	for range 50 {
		port, err := FreePort()
		if err != nil {
			t.Fatal(err)
		}
		if given[port] || port < portMin || port >= portMax {
			t.Errorf("port %d", port)
		}
		given[port] = true
	}
}
