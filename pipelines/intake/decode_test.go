package intake

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"

	"settlewatch/schemas/event"
)

var update = flag.Bool("update", false, "write the golden files anew")

func decode(t testing.TB, feed Feed, record string) *event.Event {
	t.Helper()
	decoded, err := NewDecoder(feed, testKey).Decode([]byte(record))
	if err != nil {
		t.Fatalf("%v\n%s", err, record)
	}
	return decoded
}

// The golden files hold one event for each file of records: testdata/golden/
// <feed>-<name>.json is the record, .event.json the event. A missing golden file
// fails; -update writes it.
func TestGolden(t *testing.T) {
	records, err := filepath.Glob("testdata/golden/*.record.json")
	if err != nil || len(records) < len(recordTable) {
		t.Fatalf("%d records, %v; want one for each of %d types", len(records), err, len(recordTable))
	}
	seen := map[string]bool{}
	for _, path := range records {
		name := strings.TrimSuffix(filepath.Base(path), ".record.json")
		t.Run(name, func(t *testing.T) {
			record, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			feedName, _, _ := strings.Cut(name, "-")
			feed := map[string]Feed{"authorization": Authorization, "capture": Capture, "settlement": Settlement}[feedName]
			decoded := decode(t, feed, string(record))
			var head struct{ Type string }
			if err := json.Unmarshal(record, &head); err != nil {
				t.Fatal(err)
			}
			seen[head.Type] = true
			compareGolden(t, strings.TrimSuffix(path, ".record.json")+".event.json", decoded)
		})
	}
	for _, kind := range recordTable {
		if !seen[kind.name] {
			t.Errorf("no golden file of type %q", kind.name)
		}
	}
}

func compareGolden(t *testing.T, path string, decoded *event.Event) {
	t.Helper()
	text, err := protojson.MarshalOptions{UseProtoNames: true}.Marshal(decoded)
	if err != nil {
		t.Fatal(err)
	}
	// The library varies its white space on purpose; two passes settle it.
	var value any
	if err := json.Unmarshal(text, &value); err != nil {
		t.Fatal(err)
	}
	got, err := json.MarshalIndent(value, "", "  ")
	if err != nil {
		t.Fatal(err)
	}
	got = append(got, '\n')
	if *update {
		if err := os.WriteFile(path, got, 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatalf("%v; write it with -update and read what it says", err)
	}
	if string(got) != string(want) {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
}

func TestOutcomes(t *testing.T) {
	code := func(base, code string) string { return edit(base, "response_code", code) }
	status := func(status string) string { return edit(baseCapture, "status", status) }
	const (
		accepted  = event.Outcome_OUTCOME_ACCEPTED
		rejected  = event.Outcome_OUTCOME_REJECTED
		requested = event.Outcome_OUTCOME_REQUESTED
		failed    = event.Outcome_OUTCOME_FAILED
		unknown   = event.Outcome_OUTCOME_UNKNOWN
	)
	for _, c := range []struct {
		feed    Feed
		record  string
		outcome event.Outcome
		class   Class
	}{
		{Authorization, code(baseAuthorization, `"00"`), accepted, ClassApproved},
		{Authorization, code(baseAuthorization, `"10"`), accepted, ClassApproved},
		{Authorization, code(baseAuthorization, `"Y3"`), accepted, ClassApproved},
		{Authorization, code(baseAuthorization, `"51"`), rejected, ClassDeclined},
		{Authorization, code(baseAuthorization, `"96"`), rejected, ClassDeclined},
		{Authorization, code(baseAuthorization, `"94"`), rejected, ClassDeclined},
		{Authorization, code(baseAuthorization, `"98"`), unknown, ClassUnknown},
		{Authorization, code(baseAuthorization, `"A4"`), unknown, ClassUnknown},
		{Authorization, code(baseAuthorization, `"97"`), unknown, ClassUnknown},
		{Authorization, code(baseAuthorization, `"y1"`), unknown, ClassUnknown},
		{Authorization, code(baseAuthorization, ""), unknown, ""},
		{Authorization, code(baseReversal, `"00"`), accepted, ClassApproved},
		{Authorization, code(baseReversal, `"12"`), unknown, ClassDeclined}, // proves nothing
		{Authorization, code(baseReversal, `"25"`), unknown, ClassDeclined},
		{Authorization, code(baseReversal, `"10"`), unknown, ClassApproved},
		{Authorization, code(baseReversal, ""), unknown, ""},
		{Authorization, code(baseVoid, `"00"`), accepted, ClassApproved},
		{Authorization, code(baseVoid, `"51"`), unknown, ClassDeclined},
		{Capture, status(""), accepted, ""},
		{Capture, status(`"accepted"`), accepted, ""},
		{Capture, status(`"requested"`), requested, ""},
		{Capture, status(`"failed"`), failed, ""},
		{Capture, status(`"rejected"`), rejected, ""},
		{Settlement, baseLine, accepted, ""},
	} {
		decoded := decode(t, c.feed, c.record)
		if decoded.GetOutcome() != c.outcome || decoded.GetResponse().GetClass() != string(c.class) {
			t.Errorf("%s: %s, class %q; want %s, %q", c.record, decoded.GetOutcome(), decoded.GetResponse().GetClass(), c.outcome, c.class)
		}
	}
}

func TestEveryResponseCodeHasOneClass(t *testing.T) {
	count := 0
	for class, codes := range responseClasses {
		for _, code := range codes {
			count++
			if ClassOf(code) != class {
				t.Errorf("%s is listed as %s and as %s", code, class, ClassOf(code))
			}
		}
	}
	if count != len(classOfCode) {
		t.Errorf("%d entries, %d codes", count, len(classOfCode))
	}
}

func TestPaymentKey(t *testing.T) {
	if key := decode(t, Authorization, baseAuthorization).GetPaymentKey(); key != string(OrderKey("acq-1", "o-1")) || key != "acq-1|o|o-1" {
		t.Errorf("order: %q", key)
	}
	key := decode(t, Capture, baseCapture).GetPaymentKey()
	if key != string(RRNKey("acq-1", "000123456789", "T0000001", "2020-04-06")) || key != "acq-1|r|000123456789|T0000001|2020-04-06" {
		t.Errorf("rrn: %q", key)
	}
	// The order wins where both are given: it is what settlement lines carry.
	if key := decode(t, Capture, edit(baseCapture, "order_id", `"o|1"`)).GetPaymentKey(); key != "acq-1|o|o|1" {
		t.Errorf("both: %q", key)
	}
}

// What is part of a record's identity, and what is not.
func TestIdentity(t *testing.T) {
	noLine := edit(baseLine, "line_id", "", "card_number", `"6222021234567890123"`, "memo", `{"a":1,"b":"x"}`)
	for _, c := range []struct {
		name        string
		feed        Feed
		first, then string
		same        bool
	}{
		{"event id, other content", Authorization, baseAuthorization, edit(baseAuthorization, "amount_minor", "1"), true},
		{"other event id", Authorization, baseAuthorization, edit(baseAuthorization, "event_id", `"a-2"`), false},
		{"other acquirer", Authorization, baseAuthorization, edit(baseAuthorization, "acquirer", `"acq-2"`), false},
		{"line in another file", Settlement, baseLine, edit(baseLine, "file_id", `"again"`), true},
		{"line, other content", Settlement, baseLine, edit(baseLine, "gross_minor", "11000"), true},
		{"line of another batch", Settlement, baseLine, edit(baseLine, "batch_id", `"b"`), false},
		{"content in another file", Settlement, noLine, edit(noLine, "file_id", `"again"`), true},
		{"content, defaults written out", Settlement, noLine, edit(noLine, "occurrence", "1", "operation", `"new"`), true},
		{"content, other spelling", Settlement, noLine, strings.Replace(strings.Replace(noLine, `"o-1"`, ` "\u006f-1" `, 1), `{"a":1,"b":"x"}`, `{ "b":"\u0078", "a":1}`, 1), true},
		{"content, second of equal rows", Settlement, noLine, edit(noLine, "occurrence", "2"), false},
		{"content, other amount", Settlement, noLine, edit(noLine, "gross_minor", "10001"), false},
		{"content, other card between BIN and last four", Settlement, noLine, edit(noLine, "card_number", `"6222021234567990123"`), false},
		{"content, other unknown field", Settlement, noLine, edit(noLine, "memo", `{"a":2,"b":"x"}`), false},
		{"content, long numbers that are equal as floats", Settlement, edit(noLine, "memo", "123456789012345678901"), edit(noLine, "memo", "123456789012345678902"), false},
		{"content, other time", Settlement, noLine, edit(noLine, "business_time", `"2020-04-07T00:00:00Z"`), false},
		{
			"content, one instant in two zones", Settlement,
			edit(noLine, "business_time", `"2020-04-07T08:00:00+08:00"`), edit(noLine, "business_time", `"2020-04-07T00:00:00Z"`), true,
		},
	} {
		first, then := decode(t, c.feed, c.first), decode(t, c.feed, c.then)
		if same := string(first.GetId()) == string(then.GetId()); same != c.same {
			t.Errorf("%s: same identity %t, want %t", c.name, same, c.same)
		}
	}
	sameID := func(name string, got []byte, want event.ID) {
		t.Helper()
		if string(got) != string(want[:]) {
			t.Errorf("%s: %x, want %s", name, got, want)
		}
	}
	sameID("record", decode(t, Authorization, baseAuthorization).GetId(), RecordID(Authorization, "acq-1", "a-1"))
	sameID("line", decode(t, Settlement, baseLine).GetId(), LineID("acq-1", "20200407", "17"))
	sameID("taken back", decode(t, Settlement, baseReturn).GetLine().GetTakesBack(), LineID("acq-1", "20200407", "17"))
	own := edit(baseReturn, "takes_back_batch_id", "")
	sameID("taken back from the own batch", decode(t, Settlement, own).GetLine().GetTakesBack(), LineID("acq-1", "20200408", "17"))
	corrected := edit(baseAuthorization, "operation", `"correction"`, "replaces", `"a-0"`)
	sameID("replaced record", decode(t, Authorization, corrected).GetReplaces(), RecordID(Authorization, "acq-1", "a-0"))
	corrected = edit(baseLine, "operation", `"correction"`, "replaces", `"16"`)
	sameID("replaced line", decode(t, Settlement, corrected).GetReplaces(), LineID("acq-1", "20200407", "16"))
	corrected = edit(corrected, "replaces_batch_id", `"b"`)
	sameID("replaced line of another batch", decode(t, Settlement, corrected).GetReplaces(), LineID("acq-1", "b", "16"))
	if a, c := RecordID(Authorization, "a", "1"), RecordID(Capture, "a", "1"); a == c {
		t.Error("two feeds share an identity")
	}
}

func TestCard(t *testing.T) {
	const pan = "6222021234567890123"
	record := edit(baseAuthorization, "card_number", quoted(pan))
	card := decode(t, Authorization, record).GetCard()
	mac := hmac.New(sha256.New, testKey.Secret)
	mac.Write([]byte(pan))
	if card.GetBin() != "622202" || card.GetLast4() != "0123" || card.GetKeyId() != "k1" || !hmac.Equal(card.GetToken(), mac.Sum(nil)) {
		t.Errorf("card %v", card)
	}
	// A key that is too weak makes no token, but the record is read.
	weak, err := NewDecoder(Authorization, TokenKey{ID: "k", Secret: []byte("short")}).Decode([]byte(record))
	if err != nil || weak.GetCard().GetBin() != "622202" || weak.GetCard().GetToken() != nil || weak.GetCard().GetKeyId() != "" {
		t.Errorf("weak key: %v, %v", weak.GetCard(), err)
	}
	for _, key := range []TokenKey{{}, {ID: "k"}, {Secret: testKey.Secret}} {
		if !errors.Is(key.Validate(), ErrWeakKey) {
			t.Errorf("key %q was accepted", key.ID)
		}
	}
	// The decoder keeps nothing of it for the next record.
	d := NewDecoder(Authorization, testKey)
	for _, r := range []string{record, edit(record, "amount_minor", "-1"), baseAuthorization} {
		_, _ = d.Decode([]byte(r))
		if d.cardSize != 0 || d.card != [maxCardDigits]byte{} || d.raw != nil {
			t.Fatal("the decoder remembers a card number")
		}
	}
	if decode(t, Authorization, baseAuthorization).GetCard() != nil {
		t.Error("a card from nothing")
	}
}

// The hash tells records apart, but not two that differ in the card number only.
func TestRawHash(t *testing.T) {
	hash := func(record string) string {
		return string(decode(t, Authorization, record).GetProvenance().GetRawHash())
	}
	sum := sha256.Sum256([]byte(baseAuthorization))
	if hash(baseAuthorization) != string(sum[:16]) {
		t.Error("without a card it is the bytes' SHA-256")
	}
	one := edit(baseAuthorization, "card_number", `"6222021234567890123"`)
	if hash(one) != hash(edit(one, "card_number", `"6222021234567890124"`)) || hash(one) == hash(edit(one, "amount_minor", "1")) {
		t.Error("the hash depends on the card number, or not on the rest")
	}
}

func unknownFields(l *event.Leftover) map[string]string {
	fields := make(map[string]string)
	for _, f := range l.GetUnknown() {
		fields[f.GetName()] = f.GetValue()
	}
	return fields
}

func TestLeftover(t *testing.T) {
	changes := []string{"stage", `"x"`}
	for i := range 20 {
		changes = append(changes, fmt.Sprintf("u%02d", i), fmt.Sprintf(`"%s"`, strings.Repeat("账", 100)))
	}
	left := decode(t, Authorization, edit(baseAuthorization, changes...)).GetLeftover()
	if left.GetUnknownCount() != 21 || len(left.GetUnknown()) != maxLeftoverFields {
		t.Errorf("%d counted, %d kept", left.GetUnknownCount(), len(left.GetUnknown()))
	}
	for name, value := range unknownFields(left) {
		if len(value) > maxLeftoverValueBytes || name != "stage" && !strings.HasPrefix(value, `"账账`) {
			t.Errorf("%s: %d bytes", name, len(value))
		}
	}
	// A field of the feed without a meaning for the type is left over, too.
	left = decode(t, Settlement, edit(baseLine, "amount_minor", "7", strings.Repeat("n", 200), "true")).GetLeftover()
	if left.GetUnknownCount() != 2 || unknownFields(left)["amount_minor"] != "7" || unknownFields(left)[strings.Repeat("n", 128)] != "true" {
		t.Errorf("left over: %v", left)
	}
	// A long number is not cut into something that looks like a card number.
	left = decode(t, Authorization, edit(baseAuthorization, "u", `"`+strings.Repeat("x", 239)+"4111111111111111000"+`"`)).GetLeftover()
	if got := unknownFields(left)["u"]; got != `"`+strings.Repeat("x", 239) {
		t.Errorf("cut to %q", got)
	}
	if decode(t, Authorization, baseAuthorization).GetLeftover() != nil {
		t.Error("leftovers of nothing")
	}
}

// Events do not share memory with the record, nor with the decoder's next one.
func TestEventsOwnTheirMemory(t *testing.T) {
	d := NewDecoder(Settlement, testKey)
	record := []byte(edit(baseLine, "line_id", "", "x", `"y"`))
	first, err := d.Decode(record)
	if err != nil {
		t.Fatal(err)
	}
	before := proto.Clone(first)
	clear(record)
	if _, err := d.Decode([]byte(baseReturn)); err != nil {
		t.Fatal(err)
	}
	if !proto.Equal(before, first) {
		t.Errorf("became %v", first)
	}
}

func TestFeedNames(t *testing.T) {
	for feed, want := range map[Feed]string{Authorization: "authorization", Capture: "capture", Settlement: "settlement", 0: "unknown feed"} {
		if feed.String() != want {
			t.Errorf("%d is %q, want %q", feed, feed, want)
		}
	}
}

func BenchmarkDecode(b *testing.B) {
	for _, c := range []struct {
		name   string
		feed   Feed
		record string
	}{
		{"authorization", Authorization, edit(baseAuthorization, "card_number", `"6222021234567890123"`, "rrn", `"000123456789"`, "terminal_id", `"T0000001"`)},
		{"capture", Capture, baseCapture},
		{"line", Settlement, baseLine},
		{"line without id", Settlement, edit(baseLine, "line_id", "")},
		{"dead letter", Capture, edit(baseCapture, "amount_minor", "-1")},
	} {
		b.Run(c.name, func(b *testing.B) {
			d := NewDecoder(c.feed, testKey)
			record := []byte(c.record)
			b.SetBytes(int64(len(record)))
			b.ReportAllocs()
			for b.Loop() {
				_, _ = d.Decode(record)
			}
		})
	}
}
