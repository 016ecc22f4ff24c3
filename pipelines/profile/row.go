package profile

import (
	"settlewatch/pipelines/intake"
)

// cell is one value of a record: a column, or a leaf of a tree by its path.
type cell struct{ name, value string }

// row is a record taken apart. It belongs to its reader until the next is read.
type row struct {
	line  int
	raw   []byte // as UTF-8
	cells []cell
	// index of the cells by name.
	index map[string]int
	// outer are values from outside of the record, by path with a leading '/'.
	outer map[string]string
	// err is set where the record could not be taken apart.
	err *intake.DecodeError
}

// reset begins a row of a tree, whose names are its own.
func (r *row) reset(line int, raw []byte) {
	r.line, r.raw, r.cells, r.err = line, raw, r.cells[:0], nil
	if r.index == nil {
		r.index = map[string]int{}
	}
	clear(r.index)
}

// value is the text of a column or path; empty where there is none.
func (r *row) value(name string) string {
	if name != "" && name[0] == '/' {
		return r.outer[name]
	}
	if i, found := r.index[name]; found && i < len(r.cells) {
		return r.cells[i].value
	}
	return ""
}

// add files a leaf of a tree. A second one of the same path is numbered by the
// reader, so that none is lost.
func (r *row) add(name, value string) {
	r.index[name] = len(r.cells)
	r.cells = append(r.cells, cell{name, value})
}
