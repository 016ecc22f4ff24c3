package stage

import "context"

// Seats are for the partitions of one process that may collect a large insert at the
// same time: in a backlog every partition could, and the memory of a process would
// be that of all of them together.
type Seats interface {
	// Take waits for a seat.
	Take(ctx context.Context) error
	// Give gives one back.
	Give()
}

type seats chan struct{}

// NewSeats makes n seats. Who waits longest is next.
func NewSeats(n int) Seats { return make(seats, n) }

func (s seats) Take(ctx context.Context) error {
	select {
	case s <- struct{}{}:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

func (s seats) Give() { <-s }
