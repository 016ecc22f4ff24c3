package stage

import (
	"context"
	"sync/atomic"
)

// Seats are for the partitions of one process that may collect a large insert at the
// same time: in a backlog every partition could, and the memory of a process would
// be that of all of them together.
type Seats interface {
	// Take waits for a seat.
	Take(ctx context.Context) error
	// Wanted tells whether somebody waits for one.
	Wanted() bool
	// Give gives one back.
	Give()
}

type seats struct {
	taken   chan struct{}
	waiting atomic.Int64
}

// NewSeats makes n seats. Who waits longest is next.
func NewSeats(n int) Seats { return &seats{taken: make(chan struct{}, n)} }

func (s *seats) Take(ctx context.Context) error {
	s.waiting.Add(1)
	defer s.waiting.Add(-1)
	select {
	case s.taken <- struct{}{}:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

func (s *seats) Wanted() bool { return s.waiting.Load() > 0 }

func (s *seats) Give() { <-s.taken }
