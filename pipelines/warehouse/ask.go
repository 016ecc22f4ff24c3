package warehouse

import (
	"context"
	"errors"
	"fmt"
	"math/big"
	"reflect"
	"strings"
	"time"

	"github.com/ClickHouse/clickhouse-go/v2"
	"github.com/cenkalti/backoff/v5"

	"settlewatch/schemas/table"
)

// Answer is what a question gave, row by row.
type Answer struct {
	Columns []table.ColumnType
	// Rows hold nil, bool, string, int64, uint64, float64, *big.Int, or what else a
	// column's Go type is. Dates are 2006-01-02, instants RFC 3339 in UTC with
	// milliseconds.
	Rows [][]any
}

// Ask reads. Parameters are ClickHouse's own, {name:Type} in the query, so that
// no value is ever part of the text. The database that the query names as
// `settlewatch.` is this one's, as in the migrations.
func (w *Warehouse) Ask(ctx context.Context, query string, parameters map[string]string) (Answer, error) {
	query = strings.ReplaceAll(query, table.DefaultDatabase+".", w.database+".")
	// 2: nothing is changed, and settings may still come with the query.
	ctx = clickhouse.Context(ctx, clickhouse.WithParameters(parameters), clickhouse.WithSettings(clickhouse.Settings{"readonly": 2}))
	var a Answer
	err := w.retry(ctx, "ask", func() (err error) {
		a, err = w.askOnce(ctx, query)
		return err
	})
	return a, err
}

func (w *Warehouse) askOnce(ctx context.Context, query string) (a Answer, err error) {
	rows, err := w.conn.Query(ctx, query)
	if err != nil {
		return Answer{}, fmt.Errorf("query: %w", err)
	}
	defer func() { err = errors.Join(err, rows.Close()) }()
	types := rows.ColumnTypes()
	for _, t := range types {
		a.Columns = append(a.Columns, table.ColumnType{Name: t.Name(), Type: t.DatabaseTypeName()})
	}
	for rows.Next() {
		cells := make([]any, len(types))
		for i, t := range types {
			cells[i] = reflect.New(t.ScanType()).Interface()
		}
		if err := rows.Scan(cells...); err != nil {
			return Answer{}, backoff.Permanent(fmt.Errorf("scan: %w", err))
		}
		for i, c := range cells {
			cells[i] = plain(reflect.ValueOf(c).Elem(), a.Columns[i].Type)
		}
		a.Rows = append(a.Rows, cells)
	}
	return a, rows.Err()
}

// plain makes of a scanned value one of the few types that an Answer holds.
func plain(v reflect.Value, columnType string) any {
	if v.Kind() == reflect.Pointer {
		if v.IsNil() {
			return nil
		}
		if n, is := v.Interface().(*big.Int); is {
			return n
		}
		return plain(v.Elem(), columnType)
	}
	switch x := v.Interface().(type) {
	case time.Time:
		if strings.Contains(columnType, "DateTime") {
			return x.UTC().Format("2006-01-02T15:04:05.000Z")
		}
		return x.Format(time.DateOnly)
	case big.Int:
		return &x
	case fmt.Stringer:
		return x.String()
	}
	switch {
	case v.CanInt():
		return v.Int()
	case v.CanUint():
		return v.Uint()
	case v.CanFloat():
		return v.Float()
	default:
		return v.Interface()
	}
}
