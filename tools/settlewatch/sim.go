package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/schollz/progressbar/v3"
	"github.com/spf13/cobra"

	"settlewatch/pipelines/sim/world"
)

type simFlags struct {
	runs    int
	seed    uint64
	fresh   bool
	planted string
	replay  string
	watch   bool
	json    bool
	dir     string
}

func simCommand() *cobra.Command {
	var f simFlags
	cmd := &cobra.Command{
		Use:   "sim [--runs N] [--seed S]",
		Short: "Simulate crashes, lost replies, zombies and rollbacks, and look for a wrong alert",
		Long: `Runs the product's own loops (ingest, join, load) on simulated servers under a
scheduler that owns every interleaving, and lets them crash between any two effects:
requests and replies get lost, arrive twice or late, partitions move while their former
owner goes on, clocks are wrong, Redis is rolled back or wiped, consumer groups are
forgotten, rules change. After each run it checks, among others, that the alerts are byte
for byte those of an independent second implementation, that every raw record is in the
log once and in order, that every loaded state is a fold of the log, that the warehouse
holds what the topics hold, and that nothing stalls.

The same seed is the same run on every machine. A failure is cut down to the faults and
records that it needs and written to a file, with the command that replays it.

--planted shows that the simulation would notice: it puts known bugs around the loops,
one at a time, and says how many runs it took to catch each.

Exit status: 0 nothing was found (with --planted: every bug was), 1 something was, 2 it
could not run.`,
		Example: `  settlewatch sim
  settlewatch sim --runs 20000 --seed 7
  settlewatch sim --fresh
  settlewatch sim --planted
  settlewatch sim --planted=commit-before-publish   one of them, cut down, to watch
  settlewatch sim --replay sim-4711.json --watch`,
		Args: arguments(cobra.NoArgs, "it takes flags only"),
		RunE: func(cmd *cobra.Command, _ []string) error {
			return runSim(cmd.Context(), f, cmd.OutOrStdout(), cmd.ErrOrStderr())
		},
	}
	flags := cmd.Flags()
	flags.IntVar(&f.runs, "runs", 3000, "runs to make; with --planted, for each bug at most")
	flags.Uint64Var(&f.seed, "seed", 1, "seed of the first run, the others follow it")
	flags.BoolVar(&f.fresh, "fresh", false, "begin at a seed that is drawn, and printed")
	cmd.MarkFlagsMutuallyExclusive("seed", "fresh")
	flags.StringVar(&f.planted, "planted", "", "catch planted bugs: all, or the one that is named")
	flags.Lookup("planted").NoOptDefVal = "all"
	flags.StringVar(&f.replay, "replay", "", "a file with the schedule of a failure; - is standard input")
	flags.BoolVar(&f.watch, "watch", false, "with --replay: say every step")
	flags.StringVar(&f.dir, "dir", ".", "where the schedules of failures are written")
	flags.BoolVar(&f.json, "json", false, "print JSON: one object, with --planted one a line for each bug")
	return cmd
}

// shrinkTries bounds the search for a smaller schedule, in runs.
const shrinkTries = 2000

func runSim(ctx context.Context, f simFlags, out, messages io.Writer) error {
	switch {
	case f.runs < 1:
		return fmt.Errorf("sim: --runs %d: want at least 1", f.runs)
	case f.replay != "":
		return replaySim(f, out)
	case f.planted != "":
		return plantSim(ctx, f, out, messages)
	}
	if f.fresh {
		f.seed = rand.Uint64() >> 20
		fmt.Fprintf(messages, "sim: begins at seed %d\n", f.seed)
	}
	bar := newRuns(messages, f.runs)
	began := time.Now()
	totals, failures, err := world.Campaign{Seed: f.seed, Runs: f.runs, Most: 3, Told: bar.told}.Run(ctx)
	bar.end()
	if err != nil {
		return err
	}
	if ctx.Err() != nil {
		fmt.Fprintf(messages, "sim: stopped after %d of %d runs\n", totals.Runs, f.runs)
	}
	found := make([]finding, 0, len(failures))
	for _, failed := range failures {
		fmt.Fprintf(messages, "sim: seed %d fails, looking for the smallest schedule that does …\n", failed.Schedule.Seed)
		one, err := f.write(world.Shrink(ctx, failed, shrinkTries))
		if err != nil {
			return err
		}
		found = append(found, one)
	}
	if err := showSim(f, out, totals, found, time.Since(began)); err != nil {
		return err
	}
	if len(found) > 0 {
		return errFindings
	}
	return ctx.Err() // what was asked for is not done
}

// finding is one failure, for programs.
type finding struct {
	Seed       uint64            `json:"seed"`
	Violations []world.Violation `json:"violations"`
	Faults     int               `json:"faults"`
	Records    int               `json:"records"`
	File       string            `json:"file"`
	Replay     string            `json:"replay"`
}

// write puts the schedule of a failure where it can be replayed from.
func (f simFlags) write(r *world.Report) (finding, error) {
	name := fmt.Sprintf("%s/sim-%d.json", strings.TrimSuffix(f.dir, "/"), r.Schedule.Seed)
	name = strings.TrimPrefix(name, "./")
	text, err := json.MarshalIndent(r.Schedule, "", " ")
	if err == nil {
		err = os.WriteFile(name, append(text, '\n'), 0o644)
	}
	if err != nil {
		return finding{}, fmt.Errorf("write the schedule of seed %d: %w", r.Schedule.Seed, err)
	}
	return finding{
		Seed: r.Schedule.Seed, Violations: r.Violations, Faults: len(r.Schedule.Faults), Records: len(r.Schedule.Plan.Items),
		File: name, Replay: "settlewatch sim --replay " + name + " --watch",
	}, nil
}

func showSim(f simFlags, out io.Writer, t world.Totals, found []finding, took time.Duration) error {
	if f.json {
		return json.NewEncoder(out).Encode(struct {
			Seed     uint64      `json:"seed"`
			Runs     int         `json:"runs"`
			Failed   int         `json:"failed"`
			Seconds  float64     `json:"seconds"`
			Stats    world.Stats `json:"stats"`
			Findings []finding   `json:"findings"`
		}{f.seed, t.Runs, t.Failed, took.Seconds(), t.Stats, found})
	}
	var b strings.Builder
	for _, one := range found {
		fmt.Fprintf(&b, "seed %d fails, with %d faults and %d records:\n", one.Seed, one.Faults, one.Records)
		for _, v := range one.Violations {
			fmt.Fprintf(&b, "  %s\n", v)
		}
		fmt.Fprintf(&b, "  replay it: %s\n", one.Replay)
	}
	s := t.Stats
	fmt.Fprintf(&b, "%d runs from seed %d: %d failed (%d steps, %d faults, %d killed processes, %d loaded states, %d alerts; %s)\n",
		t.Runs, f.seed, t.Failed, s.Steps, s.Faults, s.Crashes, s.Loads, s.Alerts, took.Round(time.Second/10))
	_, err := io.WriteString(out, b.String())
	return err
}

// replaySim plays one schedule again.
func replaySim(f simFlags, out io.Writer) error {
	in := io.Reader(os.Stdin)
	if f.replay != "-" {
		file, err := os.Open(f.replay)
		if err != nil {
			return fmt.Errorf("read schedule: %w", err)
		}
		defer file.Close()
		in = file
	}
	var s world.Schedule
	if err := json.NewDecoder(in).Decode(&s); err != nil {
		return fmt.Errorf("read schedule %s: %w", f.replay, err)
	}
	if f.watch && !f.json {
		s.Watch = out
	}
	r, err := world.Replay(&s)
	if err != nil {
		return err
	}
	if f.json {
		err = json.NewEncoder(out).Encode(r)
	} else {
		for _, v := range r.Violations {
			fmt.Fprintln(out, v)
		}
		fmt.Fprintf(out, "%d violations in %d steps\n", len(r.Violations), r.Stats.Steps)
	}
	if err == nil && r.Failed() {
		return errFindings
	}
	return err
}

// plantSim plants bugs, one at a time, and says how many runs each took.
func plantSim(ctx context.Context, f simFlags, out, messages io.Writer) error {
	table := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	known, missed := false, 0
	for _, flaw := range world.Flaws {
		if f.planted != "all" && f.planted != flaw.Name {
			continue
		}
		known = true
		bar := newRuns(messages, f.runs)
		totals, failures, err := world.Campaign{Seed: f.seed, Runs: f.runs, Planted: flaw.Name, Most: 1, Told: bar.told}.Run(ctx)
		bar.end()
		if err != nil {
			return err
		}
		if ctx.Err() != nil {
			break
		}
		check := "NOT CAUGHT"
		if len(failures) > 0 {
			check = failures[0].Violations[0].Check
		} else {
			missed++
		}
		if f.json {
			err = json.NewEncoder(out).Encode(map[string]any{"planted": flaw.Name, "about": flaw.About, "runs": totals.First, "of": totals.Runs, "caught": len(failures) > 0, "check": check})
		} else {
			_, err = fmt.Fprintf(table, "%s\t%d runs\t%s\t%s\n", flaw.Name, totals.First, flaw.About, check)
		}
		if err == nil && len(failures) > 0 && f.planted != "all" {
			err = f.show(ctx, failures[0], messages)
		}
		if err != nil {
			return err
		}
	}
	if err := table.Flush(); err != nil {
		return err
	}
	switch {
	case !known:
		return fmt.Errorf("sim: no planted bug is called %q; `settlewatch sim --planted` lists them", f.planted)
	case ctx.Err() != nil:
		return ctx.Err()
	case missed > 0:
		return errors.Join(errFindings)
	}
	return nil
}

// show cuts a caught bug's schedule down and says how to see it.
func (f simFlags) show(ctx context.Context, failed *world.Report, messages io.Writer) error {
	one, err := f.write(world.Shrink(ctx, failed, shrinkTries))
	if err == nil {
		fmt.Fprintf(messages, "sim: %d faults and %d records are enough to show it: %s\n", one.Faults, one.Records, one.Replay)
	}
	return err
}

// runs shows how many runs are done: a bar on a terminal, else a line now and then.
type runs struct {
	out   io.Writer
	bar   *progressbar.ProgressBar
	all   int
	spoke time.Time
}

func newRuns(messages io.Writer, all int) *runs {
	r := &runs{out: messages, all: all, spoke: time.Now()}
	if file, ok := messages.(*os.File); ok && isTerminal(file) {
		r.bar = progressbar.NewOptions(all, progressbar.OptionSetWriter(messages), progressbar.OptionShowCount(),
			progressbar.OptionSetDescription("runs"), progressbar.OptionClearOnFinish(), progressbar.OptionThrottle(100*time.Millisecond))
	}
	return r
}

func (r *runs) told(t world.Totals) {
	if r.bar != nil {
		_ = r.bar.Set(t.Runs) // a bar that cannot be shown changes nothing
		return
	}
	if time.Since(r.spoke) >= 5*time.Second {
		r.spoke = time.Now()
		fmt.Fprintf(r.out, "sim: %d of %d runs, %d failed\n", t.Runs, r.all, t.Failed)
	}
}

func (r *runs) end() {
	if r.bar != nil {
		_ = r.bar.Clear()
	}
}
