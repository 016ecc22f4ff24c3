package warehouse_test

import (
	"fmt"
	"reflect"
	"regexp"
	"strings"
	"testing"
	"time"
)

var databaseDot = regexp.MustCompile(`\bdb\.`)

// named puts the test's database for "db.".
func (f fresh) named(query string) string {
	return databaseDot.ReplaceAllString(query, f.database+".")
}

// lines is a query's answer as text: cells apart by " | ", NULL as "-".
func (f fresh) lines(t *testing.T, query string) []string {
	t.Helper()
	rows, err := f.conn.Query(t.Context(), f.named(query))
	if err != nil {
		t.Fatalf("%s: %v", query, err)
	}
	var out []string
	for rows.Next() {
		types := rows.ColumnTypes()
		cells := make([]any, len(types))
		for i, c := range types {
			cells[i] = reflect.New(c.ScanType()).Interface()
		}
		if err := rows.Scan(cells...); err != nil {
			t.Fatalf("%s: %v", query, err)
		}
		texts := make([]string, len(cells))
		for i, c := range cells {
			texts[i] = cell(reflect.ValueOf(c).Elem())
		}
		out = append(out, strings.Join(texts, " | "))
	}
	if err := rows.Close(); err != nil {
		t.Fatal(err)
	}
	if err := rows.Err(); err != nil {
		t.Fatal(err)
	}
	return out
}

func cell(v reflect.Value) string {
	if v.Kind() == reflect.Pointer {
		if v.IsNil() {
			return "-"
		}
		if s, ok := v.Interface().(fmt.Stringer); ok && v.Type().Elem().PkgPath() == "math/big" {
			return s.String()
		}
		return cell(v.Elem())
	}
	if at, ok := v.Interface().(time.Time); ok {
		at = at.UTC()
		if at.Equal(at.Truncate(24 * time.Hour)) {
			return at.Format(time.DateOnly)
		}
		return at.Format("2006-01-02T15:04:05.000Z")
	}
	if v.CanAddr() {
		if s, ok := v.Addr().Interface().(fmt.Stringer); ok {
			return s.String()
		}
	}
	return fmt.Sprint(v.Interface())
}

// want compares a query's answer with the lines of a readable table: blanks
// around cells do not count.
func (f fresh) want(t *testing.T, query, table string) {
	t.Helper()
	// A line that ends with "|" goes on in the next.
	table = regexp.MustCompile(`\|\s*\n\s*`).ReplaceAllString(strings.TrimSpace(table), "| ")
	var want []string
	for line := range strings.Lines(table) {
		cells := strings.Split(strings.TrimSpace(line), "|")
		for i := range cells {
			cells[i] = strings.TrimSpace(cells[i])
		}
		want = append(want, strings.Join(cells, " | "))
	}
	if got := f.lines(t, query); !reflect.DeepEqual(got, want) {
		t.Errorf("%s\n got:\n%s\n want:\n%s", query, strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
}
