package table

import (
	"reflect"
	"slices"
	"testing"

	"google.golang.org/protobuf/proto"

	"settlewatch/schemas/event"
	"settlewatch/schemas/payment"
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
		fast, fastErr := oneRow(Events, value, (&eventReader{partition: 3}).read)
		slow, slowErr := oneRow(Events, value, func(offset int64, value []byte, r *row) (bool, error) {
			decoded, ok, err := decodeEvent(3, offset, value)
			if ok {
				fillRow(eventFields, &decoded, r)
			}
			return ok, err
		})
		agree(t, fast, slow, fastErr, slowErr)
	})
}

// TestOrdinaryRecordsAreReadFromTheWire: without this, the fast reader could give up
// always and nothing but time would tell.
func TestOrdinaryRecordsAreReadFromTheWire(t *testing.T) {
	for i, record := range sampleRecords() {
		e := record.GetEvent()
		usual := e != nil && len(e.GetAmounts().GetFees()) == 0 && len(e.GetLeftover().GetUnknown()) == 0
		r := row{cells: make([]cell, len(eventFields))}
		if got := (&eventReader{}).readWire(1, marshal(t, record), &r); got != usual {
			t.Errorf("record %d: read from the wire: %v, want %v", i, got, usual)
		}
	}
}

// FuzzPaymentRow does so for the payments topic.
func FuzzPaymentRow(f *testing.F) {
	for _, p := range samplePayments() {
		b := marshal(f, p)
		f.Add(b)
		f.Add(append(slices.Clone(b), b...))
		f.Add(b[:len(b)-1])
	}
	f.Add([]byte{1<<3 | 2, 0, 2<<3 | 2, 1, 7}) // a key that is there, and empty
	f.Fuzz(func(t *testing.T, value []byte) {
		fast, fastErr := oneRow(Payments, value, (&paymentReader{}).read)
		slow, slowErr := oneRow(Payments, value, func(_ int64, value []byte, r *row) (bool, error) {
			decoded, ok, err := decodePayment(value)
			if ok {
				fillRow(paymentColumns, &decoded, r)
			}
			return ok, err
		})
		agree(t, fast, slow, fastErr, slowErr)
	})
}

func TestOrdinaryPaymentsAreReadFromTheWire(t *testing.T) {
	for i, p := range samplePayments() {
		usual := p.GetPaymentKey() != "" && len(p.GetLife()) > 0
		r := row{cells: make([]cell, len(paymentColumns))}
		if got := (&paymentReader{}).readWire(marshal(t, p), &r); got != usual {
			t.Errorf("payment %d: read from the wire: %v, want %v", i, got, usual)
		}
	}
}

// TestRowsKeepNothing: what a row says is not seen in the next one, whichever way the
// two were read.
func TestRowsKeepNothing(t *testing.T) {
	records := sampleRecords()[:4]
	// These say next to nothing: one is read from the wire, the other by the generated code.
	bare, unusual := proto.CloneOf(records[1]), proto.CloneOf(records[1])
	unusual.GetEvent().Leftover = &event.Leftover{Unknown: []*event.UnknownField{{Name: "a", Value: "1"}}}
	var mixed []*event.LogRecord
	for _, r := range records {
		mixed = append(mixed, r, bare, r, unusual)
	}
	together, err := NewBuilder(topic.PaymentLog.Name, 0)
	if err != nil {
		t.Fatal(err)
	}
	for _, r := range mixed {
		if err := together.Add(0, nil, marshal(t, r)); err != nil {
			t.Fatal(err)
		}
	}
	all := goValues(t, together.Blocks()[0])
	for i, r := range mixed {
		for name, want := range values(t, topic.PaymentLog.Name, marshal(t, r)) {
			got, want := reflect.ValueOf(all[name]).Index(i).Interface(), reflect.ValueOf(want).Index(0).Interface()
			if !reflect.DeepEqual(got, want) {
				t.Errorf("record %d, column %s: %v, alone %v", i, name, got, want)
			}
		}
	}
}

// agree holds a row that was read from the wire to that of the generated code.
func agree(t *testing.T, fast, slow map[string]any, fastErr, slowErr error) {
	t.Helper()
	if (fastErr == nil) != (slowErr == nil) || fastErr != nil && fastErr.Error() != slowErr.Error() {
		t.Fatalf("error %v, the generated code has %v", fastErr, slowErr)
	}
	if !reflect.DeepEqual(fast, slow) {
		t.Fatalf("row %v, the generated code has %v", fast, slow)
	}
}

func oneRow(of Table, value []byte, read func(int64, []byte, *row) (bool, error)) (map[string]any, error) {
	partitionBy := ""
	if of.Name == Events.Name {
		partitionBy = "arrival_time"
	}
	b := newBuilder(of, partitionBy, read)
	if err := b.Add(77, nil, value); err != nil {
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

func samplePayments() []*payment.Payment {
	day, ms := int32(20573), int64(1777777777777)
	rich := &payment.Payment{
		PaymentKey: "acq|o|1", Life: []byte{1, 2, 0xff}, Version: 3, JudgedMs: ms, Status: payment.Status_STATUS_HELD,
		Acquirer: "acq", Merchant: "m", Terminal: "t", Channel: "c", Currency: "CNY",
		AuthorizedMinor: 12, CapturedMinor: 11, SettledMinor: 4, OpenMinor: 3, AlertedMinor: 2, ExcludedMinor: 2,
		ReceivedMinor: 5, RefundedMinor: -1, ExcessMinor: 6, ClearingDate: &day, MoneyDueMs: &ms, EvidenceDueMs: new(int64),
		HeldReason: "declared hold", Events: 5, Repeats: 1, Conflicts: 2, Mismatches: 3, Unmatched: 4,
	}
	nameless, lifeless, strange := proto.CloneOf(rich), proto.CloneOf(rich), proto.CloneOf(rich)
	nameless.PaymentKey, lifeless.Life = "", nil
	strange.Status, strange.ClearingDate = 77, nil
	late := proto.CloneOf(rich)
	late.JudgedMs = 1 << 60 // refused: no column holds it
	return []*payment.Payment{rich, {PaymentKey: "k", Life: []byte{1}}, nameless, lifeless, strange, late}
}

func BenchmarkEventRows(b *testing.B) {
	benchmarkRows(b, topic.PaymentLog.Name, marshal(b, sampleRecords()[0]))
}

func BenchmarkPaymentRows(b *testing.B) {
	benchmarkRows(b, topic.Payments.Name, marshal(b, samplePayments()[0]))
}

func benchmarkRows(b *testing.B, from string, value []byte) {
	b.Helper()
	rows, err := NewBuilder(from, 0)
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
