package profile_test

import (
	"testing"

	"settlewatch/pipelines/intake"
	"settlewatch/pipelines/profile"
	"settlewatch/schemas/event"
)

// flatProfile reads a record that needs all that flat records commonly need: plain
// columns, a constant, a part of a column, an instant, an amount in minor units.
const flatProfile = `
profile: flat
version: 1
files:
  - match: "*"
    format: jsonl
    kind: {const: authorization}
    layout: rfc3339
    amounts: {unit: minor}
    ignore: [payment_id, card_token, type]
    fields:
      acquirer: '=split(field("payment_id"), "|")[0]'
      order_id: '=split(field("payment_id"), "|")[1]'
      event_id: event_id
      merchant_id: merchant_id
      terminal_id: terminal_id
      amount: amount_minor
      currency: currency
      response_code: response_code
      business_time: event_time
      mode: {const: dual}
`

const flatRecord = `{"event_id":"e220a8397b1dcdaf","payment_id":"acq1|000000000000","merchant_id":"m1000","terminal_id":"t10000",` +
	`"amount_minor":548217,"currency":"CNY","response_code":"00","card_token":"7a2b1c0d9e8f","event_time":"2026-01-05T00:00:00.120Z","type":"authorization"}`

// BenchmarkKafkaRecord is a raw record's whole way through a profile.
func BenchmarkKafkaRecord(b *testing.B) {
	p, err := profile.Parse([]byte(flatProfile))
	if err != nil {
		b.Fatal(err)
	}
	raw := []byte(flatRecord)
	b.Run("decode", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			if _, err := p.Decode(raw, intake.Authorization); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("lend", func(b *testing.B) {
		d, err := p.NewDecoder(intake.Authorization)
		if err != nil {
			b.Fatal(err)
		}
		var events []*event.Event
		b.ReportAllocs()
		for b.Loop() {
			if events, err = d.Events(raw, events[:0]); err != nil {
				b.Fatal(err)
			}
		}
	})
}
