package table

import (
	"errors"
	"fmt"
	"math"
	"os"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"google.golang.org/protobuf/reflect/protoreflect"

	"settlewatch/schemas/alert"
	"settlewatch/schemas/event"
	"settlewatch/schemas/payment"
	"settlewatch/schemas/topic"
)

// TestColumnsAgree holds the columns in Go to those in the migrations, names,
// types and order: those that 00001 makes, of which 00008 takes the details away. A
// migration that changes columns later has to be read here too.
func TestColumnsAgree(t *testing.T) {
	b, err := os.ReadFile("migrations/00001_tables.sql")
	if err != nil {
		t.Fatal(err)
	}
	create := regexp.MustCompile(`(?s)CREATE TABLE IF NOT EXISTS settlewatch\.(\w+)\n\(\n(.*?)\n\)\n(.*?);`)
	found := map[string]bool{}
	for _, m := range create.FindAllStringSubmatch(string(b), -1) {
		name, body, engine := m[1], m[2], m[3]
		found[name] = true
		i := slices.IndexFunc(All, func(tb Table) bool { return tb.Name == name })
		if i < 0 {
			if name != RangesTable {
				t.Errorf("table %s has no columns in Go", name)
			}
			continue
		}
		var sql []ColumnType
		for line := range strings.SplitSeq(body, "\n") {
			column, chType, _ := strings.Cut(strings.TrimSuffix(strings.TrimSpace(line), ","), " ")
			if !strings.Contains(chType, "MATERIALIZED") {
				sql = append(sql, ColumnType{column, strings.TrimSpace(chType)})
			}
		}
		if name == Events.Name {
			sql = withoutDetails(t, sql)
		}
		if !slices.Equal(sql, All[i].Columns) {
			t.Errorf("table %s\n  in the migrations: %v\n  in Go:             %v", name, sql, All[i].Columns)
		}
		if want := "ORDER BY (" + strings.Join(All[i].Key, ", ") + ")"; !strings.Contains(engine, want) {
			t.Errorf("table %s: %s is not in %s", name, want, engine)
		}
	}
	if len(found) != len(All)+1 {
		t.Errorf("migrations make %v, want the %d tables of Go and %s", found, len(All), RangesTable)
	}
}

// withoutDetails are the columns of the events behind migration 00008. What it drops has to be
// what is a detail in Go, and in 00007, which moves it, and in the view.
func withoutDetails(t *testing.T, columns []ColumnType) (left []ColumnType) {
	t.Helper()
	read := func(name, end string) string {
		b, err := os.ReadFile("migrations/" + name)
		if err != nil {
			t.Fatal(err)
		}
		before, _, _ := strings.Cut(string(b), end)
		return before
	}
	moved, dropped := read("00007_details.sql", "MATERIALIZE"), read("00008_fewer_columns.sql", "-- +goose Down")
	var details []ColumnType
	for _, c := range columns {
		if strings.Contains(dropped, "DROP COLUMN IF EXISTS "+c.Name+"\n") || strings.Contains(dropped, "DROP COLUMN IF EXISTS "+c.Name+",\n") {
			details = append(details, c)
			continue
		}
		left = append(left, c)
		if c.Name == "merchant_order" {
			left = append(left, ColumnType{detailsColumn, "Map(String, String)"})
		}
	}
	if !slices.Equal(details, Events.Details) {
		t.Errorf("dropped columns %v, details in Go %v", details, Events.Details)
	}
	for _, c := range details {
		if !strings.Contains(moved, "    '"+c.Name+"', ") {
			t.Errorf("%s is dropped and was not moved", c.Name)
		}
		if !strings.Contains(dropped, ") AS "+c.Name) && !strings.Contains(dropped, "details['"+c.Name+"'] AS "+c.Name) {
			t.Errorf("%s is not in the view", c.Name)
		}
	}
	return left
}

// TestEveryFieldHasAColumn fills one field of the event at a time: some column has
// to show it. A field added to the schema without a column is found here.
func TestEveryFieldHasAColumn(t *testing.T) {
	empty := &event.LogRecord{
		Origin: &event.Origin{Source: "s"}, Body: &event.LogRecord_Event{Event: &event.Event{}},
	}
	var walk func(m protoreflect.Message, path string, root func() (*event.LogRecord, protoreflect.Message))
	base := values(t, topic.PaymentLog.Name, marshal(t, empty))
	walk = func(m protoreflect.Message, path string, root func() (*event.LogRecord, protoreflect.Message)) {
		fields := m.Descriptor().Fields()
		for i := range fields.Len() {
			f := fields.Get(i)
			name := path + "." + string(f.Name())
			if f.Message() != nil && !f.IsMap() && !f.IsList() {
				walk(m.NewField(f).Message(), name, func() (*event.LogRecord, protoreflect.Message) {
					rec, parent := root()
					return rec, parent.Mutable(f).Message()
				})
				continue
			}
			rec, parent := root()
			fill(parent, f)
			if got := values(t, topic.PaymentLog.Name, marshal(t, rec)); reflect.DeepEqual(got, base) {
				t.Errorf("event%s has no column", name)
			}
		}
	}
	walk((&event.Event{}).ProtoReflect(), "", func() (*event.LogRecord, protoreflect.Message) {
		e := &event.Event{}
		return &event.LogRecord{Origin: &event.Origin{Source: "s"}, Body: &event.LogRecord_Event{Event: e}}, e.ProtoReflect()
	})

	for i, fields := 0, (&payment.Payment{}).ProtoReflect().Descriptor().Fields(); i < fields.Len(); i++ {
		p := func() *payment.Payment { return &payment.Payment{PaymentKey: "k", Life: []byte{1}} }
		set := p()
		fill(set.ProtoReflect(), fields.Get(i))
		if reflect.DeepEqual(values(t, topic.Payments.Name, marshal(t, set)), values(t, topic.Payments.Name, marshal(t, p()))) {
			t.Errorf("payment.%s has no column", fields.Get(i).Name())
		}
	}
}

// fill sets a field to a value that is not its zero value.
func fill(m protoreflect.Message, f protoreflect.FieldDescriptor) {
	switch {
	case f.IsMap():
		m.Mutable(f).Map().Set(protoreflect.ValueOfString("k").MapKey(), protoreflect.ValueOfString("v"))
	case f.IsList() && f.Message() != nil:
		m.Mutable(f).List().AppendMutable()
	case f.IsList():
		m.Mutable(f).List().Append(protoreflect.ValueOfString("v"))
	default:
		m.Set(f, map[protoreflect.Kind]protoreflect.Value{
			protoreflect.StringKind: protoreflect.ValueOfString("v"),
			protoreflect.BytesKind:  protoreflect.ValueOfBytes([]byte{7}),
			protoreflect.BoolKind:   protoreflect.ValueOfBool(true),
			protoreflect.Int32Kind:  protoreflect.ValueOfInt32(7),
			protoreflect.Int64Kind:  protoreflect.ValueOfInt64(7),
			protoreflect.Uint32Kind: protoreflect.ValueOfUint32(7),
			protoreflect.Uint64Kind: protoreflect.ValueOfUint64(7),
			protoreflect.EnumKind:   protoreflect.ValueOfEnum(1),
		}[f.Kind()])
	}
}

func marshal(t testing.TB, m interface{ MarshalVT() ([]byte, error) }) []byte {
	t.Helper()
	b, err := m.MarshalVT()
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// values are the columns' values of one record.
func values(t *testing.T, topicName string, value []byte) map[string]any {
	t.Helper()
	b, err := NewBuilder(topicName, 0)
	if err != nil {
		t.Fatal(err)
	}
	if err := b.Add(0, nil, value); err != nil {
		t.Fatal(err)
	}
	blocks := b.Blocks()
	if len(blocks) != 1 || blocks[0].Rows != 1 {
		t.Fatalf("%d blocks, want one of one row", len(blocks))
	}
	return goValues(t, blocks[0])
}

func goValues(t *testing.T, b Block) map[string]any {
	t.Helper()
	values, err := b.Go()
	if err != nil {
		t.Fatal(err)
	}
	return values
}

// TestRefused holds that what ClickHouse would store as something else is refused,
// and by which name.
func TestRefused(t *testing.T) {
	logRecord := func(change func(*event.LogRecord, *event.Event)) []byte {
		e := &event.Event{Time: &event.Time{}, Amounts: &event.Amounts{}, Due: &event.Due{}}
		rec := &event.LogRecord{Origin: &event.Origin{Source: "s"}, Body: &event.LogRecord_Event{Event: e}}
		change(rec, e)
		return marshal(t, rec)
	}
	alertBody := func(change func(*alert.Alert)) []byte {
		a := &alert.Alert{
			ID: "1", Kind: alert.SettledTwice, Revision: 1, PaymentKey: "k", MomentJudged: "2026-01-02T03:04:05.678Z",
			Due: &alert.Due{}, Closing: &alert.Closing{},
		}
		change(a)
		b, err := a.Encode()
		if err != nil {
			t.Fatal(err)
		}
		return b
	}
	paymentBody := func(change func(*payment.Payment)) []byte {
		p := &payment.Payment{PaymentKey: "k", Life: []byte{1}}
		change(p)
		return marshal(t, p)
	}
	year9999, year1899, day9999 := int64(253402300799999), earliestMs-1, int32(2932896)
	last2261 := time.Date(2261, 12, 31, 23, 59, 59, 999e6, time.UTC).UnixMilli()
	day1899, day2299, day2300 := int32(-25568), int32(120529), int32(120530)
	log, payments, twice := topic.PaymentLog.Name, topic.Payments.Name, topic.AlertsSettledTwice.Name
	for _, c := range []struct {
		name, topic string
		value       []byte
		want        string // empty: accepted
	}{
		{"plain event", log, logRecord(func(*event.LogRecord, *event.Event) {}), ""},
		{"arrival in 9999", log, logRecord(func(r *event.LogRecord, _ *event.Event) { r.ArrivalMs = year9999 }), "table events, field arrival_time: outside the years 1900 to 2261"},
		{"arrival in 1899", log, logRecord(func(r *event.LogRecord, _ *event.Event) { r.ArrivalMs = year1899 }), "table events, field arrival_time: outside the years 1900 to 2261"},
		{"arrival at the last moment", log, logRecord(func(r *event.LogRecord, _ *event.Event) { r.ArrivalMs = last2261 }), ""},
		{"arrival one after it", log, logRecord(func(r *event.LogRecord, _ *event.Event) { r.ArrivalMs = last2261 + 1 }), "table events, field arrival_time: outside the years 1900 to 2261"},
		{"arrival at the edge of int64", log, logRecord(func(r *event.LogRecord, _ *event.Event) { r.ArrivalMs = math.MaxInt64 }), "table events, field arrival_time: outside the years 1900 to 2261"},
		{"business time in 9999", log, logRecord(func(_ *event.LogRecord, e *event.Event) { e.Time.BusinessMs = &year9999 }), "table events, field business_time: outside the years 1900 to 2261"},
		{"settlement date in 1899", log, logRecord(func(_ *event.LogRecord, e *event.Event) { e.Time.SettlementDate = &day1899 }), "table events, field settlement_date: outside the years 1900 to 2299"},
		{"settlement date in 2299", log, logRecord(func(_ *event.LogRecord, e *event.Event) { e.Time.SettlementDate = &day2299 }), ""},
		{"settlement date in 2300", log, logRecord(func(_ *event.LogRecord, e *event.Event) { e.Time.SettlementDate = &day2300 }), "table events, field settlement_date: outside the years 1900 to 2299"},
		{"settlement date in 9999", log, logRecord(func(_ *event.LogRecord, e *event.Event) { e.Time.SettlementDate = &day9999 }), "table events, field settlement_date: outside the years 1900 to 2299"},
		{"hold until 1899", log, logRecord(func(_ *event.LogRecord, e *event.Event) { e.Due.HoldUntilMs = &year1899 }), "table events, field hold_until: outside the years 1900 to 2261"},
		{"fees that overflow", log, logRecord(func(_ *event.LogRecord, e *event.Event) {
			e.Amounts.Fees = []*event.Fee{{AmountMinor: math.MaxInt64}, {AmountMinor: 1}}
		}), "table events, field fees_minor: the sum of the fees overflows"},
		{"fees at the edge", log, logRecord(func(_ *event.LogRecord, e *event.Event) {
			e.Amounts.Fees = []*event.Fee{{AmountMinor: math.MaxInt64}, {AmountMinor: math.MinInt64}, {AmountMinor: -1}, {AmountMinor: math.MaxInt64}}
		}), ""},
		{"no source", log, logRecord(func(r *event.LogRecord, _ *event.Event) { r.Origin = nil }), "table events, field source: missing"},
		{"negative origin", log, logRecord(func(r *event.LogRecord, _ *event.Event) { r.Origin.Offset = -1 }), "table events, field offset: negative"},
		{"no body", log, logRecord(func(r *event.LogRecord, _ *event.Event) { r.Body = nil }), "table events, field kind: a log record without a body"},
		{"no bytes", log, nil, "table events, field kind: a log record without a body"},
		{"not protobuf", log, []byte("{}"), "decode log record"},

		{"plain payment", payments, paymentBody(func(*payment.Payment) {}), ""},
		{"judged in 9999", payments, paymentBody(func(p *payment.Payment) { p.JudgedMs = year9999 }), "table payments, field judged_time: outside the years 1900 to 2261"},
		{"clearing date in 9999", payments, paymentBody(func(p *payment.Payment) { p.ClearingDate = &day9999 }), "table payments, field clearing_date: outside the years 1900 to 2299"},
		{"payment without life", payments, paymentBody(func(p *payment.Payment) { p.Life = nil }), "table payments, field life: missing"},
		{"payment without key", payments, paymentBody(func(p *payment.Payment) { p.PaymentKey = "" }), "table payments, field payment_key: missing"},

		{"plain alert", twice, alertBody(func(*alert.Alert) {}), ""},
		{"alert of another kind", twice, alertBody(func(a *alert.Alert) { a.Kind = alert.PaidUnsettled }), "table alert_revisions, field kind: an alert of another kind in this topic"},
		{"alert without a revision", twice, alertBody(func(a *alert.Alert) { a.Revision = 0 }), "table alert_revisions, field revision: missing"},
		{"days late beyond 32 bits", twice, alertBody(func(a *alert.Alert) { a.Closing.DaysLate = math.MaxInt32 + 1 }), "table alert_revisions, field days_late: out of range"},
		{"evidence beyond 32 bits", twice, alertBody(func(a *alert.Alert) { a.EvidenceTotal = math.MaxUint32 + 1 }), "table alert_revisions, field evidence_total: out of range"},
		{"due date that is none", twice, alertBody(func(a *alert.Alert) { a.Due.MoneyDue = "2026-02-30" }), "table alert_revisions, field money_due: not a date"},
		{"due date in 9999", twice, alertBody(func(a *alert.Alert) { a.Due.MoneyDue = "9999-01-01" }), "table alert_revisions, field money_due: outside the years 1900 to 2299"},
		{"evidence due in 9999", twice, alertBody(func(a *alert.Alert) { a.Due.EvidenceDue = "9999-01-01T00:00:00Z" }), "table alert_revisions, field evidence_due: outside the years 1900 to 2261"},
		{"moment that is none", twice, alertBody(func(a *alert.Alert) { a.MomentJudged = "yesterday" }), "table alert_revisions, field moment_judged: not a time of RFC 3339"},
		{"not json", twice, []byte("x"), "decode alert"},
	} {
		t.Run(c.name, func(t *testing.T) {
			b, err := NewBuilder(c.topic, 0)
			if err != nil {
				t.Fatal(err)
			}
			err = b.Add(0, nil, c.value)
			if c.want == "" {
				if err != nil || b.Rows() != 1 {
					t.Errorf("%d rows, error %v; want a row", b.Rows(), err)
				}
				return
			}
			if err == nil || !strings.HasPrefix(err.Error(), c.want) {
				t.Errorf("error %v, want %q", err, c.want)
			}
			if b.Rows() != 0 || len(b.Blocks()) != 0 {
				t.Error("a row is kept of a record that is refused")
			}
			var field *FieldError
			if strings.HasPrefix(c.want, "table") && !errors.As(err, &field) {
				t.Errorf("%T is no FieldError", err)
			}
		})
	}
}

// TestNoRow: marks, configuration and tombstones are read over.
func TestNoRow(t *testing.T) {
	for name, c := range map[string]struct {
		topic string
		value []byte
	}{
		"mark":      {topic.PaymentLog.Name, marshal(t, &event.LogRecord{Body: &event.LogRecord_Mark{Mark: &event.Mark{TMs: 1}}})},
		"config":    {topic.PaymentLog.Name, marshal(t, &event.LogRecord{Body: &event.LogRecord_Config{Config: &event.Config{}}})},
		"tombstone": {topic.Payments.Name, nil},
	} {
		b, err := NewBuilder(c.topic, 0)
		if err != nil {
			t.Fatal(err)
		}
		if err := b.Add(0, nil, c.value); err != nil || b.Rows() != 0 {
			t.Errorf("%s: %d rows, error %v; want none", name, b.Rows(), err)
		}
	}
	if _, err := NewBuilder("raw.capture.v1", 0); err == nil {
		t.Error("a topic without a table has a builder")
	}
}

// TestBlocksSplitByMonth: one block per table partition, in their order, rows in
// the order of the offsets.
func TestBlocksSplitByMonth(t *testing.T) {
	const dayMs = 24 * 3600 * 1000
	b, err := NewBuilder(topic.PaymentLog.Name, 5)
	if err != nil {
		t.Fatal(err)
	}
	// Days since 1970: the last of April 2026 is 20573.
	for i, ms := range []int64{20574 * dayMs, 20574*dayMs - 1, 20574 * dayMs, -1, 20573 * dayMs, 20605 * dayMs} {
		rec := &event.LogRecord{
			Origin: &event.Origin{Source: "s", Offset: int64(i)}, ArrivalMs: ms,
			Body: &event.LogRecord_Event{Event: &event.Event{}},
		}
		if err := b.Add(int64(100+i), nil, marshal(t, rec)); err != nil {
			t.Fatal(err)
		}
	}
	var got []string
	for _, block := range b.Blocks() {
		offsets := goValues(t, block)["log_offset"]
		got = append(got, fmt.Sprintf("%s %v", block.Partition, offsets))
	}
	want := []string{"196912 [103]", "202604 [101 104]", "202605 [100 102]", "202606 [105]"}
	if !slices.Equal(got, want) {
		t.Errorf("blocks %q, want %q", got, want)
	}
	if b.Rows() != 0 || len(b.Blocks()) != 0 {
		t.Error("taken rows are given again")
	}
}

func TestReferences(t *testing.T) {
	got := refsOf([]*event.Reference{
		{Type: "rrn", Value: "1"},
		{Type: "rrn", Value: "2", Original: true},
		{Type: "psp", Value: "3", Scope: "acq"},
		{Type: "rrn", Value: "4"},
	}, nil)
	want := []string{"rrn", "1", "original:rrn", "2", "psp@acq", "3", "rrn#2", "4"}
	if !slices.Equal(got, want) {
		t.Errorf("refs %v, want %v", got, want)
	}
}
