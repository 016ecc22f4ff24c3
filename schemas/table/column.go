package table

import (
	"encoding/hex"
	"errors"
	"strconv"
	"strings"
	"time"
)

// column is one column of a table whose rows are made from R: get sets the value, or
// leaves it where the record says nothing.
type column[R any] struct {
	ColumnType
	get func(*R, *cell)
}

func text[R any](name string, get func(*R) string) column[R] { return words(name, "String", get) }

// label is a text with few different values.
func label[R any](name string, get func(*R) string) column[R] {
	return words(name, "LowCardinality(String)", get)
}

func words[R any](name, chType string, get func(*R) string) column[R] {
	return column[R]{ColumnType{name, chType}, func(r *R, c *cell) {
		c.text = get(r)
		c.set = c.text != ""
	}}
}

// hexed is a text of bytes in hex.
func hexed[R any](name string, get func(*R) []byte) column[R] {
	return text(name, func(r *R) string { return hex.EncodeToString(get(r)) })
}

func flag[R any](name string, get func(*R) bool) column[R] {
	return column[R]{ColumnType{name, "Bool"}, func(r *R, c *cell) {
		if get(r) {
			c.set, c.number = true, 1
		}
	}}
}

func number[R any, V int32 | int64 | uint32 | uint64](name, chType string, get func(*R) V) column[R] {
	return column[R]{ColumnType{name, chType}, func(r *R, c *cell) {
		v := get(r)
		c.set, c.number = v != 0, int64(v)
	}}
}

func signed[R any](name string, get func(*R) int64) column[R] { return number(name, "Int64", get) }

func small[R any](name string, get func(*R) uint32) column[R] { return number(name, "UInt32", get) }

func narrow[R any](name string, get func(*R) int32) column[R] { return number(name, "Int32", get) }

func counter[R any](name string, get func(*R) uint64) column[R] { return number(name, "UInt64", get) }

// instant is a time that every row has, Unix milliseconds.
func instant[R any](name string, get func(*R) int64) column[R] {
	return number(name, "DateTime64(3, 'UTC')", get)
}

// absent is a value that a row may lack, in a Nullable column.
func absent[R any, V int32 | int64](name, chType string, get func(*R) *V) column[R] {
	return column[R]{ColumnType{name, "Nullable(" + chType + ")"}, func(r *R, c *cell) {
		if v := get(r); v != nil {
			c.set, c.number = true, int64(*v)
		}
	}}
}

func maybe[R any](name string, get func(*R) *int64) column[R] { return absent(name, "Int64", get) }

// maybeInstant is a time that may be absent, Unix milliseconds.
func maybeInstant[R any](name string, get func(*R) *int64) column[R] {
	return absent(name, "DateTime64(3, 'UTC')", get)
}

// maybeDate is a date that may be absent, days since 1970-01-01.
func maybeDate[R any](name string, get func(*R) *int32) column[R] { return absent(name, "Date32", get) }

// pairs are names and values in turns; of a name that comes twice, a reader sees the first.
func pairs[R any](name string, get func(*R, []string) []string) column[R] {
	return several[R](name, "Map(String, String)", get)
}

func list[R any](name string, get func(*R, []string) []string) column[R] {
	return several[R](name, "Array(String)", get)
}

func several[R any](name, chType string, get func(*R, []string) []string) column[R] {
	return column[R]{ColumnType{name, chType}, func(r *R, c *cell) {
		c.list = get(r, c.list)
		c.set = len(c.list) > 0
	}}
}

// fillRow sets every value of a row.
func fillRow[R any](columns []column[R], from *R, to *row) {
	for i := range columns {
		columns[i].get(from, to.at(i))
	}
}

// detail is a value as a map of details has it: what ClickHouse's toString makes of it.
func detail(chType string, c *cell) string {
	switch {
	case strings.Contains(chType, "String"):
		return c.text
	case chType == "Bool":
		return "true" // false is left out
	case strings.Contains(chType, "DateTime64"):
		return time.UnixMilli(c.number).UTC().Format("2006-01-02 15:04:05.000")
	case strings.Contains(chType, "Date32"):
		return time.Unix(c.number*secondsPerDay, 0).UTC().Format(time.DateOnly)
	default:
		return strconv.FormatInt(c.number, 10)
	}
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

// limit is the check of a column's values: what Go's types do not say. Nil: all fit.
func limit(chType string) func(int64) error {
	switch {
	case strings.Contains(chType, "DateTime64"):
		return checkInstant
	case strings.Contains(chType, "Date32"):
		return checkDate
	}
	return nil
}

func checkInstant(ms int64) error {
	if ms < earliestMs || ms > latestMs {
		return ErrInstantYear
	}
	return nil
}

func checkDate(days int64) error {
	if days < earliestDay || days >= dayAfterDates {
		return ErrDateYear
	}
	return nil
}

// types are the columns' names and types.
func types[R any](columns []column[R]) []ColumnType {
	out := make([]ColumnType, len(columns))
	for i, c := range columns {
		out[i] = c.ColumnType
	}
	return out
}
