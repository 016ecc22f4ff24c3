// Package alert is the contract with everyone who reads the alert topics: the
// JSON body, its CloudEvents headers, ids and revisions. Every field is a
// function of the payment log; none comes from a clock.
package alert

import (
	"encoding/json"
	"fmt"
	"time"

	"settlewatch/schemas/event"
	"settlewatch/schemas/topic"
)

// Version of the encoding. CONFIG names the version it wants; a binary that has
// another one stops instead of publishing other bytes.
const Version = 1

// Kind of an alert; one topic each.
type Kind string

// The kinds.
const (
	PaidUnsettled Kind = "paid_unsettled"
	SettledTwice  Kind = "settled_twice"
)

// Kinds lists all kinds.
var Kinds = []Kind{PaidUnsettled, SettledTwice}

// Topic the kind's alerts are published to.
func (k Kind) Topic() topic.Topic {
	switch k {
	case PaidUnsettled:
		return topic.AlertsPaidUnsettled
	case SettledTwice:
		return topic.AlertsSettledTwice
	default:
		panic(fmt.Sprintf("alert kind %q has no topic", string(k)))
	}
}

// Status of an alert at a revision.
type Status string

// The statuses. A resolved or retracted alert opens again, with the next
// revision, when its condition becomes true again.
const (
	Open      Status = "OPEN"
	Resolved  Status = "RESOLVED"
	Retracted Status = "RETRACTED"
)

// Alert is one revision. A subscriber keeps the highest revision of an id; a
// repeat is byte for byte the same.
type Alert struct {
	ID       string `json:"id"` // 32 hexadecimal digits
	Kind     Kind   `json:"kind"`
	Revision uint32 `json:"revision"` // from 1
	Status   Status `json:"status"`

	PaymentKey string `json:"payment_key"`
	// Capture is the capture's own id, "sale" for a single-message sale; empty
	// for kinds that are about the payment.
	Capture  string `json:"capture,omitempty"`
	Acquirer string `json:"acquirer"`
	Merchant string `json:"merchant"`
	Terminal string `json:"terminal,omitempty"`
	Channel  string `json:"channel,omitempty"`

	// AmountMinor is what is missing or too much, in minor units of Currency
	// (ISO 4217); a closing revision repeats the last open amount.
	AmountMinor int64   `json:"amount_minor"`
	Currency    string  `json:"currency"`
	Amounts     Amounts `json:"amounts"`

	// MomentJudged is the moment of the log at which this revision became
	// certain: RFC 3339, UTC, milliseconds.
	MomentJudged string `json:"moment_judged"`
	Due          *Due   `json:"due,omitempty"`
	// Stage at which a line counts as the merchant's money: cleared, paid_out …
	Stage   string   `json:"stage"`
	Closing *Closing `json:"closing,omitempty"`
	Rules   Rules    `json:"rules"`

	// Evidence in the order of the log's time; EvidenceTotal counts what lies
	// behind the alert when the list is cut at EvidenceLimit.
	Evidence      []Evidence `json:"evidence"`
	EvidenceTotal int        `json:"evidence_total"`
}

// EvidenceLimit bounds the list of evidence in one alert.
const EvidenceLimit = 32

// Amounts behind the alert, minor units: of the capture for paid_unsettled, of
// the payment for settled_twice.
type Amounts struct {
	ObligationMinor int64 `json:"obligation_minor"`
	SettledMinor    int64 `json:"settled_minor"`
	RefundedMinor   int64 `json:"refunded_minor"`
}

// Due shows when the money and when the evidence was due, and why.
type Due struct {
	Cycle        string `json:"cycle"`         // T+1, D+1 …
	ClearingDate string `json:"clearing_date"` // 2006-01-02
	MoneyDue     string `json:"money_due"`     // 2006-01-02
	EvidenceDue  string `json:"evidence_due"`  // RFC 3339, UTC, milliseconds
	Zone         string `json:"zone"`
	Calendar     string `json:"calendar"`
	Arithmetic   string `json:"arithmetic"`
}

// Closing says what ended the alert.
type Closing struct {
	// Reason: settled, reversed, voided, refunded, rejected, adjusted,
	// line_reversed, returned, credited, captured, authorized, corrected,
	// cancelled, configuration.
	Reason  string `json:"reason"`
	EventID string `json:"event_id,omitempty"`
	// DaysLate counts from the money's due date to the local business date of
	// the closing event, at least 0.
	DaysLate int `json:"days_late"`
}

// Rules that were in force.
type Rules struct {
	Name        string `json:"name"`
	Config      int64  `json:"config"` // the CONFIG record's number
	JoinVersion uint32 `json:"join_version"`
}

// Evidence is one event behind the alert and where its raw record lies: in a
// topic, or, where files were reconciled, on a line of a file.
type Evidence struct {
	Kind        string `json:"kind"`
	EventID     string `json:"event_id"`
	AmountMinor int64  `json:"amount_minor"`
	// Topic, partition and offset; absent where File is given.
	Topic     string `json:"topic,omitempty"`
	Partition int32  `json:"partition,omitempty"`
	Offset    int64  `json:"offset,omitempty"`
	// File, and the line on which the record begins, from 1.
	File string `json:"file,omitempty"`
	Line int64  `json:"line,omitempty"`
	// Reference is the record's own, such as its line id; only with File.
	Reference string `json:"reference,omitempty"`
	Index     uint32 `json:"index"`
}

// MarshalJSON writes one of the two places, and all of it: partition 0 and
// offset 0 are places too.
func (e Evidence) MarshalJSON() ([]byte, error) {
	if e.File != "" {
		return json.Marshal(struct {
			Kind        string `json:"kind"`
			EventID     string `json:"event_id"`
			AmountMinor int64  `json:"amount_minor"`
			File        string `json:"file"`
			Line        int64  `json:"line"`
			Reference   string `json:"reference,omitempty"`
			Index       uint32 `json:"index"`
		}{e.Kind, e.EventID, e.AmountMinor, e.File, e.Line, e.Reference, e.Index})
	}
	return json.Marshal(struct {
		Kind        string `json:"kind"`
		EventID     string `json:"event_id"`
		AmountMinor int64  `json:"amount_minor"`
		Topic       string `json:"topic"`
		Partition   int32  `json:"partition"`
		Offset      int64  `json:"offset"`
		Index       uint32 `json:"index"`
	}{e.Kind, e.EventID, e.AmountMinor, e.Topic, e.Partition, e.Offset, e.Index})
}

// ID of the alert of a kind about a payment's life. The part tells two of that
// kind apart: the capture's identity, or nothing.
func ID(kind Kind, key event.PaymentKey, life event.ID, part string) string {
	return event.NewID("alert", string(kind), string(key), string(life[:]), part).String()
}

// Encode is the JSON body: the same alert always gives the same bytes.
func (a *Alert) Encode() ([]byte, error) {
	b, err := json.Marshal(a)
	if err != nil {
		return nil, fmt.Errorf("encode alert %s: %w", a.ID, err)
	}
	return b, nil
}

// Decode reads a body.
func Decode(b []byte) (*Alert, error) {
	a := new(Alert)
	if err := json.Unmarshal(b, a); err != nil {
		return nil, fmt.Errorf("decode alert: %w", err)
	}
	return a, nil
}

// MomentMs is MomentJudged in Unix milliseconds, the timestamp of the alert's
// record; 0 where it is not an instant.
func (a *Alert) MomentMs() int64 {
	at, err := time.Parse(time.RFC3339, a.MomentJudged)
	if err != nil {
		return 0
	}
	return at.UnixMilli()
}

// Header is one record header.
type Header struct{ Key, Value string }

// Headers are the CloudEvents 1.0 attributes in Kafka's binary content mode.
func (a *Alert) Headers() []Header {
	return []Header{
		{"ce_specversion", "1.0"},
		{"ce_id", fmt.Sprintf("%s:%d", a.ID, a.Revision)},
		{"ce_source", "settlewatch/joiner"},
		{"ce_type", "settlewatch.alert." + string(a.Kind) + ".v1"},
		{"ce_subject", a.PaymentKey},
		{"ce_time", a.MomentJudged},
		{"content-type", "application/json"},
	}
}
