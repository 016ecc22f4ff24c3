package console

import (
	"errors"
	"strings"
	"testing"

	"settlewatch/pipelines/profile"
	"settlewatch/pipelines/sim"
	"settlewatch/pipelines/stage"
	"settlewatch/schemas/deadletter"
	"settlewatch/schemas/topic"
)

const badCapture = `{"type":"capture","event_id":"1","acquirer":"a","merchant_id":"m","order_id":"o","capture_id":"c","amount_minor":100,"business_time":"2026-01-02T03:04:05Z"}`

func TestRepairAndAppend(t *testing.T) {
	log := sim.NewLog()
	if err := log.CreateTopic(topic.RawCapture.Name, 1); err != nil {
		t.Fatal(err)
	}
	original := stage.Record{Key: []byte("k"), Value: []byte(badCapture), Headers: []stage.Header{{Key: "h", Value: []byte("v")}}}
	if err := log.Append(t.Context(), stage.Outgoing{Topic: topic.RawCapture.Name, Partition: 0, Records: []stage.Record{original}}); err != nil {
		t.Fatal(err)
	}
	letter := &deadletter.Letter{Source: deadletter.Source{Topic: topic.RawCapture.Name}, Profile: "documented@1", Reason: "x"}
	for name, c := range map[string]struct {
		edit   Edit
		letter deadletter.Letter
		want   string
	}{
		"as it is":        {Edit{}, *letter, "missing_field"},
		"wrong currency":  {Edit{Set: map[string]string{"currency": "XXX"}}, *letter, "unknown_currency"},
		"nothing there":   {Edit{Unset: []string{"nothing"}}, *letter, `no field "nothing"`},
		"empty":           {Edit{Replace: []byte{}}, *letter, "empty"},
		"another profile": {Edit{}, deadletter.Letter{Source: letter.Source, Profile: "vendor@2"}, "profile vendor@2"},
		"gone":            {Edit{}, deadletter.Letter{Source: deadletter.Source{Topic: topic.RawCapture.Name, Offset: 9}, Profile: "documented@1"}, "is gone"},
		"no raw topic":    {Edit{}, deadletter.Letter{Source: deadletter.Source{Topic: topic.Payments.Name}, Profile: "rows@1"}, "no record of a raw topic"},
	} {
		if _, err := Repair(t.Context(), log, &c.letter, c.edit, profile.Documented()); !errors.Is(err, ErrNotRetried) || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v, want %q", name, err, c.want)
		}
	}
	edit, err := ParseEdit([]string{"currency=CNY", "order_id=007", "amount_minor=250"}, []string{"capture_id"})
	if err != nil {
		t.Fatal(err)
	}
	r, err := Repair(t.Context(), log, letter, edit, profile.Documented())
	if err != nil {
		t.Fatal(err)
	}
	if err := r.Append(t.Context(), log, 4711); err != nil {
		t.Fatal(err)
	}
	got, there, err := readOne(t.Context(), log, topic.RawCapture.Name, 0, 1)
	if err != nil || !there {
		t.Fatalf("there %t, %v", there, err)
	}
	want := `{"acquirer":"a","amount_minor":250,"business_time":"2026-01-02T03:04:05Z","currency":"CNY","event_id":"1","merchant_id":"m","order_id":"007","type":"capture"}`
	if string(got.Value) != want || string(got.Key) != "k" || got.TimeMs != 4711 || len(got.Headers) != 2 ||
		got.Headers[0].Key != RetryHeader || string(got.Headers[0].Value) != "raw.capture.v1/0/0" || got.Headers[1].Key != "h" {
		t.Errorf("appended %s with key %q at %d, headers %q", got.Value, got.Key, got.TimeMs, got.Headers)
	}
}

// A record of a vendor is held to the vendor's profile; the raw bytes are what is
// sent again, never the dead letter's masked ones.
func TestRepairByProfile(t *testing.T) {
	by, err := profile.Parse([]byte(`profile: vendor
version: 2
files:
  - match: "*"
    format: csv
    csv: {header: [id, order, amount, card, state], delimiter: ";"}
    where: field("state") != "void"
    zone: UTC
    layout: "2006-01-02"
    kind: capture
    fields: {acquirer: {const: a}, event_id: id, order_id: order, merchant_id: {const: m}, currency: {const: CNY}, amount: amount, card_number: card, business_time: {const: "2025-09-22"}}
`))
	if err != nil {
		t.Fatal(err)
	}
	log := sim.NewLog()
	if err := log.CreateTopic(topic.RawCapture.Name, 1); err != nil {
		t.Fatal(err)
	}
	const bad, good = "7;O1;12,5;4111111111111111;ok", "7;O1;12.50;4111111111111111;ok"
	if err := log.Append(t.Context(), stage.Outgoing{Topic: topic.RawCapture.Name, Records: []stage.Record{{Value: []byte(bad)}}}); err != nil {
		t.Fatal(err)
	}
	letter := &deadletter.Letter{Source: deadletter.Source{Topic: topic.RawCapture.Name}, Profile: "vendor@1"}
	for name, c := range map[string]struct {
		edit Edit
		by   *profile.Profile
		want string
	}{
		"another profile": {Edit{}, profile.Documented(), "was read by profile vendor@1, and this is documented@1"},
		"as it is":        {Edit{}, by, "decode amount: bad_text"},
		"a field":         {Edit{Set: map[string]string{"amount": "12.50"}}, by, "give the whole corrected record with --file"},
		"left out":        {Edit{Replace: []byte("7;O1;12.50;;void")}, by, "leaves raw.capture.v1/0/0 out"},
		"masked":          {Edit{Replace: []byte("7;O1;12.50;411111******1111;ok")}, by, "has a masked card number"},
	} {
		if _, err := Repair(t.Context(), log, letter, c.edit, c.by); !errors.Is(err, ErrNotRetried) || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v, want %q", name, err, c.want)
		}
	}
	r, err := Repair(t.Context(), log, letter, Edit{Replace: []byte(good)}, by)
	if err != nil {
		t.Fatal(err)
	}
	if err := r.Append(t.Context(), log, 1); err != nil {
		t.Fatal(err)
	}
	got, there, err := readOne(t.Context(), log, topic.RawCapture.Name, 0, 1)
	if err != nil || !there || string(got.Value) != good || len(r.Events) != 1 {
		t.Errorf("appended %q, %t, %v, %d events", got.Value, there, err, len(r.Events))
	}
}

func TestPlaces(t *testing.T) {
	at := deadletter.Source{Topic: "raw.capture.v1", Partition: 1, Offset: 41}
	if got, err := ParsePlace(PlaceOf(at)); err != nil || got != at {
		t.Errorf("%+v, %v", got, err)
	}
	for _, bad := range []string{"", "raw", "raw/1", "raw/x/1", "raw/1/-1", "raw/1/2/3", "/1/2"} {
		if _, err := ParsePlace(bad); err == nil {
			t.Errorf("%q is taken", bad)
		}
	}
}
