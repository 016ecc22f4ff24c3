package whatif_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"slices"
	"strings"
	"testing"
	"time"

	"settlewatch/pipelines/checkpoint"
	"settlewatch/pipelines/sim"
	"settlewatch/pipelines/stage"
	"settlewatch/schemas/alert"
	"settlewatch/schemas/event"
	"settlewatch/schemas/topic"
	"settlewatch/tools/replay"
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

// checkpoints has one of each partition where that many records are folded.
func checkpoints(t *testing.T, log *sim.Log, partitions int32, at int64) *checkpoint.Store {
	t.Helper()
	log.LimitBatch(int(at))
	defer log.LimitBatch(1000)
	kept := &checkpoint.Store{Log: log}
	for p := range partitions {
		state := sim.NewState()
		ctx, cancel := context.WithCancel(t.Context())
		j := &stage.Joiner{
			Log: silent{log}, State: func(int32) stage.State { return state.Owner() }, Clock: stopped{}, Logger: slog.New(slog.DiscardHandler),
		}
		err := j.Own(ctx, stage.Assignment{
			Topic: topic.PaymentLog.Name, Partition: p, Offset: stage.None, Commit: func(context.Context, int64) error { cancel(); return nil },
		})
		if err != nil {
			t.Fatal(err)
		}
		stored, err := state.Owner().Load(t.Context())
		if err == nil {
			_, err = kept.Save(t.Context(), p, stored)
		}
		if err != nil || stored.Offset != at {
			t.Fatalf("a checkpoint at offset %d (%v)", stored.Offset, err)
		}
	}
	return kept
}

// silent publishes nothing.
type silent struct{ *sim.Log }

func (silent) Append(context.Context, ...stage.Outgoing) error { return nil }

type stopped struct{}

func (stopped) Now() time.Time { return time.Unix(0, 0) }

func (stopped) Sleep(ctx context.Context, _ time.Duration) error { return ctx.Err() }

// A log that was cut begins with its checkpoint: the same rules make no difference, and
// other ones do from there on.
func TestFromACheckpoint(t *testing.T) {
	const at = 34 // sales and the first marks
	log := replaytest.Log(t, 1, payments)
	whole, err := whatif.Run(t.Context(), whatif.Options{Log: log, Config: replaytest.Config(t)})
	if err != nil {
		t.Fatal(err)
	}
	o := whatif.Options{Log: log, Config: replaytest.Config(t), Checkpoints: checkpoints(t, log, 1, at), FromCheckpoint: true}
	if r, err := whatif.Run(t.Context(), o); err != nil || r.Differs() || len(r.Begins) != 1 || r.Begins[0].Offset != at {
		t.Errorf("the same rules from a checkpoint: %+v (%v)", r, err)
	}
	if err := log.Trim(topic.PaymentLog.Name, 0, at-1); err != nil {
		t.Fatal(err)
	}
	o.FromCheckpoint = false
	same, err := whatif.Run(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	if same.Differs() || !slices.Equal(same.Counts, whole.Counts) || same.Records >= whole.Records {
		t.Errorf("the same rules from a checkpoint: %+v, want %+v", same.Counts, whole.Counts)
	}
	o.Config.Groups[0].Terms.Cycle = "T+3"
	r, err := whatif.Run(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	if got := counts(t, r, alert.PaidUnsettled); got.OnlyBefore != payments/4 || got.Changed != payments/4 {
		t.Errorf("T+3 from a checkpoint: %+v", got)
	}
	var text bytes.Buffer
	if err := r.WriteText(&text, 0); err != nil || !strings.Contains(text.String(), "partition 0 begins with the checkpoint at offset 34") {
		t.Errorf("(%v)\n%s", err, text.String())
	}
	// Beyond it the log cannot be cut.
	if err := log.Trim(topic.PaymentLog.Name, 0, at+1); err != nil {
		t.Fatal(err)
	}
	if _, err := whatif.Run(t.Context(), o); !errors.Is(err, replay.ErrBeginning) {
		t.Errorf("a log that was cut beyond its checkpoint: %v", err)
	}
}

// How alerts stood before the checkpoint cannot be asked.
func TestWindowBeforeTheCheckpoint(t *testing.T) {
	log := replaytest.Log(t, 1, payments)
	o := whatif.Options{Log: log, Config: replaytest.Config(t), Checkpoints: checkpoints(t, log, 1, 34), FromCheckpoint: true}
	o.UntilMs = time.Date(2026, 3, 2, 1, 0, 0, 0, time.UTC).UnixMilli()
	if _, err := whatif.Run(t.Context(), o); !errors.Is(err, whatif.ErrWindow) {
		t.Errorf("a window that ends before the checkpoint: %v", err)
	}
}

// What was said before the checkpoint stands: an alert that the other rules take back
// is one that stands now, not a new one.
func TestSaidBeforeTheCheckpoint(t *testing.T) {
	log := replaytest.Log(t, 1, payments)
	records, err := log.Records(topic.PaymentLog.Name, 0)
	if err != nil {
		t.Fatal(err)
	}
	o := whatif.Options{Log: log, Config: replaytest.Config(t), FromCheckpoint: true}
	o.Checkpoints = checkpoints(t, log, 1, int64(len(records)-4)) // all is said
	if r, err := whatif.Run(t.Context(), o); err != nil || r.Differs() {
		t.Errorf("the same rules: %+v (%v)", r, err)
	}
	o.Config.Groups[0].Terms.Cycle = "T+9"
	r, err := whatif.Run(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	// Those that are still unsettled are owed later under T+9.
	if got := counts(t, r, alert.PaidUnsettled); got.Changed != payments/4 || got.OpenBefore != payments/4 || got.OpenAfter != 0 || got.OnlyAfter != 0 {
		t.Errorf("T+9: %+v", got)
	}
	for _, c := range r.Changes {
		if c.Before == nil || c.Before.Status != alert.Open || c.Before.Opened != "" || c.After == nil || c.After.Status == alert.Open || c.After.Opened != "" {
			t.Errorf("%+v is changed to %+v", c.Before, c.After)
		}
	}
}

// A checkpoint of another log is none.
func TestACheckpointOfAnotherLog(t *testing.T) {
	log := replaytest.Log(t, 1, payments)
	o := whatif.Options{Log: log, Config: replaytest.Config(t), FromCheckpoint: true, Checkpoints: checkpoints(t, log, 1, 30)}
	records, err := log.Records(topic.PaymentLog.Name, 0)
	if err == nil {
		err = log.Recreate(topic.PaymentLog.Name)
	}
	if err == nil {
		err = log.Append(t.Context(), stage.Outgoing{Topic: topic.PaymentLog.Name, Records: records[1:]})
	}
	if err != nil {
		t.Fatal(err)
	}
	if _, err := whatif.Run(t.Context(), o); !errors.Is(err, stage.ErrLogChanged) {
		t.Errorf("it ends with: %v", err)
	}
}

func TestRefusesHalfALog(t *testing.T) {
	log := replaytest.Log(t, 2, payments)
	if err := log.Trim(topic.PaymentLog.Name, 1, 3); err != nil {
		t.Fatal(err)
	}
	if _, err := whatif.Run(t.Context(), whatif.Options{Log: log, Config: replaytest.Config(t)}); !errors.Is(err, replay.ErrBeginning) {
		t.Errorf("it ends with: %v", err)
	}
	config := replaytest.Config(t)
	config.Groups[0].Terms.Counting = event.Counting_COUNTING_UNKNOWN
	config.Groups[0].Terms.Cycle = "nonsense"
	if _, err := whatif.Run(t.Context(), whatif.Options{Log: replaytest.Log(t, 1, 1), Config: config}); err == nil {
		t.Error("rules that cannot be run give no error")
	}
}
