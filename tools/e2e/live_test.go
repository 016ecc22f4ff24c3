package e2e_test

import (
	"fmt"
	"testing"
	"time"

	"settlewatch/pipelines/calendar"
	"settlewatch/pipelines/stage"
	"settlewatch/schemas/alert"
	"settlewatch/schemas/event"
	"settlewatch/schemas/ruleset"
	"settlewatch/schemas/topic"
	"settlewatch/services/boot"
	"settlewatch/tools/demo"
)

// liveSources are the raw partitions with marks that come from the clock.
func liveSources() []*event.ExpectedSource {
	var out []*event.ExpectedSource
	for service, raw := range map[string]topic.Topic{
		"authorization": topic.RawAuthorization, "capture": topic.RawCapture, "settlement": topic.RawSettlement,
	} {
		for p := range raw.Partitions {
			name := event.Source{
				Service: service, Topic: raw.Name, Partition: int32(p), Profile: boot.Profile, Version: boot.ProfileVersion,
			}
			out = append(out, &event.ExpectedSource{Name: name.String(), Clock: event.Clock_CLOCK_LIVE})
		}
	}
	return out
}

// TestLive writes raw records that arrive now, about payments whose evidence has
// been due for days. Nothing but the clock's marks moves the frontier.
func TestLive(t *testing.T) {
	abilities, err := demo.Abilities()
	if err != nil {
		t.Fatal(err)
	}
	config := ruleset.Default(abilities, liveSources()...)
	w := startUnder(t, config, nil)
	t.Log("servers: " + w.embeddedServers())
	paid := paidOn(t, config)
	t.Logf("the payments were made at %s and arrive now", paid)

	sale := func(order string, amountMinor int64) string {
		return fmt.Sprintf(`{"type":"authorization","event_id":"a-%s","acquirer":"acq-live","merchant_id":"898301053110001",`+
			`"order_id":"%s","amount_minor":%d,"currency":"CNY","mode":"single","response_code":"00","business_time":"%s"}`,
			order, order, amountMinor, paid)
	}
	line := func(order, batch string, amountMinor int64) string {
		return fmt.Sprintf(`{"type":"line","batch_id":"%s","line_id":"l-%s","acquirer":"acq-live","order_id":"%s",`+
			`"stage":"paid_out","gross_minor":%d,"currency":"CNY"}`, batch, order, order, amountMinor)
	}
	// The lines lie there before the sales arrive, or the sales would be unsettled in
	// between.
	w.write(topic.RawSettlement, line("TWICE", "b1", 5000), line("TWICE", "b2", 5000), line("SETTLED", "b1", 700))
	written := time.Now()
	w.write(topic.RawAuthorization, sale("SETTLED", 700), sale("TWICE", 5000), sale("UNSETTLED", 12_300))

	want := map[alert.Kind]int64{alert.PaidUnsettled: 12_300, alert.SettledTwice: 5000}
	opened := make(map[alert.Kind]time.Time)
	for len(opened) < len(want) {
		r := w.next("both alerts are open")
		t.Logf("after %s: %s", time.Since(written).Round(time.Millisecond), r.Body)
		if r.Status != alert.Open || r.Revision != 1 || r.AmountMinor != want[r.Kind] || !opened[r.Kind].IsZero() {
			t.Errorf("got this instead of two first revisions of %v", want)
		}
		opened[r.Kind] = time.Now()
	}

	settled := time.Now()
	w.write(topic.RawSettlement, line("UNSETTLED", "b3", 12_300))
	closing := w.next("the settlement closes the alert")
	t.Logf("after %s: %s", time.Since(settled).Round(time.Millisecond), closing.Body)
	if closing.Kind != alert.PaidUnsettled || closing.Status != alert.Resolved || closing.Revision != 2 {
		t.Error("got this instead of the resolved paid_unsettled")
	}

	w.until("all three payments and both alerts are in ClickHouse", func() bool {
		s, err := w.Warehouse.Summary(w.ctx)
		if err != nil {
			t.Fatal(err)
		}
		return s.Events == 7 && s.Payments == 3 && s.Alerts == 2 && s.Holds()
	})
	got := w.collector.Collected()
	if len(got.Lines()) != 3 || len(got.Letters) != 0 || got.Unequal != 0 {
		t.Errorf("%d revisions, %d dead letters, %d unequal repeats; want 3, 0, 0", len(got.Lines()), len(got.Letters), got.Unequal)
	}
}

// paidOn is ten days ago, or a month before the calendar ends.
func paidOn(t *testing.T, config *event.Config) string {
	t.Helper()
	version := config.Calendars[0]
	days, err := calendar.Lookup(version.Name, version.Version)
	if err != nil {
		t.Fatal(err)
	}
	year, month, day := (days.LastKnown() - 30).Civil()
	last := time.Date(year, month, day, 4, 0, 0, 0, time.UTC)
	at := time.Now().AddDate(0, 0, -10)
	if at.After(last) {
		at = last
	}
	return at.UTC().Format(time.RFC3339)
}

// write appends raw records that arrive now.
func (w *world) write(raw topic.Topic, values ...string) {
	w.t.Helper()
	var records []stage.Record
	for _, v := range values {
		records = append(records, stage.Record{Value: []byte(v), TimeMs: time.Now().UnixMilli()})
	}
	if err := w.Bus.Append(w.ctx, stage.Outgoing{Topic: raw.Name, Partition: 0, Records: records}); err != nil {
		w.t.Fatal(err)
	}
}

// next waits for the next new revision.
func (w *world) next(what string) demo.Revision {
	w.t.Helper()
	select {
	case r := <-w.fresh:
		return r
	case <-w.ctx.Done():
		w.t.Fatalf("wait until %s: %v", what, w.ctx.Err())
		return demo.Revision{}
	}
}
