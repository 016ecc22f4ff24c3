package servers

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"time"

	"settlewatch/pipelines/servers/process"
)

// childArgument is the hidden first argument with which the program runs itself
// again as a ClickHouse: childArgument, the library, then ClickHouse's arguments.
const childArgument = "settlewatch-clickhouse-child"

// childGrace is what ClickHouse has for ending at the end of its standard input
// before it ends by force: longer than Stop's patience, for when the starter died.
const childGrace = clickHouseGrace + 5*time.Second

const chdbVersion = "26.7.3-stable.1"

// chdbPackage is the npm package with ClickHouse as a library for one platform.
type chdbPackage struct {
	name string
	// integrity pins the bytes; empty where they were never seen.
	integrity string
	// bytesTotal on disk.
	bytesTotal int64
}

// chdbPackages by GOOS/GOARCH. Only linux/amd64 has been run; the others are the
// packages that chdb 3.4.0 names as its own for these platforms.
var chdbPackages = map[string]chdbPackage{
	"linux/amd64": {
		name:       "@chdb/lib-linux-x64-gnu",
		integrity:  "sha512-XP97mMqnc5tZpKQywR8N7cLTsHNiTmHr30pC5mzo3jWmukjKn2IBa60c2B/gWUNcuFjOMjWoorQICCqBVj5wpw==",
		bytesTotal: 569_043_000,
	},
	"linux/arm64":  {name: "@chdb/lib-linux-arm64-gnu", bytesTotal: 569_043_000},
	"darwin/arm64": {name: "@chdb/lib-darwin-arm64", bytesTotal: 569_043_000},
	"darwin/amd64": {name: "@chdb/lib-darwin-x64", bytesTotal: 569_043_000},
}

// mayRunChild is set by MaybeRunChild. A program that never calls it would, run
// again with the hidden argument, start itself over and over.
var mayRunChild bool

// MaybeRunChild takes the process over and never returns if it was started to be a
// ClickHouse. main and TestMain call it before anything else.
func MaybeRunChild() {
	mayRunChild = true
	if len(os.Args) < 3 || os.Args[1] != childArgument {
		return
	}
	os.Exit(runChild(os.Args[2], os.Args[3:]))
}

// runChild serves until standard input ends and returns the exit status.
func runChild(library string, args []string) int {
	go func() {
		// Nothing is ever written to standard input. Its end reaches ClickHouse, which
		// reads it as a query's source, and this reader alike.
		_, _ = io.Copy(io.Discard, os.Stdin)
		time.Sleep(childGrace)
		os.Exit(1)
	}()
	run, err := loadClickHouse(library)
	if err != nil {
		fmt.Fprintln(os.Stderr, "load clickhouse library:", err)
		return 1
	}

	argv := make([]*byte, 0, len(args)+2)
	for _, arg := range append([]string{"clickhouse"}, args...) {
		argv = append(argv, &append([]byte(arg), 0)[0])
	}
	argv = append(argv, nil)
	var pin runtime.Pinner
	defer pin.Unpin()
	for _, arg := range argv[:len(argv)-1] {
		pin.Pin(arg)
	}
	run(int32(len(argv)-1), &argv[0])
	return 0
}

// chdbCommand is this very program run again as a ClickHouse.
func chdbCommand(ctx context.Context, o Options, args []string) (process.Command, error) {
	if !mayRunChild {
		return process.Command{}, errors.New("this program cannot run itself as a clickhouse: " +
			"call servers.MaybeRunChild first in main, serverstest.Main in TestMain")
	}
	if !embedded {
		return process.Command{}, errors.New("this program was built without the embedded clickhouse (tag static): " +
			"give it a clickhouse server, or build it without the tag")
	}
	library, err := chdbLibrary(ctx, o.Progress)
	if err != nil {
		return process.Command{}, err
	}
	self, err := os.Executable()
	if err != nil {
		return process.Command{}, fmt.Errorf("find this program: %w", err)
	}
	return process.Command{Path: self, Args: append([]string{childArgument, library}, args...), HoldStdin: true}, nil
}

// chdbLibrary returns the library's path, after fetching it if need be.
func chdbLibrary(ctx context.Context, progress func(string, int64, int64)) (string, error) {
	platform := runtime.GOOS + "/" + runtime.GOARCH
	pkg, ok := chdbPackages[platform]
	if !ok {
		return "", fmt.Errorf("no clickhouse library for %s: put a clickhouse of version %d.%d or later on PATH",
			platform, clickHouseMajorMin, clickHouseMinorMin)
	}
	f := fetched{
		name:       "clickhouse-" + chdbVersion + "-" + runtime.GOOS + "-" + runtime.GOARCH,
		what:       "ClickHouse " + chdbVersion + " from npm (170 MB)",
		bytesTotal: pkg.bytesTotal,
		fetch:      pkg.fetch,
	}
	dir, err := f.ensure(ctx, progress)
	if err != nil {
		return "", err
	}
	found, err := filepath.Glob(filepath.Join(dir, "node_modules", pkg.name, "libchdb.*"))
	if err != nil || len(found) != 1 {
		return "", fmt.Errorf("find the clickhouse library in %s: %d files: delete that folder to fetch it again", dir, len(found))
	}
	return found[0], nil
}

// fetch installs the package into the folder.
func (pkg chdbPackage) fetch(ctx context.Context, dir string) error {
	npm, err := exec.LookPath("npm")
	if err != nil {
		return fmt.Errorf("npm is not on PATH: install Node.js 18 or later, or put a clickhouse of version %d.%d or later on PATH",
			clickHouseMajorMin, clickHouseMinorMin)
	}
	tail := process.NewTail(nil)
	if err := process.Run(ctx, process.Command{
		Path: npm,
		// No scripts: the package is data to us, nothing of it runs at install.
		Args: []string{
			"install", "--prefix", dir, "--ignore-scripts", "--no-audit", "--no-fund",
			pkg.name + "@" + chdbVersion,
		},
		Output: tail,
	}); err != nil {
		return fmt.Errorf("npm install %s@%s: %w; put a clickhouse of version %d.%d or later on PATH if npm cannot; it said last:\n%s",
			pkg.name, chdbVersion, err, clickHouseMajorMin, clickHouseMinorMin, tail.Last(errorLines))
	}
	return pkg.verify(dir)
}

// verify compares what npm has unpacked, and checked, with the pinned bytes.
func (pkg chdbPackage) verify(dir string) error {
	if pkg.integrity == "" {
		return nil
	}
	text, err := os.ReadFile(filepath.Join(dir, "package-lock.json"))
	if err != nil {
		return fmt.Errorf("read npm's lock file: %w", err)
	}
	var lock struct {
		Packages map[string]struct{ Integrity string }
	}
	if err := json.Unmarshal(text, &lock); err != nil {
		return fmt.Errorf("read npm's lock file: %w", err)
	}
	if got := lock.Packages["node_modules/"+pkg.name].Integrity; got != pkg.integrity {
		return fmt.Errorf("package %s@%s has integrity %q instead of %q: the registry serves other bytes", pkg.name, chdbVersion, got, pkg.integrity)
	}
	return nil
}
