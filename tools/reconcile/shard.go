package reconcile

import (
	"context"
	"sync"
	"sync/atomic"

	"settlewatch/pipelines/join"
	"settlewatch/schemas/alert"
	"settlewatch/schemas/event"
)

// place of an event in a file.
type place struct {
	line  int64
	index uint32
}

// shard joins a part of the payments.
type shard struct {
	mu     sync.Mutex // the readers of all files write to it
	whole  *join.Whole
	alerts []*alert.Alert
	totals totals
}

// take takes one event, which is the reader's again when it returns. Nothing is marked,
// so nothing is judged, and every event counts from its own arrival.
func (s *shard) take(at join.At, arrivalMs int64, e *event.Event) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.whole.Take(at, arrivalMs, e)
}

// judge judges every payment up to the moment and adds up where it stands. How many were
// judged is counted in judged.
func (s *shard) judge(ctx context.Context, asOfMs int64, judged *atomic.Int64) error {
	n := 0
	err := s.whole.Judge(asOfMs, func(j *join.Judged) error {
		s.alerts = append(s.alerts, j.Alerts...)
		s.totals.add(j)
		if n++; n%recordsBetweenLooks != 0 {
			return nil
		}
		judged.Add(recordsBetweenLooks)
		return ctx.Err()
	})
	judged.Add(int64(n % recordsBetweenLooks))
	return err
}
