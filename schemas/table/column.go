package table

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
	"time"
)

// column is one column of a table whose rows are made from R. The Go type of
// the values is the ClickHouse type's own, so that nothing narrows on its way;
// what Go's types do not say (the years of an instant) check says.
type column[R any] struct {
	ColumnType
	check  func(*R) error
	values func([]R) any
}

func of[R, V any](name, chType string, get func(*R) V) column[R] {
	return column[R]{ColumnType: ColumnType{name, chType}, values: func(rows []R) any {
		out := make([]V, len(rows))
		for i := range rows {
			out[i] = get(&rows[i])
		}
		return out
	}}
}

func text[R any](name string, get func(*R) string) column[R] { return of(name, "String", get) }

// label is a text with few different values.
func label[R any](name string, get func(*R) string) column[R] {
	return of(name, "LowCardinality(String)", get)
}

func flag[R any](name string, get func(*R) bool) column[R]      { return of(name, "Bool", get) }
func signed[R any](name string, get func(*R) int64) column[R]   { return of(name, "Int64", get) }
func small[R any](name string, get func(*R) uint32) column[R]   { return of(name, "UInt32", get) }
func narrow[R any](name string, get func(*R) int32) column[R]   { return of(name, "Int32", get) }
func counter[R any](name string, get func(*R) uint64) column[R] { return of(name, "UInt64", get) }

func maybe[R any](name string, get func(*R) *int64) column[R] {
	return of(name, "Nullable(Int64)", get)
}

func pairs[R any](name string, get func(*R) map[string]string) column[R] {
	return of(name, "Map(String, String)", func(r *R) map[string]string {
		if m := get(r); m != nil {
			return m
		}
		return map[string]string{}
	})
}

func list[R any](name string, get func(*R) []string) column[R] {
	return of(name, "Array(String)", func(r *R) []string {
		if l := get(r); l != nil {
			return l
		}
		return []string{}
	})
}

// instant is a time that every row has, Unix milliseconds.
func instant[R any](name string, get func(*R) int64) column[R] {
	c := of(name, "DateTime64(3, 'UTC')", get)
	c.check = func(r *R) error { return checkInstant(get(r)) }
	return c
}

// maybeInstant is a time that may be absent, Unix milliseconds.
func maybeInstant[R any](name string, get func(*R) *int64) column[R] {
	c := of(name, "Nullable(DateTime64(3, 'UTC'))", get)
	c.check = func(r *R) error {
		if ms := get(r); ms != nil {
			return checkInstant(*ms)
		}
		return nil
	}
	return c
}

// maybeDate is a date that may be absent, days since 1970-01-01. The driver
// wants pointers to times: a plain slice would leave the NULL map empty.
func maybeDate[R any](name string, get func(*R) *int32) column[R] {
	c := of(name, "Nullable(Date32)", func(r *R) *time.Time {
		days := get(r)
		if days == nil {
			return nil
		}
		t := time.Unix(int64(*days)*secondsPerDay, 0).UTC()
		return &t
	})
	c.check = func(r *R) error {
		if days := get(r); days != nil {
			return checkDate(*days)
		}
		return nil
	}
	return c
}

const secondsPerDay = 24 * 60 * 60

// Times that ClickHouse or its driver would store as other ones.
var (
	ErrInstantYear = errors.New("outside the years 1900 to 2261")
	ErrDateYear    = errors.New("outside the years 1900 to 2299")
)

// Both types hold 1900 to 2299. The driver turns an instant into nanoseconds in
// 64 bits on its way, which end in April 2262, and wraps beyond them.
var (
	earliest      = time.Date(1900, 1, 1, 0, 0, 0, 0, time.UTC)
	earliestMs    = earliest.UnixMilli()
	latestMs      = time.Date(2262, 1, 1, 0, 0, 0, 0, time.UTC).UnixMilli() - 1
	earliestDay   = earliest.Unix() / secondsPerDay
	dayAfterDates = time.Date(2300, 1, 1, 0, 0, 0, 0, time.UTC).Unix() / secondsPerDay
)

func checkInstant(ms int64) error {
	if ms < earliestMs || ms > latestMs {
		return ErrInstantYear
	}
	return nil
}

func checkDate(days int32) error {
	if int64(days) < earliestDay || int64(days) >= dayAfterDates {
		return ErrDateYear
	}
	return nil
}

// month is the table partition of an instant: toYYYYMM in UTC.
func month(ms int64) string {
	t := time.UnixMilli(ms).UTC()
	return strconv.Itoa(t.Year()*100 + int(t.Month()))
}

// types are the columns' names and types.
func types[R any](columns []column[R]) []ColumnType {
	out := make([]ColumnType, len(columns))
	for i, c := range columns {
		out[i] = c.ColumnType
	}
	return out
}

// builder is the Builder of a table whose rows are made from R.
type builder[R any] struct {
	table   Table
	columns []column[R]
	// month is the row's table partition; nil where the table has none.
	month  func(*R) string
	decode func(offset int64, value []byte) (row R, ok bool, err error)
	// parts are the kept rows by table partition.
	parts map[string][]R
	rows  int
}

func (b *builder[R]) Add(offset int64, _, value []byte) error {
	row, ok, err := b.decode(offset, value)
	if err != nil {
		return err
	}
	if !ok {
		return nil
	}
	for i := range b.columns {
		if b.columns[i].check == nil {
			continue
		}
		if err := b.columns[i].check(&row); err != nil {
			return &FieldError{Table: b.table.Name, Field: b.columns[i].Name, Err: err}
		}
	}
	if b.parts == nil {
		b.parts = make(map[string][]R)
	}
	part := ""
	if b.month != nil {
		part = b.month(&row)
	}
	b.parts[part] = append(b.parts[part], row)
	b.rows++
	return nil
}

func (b *builder[R]) Rows() int { return b.rows }

func (b *builder[R]) Blocks() []Block {
	names := make([]string, 0, len(b.parts))
	for name := range b.parts {
		names = append(names, name)
	}
	slices.Sort(names) // a map's order would give the same blocks another order
	blocks := make([]Block, 0, len(names))
	for _, name := range names {
		rows := b.parts[name]
		block := Block{Table: b.table.Name, Partition: name, Rows: len(rows)}
		for i := range b.columns {
			block.Columns = append(block.Columns, b.columns[i].Name)
			block.Values = append(block.Values, b.columns[i].values(rows))
		}
		blocks = append(blocks, block)
	}
	b.parts, b.rows = nil, 0
	return blocks
}

// refuse is an error about a field that no check of a column can say.
func refuse(table, field, format string, args ...any) error {
	return &FieldError{Table: table, Field: field, Err: fmt.Errorf(format, args...)}
}
