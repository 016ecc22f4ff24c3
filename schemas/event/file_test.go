package event_test

import (
	"testing"

	"settlewatch/schemas/event"
)

func TestFileSourceKeepsTheName(t *testing.T) {
	for _, name := range []string{"a.csv", "2025-09/结算 1.csv", "100%.csv", "%2F", "a%25/b", "c:d", "-"} {
		written := event.FileSource("settlement", name, "vendor", 3).String()
		source, err := event.ParseSource(written)
		if err != nil {
			t.Fatal(err)
		}
		if got, is := source.File(); !is || got != name {
			t.Errorf("%q came back as %q, %t", name, got, is)
		}
	}
	topic := event.Source{Service: "capture", Topic: "raw.capture.v1", Profile: "documented", Version: 1}
	if name, is := topic.File(); is {
		t.Errorf("a topic is the file %q", name)
	}
}

// What arrived together is judged in the order of the sources' names: that of the
// feeds, and never that of the files' names.
func TestFileSourcesSortByFeed(t *testing.T) {
	a := event.FileSource("authorization", "z.csv", "p", 1).String()
	c := event.FileSource("capture", "m.csv", "p", 1).String()
	s := event.FileSource("settlement", "a.csv", "p", 1).String()
	if a >= c || c >= s {
		t.Errorf("%s, %s, %s are not in order", a, c, s)
	}
}
