package warehouse_test

import (
	"context"
	"testing"

	"github.com/ClickHouse/clickhouse-go/v2"
	"github.com/ClickHouse/clickhouse-go/v2/lib/driver"

	"settlewatch/pipelines/servers/serverstest"
	"settlewatch/pipelines/stage"
	"settlewatch/pipelines/stage/conformance"
	"settlewatch/pipelines/warehouse"
)

func TestMain(m *testing.M) { serverstest.Main(m) }

// fresh is a database of this test's own on the real ClickHouse, with its tables.
type fresh struct {
	*warehouse.Warehouse
	database string
	// conn looks past the adapter.
	conn driver.Conn
	dsn  string
}

func open(t *testing.T) fresh {
	t.Helper()
	dsn := serverstest.ClickHouse(t).DSN
	database := serverstest.Name(t)
	w, err := warehouse.Dial(t.Context(), warehouse.Options{DSN: dsn, Database: database})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := w.Close(); err != nil {
			t.Error(err)
		}
	})
	if err := w.Migrate(t.Context(), nil); err != nil {
		t.Fatal(err)
	}
	options, err := clickhouse.ParseDSN(dsn)
	if err != nil {
		t.Fatal(err)
	}
	conn, err := clickhouse.Open(options)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := conn.Exec(context.Background(), "DROP DATABASE IF EXISTS "+database); err != nil {
			t.Error(err)
		}
		if err := conn.Close(); err != nil {
			t.Error(err)
		}
	})
	// Merges would hide a repeat before the test has looked.
	for _, name := range []string{"events", "payments", "alert_revisions"} {
		if err := conn.Exec(t.Context(), "SYSTEM STOP MERGES "+database+"."+name); err != nil {
			t.Fatal(err)
		}
	}
	return fresh{Warehouse: w, database: database, conn: conn, dsn: dsn}
}

// number is the one number that a query gives; "db." stands for the database.
func (f fresh) number(t *testing.T, query string) int64 {
	t.Helper()
	var n int64
	if err := f.conn.QueryRow(t.Context(), "SELECT toInt64(("+f.named(query)+"))").Scan(&n); err != nil {
		t.Fatalf("%s: %v", query, err)
	}
	return n
}

// exec runs a statement; "db." stands for the database.
func (f fresh) exec(t *testing.T, statement string) {
	t.Helper()
	if err := f.conn.Exec(t.Context(), f.named(statement)); err != nil {
		t.Fatalf("%s: %v", statement, err)
	}
}

// Events counts for the conformance suite.
func (f fresh) Events(t *testing.T) (stored, distinct int) {
	t.Helper()
	return int(f.number(t, "SELECT count() FROM db.events")), int(f.number(t, "SELECT count() FROM db.events_distinct"))
}

func TestConformance(t *testing.T) {
	conformance.Warehouse(t, func(t *testing.T) (stage.Warehouse, conformance.WarehouseRows) {
		f := open(t)
		return f, f
	})
}
