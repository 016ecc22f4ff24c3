package boot

import (
	"fmt"

	"settlewatch/pipelines/intake"
	"settlewatch/pipelines/profile"
	"settlewatch/pipelines/stage"
	"settlewatch/schemas/event"
)

// reading is by which profile a service reads its feed.
type reading struct {
	run     *Run
	feed    intake.Feed
	name    string
	version uint32
	// profile is nil for the documented JSON, which is read without one.
	profile *profile.Profile
}

// readsBy is what the settings say. A profile that makes events of another feed, or
// needs what only a file has, is a mistake in the settings: found here, it is not a
// dead letter for every record.
func readsBy(r *Run, feed intake.Feed) (*reading, error) {
	p := r.Settings.Profile
	if p == nil {
		return &reading{run: r, feed: feed, name: Profile, version: ProfileVersion}, nil
	}
	if err := p.Serves(feed); err != nil {
		return nil, fmt.Errorf("%w:\nprofile %s cannot read the %s feed:\n%w", errUsage, p, feed, err)
	}
	return &reading{run: r, feed: feed, name: p.Name, version: p.Version, profile: p.WithCardKey(r.Settings.CardKey)}, nil
}

// String is name@version.
func (r *reading) String() string { return fmt.Sprintf("%s@%d", r.name, r.version) }

// intake of one partition.
func (r *reading) intake() (stage.Intake, error) {
	if r.profile == nil {
		return &jsonIntake{run: r.run, decoder: intake.NewDecoder(r.feed, r.run.Settings.CardKey)}, nil
	}
	decoder, err := r.profile.NewDecoder(r.feed)
	if err != nil {
		return nil, fmt.Errorf("profile %s: %w", r, err)
	}
	return &profileIntake{reading: r, decoder: decoder}, nil
}

// jsonIntake reads the documented JSON of one feed; one belongs to one partition.
type jsonIntake struct {
	run     *Run
	decoder *intake.Decoder
}

var _ stage.Intake = (*jsonIntake)(nil)

func (j *jsonIntake) Events(raw []byte, into []*event.Event) ([]*event.Event, error) {
	e, err := j.decoder.Borrow(raw)
	if err != nil {
		return nil, err
	}
	return append(into, e), nil
}

// DeadLetter masks the record and says where it lies and what was wrong.
func (j *jsonIntake) DeadLetter(source event.Source, raw stage.Record, reason error) (stage.Record, error) {
	return j.run.deadLetter(source, raw, reason)
}

// profileIntake reads what a profile describes; one belongs to one partition.
type profileIntake struct {
	*reading
	decoder *profile.Decoder
}

var _ stage.Intake = (*profileIntake)(nil)

func (p *profileIntake) Events(raw []byte, into []*event.Event) ([]*event.Event, error) {
	return p.decoder.Events(raw, into)
}

// DeadLetter is as that of the documented JSON, with the record's text in UTF-8.
func (p *profileIntake) DeadLetter(source event.Source, raw stage.Record, reason error) (stage.Record, error) {
	raw.Value = p.profile.Mask(raw.Value, p.feed)
	return p.run.deadLetter(source, raw, reason)
}
