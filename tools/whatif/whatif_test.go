package whatif_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"strings"
	"testing"
	"time"

	"settlewatch/schemas/alert"
	"settlewatch/schemas/event"
	"settlewatch/schemas/topic"
	"settlewatch/tools/replay/replaytest"
	"settlewatch/tools/whatif"
)

const payments = 40

func counts(t *testing.T, r *whatif.Report, k alert.Kind) whatif.Counts {
	t.Helper()
	for _, c := range r.Counts {
		if c.Kind == k {
			c.Kind = ""
			return c
		}
	}
	t.Fatalf("no counts of %s", k)
	return whatif.Counts{}
}

func TestSameRulesSameAlerts(t *testing.T) {
	log := replaytest.Log(t, 3, payments)
	config := replaytest.Config(t)
	config.Groups[0].Sources = nil // those of the log are taken
	r, err := whatif.Run(t.Context(), whatif.Options{Log: log, Config: config})
	if err != nil {
		t.Fatal(err)
	}
	if r.Differs() || len(r.Changes) != 0 {
		t.Errorf("the same rules differ: %+v", r.Changes)
	}
	// One of four is late, one never comes, one comes twice.
	if got := counts(t, r, alert.PaidUnsettled); got != (whatif.Counts{Before: payments / 2, After: payments / 2, OpenBefore: payments / 4, OpenAfter: payments / 4}) {
		t.Errorf("paid unsettled %+v", got)
	}
	if got := counts(t, r, alert.SettledTwice); got != (whatif.Counts{Before: payments / 4, After: payments / 4, OpenBefore: payments / 4, OpenAfter: payments / 4}) {
		t.Errorf("settled twice %+v", got)
	}
	for p := range int32(3) {
		for _, k := range alert.Kinds {
			for q := range k.Topic().Partitions {
				if records, err := log.Records(k.Topic().Name, int32(q)); err != nil || len(records) > 0 {
					t.Fatalf("%d alerts were published (partition %d, %v)", len(records), p, err)
				}
			}
		}
	}
}

// With T+3 what is a day late is in time, and what never comes is alerted later.
func TestOtherRules(t *testing.T) {
	log := replaytest.Log(t, 2, payments)
	config := replaytest.Config(t)
	config.Rules, config.Groups[0].Terms.Cycle, config.Groups[0].Name = "t3", "T+3", "renamed"
	r, err := whatif.Run(t.Context(), whatif.Options{Log: log, Config: config})
	if err != nil {
		t.Fatal(err)
	}
	want := whatif.Counts{
		Before: payments / 2, After: payments / 4, OpenBefore: payments / 4, OpenAfter: payments / 4,
		OnlyBefore: payments / 4, Changed: payments / 4,
	}
	if got := counts(t, r, alert.PaidUnsettled); got != want {
		t.Errorf("paid unsettled %+v, want %+v", got, want)
	}
	if got := counts(t, r, alert.SettledTwice); got.OnlyAfter+got.OnlyBefore+got.Changed != 0 {
		t.Errorf("settled twice %+v", got)
	}
	for _, c := range r.Changes {
		late := c.After == nil
		if late && (c.Before.Status != alert.Resolved || c.Kind != alert.PaidUnsettled) {
			t.Errorf("%+v is gone", c)
		}
		if !late && (c.Before.Status != alert.Open || c.After.Opened <= c.Before.Opened) {
			t.Errorf("%+v is changed to %+v", c.Before, c.After)
		}
	}
	var text, lines bytes.Buffer
	if err := errors.Join(r.WriteText(&text, 3), r.WriteJSON(&lines)); err != nil {
		t.Fatal(err)
	}
	for _, part := range []string{"only before: these would not be raised", "changed", "… and 7 more (--json shows all)", "nothing was published"} {
		if !strings.Contains(text.String(), part) {
			t.Errorf("no %q in\n%s", part, text.String())
		}
	}
	last := lines.String()[strings.LastIndex(strings.TrimSpace(lines.String()), "\n")+1:]
	var summary struct{ Summary whatif.Report }
	if err := json.Unmarshal([]byte(last), &summary); err != nil || summary.Summary.Rules != "t3" {
		t.Errorf("the summary is %s (%v)", last, err)
	}
}

// Only what has a revision in the window counts, as it stands at its end.
func TestWindow(t *testing.T) {
	log := replaytest.Log(t, 1, payments)
	config := replaytest.Config(t)
	config.Groups[0].Terms.Cycle = "T+3"
	// Tuesday from 10:00 to 14:00 UTC+8: due evidence opens, nothing has come late yet.
	from := time.Date(2026, 3, 3, 2, 0, 0, 0, time.UTC).UnixMilli()
	r, err := whatif.Run(t.Context(), whatif.Options{Log: log, Config: config, FromMs: from, UntilMs: from + 4*time.Hour.Milliseconds()})
	if err != nil {
		t.Fatal(err)
	}
	if got := counts(t, r, alert.PaidUnsettled); got != (whatif.Counts{Before: payments / 2, OpenBefore: payments / 2, OnlyBefore: payments / 2}) {
		t.Errorf("paid unsettled %+v", got)
	}
	if got := counts(t, r, alert.SettledTwice); got != (whatif.Counts{}) {
		t.Errorf("settled twice %+v", got)
	}
}

func TestRefusesHalfALog(t *testing.T) {
	log := replaytest.Log(t, 2, payments)
	if err := log.Trim(topic.PaymentLog.Name, 1, 3); err != nil {
		t.Fatal(err)
	}
	if _, err := whatif.Run(t.Context(), whatif.Options{Log: log, Config: replaytest.Config(t)}); !errors.Is(err, whatif.ErrBeginning) {
		t.Errorf("it ends with: %v", err)
	}
	config := replaytest.Config(t)
	config.Groups[0].Terms.Counting = event.Counting_COUNTING_UNKNOWN
	config.Groups[0].Terms.Cycle = "nonsense"
	if _, err := whatif.Run(t.Context(), whatif.Options{Log: replaytest.Log(t, 1, 1), Config: config}); err == nil {
		t.Error("rules that cannot be run give no error")
	}
}
