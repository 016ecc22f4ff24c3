package reconcile

import (
	"context"
	"sync"
	"sync/atomic"

	"settlewatch/pipelines/join"
	"settlewatch/schemas/alert"
	"settlewatch/schemas/event"
	"settlewatch/schemas/payment"
)

// item is one event on its way from a file into a shard. The event is the reader's
// again when it has been folded.
type item struct {
	event     *event.Event
	source    string // of the file and feed
	file      int32
	arrivalMs int64
	place
}

// place of an event in a file.
type place struct {
	line  int64
	index uint32
}

// shard joins a part of the payments.
type shard struct {
	mu     sync.Mutex // the readers of all files fold into it
	state  *join.State
	asOfMs int64
	record event.LogRecord // used again for every step
	origin event.Origin
	body   event.LogRecord_Event
	out    join.Output
	alerts []*alert.Alert
	totals totals
	notes  notes
}

// configSource is the source of the one CONFIG record.
const configSource = "config/config.v1/0/config@1"

func newShard(config *event.Config, asOfMs int64) (*shard, error) {
	s := &shard{state: join.NewLateSnapshots(), asOfMs: asOfMs}
	s.record.Origin, s.record.Body = &s.origin, &s.body
	err := s.state.Step(&event.LogRecord{
		Origin: &event.Origin{Source: configSource}, Body: &event.LogRecord_Config{Config: config},
	}, new(join.Output))
	return s, err
}

// fold takes one event. Nothing is marked, so nothing is judged, and every event
// counts from its own arrival.
func (s *shard) fold(it item) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.notes.add(&it)
	s.origin.Source, s.origin.Offset, s.origin.Index = it.source, it.line, it.index
	s.record.ArrivalMs, s.body.Event = it.arrivalMs, it.event
	return s.state.Step(&s.record, &s.out)
}

// judge files what was folded, marks every source and drains; only the last mark moves
// the frontier. Then it adds up where each payment stands. What is judged is counted in
// judged.
func (s *shard) judge(ctx context.Context, sources []string, judged *atomic.Int64) error {
	if err := s.state.FileWaiting(ctx.Err); err != nil {
		return err
	}
	var out join.Output
	for _, source := range sources {
		err := s.state.Step(&event.LogRecord{
			Origin: &event.Origin{Source: source}, ArrivalMs: s.asOfMs,
			Body: &event.LogRecord_Mark{Mark: &event.Mark{TMs: s.asOfMs}},
		}, &out)
		if err != nil {
			return err
		}
	}
	lives := newLives(&s.totals)
	for {
		judged.Add(int64(len(out.Payments)))
		s.alerts = append(s.alerts, out.Alerts...)
		for _, p := range out.Payments {
			lives.ended(standingOf(p))
		}
		out.Reset()
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if !s.state.Pending() {
			break
		}
		if err := s.state.Drain(&out); err != nil {
			return err
		}
	}
	n := 0
	err := s.state.LateSnapshots(func(p *payment.Payment) error {
		lives.last(standingOf(p))
		if n++; n%recordsBetweenLooks != 0 {
			return nil
		}
		judged.Add(recordsBetweenLooks)
		return ctx.Err()
	})
	lives.close()
	return err
}
