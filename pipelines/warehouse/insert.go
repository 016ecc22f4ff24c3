package warehouse

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/ClickHouse/ch-go/proto"
	"github.com/ClickHouse/clickhouse-go/v2"
	"github.com/ClickHouse/clickhouse-go/v2/lib/driver"
	"github.com/cenkalti/backoff/v5"

	"settlewatch/schemas/table"
)

// This file hands the bytes of a block, which are the native format already, to the
// driver's columns by the way that they read what a server sends. Appending Go values
// would go through reflection and, for each value of few, through two lookups in a map
// of interfaces: that was half of the service.

// insertSettings are all that decides whether a repeat is dropped. Each default
// has changed between releases of ClickHouse, so none is left to it.
func insertSettings(token string) clickhouse.Settings {
	return clickhouse.Settings{
		"async_insert":               0,
		"insert_deduplicate":         1,
		"insert_deduplication_token": token,
		// Else the server merges a block by itself before it writes it, row by row: that
		// took most of an insert. Repeats in a block are merged away later, and readers
		// that ask for distinct rows do not see them meanwhile.
		"optimize_on_insert": 0,
		"deduplicate_blocks_in_dependent_materialized_views": 1,
	}
}

// Insert writes a block. It returns when all of its rows are on the disk.
func (w *Warehouse) Insert(ctx context.Context, b table.Block, token string) error {
	if token == "" {
		return fmt.Errorf("insert into %s: no token", b.Table)
	}
	if b.Rows == 0 {
		return nil
	}
	if len(b.Columns) == 0 {
		return fmt.Errorf("insert %d rows without a value into %s", b.Rows, b.Table)
	}
	what := fmt.Sprintf("insert %d rows into %s", b.Rows, b.Table)
	return w.retry(ctx, what, func() error {
		return w.send(ctx, b.Table, b.Names(), insertSettings(token), func(batch driver.Batch) error { return fill(batch, b) })
	})
}

// send is one try of an insert.
func (w *Warehouse) send(ctx context.Context, name string, columns []string, settings clickhouse.Settings, fill func(driver.Batch) error) error {
	query := fmt.Sprintf("INSERT INTO %s.%s (%s)", w.database, name, strings.Join(columns, ", "))
	batch, err := w.conn.PrepareBatch(clickhouse.Context(ctx, clickhouse.WithSettings(settings)), query)
	if err != nil {
		return fmt.Errorf("prepare: %w", err)
	}
	if err := fill(batch); err != nil {
		// The columns and the values do not fit: no second try changes that.
		return backoff.Permanent(errors.Join(err, batch.Abort()))
	}
	if err := batch.Send(); err != nil {
		return fmt.Errorf("send: %w", err)
	}
	return nil
}

// fill puts a block's columns into the batch's.
func fill(batch driver.Batch, b table.Block) error {
	columns := batch.Columns()
	if len(columns) != len(b.Columns) {
		return fmt.Errorf("the server wants %d columns, there are %d", len(columns), len(b.Columns))
	}
	pieces := &nativeReader{}
	reader := proto.NewReader(pieces)
	for i, to := range columns {
		from := b.Columns[i]
		// The bytes mean what the type says, so it has to be the same in every letter.
		if got := string(to.Type()); got != from.Type || to.Name() != from.Name {
			return fmt.Errorf("column %s is of type %s, want %s %s", to.Name(), got, from.Name, from.Type)
		}
		pieces.next = append(pieces.next, from.Native()...)
		if err := to.Decode(reader, b.Rows); err != nil {
			return fmt.Errorf("fill column %s: %w", from.Name, err)
		}
		if to.Rows() != b.Rows {
			return fmt.Errorf("fill column %s: %d rows, want %d", from.Name, to.Rows(), b.Rows)
		}
	}
	if n, err := reader.Read(make([]byte, 1)); n > 0 || !errors.Is(err, io.EOF) {
		return fmt.Errorf("the columns of %s have more bytes than %d rows", b.Table, b.Rows)
	}
	return nil
}

// nativeReader reads pieces of memory one after the other.
type nativeReader struct{ next [][]byte }

func (r *nativeReader) Read(p []byte) (int, error) {
	for len(r.next) > 0 {
		if len(r.next[0]) > 0 {
			n := copy(p, r.next[0])
			r.next[0] = r.next[0][n:]
			return n, nil
		}
		r.next = r.next[1:]
	}
	return 0, io.EOF
}
