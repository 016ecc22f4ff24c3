package profile_test

import (
	"strings"
	"testing"

	"settlewatch/pipelines/profile"
)

func TestDocumentedWrapper(t *testing.T) {
	const file = `{"arrival":"2025-09-22T09:30:00.123Z","record":{"type":"capture","event_id":"e1","acquirer":"acq","order_id":"O1","merchant_id":"m","business_time":"2025-09-22T17:00:00+08:00","amount_minor":100,"currency":"CNY"}}

{"arrival":"2025-09-22T09:30:00.123Z","record":{"type":"capture"}}
{"record":{}}
`
	var lines []int
	var events, refused int
	for r, err := range profile.Documented().Read("x.jsonl", strings.NewReader(file)) {
		if err != nil {
			t.Fatal(err)
		}
		lines = append(lines, r.Line)
		events += len(r.Events)
		if r.Err != nil {
			refused++
		}
	}
	if len(lines) != 3 || lines[1] != 3 || lines[2] != 4 || events != 1 || refused != 2 {
		t.Fatalf("lines %v, %d events, %d refused", lines, events, refused)
	}
}
