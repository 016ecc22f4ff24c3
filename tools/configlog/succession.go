package configlog

import (
	"errors"
	"fmt"
	"path"

	"settlewatch/schemas/event"
)

// CheckSuccession tells whether a CONFIG may follow the one in force, nil for none: a
// new version of a profile that takes over a raw partition must say where, or it would
// read every record of it a second time; and where a source begins or ends is said
// once, because it may have been acted on. All that is wrong is joined.
func CheckSuccession(from *Numbered, to *event.Config) error {
	if from == nil {
		return nil
	}
	before, places := make(map[string]*event.ExpectedSource), make(map[string]string)
	for _, g := range from.Groups {
		for _, s := range g.Sources {
			before[s.Name], places[path.Dir(s.Name)] = s, s.Name
		}
	}
	var mistakes []error
	said := make(map[string]bool)
	for _, g := range to.Groups {
		for _, s := range g.Sources {
			if said[s.Name] {
				continue // of another group
			}
			said[s.Name] = true
			if err := succeeds(before[s.Name], s, places[path.Dir(s.Name)]); err != nil {
				mistakes = append(mistakes, err)
			}
		}
	}
	return errors.Join(mistakes...)
}

// succeeds holds a source to what it was, and a new one to the one of its partition.
func succeeds(was, is *event.ExpectedSource, place string) error {
	switch {
	case was == nil && place != "" && is.FromOffset == nil:
		return fmt.Errorf("%s takes over from %s: name the first record that it reads with from_offset "+
			"(0 for all there are), and end the other there with until_offset", is.Name, path.Base(place))
	case was == nil:
		return nil
	case was.FromOffset != nil && (is.FromOffset == nil || *is.FromOffset != *was.FromOffset):
		return fmt.Errorf("%s begins at from_offset %d in the configuration in force: leave it, or name a new version of the profile", is.Name, *was.FromOffset)
	case was.UntilOffset != nil && (is.UntilOffset == nil || *is.UntilOffset != *was.UntilOffset):
		return fmt.Errorf("%s ends at until_offset %d in the configuration in force: leave it, or take the source out", is.Name, *was.UntilOffset)
	}
	return nil
}
