package ruleset

import (
	"strings"
	"testing"

	"google.golang.org/protobuf/proto"

	"settlewatch/schemas/event"
)

// A line of topics is a source for each partition.
func TestTopicsAreSources(t *testing.T) {
	short, err := Parse([]byte(example(t)))
	if err != nil {
		t.Fatal(err)
	}
	long, err := Parse([]byte(spelled(t)))
	if err != nil {
		t.Fatal(err)
	}
	if !proto.Equal(short, long) || len(short.Groups[0].Sources) != 6 {
		t.Errorf("topics give\n%v\nwant\n%v", short.Groups[0].Sources, long.Groups[0].Sources)
	}
	for name, test := range map[string]struct{ old, with, want string }{
		"no raw topic": {"name: raw.capture.v1", "name: payment-log.v1", "topics[1].name: \"payment-log.v1\" is no raw topic"},
		"no version":   {"partitions: 2, profile: documented@1", "partitions: 2, profile: documented", "topics[0].profile: \"documented\": want name@version"},
		"bad version":  {"partitions: 2, profile: documented@1", "partitions: 2, profile: documented@one", "has no @version"},
		"too many":     {"partitions: 2", "partitions: 1000000", "more than 10000"},
		"none":         {"partitions: 2", "partitions: 0", ""},
		"no clock":     {"documented@1, clock: live}", "documented@1}", "topics[0].clock: missing"},
	} {
		broken := strings.Replace(example(t), test.old, test.with, 1)
		if _, err := Parse([]byte(broken)); (test.want != "") != (err != nil) || err != nil && !strings.Contains(err.Error(), test.want) {
			t.Errorf("%s: got %v, want %q", name, err, test.want)
		}
	}
	if _, err := Parse([]byte(strings.ReplaceAll(example(t), "partitions: 2", "partitions: 0"))); err == nil || !strings.Contains(err.Error(), "want at least one source") {
		t.Errorf("no source at all: %v", err)
	}
}

// Versions of a profile take turns: every record of a raw partition is read once.
func TestTurns(t *testing.T) {
	offset := func(n int64) *int64 { return &n }
	const one, two, three = "capture/raw.capture.v1/0/v@1", "capture/raw.capture.v1/0/v@2", "capture/raw.capture.v1/0/w@1"
	for name, test := range map[string]struct {
		sources []*event.ExpectedSource
		want    string
	}{
		"one":             {[]*event.ExpectedSource{{Name: one}}, ""},
		"one from":        {[]*event.ExpectedSource{{Name: two, FromOffset: offset(7)}}, ""},
		"in turn":         {[]*event.ExpectedSource{{Name: two, FromOffset: offset(7)}, {Name: one, UntilOffset: offset(7)}}, ""},
		"three in turn":   {[]*event.ExpectedSource{{Name: one, UntilOffset: offset(7)}, {Name: three, FromOffset: offset(9)}, {Name: two, FromOffset: offset(7), UntilOffset: offset(9)}}, ""},
		"both read all":   {[]*event.ExpectedSource{{Name: one}, {Name: two}}, "reads the same partition"},
		"no end":          {[]*event.ExpectedSource{{Name: one}, {Name: two, FromOffset: offset(7)}}, "reads the same partition"},
		"no beginning":    {[]*event.ExpectedSource{{Name: one, UntilOffset: offset(7)}, {Name: two}}, "reads the same partition"},
		"a gap":           {[]*event.ExpectedSource{{Name: one, UntilOffset: offset(6)}, {Name: two, FromOffset: offset(7)}}, "ends at until_offset 6"},
		"an overlap":      {[]*event.ExpectedSource{{Name: one, UntilOffset: offset(8)}, {Name: two, FromOffset: offset(7)}}, "ends at until_offset 8"},
		"ends before":     {[]*event.ExpectedSource{{Name: one, FromOffset: offset(8), UntilOffset: offset(7)}}, "7 is before from_offset 8"},
		"other partition": {[]*event.ExpectedSource{{Name: one}, {Name: "capture/raw.capture.v1/1/v@2"}}, ""},
	} {
		for _, s := range test.sources {
			s.Clock = event.Clock_CLOCK_LIVE
		}
		config := Default(Abilities{JoinVersion: 1, TZData: "2025c", Calendar: "2026.1"}, test.sources...)
		err := Validate(config)
		if (test.want != "") != (err != nil) || err != nil && !strings.Contains(err.Error(), test.want) {
			t.Errorf("%s: got %v, want %q", name, err, test.want)
			continue
		}
		if err != nil {
			continue
		}
		text, err := Render(config)
		if err != nil {
			t.Fatal(err)
		}
		if back, err := Parse(text); err != nil || !proto.Equal(back, config) {
			t.Errorf("%s: comes back as %v (%v)", name, back, err)
		}
	}
	// Two groups may wait for one source, but not for two halves of it.
	config := Default(Abilities{JoinVersion: 1, TZData: "2025c", Calendar: "2026.1"}, &event.ExpectedSource{Name: one, Clock: event.Clock_CLOCK_LIVE})
	other := proto.CloneOf(config.Groups[0])
	other.Name, other.Acquirers, other.Sources[0].UntilOffset = "other", []string{"a"}, offset(5)
	config.Groups = append(config.Groups, other)
	if err := Validate(config); err == nil || !strings.Contains(err.Error(), "another group gives this source other offsets") {
		t.Errorf("two halves: %v", err)
	}
}
