package stage

import (
	"context"
	"fmt"
	"math"
	"path"
	"slices"
	"strings"
	"time"

	"settlewatch/pipelines/hop"
	"settlewatch/schemas/event"
)

// Turn is what the latest CONFIG says of one source of a raw partition. Versions of
// a profile take turns at a partition, so that every record is read by one of them.
type Turn struct {
	// Clock is CLOCK_UNKNOWN where the source is not expected.
	Clock event.Clock
	// From is the first offset to read, None where CONFIG names none; Until the one
	// after the last, math.MaxInt64 without an end.
	From, Until int64
	// Others are expected to read the same partition.
	Others []string
}

// Turn of a source.
func (c *Configs) Turn(source string) Turn {
	c.mu.Lock()
	defer c.mu.Unlock()
	turn := Turn{From: None, Until: math.MaxInt64}
	if len(c.places[path.Dir(source)]) == 0 {
		turn.Others = c.elsewhere(source)
	}
	for _, s := range c.places[path.Dir(source)] {
		if s.Name != source {
			turn.Others = append(turn.Others, s.Name)
			continue
		}
		turn.Clock = s.Clock
		if s.FromOffset != nil {
			turn.From = *s.FromOffset
		}
		if s.UntilOffset != nil {
			turn.Until = *s.UntilOffset
		}
	}
	return turn
}

// elsewhere are the names that a source of a partition which CONFIG does not know yet
// would have by the versions that go on at its topic's other partitions; none if its
// own does, or nothing of the topic is known. It needs the mutex.
func (c *Configs) elsewhere(source string) (others []string) {
	mine, place := path.Base(source), path.Dir(source)
	for other, sources := range c.places {
		for _, s := range sources {
			version := path.Base(s.Name)
			if path.Dir(other) != path.Dir(place) || s.UntilOffset != nil {
				continue
			}
			if version == mine {
				return nil
			}
			if name := place + "/" + version; !slices.Contains(others, name) {
				others = append(others, name)
			}
		}
	}
	slices.Sort(others)
	return others
}

// Expects tells whether a source of the same raw partition as this one is expected,
// be it by another version.
func (c *Configs) Expects(source string) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return len(c.places[path.Dir(source)]) > 0
}

// Pause is why a source appends no events, for people.
type Pause struct {
	// Why is empty when it goes on.
	Why string
	// Ended: it has appended all that CONFIG gives it, which is as it should be.
	// Otherwise somebody has to do something.
	Ended bool
}

func (s *ingestion) pause(p Pause) {
	if p == s.paused {
		return
	}
	s.paused = p
	if p.Why != "" && !p.Ended {
		s.Logger.Warn("waiting", "source", s.source, "for", p.Why)
	} else if p.Why != "" {
		s.Logger.Info("the source has ended", "source", s.source, "because", p.Why)
	}
	if s.Paused != nil {
		s.Paused(p)
	}
}

// configPoll is how often a source that waits for its CONFIG looks for it.
const configPoll = 20 * time.Millisecond

// myTurn waits while the partition is for others to read: under a second name each
// record would become a second event.
func (s *ingestion) myTurn(ctx context.Context) (Turn, error) {
	for {
		turn := s.Configs.Turn(s.source)
		if turn.Clock != event.Clock_CLOCK_UNKNOWN || len(turn.Others) == 0 {
			return turn, nil
		}
		s.pause(Pause{Why: s.unexpected(turn.Others)})
		if err := s.Clock.Sleep(ctx, configPoll); err != nil {
			return turn, err
		}
	}
}

// unexpected says what is read and what CONFIG expects, and what to do.
func (s *ingestion) unexpected(others []string) string {
	mine := path.Base(s.source)
	profiles := make([]string, len(others))
	for i, other := range others {
		profiles[i] = path.Base(other)
	}
	theirs := strings.Join(profiles, " and ")
	return fmt.Sprintf("the service reads %s, the configuration expects %s of %s/%d: apply a configuration that names %s, "+
		"or start the service with the profile %s", mine, theirs, s.name.Topic, s.name.Partition, mine, theirs)
}

// rest is one round of a source for which nothing is there to read: it has ended,
// or begins at an offset that the partition has not reached. All that lay in it
// before now is appended, hence its marks go on for those who wait for them.
func (s *ingestion) rest(ctx context.Context, before time.Time) error {
	s.writer = hop.Writer{} // what lies beyond the end is no part of this source
	s.writer.Fetched(before.UnixMilli(), s.next)
	s.writer.Queued(s.next)
	s.progress = IngestProgress{Source: s.source, HighWatermark: s.next}
	if err := s.mark(ctx, before); err != nil {
		return err
	}
	if err := s.flush(ctx, true); err != nil {
		return err
	}
	return s.Clock.Sleep(ctx, s.untilDue(before))
}

// rested rests if nothing is there to read; false where there may be something.
func (s *ingestion) rested(ctx context.Context, turn Turn) (bool, error) {
	before := s.Clock.Now()
	switch {
	case s.next > turn.Until:
		s.pause(Pause{Why: fmt.Sprintf("the configuration ends this source at until_offset %d, and it has read to offset %d: "+
			"what lies between is in the log twice, if another source reads it too", turn.Until, s.next)})
	case s.next == turn.Until:
		s.pause(Pause{Ended: true, Why: fmt.Sprintf("all before until_offset %d is appended: "+
			"apply a configuration without this source when its successor reads, then stop this service", turn.Until)})
	case s.ahead:
		_, end, err := s.reader.Bounds(ctx)
		if err != nil {
			return false, fmt.Errorf("read bounds: %w", err)
		}
		if s.ahead = s.next > end; !s.ahead {
			s.pause(Pause{})
			return false, nil
		}
		s.pause(Pause{Ended: true, Why: fmt.Sprintf("it begins at from_offset %d, and the partition ends at %d", s.next, end)})
	default:
		s.pause(Pause{})
		return false, nil
	}
	return true, s.rest(ctx, before)
}
