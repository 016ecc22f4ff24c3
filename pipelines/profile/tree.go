package profile

import (
	"bytes"
	"errors"
	"strconv"
	"strings"

	"github.com/go-json-experiment/json/jsontext"

	"settlewatch/pipelines/intake"
)

// What bounds a tree: its leaves, and how deep it is.
const (
	leavesMax = 1000
	depthMax  = 64
)

// flattener makes a row of a JSON value: a cell for each leaf, named by its path,
// amount.value or items.0.id. A scalar by itself has the path ".".
type flattener struct {
	path  []byte
	leafs int
	// names are those of the last record that was scanned.
	names []memberName
	// moved: not all of them had a cell.
	moved bool
}

func (f *flattener) json(r *row, text []byte) *intake.DecodeError {
	r.clear()
	d := jsontext.NewDecoder(bytes.NewBuffer(text))
	f.path, f.leafs = f.path[:0], 0
	if err := f.value(r, d, 0); err != nil {
		return err
	}
	if _, err := d.ReadToken(); err == nil {
		return refuse("", intake.ReasonNotJSON, "something follows the value")
	}
	return nil
}

func (f *flattener) value(r *row, d *jsontext.Decoder, depth int) *intake.DecodeError {
	token, err := d.ReadToken()
	if err != nil {
		return jsonProblem(err, string(f.path))
	}
	if depth > depthMax {
		return refuse("", intake.ReasonTooLarge, "nested too deeply")
	}
	switch token.Kind() {
	case '{':
		return f.members(r, d, depth)
	case '[':
		size := len(f.path)
		for i := 0; d.PeekKind() != ']'; i++ {
			f.enter(strconv.Itoa(i))
			if err := f.value(r, d, depth+1); err != nil {
				return err
			}
			f.path = f.path[:size]
		}
		_, err := d.ReadToken()
		return jsonProblem(err, string(f.path))
	case 'n':
		return nil // null says nothing, as if the member were not there
	}
	if f.leafs++; f.leafs > leavesMax {
		return refuse("", intake.ReasonTooLarge, "more than 1000 values")
	}
	name := string(f.path)
	if name == "" {
		name = "."
	}
	// Two ways may lead to one path, {"a":{"b":1},"a.b":2}; which is meant, nobody
	// could say.
	if _, twice := r.index[name]; twice {
		return refuse(name, intake.ReasonDuplicateName, "two values have this path")
	}
	r.add(name, token.String())
	return nil
}

func (f *flattener) members(r *row, d *jsontext.Decoder, depth int) *intake.DecodeError {
	size := len(f.path)
	for d.PeekKind() == '"' {
		name, err := d.ReadToken()
		if err != nil {
			return jsonProblem(err, string(f.path))
		}
		f.enter(name.String())
		if err := f.value(r, d, depth+1); err != nil {
			return err
		}
		f.path = f.path[:size]
	}
	_, err := d.ReadToken()
	return jsonProblem(err, string(f.path))
}

func (f *flattener) enter(name string) {
	if len(f.path) > 0 {
		f.path = append(f.path, '.')
	}
	f.path = append(f.path, name...)
}

// jsonProblem says what is wrong with JSON without quoting it.
func jsonProblem(err error, path string) *intake.DecodeError {
	switch {
	case err == nil:
		return nil
	case errors.Is(err, jsontext.ErrDuplicateName):
		return refuse(path, intake.ReasonDuplicateName, "a name occurs twice")
	case strings.Contains(err.Error(), "unexpected EOF"):
		return refuse(path, intake.ReasonNotJSON, "ends too early")
	default:
		return refuse(path, intake.ReasonNotJSON, "not JSON")
	}
}
