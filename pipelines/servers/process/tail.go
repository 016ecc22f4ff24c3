package process

import (
	"io"
	"strings"
	"sync"
)

// tailBytesMax is how much of a child's output is kept for error messages.
const tailBytesMax = 16 << 10

// Tail passes a child's output on and keeps its end, so that an error can say what
// the child said last.
type Tail struct {
	next io.Writer

	mu   sync.Mutex
	kept []byte
}

// NewTail passes everything on to next, which may be nil. A failing next loses
// output and never blocks or ends the child.
func NewTail(next io.Writer) *Tail { return &Tail{next: next} }

// Write never fails.
func (t *Tail) Write(b []byte) (int, error) {
	if t.next != nil {
		_, _ = t.next.Write(b)
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	t.kept = append(t.kept, b...)
	if extra := len(t.kept) - tailBytesMax; extra > 0 {
		t.kept = append(t.kept[:0], t.kept[extra:]...)
	}
	return len(b), nil
}

// Last returns the last lines that are not blank, at most n, joined by newlines.
func (t *Tail) Last(n int) string {
	t.mu.Lock()
	defer t.mu.Unlock()
	var lines []string
	for line := range strings.Lines(string(t.kept)) {
		if line = strings.TrimSpace(line); line != "" {
			lines = append(lines, line)
		}
	}
	if extra := len(lines) - n; extra > 0 {
		lines = lines[extra:]
	}
	return strings.Join(lines, "\n")
}
