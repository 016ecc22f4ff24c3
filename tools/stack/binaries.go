package stack

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"settlewatch/pipelines/servers"
	"settlewatch/pipelines/servers/process"
)

const (
	// binEnv names a folder with the services' executables.
	binEnv = "SETTLEWATCH_BIN"
	// sourceMark is a file that only the root of the source tree has.
	sourceMark = "go.work"
	// servicesPackage holds one main package per service.
	servicesPackage = "services"
	// buildLines of a failed build go into the error.
	buildLines = 20
)

// Binaries returns the path of each service's executable. They are those in the folder
// that SETTLEWATCH_BIN names, or beside this program's own; where one is missing, all are built from the source tree around the
// working folder, or around this program, into the user's cache. Progress is called
// with how many of how many are built; nil is silent.
func Binaries(ctx context.Context, services []string, progress func(what string, done, total int64)) (map[string]string, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, fmt.Errorf("find services: %w", err)
	}
	for _, dir := range []string{os.Getenv(binEnv), filepath.Dir(self)} {
		if paths := beside(dir, services); paths != nil {
			return paths, nil
		}
	}
	working, err := os.Getwd()
	if err != nil {
		return nil, fmt.Errorf("find services: %w", err)
	}
	for _, start := range []string{working, filepath.Dir(self)} {
		if root := sourceRoot(start, services); root != "" {
			return build(ctx, root, services, progress)
		}
	}
	return nil, fmt.Errorf("find services %s: not beside %s, and no source tree to build them from: run `make build`, or start from the checkout",
		strings.Join(services, ", "), self)
}

// beside returns the executables in a folder, or nil if one is missing.
func beside(dir string, services []string) map[string]string {
	if dir == "" { // not the working folder: nobody named it
		return nil
	}
	paths := map[string]string{}
	for _, name := range services {
		path := filepath.Join(dir, name)
		info, err := os.Stat(path)
		if err != nil || !info.Mode().IsRegular() || info.Mode()&0o111 == 0 {
			return nil
		}
		paths[name] = path
	}
	return paths
}

// sourceRoot is the folder at or above start that has the services' sources, or
// nothing.
func sourceRoot(start string, services []string) string {
	for dir := start; ; dir = filepath.Dir(dir) {
		if _, err := os.Stat(filepath.Join(dir, sourceMark)); err == nil {
			for _, name := range services {
				if _, err := os.Stat(filepath.Join(dir, servicesPackage, name)); err != nil {
					return ""
				}
			}
			return dir
		}
		if dir == filepath.Dir(dir) {
			return ""
		}
	}
}

// build builds the services one by one; Go's own cache makes it quick when nothing has
// changed.
func build(ctx context.Context, root string, services []string, progress func(what string, done, total int64)) (map[string]string, error) {
	tool, err := exec.LookPath("go")
	if err != nil {
		return nil, errors.New("build services: go is not on PATH: install Go 1.26 or later")
	}
	cache, err := servers.CacheDir()
	if err != nil {
		return nil, fmt.Errorf("build services: %w", err)
	}
	// Each checkout has a folder of its own, so that two do not take turns.
	dir := filepath.Join(cache, fmt.Sprintf("services-%x", sha256.Sum256([]byte(root)))[:len("services-")+12])
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return nil, fmt.Errorf("build services: %w", err)
	}
	paths := map[string]string{}
	for i, name := range services {
		if progress != nil {
			progress("building services", int64(i), int64(len(services)))
		}
		paths[name] = filepath.Join(dir, name)
		tail := process.NewTail(nil)
		if err := process.Run(ctx, process.Command{
			Path: tool,
			// In the module's own folder, so that it builds without the workspace too.
			Args: []string{"build", "-o", paths[name], "./" + name}, Dir: filepath.Join(root, servicesPackage), Output: tail,
		}); err != nil {
			return nil, fmt.Errorf("build service %s: %w; it said last:\n%s", name, err, tail.Last(buildLines))
		}
	}
	if progress != nil {
		progress("building services", int64(len(services)), int64(len(services)))
	}
	return paths, nil
}
