// Package warehouse is ClickHouse: it keeps rows and recorded ranges for the
// loop stage.Load, brings the database to the tables of schemas/table, and reads
// the summary. It is the only importer of clickhouse-go.
//
// Blocks of columns and ranges enter; rows in ClickHouse leave. Guaranteed: an
// insert is applied whole or not at all, and once under one token, also when its
// reply was lost and it was sent again; a range is on the disk when RecordRange
// returns. What passes by itself (too many parts, a network fault, a server that
// starts again) is tried again until the context ends; what does not is returned.
package warehouse

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/ClickHouse/clickhouse-go/v2"
	"github.com/ClickHouse/clickhouse-go/v2/lib/driver"
	"github.com/cenkalti/backoff/v5"

	"settlewatch/pipelines/stage"
	"settlewatch/schemas/table"
)

// Warehouse is one database of a ClickHouse. It is safe for concurrent use.
type Warehouse struct {
	options  Options
	driver   *clickhouse.Options
	conn     driver.Conn
	database string
}

var _ stage.Warehouse = (*Warehouse)(nil)

// Close ends the connections.
func (w *Warehouse) Close() error {
	if err := w.conn.Close(); err != nil {
		return fmt.Errorf("close clickhouse: %w", err)
	}
	return nil
}

// migrationTimeout is how long one statement of a migration may take.
const migrationTimeout = 24 * time.Hour

// Migrate brings the database to this version's tables and views, and makes it
// where it is missing, however long that takes: a migration may rewrite what is stored.
// progress may be nil.
func (w *Warehouse) Migrate(ctx context.Context, progress func(string)) error {
	patient := *w.driver
	patient.ReadTimeout = migrationTimeout
	db := clickhouse.OpenDB(&patient)
	err := table.Migrate(ctx, db, w.database, progress)
	if closeErr := db.Close(); err == nil && closeErr != nil {
		return fmt.Errorf("close clickhouse: %w", closeErr)
	}
	return err
}

// LastRange is the recorded range of a partition with the highest last offset.
func (w *Warehouse) LastRange(ctx context.Context, topic string, partition int32) (stage.Range, bool, error) {
	query := fmt.Sprintf(
		"SELECT first, last, checksum FROM %s.%s WHERE topic = ? AND partition = ? ORDER BY last DESC, first LIMIT 1",
		w.database, table.RangesTable)
	r, found := stage.Range{Topic: topic, Partition: partition}, false
	err := w.retry(ctx, "read last range", func() error {
		rows, err := w.conn.Query(ctx, query, topic, partition)
		if err != nil {
			return fmt.Errorf("query: %w", err)
		}
		found = rows.Next()
		if found {
			var first, last uint64
			if err := rows.Scan(&first, &last, &r.Checksum); err != nil {
				return backoff.Permanent(errors.Join(fmt.Errorf("scan: %w", err), rows.Close()))
			}
			r.First, r.Last = int64(first), int64(last) // RecordRange took no other
		}
		if err := rows.Close(); err != nil {
			return fmt.Errorf("read: %w", err)
		}
		return rows.Err()
	})
	if err != nil || !found {
		return stage.Range{}, false, err
	}
	return r, true, nil
}

// RecordRange keeps a range; the highest of a partition stands.
func (w *Warehouse) RecordRange(ctx context.Context, r stage.Range) error {
	if r.First < 0 || r.Last < r.First {
		return fmt.Errorf("record range: offsets %d to %d", r.First, r.Last)
	}
	// A repeat is merged away, so no token is needed; and none may be kept, for the
	// same range is recorded again after a topic was loaded anew.
	settings := clickhouse.Settings{"async_insert": 0, "insert_deduplicate": 0}
	columns := []string{"topic", "partition", "first", "last", "checksum"}
	return w.retry(ctx, "record range", func() error {
		return w.send(ctx, table.RangesTable, columns, settings, func(batch driver.Batch) error {
			return batch.Append(r.Topic, r.Partition, uint64(r.First), uint64(r.Last), r.Checksum)
		})
	})
}

// retry tries again what passes by itself, until ctx ends.
func (w *Warehouse) retry(ctx context.Context, what string, try func() error) error {
	wait := backoff.NewExponentialBackOff()
	wait.InitialInterval, wait.MaxInterval = w.options.RetryFirst, w.options.RetryMax
	_, err := backoff.Retry(ctx, func() (struct{}, error) {
		err := try()
		if err != nil && !passes(err) {
			return struct{}{}, backoff.Permanent(err)
		}
		return struct{}{}, err
	}, backoff.WithBackOff(wait), backoff.WithMaxElapsedTime(0), backoff.WithNotify(func(err error, next time.Duration) {
		if w.options.OnRetry != nil {
			w.options.OnRetry(fmt.Errorf("%s: clickhouse at %s: %w", what, w.addresses(), err), next)
		}
	}))
	if err != nil {
		return fmt.Errorf("%s: clickhouse at %s: %w", what, w.addresses(), err)
	}
	return nil
}

func (w *Warehouse) addresses() string { return strings.Join(w.driver.Addr, ", ") }
