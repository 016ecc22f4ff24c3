package conformance

import (
	"context"
	"testing"

	"settlewatch/pipelines/stage"
	"settlewatch/schemas/event"
	"settlewatch/schemas/table"
	"settlewatch/schemas/topic"
)

// WarehouseRows is what a stage.Warehouse has to offer beside its interface, so
// that the suite can look: how many events are stored, repeats too, and how many
// different ones.
type WarehouseRows interface {
	Events(t *testing.T) (stored, distinct int)
}

// Warehouse runs the suite of stage.Warehouse. For each test open prepares an
// empty one with its tables.
func Warehouse(t *testing.T, open func(t *testing.T) (stage.Warehouse, WarehouseRows)) {
	t.Helper()
	for _, c := range []struct {
		name string
		run  func(t *testing.T, w stage.Warehouse, rows WarehouseRows)
	}{
		{"no range at first", testNoRange},
		{"a range comes back as it was", testRangeRoundTrip},
		{"the highest range stands", testHighestRange},
		{"ranges of partitions are apart", testRangesApart},
		{"a range that is none is refused", testInvalidRange},
		{"a block is stored whole", testBlock},
		{"the same token stores once", testSameToken},
		{"another token stores again, the identity stands once", testOtherToken},
		{"a token is the table partition's own", testTokenPerBlock},
		{"an insert without a token is refused", testNoToken},
		{"what is cancelled ends", testCancelled},
	} {
		t.Run(c.name, func(t *testing.T) {
			w, rows := open(t)
			c.run(t, w, rows)
		})
	}
}

const (
	warehouseTopic = "payment-log.v1"
	// Two instants in two months, around midnight of the first of May 2026, UTC.
	aprilMs = int64(1777593599999)
	mayMs   = int64(1777593600000)
)

func testNoRange(t *testing.T, w stage.Warehouse, _ WarehouseRows) {
	if r, found, err := w.LastRange(t.Context(), warehouseTopic, 0); err != nil || found {
		t.Fatalf("LastRange = %+v, %v, %v; want none", r, found, err)
	}
}

func testRangeRoundTrip(t *testing.T, w stage.Warehouse, _ WarehouseRows) {
	for _, r := range []stage.Range{
		{Topic: warehouseTopic, Partition: 3, First: 0, Last: 0, Checksum: 1},
		{Topic: warehouseTopic, Partition: 3, First: 1, Last: 1<<62 + 1, Checksum: 1<<64 - 1},
	} {
		for range 2 { // a repeat changes nothing
			if err := w.RecordRange(t.Context(), r); err != nil {
				t.Fatal(err)
			}
			wantRange(t, w, r)
		}
	}
}

func testHighestRange(t *testing.T, w stage.Warehouse, _ WarehouseRows) {
	high := stage.Range{Topic: warehouseTopic, First: 20, Last: 29}
	for _, r := range []stage.Range{{Topic: warehouseTopic, First: 10, Last: 19}, high, {Topic: warehouseTopic, First: 20, Last: 25}} {
		if err := w.RecordRange(t.Context(), r); err != nil {
			t.Fatal(err)
		}
	}
	wantRange(t, w, high) // a zombie that recorded a shorter one later changes nothing
}

func testRangesApart(t *testing.T, w stage.Warehouse, _ WarehouseRows) {
	ranges := []stage.Range{
		{Topic: warehouseTopic, Partition: 0, First: 0, Last: 9},
		{Topic: warehouseTopic, Partition: 1, First: 0, Last: 8},
		{Topic: "payments.v1", Partition: 0, First: 0, Last: 7},
	}
	for _, r := range ranges {
		if err := w.RecordRange(t.Context(), r); err != nil {
			t.Fatal(err)
		}
	}
	for _, r := range ranges {
		wantRange(t, w, r)
	}
}

func testInvalidRange(t *testing.T, w stage.Warehouse, _ WarehouseRows) {
	for _, r := range []stage.Range{
		{Topic: warehouseTopic, First: -1, Last: 3},
		{Topic: warehouseTopic, First: 4, Last: 3},
	} {
		if err := w.RecordRange(t.Context(), r); err == nil {
			t.Errorf("RecordRange(%+v) is accepted", r)
		}
	}
	testNoRange(t, w, nil)
}

func testBlock(t *testing.T, w stage.Warehouse, rows WarehouseRows) {
	insertBlock(t, w, "a", eventBlock(t, aprilMs, 0, 3))
	wantEvents(t, rows, 3, 3)
}

func testSameToken(t *testing.T, w stage.Warehouse, rows WarehouseRows) {
	for range 3 {
		insertBlock(t, w, "a", eventBlock(t, aprilMs, 0, 3))
	}
	wantEvents(t, rows, 3, 3)
}

func testOtherToken(t *testing.T, w stage.Warehouse, rows WarehouseRows) {
	insertBlock(t, w, "a", eventBlock(t, aprilMs, 0, 3))
	insertBlock(t, w, "b", eventBlock(t, aprilMs, 1, 4))
	wantEvents(t, rows, 6, 4)
}

func testTokenPerBlock(t *testing.T, w stage.Warehouse, rows WarehouseRows) {
	april, may := eventBlock(t, aprilMs, 0, 2), eventBlock(t, mayMs, 2, 4)
	if april.Partition != "202604" || may.Partition != "202605" {
		t.Fatalf("partitions %q and %q, want 202604 and 202605", april.Partition, may.Partition)
	}
	for range 2 {
		insertBlock(t, w, "a.202604", april)
		insertBlock(t, w, "a.202605", may)
	}
	wantEvents(t, rows, 4, 4)
}

func testNoToken(t *testing.T, w stage.Warehouse, rows WarehouseRows) {
	if err := w.Insert(t.Context(), eventBlock(t, aprilMs, 0, 1), ""); err == nil {
		t.Error("an insert without a token is accepted")
	}
	wantEvents(t, rows, 0, 0)
}

func testCancelled(t *testing.T, w stage.Warehouse, rows WarehouseRows) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := w.Insert(ctx, eventBlock(t, aprilMs, 0, 1), "a"); err == nil {
		t.Error("Insert after cancel succeeds")
	}
	if err := w.RecordRange(ctx, stage.Range{Topic: warehouseTopic, Last: 1}); err == nil {
		t.Error("RecordRange after cancel succeeds")
	}
	if _, _, err := w.LastRange(ctx, warehouseTopic, 0); err == nil {
		t.Error("LastRange after cancel succeeds")
	}
	wantEvents(t, rows, 0, 0)
}

func insertBlock(t *testing.T, w stage.Warehouse, token string, b table.Block) {
	t.Helper()
	if err := w.Insert(t.Context(), b, token); err != nil {
		t.Fatal(err)
	}
}

func wantRange(t *testing.T, w stage.Warehouse, want stage.Range) {
	t.Helper()
	got, found, err := w.LastRange(t.Context(), want.Topic, want.Partition)
	if err != nil {
		t.Fatal(err)
	}
	if !found || got != want {
		t.Errorf("LastRange = %+v, %v; want %+v", got, found, want)
	}
}

func wantEvents(t *testing.T, rows WarehouseRows, stored, distinct int) {
	t.Helper()
	if s, d := rows.Events(t); s != stored || d != distinct {
		t.Errorf("%d rows of %d events are stored, want %d of %d", s, d, stored, distinct)
	}
}

// eventBlock is the events of the origins from … to-1, one payment each.
func eventBlock(t *testing.T, arrivalMs int64, from, to int64) table.Block {
	t.Helper()
	builder, err := table.NewBuilder(topic.PaymentLog.Name, 0)
	if err != nil {
		t.Fatal(err)
	}
	for offset := from; offset < to; offset++ {
		value, err := EventRecord(offset, arrivalMs).MarshalVT()
		if err != nil {
			t.Fatal(err)
		}
		if err := builder.Add(offset, nil, value); err != nil {
			t.Fatal(err)
		}
	}
	blocks := builder.Blocks()
	if len(blocks) != 1 {
		t.Fatalf("%d blocks, want 1", len(blocks))
	}
	return blocks[0]
}

// EventRecord is a log record of an accepted sale with this origin offset.
func EventRecord(originOffset, arrivalMs int64) *event.LogRecord {
	id := event.NewID("conformance", string(rune(originOffset)))
	amountMinor := int64(100)
	return &event.LogRecord{
		Origin:    &event.Origin{Source: "authorization/raw.authorization.v1/0/json@1", Offset: originOffset},
		ArrivalMs: arrivalMs,
		Body: &event.LogRecord_Event{Event: &event.Event{
			Id: id[:], PaymentKey: "acq|o|1", Kind: event.Kind_KIND_AUTHORIZATION,
			Operation: event.Operation_OPERATION_NEW, Outcome: event.Outcome_OUTCOME_ACCEPTED, Mode: event.Mode_MODE_SINGLE,
			Amounts: &event.Amounts{Currency: "CNY", TransactionMinor: &amountMinor},
		}},
	}
}
