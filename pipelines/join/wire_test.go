package join

import (
	"bytes"
	"testing"

	"google.golang.org/protobuf/encoding/protowire"
	"pgregory.net/rapid"

	"settlewatch/schemas/event"
)

// Whatever the bytes are, the reader of the ordinary record says what the generated
// code says, or leaves it to that code. It may read a record that the generated code
// refuses for a part that the join does not use.
func FuzzFold(f *testing.F) {
	for _, s := range fuzzScripts {
		for _, r := range fuzzRecords(f, s) {
			b, err := r.MarshalVT()
			if err != nil {
				f.Fatal(err)
			}
			f.Add(b)
			f.Add(append(b, b...)) // parts that come twice
		}
	}
	f.Add(full(f))
	f.Fuzz(func(t *testing.T, value []byte) { sameAsGenerated(t, value) })
}

// full is a record of which every part says something.
func full(t failer) []byte {
	t.Helper()
	r := &event.LogRecord{
		Origin: &event.Origin{Source: feeds[0], Generation: 1, Offset: 2, Index: 3}, ArrivalMs: 4,
		Body: &event.LogRecord_Event{Event: &event.Event{
			Id: testID("a", "b"), PaymentKey: testKey, Kind: event.Kind_KIND_SETTLEMENT, Operation: event.Operation_OPERATION_CORRECTION,
			Replaces: testID("a", "c"), Outcome: event.Outcome_OUTCOME_ACCEPTED, Mode: event.Mode_MODE_FILE, Side: event.Side_SIDE_DEBIT,
			Stage: event.Stage_STAGE_FUNDED, AdjustmentTarget: event.AdjustmentTarget_ADJUSTMENT_TARGET_CREDIT,
			RawType: &event.RawType{Mti: "0200"},
			Amounts: &event.Amounts{
				Currency: "CNY", TransactionMinor: ptr(int64(1)), RequestedMinor: ptr(int64(2)), ApprovedMinor: ptr(int64(3)),
				AuthorizedTotalMinor: ptr(int64(4)), TipMinor: ptr(int64(5)), SurchargeMinor: ptr(int64(6)), CashbackMinor: ptr(int64(7)),
				DiscountMinor: ptr(int64(8)), ReplacementMinor: ptr(int64(9)), Delta: true, GrossMinor: ptr(int64(10)), NetMinor: ptr(int64(-11)),
				Fees:            []*event.Fee{{Type: "mdr", AmountMinor: 12, Payer: "m"}, {AmountMinor: 13}},
				SettlementMinor: ptr(int64(14)), SettlementCurrency: "USD", SettlementRate: "7.1", SettlementRateDate: ptr(int32(15)),
			},
			Response:   &event.Response{Code: "00"},
			References: []*event.Reference{{Type: "rrn", Value: "1"}, {Type: "stan"}},
			Capture:    &event.CaptureRef{Id: "7", Sequence: 7, Final: true},
			Line: &event.Line{
				SettlementId: "s", BatchId: "b", LineId: "l", Occurrence: 1, FileId: "f", BusinessDate: ptr(int32(1)),
				TotalMinor: ptr(int64(1)), TotalCount: ptr(int64(1)), TrailerSeen: true, TakesBack: testID("a", "d"),
			},
			Time: &event.Time{
				BusinessMs: ptr(int64(16)), Zone: "z", ZoneFrom: "record", YearInferred: true, LocalMs: ptr(int64(1)),
				TransmissionMs: ptr(int64(1)), SettlementDate: ptr(int32(17)), ValueDate: ptr(int32(18)),
			},
			Due: &event.Due{
				Cycle: "T+2", DayType: "d", Calendar: "c", ExpectedPayDate: ptr(int32(1)), HoldReason: "risk",
				HoldUntilMs: ptr(int64(19)), ReserveMinor: ptr(int64(1)),
			},
			Parties: &event.Parties{
				Acquirer: "1", Forwarder: "2", Issuer: "3", Scheme: "4", Channel: "5", Product: "6", Merchant: "7", SubMerchant: "8",
				Store: "9", Category: "10", Terminal: "11", TerminalSerial: "12", TerminalModel: "13", TerminalSoftware: "14", Agent: "15", Operator: "16",
			},
			Card: &event.Card{Bin: "622848"}, Payee: &event.Payee{Role: "paid"}, Entry: &event.Entry{Offline: true},
			Special: &event.Special{
				Instalment: 1, Instalments: 2, SplitGroup: "3", RefundStatus: "4", RefundReason: "5", DisputeStage: "6", DisputeReason: "7",
				DisputeDeadlineMs: ptr(int64(8)), MerchantOrder: "9", MerchantOrderMinor: ptr(int64(10)), Incremental: true,
			},
			Leftover: &event.Leftover{UnknownCount: 1}, Provenance: &event.Provenance{Profile: "json"},
		}},
	}
	b, err := r.MarshalVT()
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func sameAsGenerated(t failer, value []byte) {
	t.Helper()
	var w wireReader
	kind := w.read(value)
	if kind == wireUnusual {
		return
	}
	var r event.LogRecord
	if err := r.UnmarshalVT(value); err != nil {
		return // in a part that was skipped
	}
	o := r.GetOrigin()
	if w.origin.Source != o.GetSource() || w.origin.Generation != o.GetGeneration() || w.origin.Offset != o.GetOffset() || w.origin.Index != o.GetIndex() {
		t.Fatalf("origin %v, want %v", &w.origin, o)
	}
	if kind == wireMark {
		if m := r.GetMark(); m == nil || m.TMs != w.markMs || m.Configs != w.markConfigs {
			t.Fatalf("mark %d, want %v", w.markMs, m)
		}
		return
	}
	e := r.GetEvent()
	if e == nil {
		t.Fatalf("an event was read from %v", &r)
	}
	want := newFact(e)
	want.arrival = r.ArrivalMs
	if w.fact != want || w.key != e.PaymentKey {
		t.Fatalf("of %q\n%+v\nwant %q\n%+v", w.key, w.fact, e.PaymentKey, want)
	}
}

// The ordinary record is read, not left to the generated code; and of its parts,
// each left out or said twice, what is read is the same.
func TestTheOrdinaryRecordIsRead(t *testing.T) {
	whole := full(t)
	if new(wireReader).read(whole) != wireEvent {
		t.Fatal("a whole event is left to the generated code")
	}
	sameAsGenerated(t, whole)
	mark, err := markOf(feeds[0], -5).MarshalVT()
	if err != nil {
		t.Fatal(err)
	}
	if new(wireReader).read(mark) != wireMark {
		t.Fatal("a mark is left to the generated code")
	}
	sameAsGenerated(t, mark)
	rapid.Check(t, func(t *rapid.T) { sameAsGenerated(t, shuffled(t, whole, 3)) })
}

// Of a part that comes twice the generated code makes one of both.
func TestAPartThatComesTwiceIsNotOrdinary(t *testing.T) {
	var r event.LogRecord
	if err := r.UnmarshalVT(full(t)); err != nil {
		t.Fatal(err)
	}
	e, err := r.GetEvent().MarshalVT()
	if err != nil {
		t.Fatal(err)
	}
	origin, err := r.Origin.MarshalVT()
	if err != nil {
		t.Fatal(err)
	}
	record := func(parts ...[]byte) []byte {
		b := protowire.AppendBytes(protowire.AppendTag(nil, 1, protowire.BytesType), origin)
		return protowire.AppendBytes(protowire.AppendTag(b, 3, protowire.BytesType), bytes.Join(parts, nil))
	}
	var w wireReader
	if w.read(record(e)) != wireEvent {
		t.Fatal("an event is left to the generated code")
	}
	for _, number := range []protowire.Number{12, 15, 16, 17, 18, 19, 23} {
		again := protowire.AppendBytes(protowire.AppendTag(nil, number, protowire.BytesType), nil)
		if w.read(record(e, again)) != wireUnusual {
			t.Errorf("part %d is read twice", number)
		}
	}
	if w.read(append(record(e), record(e)...)) != wireUnusual {
		t.Error("origin and event are read twice")
	}
}

// shuffled leaves out, repeats and cuts fields of a message, down to depth.
func shuffled(t *rapid.T, message []byte, depth int) []byte {
	var out []byte
	for len(message) > 0 {
		number, kind, n := protowire.ConsumeField(message)
		if n < 0 {
			return append(out, message...) // a text, not a message
		}
		field := message[:n]
		message = message[n:]
		if kind == protowire.BytesType && depth > 0 && rapid.Bool().Draw(t, "into") {
			inner, _ := protowire.ConsumeBytes(field[protowire.SizeTag(number):])
			field = protowire.AppendBytes(protowire.AppendTag(nil, number, kind), shuffled(t, inner, depth-1))
		}
		switch rapid.IntRange(0, 20).Draw(t, "what") {
		case 0:
		case 1:
			out = append(append(out, field...), field...)
		case 2:
			out = append(out, field[:rapid.IntRange(0, len(field)).Draw(t, "cut")]...)
		case 3:
			out = protowire.AppendVarint(protowire.AppendTag(out, number, protowire.VarintType), rapid.Uint64().Draw(t, "number"))
		case 4:
			out = protowire.AppendBytes(protowire.AppendTag(out, protowire.Number(rapid.IntRange(1, 40).Draw(t, "field")), protowire.BytesType), []byte("x"))
		default:
			out = append(out, field...)
		}
	}
	return out
}
