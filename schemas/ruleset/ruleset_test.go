package ruleset

import (
	"errors"
	"fmt"
	"os"
	"strings"
	"testing"

	"google.golang.org/protobuf/proto"
	"pgregory.net/rapid"

	"settlewatch/schemas/event"
	"settlewatch/schemas/topic"
)

func example(t testing.TB) string {
	t.Helper()
	text, err := os.ReadFile("../../deploy/config/china-t1.yaml")
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// spelled is the example with its sources one by one.
func spelled(t testing.TB) string {
	t.Helper()
	text := example(t)
	before, rest, found := strings.Cut(text, "    topics:\n")
	_, after, also := strings.Cut(rest, "    # A single partition")
	if !found || !also {
		t.Fatal("the example names no topics")
	}
	var sources strings.Builder
	sources.WriteString("    sources:\n")
	for _, feed := range []string{"authorization", "capture", "settlement"} {
		for p := range 2 {
			fmt.Fprintf(&sources, "      - {name: %s/raw.%s.v1/%d/documented@1, clock: live}\n", feed, feed, p)
		}
	}
	return before + sources.String() + "    # A single partition" + after
}

// documented are the sources of the documented JSON, one per raw partition.
func documented() []*event.ExpectedSource {
	var sources []*event.ExpectedSource
	for service, raw := range map[string]topic.Topic{
		"authorization": topic.RawAuthorization, "capture": topic.RawCapture, "settlement": topic.RawSettlement,
	} {
		for partition := range int32(raw.Partitions) {
			sources = append(sources, &event.ExpectedSource{
				Name:  event.Source{Service: service, Topic: raw.Name, Partition: partition, Profile: "documented", Version: 1}.String(),
				Clock: event.Clock_CLOCK_LIVE,
			})
		}
	}
	return sources
}

// The example in deploy says what Default says, of the topics as they are.
func TestTheExampleIsTheDefault(t *testing.T) {
	got, err := Parse([]byte(example(t)))
	if err != nil {
		t.Fatal(err)
	}
	want := Default(Abilities{JoinVersion: 1, TZData: "2025c", Calendar: "2026.1"}, documented()...)
	byName := func(sources []*event.ExpectedSource) map[string]event.Clock {
		all := make(map[string]event.Clock)
		for _, s := range sources {
			all[s.GetName()] = s.GetClock()
		}
		return all
	}
	gotSources, wantSources := byName(got.GetGroups()[0].GetSources()), byName(want.GetGroups()[0].GetSources())
	if len(gotSources) != len(wantSources) {
		t.Errorf("%d sources, want %d", len(gotSources), len(wantSources))
	}
	for name, clock := range wantSources {
		if gotSources[name] != clock {
			t.Errorf("source %s has clock %s, want %s", name, gotSources[name], clock)
		}
	}
	got.Groups[0].Sources, want.Groups[0].Sources = nil, nil
	if !proto.Equal(got, want) {
		t.Errorf("the example is\n%v\nwant\n%v", got, want)
	}
}

func TestDefaultTermsAreNotShared(t *testing.T) {
	*DefaultTerms().CutoffMs = 1
	if got := DefaultTerms().GetCutoffMs(); got != 23*60*minuteMs {
		t.Fatalf("the cut-off of later terms is %d", got)
	}
}

// Each mistake made in the example is found, on its line.
func TestParseNamesTheLine(t *testing.T) {
	text := spelled(t)
	for name, test := range map[string]struct{ old, with, want string }{
		"unknown key":       {"cycle: T+1", "cycle: T+1\n      cicle: T+1", "groups[0].terms.cicle: this key is not known"},
		"key twice":         {"cycle: T+1", "cycle: T+1\n      cycle: T+2", "already on line"},
		"missing key":       {"rules: china-t1", "", "rules: missing"},
		"empty value":       {"rules: china-t1", "rules:", "rules: want a value"},
		"list for a value":  {"rules: china-t1", "rules: [a]", "rules: want a value"},
		"value for a list":  {"sources:\n", "sources: x\n      #", ""},
		"number of words":   {"join_version: 1", "join_version: one", "whole number"},
		"number too large":  {"join_version: 1", "join_version: 4294967296", "whole number"},
		"negative number":   {"publish_days: 0", "publish_days: -1", "whole number"},
		"int32 overflow":    {"publish_days: 0", "publish_days: 2147483648", "whole number"},
		"version zero":      {"alert_version: 1", "alert_version: 0", "alert_version: want the version"},
		"cut-off of words":  {`cutoff: "23:00"`, `cutoff: late`, "want a time of day, such as 23:00, or none"},
		"cut-off 9:00":      {`cutoff: "23:00"`, `cutoff: 9:00`, "want a time of day"},
		"cut-off 24:00":     {`cutoff: "23:00"`, `cutoff: 24:00`, "want a time of day"},
		"channel's cut-off": {"qr: none", "qr: never", "channel_cutoffs.qr: \"never\""},
		"grace of words":    {"grace: 2h", "grace: 2 hours", "want a duration"},
		"negative grace":    {"grace: 2h", "grace: -2h", "want a duration"},
		"grace in ns":       {"grace: 2h", "grace: 1ns", "want a duration"},
		"fee without %":     {"fee: 0.6%", "fee: 0.6", "want a percentage"},
		"fee too fine":      {"fee: 0.6%", "fee: 0.625%", "want a percentage"},
		"fee of a dot":      {"fee: 0.6%", "fee: 0.%", "want a percentage"},
		"fee with a sign":   {"fee: 0.6%", "fee: 0.+6%", "want a percentage"},
		"negative fee":      {"fee: 0.6%", "fee: -0.6%", "want a percentage"},
		"life without unit": {"life: 60d", "life: 60", "want a number of days"},
		"life in hours":     {"life: 60d", "life: 60h", "want a number of days"},
		"start of words":    {"# start: 2025-01-01", "start: 2025-02-30", "want a date"},
		"refunds":           {"refunds: netted", "refunds: net", "want netted or gross"},
		"stage":             {"stage: paid_out", "stage: returned", "want cleared or funded or paid_out"},
		"counting":          {"counting: from_clearing", "counting: both", "want from_clearing or roll_first"},
		"clock":             {"clock: live}", "clock: slow}", "want live or played"},
		"source name":       {"authorization/raw.authorization.v1/0/documented@1", "authorization/0", "want service/topic"},
		"source spelling":   {"authorization.v1/0/documented@1", "authorization.v1/+0/documented@1", "sources[0].name: "},
		"source twice":      {"authorization.v1/1/documented", "authorization.v1/0/documented", "is already groups[0].sources[0]"},
		"from of words":     {"0/documented@1, clock: live}", "0/documented@1, clock: live, from_offset: now}", "whole number"},
		"ends before":       {"0/documented@1, clock: live}", "0/documented@1, clock: live, from_offset: 7, until_offset: 6}", "6 is before from_offset 7"},
		"two read all":      {"authorization.v1/1/documented@1", "authorization.v1/0/documented@2", "reads the same partition"},
		"calendar":          {"calendar: cn-mainland", "calendar: cn-moon", "not among the calendars"},
		"group name":        {"name: default", "name: ''", "groups[0].name: want a value"},
		"plain group":       {"- name: default\n", "- default\n  - name: default\n", "groups[0]: want keys and values"},
		"more documents":    {"hold_cap: 30d", "hold_cap: 30d\n---\nrules: x", "one configuration only"},
		"list as a key":     {"qr: none", "[qr]: none", "want a plain key"},
	} {
		if strings.Count(text, test.old) == 0 {
			t.Fatalf("%s: the example has no %q", name, test.old)
		}
		broken := strings.Replace(text, test.old, test.with, 1)
		_, err := Parse([]byte(broken))
		if err == nil || !strings.Contains(err.Error(), test.want) {
			t.Errorf("%s: got %v, want %q", name, err, test.want)
			continue
		}
		var mistake *Mistake
		if test.want != "" && (!errors.As(err, &mistake) || mistake.Line == 0) {
			t.Errorf("%s: %v has no line", name, err)
		}
	}
}

func TestParseReportsAllMistakesInTheirOrder(t *testing.T) {
	_, err := Parse([]byte(`rules: x
join_version: 1
alert_version: zero
tzdata: 2025c
calendars: {cn-mainland: }
groups:
  - name: a
    acquirers: [one, "t|wo"]
    sources:
      - {name: a/b/0/c@1, clock: live}
    terms: {cycle: T+1}
  - name: a
    acquirers: [one]
    sources:
      - {name: a/b/0/c@1, clock: played}
`))
	if err == nil {
		t.Fatal("accepted")
	}
	for _, want := range []string{
		`line 3: alert_version: "zero"`,
		"line 5: calendars.cn-mainland: want a value",
		`line 8: groups[0].acquirers[1]: "t|wo"`,
		"line 11: groups[0].terms.allowance: missing",
		"line 11: groups[0].terms.zone: missing",
		"line 12: groups[1].terms: missing",
		`line 12: groups[1].name: "a" is also the name of groups[0]`,
		`line 13: groups[1].acquirers[0]: "one" is already in groups[0].acquirers[0]`,
		"line 15: groups[1].sources[0].clock: another group gives this source another clock",
	} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("%q is not in\n%v", want, err)
		}
	}
	if n := strings.Count(err.Error(), "alert_version"); n != 1 {
		t.Errorf("what cannot be read is judged %d times", n)
	}
	line := 0
	for _, text := range strings.Split(err.Error(), "\n") {
		if n, _ := parseLine(text); n < line {
			t.Errorf("out of order: %s", text)
		} else {
			line = n
		}
	}
}

func parseLine(text string) (int, string) {
	n := 0
	text = strings.TrimPrefix(text, "line ")
	for len(text) > 0 && text[0] >= '0' && text[0] <= '9' {
		n, text = n*10+int(text[0]-'0'), text[1:]
	}
	return n, text
}

func TestParseRefusesWhatIsNoConfiguration(t *testing.T) {
	bomb := "groups: &a [" + strings.Repeat("{},", 1000) + "]\nrules: x\n"
	for name, text := range map[string]string{
		"nothing":      "",
		"comments":     "# nothing\n",
		"null":         "null\n",
		"a word":       "x",
		"a list":       "[]",
		"no YAML":      "a: [",
		"a tab":        "a:\n\t- b",
		"NUL":          "a\x00",
		"no UTF-8":     "rules: \xff\xfe\xfd",
		"alias cycle":  "rules: &a [*a]",
		"key cycle":    "&a groups: *a",
		"merge key":    "<<: {rules: x}",
		"empty groups": bomb,
		"large":        strings.Repeat("#", sizeMax+1),
	} {
		if config, err := Parse([]byte(text)); err == nil {
			t.Errorf("%s was read as %v", name, config)
		}
	}
}

func TestParseBoundsAliases(t *testing.T) {
	text := "x: &s [" + strings.Repeat("a,", 2000) + "]\ngroups: [" + strings.Repeat("{acquirers: *s},", 2000) + "]\n"
	_, err := Parse([]byte(text))
	if err == nil || !strings.Contains(err.Error(), "more than 100000 entries") {
		t.Fatal("two thousand times two thousand entries were read")
	}
	if n := strings.Count(err.Error(), "\n"); n > 2*entriesMax {
		t.Fatalf("%d mistakes were found after the limit", n)
	}
}

func TestParseTakesAliases(t *testing.T) {
	text := strings.Replace(example(t), "    terms:\n", "    terms: &china\n", 1) + `
  - name: other
    acquirers: [other]
    sources: [{name: a/b/0/c@1, clock: played}]
    terms: *china
`
	config, err := Parse([]byte(text))
	if err != nil {
		t.Fatal(err)
	}
	if !proto.Equal(config.GetGroups()[0].GetTerms(), config.GetGroups()[1].GetTerms()) {
		t.Error("the shared terms differ")
	}
}

func TestValidate(t *testing.T) {
	good := func() *event.Config {
		config := Default(Abilities{JoinVersion: 1, TZData: "2025c", Calendar: "2026.1"},
			&event.ExpectedSource{Name: "a/b/0/c@1", Clock: event.Clock_CLOCK_LIVE})
		config.Groups = append(config.Groups, &event.Group{
			Name: "second", Acquirers: []string{"one"}, Terms: DefaultTerms(),
			Sources: []*event.ExpectedSource{{Name: "a/b/1/c@1", Clock: event.Clock_CLOCK_PLAYED}},
		})
		return config
	}
	if err := Validate(good()); err != nil {
		t.Fatal(err)
	}
	for name, test := range map[string]struct {
		change func(*event.Config)
		want   string
	}{
		"no rules":           {func(c *event.Config) { c.Rules = "" }, "rules: "},
		"no join version":    {func(c *event.Config) { c.JoinVersion = 0 }, "join_version: "},
		"no alert version":   {func(c *event.Config) { c.AlertVersion = 0 }, "alert_version: "},
		"no tzdata":          {func(c *event.Config) { c.TzdataVersion = "" }, "tzdata: "},
		"calendar unnamed":   {func(c *event.Config) { c.Calendars = append(c.Calendars, nil) }, "a name and a version"},
		"calendar twice":     {func(c *event.Config) { c.Calendars = append(c.Calendars, c.Calendars[0]) }, "named twice"},
		"no groups":          {func(c *event.Config) { c.Groups = nil }, "groups: want at least one"},
		"nil group":          {func(c *event.Config) { c.Groups[1] = nil }, "groups[1].name"},
		"two default groups": {func(c *event.Config) { c.Groups[1].Acquirers = nil }, "groups[0] already takes all"},
		"group name twice":   {func(c *event.Config) { c.Groups[1].Name = "default" }, "is also the name"},
		"acquirer unnamed":   {func(c *event.Config) { c.Groups[1].Acquirers[0] = "" }, "groups[1].acquirers[0]"},
		"acquirer twice":     {func(c *event.Config) { c.Groups[0].Acquirers = []string{"one"} }, "is already in"},
		"acquirer with a |":  {func(c *event.Config) { c.Groups[1].Acquirers[0] = "a|b" }, "no | in it"},
		"no sources":         {func(c *event.Config) { c.Groups[1].Sources = nil }, "at least one source"},
		"source with two clocks": {func(c *event.Config) {
			c.Groups[1].Sources = []*event.ExpectedSource{{Name: c.Groups[0].Sources[0].Name, Clock: event.Clock_CLOCK_PLAYED}}
		}, "another clock"},
		"source unreadable": {func(c *event.Config) { c.Groups[1].Sources[0].Name = "x" }, "want service/topic"},
		"source nameless":   {func(c *event.Config) { c.Groups[1].Sources[0].Name = "//0/@1" }, "empty part"},
		"clock unknown":     {func(c *event.Config) { c.Groups[1].Sources[0].Clock = 0 }, "want live or played"},
		"no terms":          {func(c *event.Config) { c.Groups[1].Terms = nil }, "has no terms"},
		"no cycle":          {func(c *event.Config) { c.Groups[1].Terms.Cycle = "" }, "terms.cycle"},
		"no zone":           {func(c *event.Config) { c.Groups[1].Terms.Zone = "" }, "terms.zone"},
		"no calendar":       {func(c *event.Config) { c.Groups[1].Terms.Calendar = "" }, "terms.calendar"},
		"channel unnamed":   {func(c *event.Config) { c.Groups[1].Terms.ChannelCutoffs[0].Channel = "" }, "the channel has no name"},
		"channel twice": {func(c *event.Config) {
			terms := c.Groups[1].Terms
			terms.ChannelCutoffs = append(terms.ChannelCutoffs, terms.ChannelCutoffs[0])
		}, "two cut-offs"},
	} {
		config := good()
		test.change(config)
		if err := Validate(config); err == nil || !strings.Contains(err.Error(), test.want) {
			t.Errorf("%s: got %v, want %q", name, err, test.want)
		}
		if _, err := Render(config); err == nil {
			t.Errorf("%s: rendered", name)
		}
	}
	if Validate(nil) == nil {
		t.Error("no configuration is valid")
	}
}

func TestRenderRefusesWhatNoTextStandsFor(t *testing.T) {
	for name, change := range map[string]func(*event.Terms){
		"counting":  func(t *event.Terms) { t.Counting = 0 },
		"refunds":   func(t *event.Terms) { t.Refunds = 9 },
		"stage":     func(t *event.Terms) { t.Stage = 5 },
		"cutoff":    func(t *event.Terms) { *t.CutoffMs = dayMs },
		"publish":   func(t *event.Terms) { t.PublishMs = -1 },
		"days":      func(t *event.Terms) { t.PublishDays = -1 },
		"grace":     func(t *event.Terms) { t.GraceMs = -1 },
		"tolerance": func(t *event.Terms) { t.ToleranceMinor = -1 },
		"fee":       func(t *event.Terms) { t.FeeBps = -1 },
		"allowance": func(t *event.Terms) { t.AllowanceBps = 1 << 60 },
		"life":      func(t *event.Terms) { t.LifeDays = -1 },
		"start":     func(t *event.Terms) { day := int32(1 << 30); t.StartDate = &day },
		"channel":   func(t *event.Terms) { t.ChannelCutoffs[0].Channel = "\xff" },
	} {
		config := Default(Abilities{JoinVersion: 1, TZData: "2025c", Calendar: "2026.1"}, documented()...)
		change(config.Groups[0].Terms)
		if text, err := Render(config); err == nil {
			t.Errorf("%s: rendered as\n%s", name, text)
		}
	}
}

func ptr[T any](value T) *T { return &value }

// A name as people may give one, and as YAML would like to misread it.
func names() *rapid.Generator[string] {
	return rapid.OneOf(
		rapid.SampledFrom([]string{"a", "null", "~", "true", "no", "1", "0x1F", "1e3", "23:00", "2025-01-01", "<<", "a: b", "# c", "- d", "'", `"`, "&x", "*x", "!t", "%", "@", "深圳", " a", "a ", "a\nb", "=", "none"}),
		rapid.StringMatching(`[a-zA-Z0-9 .:_#'"\[\]{},&*!?-]{1,12}`),
	)
}

func configs() *rapid.Generator[*event.Config] {
	return rapid.Custom(func(t *rapid.T) *event.Config {
		cutoff := func(label string) *int64 {
			if rapid.Bool().Draw(t, label+" present") {
				return ptr(rapid.Int64Range(0, dayMs-1).Draw(t, label))
			}
			return nil
		}
		config := &event.Config{
			Rules:         names().Draw(t, "rules"),
			JoinVersion:   rapid.Uint32Min(1).Draw(t, "join"),
			AlertVersion:  rapid.Uint32Min(1).Draw(t, "alert"),
			TzdataVersion: names().Draw(t, "tzdata"),
		}
		calendars := rapid.SliceOfNDistinct(names(), 1, 3, rapid.ID).Draw(t, "calendars")
		for _, name := range calendars {
			config.Calendars = append(config.Calendars, &event.CalendarVersion{Name: name, Version: names().Draw(t, "version")})
		}
		for i, name := range rapid.SliceOfNDistinct(names(), 1, 3, rapid.ID).Draw(t, "groups") {
			terms := &event.Terms{
				Cycle: names().Draw(t, "cycle"), Calendar: rapid.SampledFrom(calendars).Draw(t, "calendar"),
				Zone:           names().Draw(t, "zone"),
				Counting:       event.Counting(rapid.Int32Range(1, 2).Draw(t, "counting")),
				CutoffMs:       cutoff("cutoff"),
				PublishMs:      rapid.Int64Range(0, dayMs-1).Draw(t, "publish"),
				PublishDays:    rapid.Int32Min(0).Draw(t, "publish days"),
				GraceMs:        rapid.Int64Range(0, 1<<43).Draw(t, "grace"),
				ToleranceMinor: rapid.Int64Min(0).Draw(t, "tolerance"),
				Refunds:        event.RefundMode(rapid.Int32Range(1, 2).Draw(t, "refunds")),
				Stage:          rapid.Int32Range(1, 3).Draw(t, "stage"),
				FeeBps:         rapid.Int64Range(0, 100_000).Draw(t, "fee"),
				MaxFeeBps:      rapid.Int64Range(0, 100_000).Draw(t, "max fee"),
				AllowanceBps:   rapid.Int64Range(0, 100_000).Draw(t, "allowance"),
				LifeDays:       rapid.Int32Min(0).Draw(t, "life"),
				HoldCapDays:    rapid.Int32Min(0).Draw(t, "hold"),
			}
			if rapid.Bool().Draw(t, "start") {
				terms.StartDate = ptr(rapid.Int32Range(-719_528, 2_932_896).Draw(t, "start date"))
			}
			for _, channel := range rapid.SliceOfNDistinct(names(), 0, 3, rapid.ID).Draw(t, "channels") {
				terms.ChannelCutoffs = append(terms.ChannelCutoffs, &event.ChannelCutoff{Channel: channel, CutoffMs: cutoff("channel")})
			}
			group := &event.Group{Name: name, Terms: terms}
			if i > 0 {
				group.Acquirers = []string{"acquirer of " + name}
			}
			for j := range rapid.IntRange(1, 3).Draw(t, "sources") {
				source := event.Source{Service: "s", Topic: "t", Partition: int32(10*i + j), Profile: "p", Version: 1}
				group.Sources = append(group.Sources, &event.ExpectedSource{
					Name: source.String(), Clock: event.Clock(rapid.Int32Range(1, 2).Draw(t, "clock")),
				})
			}
			config.Groups = append(config.Groups, group)
		}
		return config
	})
}

func TestParseIsTheInverseOfRender(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		config := configs().Draw(t, "config")
		text, err := Render(config)
		if err != nil {
			t.Fatal(err)
		}
		again, err := Parse(text)
		if err != nil {
			t.Fatalf("%v\n%s", err, text)
		}
		if !proto.Equal(again, config) {
			t.Fatalf("%v\ncame back from\n%s", again, text)
		}
		twice, err := Render(again)
		if err != nil || string(twice) != string(text) {
			t.Fatalf("rendered again as\n%s\n%v", twice, err)
		}
	})
}

func FuzzParse(f *testing.F) {
	f.Add([]byte(example(f)))
	f.Add([]byte("rules: &a [*a]\ngroups: [*a]"))
	f.Add([]byte("groups: [{terms: {fee: 1%, life: 1d, grace: 1h}}]"))
	f.Fuzz(func(t *testing.T, text []byte) {
		config, err := Parse(text)
		if err != nil {
			return
		}
		rendered, err := Render(config)
		if err != nil {
			t.Fatalf("read but not written: %v", err)
		}
		again, err := Parse(rendered)
		if err != nil || !proto.Equal(again, config) {
			t.Fatalf("comes back as %v, %v", again, err)
		}
	})
}

// The number of partitions is the installation's: rule files need not name it.
func TestLogPartitionsAreOptional(t *testing.T) {
	config := Default(Abilities{JoinVersion: 1, TZData: "2025c", Calendar: "2026.1"}, documented()...)
	if text, err := Render(config); err != nil || strings.Contains(string(text), "log_partitions") {
		t.Fatalf("a configuration without them renders as (%v)\n%s", err, text)
	}
	config.LogPartitions = 4
	text, err := Render(config)
	if err != nil {
		t.Fatal(err)
	}
	if back, err := Parse(text); err != nil || !proto.Equal(back, config) {
		t.Errorf("4 partitions come back as %v (%v)", back, err)
	}
}
