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
	// shape numbers the names of the cells and their order: rows of one reader with
	// one shape have the same, and the same index. 0: the names are this row's own.
	shape int
	// shapes have been numbered so far.
	shapes int
	// plain: the cells' texts are the same between the quotes of a JSON string.
	plain bool
	// outer are values from outside of the record, by path with a leading '/'.
	outer map[string]string
	// err is set where the record could not be taken apart.
	err *intake.DecodeError
}

// reset begins a row of a tree, whose names are its own.
func (r *row) reset(line int, raw []byte) {
	r.begin(line, raw)
	r.clear()
}

// begin is reset for who calls setFlat or clear next.
func (r *row) begin(line int, raw []byte) { r.line, r.raw, r.err = line, raw, nil }

// refused is a row that could not be taken apart.
func (r *row) refused(err *intake.DecodeError) {
	r.clear()
	r.err = err
}

func (r *row) clear() {
	r.cells, r.shape, r.plain = r.cells[:0], 0, false
	if r.index == nil {
		r.index = map[string]int{}
	}
	clear(r.index)
}

// setFlat gives the row its cells at once. If they have the names of the ones before,
// their index and shape stay.
func (r *row) setFlat(cells []cell, same bool) {
	if !same {
		r.clear()
		for i := range cells {
			r.index[cells[i].name] = i
		}
		r.shapes++
		r.shape = r.shapes
	}
	r.cells, r.plain = cells, true
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

// at is value for who has asked before: hint is where the cell stood.
func (r *row) at(name string, hint *int) string {
	if i := *hint; i < len(r.cells) && r.cells[i].name == name && name[0] != '/' {
		return r.cells[i].value
	}
	if i, found := r.index[name]; found {
		*hint = i
	}
	return r.value(name)
}

// add files a leaf of a tree. A second one of the same path is numbered by the
// reader, so that none is lost.
func (r *row) add(name, value string) {
	r.index[name] = len(r.cells)
	r.cells = append(r.cells, cell{name, value})
}
