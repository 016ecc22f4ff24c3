package console

import (
	"strings"
	"testing"

	"settlewatch/schemas/alert"
	"settlewatch/schemas/event"
)

// TestEvidenceOfFiles: what came from a file is named by file and line, wherever
// people are shown it, and what came from a topic by its place there.
func TestEvidenceOfFiles(t *testing.T) {
	details := Style{}.Details(&alert.Alert{
		Kind: alert.SettledTwice, Currency: "CNY", EvidenceTotal: 3,
		Evidence: []alert.Evidence{
			{Kind: "capture", AmountMinor: 1230, EventID: "e1", Topic: "raw.capture.v1", Partition: 1, Offset: 41},
			{Kind: "settlement", AmountMinor: 1230, EventID: "e2", File: "settle_1.csv", Line: 70001, Reference: "L7"},
			{Kind: "settlement", AmountMinor: 1230, EventID: "e3", File: "a/settle.csv", Line: 8, Index: 2},
		},
	})
	for _, want := range []string{"  raw.capture.v1/1/41  event e1", "  settle_1.csv:70001  L7  event e2", "  a/settle.csv:8 #2  event e3"} {
		if !strings.Contains(details, want) {
			t.Errorf("no %q in\n%s", want, details)
		}
	}
	for _, c := range []struct {
		source event.Source
		want   string
	}{
		{event.FileSource("settlement", "a/settle 50%.csv", "pine", 2), "a/settle 50%.csv:8"},
		{event.Source{Service: "settlement", Topic: "raw.settlement.v1", Partition: 3, Profile: "documented", Version: 1}, "raw.settlement.v1/3/8"},
	} {
		if got := rawPlace(c.source.String(), 8, 0); got != c.want {
			t.Errorf("the place is %q, want %q", got, c.want)
		}
	}
}
