package deadletter_test

import (
	"bytes"
	"errors"
	"reflect"
	"strings"
	"testing"
	"unicode/utf8"

	"pgregory.net/rapid"

	"settlewatch/schemas/deadletter"
)

func letter(payload []byte) *deadletter.Letter {
	return &deadletter.Letter{
		Service: "capture", Profile: "raw-json@1",
		Source:    deadletter.Source{Topic: "raw.capture.v1", Partition: 1, Offset: 42},
		ArrivalMs: 1_586_185_140_000,
		Path:      "/amount_minor", Reason: "out_of_range", Detail: "negative",
		Payload: deadletter.NewPayload(payload),
	}
}

func TestEncoding(t *testing.T) {
	encoded, err := letter([]byte(`{"amount_minor":-1}`)).Encode()
	if err != nil {
		t.Fatal(err)
	}
	const want = `{"service":"capture","profile":"raw-json@1","source":{"topic":"raw.capture.v1","partition":1,"offset":42},` +
		`"arrival_ms":1586185140000,"path":"/amount_minor","reason":"out_of_range","detail":"negative",` +
		`"payload":{"text":"{\"amount_minor\":-1}","size":19}}`
	if string(encoded) != want {
		t.Errorf("got  %s\nwant %s", encoded, want)
	}
	if key := letter(nil).Key(); string(key) != "raw.capture.v1/1" {
		t.Errorf("key %q", key)
	}
}

func TestDecodeRefuses(t *testing.T) {
	for _, encoded := range []string{"", "[]", `{"reason":7}`, `{"reason":"x"`} {
		if _, err := deadletter.Decode([]byte(encoded)); err == nil {
			t.Errorf("%q was accepted", encoded)
		}
	}
	if _, err := deadletter.Decode([]byte(`{}`)); !errors.Is(err, deadletter.ErrNoReason) {
		t.Errorf("no reason: %v", err)
	}
	if l, err := deadletter.Decode([]byte(`{"reason":"x","added_later":1}`)); err != nil || l.Reason != "x" {
		t.Errorf("a later version's field: %v", err)
	}
}

func TestPayload(t *testing.T) {
	limit := deadletter.MaxPayloadBytes
	for _, c := range []struct {
		name        string
		masked      []byte
		text        string // empty: not compared
		base64, cut bool
		atMost      int
	}{
		{name: "empty", masked: nil},
		{name: "text", masked: []byte("对账"), text: "对账"},
		{name: "not UTF-8", masked: []byte{0xFF, 0x00}, text: "/wA=", base64: true},
		{name: "as long as may be", masked: bytes.Repeat([]byte("a"), limit), atMost: limit},
		{name: "too long", masked: bytes.Repeat([]byte("a"), limit+1), cut: true, atMost: limit},
		{name: "cut inside of a character", masked: []byte(strings.Repeat("a", limit-1) + "账"), cut: true, atMost: limit - 1},
		{name: "cut inside of a number", masked: []byte(strings.Repeat("a", limit-16) + strings.Repeat("4", 30)), cut: true, atMost: limit - 16},
		{name: "too long, not UTF-8", masked: bytes.Repeat([]byte{0xFF}, limit+9), base64: true, cut: true, atMost: limit},
	} {
		p := deadletter.NewPayload(c.masked)
		kept, err := p.Bytes()
		if err != nil || p.Base64 != c.base64 || p.Truncated != c.cut || p.Size != len(c.masked) {
			t.Errorf("%s: base64 %t, truncated %t, size %d, %v", c.name, p.Base64, p.Truncated, p.Size, err)
		}
		if c.text != "" && p.Text != c.text {
			t.Errorf("%s: text %q, want %q", c.name, p.Text, c.text)
		}
		if !bytes.HasPrefix(c.masked, kept) || c.atMost > 0 && len(kept) != c.atMost || !c.base64 && !utf8.Valid(kept) {
			t.Errorf("%s: kept %d bytes, want %d", c.name, len(kept), c.atMost)
		}
	}
	if _, err := (deadletter.Payload{Text: "%", Base64: true}).Bytes(); err == nil {
		t.Error("broken base64 was read")
	}
}

func TestDecodeOfEncodeIsTheIdentity(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		before := letter(rapid.SliceOf(rapid.Byte()).Draw(t, "payload"))
		before.Path = rapid.String().Draw(t, "path")
		before.Source.Offset = rapid.Int64Min(0).Draw(t, "offset")
		encoded, err := before.Encode()
		if err != nil {
			t.Fatal(err)
		}
		after, err := deadletter.Decode(encoded)
		if err != nil || !reflect.DeepEqual(before, after) {
			t.Fatalf("%+v became %+v, %v", before, after, err)
		}
	})
}

func FuzzDecode(f *testing.F) {
	encoded, err := letter([]byte{0xFF}).Encode()
	if err != nil {
		f.Fatal(err)
	}
	f.Add(encoded)
	f.Add([]byte(`{"reason":"x"}`))
	f.Fuzz(func(t *testing.T, encoded []byte) {
		l, err := deadletter.Decode(encoded)
		if err != nil {
			return
		}
		again, err := l.Encode()
		if err != nil {
			t.Fatal(err)
		}
		back, err := deadletter.Decode(again)
		if err != nil || !reflect.DeepEqual(l, back) {
			t.Fatalf("%+v became %+v, %v", l, back, err)
		}
	})
}
