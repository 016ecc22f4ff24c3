package calendar

import (
	"errors"
	"fmt"
	"time"

	"settlewatch/schemas/event"
)

// Limits of what terms may say; a number beyond them is a slip of the pen.
const (
	graceMsMax      = 31 * int64(24*time.Hour/time.Millisecond)
	publishDaysMax  = 31
	lifeDaysMax     = 3660
	allowanceBpsMin = 10_000
	allowanceBpsMax = 100_000
	shareBpsMax     = 10_000
)

// Terms are the terms of one group, checked and ready to compute with. They
// remember what they have computed, so a Terms belongs to one goroutine: every
// partition's joiner compiles its own.
type Terms struct {
	terms    *event.Terms // checked; never written to
	calendar *Calendar
	zone     *zone
	cycle    cycle
	counting event.Counting
	// cutoffMs is the local time of day that closes a cycle; noCutoff where the
	// date alone decides.
	cutoffMs        int64
	channelCutoffMs map[string]int64
	// latestCutoffMs is the latest of all cut-offs, midnight where one is absent.
	latestCutoffMs int64
	memo           map[dueKey]dueAnswer
}

const noCutoff = -1

// Compile compiles the terms of every group of a CONFIG, in their order. A
// binary that cannot do what CONFIG names says so with all that it lacks, and
// must stop there.
func Compile(config *event.Config) ([]*Terms, error) {
	var mistakes []error
	if config.GetTzdataVersion() != TZDataVersion {
		mistakes = append(mistakes, fmt.Errorf("tzdata version %.40q is not in this binary, which has %s",
			config.GetTzdataVersion(), TZDataVersion))
	}
	// Calendars that no group uses are checked too: CONFIG promises them.
	for _, c := range config.GetCalendars() {
		if _, err := Lookup(c.GetName(), c.GetVersion()); err != nil {
			mistakes = append(mistakes, err)
		}
	}
	compiled := make([]*Terms, 0, len(config.GetGroups()))
	for _, group := range config.GetGroups() {
		terms, err := NewTerms(group.GetTerms(), config.GetCalendars())
		if err != nil {
			mistakes = append(mistakes, fmt.Errorf("terms of group %.60q: %w", group.GetName(), err))
			continue
		}
		compiled = append(compiled, terms)
	}
	if len(mistakes) > 0 {
		return nil, errors.Join(mistakes...)
	}
	return compiled, nil
}

// NewTerms checks and compiles the terms of one group. The calendars are those
// of the same CONFIG, which give the version to the calendar's name. All
// mistakes are reported at once. The caller must not change t afterwards.
func NewTerms(t *event.Terms, calendars []*event.CalendarVersion) (*Terms, error) {
	if t == nil {
		return nil, errors.New("terms are missing")
	}
	compiled := &Terms{terms: t, counting: t.GetCounting(), memo: make(map[dueKey]dueAnswer)}
	if compiled.counting == event.Counting_COUNTING_UNKNOWN {
		compiled.counting = event.Counting_COUNTING_FROM_CLEARING
	}
	var calendarErr, zoneErr, cycleErr error
	compiled.calendar, calendarErr = lookupNamed(t.GetCalendar(), calendars)
	compiled.zone, zoneErr = loadZone(t.GetZone())
	compiled.cycle, cycleErr = parseCycle(t.GetCycle())
	cutoffErr := compiled.readCutoffs()
	numbersErr := checkNumbers(t)
	var orderErr error
	if errors.Join(cycleErr, cutoffErr, numbersErr) == nil {
		orderErr = compiled.checkOrder(compiled.cycle)
	}
	err := errors.Join(cycleErr, calendarErr, zoneErr, cutoffErr, numbersErr, checkChoices(t), orderErr)
	if err != nil {
		return nil, err
	}
	return compiled, nil
}

// lookupNamed finds the calendar under the version that CONFIG gives the name.
func lookupNamed(name string, calendars []*event.CalendarVersion) (*Calendar, error) {
	var named []*event.CalendarVersion
	for _, c := range calendars {
		if c.GetName() == name {
			named = append(named, c)
		}
	}
	if len(named) != 1 {
		return nil, fmt.Errorf("calendar %.60q: config names %d versions of it, want one", name, len(named))
	}
	return Lookup(name, named[0].GetVersion())
}

// readCutoffs checks the cut-offs and turns them into lookups.
func (t *Terms) readCutoffs() error {
	var mistakes []error
	read := func(what string, ms *int64) int64 {
		if ms == nil {
			t.latestCutoffMs = dayMs
			return noCutoff
		}
		if *ms <= 0 || *ms >= dayMs {
			// Midnight could mean either end of the day; absent says it without doubt.
			mistakes = append(mistakes, fmt.Errorf("%s of %d ms: want a time after 00:00 and before 24:00, or none", what, *ms))
		}
		t.latestCutoffMs = max(t.latestCutoffMs, *ms)
		return *ms
	}
	t.cutoffMs = read("cut-off", t.terms.CutoffMs)
	t.channelCutoffMs = make(map[string]int64, len(t.terms.GetChannelCutoffs()))
	for _, c := range t.terms.GetChannelCutoffs() {
		channel := c.GetChannel()
		if channel == "" {
			mistakes = append(mistakes, errors.New("cut-off of a channel without a name"))
			continue
		}
		if _, found := t.channelCutoffMs[channel]; found {
			mistakes = append(mistakes, fmt.Errorf("channel %.60q has two cut-offs", channel))
			continue
		}
		t.channelCutoffMs[channel] = read(fmt.Sprintf("cut-off of channel %.60q", channel), c.CutoffMs)
	}
	return errors.Join(mistakes...)
}

// checkNumbers holds every number against its limits.
func checkNumbers(t *event.Terms) error {
	var mistakes []error
	within := func(what string, value, low, high int64) {
		if value < low || value > high {
			mistakes = append(mistakes, fmt.Errorf("%s is %d, want %d to %d", what, value, low, high))
		}
	}
	within("publishing time in ms", t.GetPublishMs(), 0, dayMs-1)
	within("publishing day offset", int64(t.GetPublishDays()), 0, publishDaysMax)
	within("grace in ms", t.GetGraceMs(), 0, graceMsMax)
	within("fee in parts of ten thousand", t.GetFeeBps(), 0, shareBpsMax)
	within("maximum fee in parts of ten thousand", t.GetMaxFeeBps(), 0, shareBpsMax)
	within("allowance in parts of ten thousand", t.GetAllowanceBps(), allowanceBpsMin, allowanceBpsMax)
	within("life in days", int64(t.GetLifeDays()), 1, lifeDaysMax)
	within("hold cap in days", int64(t.GetHoldCapDays()), 0, lifeDaysMax)
	if t.GetToleranceMinor() < 0 {
		mistakes = append(mistakes, fmt.Errorf("tolerance is %d minor units, want none below zero", t.GetToleranceMinor()))
	}
	if t.GetFeeBps() > t.GetMaxFeeBps() {
		mistakes = append(mistakes, fmt.Errorf("fee of %d parts of ten thousand is above the maximum of %d",
			t.GetFeeBps(), t.GetMaxFeeBps()))
	}
	return errors.Join(mistakes...)
}

// checkChoices holds every choice against what this binary can do.
func checkChoices(t *event.Terms) error {
	var mistakes []error
	switch t.GetCounting() {
	case event.Counting_COUNTING_UNKNOWN, event.Counting_COUNTING_FROM_CLEARING, event.Counting_COUNTING_ROLL_FIRST:
	default:
		mistakes = append(mistakes, fmt.Errorf("counting %d is not known", t.GetCounting()))
	}
	switch t.GetRefunds() {
	case event.RefundMode_REFUND_MODE_NETTED, event.RefundMode_REFUND_MODE_GROSS:
	default:
		mistakes = append(mistakes, fmt.Errorf("refunds are %d, want netted or gross", t.GetRefunds()))
	}
	switch event.Stage(t.GetStage()) {
	case event.Stage_STAGE_CLEARED, event.Stage_STAGE_FUNDED, event.Stage_STAGE_PAID_OUT:
	default:
		mistakes = append(mistakes, fmt.Errorf("stage %d is not one at which money has come", t.GetStage()))
	}
	return errors.Join(mistakes...)
}

// checkOrder refuses a cycle whose evidence can be due before the clearing
// date's business has closed: a payment after that moment would be overdue when
// it is made.
func (t *Terms) checkOrder(c cycle) error {
	// No cycle pays sooner than its number of days after the clearing date.
	earliestMs := (int64(c.days)+int64(t.terms.GetPublishDays()))*dayMs + t.terms.GetPublishMs() + t.terms.GetGraceMs()
	if earliestMs >= t.latestCutoffMs {
		return nil
	}
	return fmt.Errorf("%w %s: evidence can be due at %s of the clearing date, before its cut-off at %s; raise the publishing day offset",
		ErrCycle, c, clock(earliestMs), clock(t.latestCutoffMs))
}

// Zone is the IANA name of the terms' zone.
func (t *Terms) Zone() string { return t.terms.GetZone() }

// CalendarLabel is the calendar's name@version.
func (t *Terms) CalendarLabel() string { return t.calendar.Label() }

// LastKnown is the last day that the terms' calendar has data for.
func (t *Terms) LastKnown() Date { return t.calendar.LastKnown() }

// Cycle is the terms' own cycle, such as T+1.
func (t *Terms) Cycle() string { return t.cycle.String() }

// ToleranceMinor is the difference, in minor units, up to which nothing is said.
func (t *Terms) ToleranceMinor() int64 { return t.terms.GetToleranceMinor() }

// Refunds says whether refunds are netted from what is settled.
func (t *Terms) Refunds() event.RefundMode { return t.terms.GetRefunds() }

// Stage at which a line counts as the merchant's money: cleared, funded or paid
// out.
func (t *Terms) Stage() event.Stage { return event.Stage(t.terms.GetStage()) }

// FeeBps is the usual fee in parts of ten thousand.
func (t *Terms) FeeBps() int64 { return t.terms.GetFeeBps() }

// MaxFeeBps is the largest share, in parts of ten thousand, that a difference
// can have and still be a fee.
func (t *Terms) MaxFeeBps() int64 { return t.terms.GetMaxFeeBps() }

// AllowanceBps is how far captures may reach: authorized × allowance / 10,000; at least
// 10,000.
func (t *Terms) AllowanceBps() int64 { return t.terms.GetAllowanceBps() }

// LifeMs is how long after its last event or due time a payment is kept.
func (t *Terms) LifeMs() int64 { return int64(t.terms.GetLifeDays()) * dayMs }

// HoldCapMs is how long after evidence due a declared hold is believed.
func (t *Terms) HoldCapMs() int64 { return int64(t.terms.GetHoldCapDays()) * dayMs }

// StartDate is the start line: captures that clear before it are not alerted.
// Without one, found is false.
func (t *Terms) StartDate() (start Date, found bool) {
	if t.terms.StartDate == nil {
		return 0, false
	}
	return Date(t.terms.GetStartDate()), true
}

// StartOfDay is the instant at which a date begins in the terms' zone, Unix
// milliseconds.
func (t *Terms) StartOfDay(d Date) int64 { return t.zone.instant(d, 0) }
