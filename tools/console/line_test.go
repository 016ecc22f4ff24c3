package console

import (
	"os"
	"path/filepath"
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

// TestLinesAreAsInTheGuide: the guide for the risk team shows what `alerts` prints.
func TestLinesAreAsInTheGuide(t *testing.T) {
	guide, err := os.ReadFile(filepath.Join("..", "..", "docs", "guides", "risk.md"))
	if err != nil {
		t.Fatal(err)
	}
	for _, a := range []*alert.Alert{
		{
			MomentJudged: "2025-10-09T04:00:00.000Z", Status: alert.Open, Revision: 1, Kind: alert.PaidUnsettled, AmountMinor: 425493, Currency: "CNY",
			Merchant: "898301053110008", PaymentKey: "acq-east|o|O0000000261", Due: &alert.Due{MoneyDue: "2025-10-09"},
		},
		{
			MomentJudged: "2025-10-11T01:27:53.000Z", Status: alert.Resolved, Revision: 2, Kind: alert.SettledTwice, AmountMinor: 476560, Currency: "CNY",
			Merchant: "898301153110216", PaymentKey: "acq-north|o|O0000000327", Closing: &alert.Closing{Reason: "returned"},
		},
	} {
		if line := (Style{}).Line(a); !strings.Contains(string(guide), "\n"+line+"\n") {
			t.Errorf("docs/guides/risk.md has no line\n%s", line)
		}
	}
}
