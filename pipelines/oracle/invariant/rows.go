package invariant

import (
	"encoding/hex"
	"fmt"
	"strconv"
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
// AlertQuery's: a line each, its cells separated by tabs (FORMAT TabSeparated).
func WarehouseEvents(answer string) []Row { return rowsOf(answer, eventKeyColumns) }

// WarehouseAlerts are the rows of AlertQuery's answer.
func WarehouseAlerts(answer string) []Row { return rowsOf(answer, alertKeyColumns) }

func rowsOf(answer string, keys int) (rows []Row) {
	for line := range strings.Lines(answer) {
		line = strings.TrimSuffix(line, "\n")
		at := 0
		for range keys {
			next := strings.IndexByte(line[at:], '\t')
			if next < 0 {
				break
			}
			at += next + 1
		}
		rows = append(rows, Row{line[:max(0, at-1)], line[at:]})
	}
	return rows
}

// escape as ClickHouse escapes a text in such a line.
var escape = strings.NewReplacer("\\", `\\`, "\t", `\t`, "\n", `\n`, "\r", `\r`, "\b", `\b`, "\f", `\f`, "\x00", `\0`, "'", `\'`)

// line builds a row of cells: key columns first.
type line struct {
	text strings.Builder
	key  int
}

func (l *line) cell(text string) {
	if l.text.Len() > 0 {
		l.text.WriteByte('\t')
	}
	if strings.ContainsAny(text, "\\\t\n\r\b\f\x00'") {
		text = escape.Replace(text)
	}
	l.text.WriteString(text)
}

func (l *line) unsigned(n uint64) {
	var digits [20]byte
	l.cell(string(strconv.AppendUint(digits[:0], n, 10)))
}

func (l *line) signed(n int64) {
	var digits [20]byte
	l.cell(string(strconv.AppendInt(digits[:0], n, 10)))
}

// endKey says that the cells so far are the key.
func (l *line) endKey() { l.key = l.text.Len() }

func (l *line) row() Row {
	text := l.text.String()
	return Row{text[:l.key], text[l.key+1:]}
}

// EventRows are the rows that the partitions' records ask for, in no order; an
// origin that stands in the log again has its row again.
func EventRows(log map[int32][]stage.Record) ([]Row, error) {
	var rows []Row
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
			rows = append(rows, eventRow(r.Origin, e))
		}
	}
	return rows, nil
}

func eventRow(o *event.Origin, e *event.Event) Row {
	var l line
	l.text.Grow(200)
	l.cell(o.GetSource())
	l.unsigned(uint64(o.GetGeneration()))
	l.signed(o.GetOffset())
	l.unsigned(uint64(o.GetIndex()))
	l.endKey()
	l.cell(e.GetPaymentKey())
	l.cell(hex.EncodeToString(e.GetId()))
	l.cell(strings.ToLower(strings.TrimPrefix(e.Kind.String(), "KIND_")))
	l.cell(e.GetAmounts().GetCurrency())
	if a := e.GetAmounts(); a != nil && a.TransactionMinor != nil {
		l.signed(*a.TransactionMinor)
	} else {
		l.text.WriteString("\t" + `\N`)
	}
	return l.row()
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
		var l line
		l.cell(a.ID)
		l.unsigned(uint64(a.Revision))
		l.endKey()
		l.cell(string(a.Kind))
		l.cell(a.PaymentKey)
		l.cell(string(a.Status))
		l.signed(a.AmountMinor)
		l.cell(a.Currency)
		l.unsigned(uint64(a.EvidenceTotal))
		x := l.row()
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
	expected := make(map[string]int, len(want)) // by key, where in want
	for i, r := range want {
		if other, twice := expected[r.Key]; twice && want[other].Content != r.Content {
			l.add(table, "Kafka has two contents for %s: %s and %s", r.Key, want[other].Content, r.Content)
		}
		expected[r.Key] = i
	}
	seen := make([]bool, len(want))
	for _, r := range got {
		i, known := expected[r.Key]
		switch {
		case !known:
			l.add(table, "%s %s is in no record", r.Key, r.Content)
			continue
		case want[i].Content != r.Content:
			l.add(table, "%s says %s, Kafka %s", r.Key, r.Content, want[i].Content)
		case seen[i]:
			l.add(table, "%s stands there twice", r.Key)
		}
		seen[i] = true
	}
	for i, r := range want {
		if expected[r.Key] == i && !seen[i] {
			l.add(table, "%s %s is missing", r.Key, r.Content)
		}
	}
	return l.found
}
