package stack

import (
	"fmt"
	"strings"
	"time"
)

// Kind of an event.
type Kind int

// The kinds of events.
const (
	// Started is the first start.
	Started Kind = iota + 1
	// Died is an end that nobody asked for; another start follows after Delay.
	Died
	// Restarted follows Died.
	Restarted
	// Stopped is an end that was asked for.
	Stopped
)

// Event is something that happened to a server or service.
type Event struct {
	// Name of the server or service.
	Name string
	Kind Kind
	// Pid of the process that the event is about; 0 if there is none.
	Pid int
	// Err says how it ended: nil for exit status 0. Of Stopped, that it had to be
	// killed.
	Err error
	// Said is the last line of its log, of Died only.
	Said string
	// Delay until the next start, of Died only.
	Delay time.Duration
	// Restarts counts the starts after the first.
	Restarts int
}

// String is a line for people, such as "capture died (signal: killed); starting it
// again in 200ms".
func (e Event) String() string {
	var line strings.Builder
	line.WriteString(e.Name)
	switch e.Kind {
	case Started:
		line.WriteString(" started")
	case Died:
		line.WriteString(" died")
	case Restarted:
		line.WriteString(" restarted")
	case Stopped:
		line.WriteString(" stopped")
	}
	switch {
	case e.Err != nil:
		fmt.Fprintf(&line, " (%v)", e.Err)
	case e.Kind == Died:
		line.WriteString(" (exit status 0)")
	}
	if e.Said != "" {
		line.WriteString(": " + e.Said)
	}
	if e.Kind == Died {
		fmt.Fprintf(&line, "; starting it again in %s", e.Delay)
	}
	return line.String()
}

const (
	backoffMin = 200 * time.Millisecond
	backoffMax = 10 * time.Second
	// backoffReset is the life after which a death counts as the first again.
	backoffReset = 20 * time.Second
)

// backoff doubles the pause between starts of what dies soon.
type backoff struct{ last time.Duration }

// next is the pause after a life of the given length.
func (b *backoff) next(life time.Duration) time.Duration {
	if life >= backoffReset {
		b.last = 0
	}
	b.last = min(max(2*b.last, backoffMin), backoffMax)
	return b.last
}
