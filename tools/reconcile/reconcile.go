// Package reconcile joins files in one run, without servers: the same intake and
// the same join as the services, in event time.
//
// In come files, a profile that says how they are read, the rules, and a moment
// (as of); out come every alert revision up to that moment, what is unmatched on
// either side, what could not be read, and totals that must add up.
//
// Guarantees. The result is a function of the files' contents and names, the
// profile, the rules and the moment: neither the order in which the files are
// given nor the number of processors changes a byte. Alerts are those that the
// services publish for the same records with the same arrivals; only the evidence
// names file and line. Nothing is said before all files were read.
package reconcile

import (
	"context"
	"errors"
	"fmt"
	"io"
	"runtime"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"
	"google.golang.org/protobuf/proto"

	"settlewatch/pipelines/join"
	"settlewatch/pipelines/profile"
	"settlewatch/schemas/event"
	"settlewatch/schemas/topic"
)

// Options of a run.
type Options struct {
	// Files as they were given; "-" is Stdin, which goes by the name StdinName, by
	// default "<stdin>".
	Files     []string
	Stdin     io.Reader
	StdinName string
	// Profile by which the files are read; nil is profile.Documented.
	Profile *profile.Profile
	// Config are the rules. The sources that it expects are replaced by the files.
	Config *event.Config
	// AsOfMs: what arrived before it is known and what fell due before it is
	// judged, Unix milliseconds.
	AsOfMs int64
	// Rejects receives what could not be read as dead letters, one JSON a line;
	// nil drops them. Files are then read one after the other, for their order.
	Rejects io.Writer
	// Progress is called now and then while Run runs; nil is silent.
	Progress func(Progress)
	// Workers that join; defaults to the number of processors.
	Workers int
}

// Progress of a run.
type Progress struct {
	// ReadBytes of TotalBytes; standard input has no known size and is not in the
	// total.
	ReadBytes, TotalBytes int64
	Judging               bool // all files are read
	// Judgements made so far, of one payment each. How many there will be is not known
	// before the end.
	Judgements int64
}

// StoppedError is a run that was ended from outside. It has no result.
type StoppedError struct {
	Progress Progress
	Err      error
}

// Error says how far the run came.
func (e *StoppedError) Error() string {
	if e.Progress.Judging {
		return "stopped while judging, after all files were read; there is no result"
	}
	if e.Progress.ReadBytes > e.Progress.TotalBytes {
		return fmt.Sprintf("stopped after %d bytes; there is no result", e.Progress.ReadBytes)
	}
	return fmt.Sprintf("stopped after %d of %d bytes; there is no result", e.Progress.ReadBytes, e.Progress.TotalBytes)
}

// Unwrap is why it stopped.
func (e *StoppedError) Unwrap() error { return e.Err }

// progressEvery is the time between two calls of Options.Progress.
const progressEvery = 200 * time.Millisecond

// run is one Run.
type run struct {
	Options
	files   []*file
	sources []string // of the files, as many of each as there are feeds
	shards  []*shard
	read    atomic.Int64
	total   int64
	judge   atomic.Bool
	judged  atomic.Int64
}

// Run reads all files, joins, and reports. An error means that there is no
// result: a file that cannot be used, rules that cannot be run, or ctx.
func Run(ctx context.Context, o Options) (*Report, error) {
	r := &run{Options: o}
	if r.Profile == nil {
		r.Profile = profile.Documented()
	}
	if r.StdinName == "" {
		r.StdinName = "<stdin>"
	}
	if err := r.openFiles(ctx); err != nil {
		return nil, err
	}
	defer func() {
		for _, f := range r.files {
			_ = f.close() // it was only read
		}
	}()
	if err := r.startShards(); err != nil {
		return nil, err
	}
	stop := r.watch()
	defer stop()
	err := r.readAll(ctx)
	if err == nil {
		err = r.judgeAll(ctx)
	}
	if ctx.Err() != nil {
		return nil, &StoppedError{Progress: r.progress(), Err: ctx.Err()}
	}
	if err != nil {
		return nil, err
	}
	return r.report(), nil
}

func (r *run) progress() Progress {
	return Progress{ReadBytes: r.read.Load(), TotalBytes: r.total, Judging: r.judge.Load(), Judgements: r.judged.Load()}
}

// watch reports progress until stop is called.
func (r *run) watch() (stop func()) {
	if r.Progress == nil {
		return func() {}
	}
	done := make(chan struct{})
	var ended sync.WaitGroup
	ended.Go(func() {
		tick := time.NewTicker(progressEvery)
		defer tick.Stop()
		for {
			select {
			case <-done:
				return
			case <-tick.C:
				r.Progress(r.progress())
			}
		}
	})
	return func() { close(done); ended.Wait() }
}

// startShards makes the joins. Payments know nothing of each other, so that each
// shard judges its own; every shard expects every file.
func (r *run) startShards() error {
	if r.Config == nil {
		return errors.New("reconcile: no rules were given")
	}
	config := proto.CloneOf(r.Config)
	var sources []*event.ExpectedSource
	for _, name := range r.sources {
		sources = append(sources, &event.ExpectedSource{Name: name, Clock: event.Clock_CLOCK_PLAYED})
	}
	for _, g := range config.Groups {
		g.Sources = sources
	}
	n := r.Workers
	if n <= 0 {
		n = runtime.GOMAXPROCS(0)
	}
	if n > 1 {
		n *= shardsPerWorker
	}
	for range n {
		whole, err := join.NewWhole(config, r.sources)
		if err != nil {
			return fmt.Errorf("rules %s: %w", config.Rules, err)
		}
		r.shards = append(r.shards, &shard{whole: whole})
	}
	return nil
}

// shardsPerWorker, so that the readers of two files seldom want the same shard.
const shardsPerWorker = 4

// shardOf joins the payment.
func (r *run) shardOf(key string) *shard {
	if len(r.shards) == 1 {
		return r.shards[0]
	}
	return r.shards[topic.Partition([]byte(key), len(r.shards))]
}

// readAll reads the files side by side and folds what they hold. The order among
// files changes nothing: all of a payment's events are sorted before they are
// judged, and nothing is judged before the end.
func (r *run) readAll(ctx context.Context) error {
	reads, readCtx := errgroup.WithContext(ctx)
	reads.SetLimit(max(1, runtime.GOMAXPROCS(0)))
	if r.Rejects != nil {
		reads.SetLimit(1)
	}
	// One broken file does not hide what is wrong with the next.
	for _, f := range r.files {
		reads.Go(func() error { return r.readFile(readCtx, f) })
	}
	if err := reads.Wait(); err != nil {
		return err
	}
	return r.checkFiles()
}

// judgeAll judges all that is due when every file is known up to the moment. What one
// shard has taken is gone before the next is judged, if they share a processor.
func (r *run) judgeAll(ctx context.Context) error {
	r.judge.Store(true)
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(max(1, runtime.GOMAXPROCS(0)))
	for _, s := range r.shards {
		g.Go(func() error { return s.judge(ctx, r.AsOfMs, &r.judged) })
	}
	return g.Wait()
}
