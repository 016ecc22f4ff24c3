package invariant

import (
	"encoding/hex"
	"fmt"
	"strings"

	"settlewatch/pipelines/stage"
	"settlewatch/schemas/alert"
	"settlewatch/schemas/event"
)

// A Row is what is compared of a row of the warehouse and of the record that it
// comes from: what it is, and what it says.
type Row struct{ Key, Content string }

// The questions whose answers RowsOf turns into rows, as EventRows and AlertRows
// make them of Kafka's records. They read what people read: the views.
const (
	EventQuery = `SELECT source, generation, offset, idx, payment_key, event_id, lower(toString(kind)),
		currency, transaction_minor FROM settlewatch.events_distinct`
	AlertQuery = `SELECT id, revision, kind, payment_key, status, amount_minor, currency, evidence_total
		FROM settlewatch.alert_revisions FINAL`

	eventKeyColumns, alertKeyColumns = 4, 2
)

// WarehouseEvents are the rows of EventQuery's answer, WarehouseAlerts those of
// AlertQuery's.
func WarehouseEvents(answer [][]any) []Row { return rowsOf(answer, eventKeyColumns) }

// WarehouseAlerts are the rows of AlertQuery's answer.
func WarehouseAlerts(answer [][]any) []Row { return rowsOf(answer, alertKeyColumns) }

func rowsOf(answer [][]any, keys int) []Row {
	rows := make([]Row, len(answer))
	for i, cells := range answer {
		rows[i] = row(keys, cells...)
	}
	return rows
}

func row(keys int, cells ...any) Row {
	text := make([]string, len(cells))
	for i, c := range cells {
		text[i] = fmt.Sprint(c)
	}
	return Row{strings.Join(text[:keys], " "), strings.Join(text[keys:], " ")}
}

// EventRows are the rows that the partitions' records ask for, each origin once,
// in no order.
func EventRows(log map[int32][]stage.Record) ([]Row, error) {
	var rows []Row
	seen := map[Row]bool{}
	for partition, records := range log {
		for i := range records {
			var r event.LogRecord
			if err := r.UnmarshalVT(records[i].Value); err != nil {
				return nil, fmt.Errorf("decode %d/%d: %w", partition, records[i].Offset, err)
			}
			e := r.GetEvent()
			if e == nil {
				continue
			}
			var minor any
			if a := e.GetAmounts(); a != nil && a.TransactionMinor != nil {
				minor = *a.TransactionMinor
			}
			kind := strings.ToLower(strings.TrimPrefix(e.Kind.String(), "KIND_"))
			o := r.Origin
			x := row(eventKeyColumns, o.GetSource(), o.GetGeneration(), o.GetOffset(), o.GetIndex(),
				e.GetPaymentKey(), hex.EncodeToString(e.GetId()), kind, e.GetAmounts().GetCurrency(), minor)
			if !seen[x] {
				seen[x] = true
				rows = append(rows, x)
			}
		}
	}
	return rows, nil
}

// AlertRows are the rows that the alert topics' bodies ask for, each revision once.
func AlertRows(bodies [][]byte) ([]Row, error) {
	var rows []Row
	seen := map[Row]bool{}
	for _, b := range bodies {
		a, err := alert.Decode(b)
		if err != nil {
			return nil, err
		}
		x := row(alertKeyColumns, a.ID, a.Revision, a.Kind, a.PaymentKey, a.Status, a.AmountMinor, a.Currency, a.EvidenceTotal)
		if !seen[x] {
			seen[x] = true
			rows = append(rows, x)
		}
	}
	return rows, nil
}

// RowsAreRecords is I4: the warehouse's rows of one table are those that Kafka's
// records ask for, each once.
func RowsAreRecords(table string, want, got []Row) []Violation {
	l := list{invariant: I4}
	expected := make(map[string]string, len(want))
	for _, r := range want {
		if other, twice := expected[r.Key]; twice && other != r.Content {
			l.add(table, "Kafka has two contents for %s: %s and %s", r.Key, other, r.Content)
		}
		expected[r.Key] = r.Content
	}
	seen := make(map[string]bool, len(got))
	for _, r := range got {
		content, known := expected[r.Key]
		switch {
		case !known:
			l.add(table, "%s %s is in no record", r.Key, r.Content)
		case content != r.Content:
			l.add(table, "%s says %s, Kafka %s", r.Key, r.Content, content)
		case seen[r.Key]:
			l.add(table, "%s stands there twice", r.Key)
		}
		seen[r.Key] = true
	}
	for _, r := range want {
		if !seen[r.Key] {
			l.add(table, "%s %s is missing", r.Key, r.Content)
			seen[r.Key] = true
		}
	}
	return l.found
}
