package bench

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"time"

	"golang.org/x/sync/errgroup"

	"settlewatch/pipelines/servers/process"
)

// Process names in a Result.
const (
	harnessName    = "bench" // this program: it only watches
	jobName        = "job"   // a peer
	redisName      = "redis"
	clickHouseName = "clickhouse"
)

// Result of one run.
type Result struct {
	Variant  string `json:"variant"`
	Round    int    `json:"round"`
	Payments int64  `json:"payments"`
	Events   int64  `json:"events"`
	Alerts   int    `json:"alerts"`
	// Repeated counts alerts that came again, byte for byte the same statement.
	Repeated int  `json:"repeated"`
	Exact    bool `json:"exact"`
	// Notes say what was not exact.
	Notes           []string `json:"notes,omitempty"`
	Seconds         float64  `json:"seconds"`
	EventsPerSecond float64  `json:"events_per_second"`
	// CPUSecondsPerMillion events, user and system, by process; Total is the sum
	// without this program's own.
	CPUSecondsPerMillion map[string]float64 `json:"cpu_seconds_per_million_events"`
	Total                float64            `json:"cpu_seconds_per_million_events_total"`
	// OtherCPUSeconds is what the rest of the machine used meanwhile: more than a few
	// seconds disturbed the run.
	OtherCPUSeconds float64 `json:"other_cpu_seconds"`
	// Others are who used most of that.
	Others []Other `json:"others,omitempty"`
	// PeakBytes is the largest resident memory, by process.
	PeakBytes map[string]int64 `json:"peak_bytes"`
}

// stopwatch measures one run.
type stopwatch struct {
	pids  map[string]int
	first chan struct{} // a record was taken in
	began usage
	ended usage
	peaks map[string]int64
	err   error
}

func newStopwatch(pids map[string]int) *stopwatch {
	return &stopwatch{pids: maps.Clone(pids), first: make(chan struct{}, 1)}
}

// begun is called, by whoever sees it, when the first record is taken in.
func (s *stopwatch) begun() {
	select {
	case s.first <- struct{}{}:
	default: // somebody has seen it before
	}
}

// start looks at everything for the first time.
func (s *stopwatch) start() (err error) {
	s.began, err = look()
	return err
}

// end looks at everything once more.
func (s *stopwatch) end() {
	ended, err := look()
	s.ended, s.err = ended, errors.Join(s.err, err)
	s.peaks = make(map[string]int64, len(s.pids))
	for name, pid := range s.pids {
		peak, err := statusBytes(pid, "VmHWM")
		s.peaks[name], s.err = peak, errors.Join(s.err, err)
	}
}

// seconds of the span.
func (s *stopwatch) seconds() float64 { return s.ended.at.Sub(s.began.at).Seconds() }

// used is the CPU time of each process in seconds, other that of the rest of the
// machine.
func (s *stopwatch) used() (byName map[string]float64, other float64) {
	byName, other = make(map[string]float64, len(s.pids)), s.ended.machine-s.began.machine
	for name, pid := range s.pids {
		byName[name] = s.ended.seconds(pid, s.pids) - s.began.seconds(pid, s.pids)
		other -= byName[name]
	}
	return byName, other
}

// result is what the stopwatch shows.
func (s *stopwatch) result(variant string, w Workload) Result {
	events := w.EventCount()
	seconds := s.seconds()
	used, other := s.used()
	r := Result{
		Variant: variant, Payments: w.Payments, Events: events, Seconds: seconds,
		EventsPerSecond:      float64(events) / seconds,
		CPUSecondsPerMillion: make(map[string]float64, len(s.pids)), PeakBytes: s.peaks,
		OtherCPUSeconds: other, Others: others(s.began, s.ended, s.pids, other),
	}
	for name, cpu := range used {
		perMillion := cpu * 1e6 / float64(events)
		r.CPUSecondsPerMillion[name] = perMillion
		if name != harnessName {
			r.Total += perMillion
		}
	}
	return r
}

// extraWait is how long a run is watched for alerts that should not come.
const extraWait = 2 * time.Second

// A race is one run between its start and its end.
type race struct {
	watch *stopwatch
	eyes  *watcher
	// processes that must live until the end.
	processes map[string]*process.Process
	// more is what must be true besides the alerts, before the run has ended; nil is
	// nothing.
	more func(context.Context) error
	// limit bounds the run.
	limit time.Duration
}

// errTooSlow ends a run that does not come to its end.
var errTooSlow = errors.New("not all expected alerts came in time")

// run waits for the first record and for the last alert. What the watcher saw by then
// is the verdict's; a run that took too long has ended too.
func (b *Bench) run(ctx context.Context, r race) error {
	limited, cancel := context.WithTimeoutCause(ctx, r.limit, errTooSlow)
	defer cancel()
	watching, stop := context.WithCancel(ctx)
	defer stop()
	var g errgroup.Group
	g.Go(func() error { return r.eyes.run(watching, b.bus) })

	err := wait(limited, r.watch.first, r.processes)
	if err == nil {
		err = r.watch.start()
	}
	if err == nil {
		err = wait(limited, r.eyes.complete, r.processes)
	}
	if err == nil && r.more != nil {
		err = r.more(limited)
		r.watch.end()
	}
	if err == nil {
		_ = wait(context.WithoutCancel(ctx), after(extraWait), nil) // nothing ends it early
	}
	stop()
	return errors.Join(err, g.Wait(), r.watch.err)
}

func after(d time.Duration) <-chan struct{} {
	done := make(chan struct{})
	time.AfterFunc(d, func() { close(done) })
	return done
}

// wait returns when what has happened, or with the reason why it will not.
func wait(ctx context.Context, what <-chan struct{}, processes map[string]*process.Process) error {
	died := make(chan error, len(processes))
	ended, stop := context.WithCancel(context.Background())
	defer stop()
	for name, p := range processes {
		go func() {
			select {
			case <-p.Done():
				died <- fmt.Errorf("%s ended before the run did: %w", name, cmpErr(p.Err()))
			case <-ended.Done():
			}
		}()
	}
	select {
	case <-what:
		return nil
	case err := <-died:
		return err
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

var errExitZero = errors.New("exit status 0")

func cmpErr(err error) error {
	if err == nil {
		return errExitZero
	}
	return err
}

// spotter passes a process's output on and calls back for lines that hold a text.
type spotter struct {
	next  io.Writer
	on    map[string]func(line string)
	carry []byte
}

// Write never fails: what a log loses changes nothing.
func (s *spotter) Write(text []byte) (int, error) {
	_, _ = s.next.Write(text)
	s.carry = append(s.carry, text...)
	for {
		line, rest, found := bytes.Cut(s.carry, []byte{'\n'})
		if !found {
			return len(text), nil
		}
		for want, call := range s.on {
			if bytes.Contains(line, []byte(want)) {
				call(string(line))
			}
		}
		s.carry = rest
	}
}

// harness is this program, as a process among the others.
func harness() map[string]int { return map[string]int{harnessName: os.Getpid()} }
