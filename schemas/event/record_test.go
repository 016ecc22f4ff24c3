package event_test

import (
	"bytes"
	"fmt"
	"math"
	"testing"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"pgregory.net/rapid"

	"settlewatch/schemas/event"
	"settlewatch/schemas/payment"
)

// message is what the generated fast path and the reference both encode.
type message interface {
	proto.Message
	MarshalVT() ([]byte, error)
	UnmarshalVT(b []byte) error
	SizeVT() int
}

// The messages that are written somewhere on their own.
var messages = []message{new(event.LogRecord), new(event.Event), new(event.Config), new(payment.Payment)}

// The fast path and the reference must read each other: whoever reads the log
// in another language uses the reference.
func TestFastEncodingAgreesWithTheReference(t *testing.T) {
	for _, kind := range messages {
		t.Run(string(kind.ProtoReflect().Descriptor().Name()), func(t *testing.T) {
			rapid.Check(t, func(t *rapid.T) {
				m := fresh(kind)
				fill(t, m.ProtoReflect(), 0)
				fast, err := m.MarshalVT()
				if err != nil {
					t.Fatal(err)
				}
				if m.SizeVT() != len(fast) {
					t.Fatalf("SizeVT is %d, the encoding has %d bytes", m.SizeVT(), len(fast))
				}
				reference, err := proto.Marshal(m)
				if err != nil {
					t.Fatal(err)
				}
				for name, encoded := range map[string][]byte{"fast": fast, "reference": reference} {
					byFast, byReference := fresh(kind), fresh(kind)
					if err := byFast.UnmarshalVT(encoded); err != nil {
						t.Fatalf("decode %s encoding by the fast path: %v", name, err)
					}
					if err := proto.Unmarshal(encoded, byReference); err != nil {
						t.Fatalf("decode %s encoding by the reference: %v", name, err)
					}
					if !proto.Equal(m, byFast) || !proto.Equal(m, byReference) {
						t.Fatalf("the %s encoding comes back changed:\nput  %v\nfast %v\nref  %v", name, m, byFast, byReference)
					}
				}
			})
		})
	}
}

// A binary of an older version must hand on what a newer one wrote.
func TestUnknownFieldsSurvive(t *testing.T) {
	newer := append(must(proto.Marshal(&event.Mark{TMs: 7})), 0xfa, 0x3f, 3, 'n', 'e', 'w') // field 1023
	m := new(event.Mark)
	if err := m.UnmarshalVT(newer); err != nil {
		t.Fatal(err)
	}
	again, err := m.MarshalVT()
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(again, newer) {
		t.Errorf("got % x, want % x", again, newer)
	}
}

// Numbers and names in the encoding are a contract with everything stored.
func TestLogRecordGolden(t *testing.T) {
	id := event.NewID("golden")
	amount := int64(10_000)
	record := &event.LogRecord{
		Origin:    &event.Origin{Source: "capture/raw.capture.v1/1/documented@1", Offset: 300, Index: 2},
		ArrivalMs: 1_767_225_600_000,
		Body: &event.LogRecord_Event{Event: &event.Event{
			Id: id[:], PaymentKey: "umpay|o|A-1", Kind: event.Kind_KIND_CAPTURE,
			Outcome: event.Outcome_OUTCOME_ACCEPTED,
			Amounts: &event.Amounts{Currency: "CNY", TransactionMinor: &amount},
		}},
	}
	const want = "0a2c0a25636170747572652f7261772e636170747572652e76312f312f646f63756d656e746564403118ac0220021080d0eab6b7331a2d0a10" +
		"%s120b756d7061797c6f7c412d311802300262080a03434e5910904e"
	got := fmt.Sprintf("%x", must(record.MarshalVT()))
	if got != fmt.Sprintf(want, id) {
		t.Errorf("encoding is\n%s, want\n%s", got, fmt.Sprintf(want, id))
	}
}

func FuzzLogRecordDecode(f *testing.F) {
	for _, seed := range [][]byte{
		{},
		must(proto.Marshal(&event.LogRecord{ArrivalMs: 1, Body: &event.LogRecord_Mark{Mark: &event.Mark{TMs: 2}}})),
		must(proto.Marshal(&event.LogRecord{Body: &event.LogRecord_Config{Config: &event.Config{Rules: "r"}}})),
		must(proto.Marshal(&event.LogRecord{Body: &event.LogRecord_Event{Event: &event.Event{Id: make([]byte, 16)}}})),
	} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, encoded []byte) {
		fast, reference := new(event.LogRecord), new(event.LogRecord)
		known := proto.UnmarshalOptions{DiscardUnknown: true}
		errFast, errReference := fast.UnmarshalVT(encoded), known.Unmarshal(encoded, reference)
		// The reference refuses text that is not UTF-8, the fast path a known field
		// of another wire type. What both accept they must read alike.
		if errFast != nil {
			return
		}
		again, err := fast.MarshalVT()
		if err != nil {
			t.Fatal(err)
		}
		if errReference == nil {
			read := new(event.LogRecord)
			if err := known.Unmarshal(again, read); err != nil || !proto.Equal(read, reference) {
				t.Fatalf("read as\n%v (%v), the reference reads\n%v", read, err, reference)
			}
		}
		back := new(event.LogRecord)
		if err := back.UnmarshalVT(again); err != nil {
			t.Fatalf("its own encoding: %v", err)
		}
		if !proto.Equal(fast, back) {
			t.Fatalf("encoded and decoded:\n%v, was\n%v", back, fast)
		}
	})
}

// fill sets every field of the message to something drawn, or leaves it absent.
func fill(t *rapid.T, m protoreflect.Message, depth int) {
	fields := m.Descriptor().Fields()
	for i := range fields.Len() {
		field := fields.Get(i)
		if rapid.IntRange(0, 3).Draw(t, "present") == 0 || depth > 4 {
			continue
		}
		switch {
		case field.IsMap():
			entries := m.Mutable(field).Map()
			for range rapid.IntRange(0, 3).Draw(t, "entries") {
				entries.Set(scalar(t, field.MapKey()).MapKey(), scalar(t, field.MapValue()))
			}
		case field.IsList() && field.Message() != nil:
			list := m.Mutable(field).List()
			for range rapid.IntRange(0, 3).Draw(t, "elements") {
				fill(t, list.AppendMutable().Message(), depth+1)
			}
		case field.IsList():
			list := m.Mutable(field).List()
			for range rapid.IntRange(0, 3).Draw(t, "elements") {
				list.Append(scalar(t, field))
			}
		case field.Message() != nil:
			fill(t, m.Mutable(field).Message(), depth+1)
		default:
			m.Set(field, scalar(t, field))
		}
	}
}

func scalar(t *rapid.T, field protoreflect.FieldDescriptor) protoreflect.Value {
	switch field.Kind() {
	case protoreflect.StringKind:
		return protoreflect.ValueOfString(rapid.String().Draw(t, "text"))
	case protoreflect.BytesKind:
		return protoreflect.ValueOfBytes(rapid.SliceOf(rapid.Byte()).Draw(t, "bytes"))
	case protoreflect.BoolKind:
		return protoreflect.ValueOfBool(rapid.Bool().Draw(t, "bool"))
	case protoreflect.Int32Kind:
		return protoreflect.ValueOfInt32(rapid.Int32().Draw(t, "int32"))
	case protoreflect.Int64Kind:
		return protoreflect.ValueOfInt64(rapid.OneOf(rapid.Int64(), rapid.Just(int64(math.MinInt64))).Draw(t, "int64"))
	case protoreflect.Uint32Kind:
		return protoreflect.ValueOfUint32(rapid.Uint32().Draw(t, "uint32"))
	case protoreflect.Uint64Kind:
		return protoreflect.ValueOfUint64(rapid.Uint64().Draw(t, "uint64"))
	case protoreflect.EnumKind:
		// A later version's numbers are kept, not refused.
		return protoreflect.ValueOfEnum(protoreflect.EnumNumber(rapid.Int32Range(0, 99).Draw(t, "enum")))
	default:
		t.Fatalf("%s: no values for kind %s", field.FullName(), field.Kind())
		return protoreflect.Value{}
	}
}

func fresh(kind message) message {
	return kind.ProtoReflect().New().Interface().(message)
}

func must(b []byte, err error) []byte {
	if err != nil {
		panic(err)
	}
	return b
}
