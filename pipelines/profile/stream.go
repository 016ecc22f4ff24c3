package profile

import (
	"bytes"
	"errors"
	"io"

	"settlewatch/pipelines/intake"
)

// errTooLarge ends a file in which one value is larger than a record may be.
var errTooLarge = errors.New("a value of more than 256 KiB")

// tape stands between a file and a parser that reads ahead: it keeps the bytes
// since a mark, counts lines, and runs dry if the mark does not move, so that no
// parser can be made to hold a whole file.
type tape struct {
	in   io.Reader
	kept []byte
	// mark stands at kept[start:]; what lies before it is moved out when there is
	// enough of it, because a mark moves with every token.
	start  int
	offset int64 // of the mark in the stream
	line   int   // of the byte at the mark, from 1
	last   error
}

func newTape(r io.Reader) *tape {
	return &tape{in: &newlines{in: r}, line: 1}
}

// readAhead is what a parser may be ahead of the mark: a record and its own buffers.
const readAhead = 3 * intake.MaxBytes

func (t *tape) Read(p []byte) (int, error) {
	if len(t.ahead()) > readAhead {
		return 0, errTooLarge
	}
	if t.start >= bufferBytes {
		t.kept = t.kept[:copy(t.kept, t.ahead())]
		t.start = 0
	}
	n, err := t.in.Read(p[:min(len(p), bufferBytes)])
	t.kept = append(t.kept, p[:n]...)
	if err != nil {
		t.last = err
	}
	return n, err
}

// ahead are the bytes since the mark.
func (t *tape) ahead() []byte { return t.kept[t.start:] }

// mark forgets what lies before the offset.
func (t *tape) mark(offset int64) {
	n := int(offset - t.offset)
	if n <= 0 || n > len(t.ahead()) {
		return
	}
	t.line += bytes.Count(t.ahead()[:n], []byte("\n"))
	t.start += n
	t.offset = offset
}

// lineAt is the line of a byte behind the mark.
func (t *tape) lineAt(offset int64) int {
	n := min(max(int(offset-t.offset), 0), len(t.ahead()))
	return t.line + bytes.Count(t.ahead()[:n], []byte("\n"))
}

// lastLine is the line on which the text ends.
func (t *tape) lastLine() int { return t.lineAt(t.offset + int64(len(t.ahead()))) }

// slice is the text between two offsets behind the mark.
func (t *tape) slice(start, end int64) []byte {
	ahead := t.ahead()
	from := min(max(int(start-t.offset), 0), len(ahead))
	to := min(max(int(end-t.offset), from), len(ahead))
	return ahead[from:to]
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
