package calendar

import (
	"errors"
	"os"
	"strings"
	"testing"

	"settlewatch/schemas/event"
	"settlewatch/schemas/ruleset"
)

func ptr[T any](value T) *T { return &value }

const hourMs = int64(3_600_000)

var calendars2026 = []*event.CalendarVersion{{Name: "cn-mainland", Version: "2026.1"}}

// chinaTerms are ordinary mainland terms, changed by the functions.
func chinaTerms(changes ...func(*event.Terms)) *event.Terms {
	terms := &event.Terms{
		Cycle: "T+1", Calendar: "cn-mainland", Zone: "Asia/Shanghai",
		Counting:       event.Counting_COUNTING_FROM_CLEARING,
		CutoffMs:       ptr(23 * hourMs),
		ChannelCutoffs: []*event.ChannelCutoff{{Channel: "qr"}},
		PublishMs:      10 * hourMs, GraceMs: 2 * hourMs,
		Refunds: event.RefundMode_REFUND_MODE_NETTED, Stage: int32(event.Stage_STAGE_PAID_OUT),
		FeeBps: 60, MaxFeeBps: 1000, AllowanceBps: 11_500, LifeDays: 60, HoldCapDays: 30,
	}
	for _, change := range changes {
		change(terms)
	}
	return terms
}

func compile(t testing.TB, changes ...func(*event.Terms)) *Terms {
	t.Helper()
	terms, err := NewTerms(chinaTerms(changes...), calendars2026)
	if err != nil {
		t.Fatal(err)
	}
	return terms
}

func TestTermsSayWhatConfigSays(t *testing.T) {
	terms := compile(t, func(t *event.Terms) { t.ToleranceMinor = 7; t.StartDate = ptr(int32(20_000)) })
	for name, pair := range map[string][2]any{
		"zone":      {terms.Zone(), "Asia/Shanghai"},
		"calendar":  {terms.CalendarLabel(), "cn-mainland@2026.1"},
		"last":      {terms.LastKnown().String(), "2026-12-31"},
		"cycle":     {terms.Cycle(), "T+1"},
		"tolerance": {terms.ToleranceMinor(), int64(7)},
		"refunds":   {terms.Refunds(), event.RefundMode_REFUND_MODE_NETTED},
		"stage":     {terms.Stage(), event.Stage_STAGE_PAID_OUT},
		"fee":       {terms.FeeBps(), int64(60)},
		"max fee":   {terms.MaxFeeBps(), int64(1000)},
		"allowance": {terms.AllowanceBps(), int64(11_500)},
		"life":      {terms.LifeMs(), 60 * 24 * hourMs},
		"hold cap":  {terms.HoldCapMs(), 30 * 24 * hourMs},
	} {
		if pair[0] != pair[1] {
			t.Errorf("%s is %v, want %v", name, pair[0], pair[1])
		}
	}
	if start, found := terms.StartDate(); !found || start != 20_000 {
		t.Errorf("start line is %s, %t", start, found)
	}
	if _, found := compile(t).StartDate(); found {
		t.Error("a start line that CONFIG does not have")
	}
}

func TestStartOfDayIsLocal(t *testing.T) {
	if got := utc(compile(t).StartOfDay(day(t, "2025-10-09"))); got != "2025-10-08T16:00:00Z" {
		t.Errorf("2025-10-09 begins %s in Shanghai", got)
	}
	// Where the clock is set forward at midnight, the day begins at one.
	havana := compile(t, func(t *event.Terms) { t.Zone = "America/Havana" })
	if got := utc(havana.StartOfDay(day(t, "2025-03-09"))); got != "2025-03-09T05:00:00Z" {
		t.Errorf("2025-03-09 begins %s in Havana", got)
	}
}

func TestNewTermsRefuses(t *testing.T) {
	for name, test := range map[string]struct {
		change func(*event.Terms)
		want   string
	}{
		"no cycle":           {func(t *event.Terms) { t.Cycle = "" }, "want T+N"},
		"cycle of no kind":   {func(t *event.Terms) { t.Cycle = "X+1" }, "want T+N"},
		"small letter":       {func(t *event.Terms) { t.Cycle = "t+1" }, "want T+N"},
		"negative cycle":     {func(t *event.Terms) { t.Cycle = "T+-1" }, "plain number"},
		"zero before number": {func(t *event.Terms) { t.Cycle = "T+01" }, "plain number"},
		"endless cycle":      {func(t *event.Terms) { t.Cycle = "D+999" }, "at most 366"},
		"weekly on day none": {func(t *event.Terms) { t.Cycle = "W+0" }, "first working day"},
		"unknown calendar":   {func(t *event.Terms) { t.Calendar = "cn-moon" }, "names 0 versions"},
		"unknown zone":       {func(t *event.Terms) { t.Zone = "Asia/Peking" }, "unknown time zone"},
		"machine's zone":     {func(t *event.Terms) { t.Zone = "Local" }, "unknown time zone"},
		"cut-off midnight":   {func(t *event.Terms) { t.CutoffMs = ptr(int64(0)) }, "after 00:00"},
		"cut-off 24:00":      {func(t *event.Terms) { t.CutoffMs = ptr(dayMs) }, "before 24:00"},
		"channel's cut-off":  {func(t *event.Terms) { t.ChannelCutoffs[0].CutoffMs = ptr(int64(-1)) }, `"qr" of -1 ms`},
		"nameless channel":   {func(t *event.Terms) { t.ChannelCutoffs[0].Channel = "" }, "without a name"},
		"channel twice": {func(t *event.Terms) {
			t.ChannelCutoffs = append(t.ChannelCutoffs, &event.ChannelCutoff{Channel: "qr"})
		}, "two cut-offs"},
		"publishing at 24:00":  {func(t *event.Terms) { t.PublishMs = dayMs }, "publishing time"},
		"published before":     {func(t *event.Terms) { t.PublishDays = -1 }, "publishing day offset"},
		"negative grace":       {func(t *event.Terms) { t.GraceMs = -1 }, "grace"},
		"negative tolerance":   {func(t *event.Terms) { t.ToleranceMinor = -1 }, "tolerance"},
		"negative fee":         {func(t *event.Terms) { t.FeeBps = -1 }, "fee in parts"},
		"fee above itself":     {func(t *event.Terms) { t.MaxFeeBps = 10_001 }, "maximum fee"},
		"fee above maximum":    {func(t *event.Terms) { t.MaxFeeBps = 59 }, "above the maximum of 59"},
		"allowance below one":  {func(t *event.Terms) { t.AllowanceBps = 115 }, "allowance"},
		"no life":              {func(t *event.Terms) { t.LifeDays = 0 }, "life"},
		"negative hold":        {func(t *event.Terms) { t.HoldCapDays = -1 }, "hold cap"},
		"counting of no kind":  {func(t *event.Terms) { t.Counting = 9 }, "counting 9"},
		"refunds unsaid":       {func(t *event.Terms) { t.Refunds = 0 }, "netted or gross"},
		"stage unsaid":         {func(t *event.Terms) { t.Stage = 0 }, "stage 0"},
		"stage returned":       {func(t *event.Terms) { t.Stage = int32(event.Stage_STAGE_RETURNED) }, "stage 4"},
		"T+0 published by day": {func(t *event.Terms) { t.Cycle = "T+0" }, "evidence can be due at 12:00 of the clearing date, before its cut-off at 24:00"},
		"D+0 before 23:00": {func(t *event.Terms) {
			t.Cycle, t.ChannelCutoffs, t.GraceMs = "D+0", nil, 13*hourMs-1
		}, "before its cut-off at 23:00"},
	} {
		if _, err := NewTerms(chinaTerms(test.change), calendars2026); err == nil || !strings.Contains(err.Error(), test.want) {
			t.Errorf("%s: got %v, want %q", name, err, test.want)
		}
	}
}

func TestNewTermsAcceptsSameDayEvidenceAfterTheCutoff(t *testing.T) {
	for name, change := range map[string]func(*event.Terms){
		"evidence exactly at the cut-off": func(t *event.Terms) { t.Cycle, t.ChannelCutoffs, t.GraceMs = "D+0", nil, 13*hourMs },
		"published the day after":         func(t *event.Terms) { t.Cycle, t.PublishDays = "T+0", 1 },
		"cut-off in the morning": func(t *event.Terms) {
			t.Cycle, t.ChannelCutoffs, t.CutoffMs = "T+0", nil, ptr(2*hourMs)
		},
	} {
		if _, err := NewTerms(chinaTerms(change), calendars2026); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestNewTermsReportsAllMistakes(t *testing.T) {
	_, err := NewTerms(chinaTerms(func(t *event.Terms) {
		t.Cycle, t.Zone, t.Calendar, t.GraceMs, t.Stage, t.CutoffMs = "1", "x", "y", -1, 0, ptr(int64(-1))
	}), nil)
	if err == nil || strings.Count(err.Error(), "\n") != 5 {
		t.Fatalf("want six lines, got %v", err)
	}
	if _, err := NewTerms(nil, nil); err == nil {
		t.Fatal("no terms were accepted")
	}
}

func TestNewTermsWantsOneVersionOfItsCalendar(t *testing.T) {
	twice := append(calendars2026, &event.CalendarVersion{Name: "cn-mainland", Version: "2025.1"})
	if _, err := NewTerms(chinaTerms(), twice); err == nil || !strings.Contains(err.Error(), "names 2 versions") {
		t.Errorf("got %v", err)
	}
	other := []*event.CalendarVersion{{Name: "cn-mainland", Version: "2031.1"}}
	if _, err := NewTerms(chinaTerms(), other); !errors.Is(err, ErrUnknownCalendar) {
		t.Errorf("got %v", err)
	}
}

func TestCompileSaysAllThatTheBinaryLacks(t *testing.T) {
	config := &event.Config{
		TzdataVersion: "1987a",
		Calendars:     append(calendars2026, &event.CalendarVersion{Name: "moon", Version: "1"}),
		Groups:        []*event.Group{{Name: "a", Terms: chinaTerms(func(t *event.Terms) { t.Zone = "x" })}, {Name: "b"}},
	}
	_, err := Compile(config)
	for _, want := range []string{`"1987a"`, `"moon@1"`, `group "a"`, `group "b"`} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("got %v, want %s", err, want)
		}
	}
}

func TestTheExampleConfigurationCompiles(t *testing.T) {
	content, err := os.ReadFile("../../deploy/config/china-t1.yaml")
	if err != nil {
		t.Fatal(err)
	}
	config, err := ruleset.Parse(content)
	if err != nil {
		t.Fatal(err)
	}
	terms, err := Compile(config)
	if err != nil {
		t.Fatal(err)
	}
	if len(terms) != len(config.GetGroups()) {
		t.Fatalf("%d groups, %d terms", len(config.GetGroups()), len(terms))
	}
}
