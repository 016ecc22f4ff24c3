package console

import (
	"context"
	"fmt"
	"slices"
	"testing"
	"time"

	"settlewatch/pipelines/sim"
	"settlewatch/pipelines/stage"
	"settlewatch/schemas/alert"
)

func alertLog(t *testing.T) *sim.Log {
	t.Helper()
	log := sim.NewLog()
	for _, k := range alert.Kinds {
		if err := log.CreateTopic(k.Topic().Name, k.Topic().Partitions); err != nil {
			t.Fatal(err)
		}
	}
	return log
}

// publish an alert revision, minute by minute of one hour.
func publish(t *testing.T, log stage.Log, kind alert.Kind, partition int32, id string, revision uint32, status alert.Status, minute int) {
	t.Helper()
	a := &alert.Alert{
		ID: id, Kind: kind, Revision: revision, Status: status, Merchant: "M-" + id, AmountMinor: 100, Currency: "CNY",
		MomentJudged: fmt.Sprintf("2026-01-02T03:%02d:00.000Z", minute),
	}
	body, err := a.Encode()
	if err == nil {
		err = log.Append(t.Context(), stage.Outgoing{Topic: kind.Topic().Name, Partition: partition, Records: []stage.Record{{Value: body}}})
	}
	if err != nil {
		t.Fatal(err)
	}
}

func seen(t *testing.T, w *Watch) []string {
	t.Helper()
	var out []string
	err := w.Run(t.Context(), func(r Revision) error {
		out = append(out, fmt.Sprintf("%s r%d %s", r.ID, r.Revision, r.Status))
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return out
}

func TestWatchFoldsRevisions(t *testing.T) {
	log := alertLog(t)
	publish(t, log, alert.PaidUnsettled, 1, "a", 1, alert.Open, 10)
	publish(t, log, alert.SettledTwice, 0, "b", 1, alert.Open, 5)
	publish(t, log, alert.PaidUnsettled, 1, "a", 2, alert.Resolved, 20)
	publish(t, log, alert.PaidUnsettled, 1, "a", 1, alert.Open, 10) // a repeat, behind its successor
	publish(t, log, alert.PaidUnsettled, 2, "c", 1, alert.Open, 15)
	for name, c := range map[string]struct {
		watch *Watch
		want  []string
	}{
		"latest": {&Watch{}, []string{"b r1 OPEN", "c r1 OPEN", "a r2 RESOLVED"}},
		"all":    {&Watch{All: true}, []string{"b r1 OPEN", "a r1 OPEN", "c r1 OPEN", "a r2 RESOLVED"}},
		// What was open and is not any more is not open.
		"open":     {&Watch{Filter: Filter{Statuses: []alert.Status{alert.Open}}}, []string{"b r1 OPEN", "c r1 OPEN"}},
		"kind":     {&Watch{Filter: Filter{Kinds: []alert.Kind{alert.SettledTwice}}}, []string{"b r1 OPEN"}},
		"merchant": {&Watch{All: true, Filter: Filter{Merchant: "M-a"}}, []string{"a r1 OPEN", "a r2 RESOLVED"}},
		"since":    {&Watch{Filter: Filter{SinceMs: time.Date(2026, 1, 2, 3, 15, 0, 0, time.UTC).UnixMilli()}}, []string{"c r1 OPEN", "a r2 RESOLVED"}},
	} {
		c.watch.Log = log
		if got := seen(t, c.watch); !slices.Equal(got, c.want) {
			t.Errorf("%s: %q, want %q", name, got, c.want)
		}
	}
}

// TestWatchFollows: what comes is shown once, a revision lower than one that was
// shown is not, and the end of the context is no error.
func TestWatchFollows(t *testing.T) {
	log := alertLog(t)
	publish(t, log, alert.PaidUnsettled, 1, "a", 2, alert.Resolved, 10)
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	var got []string
	w := &Watch{Log: log, Follow: true}
	err := w.Run(ctx, func(r Revision) error {
		got = append(got, fmt.Sprintf("%s r%d", r.ID, r.Revision))
		switch len(got) {
		case 1:
			publish(t, log, alert.PaidUnsettled, 1, "a", 2, alert.Resolved, 10)
			publish(t, log, alert.PaidUnsettled, 1, "a", 1, alert.Open, 5)
			publish(t, log, alert.PaidUnsettled, 1, "a", 3, alert.Open, 20)
		case 2:
			stop()
		}
		return nil
	})
	if want := []string{"a r2", "a r3"}; err != nil || !slices.Equal(got, want) {
		t.Errorf("%q, %v; want %q", got, err, want)
	}
}

func TestParseSince(t *testing.T) {
	now := time.Date(2026, 3, 4, 5, 0, 0, 0, time.UTC)
	for text, want := range map[string]string{
		"2026-01-31": "2026-01-31T00:00:00Z", "2026-01-31T08:00:00+08:00": "2026-01-31T00:00:00Z",
		"36h": "2026-03-02T17:00:00Z", "7d": "2026-02-25T05:00:00Z", "90m": "2026-03-04T03:30:00Z",
	} {
		ms, err := ParseSince(text, now)
		if got := time.UnixMilli(ms).UTC().Format(time.RFC3339); err != nil || got != want {
			t.Errorf("%s: %s, %v; want %s", text, got, err, want)
		}
	}
	for _, bad := range []string{"", "yesterday", "-3h", "-1d", "2026-13-01"} {
		if _, err := ParseSince(bad, now); err == nil {
			t.Errorf("%q is taken", bad)
		}
	}
}
