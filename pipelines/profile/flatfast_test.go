package profile

import (
	"bytes"
	"errors"
	"maps"
	"math/rand/v2"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"settlewatch/pipelines/intake"
	"settlewatch/schemas/event"
)

// flatRecords are records as feeds write them, and some that look so.
var flatRecords = []string{
	`{"event_id":"e220a8397b1dcdaf","payment_id":"acq1|000000000000","merchant_id":"m1000","terminal_id":"t10000","amount_minor":548217,"currency":"CNY","response_code":"00","card_token":"7a2b1c0d9e8f","event_time":"2026-01-05T00:00:00.120Z","type":"authorization"}`,
	`{"event_id":"e220a8397b1dcdb0","payment_id":"acq1|000000000001","merchant_id":"m1001","terminal_id":"t10001","amount_minor":"0100","currency":"CNY","response_code":"00","card_token":null,"event_time":"2026-01-05T00:00:00+08:00","type":"authorization"}`,
	`{"payment_id": "acq1|2", "event_id": "x", "merchant_id": "m", "amount_minor": 1.50, "currency": "CNY", "event_time": "2026-01-05T23:59:59.100Z", "more": true, "less": false}`,
	`{"payment_id":"acq1|6","event_id":"w","merchant_id":"m","amount_minor":6,"currency":"CNY","event_time":"2026-01-05T23:59:59.1Z","more":true}`,
	`{"payment_id":"acq1|3|4","event_id":"y","merchant_id":"m","terminal_id":"","amount_minor":-7,"currency":"CNY","event_time":"2026-01-05T23:59:59.000Z","note":"4111 1111 1111 1111"}`,
	`{"payment_id":"acq1","event_id":"z","merchant_id":"m","amount_minor":1e3,"currency":"CNY","event_time":"2026-02-29T00:00:00Z"}`,
	`{"payment_id":"acq1|5","event_id":"n","nested":{"a":[1,null]},"merchant_id":"\u006d","amount_minor":5,"currency":"CNY","event_time":"2026-01-05T00:00:01Z"}`,
	`{"":1,".":2,"a.b":3,"/o":"4","event_id":"e"}`, `{}`, `{"a":{"b":1},"a.b":2}`, `[1]`, `"text"`, `{"a":1,"a":2}`,
}

var flatPieces = []string{
	`"`, `\`, `{`, `}`, `[`, `]`, `,`, `:`, ` `, "\n", "\x00", "\x7f", "é", "\xff", `null`, `true`, `false`, `0`, `00`, `-`, `.`, `1.`, `1.5`, `1e3`,
	`"event_id":"again"`, `"payment_id":"a|b"`, `"":0`, `"more":1`, `"cvv":"123"`, `"card_number":"4111111111111111"`, `4111111111111111`, `|`, `"late":null`,
}

func mutateFlat(r *rand.Rand, record string) []byte {
	text := []byte(record)
	for range r.IntN(4) {
		at := r.IntN(len(text) + 1)
		end := min(len(text), at+r.IntN(5))
		switch r.IntN(5) {
		case 0:
			text = append(text[:at], text[end:]...)
		case 1:
			text = bytes.Join([][]byte{text[:at], text[end:]}, []byte(flatPieces[r.IntN(len(flatPieces))]))
		case 2:
			text = bytes.Replace(text, []byte(`,"`), []byte(","+flatPieces[r.IntN(len(flatPieces))]+`,"`), 1)
		case 3:
			members := bytes.Split(text, []byte(`,"`))
			if len(members) > 3 {
				i, j := 1+r.IntN(len(members)-2), 1+r.IntN(len(members)-2)
				members[i], members[j] = members[j], members[i]
			}
			text = bytes.Join(members, []byte(`,"`))
		case 4:
			if members := bytes.Split(text, []byte(`":`)); len(members) > 2 {
				i := 1 + r.IntN(len(members)-1)
				if _, rest, found := bytes.Cut(members[i], []byte(`,"`)); found {
					members[i] = append([]byte(flatPieces[r.IntN(len(flatPieces))]+`,"`), rest...)
				}
				text = bytes.Join(members, []byte(`":`))
			}
		}
	}
	return text
}

// What scan takes, the tokenizer reads as the same row, whatever came before.
func TestFlatFast(t *testing.T) {
	var fast, slow flattener
	var got, want row
	taken := 0
	for seed := range uint64(30_000) {
		r := rand.New(rand.NewPCG(seed, 7))
		text := []byte(flatRecords[r.IntN(len(flatRecords))])
		if seed%4 > 0 {
			text = mutateFlat(r, string(text))
		}
		got.begin(1, text)
		if !fast.scan(&got, text) {
			got.clear()
			continue
		}
		taken++
		want.begin(1, text)
		if err := slow.json(&want, text); err != nil {
			t.Fatalf("seed %d: taken, but the tokenizer says %v: %s", seed, err, text)
		}
		if !slices.Equal(got.cells, want.cells) || !maps.Equal(got.index, want.index) {
			t.Fatalf("seed %d: cells %q, the tokenizer's %q; index %v, the tokenizer's %v\n%s", seed, got.cells, want.cells, got.index, want.index, text)
		}
		for _, c := range got.cells {
			if quoted := appendText(nil, c.value); string(quoted) != string(quote(nil, c.value)) {
				t.Fatalf("seed %d: %q is not plain", seed, c.value)
			}
		}
	}
	if taken < 5000 {
		t.Errorf("%d records were taken", taken)
	}
	for _, record := range flatRecords[:5] {
		if !fast.scan(&got, []byte(record)) {
			t.Errorf("left to the tokenizer: %s", record)
		}
	}
}

const flatYAML = `
profile: flat
version: 1
files:
  - match: "*"
    format: jsonl
    kind: {column: type, map: {authorization: authorization, reversal: reversal}, default: authorization}
    layout: [rfc3339, "2006-01-02 15:04:05"]
    zone: Asia/Shanghai
    amounts: {unit: minor}
    ignore: [payment_id, card_token]
    fields:
      acquirer: '=split(field("payment_id"), "|")[0]'
      order_id: '=split(field("payment_id"), "|")[1]'
      event_id: event_id
      merchant_id: merchant_id
      terminal_id: terminal_id
      amount: amount_minor
      currency: currency
      response_code: {column: response_code, default: "00"}
      business_time: event_time
      mode: {const: dual}
      operator: {column: operator, default: 'said "none"'}
      channel: {column: more, map: {"true": 'a "b"'}, otherwise: c}
`

// A decoder that has read other records before makes of each what a new one makes,
// though it lends its memory and remembers where columns stood.
func TestDecoderForgetsNothingWrong(t *testing.T) {
	p, err := Parse([]byte(flatYAML))
	if err != nil {
		t.Fatal(err)
	}
	d, err := p.NewDecoder(intake.Authorization)
	if err != nil {
		t.Fatal(err)
	}
	good := 0
	for seed := range uint64(4000) {
		r := rand.New(rand.NewPCG(seed, 8))
		text := mutateFlat(r, flatRecords[r.IntN(len(flatRecords))])
		got, gotErr := d.Events(text, nil)
		fresh, problem := p.newSingle(intake.Authorization)
		if problem != nil {
			t.Fatal(problem)
		}
		want, wantErr := fresh.decode(text, intake.Authorization, nil)
		if text := encodeAll(t, got); text != encodeAll(t, want) || errorText(gotErr) != errorText(wantErr) {
			t.Fatalf("seed %d: %v, %v; a new decoder %v, %v\n%s", seed, got, gotErr, want, wantErr, text)
		}
		good += len(got)
	}
	if good < 400 {
		t.Errorf("%d events", good)
	}
}

func encodeAll(t testing.TB, events []*event.Event) string {
	t.Helper()
	var all []string
	for _, e := range events {
		b, err := e.MarshalVT()
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, string(b))
	}
	return strings.Join(all, "\n")
}

func errorText(err error) string {
	var refusal *intake.DecodeError
	if !errors.As(err, &refusal) {
		return ""
	}
	return refusal.Error()
}

// What is read without the machine, or without a layout, is what they would read.
func TestShortcuts(t *testing.T) {
	v := &value{layouts: []string{layoutRFC3339}, zone: time.UTC, atMs: -1}
	for _, text := range []string{
		"2026-01-05T00:00:00Z", "2026-01-05T00:00:00.000Z", "2026-01-05T10:20:30.120Z", "2026-01-05T10:20:30.100Z", "2026-01-05T10:20:30.007Z",
		"2024-02-29T23:59:59.999Z", "2023-02-29T00:00:00Z", "1999-12-31T23:59:59Z", "2099-12-31T23:59:59.999Z", "2100-01-01T00:00:00Z",
		"2026-01-05T24:00:00Z", "2026-01-05T00:00:60Z", "2026-01-05T00:00:00.00+Z", "2026-1-05T00:00:000Z", "2026-01-05t00:00:00Z", "2026-01-05 00:00:00Z",
	} {
		short, done := v.canonical(nil, text)
		moment, _, ok := v.instant(text)
		if done && (!ok || string(short) != moment.Format("2006-01-02T15:04:05.999Z07:00")) {
			t.Errorf("%q is written as %q, by its layout %v, %t", text, short, moment, ok)
		}
		if ms, done := v.utc(text); done && ms != moment.UnixMilli() {
			t.Errorf("%q is %d, by its layout %d", text, ms, moment.UnixMilli())
		}
		if ok && !done && strings.HasSuffix(text, "Z") {
			t.Errorf("%q takes the long way", text)
		}
	}
	for _, expression := range []string{`split(field("a"), "|")[0]`, `split(field("a"), "|")[2]`, `split(field("a"), "--")[1]`} {
		e := mustCompile(t, expression)
		if e.part == nil {
			t.Errorf("%s takes the machine", expression)
			continue
		}
		for _, text := range []string{"", "x", "|", "a|b|c", "a|b|", "a--b", "--", "a|b--c|d", strings.Repeat("|", 70_000)} {
			r := &row{}
			r.clear()
			r.add("a", text)
			k := &maker{row: r}
			k.environment = newEnvironment(&k.row, plainAmount, "")
			want, err := e.run(&k.machine, k.environment)
			if got, ok := e.part.of(text); ok && (err != nil || got != want) {
				t.Errorf("%s of %q: %q, the machine says %v, %v", expression, text, got, want, err)
			} else if !ok && err == nil {
				t.Errorf("%s of %q takes the machine", expression, text)
			}
		}
	}
	for _, expression := range []string{`split(field("a"), "|")[-1]`, `split(field("a"), "")[0]`, `split(upper(field("a")), "|")[0]`, `field("a")`, `split(field("a"), "|", 2)[0]`} {
		if mustCompile(t, expression).part != nil {
			t.Errorf("%s is taken for a part", expression)
		}
	}
	for _, text := range []string{"0", "007", "548217", "-1", "1.0", " 5", "+5", "999999999999999", "9999999999999999"} {
		f := plainAmount
		f.minor = true
		got, reason, _ := f.minorUnits(text, "CNY")
		f.sign = signFlip // which takes the long way
		want, wantReason, _ := f.minorUnits(text, "CNY")
		if got != -want || reason != wantReason {
			t.Errorf("%q is %d %s, flipped %d %s", text, got, reason, want, wantReason)
		}
	}
}

// A value from outside of the record is not looked for among its cells.
func TestHintKeepsOutside(t *testing.T) {
	r := &row{outer: map[string]string{"/o": "outside"}}
	r.clear()
	r.add("/o", "cell")
	if hint := 0; r.at("/o", &hint) != "outside" {
		t.Error("the cell of that name was taken")
	}
}

func mustCompile(t *testing.T, text string) *expression {
	t.Helper()
	e, err := compile(text, reflect.String)
	if err != nil {
		t.Fatal(text, err)
	}
	return e
}

// A line that is read without unwrapping it is the line that unwrapping reads.
func TestPlainLines(t *testing.T) {
	const record = `{"type":"capture","event_id":"e1","acquirer":"acq","order_id":"O1","merchant_id":"m","business_time":"2025-09-22T17:00:00+08:00","amount_minor":100,"currency":"CNY"}`
	lines := []string{
		`{"arrival":"2025-09-22T09:30:00.123Z","record":` + record + `}`,
		`{"arrival":"2025-09-22T09:30:00.123Z","record":` + strings.Replace(record, "O1", `\u004f2`, 1) + `}`,
		`{"arrival":"2025-09-22T17:30:00+08:00","record":` + record + `}`,
		`{"record":` + record + `,"arrival":"2025-09-22T09:30:00.123Z"}`,
		`{"arrival":"2025-09-22T09:30:00.123Z","record":` + record + `,"record":` + record + `}`,
		`{"arrival":"2025-02-29T09:30:00.123Z","record":` + record + `}`,
		`{"arrival":"2025-09-22T09:30:00.123Z","record":` + record + `}}`,
		`{"arrival":"2025-09-22T09:30:00.123Z","record":{}}`,
		`{"arrival":"2025-09-22T09:30:00.123Z","record":}`,
		`{"arrival":"2025-09-22T09:30:00.123Z","record":` + record + `]`,
	}
	quick, long := newDocumentedMaker(intake.Capture, intake.TokenKey{}), newDocumentedMaker(intake.Capture, intake.TokenKey{})
	quick.lend()
	taken := 0
	for seed := range uint64(10_000) {
		r := rand.New(rand.NewPCG(seed, 9))
		line := []byte(lines[r.IntN(len(lines))])
		if seed >= 200 {
			line = mutateFlat(r, string(line))
		}
		got, ok := quick.plain(line)
		if !ok {
			continue
		}
		taken++
		want := long.unwrapped(&row{raw: line})
		if len(got) != 1 || len(want) != 1 || want[0].Err != nil || got[0].ArrivalMs != want[0].ArrivalMs || got[0].Feed != want[0].Feed ||
			encodeAll(t, got[0].Events) != encodeAll(t, want[0].Events) {
			t.Fatalf("seed %d: %v, unwrapped %v\n%s", seed, got, want, line)
		}
	}
	if taken < 300 {
		t.Errorf("%d lines were taken", taken)
	}
	if _, ok := quick.plain([]byte(lines[0])); !ok {
		t.Error("the ordinary line is unwrapped")
	}
}
