package bench

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"time"
)

// Plan of a comparison.
type Plan struct {
	Workload Workload
	Rounds   int
	// Variants that take turns in every round.
	Variants []string
	// Limit of one run.
	Limit time.Duration
	// Cold leaves out the warm-up, for a first look.
	Cold bool
	// Done is told of every run but the warm-up.
	Done func(Result)
}

// Range of a figure over the runs of a variant.
type Range struct {
	Median float64 `json:"median"`
	Min    float64 `json:"min"`
	Max    float64 `json:"max"`
}

// Summary of a variant over its exact runs.
type Summary struct {
	Variant string `json:"variant"`
	// Runs counts the exact ones, Void the others.
	Runs                 int              `json:"runs"`
	Void                 int              `json:"void"`
	EventsPerSecond      Range            `json:"events_per_second"`
	CPUSecondsPerMillion map[string]Range `json:"cpu_seconds_per_million_events"`
	Total                Range            `json:"cpu_seconds_per_million_events_total"`
	PeakBytes            map[string]Range `json:"peak_bytes"`
	OtherCPUSeconds      Range            `json:"other_cpu_seconds"`
}

// Compare feeds the workload once and runs all variants round by round, so that what
// the machine does meanwhile meets all of them.
func (b *Bench) Compare(ctx context.Context, p Plan) ([]Summary, error) {
	b.options.Say("%d runs, about %s on two cores that have nothing else to do", p.Rounds*len(p.Variants), p.Estimate().Round(time.Minute))
	if err := b.Feed(ctx, p.Workload); err != nil {
		return nil, err
	}
	if !p.Cold {
		if err := b.warmUp(ctx, p.Workload, p.Limit); err != nil {
			return nil, err
		}
	}
	runs := make(map[string][]Result)
	began, done, total := time.Now(), 0, p.Rounds*len(p.Variants)
	for round := range p.Rounds {
		for _, variant := range p.Variants {
			left := ""
			if done >= len(p.Variants) { // each has had its turn
				each := time.Since(began) / time.Duration(done)
				left = fmt.Sprintf(", about %s left", (each * time.Duration(total-done)).Round(time.Minute))
			}
			b.options.Say("round %d of %d: %s%s", round+1, p.Rounds, variant, left)
			done++
			r, err := b.Run(ctx, p.Workload, variant, round+1, p.Limit)
			if err != nil {
				return nil, err
			}
			p.Done(r)
			runs[variant] = append(runs[variant], r)
		}
	}
	out := make([]Summary, 0, len(p.Variants))
	for _, variant := range p.Variants {
		out = append(out, summarize(variant, runs[variant]))
	}
	return out, nil
}

// warmUp is a run of ours that nobody records, also where ours does not take part. The
// broker lives through all runs, and its virtual machine compiles what is used most
// during the first five million events or so: the first runs would pay for it, and it
// would matter who comes first.
func (b *Bench) warmUp(ctx context.Context, w Workload, limit time.Duration) error {
	b.options.Say("a run that does not count, to warm the broker up")
	if _, err := b.RunOurs(ctx, w, VariantOurs, 0, limit); err != nil {
		return fmt.Errorf("warm up: %w", err)
	}
	return nil
}

// Run measures one variant once.
func (b *Bench) Run(ctx context.Context, w Workload, variant string, round int, limit time.Duration) (Result, error) {
	if _, is := setups[variant]; is {
		return b.RunOurs(ctx, w, variant, round, limit)
	}
	return b.RunPeer(ctx, w, variant, round, limit)
}

func summarize(variant string, runs []Result) Summary {
	s := Summary{Variant: variant, CPUSecondsPerMillion: map[string]Range{}, PeakBytes: map[string]Range{}}
	var exact []Result
	for _, r := range runs {
		if r.Exact {
			exact = append(exact, r)
		}
	}
	s.Runs, s.Void = len(exact), len(runs)-len(exact)
	if s.Runs == 0 {
		return s
	}
	over := func(of func(Result) float64) Range {
		values := make([]float64, 0, len(exact))
		for _, r := range exact {
			values = append(values, of(r))
		}
		return rangeOf(values)
	}
	s.EventsPerSecond = over(func(r Result) float64 { return r.EventsPerSecond })
	s.Total = over(func(r Result) float64 { return r.Total })
	s.OtherCPUSeconds = over(func(r Result) float64 { return r.OtherCPUSeconds })
	for name := range maps.Keys(exact[0].CPUSecondsPerMillion) {
		s.CPUSecondsPerMillion[name] = over(func(r Result) float64 { return r.CPUSecondsPerMillion[name] })
		s.PeakBytes[name] = over(func(r Result) float64 { return float64(r.PeakBytes[name]) })
	}
	return s
}

// rangeOf at least one value. The median of an even number is the mean of the two in
// the middle.
func rangeOf(values []float64) Range {
	slices.Sort(values)
	n := len(values)
	return Range{Median: (values[(n-1)/2] + values[n/2]) / 2, Min: values[0], Max: values[n-1]}
}

// Processes that a summary has figures of, ours first in the order of the flow.
func (s Summary) Processes() []string {
	var names []string
	for _, name := range append(slices.Clone(Services), jobName, brokerName, redisName, clickHouseName, harnessName) {
		if _, has := s.CPUSecondsPerMillion[name]; has {
			names = append(names, name)
		}
	}
	return names
}

// Void tells which variants have runs that do not count.
func Void(all []Summary) error {
	for _, s := range all {
		if s.Void > 0 {
			return fmt.Errorf("%s: %d of %d runs are void", s.Variant, s.Void, s.Runs+s.Void)
		}
	}
	return nil
}
