package console

import (
	"context"
	"errors"
	"fmt"
	"math/big"

	"settlewatch/pipelines/join"
	"settlewatch/pipelines/statestore"
	"settlewatch/pipelines/warehouse"
	"settlewatch/schemas/alert"
	"settlewatch/schemas/event"
	"settlewatch/schemas/table"
)

// Asker is a ClickHouse that answers.
type Asker interface {
	Ask(ctx context.Context, query string, parameters map[string]string) (warehouse.Answer, error)
}

// StateReader is one log partition's state in Redis, read from outside.
type StateReader interface {
	ReadBucket(ctx context.Context, index int) (statestore.BucketView, error)
	ReadRingTail(ctx context.Context, from uint64) (statestore.RingTail, error)
}

var (
	_ Asker       = (*warehouse.Warehouse)(nil)
	_ StateReader = (*statestore.Partition)(nil)
)

// Live is what Redis holds of a payment.
type Live struct {
	// Payment is nil where the state does not hold it: it was never seen, or its
	// life has ended.
	Payment *join.Explanation
	Place   join.Place
}

// liveAttempts bounds how often a payment is read again because the ring was
// trimmed while it was read.
const liveAttempts = 5

// ReadLive reads a payment from Redis: its bucket and what was committed since,
// up to one commit.
func ReadLive(ctx context.Context, state StateReader, key event.PaymentKey) (*Live, error) {
	var err error
	for range liveAttempts {
		var live *Live
		if live, err = readLiveOnce(ctx, state, key); !errors.Is(err, statestore.ErrTrimmed) {
			return live, err
		}
	}
	return nil, err
}

func readLiveOnce(ctx context.Context, state StateReader, key event.PaymentKey) (*Live, error) {
	v, err := state.ReadBucket(ctx, join.BucketOf(key))
	if err != nil {
		return nil, err
	}
	if v.Sequence == 0 {
		return &Live{Place: join.Place{FrontierMs: join.Never}}, nil
	}
	tail, err := state.ReadRingTail(ctx, v.RingFirst)
	if err != nil {
		return nil, err
	}
	// What was committed between the two reads belongs to a later meta.
	deltas := tail.Deltas
	if n := v.Sequence - v.RingFirst + 1; n < uint64(len(deltas)) {
		deltas = deltas[:n]
	}
	packed, err := join.Pick(key, v.Value, deltas)
	if errors.Is(err, join.ErrUnknownPayment) {
		place, err := join.Standing(v.Meta, key)
		return &Live{Place: place}, err
	}
	if err != nil {
		return nil, fmt.Errorf("read payment from Redis: %w", err)
	}
	e, err := join.Explain(v.Meta, packed)
	if err != nil {
		return nil, fmt.Errorf("read payment from Redis: %w", err)
	}
	return &Live{Payment: &e, Place: e.Place}, nil
}

// Recorded is what ClickHouse holds of a payment.
type Recorded struct {
	Events []RecordedEvent
	// Lives of the payment, the latest first.
	Lives []RecordedLife
	// Alerts are all revisions, in the order of (moment judged, id, revision),
	// without their evidence.
	Alerts []*alert.Alert
}

// RecordedEvent is one event of the payment.
type RecordedEvent struct {
	Arrival      string `json:"arrival"`
	BusinessTime string `json:"business_time,omitempty"`
	Kind         string `json:"kind"`
	Outcome      string `json:"outcome,omitempty"`
	Operation    string `json:"operation,omitempty"`
	Stage        string `json:"stage,omitempty"`
	AmountMinor  int64  `json:"amount_minor"`
	Currency     string `json:"currency,omitempty"`
	Capture      string `json:"capture,omitempty"`
	EventID      string `json:"event_id"`
	// Source, generation, offset and index are the origin: where the raw record
	// lies. Log is the place in the payment log.
	Source       string `json:"source"`
	Generation   int64  `json:"generation,omitempty"`
	Offset       int64  `json:"offset"`
	Index        int64  `json:"index"`
	LogPartition int64  `json:"log_partition"`
	LogOffset    int64  `json:"log_offset"`
}

// RecordedLife is the latest judgement of one life.
type RecordedLife struct {
	Life         string `json:"life"`
	Version      int64  `json:"version"`
	Judged       string `json:"judged"`
	Status       string `json:"status"`
	Merchant     string `json:"merchant,omitempty"`
	Terminal     string `json:"terminal,omitempty"`
	Channel      string `json:"channel,omitempty"`
	Currency     string `json:"currency,omitempty"`
	CapturedMin  int64  `json:"captured_minor"`
	SettledMin   int64  `json:"settled_minor"`
	OpenMin      int64  `json:"open_minor"`
	AlertedMin   int64  `json:"alerted_minor"`
	ExcludedMin  int64  `json:"excluded_minor"`
	ClearingDate string `json:"clearing_date,omitempty"`
	MoneyDue     string `json:"money_due,omitempty"`
	EvidenceDue  string `json:"evidence_due,omitempty"`
	HeldReason   string `json:"held_reason,omitempty"`
}

// The statements; every one takes {key:String}.
const (
	eventsOfPayment = `SELECT arrival_time, business_time, kind, outcome, operation, stage,
    coalesce(gross_minor, net_minor, approved_minor, transaction_minor, requested_minor, 0) AS amount, currency, capture_id, event_id,
    source, generation, offset, idx, log_partition, log_offset
FROM settlewatch.events_distinct WHERE payment_key = {key:String}
ORDER BY arrival_time, source, generation, offset, idx`

	livesOfPayment = `SELECT life, version, judged_time, status, merchant, terminal, channel, currency,
    captured_minor, settled_minor, open_minor, alerted_minor, excluded_minor, clearing_date, toDateTime64(money_due, 3, 'UTC') AS money_due, evidence_due, held_reason
FROM settlewatch.payments_current WHERE payment_key = {key:String} ORDER BY judged_time DESC, life`

	alertsOfPayment = `SELECT kind, id, revision, status, capture, acquirer, merchant, amount_minor, currency,
    obligation_minor, settled_minor, refunded_minor, moment_judged, cycle, clearing_date, money_due, evidence_due, zone, calendar, arithmetic,
    stage, closing_reason, closing_event_id, days_late, rules, config, join_version, evidence_total
FROM settlewatch.alert_revisions FINAL WHERE payment_key = {key:String} ORDER BY moment_judged, id, revision`

	similarPayments = `SELECT DISTINCT payment_key FROM settlewatch.events
WHERE position(payment_key, {key:String}) > 0 ORDER BY payment_key LIMIT 5`
)

// ReadRecorded reads a payment from ClickHouse.
func ReadRecorded(ctx context.Context, w Asker, key event.PaymentKey) (*Recorded, error) {
	r := new(Recorded)
	ask := func(query string, row func(cells)) error {
		a, err := w.Ask(ctx, query, map[string]string{"key": string(key)})
		if err != nil {
			return err
		}
		for i := range a.Rows {
			row(cells{a.Columns, a.Rows[i]})
		}
		return nil
	}
	err := ask(eventsOfPayment, func(c cells) {
		r.Events = append(r.Events, RecordedEvent{
			Arrival: c.text("arrival_time"), BusinessTime: c.text("business_time"), Kind: c.text("kind"), Outcome: c.text("outcome"),
			Operation: c.text("operation"), Stage: c.text("stage"), AmountMinor: c.number("amount"), Currency: c.text("currency"),
			Capture: c.text("capture_id"), EventID: c.text("event_id"), Source: c.text("source"), Generation: c.number("generation"),
			Offset: c.number("offset"), Index: c.number("idx"), LogPartition: c.number("log_partition"), LogOffset: c.number("log_offset"),
		})
	})
	if err != nil {
		return nil, err
	}
	err = ask(livesOfPayment, func(c cells) {
		r.Lives = append(r.Lives, RecordedLife{
			Life: c.text("life"), Version: c.number("version"), Judged: c.text("judged_time"), Status: c.text("status"),
			Merchant: c.text("merchant"), Terminal: c.text("terminal"), Channel: c.text("channel"), Currency: c.text("currency"),
			CapturedMin: c.number("captured_minor"), SettledMin: c.number("settled_minor"), OpenMin: c.number("open_minor"),
			AlertedMin: c.number("alerted_minor"), ExcludedMin: c.number("excluded_minor"), ClearingDate: c.text("clearing_date"), MoneyDue: c.text("money_due"),
			EvidenceDue: c.text("evidence_due"), HeldReason: c.text("held_reason"),
		})
	})
	if err != nil {
		return nil, err
	}
	err = ask(alertsOfPayment, func(c cells) { r.Alerts = append(r.Alerts, alertOf(c, key)) })
	if err != nil {
		return nil, err
	}
	return r, nil
}

// Similar are a few payment keys that contain a text.
func Similar(ctx context.Context, w Asker, part string) ([]string, error) {
	a, err := w.Ask(ctx, similarPayments, map[string]string{"key": part})
	if err != nil {
		return nil, err
	}
	keys := make([]string, 0, len(a.Rows))
	for i := range a.Rows {
		keys = append(keys, cells{a.Columns, a.Rows[i]}.text("payment_key"))
	}
	return keys, nil
}

func alertOf(c cells, key event.PaymentKey) *alert.Alert {
	a := &alert.Alert{
		ID: c.text("id"), Kind: alert.Kind(c.text("kind")), Revision: uint32(c.number("revision")), Status: alert.Status(c.text("status")),
		PaymentKey: string(key), Capture: c.text("capture"), Acquirer: c.text("acquirer"), Merchant: c.text("merchant"),
		AmountMinor: c.number("amount_minor"), Currency: c.text("currency"), MomentJudged: c.text("moment_judged"), Stage: c.text("stage"),
		Amounts: alert.Amounts{
			ObligationMinor: c.number("obligation_minor"), SettledMinor: c.number("settled_minor"), RefundedMinor: c.number("refunded_minor"),
		},
		Rules:         alert.Rules{Name: c.text("rules"), Config: c.number("config"), JoinVersion: uint32(c.number("join_version"))},
		EvidenceTotal: int(c.number("evidence_total")),
	}
	if due := c.text("money_due"); due != "" {
		a.Due = &alert.Due{
			Cycle: c.text("cycle"), ClearingDate: c.text("clearing_date"), MoneyDue: due, EvidenceDue: c.text("evidence_due"),
			Zone: c.text("zone"), Calendar: c.text("calendar"), Arithmetic: c.text("arithmetic"),
		}
	}
	if reason := c.text("closing_reason"); reason != "" {
		a.Closing = &alert.Closing{Reason: reason, EventID: c.text("closing_event_id"), DaysLate: int(c.number("days_late"))}
	}
	return a
}

// cells of a row by their columns' names.
type cells struct {
	columns []table.ColumnType
	row     []any
}

func (c cells) value(name string) any {
	for i := range c.columns {
		if c.columns[i].Name == name {
			return c.row[i]
		}
	}
	return nil
}

func (c cells) text(name string) string {
	return plainText(c.value(name))
}

func (c cells) number(name string) int64 {
	switch n := c.value(name).(type) {
	case int64:
		return n
	case uint64:
		return int64(n)
	case *big.Int:
		return n.Int64()
	default:
		return 0
	}
}
