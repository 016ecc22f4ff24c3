package warehouse_test

import (
	"fmt"
	"testing"
	"time"

	"settlewatch/pipelines/stage"
	"settlewatch/pipelines/stage/conformance"
	"settlewatch/pipelines/warehouse"
	"settlewatch/schemas/alert"
	"settlewatch/schemas/event"
	"settlewatch/schemas/payment"
	"settlewatch/schemas/table"
	"settlewatch/schemas/topic"
)

// put makes rows of record bodies of one topic and inserts them, as the loop does.
func (f fresh) put(t *testing.T, topicName string, bodies ...[]byte) {
	t.Helper()
	b, err := table.NewBuilder(topicName, 0)
	if err != nil {
		t.Fatal(err)
	}
	for i, body := range bodies {
		if err := b.Add(int64(i), nil, body); err != nil {
			t.Fatal(err)
		}
	}
	for _, block := range b.Blocks() {
		puts++
		if err := f.Insert(t.Context(), block, fmt.Sprint("put ", puts)); err != nil {
			t.Fatal(err)
		}
	}
}

// puts counts inserts, so that each has a token of its own.
var puts int

func body(t *testing.T, m interface{ MarshalVT() ([]byte, error) }) []byte {
	t.Helper()
	b, err := m.MarshalVT()
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func ms(t *testing.T, text string) int64 {
	t.Helper()
	at, err := time.Parse(time.RFC3339, text)
	if err != nil {
		t.Fatal(err)
	}
	return at.UnixMilli()
}

// snapshot is one line of the payments that a test makes by hand.
type snapshot struct {
	key                                       string
	version                                   uint64
	status                                    payment.Status
	currency, merchant                        string
	captured, settled, open, alerted, dropped int64
}

func (s snapshot) body(t *testing.T) []byte {
	return body(t, &payment.Payment{
		PaymentKey: s.key, Life: []byte{1}, Version: s.version, Status: s.status, Acquirer: "acq", Merchant: s.merchant,
		Currency: s.currency, CapturedMinor: s.captured, SettledMinor: s.settled, OpenMinor: s.open,
		AlertedMinor: s.alerted, ExcludedMinor: s.dropped,
	})
}

// revision is one line of the alerts that a test makes by hand.
type revision struct {
	kind               alert.Kind
	id, key            string
	number             uint32
	status             alert.Status
	currency, merchant string
	amount             int64
	moment, evidence   string
}

func (r revision) body(t *testing.T) []byte {
	a := &alert.Alert{
		ID: r.id, Kind: r.kind, Revision: r.number, Status: r.status, PaymentKey: r.key, Acquirer: "acq",
		Merchant: r.merchant, Currency: r.currency, AmountMinor: r.amount, MomentJudged: r.moment,
	}
	if r.evidence != "" {
		a.Due = &alert.Due{EvidenceDue: r.evidence, MoneyDue: r.evidence[:10], ClearingDate: r.evidence[:10]}
	}
	if r.status != alert.Open {
		a.Closing = &alert.Closing{Reason: "settled", DaysLate: 2}
	}
	b, err := a.Encode()
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// TestViews puts a month that fits on a page and reads it as an analyst does. The
// latest arrival is 2026-05-10 12:00 UTC.
func TestViews(t *testing.T) {
	f := open(t)
	last := conformance.EventRecord(1, ms(t, "2026-05-10T12:00:00Z"))
	first := conformance.EventRecord(2, ms(t, "2026-04-30T23:59:59Z"))
	f.put(t, topic.PaymentLog.Name, body(t, last), body(t, first), body(t, last))

	const held, settled, unsettled, owed = payment.Status_STATUS_HELD, payment.Status_STATUS_SETTLED, payment.Status_STATUS_UNSETTLED, payment.Status_STATUS_OPEN
	var snapshots [][]byte
	for _, s := range []snapshot{
		// key, version, status, currency, merchant; captured = settled + open + alerted + excluded
		{"p1", 2, settled, "CNY", "shop", 100, 100, 0, 0, 0},
		{"p1", 1, owed, "CNY", "shop", 100, 0, 100, 0, 0}, // an older one that comes later
		{"p2", 1, owed, "CNY", "shop", 250, 0, 250, 0, 0},
		{"p3", 3, unsettled, "CNY", "shop", 70, 10, 0, 60, 0},
		{"p4", 1, held, "CNY", "shop", 30, 0, 30, 0, 0},
		{"p5", 1, unsettled, "CNY", "café", 500, 0, 0, 500, 0},
		{"p6", 1, settled, "USD", "shop", 900, 800, 0, 0, 100},
		{"p7", 1, payment.Status_STATUS_NOTHING_OWED, "", "shop", 0, 0, 0, 0, 0},
		{"p8", 1, unsettled, "CNY", "shop", 5, 0, 0, 5, 0},
	} {
		snapshots = append(snapshots, s.body(t))
	}
	f.put(t, topic.Payments.Name, snapshots[0])
	f.put(t, topic.Payments.Name, snapshots[1:]...)

	for _, r := range []revision{
		{alert.PaidUnsettled, "a3", "p3", 2, alert.Open, "CNY", "shop", 60, "2026-05-09T13:00:00.000Z", "2026-05-08T13:00:00.000Z"},
		{alert.PaidUnsettled, "a3", "p3", 1, alert.Open, "CNY", "shop", 70, "2026-05-08T13:00:00.001Z", "2026-05-08T13:00:00.000Z"},
		{alert.PaidUnsettled, "a5", "p5", 1, alert.Open, "CNY", "café", 500, "2026-05-10T11:00:00.000Z", "2026-05-10T10:00:00.000Z"},
		{alert.PaidUnsettled, "a8", "p8", 1, alert.Open, "CNY", "shop", 5, "2026-05-10T12:30:00.000Z", "2026-05-10T12:20:00.000Z"}, // after the latest arrival
		{alert.PaidUnsettled, "a1", "p1", 1, alert.Open, "CNY", "shop", 100, "2026-04-30T10:00:00.000Z", "2026-04-30T09:00:00.000Z"},
		{alert.PaidUnsettled, "a1", "p1", 2, alert.Resolved, "CNY", "shop", 100, "2026-05-02T10:00:00.000Z", "2026-04-30T09:00:00.000Z"},
		{alert.SettledTwice, "b1", "p1", 1, alert.Open, "CNY", "shop", 100, "2026-04-30T10:00:00.000Z", ""},
		{alert.SettledTwice, "b1", "p1", 2, alert.Resolved, "CNY", "shop", 100, "2026-05-03T10:00:00.000Z", ""},
		{alert.SettledTwice, "b2", "p2", 1, alert.Open, "CNY", "shop", 7, "2026-04-30T11:00:00.000Z", ""},
		{alert.SettledTwice, "b6", "p6", 1, alert.Open, "USD", "shop", 8, "2026-05-03T11:00:00.000Z", ""},
		{alert.SettledTwice, "b6", "p6", 2, alert.Retracted, "USD", "shop", 8, "2026-05-03T12:00:00.000Z", ""},
		{alert.SettledTwice, "b2", "p2", 1, alert.Open, "CNY", "shop", 7, "2026-04-30T11:00:00.000Z", ""}, // a repeat
	} {
		f.put(t, r.kind.Topic().Name, r.body(t))
	}

	f.want(t, "SELECT arrival_time, offset FROM db.events_distinct ORDER BY offset", `
		2026-05-10T12:00:00.000Z | 1
		2026-04-30T23:59:59.000Z | 2`)
	f.want(t, "SELECT payment_key, version, status, open_minor FROM db.payments_current ORDER BY payment_key LIMIT 2", `
		p1 | 2 | settled | 0
		p2 | 1 | open    | 250`)
	f.want(t, "SELECT kind, id, revision, status, amount_minor, closing_reason, days_late FROM db.alerts ORDER BY id", `
		paid_unsettled | a1 | 2 | RESOLVED  | 100 | settled | 2
		paid_unsettled | a3 | 2 | OPEN      | 60  |         | -
		paid_unsettled | a5 | 1 | OPEN      | 500 |         | -
		paid_unsettled | a8 | 1 | OPEN      | 5   |         | -
		settled_twice  | b1 | 2 | RESOLVED  | 100 | settled | 2
		settled_twice  | b2 | 1 | OPEN      | 7   |         | -
		settled_twice  | b6 | 2 | RETRACTED | 8   | settled | 2`)
	f.want(t, "SELECT merchant, currency, age, items, amount_minor, as_of FROM db.open_unsettled_by_merchant_and_age", `
		café | CNY | overdue under 1 day | 1 | 500 | 2026-05-10T12:00:00.000Z
		shop | CNY | not due             | 1 | 250 | 2026-05-10T12:00:00.000Z
		shop | CNY | held                | 1 | 30  | 2026-05-10T12:00:00.000Z
		shop | CNY | overdue under 1 day | 1 | 5   | 2026-05-10T12:00:00.000Z
		shop | CNY | overdue 1 to 3 days | 1 | 60  | 2026-05-10T12:00:00.000Z`)
	f.want(t, "SELECT * FROM db.settled_twice_by_day", `
		2026-04-30 | CNY | 2 | 1 | 1 | 0 | 107 | 7
		2026-05-03 | USD | 1 | 0 | 0 | 1 | 8   | 0`)
	f.want(t, "SELECT * FROM db.completeness", `
		CNY | 955 | 110 | 280 | 565 | 0   | 0 | 1
		USD | 900 | 800 | 0   | 0   | 100 | 0 | 1`)
	f.want(t, "SELECT payment_key FROM db.incomplete_payments", "")

	s, err := f.Summary(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if s.Events != 2 || s.Payments != 8 || s.Alerts != 7 || !s.Holds() || len(s.Completeness) != 2 {
		t.Errorf("summary %+v, want 2 events, 8 payments, 7 alerts, complete in 2 currencies", s)
	}
	if want := (warehouse.Completeness{Currency: "CNY", CapturedMinor: 955, SettledMinor: 110, OpenMinor: 280, AlertedMinor: 565, Holds: true}); s.Completeness[0] != want {
		t.Errorf("completeness %+v, want %+v", s.Completeness[0], want)
	}

	// An alert that nobody received is a hole, and the hole has a name.
	f.put(t, topic.Payments.Name, snapshot{"p9", 1, unsettled, "USD", "shop", 40, 0, 0, 40, 0}.body(t))
	f.want(t, "SELECT currency, alerted_minor, difference_minor, holds FROM db.completeness", `
		CNY | 565 | 0  | 1
		USD | 0   | 40 | 0`)
	f.want(t, "SELECT payment_key, currency, difference_minor FROM db.incomplete_payments", "p9 | USD | 40")
	if s, err = f.Summary(t.Context()); err != nil || s.Holds() {
		t.Errorf("summary holds %v, error %v; want a difference", s.Holds(), err)
	}
}

// TestSumsDoNotWrap: amounts whose sum is beyond 64 bits are seen, not wrapped.
func TestSumsDoNotWrap(t *testing.T) {
	f := open(t)
	const most = int64(1<<63 - 1)
	f.put(t, topic.Payments.Name,
		snapshot{"p1", 1, payment.Status_STATUS_OPEN, "CNY", "m", most, 0, most, 0, 0}.body(t),
		snapshot{"p2", 1, payment.Status_STATUS_OPEN, "CNY", "m", most, 0, most, 0, 0}.body(t))
	f.want(t, "SELECT captured_minor, holds FROM db.completeness", "18446744073709551614 | 1")
	f.want(t, "SELECT amount_minor FROM db.open_unsettled_by_merchant_and_age", "18446744073709551614")
	if _, err := f.Summary(t.Context()); err == nil {
		t.Error("a sum beyond 64 bits is given as one of 64")
	}
}

// TestColumnsOnServer holds the columns in Go to those that ClickHouse has.
func TestColumnsOnServer(t *testing.T) {
	f := open(t)
	for _, tb := range table.All {
		got := f.lines(t, fmt.Sprintf(`SELECT name, type FROM system.columns WHERE database = '%s' AND table = '%s'
			AND default_kind != 'MATERIALIZED' ORDER BY position`, f.database, tb.Name))
		var want []string
		for _, c := range tb.Columns {
			want = append(want, c.Name+" | "+c.Type)
		}
		if fmt.Sprint(got) != fmt.Sprint(want) {
			t.Errorf("table %s has\n%v\nwant\n%v", tb.Name, got, want)
		}
	}
	f.want(t, `SELECT name, engine, partition_key, sorting_key FROM system.tables
		WHERE database = '`+f.database+`' AND engine NOT IN ('View', 'MergeTree') ORDER BY name`, `
		alert_revisions  | ReplacingMergeTree | toYYYYMM(moment_judged) | kind, payment_key, id, revision
		events           | ReplacingMergeTree | toYYYYMM(arrival_time)  | payment_key, source, generation, offset, idx
		payments         | ReplacingMergeTree |                         | payment_key, life
		warehouse_ranges | ReplacingMergeTree |                         | topic, partition`)
}

// TestMigrateAgain: running the migrations again changes nothing, and says so.
func TestMigrateAgain(t *testing.T) {
	f := open(t)
	f.put(t, topic.PaymentLog.Name, body(t, conformance.EventRecord(1, 1)))
	if err := f.Migrate(t.Context(), func(what string) { t.Errorf("applied again: %s", what) }); err != nil {
		t.Fatal(err)
	}
	if stored, _ := f.Events(t); stored != 1 {
		t.Errorf("%d rows, want 1", stored)
	}
}

// TestValuesRoundTrip writes edges and reads them back.
func TestValuesRoundTrip(t *testing.T) {
	f := open(t)
	const least, most = int64(-1 << 63), int64(1<<63 - 1)
	earliest, latest := ms(t, "1900-01-01T00:00:00Z"), ms(t, "2262-01-01T00:00:00Z")-1
	day1900, day2299, small, large := int32(-25567), int32(120529), least, most
	rec := func(offset, arrival int64, e *event.Event) []byte {
		return body(t, &event.LogRecord{
			Origin:    &event.Origin{Source: "s", Generation: 1<<32 - 1, Offset: offset, Index: 1<<32 - 1},
			ArrivalMs: arrival, Body: &event.LogRecord_Event{Event: e},
		})
	}
	f.put(t, topic.PaymentLog.Name,
		rec(0, earliest, &event.Event{
			Capture: &event.CaptureRef{Sequence: 1<<32 - 1, Final: true}, Due: &event.Due{HoldReason: "键\x00'\\", HoldUntilMs: &earliest},
			PaymentKey: "键\x00'\\", Kind: event.Kind_KIND_PAYOUT_RETURN, Outcome: 77,
			Amounts: &event.Amounts{TransactionMinor: &small, RequestedMinor: &large, Fees: []*event.Fee{{Type: "mdr", AmountMinor: -3, Payer: "m"}}},
			Time:    &event.Time{BusinessMs: &earliest, SettlementDate: &day1900, ValueDate: &day1900},
		}),
		rec(most, latest, &event.Event{
			Card: &event.Card{Bin: "622202", Last4: "0012", Token: []byte{0xab}},
			Time: &event.Time{BusinessMs: &latest, SettlementDate: &day2299, LocalMs: &latest, ValueDate: &day2299},
			Leftover: &event.Leftover{
				Unknown: []*event.UnknownField{{Name: "a", Value: "1"}}, Masked: []string{"x", "y"},
			},
			References: []*event.Reference{{Type: "rrn", Value: "9"}},
		}))
	f.want(t, `SELECT payment_key = '键\0\'\\', generation, offset, idx, arrival_time, kind, outcome, transaction_minor,
			requested_minor, fees_minor, fees, business_time, settlement_date, value_date, capture_sequence, capture_final,
			hold_reason = '键\0\'\\', hold_until, local_time, reserve_minor FROM db.events_distinct WHERE offset = 0`,
		`1 | 4294967295 | 0 | 4294967295 | 1900-01-01 | payout_return | 77 | -9223372036854775808 | 9223372036854775807 | -3 |
		 [{"type":"mdr","amount_minor":-3,"payer":"m"}] | 1900-01-01 | 1900-01-01 | 1900-01-01 | 4294967295 | true | 1 | 1900-01-01 | - | -`)
	f.want(t, `SELECT offset, toString(arrival_time), toString(business_time), settlement_date, transaction_minor, card_bin,
			card_last4, card_token, unknown_fields['a'], masked_fields, refs['rrn'], toString(local_time), value_date, capture_sequence, capture_final, mti
			FROM db.events_distinct WHERE offset > 0`,
		`9223372036854775807 | 2261-12-31 23:59:59.999 | 2261-12-31 23:59:59.999 | 2299-12-31 | - | 622202 | 0012 | ab | 1 | [x y] | 9 | 2261-12-31 23:59:59.999 | 2299-12-31 | 0 | false |`)
}

// TestMonthsAreTablePartitions: the month that Go takes is the one that the server
// takes, so a block is one part and an insert is atomic.
func TestMonthsAreTablePartitions(t *testing.T) {
	f := open(t)
	for i, at := range []string{
		"1900-01-01T00:00:00Z", "1969-12-31T23:59:59Z", "1970-01-01T00:00:00Z", "2024-02-29T23:59:59Z",
		"2026-04-30T16:00:00Z", "2026-04-30T23:59:59Z", "2026-05-01T00:00:00Z", "2105-12-31T23:59:59Z", "2261-12-31T23:59:59Z",
	} {
		b, err := table.NewBuilder(topic.PaymentLog.Name, 0)
		if err != nil {
			t.Fatal(err)
		}
		if err := b.Add(0, nil, body(t, conformance.EventRecord(int64(i), ms(t, at)))); err != nil {
			t.Fatal(err)
		}
		block := b.Blocks()[0]
		if err := f.Insert(t.Context(), block, at); err != nil {
			t.Fatal(err)
		}
		if got := f.lines(t, fmt.Sprintf("SELECT _partition_id FROM db.events WHERE offset = %d", i)); len(got) != 1 || got[0] != block.Partition {
			t.Errorf("%s lies in partition %v, Go says %s", at, got, block.Partition)
		}
	}
}

// TestFirstPlaceStands: of an event repeated in the log, the row of its first
// place is read, in whatever order the rows came.
func TestFirstPlaceStands(t *testing.T) {
	f := open(t)
	b := func(logOffsets ...int64) {
		builder, err := table.NewBuilder(topic.PaymentLog.Name, 0)
		if err != nil {
			t.Fatal(err)
		}
		for _, o := range logOffsets {
			if err := builder.Add(o, nil, body(t, conformance.EventRecord(1, 1))); err != nil {
				t.Fatal(err)
			}
		}
		if err := f.Insert(t.Context(), builder.Blocks()[0], fmt.Sprint(logOffsets)); err != nil {
			t.Fatal(err)
		}
	}
	b(7, 9)
	b(5)
	b(8)
	f.want(t, "SELECT log_offset FROM db.events_distinct", "5")
	if err := f.conn.Exec(t.Context(), f.named("SYSTEM START MERGES db.events")); err != nil {
		t.Fatal(err)
	}
	if err := f.conn.Exec(t.Context(), f.named("OPTIMIZE TABLE db.events FINAL")); err != nil {
		t.Fatal(err)
	}
	f.want(t, "SELECT log_offset FROM db.events", "5")
}

var _ stage.Warehouse = fresh{}
