package table

import (
	"fmt"
	"slices"
	"strconv"
	"sync"
	"time"
)

// builder is the Builder of every table: what differs is how a record fills a row.
type builder struct {
	table Table
	// partitionBy is the column whose month is the row's table partition; -1 where
	// the table has none.
	partitionBy int
	read        func(offset int64, value []byte, r *row) (ok bool, err error)
	// details is the column of the table's Details; their cells lie behind the columns'.
	details int
	pairs   []string // memory of a row's details
	// spare are blocks' memory, shared by all builders of a table.
	spare *sync.Pool

	// limits are the checks of the columns' values, nil where any fits.
	limits []func(int64) error
	row    row
	// parts are the kept rows by table partition: 202601, or 0.
	parts map[int]*part
	taken []*part
	rows  int
}

// row is one record's values by column.
type row struct {
	cells []cell
	// touched are the columns of the cells that may be set.
	touched []int
}

// at is the cell of a column, to be set.
func (r *row) at(column int) *cell {
	r.touched = append(r.touched, column)
	return &r.cells[column]
}

// clear makes every cell an unset one: what else stands in those is not read.
func (r *row) clear() {
	for _, c := range r.touched {
		r.cells[c].set = false
		if len(r.cells[c].list) > 0 {
			r.cells[c].list = r.cells[c].list[:0]
		}
	}
	r.touched = r.touched[:0]
}

// part is the kept rows of one table partition.
type part struct {
	stores []store
	rows   int
}

// spares are there for each table: a part takes megabytes, and builders fill in turns.
var spares = map[string]*sync.Pool{Events.Name: {}, Payments.Name: {}, AlertRevisions.Name: {}}

func newBuilder(t Table, partitionBy string, read func(offset int64, value []byte, r *row) (bool, error)) *builder {
	column := func(name string) int {
		return slices.IndexFunc(t.Columns, func(c ColumnType) bool { return c.Name == name })
	}
	b := &builder{
		table: t, read: read, spare: spares[t.Name], row: row{cells: make([]cell, len(t.Columns)+len(t.Details))},
		partitionBy: column(partitionBy), details: column(detailsColumn),
		parts: make(map[int]*part),
	}
	for _, c := range slices.Concat(t.Columns, t.Details) {
		b.limits = append(b.limits, limit(c.Type))
	}
	return b
}

func (b *builder) Add(offset int64, _, value []byte) error {
	defer b.row.clear()
	ok, err := b.read(offset, value, &b.row)
	if err != nil || !ok {
		return err
	}
	for _, i := range b.row.touched {
		if b.limits[i] == nil || !b.row.cells[i].set {
			continue
		}
		if err := b.limits[i](b.row.cells[i].number); err != nil {
			return &FieldError{Table: b.table.Name, Field: b.named(i).Name, Err: err}
		}
	}
	month := 0
	if b.partitionBy >= 0 {
		month = monthOf(b.row.cells[b.partitionBy].number)
	}
	p := b.parts[month]
	if p == nil {
		p = b.newPart()
		b.parts[month] = p
	}
	b.store(p)
	p.rows++
	b.rows++
	return nil
}

// store puts the row into a part.
func (b *builder) store(p *part) {
	details := cell{list: b.pairs[:0]}
	for _, i := range b.row.touched {
		switch c := &b.row.cells[i]; {
		case !c.set:
		case i < len(p.stores):
			p.stores[i].pad(p.rows)
			p.stores[i].add(c)
		default:
			of := b.named(i)
			details.list = append(details.list, of.Name, detail(of.Type, c))
		}
	}
	if len(details.list) > 0 {
		p.stores[b.details].pad(p.rows)
		p.stores[b.details].add(&details)
		b.pairs = details.list
	}
}

// named is the column or detail of a cell.
func (b *builder) named(i int) ColumnType {
	if i < len(b.table.Columns) {
		return b.table.Columns[i]
	}
	return b.table.Details[i-len(b.table.Columns)]
}

func (b *builder) newPart() *part {
	if p, ok := b.spare.Get().(*part); ok {
		return p
	}
	p := &part{stores: make([]store, len(b.table.Columns))}
	for i, c := range b.table.Columns {
		p.stores[i] = newStore(c.Type)
	}
	return p
}

func (b *builder) Rows() int { return b.rows }

func (b *builder) Blocks() []Block {
	months := make([]int, 0, len(b.parts))
	for month := range b.parts {
		months = append(months, month)
	}
	slices.Sort(months) // a map's order would give the same blocks another order
	blocks := make([]Block, 0, len(months))
	for _, month := range months {
		p := b.parts[month]
		block := Block{Table: b.table.Name, Rows: p.rows}
		if month != 0 {
			block.Partition = strconv.Itoa(month)
		}
		for i, s := range p.stores {
			if s.rows() > 0 {
				s.pad(p.rows)
				block.Columns = append(block.Columns, Column{b.table.Columns[i], s})
			}
		}
		b.taken = append(b.taken, p)
		blocks = append(blocks, block)
	}
	clear(b.parts)
	b.rows = 0
	return blocks
}

func (b *builder) Free() {
	for _, p := range b.taken {
		for _, s := range p.stores {
			s.reset()
		}
		p.rows = 0
		b.spare.Put(p)
	}
	b.taken = nil
}

// monthOf is the table partition of an instant: toYYYYMM in UTC.
func monthOf(ms int64) int {
	t := time.UnixMilli(ms).UTC()
	return t.Year()*100 + int(t.Month())
}

// refuse is an error about a field that no check of a column can say.
func refuse(table, field, format string, args ...any) error {
	return &FieldError{Table: table, Field: field, Err: fmt.Errorf(format, args...)}
}
