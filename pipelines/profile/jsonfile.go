package profile

import (
	"errors"
	"io"
	"strings"

	"github.com/go-json-experiment/json/jsontext"

	"settlewatch/pipelines/intake"
)

// jsonFile reads the elements of the array at a path of one document, without
// ever holding the document.
type jsonFile struct {
	m     *mapping
	tape  *tape
	in    *jsontext.Decoder
	flat  flattener
	row   row
	outer map[string]string
	visit func(*row) error
	found bool
}

func newJSONFile(r io.Reader, m *mapping) *jsonFile {
	t := newTape(r)
	return &jsonFile{
		m: m, tape: t, outer: map[string]string{},
		in: jsontext.NewDecoder(t, jsontext.AllowDuplicateNames(true), jsontext.AllowInvalidUTF8(true)),
	}
}

func (j *jsonFile) each(visit func(*row) error) error {
	j.visit = visit
	if err := j.walk(j.m.records, ""); err != nil {
		return err
	}
	if !j.found {
		return at(0, "%w: there is no array at %q", ErrNoRecords, strings.Join(j.m.records, "."))
	}
	if _, err := j.token(); !errors.Is(err, io.EOF) {
		return at(j.line(), "%w: something follows the document", ErrSyntax)
	}
	return nil
}

// line of the next byte that is read.
func (j *jsonFile) line() int { return j.tape.lineAt(j.in.InputOffset()) }

// token reads on, and lets go of what lies behind.
func (j *jsonFile) token() (jsontext.Token, error) {
	j.tape.mark(j.in.InputOffset())
	return j.in.ReadToken()
}

// broken is what is wrong with the document, at the line where it was noticed.
func (j *jsonFile) broken(err error) error {
	err = j.tape.ended(err)
	var syntax *jsontext.SyntacticError
	switch {
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
		return at(j.tape.lastLine(), "%w: inside of the document", ErrTruncated)
	case errors.As(err, &syntax):
		return at(j.tape.lineAt(syntax.ByteOffset), "%w: not JSON", ErrSyntax)
	}
	return &placedError{line: j.line(), err: err}
}

// walk follows the path to the records. A '*' stands for every element or member.
func (j *jsonFile) walk(steps []string, prefix string) error {
	switch kind := j.in.PeekKind(); {
	case kind == '[' && len(steps) == 0:
		return j.records()
	case kind == '{' && len(steps) > 0:
		return j.object(steps, prefix)
	case kind == '[' && steps[0] == "*":
		if _, err := j.token(); err != nil {
			return j.broken(err)
		}
		for j.in.PeekKind() != ']' {
			if err := j.walk(steps[1:], prefix+".*"); err != nil {
				return err
			}
		}
		if _, err := j.token(); err != nil {
			return j.broken(err)
		}
		return nil
	default:
		return j.skip("")
	}
}

func (j *jsonFile) object(steps []string, prefix string) error {
	if _, err := j.token(); err != nil {
		return j.broken(err)
	}
	// What stood in the last object of this path is not this one's.
	for name := range j.outer {
		if strings.HasPrefix(name, "/"+strings.TrimPrefix(prefix+".", ".")) {
			delete(j.outer, name)
		}
	}
	for {
		name, err := j.token()
		if err != nil {
			return j.broken(err)
		}
		if name.Kind() == '}' {
			return nil
		}
		key := name.String()
		if key == steps[0] || steps[0] == "*" {
			step := key
			if steps[0] == "*" {
				step = "*"
			}
			err = j.walk(steps[1:], prefix+"."+step)
		} else {
			err = j.skip(prefix + "." + key)
		}
		if err != nil {
			return err
		}
	}
}

// skip goes over a value. Of what lies beside the records, the scalars that the
// profile names are kept.
func (j *jsonFile) skip(path string) error {
	depth := 0
	var names []string // of the objects that are open; "" for an array
	for {
		kind := j.in.PeekKind()
		token, err := j.token()
		if err != nil {
			return j.broken(err)
		}
		switch kind {
		case '{', '[':
			depth++
			names = append(names, "")
		case '}', ']':
			depth--
			names = names[:len(names)-1]
		default:
			if container, count := j.in.StackIndex(j.in.StackDepth()); depth > 0 && container == '{' && count%2 == 1 {
				names[depth-1] = token.String()
				continue
			}
			j.keep(path, names, token)
		}
		if depth == 0 {
			return nil
		}
	}
}

func (j *jsonFile) keep(path string, names []string, token jsontext.Token) {
	if path == "" || token.Kind() == 'n' {
		return
	}
	full := "/" + strings.TrimPrefix(path, ".")
	for _, name := range names {
		if name == "" {
			return // inside of another array
		}
		full += "." + name
	}
	if _, needed := j.m.needed[full]; needed {
		j.outer[full] = token.String()
	}
}

// records visits the elements of the array.
func (j *jsonFile) records() error {
	j.found = true
	if _, err := j.token(); err != nil {
		return j.broken(err)
	}
	for j.in.PeekKind() != ']' {
		j.tape.mark(j.in.InputOffset())
		value, err := j.in.ReadValue()
		if err != nil {
			return j.broken(err)
		}
		r := &j.row
		r.begin(j.tape.lineAt(j.in.InputOffset()-int64(len(value))), value)
		r.outer = j.outer
		switch {
		case len(value) > intake.MaxBytes:
			r.refused(refuse("", intake.ReasonTooLarge, "more than 256 KiB"))
			r.raw = value[:1024]
		case j.flat.scan(r, value):
		case badText(value, j.m.encoding):
			r.refused(refuse("", intake.ReasonNotUTF8, "not in the profile's encoding"))
		case value.Kind() != '{' && value.Kind() != '[':
			r.refused(refuse("", intake.ReasonWrongType, "not an object"))
		default:
			r.err = j.flat.json(r, value)
		}
		if err := j.visit(r); err != nil {
			return err
		}
	}
	_, err := j.token()
	if err != nil {
		return j.broken(err)
	}
	return nil
}
