package profile

import (
	"bytes"
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"settlewatch/pipelines/intake"
)

// plannedFields are what profiles make of records like flatRecords: the workload's
// three, one with nearly everything that a profile can say, and some that no plan is
// made for, or none that works.
var plannedFields = []string{
	`kind: line
    zone: Asia/Shanghai
    layout: ["2006-01-02 15:04:05", rfc3339]
    amounts: {decimal: ".", sign: drop}
    identifiers: [card_token]
    ignore: [more]
    fields:
      acquirer: {const: acq}
      order_id: {parts: [payment_id, merchant_id], join: "-"}
      batch_id: {column: batch, default: b1}
      line_id: event_id
      file_id: file
      merchant_id: merchant_id
      terminal_id: terminal_id
      payment_date: {column: event_time, optional: true}
      stage: {column: type, map: {authorization: paid_out, capture: cleared}, otherwise: funded}
      gross: amount_minor
      fee: {column: fee, optional: true}
      currency: currency
      card_number: {column: pan, optional: true}
      operator: '=upper(field("response_code"))'
      channel: {column: note, optional: true}
      business_time: event_time
      arrival: event_time
      cycle: {const: D+1}`,
	`kind: line
    layout: rfc3339
    amounts: {unit: minor}
    fields:
      acquirer: '=split(field("payment_id"), "|")[0]'
      order_id: '=split(field("payment_id"), "|")[1]'
      batch_id: {const: b1}
      merchant_id: merchant_id
      stage: {const: paid_out}
      gross: amount_minor
      currency: {const: CNY}
      operator: {column: terminal_id, optional: true}
      channel: {column: response_code, optional: true}
      card_number: {column: pan, optional: true}
      business_time: event_time`,
	`kind: capture
    layout: rfc3339
    zone: UTC
    amounts: {unit: minor}
    fields:
      acquirer: {const: acq}
      event_id: {content: true}
      rrn: event_id
      terminal_id: terminal_id
      payment_date: {const: "2026-01-05T00:00:00Z"}
      merchant_id: merchant_id
      amount: amount_minor
      currency: {const: CNY}
      final: {column: more, optional: true}
      sequence: {column: count, optional: true}
      outcome: {const: accepted}
      business_time: event_time`,
	`kind: capture
    layout: rfc3339
    where: field("currency") != "XXX"
    fields:
      acquirer: {const: acq}
      event_id: event_id
      order_id: payment_id
      merchant_id: merchant_id
      amount: amount_minor
      currency: currency
      business_time: event_time`,
}

// planPieces are members that mutations put into records besides flatPieces.
var planPieces = []string{
	`"file":"f-1"`, `"batch":"b9"`, `"fee":"1.25"`, `"count":7`, `"count":"x"`, `"pan":"6222021234567890123"`, `"pan":"41"`, `"note":"4111111111111111"`,
	`"note":"6222021234567890123"`, `"card_number":"1"`, `"type":"raw"`, `"raw.type":"twice"`, `"note":";4111111111111111=25121011234?"`, `"note":null`,
}

// planProfiles are parsed anew, so that no decoder has been used.
func planProfiles(t testing.TB) map[string]*Profile {
	t.Helper()
	profiles := map[string]*Profile{}
	add := func(name string, text []byte) {
		p, err := Parse(text)
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		profiles[name] = p.WithCardKey(intake.TokenKey{ID: "k", Secret: []byte("0123456789abcdef")})
	}
	paths, err := filepath.Glob("../../tools/bench/profiles/*.yaml")
	if err != nil || len(paths) != 3 {
		t.Fatalf("%d profiles of the workload, %v", len(paths), err)
	}
	for _, path := range paths {
		text, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		add(filepath.Base(path), text)
	}
	add("flat", []byte(flatYAML))
	for i, fields := range plannedFields {
		add(fmt.Sprint(i), []byte("profile: p\nversion: 1\nfiles:\n  - match: \"*\"\n    format: jsonl\n    "+fields+"\n"))
	}
	return profiles
}

// planPair is one profile's rows made by a plan where there is one, and without.
type planPair struct {
	name             string
	planned, without *maker
	flats            [2]flattener
	rows             [2]row
	taken            int // rows that the plan made
}

func newPlanPair(t testing.TB, name string, p *Profile, kafka, lends bool) *planPair {
	t.Helper()
	pair := &planPair{name: name}
	for _, made := range []**maker{&pair.planned, &pair.without} {
		k, err := newMaker(p, p.files[0], "f.jsonl")
		if err != nil {
			t.Fatal(err)
		}
		k.kafka, k.lone = kafka, kafka
		if lends {
			k.lend()
		}
		*made = k
	}
	pair.without.plan = nil
	return pair
}

func (pair *planPair) compare(t testing.TB, text []byte) {
	t.Helper()
	for i := range pair.rows {
		r := &pair.rows[i]
		r.begin(1, text)
		if !pair.flats[i].scan(r, text) {
			r.err = pair.flats[i].json(r, text)
		}
	}
	before := bytes.Clone(text)
	if pair.rows[0].err == nil {
		pair.planned.row, pair.planned.content = &pair.rows[0], ""
		before := maps.Clone(pair.planned.seen)
		if _, ok := pair.planned.planned(&pair.rows[0]); ok {
			pair.taken++
		}
		pair.planned.seen = before
	}
	got, want := pair.planned.records(&pair.rows[0]), pair.without.records(&pair.rows[1])
	if !bytes.Equal(before, text) {
		t.Fatal("the record was changed")
	}
	if len(got) != len(want) {
		t.Fatalf("%s: %d records, without a plan %d\n%s", pair.name, len(got), len(want), text)
	}
	for i := range got {
		if got[i].Feed != want[i].Feed || got[i].ArrivalMs != want[i].ArrivalMs || !bytes.Equal(got[i].Raw, want[i].Raw) ||
			(got[i].Err == nil) != (want[i].Err == nil) || got[i].Err != nil && *got[i].Err != *want[i].Err ||
			encodeAll(t, got[i].Events) != encodeAll(t, want[i].Events) {
			t.Fatalf("%s: %v\nwithout a plan %v\n%s", pair.name, got[i], want[i], text)
		}
	}
	if !maps.Equal(pair.planned.seen, pair.without.seen) {
		t.Fatalf("%s: equal rows are counted otherwise\n%s", pair.name, text)
	}
}

func planRecord(r *rand.Rand, record string) []byte {
	for range r.IntN(3) {
		record = strings.Replace(record, `,"`, ","+planPieces[r.IntN(len(planPieces))]+`,"`, 1+r.IntN(2))
	}
	if r.IntN(3) == 0 {
		return mutateFlat(r, record)
	}
	return []byte(record)
}

// A row that a plan makes is, byte for byte, the row that is made without, whatever
// came before; and a row that is refused is refused for the same reason.
func TestPlan(t *testing.T) {
	for name, p := range planProfiles(t) {
		for _, kafka := range []bool{false, true} {
			for _, lends := range []bool{false, true} {
				pair := newPlanPair(t, fmt.Sprintf("profile %s, Kafka %t, lent %t", name, kafka, lends), p, kafka, lends)
				for seed := range uint64(800) {
					r := rand.New(rand.NewPCG(seed, 10))
					text := planRecord(r, flatRecords[r.IntN(6)])
					for range 3 { // the same shape again, and other values
						pair.compare(t, bytes.Clone(text))
						text = bytes.Replace(text, []byte("acq1|"), []byte(planValues[r.IntN(len(planValues))]), 1)
					}
				}
				// Conditions, kinds by row and equal rows are for the maker.
				if planless := name == "3" || name == "flat" || name == "1" && !kafka; (pair.taken > 60) == planless {
					t.Errorf("%s: %d rows by a plan", pair.name, pair.taken)
				}
			}
		}
	}
}

// planValues stand where the payment's id begins.
var planValues = []string{"acq2|", "acq1||", "4111111111111111|", "acq1|41111111", "", "ä|", `a\"|`, strings.Repeat("n", 130) + "|", "a b|", "6222021234567890123|"}

// FuzzPlan: with a plan and without, any bytes give the same records.
func FuzzPlan(f *testing.F) {
	for _, record := range flatRecords {
		f.Add([]byte(record))
	}
	for _, member := range planPieces {
		f.Add([]byte(strings.Replace(flatRecords[0], `,"`, ","+member+`,"`, 1)))
	}
	var pairs []*planPair
	for name, p := range planProfiles(f) {
		pairs = append(pairs, newPlanPair(f, name, p, true, true))
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		for _, pair := range pairs {
			for range 3 {
				pair.compare(t, text)
			}
		}
	})
}

// The workload's records are all made by a plan but for the first.
func TestPlanTakesTheWorkload(t *testing.T) {
	for name, p := range planProfiles(t) {
		if !strings.HasSuffix(name, ".yaml") {
			continue
		}
		pair := newPlanPair(t, name, p, true, true)
		for range 5 {
			pair.compare(t, []byte(flatRecords[0]))
		}
		if pair.taken != 4 {
			t.Errorf("%s: %d of 5 rows by a plan", pair.name, pair.taken)
		}
	}
}

// A plan is for the rows of one file: those of the next have shapes of their own, also
// where a decoder reads both.
func TestPlanIsForOneFile(t *testing.T) {
	p, err := Parse([]byte(`profile: p
version: 1
files:
  - match: "*"
    format: json
    records: rows
    kind: capture
    layout: rfc3339
    amounts: {unit: minor}
    fields: {acquirer: /bank, order_id: o, event_id: e, merchant_id: m, currency: {const: CNY}, amount: a, business_time: t}
`))
	if err != nil {
		t.Fatal(err)
	}
	d, err := p.NewDecoder(intake.Capture)
	if err != nil {
		t.Fatal(err)
	}
	for _, row := range []string{
		`{"o":"o1","e":"e1","m":"m1","a":1,"t":"2026-01-05T00:00:00Z"}`,
		`{"m":"m1","o":"o1","e":"e1","a":1,"t":"2026-01-05T00:00:00Z"}`,
	} {
		events, err := d.Events([]byte(`{"bank":"b","rows":[`+row+","+row+","+row+`]}`), nil)
		if err != nil || len(events) != 3 {
			t.Fatalf("%d events, %v", len(events), err)
		}
		for _, e := range events {
			if e.PaymentKey != "b|o|o1" || e.Parties.Merchant != "m1" {
				t.Errorf("%v of %s", e, row)
			}
		}
	}
}
