package join

import (
	"errors"
	"slices"
	"testing"

	"settlewatch/schemas/alert"
	"settlewatch/schemas/event"
)

// play folds several configurations and scripts in turn.
func play(t *testing.T, steps ...any) []string {
	t.Helper()
	return playIn(t, New(), steps...)
}

func playIn(t *testing.T, s *State, steps ...any) []string {
	t.Helper()
	out, configs, offset := new(Output), int64(0), int64(0)
	for _, step := range steps {
		switch step := step.(type) {
		case *event.Config:
			if err := s.Step(configRecord(step, configs), out); err != nil {
				t.Fatal(err)
			}
			configs++
		case []*event.LogRecord:
			for _, r := range step {
				if r.GetEvent() != nil {
					r.Origin.Offset = offset
					offset++
				}
				if err := s.Step(r, out); err != nil {
					t.Fatal(err)
				}
			}
		}
	}
	return briefs(out)
}

func TestEventsBeforeTheFirstConfigurationWait(t *testing.T) {
	got := play(t, script("A100 due").records(t, testKey), testConfig(nil), farMarks())
	if want := []string{"PU r1 OPEN 100"}; !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
}

// An acquirer that no group takes is judged when a configuration takes it, and
// never by another group's terms or frontier.
func TestAcquirerWithoutAGroupWaits(t *testing.T) {
	named := testConfig(nil)
	named.Groups[0].Acquirers = []string{"acq2"}
	events := script("A100").records(t, testKey)
	if got := play(t, named, events, farMarks()); len(got) != 0 {
		t.Fatalf("got %q without a group", got)
	}
	taken := testConfig(nil)
	taken.Groups[0].Acquirers = []string{"acq2", "acq1"}
	later := []*event.LogRecord{}
	for _, f := range feeds {
		later = append(later, markOf(f, monday10+300*day))
	}
	got := play(t, named, events, farMarks(), taken, later)
	if want := []string{"PU r1 OPEN 100"}; !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
}

// New rules apply to moments judged after their place in the log; what was
// published stands until then, and is closed by the configuration, not rewritten.
func TestNewRulesApplyFromTheirPlaceOn(t *testing.T) {
	tolerant := testConfig(func(terms *event.Terms) { terms.ToleranceMinor = 50 })
	got := play(t, testConfig(nil), script("A100 S60 due").records(t, testKey), tolerant, farMarks())
	if want := []string{"PU r1 OPEN 40", "PU r2 RESOLVED 40 configuration"}; !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
}

// What the old terms said of a clearing date is not taken for what the new ones say.
func TestNewTermsForACaptureOfTheSameDay(t *testing.T) {
	later := testConfig(func(terms *event.Terms) { terms.Cycle = "T+3" })
	var due []*event.LogRecord
	for _, f := range feeds {
		due = append(due, markOf(f, tuesday12+1))
	}
	got := playIn(t, NewAlertsOnly(), later, script("A100").records(t, testKey), testConfig(nil), script("A70").records(t, testKey+"2"), due)
	if want := []string{"PU r1 OPEN 100", "PU r1 OPEN 70"}; !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
}

// Two groups wait each for its own sources: a dead partner holds only its own.
func TestADeadFeedHoldsOnlyItsGroup(t *testing.T) {
	c := testConfig(nil)
	own := testConfig(nil).Groups[0]
	own.Name, own.Acquirers = "own", []string{"acq2"}
	own.Sources = append(own.Sources, &event.ExpectedSource{Name: "settlement/partner/0/x@1", Clock: event.Clock_CLOCK_PLAYED})
	c.Groups = append(c.Groups, own)
	first := script("A100").records(t, testKey)
	second := script("A200").records(t, "acq2|o|1")
	got := play(t, c, first, second, farMarks())
	if want := []string{"PU r1 OPEN 100"}; !slices.Equal(got, want) {
		t.Fatalf("got %q, want %q", got, want)
	}
	got = play(t, c, script("A100").records(t, testKey), script("A200").records(t, "acq2|o|1"), farMarks(),
		[]*event.LogRecord{markOf("settlement/partner/0/x@1", monday10+200*day)})
	if want := []string{"PU r1 OPEN 100", "PU r1 OPEN 200"}; !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
}

// A configuration that this binary lacks stops the partition there.
func TestUnsupportedConfigurationStops(t *testing.T) {
	for name, change := range map[string]func(*event.Config){
		"join version":  func(c *event.Config) { c.JoinVersion = Version + 1 },
		"alert version": func(c *event.Config) { c.AlertVersion = alert.Version + 1 },
		"calendar":      func(c *event.Config) { c.Calendars[0].Version = "2099.1" },
		"tzdata":        func(c *event.Config) { c.TzdataVersion = "1999a" },
		"terms":         func(c *event.Config) { c.Groups[0].Terms.Cycle = "T" },
	} {
		c := testConfig(nil)
		change(c)
		err := New().Step(configRecord(c, 7), new(Output))
		var unsupported *UnsupportedConfigError
		if !errors.As(err, &unsupported) || unsupported.Number != 7 {
			t.Errorf("%s: got %v, want UnsupportedConfigError of number 7", name, err)
		}
	}
}

// Beyond the calendar's years the payment is held with that reason.
func TestBeyondTheCalendarIsHeld(t *testing.T) {
	records := script("A100").records(t, testKey)
	beyond := monday10 + 365*day
	records[0].ArrivalMs = beyond
	records[0].GetEvent().Time.BusinessMs = ptr(beyond)
	s, out := New(), new(Output)
	all := append([]*event.LogRecord{configRecord(testConfig(nil), 0)}, records...)
	for _, f := range feeds {
		all = append(all, markOf(f, beyond+400*day))
	}
	for _, r := range all {
		if err := s.Step(r, out); err != nil {
			t.Fatal(err)
		}
	}
	if len(out.Alerts) != 0 || len(out.Payments) != 1 || out.Payments[0].HeldReason == "" || out.Payments[0].OpenMinor != 100 {
		t.Errorf("alerts %q, snapshots %v: want one held payment", briefs(out), out.Payments)
	}
	if s.Payments() != 1 {
		t.Error("the held payment was forgotten")
	}
}

// The life of a payment ends by the frontier; what comes later opens another one
// with alerts of its own.
func TestANewLifeHasItsOwnAlerts(t *testing.T) {
	records := script("A100 due S100 due+1d").records(t, testKey)
	again := script("A100 due").records(t, testKey)
	var marks []*event.LogRecord
	for _, f := range feeds {
		marks = append(marks, markOf(f, monday10+100*day))
	}
	for _, r := range again {
		if e := r.GetEvent(); e != nil {
			e.Id, r.ArrivalMs = testID(testKey, "again"), monday10+100*day
			e.Time.BusinessMs = ptr(r.ArrivalMs)
		}
	}
	s, out := New(), new(Output)
	all := append([]*event.LogRecord{configRecord(testConfig(nil), 0)}, records...)
	all = append(append(all, marks...), again[0])
	all[len(all)-1].Origin.Offset = 100
	all = append(all, farMarks()...)
	for _, r := range all {
		if err := s.Step(r, out); err != nil {
			t.Fatal(err)
		}
	}
	want := []string{"PU r1 OPEN 100", "PU r2 RESOLVED 100 settled", "PU r1 OPEN 100"}
	if got := briefs(out); !slices.Equal(got, want) {
		t.Fatalf("got %q, want %q", got, want)
	}
	if out.Alerts[0].ID == out.Alerts[2].ID {
		t.Error("two lives share an alert id")
	}
}

// The end of a calendar is said 30 days ahead, by the frontier and not by a clock.
func TestCalendarEndIsSaidAhead(t *testing.T) {
	s, out := New(), new(Output)
	marksAt := func(at int64) {
		for _, f := range feeds {
			if err := s.Step(markOf(f, at), out); err != nil {
				t.Fatal(err)
			}
		}
	}
	if err := s.Step(configRecord(testConfig(nil), 0), out); err != nil {
		t.Fatal(err)
	}
	november := monday10 + (31+30+31+30+31+31+30+31+28)*day // 2026-11-30
	marksAt(november)
	if got := s.CalendarEnding(); got != "" {
		t.Errorf("31 days ahead: %q", got)
	}
	marksAt(november + 2*day)
	if got := s.CalendarEnding(); got == "" {
		t.Error("29 days ahead: nothing said")
	}
}

// An acquirer that a CONFIG moves to a group whose frontier is behind is not
// judged in the past: nothing that was published is taken back.
func TestAMovedAcquirerIsNotJudgedInThePast(t *testing.T) {
	slow := "settlement/partner/0/x@1"
	config := func(moved bool) *event.Config {
		c := testConfig(nil)
		own := testConfig(nil).Groups[0]
		own.Name, own.Acquirers = "own", []string{"acq2"}
		if moved {
			own.Acquirers = append(own.Acquirers, "acq1")
		}
		own.Sources = append(own.Sources, &event.ExpectedSource{Name: slow, Clock: event.Clock_CLOCK_PLAYED})
		c.Groups = append(c.Groups, own)
		return c
	}
	got := play(t, config(false), []*event.LogRecord{markOf(slow, monday10+5*minute)}, script("A100 due").records(t, testKey),
		config(true), []*event.LogRecord{markOf(slow, monday10+6*minute)}, script("S60").records(t, testKey),
		farMarks(), []*event.LogRecord{markOf(slow, monday10+200*day)})
	want := []string{"PU r1 OPEN 100", "PU r2 OPEN 40"}
	if !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
}

// A binary that lacks what the stored CONFIG names does not load the state.
func TestStoredConfigurationMustBeSupported(t *testing.T) {
	s, _ := fold(t, testConfig(nil), script("A100").records(t, testKey))
	s.config.JoinVersion = Version + 1
	c, err := NewRecorder(s).Commit(1, Position{Offset: 2})
	if err != nil {
		t.Fatal(err)
	}
	var unsupported *UnsupportedConfigError
	if _, _, err := Load(c.Meta, c.Buckets, [][]byte{c.Delta}); !errors.As(err, &unsupported) {
		t.Errorf("got %v, want UnsupportedConfigError", err)
	}
}

// Values of open enums that this version does not know mean nothing, never
// something else.
func TestUnknownKindsMeanNothing(t *testing.T) {
	records := script("A100 due").records(t, testKey)
	records[0].GetEvent().Kind += 256
	if _, out := fold(t, testConfig(nil), records); len(out.Alerts) != 0 {
		t.Errorf("got %q", briefs(out))
	}
}
