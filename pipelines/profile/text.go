package profile

import (
	"bufio"
	"bytes"
	"errors"
	"io"
	"strings"
	"unicode/utf8"

	"golang.org/x/text/encoding"
	"golang.org/x/text/encoding/simplifiedchinese"
	"golang.org/x/text/encoding/unicode"
	"golang.org/x/text/transform"

	"settlewatch/pipelines/intake"
)

// encodings are those that a profile may name; nil is UTF-8, whose errors the
// readers see themselves.
var encodings = map[string]encoding.Encoding{
	"utf-8":    nil,
	"gbk":      simplifiedchinese.GBK,
	"gb18030":  simplifiedchinese.GB18030,
	"utf-16":   unicode.UTF16(unicode.LittleEndian, unicode.UseBOM),
	"utf-16le": unicode.UTF16(unicode.LittleEndian, unicode.IgnoreBOM),
	"utf-16be": unicode.UTF16(unicode.BigEndian, unicode.IgnoreBOM),
}

const bufferBytes = 64 << 10

// decoded is the stream as UTF-8 without a byte order mark. What does not fit
// the encoding becomes U+FFFD, or stays as bytes that are no UTF-8, and is found
// where it stands.
func decoded(r io.Reader, name string) (io.Reader, error) {
	buffered := bufio.NewReaderSize(r, bufferBytes)
	start, err := buffered.Peek(4)
	if len(start) == 0 {
		if errors.Is(err, io.EOF) {
			return nil, ErrEmptyFile
		}
		return nil, err
	}
	wide := strings.HasPrefix(name, "utf-16")
	switch {
	case bytes.HasPrefix(start, []byte("\xEF\xBB\xBF")):
		if wide {
			return nil, at(1, "%w: it begins with the mark of UTF-8, the profile says %s", ErrEncoding, name)
		}
		_, _ = buffered.Discard(3) // they have been seen
		return buffered, nil       // the mark says more than the profile
	case bytes.HasPrefix(start, []byte("\xFF\xFE")) || bytes.HasPrefix(start, []byte("\xFE\xFF")):
		if !wide {
			return nil, at(1, "%w: it begins with the mark of UTF-16, the profile says %s", ErrEncoding, name)
		}
	case bytes.HasPrefix(start, []byte("\x1F\x8B")), bytes.HasPrefix(start, []byte("PK\x03\x04")):
		return nil, at(1, "%w: it is compressed; unpack it first", ErrSyntax)
	}
	coding := encodings[name]
	if coding == nil {
		return buffered, nil
	}
	decoder := transform.NewReader(buffered, coding.NewDecoder())
	if name == "utf-16le" || name == "utf-16be" {
		return skipMark(decoder)
	}
	return decoder, nil
}

// skipMark drops a byte order mark that the encoding's decoder has left.
func skipMark(r io.Reader) (io.Reader, error) {
	buffered := bufio.NewReaderSize(r, bufferBytes)
	start, err := buffered.Peek(3)
	if len(start) == 0 && err != nil && !errors.Is(err, io.EOF) {
		return nil, err
	}
	if string(start) == "\uFEFF" {
		_, _ = buffered.Discard(3) // they have been seen
	}
	return buffered, nil
}

// badText tells whether a text does not fit the encoding it was read in. Of
// UTF-8 the bytes are as they were; other encodings' decoders leave U+FFFD.
func badText(text []byte, encoding string) bool {
	if encodings[encoding] == nil {
		return !utf8.Valid(text)
	}
	return bytes.Contains(text, []byte("\uFFFD"))
}

// newlines makes every end of line, \r\n and a lone \r too, one \n: files are
// pasted together from several systems. It works where the bytes were read to, for most
// files have nothing to change.
type newlines struct {
	in    io.Reader
	wasCR bool // the last byte, which has been given as \n
}

func (n *newlines) Read(p []byte) (int, error) {
	for {
		size, err := n.in.Read(p)
		if size = n.unify(p[:size]); size > 0 || err != nil || len(p) == 0 {
			return size, err
		}
	}
}

// unify returns how many bytes of text are left, at its front.
func (n *newlines) unify(text []byte) (size int) {
	for rest := text; len(rest) > 0; {
		if n.wasCR && rest[0] == '\n' {
			n.wasCR, rest = false, rest[1:]
			continue
		}
		end := bytes.IndexByte(rest, '\r')
		if n.wasCR = end >= 0; !n.wasCR {
			if size == len(text)-len(rest) {
				return len(text)
			}
			return size + copy(text[size:], rest)
		}
		size += copy(text[size:], rest[:end])
		text[size] = '\n'
		size++
		rest = rest[end+1:]
	}
	return size
}

// lines gives physical lines with their numbers.
type lines struct {
	in   *bufio.Reader
	line int // number of the line that was read last
}

func newLines(r io.Reader) *lines {
	return &lines{in: bufio.NewReaderSize(&newlines{in: r}, intake.MaxBytes+1)}
}

// next is a line without its end. One that is longer than a record may be is cut
// there and says so. The text is valid until the next call.
func (l *lines) next() (text []byte, tooLong bool, err error) {
	text, err = l.in.ReadSlice('\n')
	switch {
	case errors.Is(err, bufio.ErrBufferFull):
		kept := bytes.Clone(text[:1024])
		for errors.Is(err, bufio.ErrBufferFull) {
			_, err = l.in.ReadSlice('\n')
		}
		if err != nil && !errors.Is(err, io.EOF) {
			return nil, false, &placedError{line: l.line + 1, err: err}
		}
		l.line++
		return kept, true, nil
	case errors.Is(err, io.EOF) && len(text) > 0:
		l.line++
		return text, false, nil
	case errors.Is(err, io.EOF):
		return nil, false, io.EOF
	case err != nil:
		return nil, false, &placedError{line: l.line + 1, err: err}
	}
	l.line++
	return text[:len(text)-1], false, nil
}

// jsonLines is the reader of JSON Lines: blank lines are nothing, every other is
// a record.
type jsonLines struct {
	lines *lines
	flat  *flattener // nil: the text alone is wanted
	row   row
	// encoding that the text was read in.
	encoding string
}

func (j *jsonLines) each(visit func(*row) error) error {
	for {
		text, tooLong, err := j.lines.next()
		if errors.Is(err, io.EOF) {
			return nil
		} else if err != nil {
			return err
		}
		if !tooLong && len(bytes.TrimSpace(text)) == 0 {
			continue
		}
		r := &j.row
		r.begin(j.lines.line, text)
		switch {
		case tooLong:
			r.refused(refuse("", intake.ReasonTooLarge, "more than 256 KiB"))
		case j.flat == nil || j.flat.scan(r, text):
		case badText(text, j.encoding):
			r.refused(refuse("", intake.ReasonNotUTF8, "not in the profile's encoding"))
		default:
			r.err = j.flat.json(r, text)
		}
		if err := visit(r); err != nil {
			return err
		}
	}
}
