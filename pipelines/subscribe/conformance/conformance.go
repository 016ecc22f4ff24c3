// Package conformance is a test that a downstream service runs against its own
// consumer of the alert topics: repeats, reordered revisions, retractions, and what
// else the contract allows.
//
// What enters is a consumer; what leaves is a test per rule of the contract that fails
// where the consumer breaks it. Guaranteed: every record is one that Settlewatch may
// publish, but for those of the last case, which it never may. No Kafka is needed. For
// services in another language the same cases are lines of JSON, which `settlewatch
// subscriber-check` plays to a program.
package conformance

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"testing"

	"settlewatch/schemas/alert"
)

// Record is one record of an alert topic.
type Record struct {
	Topic   string            `json:"topic"`
	Key     string            `json:"key"`
	Headers map[string]string `json:"headers"`
	// Value is the body, as text.
	Value string `json:"value"`
}

// Told is one revision that the service acted on: opened a case, told somebody, closed
// it again.
type Told struct {
	ID       string       `json:"id"`
	Revision uint32       `json:"revision"`
	Status   alert.Status `json:"status"`
	// AmountMinor as the service understood it.
	AmountMinor int64 `json:"amount_minor"`
}

// Consumer is the service under test.
type Consumer interface {
	// Take handles a record and returns what it acted on: the record's revision where
	// it is news, else nothing. An error is a record that must not be trusted.
	Take(ctx context.Context, r Record) ([]Told, error)
	// Close ends it as a kill would: what was not stored is lost.
	Close() error
}

// Case is one rule of the contract.
type Case struct {
	Name string `json:"name"`
	// Lives of the service: it is ended and started again between them, with what it
	// stored. Records that were handled may come again.
	Lives [][]Record `json:"lives"`
	// Want is all that is to be acted on, in this order.
	Want []Told `json:"want"`
	// Refuse: the last record must not be trusted, and the service must say so.
	Refuse bool `json:"refuse,omitempty"`
}

// Run tests a consumer. open starts it with the storage in dir, which is empty the
// first time in each case.
func Run(t *testing.T, open func(t *testing.T, dir string) Consumer) {
	t.Helper()
	for _, c := range Cases() {
		t.Run(c.Name, func(t *testing.T) {
			if err := Play(t.Context(), c, t.TempDir(), func(dir string) (Consumer, error) { return open(t, dir), nil }); err != nil {
				t.Error(err)
			}
		})
	}
}

// Play plays one case. Its error says what the consumer did wrong.
func Play(ctx context.Context, c Case, dir string, open func(dir string) (Consumer, error)) error {
	var told []Told
	for i, life := range c.Lives {
		got, err := live(ctx, life, dir, open)
		told = append(told, got...)
		last := i == len(c.Lives)-1
		switch {
		case err != nil && !(c.Refuse && last):
			return fmt.Errorf("life %d: %w", i+1, err)
		case err == nil && c.Refuse && last:
			return fmt.Errorf("it took two different bodies of one revision, and said nothing")
		}
	}
	return compare(told, c.Want)
}

func live(ctx context.Context, records []Record, dir string, open func(dir string) (Consumer, error)) (told []Told, err error) {
	consumer, err := open(dir)
	if err != nil {
		return nil, fmt.Errorf("start: %w", err)
	}
	defer func() {
		if closed := consumer.Close(); err == nil && closed != nil {
			err = fmt.Errorf("end: %w", closed)
		}
	}()
	for i, r := range records {
		got, err := consumer.Take(ctx, r)
		told = append(told, got...)
		if err != nil {
			return told, fmt.Errorf("record %d: %w", i+1, err)
		}
	}
	return told, nil
}

// compare names the first thing that was done and should not have been, or the other
// way round.
func compare(got, want []Told) error {
	for i := range max(len(got), len(want)) {
		switch {
		case i >= len(got):
			return fmt.Errorf("it did not act on %s", want[i])
		case i >= len(want) || got[i] != want[i]:
			if slices.Contains(got[:i], got[i]) {
				return fmt.Errorf("it acted twice on %s", got[i])
			}
			if i < len(want) {
				return fmt.Errorf("it acted on %s, want %s", got[i], want[i])
			}
			return fmt.Errorf("it acted on %s, which is no news", got[i])
		}
	}
	return nil
}

func (t Told) String() string {
	return fmt.Sprintf("%s revision %d, %s %d", t.ID, t.Revision, t.Status, t.AmountMinor)
}

// one alert of a payment; changes are made to its body before it is encoded.
func one(n int, revision uint32, status alert.Status, change ...func(map[string]any)) Record {
	a := &alert.Alert{
		ID: fmt.Sprintf("%032x", 0xa1e47*(n+1)), Kind: alert.PaidUnsettled, Revision: revision, Status: status,
		PaymentKey: fmt.Sprintf("acq-east|o|O%d", n), Acquirer: "acq-east", Merchant: "898310158120004", Capture: "sale",
		AmountMinor: 12_550 + int64(n), Currency: "CNY", MomentJudged: fmt.Sprintf("2026-03-%02dT04:00:00.000Z", 2+revision),
		Stage: "paid_out", Rules: alert.Rules{Name: "china-t1", JoinVersion: 1}, Evidence: []alert.Evidence{},
	}
	body, err := a.Encode()
	if err != nil {
		panic(err) // text and numbers
	}
	if len(change) > 0 {
		var fields map[string]any
		if err := json.Unmarshal(body, &fields); err != nil {
			panic(err) // what was just encoded
		}
		fields["amount_minor"] = json.Number(fmt.Sprint(a.AmountMinor))
		for _, c := range change {
			c(fields)
		}
		if body, err = json.Marshal(fields); err != nil {
			panic(err) // likewise
		}
	}
	r := Record{Topic: a.Kind.Topic().Name, Key: a.PaymentKey, Value: string(body), Headers: map[string]string{}}
	for _, h := range a.Headers() {
		r.Headers[h.Key] = h.Value
	}
	return r
}

// told of a record is what acting on it is.
func told(records ...Record) []Told {
	var all []Told
	for _, r := range records {
		var t Told
		if err := json.Unmarshal([]byte(r.Value), &t); err != nil {
			panic(err) // ours
		}
		all = append(all, t)
	}
	return all
}
