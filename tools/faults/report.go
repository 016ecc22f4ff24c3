package faults

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"settlewatch/tools/demo"
	"settlewatch/tools/stack"
)

// preamble of the report; the rest is what was seen.
const preamble = `# What happens when things break

Written by ` + "`settlewatch faults --report`" + `; not by hand. Each fault runs the built services against
Apache Kafka, redis-server and ClickHouse as processes of their own, under a load of seeded card
traffic. Servers stay up and are emptied before each run. Every run ends with the same questions,
whatever the fault was about:

| | |
|-|-|
| I1 | the state in Redis is byte for byte what folding the payment log gives |
| I2 | the alerts are those of the oracle, a second implementation of the rules, and those that the traffic planted; repeats are byte for byte the same |
| I3 | commits follow each other; the late commit of an owner that was replaced is refused |
| I4 | ClickHouse holds what Kafka holds, each event and each revision once |
| I5 | amounts add up, per payment and per currency, in Kafka and in ClickHouse; every raw record is an event or a dead letter |
| I6 | the time to recover and the memory of a service stay within bounds |
| I7 | nothing stands still for longer than 12 s without saying so; what must not be gone on with is refused, and told |

The marks of the traffic are played, so that weeks pass in seconds; waits that would be long are
shorter, and the table of faults says by how much. A group's session is 3 s where nothing else is
said (` + "`kafka-session-timeout`" + `, and ` + "`group.min.session.timeout.ms`" + ` of the broker at 1 s).

Repeat it with ` + "`make faults`" + ` (all, 5 runs each), ` + "`make faults FAULT=11 RUNS=20`" + ` (one of them) or
` + "`make faults-quick`" + ` (those marked “quick”, as CI does).
`

// Markdown is the report for people.
func (r *Report) Markdown() string {
	var b strings.Builder
	b.WriteString(preamble)
	fmt.Fprintf(&b, "\n## Seen\n\n%s UTC: %s%s; %s. Payments of a run: %d; seeds from %d on. %d runs in %.0f minutes%s, %d violations.\n",
		r.Began.UTC().Format("2006-01-02 15:04"), stack.Machine(), r.Load, r.Versions, r.Options.Payments, r.Options.Seed,
		r.runs(), r.Took.Minutes(), r.sideBySide(), r.Violations())
	b.WriteString("\n| # | fault | about | quick | runs | violations | back after, p50 | max | peak memory |\n|-|-|-|-|-|-|-|-|-|\n")
	for _, x := range r.Results {
		quick := ""
		if x.Scenario.Quick {
			quick = "yes"
		}
		back, most := "", ""
		if len(x.recoveries) > 0 {
			back, most = fmt.Sprintf("%.1f s", x.RecoveryP50), fmt.Sprintf("%.1f s", x.RecoveryMax)
		}
		fmt.Fprintf(&b, "| %d | %s | %s | %s | %d | %d | %s | %s | %.0f MiB (%s) |\n", x.Fault, x.Name, strings.Join(x.Scenario.Holds, " "),
			quick, x.Runs, x.Violations, back, most, x.PeakMiB, x.PeakOf)
	}
	b.WriteString("\n“Back after” counts from the end of the fault, or from the kill, to the first new alert or commit. Of 17 to 19 it is\n" +
		"the time until the service says that it refuses; of 29 the time for all that was waiting.\n")
	r.memory(&b)
	r.replays(&b)
	b.WriteString("\n## What stands in for what, and on what scale\n\n")
	for _, x := range r.Results {
		if x.Scenario.Instead != "" {
			fmt.Fprintf(&b, "- **%d, %s**: %s.\n", x.Fault, x.Name, x.Scenario.Instead)
		}
		if x.Scenario.Scale != "" {
			fmt.Fprintf(&b, "- **%d, %s**, scale: %s.\n", x.Fault, x.Name, x.Scenario.Scale)
		}
	}
	b.WriteString("\n## Said by the runs\n\n")
	for _, x := range r.Results {
		for _, note := range x.Notes {
			fmt.Fprintf(&b, "- %d: %s\n", x.Fault, note)
		}
	}
	if r.Violations() > 0 {
		b.WriteString("\n## Violations\n\n")
		for _, x := range r.Results {
			for _, v := range x.Found {
				fmt.Fprintf(&b, "- %d: %.500s\n", x.Fault, strings.ReplaceAll(v.String(), "\n", " "))
			}
		}
	}
	return r.withoutPaths(b.String())
}

// withoutPaths has words for the folders of the machine on which the report was made:
// what servers and services said may name them, and they mean nothing to a reader.
func (r *Report) withoutPaths(text string) string {
	var words []string
	if dir, err := filepath.Abs(r.Options.Dir); err == nil && r.Options.Dir != "" {
		words = append(words, dir, "DIR")
	}
	if home, err := os.UserHomeDir(); err == nil && len(home) > 1 {
		words = append(words, filepath.Clean(home), "HOME")
	}
	words = append(words, filepath.Clean(os.TempDir()), "TMP")
	return strings.NewReplacer(words...).Replace(text) // the first that fits: DIR lies in TMP
}

// memory is what every service has had at most, fault by fault.
func (r *Report) memory(b *strings.Builder) {
	fmt.Fprintf(b, "\n## Memory of every service\n\nThe largest resident set of any run, in MiB. A service may have %d; in a backlog and a burst (29, 30) the\njoiner %.0f, for it holds every payment that was waiting.\n\n| # | %s |\n|-|%s\n",
		memoryMostMiB, backlogMostMiB["joiner"], strings.Join(demo.Services, " | "), strings.Repeat("-|", len(demo.Services)))
	for _, x := range r.Results {
		fmt.Fprintf(b, "| %s |", x.Scenario.label())
		for _, name := range demo.Services {
			fmt.Fprintf(b, " %.0f |", x.Peaks[name])
		}
		b.WriteString("\n")
	}
}

// replays are the times in which a lost state came back.
func (r *Report) replays(b *strings.Builder) {
	for i, x := range r.Results {
		if x.ReplayRecords == 0 {
			continue
		}
		if !slices.ContainsFunc(r.Results[:i], func(x Result) bool { return x.ReplayRecords > 0 }) {
			b.WriteString("\n## A lost state comes back\n\nFrom the loss until every partition is beyond where it was: to notice it, to fold the log again, and to publish\n" +
				"and commit on the way.\n\n| # | fault | records of the log folded again | per million |\n|-|-|-|-|\n")
		}
		fmt.Fprintf(b, "| %s | %s | %d | %.1f s |\n", x.Scenario.label(), x.Name, x.ReplayRecords, x.ReplayPerMillion)
	}
}

// sideBySide says that faults shared the machine: times are longer then.
func (r *Report) sideBySide() string {
	if r.Options.Lanes > 1 {
		return fmt.Sprintf(", %d at a time on the same machine", r.Options.Lanes)
	}
	return ""
}

func (r *Report) runs() (n int) {
	for _, x := range r.Results {
		n += x.Runs
	}
	return n
}

// load of the machine by other work, where it can be asked: times are worth less on
// a busy one.
func load() string {
	text, err := os.ReadFile("/proc/loadavg")
	if err != nil {
		return ""
	}
	first, _, _ := strings.Cut(string(text), " ")
	return ", load average " + first + " before the first run"
}
