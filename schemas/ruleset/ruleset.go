// Package ruleset is CONFIG as people write it.
//
// In goes YAML text, out comes the *event.Config that a command appends to the
// log, and back again: Parse(Render(c)) equals c. Nothing is guessed: an unknown
// key, a missing one or a value that cannot be read is a mistake, and all
// mistakes are reported at once, each with its line and path. Only the structure
// is judged here; whether a binary has the calendar, the zone and the cycle that
// are named is for the code that computes with them.
package ruleset

import (
	"errors"
	"fmt"
	"strings"

	"google.golang.org/protobuf/proto"

	"settlewatch/schemas/event"
)

// Mistake is one thing wrong with a CONFIG.
type Mistake struct {
	Line    int    // in the YAML text, from 1; 0 where there is no text
	Path    string // groups[0].terms.cutoff
	Problem string
}

func (m *Mistake) Error() string {
	text := m.Problem
	if m.Path != "" {
		text = m.Path + ": " + text
	}
	if m.Line > 0 {
		text = fmt.Sprintf("line %d: %s", m.Line, text)
	}
	return text
}

// Validate holds the structure of a CONFIG against what a log needs: names are
// there and unique, sources parse and have one clock, at most one group
// takes the acquirers that no other names. All mistakes are returned, joined;
// each is a *Mistake.
func Validate(config *event.Config) error {
	var c checker
	c.config(config)
	return join(c.mistakes)
}

func join(mistakes []*Mistake) error {
	all := make([]error, len(mistakes))
	for i, m := range mistakes {
		all[i] = m
	}
	return errors.Join(all...)
}

// checker collects mistakes by path.
type checker struct{ mistakes []*Mistake }

func (c *checker) mistake(path, format string, args ...any) {
	c.mistakes = append(c.mistakes, &Mistake{Path: path, Problem: fmt.Sprintf(format, args...)})
}

func (c *checker) config(config *event.Config) {
	if config == nil {
		c.mistake("", "the configuration is missing")
		return
	}
	if config.GetRules() == "" {
		c.mistake("rules", "the rule set has no name")
	}
	if config.GetJoinVersion() == 0 {
		c.mistake("join_version", "want the version that the joiner must have")
	}
	if config.GetAlertVersion() == 0 {
		c.mistake("alert_version", "want the version that the alerts must have")
	}
	if config.GetTzdataVersion() == "" {
		c.mistake("tzdata", "want a release of the time zone database, such as 2025c")
	}
	calendars := unique{}
	for _, calendar := range config.GetCalendars() {
		path := "calendars." + calendar.GetName()
		if calendar.GetName() == "" || calendar.GetVersion() == "" {
			c.mistake(path, "want a name and a version")
		}
		if _, found := calendars.add(calendar.GetName(), path); found {
			c.mistake(path, "this calendar is named twice")
		}
	}
	if len(config.GetGroups()) == 0 {
		c.mistake("groups", "want at least one group: without expected sources no deadline ever passes")
	}
	c.groups(config.GetGroups(), calendars)
}

func (c *checker) groups(groups []*event.Group, calendars unique) {
	names, acquirers := unique{}, unique{}
	// Two groups may wait for one source: a feed carries payments of both.
	known := map[string]*event.ExpectedSource{}
	var turns turns
	defaultGroup := ""
	for i, group := range groups {
		path := fmt.Sprintf("groups[%d]", i)
		if group.GetName() == "" {
			c.mistake(path+".name", "the group has no name")
		} else if other, found := names.add(group.GetName(), path); found {
			c.mistake(path+".name", "%.60q is also the name of %s", group.GetName(), other)
		}
		if len(group.GetAcquirers()) == 0 {
			if defaultGroup != "" {
				c.mistake(path+".acquirers", "%s already takes all acquirers that no other group names", defaultGroup)
			}
			defaultGroup = path
		}
		for j, acquirer := range group.GetAcquirers() {
			c.acquirer(fmt.Sprintf("%s.acquirers[%d]", path, j), acquirer, acquirers)
		}
		if len(group.GetSources()) == 0 {
			c.mistake(path+".sources", "want at least one source, here or under topics: without one no deadline ever passes")
		}
		sources := unique{}
		for j, source := range group.GetSources() {
			sourcePath := fmt.Sprintf("%s.sources[%d]", path, j)
			c.source(sourcePath, source, sources)
			switch other, elsewhere := known[source.GetName()]; {
			case !elsewhere:
				turns.add(sourcePath, source)
			case other.GetClock() != source.GetClock():
				c.mistake(sourcePath+".clock", "another group gives this source another clock")
			case !proto.Equal(other, source):
				c.mistake(sourcePath, "another group gives this source other offsets")
			}
			known[source.GetName()] = source
		}
		c.terms(path+".terms", group.GetTerms(), calendars)
	}
	turns.check(c)
}

func (c *checker) acquirer(path, acquirer string, acquirers unique) {
	switch {
	case acquirer == "":
		c.mistake(path, "the acquirer has no name")
	case strings.Contains(acquirer, "|"):
		c.mistake(path, "%.60q: an acquirer's name has no | in it, which ends it in a payment key", acquirer)
	default:
		if other, found := acquirers.add(acquirer, path); found {
			c.mistake(path, "%.60q is already in %s", acquirer, other)
		}
	}
}

func (c *checker) source(path string, source *event.ExpectedSource, sources unique) {
	parsed, err := event.ParseSource(source.GetName())
	switch {
	case err != nil:
		c.mistake(path+".name", "%v", err)
	case parsed.Service == "" || parsed.Topic == "" || parsed.Profile == "":
		c.mistake(path+".name", "%.120q has an empty part; want service/topic/partition/profile@version", source.GetName())
	default:
		if other, found := sources.add(source.GetName(), path); found {
			c.mistake(path+".name", "%.120q is already %s", source.GetName(), other)
		}
	}
	switch source.GetClock() {
	case event.Clock_CLOCK_LIVE, event.Clock_CLOCK_PLAYED:
	default:
		c.mistake(path+".clock", "want live or played")
	}
}

func (c *checker) terms(path string, terms *event.Terms, calendars unique) {
	if terms == nil {
		c.mistake(path, "the group has no terms")
		return
	}
	if terms.GetCycle() == "" {
		c.mistake(path+".cycle", "want a settlement cycle, such as T+1")
	}
	if terms.GetZone() == "" {
		c.mistake(path+".zone", "want a time zone, such as Asia/Shanghai")
	}
	if _, found := calendars[terms.GetCalendar()]; !found {
		c.mistake(path+".calendar", "%.60q is not among the calendars that this configuration names", terms.GetCalendar())
	}
	channels := unique{}
	for _, cutoff := range terms.GetChannelCutoffs() {
		channelPath := path + ".channel_cutoffs." + cutoff.GetChannel()
		if cutoff.GetChannel() == "" {
			c.mistake(channelPath, "the channel has no name")
		} else if _, found := channels.add(cutoff.GetChannel(), channelPath); found {
			c.mistake(channelPath, "this channel has two cut-offs")
		}
	}
}

// unique remembers where a name was first used.
type unique map[string]string

// add returns the place of an earlier use.
func (u unique) add(name, path string) (string, bool) {
	if other, found := u[name]; found {
		return other, true
	}
	u[name] = path
	return "", false
}
