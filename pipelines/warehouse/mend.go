package warehouse

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/ClickHouse/clickhouse-go/v2"

	"settlewatch/schemas/table"
)

// Damage is a part of a table that cannot be read, and why.
type Damage struct {
	Table  string `json:"table"`
	Part   string `json:"part"`
	Reason string `json:"reason"`
}

// noSuchPart: it was merged away in the meantime.
const noSuchPart = 232

// Damaged has ClickHouse read all parts of the tables and hold them to their checksums,
// largest first. Progress is in bytes.
//
// A server whose disk is full while it merges can leave such parts (seen with 26.7): the
// merge counts as done, but its last files are empty.
func (w *Warehouse) Damaged(ctx context.Context, progress func(done, total int64)) ([]Damage, error) {
	parts, err := w.Ask(ctx, `SELECT table, name, bytes_on_disk, sum(bytes_on_disk) OVER () FROM system.parts
		WHERE active AND database = {database:String} ORDER BY bytes_on_disk DESC`, map[string]string{"database": w.database})
	if err != nil {
		return nil, fmt.Errorf("list the parts: %w", err)
	}
	var damaged []Damage
	var done uint64
	for _, row := range parts.Rows {
		d := Damage{Table: row[0].(string), Part: row[1].(string)}
		if d.Reason, err = w.checkPart(ctx, d.Table, d.Part); err != nil {
			return nil, fmt.Errorf("check part %s of %s: %w", d.Part, d.Table, err)
		}
		if d.Reason != "" {
			damaged = append(damaged, d)
		}
		done += row[2].(uint64)
		if progress != nil {
			progress(int64(done), int64(row[3].(uint64)))
		}
	}
	return damaged, nil
}

// checkPart gives what is wrong with a part; empty where nothing is.
func (w *Warehouse) checkPart(ctx context.Context, name, part string) (reason string, err error) {
	a, err := w.Ask(ctx, fmt.Sprintf("CHECK TABLE %s.%s PART '%s' SETTINGS check_query_single_value_result = 0", table.DefaultDatabase, name, part), nil)
	if exception := new(clickhouse.Exception); errors.As(err, &exception) && exception.Code == noSuchPart {
		return "", nil
	}
	if err != nil {
		return "", err
	}
	for _, row := range a.Rows {
		if fmt.Sprint(row[1]) == "0" {
			return fmt.Sprint(row[2]), nil
		}
	}
	return "", nil
}

// LoadAgain has ClickHouse look at the parts of these tables anew, as it does at its
// start: damaged ones are put aside, and those that they were merged from, which it keeps
// for some minutes, stand in for them. For an instant the tables are not there: nobody
// should insert, and whoever asks may be told so.
func (w *Warehouse) LoadAgain(ctx context.Context, damaged []Damage) error {
	var tables []string
	for _, d := range damaged {
		tables = append(tables, d.Table)
	}
	slices.Sort(tables)
	for _, name := range slices.Compact(tables) {
		if err := w.exec(ctx, "DETACH TABLE IF EXISTS "+w.database+"."+name); err != nil {
			return err
		}
		// Whoever interrupts it now still gets the table back.
		if err := w.exec(context.WithoutCancel(ctx), "ATTACH TABLE IF NOT EXISTS "+w.database+"."+name); err != nil {
			return err
		}
	}
	return nil
}

func (w *Warehouse) exec(ctx context.Context, statement string) error {
	return w.retry(ctx, strings.ToLower(statement), func() error { return w.conn.Exec(ctx, statement) })
}
