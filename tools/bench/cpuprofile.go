package bench

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"

	"golang.org/x/sync/errgroup"
)

// profileSeconds is how long a CPU profile runs; a service refuses more than 25.
const profileSeconds = 20

// takeProfiles fetches a CPU profile of every service, from when all of them listen.
func (o *ours) takeProfiles(ctx context.Context) error {
	if err := os.MkdirAll(o.bench.options.Profiles, 0o755); err != nil {
		return fmt.Errorf("keep profiles: %w", err)
	}
	var g errgroup.Group
	for range o.processes {
		select {
		case at := <-o.listening:
			g.Go(func() error {
				path := filepath.Join(o.bench.options.Profiles, at.name+".pprof")
				return download(ctx, fmt.Sprintf("http://%s/debug/pprof/profile?seconds=%d", at.addr, profileSeconds), path)
			})
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
	return g.Wait()
}

func download(ctx context.Context, url, path string) (err error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, url, http.NoBody)
	if err != nil {
		return fmt.Errorf("take profile: %w", err)
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return fmt.Errorf("take profile: %w", err)
	}
	defer func() { _ = response.Body.Close() }()
	if response.StatusCode != http.StatusOK {
		return fmt.Errorf("take profile: %s answers %s", url, response.Status)
	}
	file, err := os.Create(path)
	if err != nil {
		return fmt.Errorf("keep profile: %w", err)
	}
	defer func() { err = errors.Join(err, file.Close()) }()
	if _, err := file.ReadFrom(response.Body); err != nil {
		return fmt.Errorf("keep profile: %w", err)
	}
	return nil
}
