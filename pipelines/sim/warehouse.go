package sim

import (
	"context"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"sync"

	"settlewatch/pipelines/stage"
	"settlewatch/schemas/table"
)

// WarehouseFault is what happens to one call on a Warehouse.
type WarehouseFault int

// The faults of a call.
const (
	WarehouseOK WarehouseFault = iota
	// WarehouseRequestLost: not applied, ErrReplyLost.
	WarehouseRequestLost
	// WarehouseReplyLost: applied, ErrReplyLost.
	WarehouseReplyLost
)

// Warehouse is ClickHouse in memory: recorded ranges, tables, and a token window
// without an end. It is safe for concurrent use; the hooks are set before the
// first call.
type Warehouse struct {
	// OnRecord and OnInsert, if set, are asked before each call what is to happen.
	OnRecord func(r stage.Range) WarehouseFault
	OnInsert func(b table.Block, token string) WarehouseFault

	mu     sync.Mutex
	ranges map[string]stage.Range
	tokens map[string]bool
	rows   map[string][]Row
}

var _ stage.Warehouse = (*Warehouse)(nil)

// Row is one row by its columns' names; instants are Unix milliseconds.
type Row map[string]any

// NewWarehouse is an empty one.
func NewWarehouse() *Warehouse {
	return &Warehouse{ranges: make(map[string]stage.Range), tokens: make(map[string]bool), rows: make(map[string][]Row)}
}

// LastRange is the recorded range with the highest last offset.
func (w *Warehouse) LastRange(ctx context.Context, topic string, partition int32) (stage.Range, bool, error) {
	if err := ctx.Err(); err != nil {
		return stage.Range{}, false, err
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	r, found := w.ranges[rangeKey(topic, partition)]
	return r, found, nil
}

// RecordRange keeps the range, unless a later one of its partition is kept.
func (w *Warehouse) RecordRange(ctx context.Context, r stage.Range) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	if r.First < 0 || r.Last < r.First {
		return fmt.Errorf("range of offsets %d to %d", r.First, r.Last)
	}
	fault := WarehouseOK
	if w.OnRecord != nil {
		fault = w.OnRecord(r)
	}
	if fault == WarehouseRequestLost {
		return ErrReplyLost
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	key := rangeKey(r.Topic, r.Partition)
	if kept, found := w.ranges[key]; !found || kept.Last <= r.Last {
		w.ranges[key] = r
	}
	if fault == WarehouseReplyLost {
		return ErrReplyLost
	}
	return nil
}

// Insert keeps the block's rows, unless the token has been seen on its table.
func (w *Warehouse) Insert(ctx context.Context, b table.Block, token string) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	if token == "" {
		return fmt.Errorf("insert into %s: no token", b.Table)
	}
	fault := WarehouseOK
	if w.OnInsert != nil {
		fault = w.OnInsert(b, token)
	}
	if fault == WarehouseRequestLost {
		return ErrReplyLost
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if seen := b.Table + " " + token; !w.tokens[seen] {
		rows, err := rowsOf(b)
		if err != nil {
			return err
		}
		w.tokens[seen] = true
		w.rows[b.Table] = append(w.rows[b.Table], rows...)
	}
	if fault == WarehouseReplyLost {
		return ErrReplyLost
	}
	return nil
}

// Inserted are all rows of a table as they came, repeats under other tokens too.
func (w *Warehouse) Inserted(name string) []Row {
	w.mu.Lock()
	defer w.mu.Unlock()
	return slices.Clone(w.rows[name])
}

// Distinct are a table's rows as a reader with FINAL sees them, by identity: of
// rows with the same one, the highest version stands, else the last.
func (w *Warehouse) Distinct(t table.Table) map[string]Row {
	w.mu.Lock()
	defer w.mu.Unlock()
	out := make(map[string]Row)
	for _, row := range w.rows[t.Name] {
		id := row.Identity(t)
		if kept, found := out[id]; found && t.Version != "" && kept[t.Version].(uint64) > row[t.Version].(uint64) {
			continue
		}
		out[id] = row
	}
	return out
}

// Identity is the row's key columns as one text.
func (r Row) Identity(t table.Table) string {
	parts := make([]string, len(t.Key))
	for i, k := range t.Key {
		parts[i] = fmt.Sprint(r[k])
	}
	return strings.Join(parts, "\x00")
}

func rowsOf(b table.Block) ([]Row, error) {
	columns, err := b.Go()
	if err != nil {
		return nil, err
	}
	rows := make([]Row, b.Rows)
	for i := range rows {
		rows[i] = make(Row, len(columns))
	}
	for name, column := range columns {
		values := reflect.ValueOf(column)
		for i := range rows {
			rows[i][name] = values.Index(i).Interface()
		}
	}
	return rows, nil
}

func rangeKey(topic string, partition int32) string { return fmt.Sprintf("%s/%d", topic, partition) }
