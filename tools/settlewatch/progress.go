package main

import (
	"os"
	"time"
)

// progressOf shows how far a command has come, in records: a bar on a terminal, a
// line every two seconds elsewhere. done takes the bar away.
func progressOf(step string) (show func(done, total int64), done func()) {
	s := newScreen(os.Stderr)
	if s.terminal {
		return func(n, total int64) { s.Progress(step, n, total) }, s.done
	}
	spoke := time.Now()
	return func(n, total int64) {
		if now := time.Now(); now.Sub(spoke) >= 2*time.Second {
			spoke = now
			s.say("%s: %d of %d", step, n, total)
		}
	}, func() {}
}
