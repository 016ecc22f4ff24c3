package table

import (
	"reflect"
	"slices"
	"testing"

	"google.golang.org/protobuf/proto"

	"settlewatch/schemas/event"
	"settlewatch/schemas/topic"
)

// FuzzEventRow holds the reader of ordinary records to the generated code: the same
// bytes give the same row, and whatever is refused leaves nothing.
func FuzzEventRow(f *testing.F) {
	for _, r := range sampleRecords() {
		b, err := r.MarshalVT()
		if err != nil {
			f.Fatal(err)
		}
		f.Add(b)
		f.Add(append(slices.Clone(b), b...))
	}
	f.Fuzz(func(t *testing.T, value []byte) {
		fast, fastErr := oneRow(func(offset int64, r *row) (bool, error) {
			return (&eventReader{partition: 3}).read(offset, value, r)
		})
		slow, slowErr := oneRow(func(offset int64, r *row) (bool, error) {
			decoded, ok, err := decodeEvent(3, offset, value)
			if ok {
				fillRow(eventColumns, &decoded, r)
			}
			return ok, err
		})
		if (fastErr == nil) != (slowErr == nil) || fastErr != nil && fastErr.Error() != slowErr.Error() {
			t.Fatalf("error %v, the generated code has %v", fastErr, slowErr)
		}
		if !reflect.DeepEqual(fast, slow) {
			t.Fatalf("row %v, the generated code has %v", fast, slow)
		}
	})
}

// TestOrdinaryRecordsAreReadFromTheWire: without this, the fast reader could give up
// always and nothing but time would tell.
func TestOrdinaryRecordsAreReadFromTheWire(t *testing.T) {
	for i, record := range sampleRecords() {
		e := record.GetEvent()
		usual := e != nil && len(e.GetAmounts().GetFees()) == 0 && len(e.GetLeftover().GetUnknown()) == 0
		r := row{cells: make([]cell, len(eventColumns))}
		if got := (&eventReader{}).readWire(1, marshal(t, record), &r); got != usual {
			t.Errorf("record %d: read from the wire: %v, want %v", i, got, usual)
		}
	}
}

func oneRow(read func(int64, *row) (bool, error)) (map[string]any, error) {
	b := newBuilder(Events, "arrival_time", func(offset int64, _ []byte, r *row) (bool, error) { return read(offset, r) })
	if err := b.Add(77, nil, nil); err != nil {
		return nil, err
	}
	blocks := b.Blocks()
	if len(blocks) == 0 {
		return nil, nil
	}
	values, err := blocks[0].Go()
	values["the partition"] = blocks[0].Partition
	return values, err
}

func sampleRecords() []*event.LogRecord {
	amount, day, ms := int64(-5), int32(20573), int64(1777777777777)
	rich := &event.Event{
		Id: []byte{1, 2, 0xff}, PaymentKey: "acq|o|1", Kind: event.Kind_KIND_SETTLEMENT, Operation: event.Operation_OPERATION_NEW,
		Replaces: []byte{9}, Outcome: 77, Mode: event.Mode_MODE_DUAL, Side: event.Side_SIDE_CREDIT, Stage: -1,
		AdjustmentTarget: event.AdjustmentTarget_ADJUSTMENT_TARGET_CREDIT,
		RawType:          &event.RawType{Mti: "0200", ProcessingCode: "000000", ConditionCode: "00", PosType: "2"},
		Amounts: &event.Amounts{
			Currency: "CNY", TransactionMinor: &amount, GrossMinor: &ms, Delta: true, SettlementRate: "1.5", SettlementRateDate: &day,
		},
		Response: &event.Response{Code: "00", Namespace: "n", Shown: "ok"},
		References: []*event.Reference{
			{Type: "rrn", Value: "1"}, {Type: "rrn", Value: "2", Scope: "s", Original: true}, {Type: "rrn", Value: "3"},
		},
		Capture:    &event.CaptureRef{Id: "c", Sequence: 2, Final: true},
		Line:       &event.Line{SettlementId: "s", LineId: "l", Occurrence: 3, BusinessDate: &day, TrailerSeen: true, TakesBack: []byte{7}},
		Time:       &event.Time{BusinessMs: &ms, Zone: "Asia/Shanghai", SettlementDate: &day},
		Due:        &event.Due{Cycle: "T+1", HoldUntilMs: &ms},
		Parties:    &event.Parties{Acquirer: "acq", Merchant: "m", Operator: "o"},
		Card:       &event.Card{Bin: "622202", Last4: "0012", Token: []byte{0xab}, DevicePan: true},
		Payee:      &event.Payee{AccountToken: []byte{1}},
		Entry:      &event.Entry{Region: "CN", Offline: true},
		Special:    &event.Special{Instalment: 1, MerchantOrder: "键", Incremental: true},
		Leftover:   &event.Leftover{UnknownCount: 4},
		Provenance: &event.Provenance{Profile: "json", ProfileVersion: 1, RawHash: []byte{1, 2, 3}},
	}
	named, fees := proto.CloneOf(rich), proto.CloneOf(rich)
	named.Leftover = &event.Leftover{Unknown: []*event.UnknownField{{Name: "a", Value: "1"}, {Name: "a", Value: "2"}}, Masked: []string{"x"}}
	fees.Amounts.Fees = []*event.Fee{{Type: "mdr", AmountMinor: 3}}
	origin := &event.Origin{Source: "s", Generation: 1, Offset: 5, Index: 2}
	of := func(e *event.Event) *event.LogRecord {
		return &event.LogRecord{Origin: origin, ArrivalMs: ms, Body: &event.LogRecord_Event{Event: e}}
	}
	return []*event.LogRecord{
		of(rich), of(&event.Event{}), of(named), of(fees),
		{Origin: origin, Body: &event.LogRecord_Mark{Mark: &event.Mark{TMs: 1}}},
	}
}

func BenchmarkEventRows(b *testing.B) {
	value, err := sampleRecords()[0].MarshalVT()
	if err != nil {
		b.Fatal(err)
	}
	rows, err := NewBuilder(topic.PaymentLog.Name, 0)
	if err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	for i := range b.N {
		if err := rows.Add(int64(i), nil, value); err != nil {
			b.Fatal(err)
		}
		if rows.Rows() == 20_000 {
			rows.Blocks()
			rows.Free()
		}
	}
}
