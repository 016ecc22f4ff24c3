package bench

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"time"

	"settlewatch/pipelines/servers/process"
)

// Two revisions in one comparison.
const (
	VariantBase = "base"
	VariantHead = "head"
)

// revisionLines of a failed build or benchmark go into the error.
const revisionLines = 20

// Revisions are two states of the source tree, built side by side.
type Revisions struct {
	// base and head are source trees, the second the one that is worked on.
	base, head string
	dir        string
	binaries   map[string]map[string]string // by variant, then service
	say        func(format string, args ...any)
}

// CheckOut puts the base into a folder of its own and builds the services of both.
// Close removes it.
func CheckOut(ctx context.Context, head, base, dir string, say func(format string, args ...any)) (*Revisions, error) {
	r := &Revisions{
		base: filepath.Join(dir, "base-tree"), head: head, dir: dir, say: say, binaries: map[string]map[string]string{},
	}
	if _, err := r.tool(ctx, head, nil, "git", "worktree", "add", "--quiet", "--detach", r.base, base); err != nil {
		return nil, fmt.Errorf("check out %s: %w", base, err)
	}
	for variant, tree := range map[string]string{VariantBase: r.base, VariantHead: r.head} {
		say("building the services of %s", variant)
		into := filepath.Join(dir, variant+"-bin")
		if err := os.MkdirAll(into, 0o755); err != nil {
			return r, fmt.Errorf("build %s: %w", variant, err)
		}
		if _, err := r.tool(ctx, tree, nil, "go", "build", "-o", into+string(filepath.Separator), "./services/..."); err != nil {
			return r, fmt.Errorf("build %s: %w", variant, err)
		}
		paths := map[string]string{}
		for _, name := range Services {
			paths[name] = filepath.Join(into, name)
		}
		r.binaries[variant] = paths
	}
	return r, nil
}

// Close removes the base's tree.
func (r *Revisions) Close() error {
	_, err := r.tool(context.Background(), r.head, nil, "git", "worktree", "remove", "--force", r.base)
	return err
}

// tool runs a program in a folder and returns its output.
func (r *Revisions) tool(ctx context.Context, dir string, env []string, name string, args ...string) (string, error) {
	path, err := exec.LookPath(name)
	if err != nil {
		return "", fmt.Errorf("%s is not on PATH", name)
	}
	var out bytes.Buffer
	tail := process.NewTail(&out)
	err = process.Run(ctx, process.Command{Path: path, Args: args, Dir: dir, Env: append(os.Environ(), env...), Output: tail})
	if err != nil {
		return "", fmt.Errorf("%s %s: %w; it said last:\n%s", name, args[0], err, tail.Last(revisionLines))
	}
	return out.String(), nil
}

// Compare runs the pipeline of both revisions in turns.
func (r *Revisions) Compare(ctx context.Context, b *Bench, w Workload, rounds int, limit time.Duration, done func(Result)) ([]Summary, error) {
	if err := b.Feed(ctx, w); err != nil {
		return nil, err
	}
	b.options.Binaries = r.binaries[VariantBase]
	if err := b.warmUp(ctx, w, limit); err != nil {
		return nil, err
	}
	runs := map[string][]Result{}
	for round := range rounds {
		for _, variant := range []string{VariantBase, VariantHead} {
			r.say("round %d of %d: %s", round+1, rounds, variant)
			b.options.Binaries = r.binaries[variant]
			result, err := b.RunOurs(ctx, w, VariantOurs, round+1, limit)
			if err != nil {
				return nil, err
			}
			result.Variant = variant
			done(result)
			runs[variant] = append(runs[variant], result)
		}
	}
	return []Summary{summarize(VariantBase, runs[VariantBase]), summarize(VariantHead, runs[VariantHead])}, nil
}

// PurePackages have benchmarks of what decides, without servers.
var PurePackages = []string{"intake", "profile", "calendar", "join", "bus"}

// Micro runs the Go benchmarks of both revisions in turns and returns what benchstat
// says about them.
func (r *Revisions) Micro(ctx context.Context, count int) (string, error) {
	files := map[string]*os.File{}
	for _, variant := range []string{VariantBase, VariantHead} {
		file, err := os.Create(filepath.Join(r.dir, variant+".txt"))
		if err != nil {
			return "", fmt.Errorf("keep benchmarks: %w", err)
		}
		defer func() { _ = file.Close() }() // benchstat has read it by then
		files[variant] = file
	}
	for n := range count {
		for variant, tree := range map[string]string{VariantBase: r.base, VariantHead: r.head} {
			r.say("benchmarks, %d of %d: %s", n+1, count, variant)
			args := []string{"test", "-run", "^$", "-bench", ".", "-benchmem", "-benchtime", "200ms"}
			for _, p := range PurePackages {
				args = append(args, "./pipelines/"+p)
			}
			out, err := r.tool(ctx, tree, nil, "go", args...)
			if err == nil {
				_, err = files[variant].WriteString(out)
			}
			if err != nil {
				return "", fmt.Errorf("benchmarks of %s: %w", variant, err)
			}
		}
	}
	out, err := r.tool(ctx, r.dir, nil, "benchstat", files[VariantBase].Name(), files[VariantHead].Name())
	if err != nil {
		return "", fmt.Errorf("%w\n`make bench-compare` installs benchstat; the figures are in %s and %s",
			err, files[VariantBase].Name(), files[VariantHead].Name())
	}
	return out, nil
}

// Instructions of one benchmark, per operation.
type Instructions struct {
	Benchmark string `json:"benchmark"`
	// Base and Head are 0 where the revision does not have it, or could not be counted.
	Base float64 `json:"base"`
	Head float64 `json:"head"`
}

// A count is of one benchmark of the pure packages, with inputs small enough for a
// machine that is simulated.
type count struct {
	pkg, benchmark string
	// ops is the number of operations of the shorter of two runs; what their difference
	// costs is free of the preparation.
	ops  int
	args []string
}

var counts = []count{
	{pkg: "intake", benchmark: "BenchmarkDecode", ops: 2000},
	{pkg: "intake", benchmark: "BenchmarkOrdinary", ops: 2000},
	{pkg: "profile", benchmark: "BenchmarkKafkaRecord", ops: 2000},
	{pkg: "calendar", benchmark: "BenchmarkDue", ops: 20_000},
	{pkg: "join", benchmark: "BenchmarkFold", ops: 2, args: []string{"-payments", "2000"}}, // of a whole log
}

const instructionLimit = 2 * time.Minute

var errNoValgrind = errors.New("valgrind is not on PATH, so no instructions are counted (Debian and Ubuntu: apt-get install valgrind)")

// CountInstructions runs benchmarks under callgrind. Unlike time, the count does not
// depend on what else the machine does. perf would be faster, and counts nothing in
// most virtual machines.
func (r *Revisions) CountInstructions(ctx context.Context) ([]Instructions, error) {
	if _, err := exec.LookPath("valgrind"); err != nil {
		return nil, errNoValgrind
	}
	var all []Instructions
	for _, c := range counts {
		r.say("instructions of %s in %s", c.benchmark, c.pkg)
		one := Instructions{Benchmark: c.pkg + "." + c.benchmark}
		for tree, into := range map[string]*float64{r.base: &one.Base, r.head: &one.Head} {
			var err error
			if *into, err = r.instructionsPerOp(ctx, tree, c); err != nil {
				if ctx.Err() != nil {
					return all, err
				}
				r.say("! %s is not counted: %v", one.Benchmark, err)
			}
		}
		all = append(all, one)
	}
	return all, nil
}

func (r *Revisions) instructionsPerOp(ctx context.Context, tree string, c count) (float64, error) {
	binary := filepath.Join(r.dir, c.pkg+".test")
	folder := filepath.Join(tree, "pipelines", c.pkg)
	if _, err := r.tool(ctx, folder, nil, "go", "test", "-c", "-o", binary, "."); err != nil {
		return 0, err
	}
	once, err := r.instructions(ctx, folder, binary, c, c.ops)
	if err != nil || once == 0 {
		return 0, err
	}
	twice, err := r.instructions(ctx, folder, binary, c, 2*c.ops)
	if err != nil || twice < once {
		return 0, cmp.Or(err, fmt.Errorf("%d operations take fewer instructions than %d", 2*c.ops, c.ops))
	}
	return (twice - once) / float64(c.ops), nil
}

var (
	collected = regexp.MustCompile(`Collected : (\d+)`)
	ranOnce   = regexp.MustCompile(`(?m)^Benchmark\S+\s+\d+`)
)

// instructions of a whole process; 0 where it has no such benchmark.
func (r *Revisions) instructions(ctx context.Context, dir, binary string, c count, ops int) (float64, error) {
	limited, cancel := context.WithTimeoutCause(ctx, instructionLimit, fmt.Errorf("not done after %s", instructionLimit))
	defer cancel()
	// One thread and no collector: else the count depends on when they run. And no
	// optional parts of the processor, of which valgrind lacks some.
	args := []string{
		"--tool=callgrind", "--callgrind-out-file=" + os.DevNull, binary,
		"-test.run", "^$", "-test.bench", "^" + c.benchmark + "$", "-test.benchtime", strconv.Itoa(ops) + "x",
	}
	out, err := r.tool(limited, dir, []string{"GOMAXPROCS=1", "GOGC=off", "GODEBUG=cpu.all=off"}, "valgrind", append(args, c.args...)...)
	if err != nil {
		return 0, err
	}
	found := collected.FindStringSubmatch(out)
	if found == nil {
		return 0, fmt.Errorf("callgrind did not say how many:\n%s", strings.TrimSpace(out))
	}
	if !ranOnce.MatchString(out) {
		return 0, nil
	}
	return strconv.ParseFloat(found[1], 64)
}
