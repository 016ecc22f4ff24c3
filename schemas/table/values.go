package table

import (
	"encoding/binary"
	"fmt"
	"slices"
	"strings"
)

// This file lays values out as ClickHouse's native format has them, so that what a
// record says is written once: no row of Go values, no second copy by columns. What
// most records leave empty costs nothing: a column in which no row has said anything
// yet holds no bytes, and is filled up when one does.
//
// A column's memory is set only where it grows (x = append(x, …) leaves it as it is): it is
// a pointer, and while the collector marks, each one that is written costs more than the value.

// Values are those of one column of a block.
type Values interface {
	// Native are the pieces that make the column in ClickHouse's native format, without
	// what precedes it in a block (name, type, version of the dictionary).
	Native() [][]byte
	// Go gives the values as a slice: []string, []int64 (also instants, Unix
	// milliseconds), []int32 (also dates, days), []*int64 where the column is Nullable,
	// []map[string]string, []string lists. It is for tests and simulations.
	Go() any
}

// store collects Values.
type store interface {
	Values
	rows() int
	// pad adds default values until there are so many rows.
	pad(rows int)
	// add adds the value of the next row.
	add(c *cell)
	reset()
}

// A cell is one value of a row before it is written. Of an unset one the column's
// default stands.
type cell struct {
	set    bool
	number int64 // also an unsigned one's bits, and 1 for true
	text   string
	list   []string // of a map: names and values in turns
}

func newStore(chType string) store {
	inner, nullable := strings.CutPrefix(chType, "Nullable(")
	inner, _, _ = strings.Cut(inner, "(")
	inner = strings.TrimSuffix(inner, ")")
	width := map[string]int{"Bool": 1, "Int32": 4, "UInt32": 4, "Date32": 4, "Int64": 8, "UInt64": 8, "DateTime64": 8}[inner]
	switch {
	case width > 0:
		return &numbers{chType: inner, width: width, nullable: nullable}
	case chType == "String":
		return &texts{}
	case chType == "LowCardinality(String)":
		return &labels{}
	case chType == "Map(String, String)":
		return &lists{pairs: true}
	case chType == "Array(String)":
		return &lists{}
	}
	panic("a column of type " + chType)
}

// numbers are values of one width, little-endian; of a Nullable column a byte of 1
// stands for each row without one.
type numbers struct {
	chType   string
	width    int
	nullable bool
	data     []byte
	nulls    []byte
}

func (n *numbers) rows() int { return len(n.data) / n.width }

func (n *numbers) pad(rows int) {
	missing := rows*n.width - len(n.data)
	if missing <= 0 {
		return
	}
	for have := n.rows(); n.nullable && have < rows; have++ {
		n.nulls = append(n.nulls, 1)
	}
	n.data = zeros(n.data, missing)
}

func (n *numbers) add(c *cell) {
	if n.nullable {
		n.nulls = append(n.nulls, 0)
	}
	v := uint64(c.number) // eight bytes at once, and those that are too many cut off
	n.data = append(n.data, byte(v), byte(v>>8), byte(v>>16), byte(v>>24), byte(v>>32), byte(v>>40), byte(v>>48), byte(v>>56))
	n.data = n.data[:len(n.data)-8+n.width]
}

func (n *numbers) reset() { n.data, n.nulls = n.data[:0], n.nulls[:0] }

func (n *numbers) Native() [][]byte {
	if n.nullable {
		return [][]byte{n.nulls, n.data}
	}
	return [][]byte{n.data}
}

func (n *numbers) Go() any {
	switch n.chType {
	case "Bool":
		return goNumbers(n, func(v uint64) bool { return v != 0 })
	case "UInt32":
		return goNumbers(n, func(v uint64) uint32 { return uint32(v) })
	case "UInt64":
		return goNumbers(n, func(v uint64) uint64 { return v })
	case "Int32", "Date32":
		return goNumbers(n, func(v uint64) int32 { return int32(v) })
	default:
		return goNumbers(n, func(v uint64) int64 { return int64(v) })
	}
}

func goNumbers[T any](n *numbers, convert func(uint64) T) any {
	values, pointers := make([]T, n.rows()), make([]*T, n.rows())
	var wide [8]byte
	for i := range values {
		copy(wide[:], n.data[i*n.width:(i+1)*n.width])
		values[i] = convert(binary.LittleEndian.Uint64(wide[:]))
		if n.nullable && n.nulls[i] == 0 {
			pointers[i] = &values[i]
		}
	}
	if n.nullable {
		return pointers
	}
	return values
}

// texts are strings, each behind its length.
type texts struct {
	data  []byte
	count int
}

func (t *texts) rows() int { return t.count }

func (t *texts) pad(rows int) {
	if t.count < rows {
		t.data = zeros(t.data, rows-t.count)
		t.count = rows
	}
}

func (t *texts) add(c *cell) { t.append(c.text) }

func (t *texts) append(s string) {
	if len(s) < 0x80 { // a length of one byte
		t.data = append(t.data, byte(len(s)))
	} else {
		t.data = binary.AppendUvarint(t.data, uint64(len(s)))
	}
	t.data = append(t.data, s...)
	t.count++
}

func (t *texts) reset() { t.data, t.count = t.data[:0], 0 }

func (t *texts) Native() [][]byte { return [][]byte{t.data} }

func (t *texts) Go() any { return t.strings() }

func (t *texts) strings() []string {
	out, rest := make([]string, t.count), t.data
	for i := range out {
		length, n := binary.Uvarint(rest)
		out[i] = string(rest[n : n+int(length)])
		rest = rest[n+int(length):]
	}
	return out
}

// labels are strings of which few are different: a dictionary, whose first is the
// empty one, and each row's place there.
type labels struct {
	dictionary texts
	words      []string
	places     map[string]uint32
	keys       []uint32
	packed     []byte
}

const (
	// What a dictionary is sent as: its own keys, not a shared one's.
	dictionaryHasKeys = 1 << 9
	dictionaryUpdate  = 1 << 10
)

func (l *labels) rows() int { return len(l.keys) }

func (l *labels) pad(rows int) {
	for len(l.keys) < rows {
		l.keys = append(l.keys, l.place(""))
	}
}

func (l *labels) add(c *cell) {
	// Many rows in a line say the same.
	if n := len(l.keys); n > 0 && int(l.keys[n-1]) < len(l.words) && l.words[l.keys[n-1]] == c.text {
		l.keys = append(l.keys, l.keys[n-1])
		return
	}
	l.keys = append(l.keys, l.place(c.text))
}

func (l *labels) place(text string) uint32 {
	if len(l.words) == 0 {
		if l.places == nil {
			l.places = make(map[string]uint32)
		}
		l.learn("")
	}
	if text == "" {
		return 0
	}
	if at, found := l.places[text]; found {
		return at
	}
	return l.learn(strings.Clone(text))
}

func (l *labels) learn(word string) uint32 {
	at := uint32(len(l.words))
	l.words = append(l.words, word)
	l.places[word] = at
	l.dictionary.append(word)
	return at
}

func (l *labels) reset() {
	l.dictionary.reset()
	clear(l.places)
	clear(l.words)
	l.words, l.keys = l.words[:0], l.keys[:0]
}

func (l *labels) Native() [][]byte {
	kind, width := uint64(0), 1
	switch {
	case l.dictionary.count > 1<<16:
		kind, width = 2, 4
	case l.dictionary.count > 1<<8:
		kind, width = 1, 2
	}
	head := binary.LittleEndian.AppendUint64(nil, kind|dictionaryHasKeys|dictionaryUpdate)
	head = binary.LittleEndian.AppendUint64(head, uint64(l.dictionary.count))
	l.packed = l.packed[:0]
	l.packed = binary.LittleEndian.AppendUint64(l.packed, uint64(len(l.keys)))
	for _, k := range l.keys {
		switch width {
		case 1:
			l.packed = append(l.packed, byte(k))
		case 2:
			l.packed = binary.LittleEndian.AppendUint16(l.packed, uint16(k))
		default:
			l.packed = binary.LittleEndian.AppendUint32(l.packed, k)
		}
	}
	return [][]byte{head, l.dictionary.data, l.packed}
}

func (l *labels) Go() any {
	out := make([]string, len(l.keys))
	for i, k := range l.keys {
		out[i] = l.words[k]
	}
	return out
}

// lists are several strings a row, or pairs of a name and a value: where each row
// ends, and all of the strings.
type lists struct {
	pairs         bool
	ends          []byte
	end           uint64
	names, values texts
}

func (l *lists) rows() int { return len(l.ends) / 8 }

func (l *lists) pad(rows int) {
	for have := l.rows(); have < rows; have++ {
		l.ends = binary.LittleEndian.AppendUint64(l.ends, l.end)
	}
}

func (l *lists) add(c *cell) {
	for i, text := range c.list {
		if l.pairs && i%2 == 0 {
			l.names.append(text)
			continue
		}
		l.values.append(text)
		l.end++
	}
	l.ends = binary.LittleEndian.AppendUint64(l.ends, l.end)
}

func (l *lists) reset() {
	l.ends, l.end = l.ends[:0], 0
	l.names.reset()
	l.values.reset()
}

func (l *lists) Native() [][]byte {
	if l.pairs {
		return [][]byte{l.ends, l.names.data, l.values.data}
	}
	return [][]byte{l.ends, l.values.data}
}

func (l *lists) Go() any {
	names, values := l.names.strings(), l.values.strings()
	all, maps := make([][]string, l.rows()), make([]map[string]string, l.rows())
	from := uint64(0)
	for i := range all {
		to := binary.LittleEndian.Uint64(l.ends[8*i:])
		all[i] = values[from:to]
		maps[i] = make(map[string]string, to-from)
		for ; from < to; from++ {
			if l.pairs {
				maps[i][names[from]] = values[from]
			}
		}
	}
	if l.pairs {
		return maps
	}
	return all
}

// zeros adds n of them.
func zeros(b []byte, n int) []byte {
	b = slices.Grow(b, n)
	clear(b[len(b) : len(b)+n])
	return b[:len(b)+n]
}

// Column is one column of a block.
type Column struct {
	ColumnType
	Values
}

// Block is rows of one partition of one table, by columns. A column whose every row
// has the default of its type (no text, 0, no value) is left out: the table says it
// as well. Its memory is its builder's, until Builder.Free.
type Block struct {
	Table string
	// Partition of the table that all rows lie in, for example 202601; empty
	// where the table has none.
	Partition string
	Columns   []Column
	Rows      int
}

// Names of the block's columns.
func (b Block) Names() []string {
	names := make([]string, len(b.Columns))
	for i, c := range b.Columns {
		names[i] = c.Name
	}
	return names
}

// Go gives every column of the block's table by its name, those that the block leaves
// out too, as Values.Go does. It is for tests and simulations.
func (b Block) Go() (map[string]any, error) {
	i := slices.IndexFunc(All, func(t Table) bool { return t.Name == b.Table })
	if i < 0 {
		return nil, fmt.Errorf("a block of table %q, which is none", b.Table)
	}
	all := make(map[string]any)
	for _, c := range All[i].Columns {
		empty := newStore(c.Type)
		empty.pad(b.Rows)
		all[c.Name] = empty.Go()
	}
	for _, c := range b.Columns {
		all[c.Name] = c.Go()
	}
	return all, nil
}
