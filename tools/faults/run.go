package faults

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"settlewatch/pipelines/oracle/invariant"
	"settlewatch/tools/demo"
)

// Options say what to run.
type Options struct {
	// Faults by number; none are all.
	Faults []int
	// Runs of each. Defaults to 1.
	Runs int
	// Payments of a run's traffic. Defaults to 3,000; raised to one of every case.
	Payments int
	Seed     uint64
	// Quick keeps only the quick half.
	Quick bool
	// Lanes is how many faults run at once, each on servers of its own. Defaults to 1.
	Lanes int
	// Dir for data and logs; the folder of a run without violations is removed.
	Dir string
	// Log receives a line per run.
	Log io.Writer
}

// Result is what the runs of one fault came to. Its JSON is one line.
type Result struct {
	Fault       int     `json:"fault"`
	Name        string  `json:"name"`
	Runs        int     `json:"runs"`
	Violations  int     `json:"violations"`
	RecoveryP50 float64 `json:"recovery_s_p50"`
	RecoveryMax float64 `json:"recovery_s_max"`
	PeakMiB     float64 `json:"peak_memory_mib"`
	// PeakOf is the service that had it.
	PeakOf string `json:"peak_memory_of"`
	// Peaks are those of every service, in MiB.
	Peaks map[string]float64 `json:"peak_memory_mib_by_service"`
	// ReplayRecords is how many records of the payment log a lost state was folded from
	// again, on average, and ReplayPerMillion the time per million of them, from the loss
	// until every partition was beyond where it had been. The median run.
	ReplayRecords    int64   `json:"replay_records,omitempty"`
	ReplayPerMillion float64 `json:"replay_s_per_million,omitempty"`
	// Seconds that a run took on average, all included.
	Seconds float64 `json:"seconds_per_run"`

	Scenario Scenario `json:"-"`
	// Found are the violations, and Notes what the runs said, the first of each.
	Found []invariant.Violation `json:"-"`
	Notes []string              `json:"-"`

	recoveries []float64
	replays    []replay
}

// Report is all results and where they come from.
type Report struct {
	Results  []Result
	Versions string
	// Load of the machine when it began, for people.
	Load    string
	Began   time.Time
	Took    time.Duration
	Options Options
}

// Violations of all faults.
func (r *Report) Violations() (n int) {
	for _, x := range r.Results {
		n += x.Violations
	}
	return n
}

// Run runs every chosen fault as often as asked, on servers that it starts and ends.
// told is called after each fault, never twice at once.
func Run(ctx context.Context, o Options, told func(Result)) (report Report, err error) {
	o.Runs, o.Payments = max(1, o.Runs), max(o.Payments, 1)
	scenarios, err := choose(o)
	if err != nil {
		return Report{}, err
	}
	report = Report{Began: time.Now(), Options: o, Load: load()}
	lanes, err := openLanes(ctx, o)
	defer func() {
		for _, g := range lanes {
			err = errors.Join(err, g.close())
		}
		report.Took = time.Since(report.Began)
	}()
	if err != nil {
		return report, fmt.Errorf("start the servers: %w", err)
	}
	if report.Versions, err = lanes[0].versions(ctx); err != nil {
		return report, err
	}
	report.Results, err = spread(ctx, lanes, scenarios, func(ctx context.Context, g *ground, s Scenario) (Result, error) {
		return g.all(ctx, s, o)
	}, told)
	return report, err
}

// spread runs each scenario once, in the first lane that is free, and gives the results of
// those that ended in the scenarios' order. told is never called twice at once. After an
// error nothing new begins.
func spread[Lane any](ctx context.Context, lanes []Lane, scenarios []Scenario,
	run func(context.Context, Lane, Scenario) (Result, error), told func(Result),
) (ended []Result, err error) {
	results := make([]*Result, len(scenarios))
	var next int
	var turn sync.Mutex // next, results, told
	work, ctx := errgroup.WithContext(ctx)
	for _, lane := range lanes {
		work.Go(func() error {
			for ctx.Err() == nil {
				turn.Lock()
				at := next
				next++
				turn.Unlock()
				if at >= len(scenarios) {
					return nil
				}
				r, err := run(ctx, lane, scenarios[at])
				if err != nil {
					return err
				}
				turn.Lock()
				results[at] = &r
				told(r)
				turn.Unlock()
			}
			return context.Cause(ctx)
		})
	}
	err = work.Wait()
	for _, r := range results {
		if r != nil {
			ended = append(ended, *r)
		}
	}
	return ended, err
}

// openLanes starts the servers of each lane, one lane after the other. Those that stand
// must be closed, also where there is an error.
func openLanes(ctx context.Context, o Options) (lanes []*ground, err error) {
	for n := range max(1, o.Lanes) {
		dir := o.Dir
		if o.Lanes > 1 {
			dir = filepath.Join(dir, fmt.Sprintf("lane-%d", n+1))
			if err := os.MkdirAll(dir, 0o755); err != nil {
				return lanes, fmt.Errorf("make a folder: %w", err)
			}
		}
		starting, started := context.WithTimeout(ctx, 5*time.Minute)
		g, err := open(starting, dir, o.Log)
		started()
		if err != nil {
			return lanes, err
		}
		lanes = append(lanes, g)
	}
	return lanes, nil
}

// all are the runs of one scenario, on servers of its own where it needs such.
func (g *ground) all(ctx context.Context, s Scenario, o Options) (r Result, ended error) {
	if s.disks {
		own, err := onDisks(ctx, filepath.Join(g.dir, "disks"), g.log)
		if err != nil {
			return r, fmt.Errorf("fault %d: start servers on disks of their own: %w", s.Number, err)
		}
		if own != nil {
			defer func() { ended = errors.Join(ended, own.close()) }()
			g = own
		}
	}
	r = Result{Fault: s.Number, Name: s.Name, Scenario: s}
	for n := range o.Runs {
		if err := g.once(ctx, s, o, uint64(n), &r); err != nil {
			return r, fmt.Errorf("fault %d, run %d: %w", s.Number, n+1, err)
		}
	}
	return r, nil
}

func choose(o Options) ([]Scenario, error) {
	var chosen []Scenario
	known := map[int]bool{}
	for _, s := range Scenarios() {
		known[s.Number] = true
		if (len(o.Faults) == 0 || slices.Contains(o.Faults, s.Number)) && (!o.Quick || s.Quick) {
			chosen = append(chosen, s)
		}
	}
	for _, n := range o.Faults {
		if !known[n] {
			return nil, fmt.Errorf("fault %d is not on the list: `settlewatch faults --list` shows it", n)
		}
	}
	slices.SortFunc(chosen, func(a, b Scenario) int { return a.Number - b.Number })
	return chosen, nil
}

// once is one run: begin, break, let it come to rest, end, check.
func (g *ground) once(ctx context.Context, s Scenario, o Options, n uint64, r *Result) error {
	began := time.Now()
	dir := filepath.Join(g.dir, fmt.Sprintf("fault-%s-run-%d", s.label(), n+1))
	w, err := g.begin(ctx, s, o.Seed+n, o.Payments, dir)
	if err != nil {
		if w != nil {
			err = errors.Join(err, w.end())
		}
		return err
	}
	found := w.play(s)
	err = w.undo()
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	r.add(w, found, time.Since(began))
	g.say(s, n, w, found, time.Since(began))
	if len(found) == 0 {
		err = errors.Join(err, os.RemoveAll(dir))
	}
	return err
}

// play is what happens in a run, and what is found then. That it never came to rest
// is a finding, not a failure of the checker.
func (w *world) play(s Scenario) (found []invariant.Violation) {
	failed := func(what string, err error) {
		if err != nil {
			found = append(found, invariant.Violation{Invariant: i7, Place: what, What: err.Error()})
		}
	}
	err := s.inject(w)
	if err == nil && !w.expects.refused && !w.expects.live {
		err = w.settle()
	}
	failed(s.Name, err)
	failed("end", w.end())
	found = append(found, w.found...)
	if err == nil && !w.expects.refused {
		began := time.Now()
		checked, err := w.check()
		w.checked = time.Since(began)
		failed("check", err)
		found = append(found, checked...)
	}
	found = append(found, w.crashes()...)
	return append(found, w.bounds(s)...)
}

// crashes: no service leaves a stack trace.
func (w *world) crashes() (found []invariant.Violation) {
	for _, name := range demo.Services {
		text, err := os.ReadFile(filepath.Join(w.dir, "logs", name+".log"))
		if err != nil {
			continue // it was never started
		}
		if at := bytes.Index(text, []byte("goroutine ")); at >= 0 {
			found = append(found, invariant.Violation{
				Invariant: i7, Place: name, What: fmt.Sprintf("a stack trace: %.500s", text[max(0, at-200):]),
			})
		}
	}
	return found
}

const (
	recoveryMostSeconds = 30
	memoryMostMiB       = 512
)

// bounds is I6.
func (w *world) bounds(s Scenario) []invariant.Violation {
	most := cmp.Or(s.mostSeconds, recoveryMostSeconds)
	var measures []invariant.Measure
	for service, mib := range w.watch.peaks() {
		measures = append(measures, invariant.Measure{
			Name: "memory of " + service, Value: mib, Most: cmp.Or(s.mostMiB[service], memoryMostMiB), Unit: "MiB",
		})
	}
	for _, m := range w.measured {
		measures = append(measures, invariant.Measure{Name: "recovery of " + m.what, Value: m.seconds, Most: most, Unit: "s"})
	}
	return invariant.WithinBounds(measures...)
}

// notesMost bounds what is kept of each fault.
const notesMost = 20

func (r *Result) add(w *world, found []invariant.Violation, took time.Duration) {
	r.Seconds = (r.Seconds*float64(r.Runs) + took.Seconds()) / float64(r.Runs+1)
	r.Runs++
	r.Violations += len(found)
	r.Found = append(r.Found, found[:min(len(found), max(0, notesMost-len(r.Found)))]...)
	r.Notes = append(r.Notes, w.notes[:min(len(w.notes), max(0, notesMost-len(r.Notes)))]...)
	r.addPeaks(w.watch.peaks())
	r.addReplays(w.replayed)
	for _, m := range w.measured {
		r.recoveries = append(r.recoveries, m.seconds)
	}
	slices.Sort(r.recoveries)
	if n := len(r.recoveries); n > 0 {
		r.RecoveryP50, r.RecoveryMax = r.recoveries[n/2], r.recoveries[n-1]
	}
}

func (r *Result) addPeaks(mib map[string]float64) {
	if r.Peaks == nil {
		r.Peaks = map[string]float64{}
	}
	for service, v := range mib {
		r.Peaks[service] = max(r.Peaks[service], v)
		if v > r.PeakMiB || v == r.PeakMiB && service < r.PeakOf {
			r.PeakMiB, r.PeakOf = v, service
		}
	}
}

func (r *Result) addReplays(more []replay) {
	r.replays = append(r.replays, more...)
	if len(r.replays) == 0 {
		return
	}
	var records int64
	var each []float64
	for _, x := range r.replays {
		records += x.records
		each = append(each, x.perMillion())
	}
	slices.Sort(each)
	r.ReplayRecords, r.ReplayPerMillion = records/int64(len(r.replays)), each[len(each)/2]
}

func (g *ground) say(s Scenario, n uint64, w *world, found []invariant.Violation, took time.Duration) {
	if g.log == nil {
		return
	}
	recovered := ""
	for _, m := range w.measured {
		recovered += fmt.Sprintf(", %s back after %.1f s", m.what, m.seconds)
	}
	service, mib := w.watch.largest()
	_, _ = fmt.Fprintf(g.log, "fault %d run %d: %d violations in %.1f s, %.1f of them to check%s, at most %.0f MiB (%s)\n",
		s.Number, n+1, len(found), took.Seconds(), w.checked.Seconds(), recovered, mib, service)
	for _, r := range w.replayed {
		_, _ = fmt.Fprintf(g.log, "  %d records of the log folded again, %.1f s per million\n", r.records, r.perMillion())
	}
	for _, v := range found[:min(len(found), 5)] {
		_, _ = fmt.Fprintf(g.log, "  %.2000s\n", v)
	}
	if len(found) > 0 {
		_, _ = fmt.Fprintf(g.log, "  logs: %s\n", w.dir)
	}
}
