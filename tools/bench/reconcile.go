package bench

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// ReconcilePlan is what RunReconcile measures.
type ReconcilePlan struct {
	// Dir receives the workload's files.
	Dir string
	// Binary is the settlewatch executable.
	Binary   string
	Workload Workload
	Rounds   int
	Cores    int // that a run may use
	Progress func(step string, done, total int64)
	// Done is called after each run.
	Done func(ReconcileResult)
}

// ReconcileResult is one run of `settlewatch reconcile`, from the start of the process
// to its end.
type ReconcileResult struct {
	Lines           int64    `json:"lines"`
	Seconds         float64  `json:"seconds"`
	LinesPerSecond  float64  `json:"lines_per_second"`
	CPUMicroseconds float64  `json:"cpu_us_per_line"` // user and system
	PeakBytes       int64    `json:"peak_bytes"`      // of resident memory
	Alerts          int      `json:"alerts"`
	Exact           bool     `json:"exact"`
	Notes           []string `json:"notes,omitempty"` // what was not as it must be
	OtherCPUSeconds float64  `json:"other_cpu_seconds"`
}

// RunReconcile writes the workload as JSON Lines and reconciles the files again and
// again. Runs whose alerts are not exactly the expected ones say so.
func RunReconcile(ctx context.Context, p ReconcilePlan) error {
	files, err := p.Workload.WriteFiles(p.Dir, func(done, total int64) { p.Progress("written", done, total) })
	if err != nil {
		return err
	}
	for n := range p.Rounds {
		p.Progress("rounds", int64(n), int64(p.Rounds))
		r, err := p.runOnce(ctx, files)
		if err != nil {
			return err
		}
		p.Done(r)
	}
	return nil
}

// findingsStatus is the exit status of a command that found something.
const findingsStatus = 1

func (p ReconcilePlan) runOnce(ctx context.Context, files Files) (ReconcileResult, error) {
	asOf := time.UnixMilli(p.Workload.EndMs()).UTC().Format(time.RFC3339Nano)
	args := append([]string{"reconcile", "--json", "--profile", files.Profile, "--config", files.Rules, "--as-of", asOf}, files.Lines...)
	cmd := exec.CommandContext(ctx, p.Binary, args...)
	cmd.Env = append(os.Environ(), "GOMAXPROCS="+strconv.Itoa(p.Cores))
	var out, messages bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &messages
	before, err := look()
	if err != nil {
		return ReconcileResult{}, err
	}
	err = cmd.Run()
	after, lookErr := look()
	var exit *exec.ExitError
	if ctx.Err() != nil {
		return ReconcileResult{}, context.Cause(ctx)
	}
	if err != nil && (!errors.As(err, &exit) || exit.ExitCode() != findingsStatus) {
		return ReconcileResult{}, fmt.Errorf("run %s reconcile: %w: %s", filepath.Base(p.Binary), err, strings.TrimSpace(messages.String()))
	}
	if lookErr != nil {
		return ReconcileResult{}, lookErr
	}
	r := ReconcileResult{Lines: files.Count, Seconds: after.at.Sub(before.at).Seconds()}
	cpu := cmd.ProcessState.UserTime() + cmd.ProcessState.SystemTime()
	r.LinesPerSecond = float64(r.Lines) / r.Seconds
	r.CPUMicroseconds = float64(cpu.Microseconds()) / float64(r.Lines)
	r.OtherCPUSeconds = max(0, after.machine-before.machine-cpu.Seconds())
	if usage, is := cmd.ProcessState.SysUsage().(*syscall.Rusage); is {
		r.PeakBytes = usage.Maxrss << 10
	}
	p.compare(&r, out.String())
	return r, nil
}

// compare holds the alerts to those that had to come.
func (p ReconcilePlan) compare(r *ReconcileResult, out string) {
	truth := p.Workload.Truth()
	eyes := newWatcher(ourOutput(), truth, func() {})
	for line := range strings.Lines(out) {
		if !strings.HasPrefix(line, `{"summary"`) {
			eyes.add([]byte(line))
		}
	}
	var repeated int
	r.Notes, r.Alerts, repeated = eyes.verdict()
	if repeated > 0 {
		r.Notes = append(r.Notes, fmt.Sprintf("%d alerts came more than once", repeated))
	}
	r.Exact = len(r.Notes) == 0 && r.Alerts == len(truth)
}
