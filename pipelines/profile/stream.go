package profile

import (
	"bytes"
	"errors"
	"io"

	"golang.org/x/text/transform"

	"settlewatch/pipelines/intake"
)

// errTooLarge ends a file in which one value is larger than a record may be.
var errTooLarge = errors.New("a value of more than 256 KiB")

// tape stands between a file and a parser that reads ahead: it keeps the bytes
// since a mark, counts lines, and runs dry if the mark does not move, so that no
// parser can be made to hold a whole file.
type tape struct {
	in     io.Reader
	kept   []byte // bytes [offset, offset+len(kept)) of the stream
	offset int64
	line   int // of the byte at offset, from 1
	last   error
}

func newTape(r io.Reader) *tape {
	return &tape{in: transform.NewReader(r, new(newlines)), line: 1}
}

// readAhead is what a parser may be ahead of the mark: a record and its own buffers.
const readAhead = 3 * intake.MaxBytes

func (t *tape) Read(p []byte) (int, error) {
	if len(t.kept) > readAhead {
		return 0, errTooLarge
	}
	n, err := t.in.Read(p[:min(len(p), bufferBytes)])
	t.kept = append(t.kept, p[:n]...)
	if err != nil {
		t.last = err
	}
	return n, err
}

// mark forgets what lies before the offset.
func (t *tape) mark(offset int64) {
	n := int(offset - t.offset)
	if n <= 0 || n > len(t.kept) {
		return
	}
	t.line += bytes.Count(t.kept[:n], []byte("\n"))
	t.kept = t.kept[:copy(t.kept, t.kept[n:])]
	t.offset = offset
}

// lineAt is the line of a byte behind the mark.
func (t *tape) lineAt(offset int64) int {
	n := min(max(int(offset-t.offset), 0), len(t.kept))
	return t.line + bytes.Count(t.kept[:n], []byte("\n"))
}

// slice is the text between two offsets behind the mark.
func (t *tape) slice(start, end int64) []byte {
	from := min(max(int(start-t.offset), 0), len(t.kept))
	to := min(max(int(end-t.offset), from), len(t.kept))
	return t.kept[from:to]
}

// ended tells an error of the file from one of the parser: what the reader said
// counts, a parser only sees that the text stops.
func (t *tape) ended(err error) error {
	switch {
	case errors.Is(err, errTooLarge):
		return errTooLarge
	case t.last != nil && !errors.Is(t.last, io.EOF):
		return t.last
	}
	return err
}
