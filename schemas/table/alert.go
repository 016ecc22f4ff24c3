package table

import (
	"encoding/json"
	"fmt"
	"math"
	"time"

	"settlewatch/schemas/alert"
)

// alertRow is one revision of an alert, its texts read.
type alertRow struct {
	*alert.Alert
	judgedMs      int64
	due           *alert.Due // never nil
	clearingDate  *int32
	moneyDue      *int32
	evidenceDueMs *int64
	closing       *alert.Closing // never nil
	daysLate      *int32
	evidence      string
}

// decodeAlert reads a record of a kind's topic.
func decodeAlert(kind alert.Kind, value []byte) (alertRow, bool, error) {
	a, err := alert.Decode(value)
	if err != nil {
		return alertRow{}, false, err
	}
	row := alertRow{Alert: a, due: orNew(a.Due), closing: orNew(a.Closing)}
	switch {
	case a.Kind != kind:
		return alertRow{}, false, refuse(AlertRevisions.Name, "kind", "an alert of another kind in this topic")
	case a.ID == "":
		return alertRow{}, false, refuse(AlertRevisions.Name, "id", "missing")
	case a.Revision == 0:
		return alertRow{}, false, refuse(AlertRevisions.Name, "revision", "missing")
	case a.PaymentKey == "":
		return alertRow{}, false, refuse(AlertRevisions.Name, "payment_key", "missing")
	case a.EvidenceTotal < 0 || a.EvidenceTotal > math.MaxUint32:
		return alertRow{}, false, refuse(AlertRevisions.Name, "evidence_total", "out of range")
	}
	if row.judgedMs, err = readInstant("moment_judged", a.MomentJudged); err != nil {
		return alertRow{}, false, err
	}
	if a.Due != nil {
		if err := row.readDue(); err != nil {
			return alertRow{}, false, err
		}
	}
	if a.Closing != nil {
		if a.Closing.DaysLate < 0 || a.Closing.DaysLate > math.MaxInt32 {
			return alertRow{}, false, refuse(AlertRevisions.Name, "days_late", "out of range")
		}
		days := int32(a.Closing.DaysLate)
		row.daysLate = &days
	}
	list := a.Evidence
	if list == nil {
		list = []alert.Evidence{}
	}
	b, err := json.Marshal(list)
	if err != nil {
		return alertRow{}, false, fmt.Errorf("encode evidence: %w", err)
	}
	row.evidence = string(b)
	return row, true, nil
}

// readDue reads the due times; a text that is absent stays absent.
func (r *alertRow) readDue() error {
	var err error
	if r.clearingDate, err = readDate("clearing_date", r.due.ClearingDate); err != nil {
		return err
	}
	if r.moneyDue, err = readDate("money_due", r.due.MoneyDue); err != nil {
		return err
	}
	if r.due.EvidenceDue == "" {
		return nil
	}
	ms, err := readInstant("evidence_due", r.due.EvidenceDue)
	r.evidenceDueMs = &ms
	return err
}

func readInstant(field, value string) (int64, error) {
	t, err := time.Parse(time.RFC3339Nano, value)
	if err != nil {
		return 0, refuse(AlertRevisions.Name, field, "not a time of RFC 3339")
	}
	return t.UnixMilli(), nil
}

func readDate(field, value string) (*int32, error) {
	if value == "" {
		return nil, nil
	}
	t, err := time.Parse(time.DateOnly, value)
	if err != nil {
		return nil, refuse(AlertRevisions.Name, field, "not a date")
	}
	days := int32(t.Unix() / secondsPerDay) // years have four digits: it fits
	if t.Unix()%secondsPerDay < 0 {
		days--
	}
	return &days, nil
}

var alertColumns = []column[alertRow]{
	label("kind", func(r *alertRow) string { return string(r.Kind) }),
	text("payment_key", func(r *alertRow) string { return r.PaymentKey }),
	text("id", func(r *alertRow) string { return r.ID }),
	small("revision", func(r *alertRow) uint32 { return r.Revision }),
	label("status", func(r *alertRow) string { return string(r.Status) }),
	text("capture", func(r *alertRow) string { return r.Capture }),
	label("acquirer", func(r *alertRow) string { return r.Acquirer }),
	text("merchant", func(r *alertRow) string { return r.Merchant }),
	text("terminal", func(r *alertRow) string { return r.Terminal }),
	label("channel", func(r *alertRow) string { return r.Channel }),
	signed("amount_minor", func(r *alertRow) int64 { return r.AmountMinor }),
	label("currency", func(r *alertRow) string { return r.Currency }),
	signed("obligation_minor", func(r *alertRow) int64 { return r.Amounts.ObligationMinor }),
	signed("settled_minor", func(r *alertRow) int64 { return r.Amounts.SettledMinor }),
	signed("refunded_minor", func(r *alertRow) int64 { return r.Amounts.RefundedMinor }),
	instant("moment_judged", func(r *alertRow) int64 { return r.judgedMs }),
	label("cycle", func(r *alertRow) string { return r.due.Cycle }),
	maybeDate("clearing_date", func(r *alertRow) *int32 { return r.clearingDate }),
	maybeDate("money_due", func(r *alertRow) *int32 { return r.moneyDue }),
	maybeInstant("evidence_due", func(r *alertRow) *int64 { return r.evidenceDueMs }),
	label("zone", func(r *alertRow) string { return r.due.Zone }),
	label("calendar", func(r *alertRow) string { return r.due.Calendar }),
	text("arithmetic", func(r *alertRow) string { return r.due.Arithmetic }),
	label("stage", func(r *alertRow) string { return r.Stage }),
	label("closing_reason", func(r *alertRow) string { return r.closing.Reason }),
	text("closing_event_id", func(r *alertRow) string { return r.closing.EventID }),
	absent("days_late", "Int32", func(r *alertRow) *int32 { return r.daysLate }),
	label("rules", func(r *alertRow) string { return r.Rules.Name }),
	signed("config", func(r *alertRow) int64 { return r.Rules.Config }),
	small("join_version", func(r *alertRow) uint32 { return r.Rules.JoinVersion }),
	text("evidence", func(r *alertRow) string { return r.evidence }),
	small("evidence_total", func(r *alertRow) uint32 { return uint32(r.EvidenceTotal) }),
}
