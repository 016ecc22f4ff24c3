package profile

import (
	"encoding/xml"
	"errors"
	"io"
	"slices"
	"strconv"
	"strings"

	"settlewatch/pipelines/intake"
)

// xmlFile reads the elements at a path, without ever holding the document.
// Names are without their namespaces.
type xmlFile struct {
	m     *mapping
	tape  *tape
	in    *xml.Decoder
	row   row
	outer map[string]string
	// open are the elements around the next token.
	open []string
	// text of the innermost element beside the records.
	text  strings.Builder
	found bool // the element around the records
}

func newXMLFile(r io.Reader, m *mapping) *xmlFile {
	t := newTape(r)
	x := &xmlFile{m: m, tape: t, in: xml.NewDecoder(t), outer: map[string]string{}}
	x.in.CharsetReader = func(_ string, input io.Reader) (io.Reader, error) { return input, nil }
	return x
}

func (x *xmlFile) each(visit func(*row) error) error {
	for {
		start := x.in.InputOffset()
		x.tape.mark(start)
		token, err := x.in.RawToken()
		if errors.Is(err, io.EOF) && len(x.open) == 0 {
			break
		} else if err != nil {
			return x.broken(err)
		}
		switch t := token.(type) {
		case xml.ProcInst:
			if err := x.declaration(t); err != nil {
				return err
			}
		case xml.StartElement:
			if err := x.start(t, start, visit); err != nil {
				return err
			}
		case xml.EndElement:
			if err := x.end(t.Name.Local); err != nil {
				return err
			}
		case xml.CharData:
			if x.text.Len() < textMax {
				x.text.Write(t)
			}
		}
	}
	if !x.found {
		return at(0, "%w: there is no element /%s", ErrNoRecords, strings.Join(x.m.records[:len(x.m.records)-1], "/"))
	}
	return nil
}

// declaration refuses a document that says another encoding than the profile.
func (x *xmlFile) declaration(t xml.ProcInst) error {
	if t.Target != "xml" {
		return nil
	}
	_, after, found := strings.Cut(string(t.Inst), "encoding=")
	if !found || after == "" {
		return nil
	}
	name, _, _ := strings.Cut(after[1:], after[:1])
	name = strings.ToLower(name)
	family := func(name string) string {
		switch name {
		case "gb2312", "gbk", "gb18030":
			return "gb"
		case "us-ascii", "ascii":
			return "utf-8"
		}
		return strings.TrimRight(name, "lbe")
	}
	if family(name) != family(x.m.encoding) {
		return at(1, "%w: the document says %s, the profile %s", ErrEncoding, intake.SafePath(name), x.m.encoding)
	}
	return nil
}

func (x *xmlFile) start(t xml.StartElement, offset int64, visit func(*row) error) error {
	if len(x.open) >= depthMax {
		return at(x.tape.lineAt(offset), "%w: nested too deeply", ErrSyntax)
	}
	x.open = append(x.open, t.Name.Local)
	x.text.Reset()
	if slices.Equal(x.open, x.m.records) {
		if err := x.record(t, offset, visit); err != nil {
			return err
		}
		x.open = x.open[:len(x.open)-1]
		x.found = true
		return nil
	}
	depth := len(x.open)
	if depth == len(x.m.records)-1 && slices.Equal(x.open, x.m.records[:depth]) {
		x.found = true
	}
	path := "/" + strings.Join(x.open, "/")
	// What stood in the last element of this path is not this one's.
	for name := range x.outer {
		if name == path || strings.HasPrefix(name, path+"/") {
			delete(x.outer, name)
		}
	}
	for _, a := range t.Attr {
		x.keep(path+"/@"+a.Name.Local, a.Value)
	}
	return nil
}

func (x *xmlFile) end(name string) error {
	if len(x.open) == 0 || x.open[len(x.open)-1] != name {
		return at(x.tape.lineAt(x.in.InputOffset()), "%w: an element is closed that was not opened", ErrSyntax)
	}
	x.keep("/"+strings.Join(x.open, "/"), strings.TrimSpace(x.text.String()))
	x.text.Reset()
	x.open = x.open[:len(x.open)-1]
	return nil
}

func (x *xmlFile) keep(path, value string) {
	if _, needed := x.m.needed[path]; needed && value != "" {
		x.outer[path] = value
	}
}

// record flattens one element: a cell for each element with text and for each
// attribute, Amount, Amount/@Ccy, @id. The second of a name is Name[2].
func (x *xmlFile) record(t xml.StartElement, offset int64, visit func(*row) error) error {
	r := &x.row
	r.reset(x.tape.lineAt(offset), nil)
	r.outer = x.outer
	if err := x.element(r, t, "", 0); err != nil {
		return x.broken(err)
	}
	end := x.in.InputOffset()
	r.raw = x.tape.slice(offset, end)
	switch {
	case len(r.raw) > intake.MaxBytes:
		r.raw, r.err = r.raw[:1024], refuse("", intake.ReasonTooLarge, "more than 256 KiB")
	case badText(r.raw, x.m.encoding):
		r.err = refuse("", intake.ReasonNotUTF8, "not in the profile's encoding")
	}
	return visit(r)
}

// element files the leaves of an element whose start has been read, and reads it
// to its end. An error is one of the document.
func (x *xmlFile) element(r *row, t xml.StartElement, path string, depth int) error {
	if depth > depthMax {
		return errTooDeep
	}
	prefix := path
	if prefix != "" {
		prefix += "/"
	}
	for _, a := range t.Attr {
		addLeaf(r, prefix+"@"+a.Name.Local, a.Value)
	}
	var text strings.Builder
	children := map[string]int{}
	for {
		token, err := x.in.RawToken()
		if errors.Is(err, io.EOF) {
			return io.ErrUnexpectedEOF
		} else if err != nil {
			return err
		}
		switch c := token.(type) {
		case xml.StartElement:
			name := c.Name.Local
			if children[name]++; children[name] > 1 {
				name += "[" + strconv.Itoa(children[name]) + "]"
			}
			if err := x.element(r, c, prefix+name, depth+1); err != nil {
				return err
			}
		case xml.EndElement:
			if c.Name.Local != t.Name.Local {
				return errNotClosed
			}
			if value := strings.TrimSpace(text.String()); value != "" {
				if path == "" {
					path = "."
				}
				addLeaf(r, path, value)
			}
			return nil
		case xml.CharData:
			text.Write(c)
		}
	}
}

// Errors of documents that encoding/xml lets pass without names' translation.
var (
	errTooDeep   = errors.New("nested too deeply")
	errNotClosed = errors.New("an element is closed that was not opened")
)

func addLeaf(r *row, name, value string) {
	switch _, twice := r.index[name]; {
	case twice:
		r.err = refuse(name, intake.ReasonDuplicateName, "two values have this path")
	case len(r.cells) >= leavesMax:
		r.err = refuse("", intake.ReasonTooLarge, "more than 1000 values")
	default:
		r.add(name, value)
	}
}

// broken is what is wrong with the document, at the line where it was noticed.
// The parser's own words are left out where they quote the text.
func (x *xmlFile) broken(err error) error {
	err = x.tape.ended(err)
	line := x.tape.lineAt(x.in.InputOffset())
	var syntax *xml.SyntaxError
	switch {
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF),
		errors.As(err, &syntax) && strings.Contains(syntax.Msg, "unexpected EOF"):
		return at(line, "%w: inside of the document", ErrTruncated)
	case errors.As(err, &syntax):
		if strings.Contains(syntax.Msg, "UTF-8") {
			return at(line, "%w: it is not %s", ErrEncoding, x.m.encoding)
		}
		return at(line, "%w: not XML", ErrSyntax)
	case errors.Is(err, errTooDeep), errors.Is(err, errNotClosed):
		return at(line, "%w: %w", ErrSyntax, err)
	}
	return &placedError{line: line, err: err}
}
