package main

import (
	"fmt"
	"io"
	"os"
	"strings"
	"sync"
	"time"

	"github.com/jedib0t/go-pretty/v6/text"
	"github.com/schollz/progressbar/v3"
	"golang.org/x/term"

	"settlewatch/schemas/money"
	"settlewatch/tools/console"
	"settlewatch/tools/demo"
	"settlewatch/tools/stack"
)

// screen shows a run to a person: a bar on a terminal, a line every two seconds
// elsewhere. Everything goes to one writer, so that standard output stays clean
// for programs.
type screen struct {
	mu       sync.Mutex
	out      io.Writer
	terminal bool
	bar      *progressbar.ProgressBar
	step     string
	spoke    time.Time
	alerts   int
	shown    int // alerts shown as they come
}

// alertsShown as they come, before the rest is only counted.
const alertsShown = 12

var _ demo.Screen = (*screen)(nil)

func newScreen(out *os.File) *screen {
	return &screen{out: out, terminal: isTerminal(out)}
}

// Write makes the screen the log of the stack: one line a step.
func (s *screen) Write(b []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.line(string(b))
	return len(b), nil
}

func (s *screen) say(format string, args ...any) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.line(fmt.Sprintf(format, args...) + "\n")
}

// line prints between two states of the bar. A line that cannot be shown changes
// nothing.
func (s *screen) line(line string) {
	if s.bar != nil && s.terminal {
		_ = s.bar.Clear()
	}
	_, _ = io.WriteString(s.out, line)
	if s.bar != nil && s.terminal {
		_ = s.bar.RenderBlank()
	}
}

// Event of a server or service process.
func (s *screen) Event(e stack.Event) {
	if e.Kind == stack.Died || e.Kind == stack.Restarted {
		s.say("! %s", e)
	}
}

// Progress of a step.
func (s *screen) Progress(step string, done, total int64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.terminal {
		if now := time.Now(); now.Sub(s.spoke) >= 2*time.Second {
			s.spoke = now
			line := fmt.Sprintf("  %s: %d of %d", step, done, total)
			if s.alerts > 0 {
				line += fmt.Sprintf("; %d alert revisions so far", s.alerts)
			}
			s.line(line + "\n")
		}
		return
	}
	if step != s.step {
		s.finishBar()
		s.step = step
		s.bar = progressbar.NewOptions64(max(total, 1),
			progressbar.OptionSetWriter(s.out), progressbar.OptionSetDescription(fmt.Sprintf("%-34s", step)),
			progressbar.OptionSetWidth(30), progressbar.OptionShowCount(), progressbar.OptionThrottle(100*time.Millisecond),
			progressbar.OptionClearOnFinish())
	}
	s.bar.ChangeMax64(max(total, 1))
	_ = s.bar.Set64(done)
}

func (s *screen) finishBar() {
	if s.bar != nil {
		_ = s.bar.Clear()
		s.bar = nil
	}
}

func (s *screen) done() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.finishBar()
	s.step = ""
}

// Alert shows the first revisions as they come and counts the rest.
func (s *screen) Alert(r demo.Revision) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.alerts++
	if s.shown >= alertsShown {
		return
	}
	if s.shown++; s.shown == alertsShown {
		s.line("  … more alerts come; they are counted from here on\n")
		return
	}
	s.line(s.cut(alertLine(r)) + "\n")
}

// showAll shows every alert from now on.
func (s *screen) showAll() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.shown = -1 << 62
}

// alertLine ends with what may be cut where the row is too short.
func alertLine(r demo.Revision) string {
	amount, err := money.Format(r.AmountMinor, r.Currency)
	if err != nil {
		amount = fmt.Sprintf("%d minor units of", r.AmountMinor)
	}
	moment := strings.Replace(r.MomentJudged, "T", " ", 1)
	moment = moment[:min(len(moment), len("2006-01-02 15:04"))]
	why := ""
	if r.Closing != nil {
		why = "  (" + r.Closing.Reason + ")"
	} else if r.Due != nil {
		why = "  due " + r.Due.MoneyDue
	}
	return fmt.Sprintf("  %s  %-14s %-9s r%d %11s %s  %s%s", moment, r.Kind, r.Status, r.Revision, amount, r.Currency, r.PaymentKey, why)
}

// cut shortens a line to what the terminal shows in one row: a wrapped row cannot
// be overwritten.
func (s *screen) cut(line string) string {
	if !s.terminal {
		return line
	}
	width, _, err := term.GetSize(int(os.Stderr.Fd()))
	if err != nil || width < 20 {
		return line
	}
	return text.Snip(line, width-1, "…")
}

// palette names the colours of the operating commands.
type palette struct{ console.Style }

func isTerminal(f *os.File) bool { return term.IsTerminal(int(f.Fd())) }

func paletteOf(out *os.File) palette { return palette{styleOf(out)} }

func (p palette) bold(s string) string  { return p.Paint(s, text.Bold) }
func (p palette) faint(s string) string { return p.Paint(s, text.Faint) }
func (p palette) good(s string) string  { return p.Paint(s, text.FgGreen) }
func (p palette) bad(s string) string   { return p.Paint(s, text.FgRed) }
func (p palette) warn(s string) string  { return p.Paint(s, text.FgYellow) }

// fetched shows a server being fetched.
func (s *screen) fetched(what string, done, total int64) {
	s.Progress(what, done, total)
}
