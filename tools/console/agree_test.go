package console

import (
	"strings"
	"testing"

	"settlewatch/pipelines/join"
	"settlewatch/schemas/alert"
	"settlewatch/schemas/event"
	"settlewatch/schemas/payment"
)

// both are a payment with a judged and a pending fact and an alert, held equally.
func both() (*Live, *Recorded) {
	const source = "capture/raw.capture.v1/0/documented@1"
	first, second, life := event.NewID("1"), event.NewID("2"), event.NewID("life")
	live := &Live{Place: join.Place{LogOffset: 100}, Payment: &join.Explanation{
		Key: "a|o|1", Life: life, Version: 3, Events: 1, Status: payment.Status_STATUS_UNSETTLED,
		Judged:  []join.Fact{{ID: first, Source: source, Offset: 7}},
		Pending: []join.Fact{{ID: second, Source: source, Offset: 8}},
		Alerts:  []join.Published{{ID: "x", Kind: alert.PaidUnsettled, Revision: 2, Status: alert.Open, AmountMinor: 100, Currency: "CNY"}},
	}}
	recorded := &Recorded{
		Events: []RecordedEvent{
			{Source: source, Offset: 7, EventID: first.String(), Kind: "capture", LogOffset: 40},
			{Source: source, Offset: 8, EventID: second.String(), Kind: "settlement", LogOffset: 50},
		},
		Lives:  []RecordedLife{{Life: life.String(), Version: 3, Status: "unsettled"}},
		Alerts: []*alert.Alert{{ID: "x", Revision: 1, Status: alert.Open}, {ID: "x", Revision: 2, Status: alert.Open, AmountMinor: 100, Currency: "CNY"}},
	}
	return live, recorded
}

func TestCompare(t *testing.T) {
	for name, c := range map[string]struct {
		change        func(*Live, *Recorded)
		behind, fault string // a part of the one difference; empty: none
		note          string
	}{
		"equal":              {change: func(*Live, *Recorded) {}},
		"an event is late":   {change: func(_ *Live, r *Recorded) { r.Events = r.Events[:1] }, behind: "ClickHouse is behind by 1 event"},
		"an alert is late":   {change: func(_ *Live, r *Recorded) { r.Alerts = r.Alerts[:1] }, behind: "ClickHouse is behind by 1 revision"},
		"no alert yet":       {change: func(_ *Live, r *Recorded) { r.Alerts = nil }, behind: "ClickHouse is behind by 2 revisions"},
		"a judgement late":   {change: func(_ *Live, r *Recorded) { r.Lives[0].Version = 2 }, behind: "ClickHouse is behind by 1 judgement"},
		"no judgement yet":   {change: func(_ *Live, r *Recorded) { r.Lives = nil }, behind: "does not have this life"},
		"the joiner is late": {change: func(_ *Live, r *Recorded) { r.Events = append(r.Events, RecordedEvent{LogOffset: 100}) }, behind: "Redis is behind by 1 event"},
		"commit is late":     {change: func(l *Live, _ *Recorded) { l.Payment.Alerts[0].Revision = 1 }, behind: "Redis is behind by 1 revision"},
		"other amount":       {change: func(_ *Live, r *Recorded) { r.Alerts[1].AmountMinor = 99 }, fault: "revision 2 is OPEN 1.00 in Redis and OPEN 0.99"},
		"other status":       {change: func(_ *Live, r *Recorded) { r.Lives[0].Status = "settled" }, fault: "unsettled in Redis and settled in ClickHouse"},
		"another place":      {change: func(_ *Live, r *Recorded) { r.Events[0].Offset = 9 }, fault: "1 event of Redis from other places", note: "said again"},
		"one too many":       {change: func(_ *Live, r *Recorded) { r.Events = append(r.Events, RecordedEvent{Kind: "capture", LogOffset: 60}) }, fault: "1 event that Redis does not count"},
		"earlier life": {change: func(_ *Live, r *Recorded) {
			r.Events = append(r.Events, RecordedEvent{Kind: "capture", LogOffset: 6})
			r.Lives = append(r.Lives, RecordedLife{Life: "old"})
		}, note: "1 event of earlier lives"},
		"repeat": {change: func(l *Live, r *Recorded) {
			r.Events = append(r.Events, RecordedEvent{Kind: "capture", LogOffset: 60, EventID: r.Events[0].EventID})
			l.Payment.Events++
		}, note: "1 event said again"},
		"ended":               {change: func(l *Live, r *Recorded) { l.Payment = nil; r.Alerts[1].Status = alert.Resolved }, note: "life has ended"},
		"lost with open ones": {change: func(l *Live, _ *Recorded) { l.Payment = nil }, fault: "1 alert open in ClickHouse"},
		"never judged":        {change: func(l *Live, r *Recorded) { l.Payment, r.Lives = nil, nil }, fault: "neither Redis nor the payments table"},
		"not read yet":        {change: func(l *Live, _ *Recorded) { l.Payment, l.Place.LogOffset = nil, 45 }, behind: "Redis is behind by 1 event"},
	} {
		t.Run(name, func(t *testing.T) {
			live, recorded := both()
			c.change(live, recorded)
			a := Compare(live, recorded)
			for _, d := range []struct {
				name string
				got  []string
				want string
			}{{"behind", a.Behind, c.behind}, {"faults", a.Faults, c.fault}, {"notes", a.Notes, c.note}} {
				if joined := strings.Join(d.got, "; "); (d.want == "") != (joined == "") || !strings.Contains(joined, d.want) || len(d.got) > 1 {
					t.Errorf("%s %q, want %q", d.name, d.got, d.want)
				}
			}
			if !a.Compared || a.Agree != (c.behind == "" && c.fault == "") {
				t.Errorf("agree %t", a.Agree)
			}
		})
	}
	if a := Compare(nil, new(Recorded)); a.Compared || a.Agree {
		t.Error("compared with nothing")
	}
}
