package warehouse_test

import (
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"
)

const migrations = "../../schemas/table/migrations/"

// statements are those of a migration, the way up or the way down.
func (f fresh) statements(t *testing.T, name string, up bool) (all []string) {
	t.Helper()
	b, err := os.ReadFile(migrations + name)
	if err != nil {
		t.Fatal(err)
	}
	text, down, _ := strings.Cut(string(b), "-- +goose Down")
	if !up {
		text = down
	}
	var code strings.Builder
	for line := range strings.Lines(text) {
		if !strings.HasPrefix(line, "--") {
			code.WriteString(line)
		}
	}
	for s := range strings.SplitSeq(strings.ReplaceAll(code.String(), "settlewatch.", "db."), ";\n") {
		if strings.TrimSpace(s) != "" {
			all = append(all, s)
		}
	}
	return all
}

// TestDetailsAreMoved: what a table of before holds is read the same after its columns
// became details, and again when they are columns once more. Each statement runs twice, for
// a migration that was killed begins again. A service of before may insert meanwhile.
func TestDetailsAreMoved(t *testing.T) {
	f := open(t)
	run := func(up bool, names ...string) {
		t.Helper()
		for _, name := range names {
			for range 2 {
				for _, s := range f.statements(t, name, up) {
					f.exec(t, s)
				}
			}
		}
	}
	f.exec(t, "SYSTEM START MERGES db.events") // mutations wait for it
	down := []string{"00008_fewer_columns.sql", "00007_details.sql"}
	run(false, down...)

	columns := f.lines(t, "SELECT name FROM system.columns WHERE database = '"+f.database+"' AND table = 'events' AND default_kind != 'MATERIALIZED'")
	types := f.lines(t, "SELECT type FROM system.columns WHERE database = '"+f.database+"' AND table = 'events' AND default_kind != 'MATERIALIZED'")
	if len(columns) != 123 {
		t.Fatalf("%d columns of before, want 123", len(columns))
	}
	insert := func(key string, values map[string]string) {
		t.Helper()
		row := []string{"'" + key + "'"}
		for _, chType := range types[1:] {
			row = append(row, values[strings.NewReplacer("LowCardinality(", "", "Nullable(", "", ")", "").Replace(chType)])
		}
		if slices.Contains(row, "") {
			t.Fatalf("a type without a value: %q", types)
		}
		f.exec(t, "INSERT INTO db.events ("+strings.Join(columns, ", ")+") VALUES ("+strings.Join(row, ", ")+")")
	}
	insert("full", map[string]string{
		"String": `'键\'\\'`, "Int64": "-9223372036854775808", "Int32": "-1", "UInt32": "4294967295", "Bool": "true", "Date32": "'1900-01-01'",
		"DateTime64(3, 'UTC'": "'1900-01-01 00:00:00.001'", "Map(String, String": "{'a': 'b'}", "Array(String": "['x']",
	})
	insert("late", map[string]string{
		"String": "'x'", "Int64": "0", "Int32": "0", "UInt32": "7", "Bool": "false", "Date32": "'2299-12-31'",
		"DateTime64(3, 'UTC'": "'2261-12-31 23:59:59.999'", "Map(String, String": "{}", "Array(String": "[]",
	})
	f.exec(t, "INSERT INTO db.events (payment_key) VALUES ('bare')")

	look := func() string {
		t.Helper()
		return fmt.Sprint(f.lines(t, "SELECT toString(tuple("+strings.Join(columns, ", ")+")) FROM db.events_distinct ORDER BY payment_key"))
	}
	before := look()
	run(true, "00007_details.sql")
	f.exec(t, "INSERT INTO db.events (payment_key, mti, tip_minor) VALUES ('meanwhile', '0200', 5)")
	during := look()
	if strings.Replace(during, "meanwhile", "", 1) == during || len(during) <= len(before) {
		t.Errorf("what is inserted between the migrations is not there: %s", during)
	}
	run(true, "00008_fewer_columns.sql")
	if got := look(); got != during {
		t.Errorf("with details\n%s\nbefore\n%s", got, during)
	}
	run(false, down...)
	if got := look(); got != during {
		t.Errorf("with columns again\n%s\nbefore\n%s", got, during)
	}
}
