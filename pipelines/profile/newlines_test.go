package profile

import (
	"io"
	"strings"
	"testing"
	"testing/iotest"
)

// However the bytes come, and wherever a line's end is cut in two.
func TestNewlines(t *testing.T) {
	replacer := strings.NewReplacer("\r\n", "\n", "\r", "\n")
	for _, text := range []string{"", "a", "a\nb\n", "a\r\nb\r\n", "\r\r\n\n\r", "\r\n", "a\rb\r", "\n\r\na\r\r", strings.Repeat("ab\r\n", 50_000)} {
		for name, in := range map[string]func(io.Reader) io.Reader{
			"whole": func(r io.Reader) io.Reader { return r }, "bytes": iotest.OneByteReader, "halves": iotest.HalfReader,
			"with the end": iotest.DataErrReader,
		} {
			got, err := io.ReadAll(&newlines{in: in(strings.NewReader(text))})
			if err != nil || string(got) != replacer.Replace(text) {
				t.Errorf("%q by %s: %q, %v", text[:min(len(text), 10)], name, got[:min(len(got), 10)], err)
			}
		}
	}
}
