package profile_test

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"google.golang.org/protobuf/encoding/protojson"

	"settlewatch/pipelines/intake"
	"settlewatch/pipelines/profile"
)

// vendors are the profiles of deploy/, each with a file of its vendor.
var vendors = []struct {
	profile, file string
	feed          intake.Feed
}{
	{"lotus-bank.yaml", "lotus_settle_20250924.csv", intake.Settlement},
	{"harbor-psp.yaml", "harbor-2025-09-23.json", intake.Capture},
	{"meridian.yaml", "batch77.advice.xml", intake.Settlement},
}

// A file that comes as one Kafka record gives the events that it gives as a file.
func TestDecodeFile(t *testing.T) {
	for _, v := range vendors {
		text, err := os.ReadFile(filepath.Join("testdata", v.file))
		if err != nil {
			t.Fatal(err)
		}
		p := load(t, v.profile).WithCardKey(cardKey)
		var want []string
		var refused *intake.DecodeError
		for r, err := range p.Read(v.file, strings.NewReader(string(text))) {
			if err != nil {
				t.Fatal(err)
			}
			for _, e := range r.Events {
				want = append(want, protojson.Format(e))
			}
			if refused == nil {
				refused = r.Err
			}
		}
		for range 2 { // the second time with a decoder that was used
			events, err := p.Decode(text, v.feed)
			var got []string
			for _, e := range events {
				got = append(got, protojson.Format(e))
			}
			if len(want) < 2 || !slices.Equal(got, want) {
				t.Errorf("%s: %d events\n%v\nwant %d\n%v", v.file, len(got), got, len(want), want)
			}
			var problem *intake.DecodeError
			if !errors.As(err, &problem) || problem.Path != refused.Path || problem.Reason != refused.Reason ||
				!strings.Contains(problem.Detail, "rows are refused, the others are taken") {
				t.Errorf("%s: %v, want %v", v.file, err, refused)
			}
		}
		if err := p.Serves(v.feed); err != nil {
			t.Errorf("%s does not serve %s: %v", v.profile, v.feed, err)
		}
		// Another feed takes none of it, and that is known before the first record.
		if events, err := p.Decode(text, intake.Authorization); len(events) > 0 || err == nil {
			t.Errorf("%s gives %d authorizations, %v", v.file, len(events), err)
		}
		var mistake *profile.Mistake
		if err := p.Serves(intake.Authorization); !errors.As(err, &mistake) || mistake.Line == 0 || mistake.Path != "kind" {
			t.Errorf("%s serves authorizations: %v", v.profile, err)
		}
	}
	both, err := profile.Parse([]byte(`profile: both
version: 1
defaults: {zone: UTC, layout: "2006-01-02"}
files:
  - {match: l, format: json, kind: line, fields: {acquirer: {const: a}, order_id: o, batch_id: b, currency: {const: CNY}, gross: g, stage: {const: cleared}, arrival: {const: "2025-09-22"}}}
  - {match: c, format: json, kind: capture, fields: {acquirer: {const: a}, order_id: o, event_id: o, merchant_id: m, currency: {const: CNY}, amount: a, business_time: d}}
`))
	if err != nil {
		t.Fatal(err)
	}
	for feed, text := range map[intake.Feed]string{
		intake.Settlement: `{"o":"1","b":"2","g":"3"}`, intake.Capture: `{"o":"1","m":"2","a":"3","d":"2025-09-22"}`,
	} {
		if events, err := both.Decode([]byte(text), feed); err != nil || len(events) != 1 || both.Serves(feed) != nil {
			t.Errorf("the mapping of %s: %d events, %v, %v", feed, len(events), err, both.Serves(feed))
		}
	}
	if err := profile.Documented().Serves(intake.Capture); err != nil {
		t.Error(err)
	}
}

// What ends a file ends the record, and what was good before it stands.
func TestDecodeBrokenFile(t *testing.T) {
	text, err := os.ReadFile(filepath.Join("testdata", "harbor-2025-09-23.json"))
	if err != nil {
		t.Fatal(err)
	}
	events, err := load(t, "harbor-psp.yaml").Decode(text[:len(text)*3/4], 0)
	if len(events) == 0 || err == nil || !strings.Contains(err.Error(), "bad_text: line ") {
		t.Errorf("a file that stops: %d events, %v", len(events), err)
	}
	lotus := load(t, "lotus-bank.yaml")
	for text, want := range map[string]string{
		"a\nb\nc,d\n1,2\n": "missing_field: line 3",
		"\n":               "ends too early",
	} {
		if events, err := lotus.Decode([]byte(text), 0); len(events) > 0 || err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %d events, %v, want %s", text, len(events), err, want)
		}
	}
}

// A row by itself of another feed than the topic's is refused, with a kind that only
// the row says.
func TestDecodeOfAnotherFeed(t *testing.T) {
	p, err := profile.Parse([]byte(`profile: p
version: 1
files:
  - match: "*"
    format: json
    zone: UTC
    layout: "2006-01-02"
    kind: '=field("k")'
    fields: {acquirer: {const: a}, order_id: o, event_id: e, merchant_id: {const: m}, currency: {const: CNY}, amount: g, business_time: d}
`))
	if err != nil {
		t.Fatal(err)
	}
	const record = `{"k":"capture","o":"1","e":"2","g":"3","d":"2025-09-22"}`
	for feed, want := range map[intake.Feed]string{
		0: "", intake.Capture: "", intake.Settlement: "contradiction: a record of the capture feed in the settlement feed",
	} {
		events, err := p.Decode([]byte(record), feed)
		if (err != nil) != (want != "") || err != nil && !strings.Contains(err.Error(), want) || (len(events) == 1) != (want == "") {
			t.Errorf("feed %s: %d events, %v, want %q", feed, len(events), err, want)
		}
	}
	if err := p.Serves(intake.Settlement); err != nil {
		t.Errorf("what only the rows say is not known before: %v", err)
	}
}

// A dead letter's text is readable, and no card number is in it.
func TestMaskIsText(t *testing.T) {
	wide := []byte{0xff, 0xfe}
	for _, c := range []byte(`{"n":"4111111111111111"}`) {
		wide = append(wide, c, 0)
	}
	for encoding, raw := range map[string][]byte{
		"utf-8":    []byte(`{"n":"4111111111111111"}`),
		"utf-16":   wide,
		"utf-16le": wide[2:],
		"gbk":      []byte("{\"n\":\"4111111111111111\"}"),
	} {
		p := smallProfile(t, "o", "g", "format: json\n    encoding: "+encoding)
		if got := string(p.Mask(raw, intake.Capture)); got != `{"n":"411111******1111"}` {
			t.Errorf("%s: %q", encoding, got)
		}
	}
}
