package bench

import (
	"embed"
	"fmt"
	"os"
	"path/filepath"

	"settlewatch/schemas/event"
	"settlewatch/schemas/ruleset"
	"settlewatch/tools/demo"
)

// The rule of the peers, in terms: who has no settlement within 86,400 s of the
// capture is overdue. Terms count calendar days, so D+1 in UTC with the evidence
// published at the end of the due date is the first midnight at least 86,400 s
// after the capture: never earlier than the rule, and before the workload ends.
const (
	ruleDays        = 1
	rulePublishDays = 1
	// A settled payment is kept for the whole run, where the rule asks for 600 s.
	ruleLifeDays = 60
)

// Config is what our services judge the workload by: due after ruleDays, or after more,
// which keeps payments open for longer.
func Config(w Workload, days int) (*event.Config, error) {
	abilities, err := demo.Abilities()
	if err != nil {
		return nil, err
	}
	c := ruleset.Default(abilities, sources(w, event.Clock_CLOCK_PLAYED)...)
	c.Rules = "bench"
	c.Groups[0].Terms = newTerms(days)
	return c, nil
}

// newTerms are the rule's, with a new value on each call.
func newTerms(days int) *event.Terms {
	terms := ruleset.DefaultTerms()
	terms.Cycle = fmt.Sprintf("D+%d", days)
	terms.Zone, terms.CutoffMs, terms.ChannelCutoffs = "UTC", nil, nil
	terms.PublishMs, terms.PublishDays, terms.GraceMs = 0, rulePublishDays, 0
	terms.LifeDays = ruleLifeDays
	return terms
}

// Profile under which the ingest services read the workload.
const (
	profileName    = "bench"
	profileVersion = 1
	profileLabel   = "bench@1"
)

//go:embed profiles
var profiles embed.FS

// writeProfile writes the profile of one feed to the folder.
func writeProfile(dir, feed string) (string, error) {
	text, err := profiles.ReadFile("profiles/" + feed + ".yaml")
	if err != nil {
		return "", fmt.Errorf("profile of feed %s: %w", feed, err)
	}
	path := filepath.Join(dir, feed+".yaml")
	if err := os.WriteFile(path, text, 0o644); err != nil {
		return "", fmt.Errorf("write profile of feed %s: %w", feed, err)
	}
	return path, nil
}

// sources are all input partitions. Their marks are played by the feeder, or those of
// the services' clock.
func sources(w Workload, clock event.Clock) []*event.ExpectedSource {
	var out []*event.ExpectedSource
	for n, t := range inputs {
		for p := range w.Partitions {
			name := event.Source{
				Service: stepNames[n], Topic: t.Name, Partition: int32(p),
				Profile: profileName, Version: profileVersion,
			}
			out = append(out, &event.ExpectedSource{Name: name.String(), Clock: clock})
		}
	}
	return out
}

// feeds by the names of their services, in the order of the steps.
var feeds = stepNames[:len(inputs)]

// profileOf writes the feed's profile and returns what its service needs to read it.
func (o *ours) profileOf(feed string) ([]string, error) {
	path, err := writeProfile(o.bench.options.Dir, feed)
	if err != nil {
		return nil, err
	}
	return []string{"SETTLEWATCH_PROFILE=" + path}, nil
}
