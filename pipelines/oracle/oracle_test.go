package oracle_test

import (
	"fmt"
	"testing"
	"time"

	"settlewatch/pipelines/calendar"
	"settlewatch/pipelines/oracle"
	"settlewatch/schemas/event"
	"settlewatch/schemas/ruleset"
)

// Most tests of the oracle stand beside those of the join, which it is held against:
// pipelines/join/oracle_test.go has the cases, the random logs and the differences
// that were found.

const feed = "authorization/raw.authorization.v1/0/json@1"

func config(joinVersion uint32) *event.LogRecord {
	return &event.LogRecord{
		Origin: &event.Origin{Source: "config/config.v1/0/config@1"},
		Body: &event.LogRecord_Config{Config: ruleset.Default(
			ruleset.Abilities{JoinVersion: joinVersion, TZData: calendar.TZDataVersion, Calendar: "2026.1"},
			&event.ExpectedSource{Name: feed, Clock: event.Clock_CLOCK_PLAYED})},
	}
}

func mark(at time.Time) *event.LogRecord {
	return &event.LogRecord{Origin: &event.Origin{Source: feed}, Body: &event.LogRecord_Mark{Mark: &event.Mark{TMs: at.UnixMilli()}}}
}

// A CONFIG of rules that it does not know ends it, with what was certain before.
func TestRulesThatItLacks(t *testing.T) {
	if alerts, err := oracle.Alerts([]*event.LogRecord{config(99)}); err == nil {
		t.Errorf("rules of version 99 gave %v", alerts)
	}
}

// A sale of Monday that nobody settles, once Tuesday's evidence is due.
func ExampleAlerts() {
	at := time.Date(2026, 3, 2, 2, 0, 0, 0, time.UTC)
	ms, minor, id := at.UnixMilli(), int64(10_000), event.NewID("sale")
	sale := &event.LogRecord{
		Origin: &event.Origin{Source: feed}, ArrivalMs: ms,
		Body: &event.LogRecord_Event{Event: &event.Event{
			Id: id[:], PaymentKey: "acq|o|A-1", Kind: event.Kind_KIND_AUTHORIZATION, Mode: event.Mode_MODE_SINGLE,
			Operation: event.Operation_OPERATION_NEW, Outcome: event.Outcome_OUTCOME_ACCEPTED,
			Amounts: &event.Amounts{Currency: "CNY", TransactionMinor: &minor}, Time: &event.Time{BusinessMs: &ms},
		}},
	}
	due := time.Date(2026, 3, 3, 4, 0, 0, 0, time.UTC)
	for _, until := range []time.Time{due, due.Add(time.Millisecond)} {
		alerts, err := oracle.Alerts([]*event.LogRecord{config(1), sale, mark(until)})
		fmt.Println(len(alerts), err)
		for _, a := range alerts {
			fmt.Println(a.Kind, a.PaymentKey, a.Status, a.AmountMinor, a.Currency, a.MomentJudged)
		}
	}
	// Output:
	// 0 <nil>
	// 1 <nil>
	// paid_unsettled acq|o|A-1 OPEN 10000 CNY 2026-03-03T04:00:00.000Z
}
