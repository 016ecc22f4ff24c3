package profile_test

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"google.golang.org/protobuf/encoding/protojson"

	"settlewatch/pipelines/intake"
	"settlewatch/pipelines/profile"
	"settlewatch/schemas/event"
)

const good = `profile: p
version: 1
files:
  - match: "*.csv"
    format: csv
    zone: Asia/Shanghai
    layout: "2006-01-02 15:04:05"
    kind: capture
    fields: {acquirer: {const: a}, event_id: id, order_id: o, merchant_id: m, business_time: t, currency: c, amount: g}
`

// Every mistake is reported with its line, and a good profile has none.
func TestMistakes(t *testing.T) {
	if _, err := profile.Parse([]byte(good)); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct{ old, with, want string }{
		{"profile: p\n", "", "profile: missing"},
		{"profile: p", "profile: a/b", "line 1: profile: want 1 to 64"},
		{"profile: p", "profile: documented", "line 1: profile: want 1 to 64"},
		{"version: 1\n", "", "version: missing"},
		{"version: 1", "version: x", "line 2: version: want a whole number"},
		{"version: 1", "version: 1\nversion: 2", "line 3: version: this key is already on line 2"},
		{"version: 1", "versio: 1", "line 2: versio: this key is not known"},
		{"    format: csv\n", "", "format: missing"},
		{"format: csv", "format: xls", "line 5: files[0].format: want one of"},
		{"format: csv", "format: xml", "records: missing"},
		{"format: csv", "format: jsonl\n    records: a", "line 6: files[0].records: in jsonl"},
		{"format: csv", "format: json\n    records: a..b", "a part of the path is empty"},
		{"format: csv", "format: json\n    csv: {}", "line 6: files[0].csv: the format is json"},
		{"format: csv", "format: csv\n    encoding: big5", "line 6: files[0].encoding: want one of"},
		{"format: csv", "format: csv\n    csv: {delimiter: \"123456789\"}", "csv.delimiter"},
		{"format: csv", "format: csv\n    csv: {quote: xx}", "csv.quote"},
		{"format: csv", "format: csv\n    csv: {quote: ','}", "delimiter and quote are the same"},
		{"format: csv", "format: csv\n    csv: {header: [a, a]}", "named twice"},
		{"format: csv", "format: csv\n    csv: {header: 0}", "csv.header"},
		{"format: csv", "format: csv\n    csv: {trim: maybe}", "want true or false"},
		{"format: csv", "format: csv\n    csv: {x: 1}", "csv.x: this key is not known"},
		{"format: csv", "format: csv\n    csv: [1]", "want keys and values"},
		{`match: "*.csv"`, `match: "a/[b"`, "match: want a pattern"},
		{"  - match: \"*.csv\"\n    format", "  - format", "match: missing"},
		{"zone: Asia/Shanghai", "zone: Mars/Base", "line 6: files[0].zone: unknown time zone"},
		{"    zone: Asia/Shanghai\n", "", "business_time: missing: the zone"},
		{"    layout: \"2006-01-02 15:04:05\"\n", "", "business_time: missing: the layout"},
		{`"2006-01-02 15:04:05"`, `"yyyy-mm-dd"`, "line 7: files[0].layout: no layout"},
		{`"2006-01-02 15:04:05"`, `"15:04"`, "no year"},
		{`"2006-01-02 15:04:05"`, `"2006-01-02 15:04 MST"`, "ambiguous"},
		{"kind: capture", "kind: captur", "line 8: files[0].kind: want one of"},
		{"    kind: capture\n", "", "kind: missing"},
		{"kind: capture", "kind: {column: x, map: {1: captur}}", "\"captur\" is none of"},
		{"kind: capture", "kind: capture\n    events: []", "each of the events has a kind"},
		{"kind: capture", "kind: line", "fields.batch_id: missing"},
		{"event_id: id, ", "", "fields.event_id: missing"},
		{"acquirer: {const: a}, ", "", "fields.acquirer: missing"},
		{"order_id: o, ", "", "named by order_id, or by rrn"},
		{"currency: c, ", "", "fields.currency: missing"},
		{"amount: g", "amount_minor: g", "amounts have no _minor"},
		{"amount: g", "type: g", "the record's type is its kind"},
		{"amount: g", "amount: {column: g, unit: cents}", "fields.amount.unit: want one of"},
		{"amount: g", "amount: {column: g, decimal: ',', group: ','}", "same character"},
		{"amount: g", "amount: {column: g, layout: x}", "only a date or a time"},
		{"order_id: o", "order_id: {column: o, unit: minor}", "only an amount"},
		{"order_id: o", "order_id: {column: o, const: x}", "already comes from column"},
		{"order_id: o", "order_id: {default: x}", "want one of"},
		{"order_id: o", "order_id: {column: o, colour: x}", "colour: this key is not known"},
		{"order_id: o", "order_id: {content: no}", "want true"},
		{"order_id: o", "order_id: {file_name: '('}", "no regular expression"},
		{"order_id: o", "order_id: []", "order_id: want a value"},
		{"order_id: o", "order_id: '=field(1)'", "expression:"},
		{"order_id: o", "order_id: '=1 + 1'", "expression: expected string"},
		{"order_id: o", "order_id: '=now()'", "expression: unknown name now"},
		{"order_id: o", "order_id: '=field(file)'", "wants the name in quotes"},
		{"order_id: o", "order_id: '=let x = file; x + x'", "variables (let)"},
		{"order_id: o", "order_id: '=field(\"a\"'", "expression:"},
		{"kind: capture", "kind: capture\n    where: field(\"x\")", "line 9: files[0].where: expression: expected bool"},
		{"amount: g", "amount: g, cycle: {const: T}", "fields.cycle:"},
		{"amount: g", "amount: g, status: {const: done}", "\"done\" is none of"},
		{"amount: g", "amount: g, arrival: {at: \"25:00\"}", "want a time of day"},
		{"amount: g", "amount: g, arrival: {at: \"09:30\"}", "file_date: missing: arrival is on the file's date"},
		{"amount: g", "amount: g, arrival: {column: x, days: 9999}", "days: want a whole number"},
		{"amount: g", "amount: g, hold_until: {const: x}", "the constant is not in the layout"},
		{"amount: g", "amount: g, payment_date: {column: x, layout: rfc3339, zone: UTC}, settlement_date: {column: x, layout: rfc3339, zone: X}", "unknown time zone"},
		{"files:", "files: &f\n  - *f\nx:", "mistake"},
	} {
		text := strings.Replace(good, c.old, c.with, 1)
		if text == good {
			t.Fatalf("%q is not in the profile", c.old)
		}
		_, err := profile.Parse([]byte(text))
		if err == nil {
			t.Errorf("%s: no error", c.with)
			continue
		}
		if c.want != "mistake" && !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: got %q, want %q", c.with, err, c.want)
		}
		var m *profile.Mistake
		if c.want != "mistake" && !errors.As(err, &m) {
			t.Errorf("%s: %T", c.with, err)
		}
	}
	for _, text := range []string{"", "a: [", "x", strings.Repeat("#", 300<<10), good + "---\n" + good} {
		if _, err := profile.Parse([]byte(text)); err == nil {
			t.Errorf("%.20q: no error", text)
		}
	}
}

func TestAllMistakesAtOnce(t *testing.T) {
	_, err := profile.Parse([]byte("profile: p\nversion: 0\ndefaults: {zone: X, colour: red}\nfiles:\n  - {match: a, format: csv, kind: x}\n  - {match: b, format: y}\n"))
	for _, want := range []string{"line 2: version", "line 3: defaults.colour", "line 3: defaults.zone", "line 5: files[0].kind", "line 6: files[1].format", "line 6: files[1].kind: missing"} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q is not in:\n%v", want, err)
		}
	}
	if n := strings.Count(err.Error(), "defaults.zone"); n != 1 {
		t.Errorf("the zone is reported %d times", n)
	}
}

// One Kafka record of each format.
func TestDecode(t *testing.T) {
	fields := `
    zone: UTC
    layout: "2006-01-02"
    kind: line
    fields: {acquirer: {const: a}, order_id: o, batch_id: {const: b}, currency: {const: CNY}, gross: g, stage: {const: cleared}, arrival: x}
`
	for _, c := range []struct{ keys, text, want string }{
		{"format: json", `{"o":"1","g":"2"}`, ""},
		{"format: jsonl", `{"o":"1","g":"2"}`, ""},
		{"format: json", `{"o":"1"`, "ends too early"},
		{"format: json", "", "empty"},
		{"format: json", "\xff", "encoding"},
		{"format: json", strings.Repeat(" ", intake.MaxBytes+1), "too_large"},
		{"format: json\n    encoding: gbk", "{\"o\":\"1\",\"g\":\"2\",\"n\":\"\xd6\xd0\"}", ""},
		{"format: json\n    encoding: utf-16", "\xEF\xBB\xBF{}", "encoding"},
		{"format: xml\n    records: /R/L", "<L><o>1</o><g>2</g></L>", ""},
		{"format: xml\n    records: /R/L", "<L><o>1</o><g>2</g></L><L></L>", "more than one record"},
		{"format: xml\n    records: /R/L", "<M></M>", "not a record"},
		{"format: xml\n    records: /R/L", "<L>", "not a record"},
		{"format: csv\n    csv: {header: [o, g, x]}", "1,2,", ""},
		{"format: csv\n    csv: {header: [o, g, x]}", "1,2", "values"},
		{"format: csv", "o,g,x\n1,2,\n", ""},
		{"format: csv", "o,x\n1,2\n", "missing_field"},
	} {
		p, err := profile.Parse([]byte("profile: p\nversion: 3\nfiles:\n  - match: \"*\"\n    " + c.keys + fields))
		if err != nil {
			t.Fatal(err)
		}
		for range 2 { // the second time with a decoder that was used
			events, err := p.Decode([]byte(c.text), 0)
			switch {
			case c.want == "" && (err != nil || len(events) != 1 || events[0].GetAmounts().GetGrossMinor() != 200 || events[0].GetProvenance().GetProfileVersion() != 3):
				t.Errorf("%s %q: %v, %v", c.keys, c.text, events, err)
			case c.want != "":
				var decode *intake.DecodeError
				if !errors.As(err, &decode) || !strings.Contains(err.Error(), c.want) {
					t.Errorf("%s %.40q: got %v, want %q", c.keys, c.text, err, c.want)
				}
			}
		}
	}
}

// The built-in profile gives what intake gives.
func TestDocumentedIsIntake(t *testing.T) {
	const capture = `{"type":"capture","event_id":"e1","acquirer":"acq","order_id":"O1","merchant_id":"m","business_time":"2025-09-22T17:00:00+08:00","amount_minor":100,"currency":"CNY","card_number":"4111111111111111"}`
	want, err := intake.NewDecoder(intake.Capture, cardKey).Decode([]byte(capture))
	if err != nil {
		t.Fatal(err)
	}
	p := profile.Documented().WithCardKey(cardKey)
	check := func(events []*event.Event) {
		t.Helper()
		if len(events) != 1 || protojson.Format(events[0]) != protojson.Format(want) {
			t.Errorf("got %v, want %v", events, want)
		}
	}
	events, err := p.Decode([]byte(capture), 0)
	if err != nil {
		t.Fatal(err)
	}
	check(events)
	for _, name := range []string{"any.jsonl", "raw.capture.v1.jsonl"} {
		for r, err := range p.Read(name, strings.NewReader(`{"arrival":"2025-09-22T09:30:00.123Z","record":`+capture+`}`)) {
			if err != nil || r.ArrivalMs != 1758533400123 || r.Feed != intake.Capture {
				t.Fatal(r, err)
			}
			check(r.Events)
		}
	}
	for r, err := range p.Read("raw.settlement.v1.jsonl", strings.NewReader(`{"arrival":"2025-09-22T09:30:00.123Z","record":`+capture+`}`)) {
		if err != nil || r.Err == nil || r.Err.Reason != intake.ReasonUnknownType || strings.Contains(string(r.Raw), "4111111111111111") {
			t.Error(r.Err, string(r.Raw))
		}
	}
	for _, text := range []string{"[]", "{}", `{"arrival":"x","record":{}}`, `{"arrival":"2025-09-22T09:30:00Z"}`, `{"record":{}}`, `{"arrival":1}`, `{"record":{}} x`, `{"record":`, `{"x":1}`, `{"arrival":"2025-09-22T09:30:00Z","record":7}`} {
		for r, err := range p.Read("x", strings.NewReader(text)) {
			if err != nil || r.Err == nil {
				t.Errorf("%s: %v, %v", text, r, err)
			}
		}
	}
	if _, err := p.Decode([]byte(`{"type":7}`), 0); err == nil {
		t.Error("no error")
	}
}

func TestCheck(t *testing.T) {
	text, err := os.ReadFile(filepath.Join("testdata", "lotus_settle_20250924.csv"))
	if err != nil {
		t.Fatal(err)
	}
	c := load(t, "lotus-bank.yaml").Check("lotus_settle_20250924.csv", strings.NewReader(string(text)), 1, 1)
	if c.Rows != 6 || c.Events != 3 || c.Refused != 2 || c.LeftOut != 1 || len(c.First) != 1 || len(c.Mistakes) != 1 || c.Clean() || c.File != nil || len(c.Unseen) != 0 {
		t.Errorf("%+v", c)
	}
	p := smallProfile(t, "o", "g", "format: jsonl")
	if c := p.Check("f", strings.NewReader(`{"o":1,"gg":2}`), 1, 1); len(c.Unseen) != 1 || c.Unseen[0].Name != "g" || c.Unseen[0].Line != 9 {
		t.Errorf("%+v", c.Unseen)
	}
	if c := p.Check("f", strings.NewReader(""), 1, 1); c.File == nil || !errors.Is(c.File, profile.ErrEmptyFile) {
		t.Errorf("%+v", c.File)
	}
	if c := p.Check("f", strings.NewReader(`{"o":1,"g":2}`), 1, 1); !c.Clean() {
		t.Errorf("%+v", c)
	}
}
