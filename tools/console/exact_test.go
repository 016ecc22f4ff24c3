package console

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"testing"
	"time"

	"settlewatch/pipelines/hop"
	"settlewatch/pipelines/intake"
	"settlewatch/pipelines/profile"
	"settlewatch/pipelines/sim"
	"settlewatch/pipelines/stage"
	"settlewatch/schemas/deadletter"
	"settlewatch/schemas/event"
	"settlewatch/schemas/topic"
)

// captures are raw records; the middle one lacks its currency.
func captures() []stage.Record {
	var out []stage.Record
	for i, currency := range []string{`"CNY"`, ``, `"CNY"`} {
		if currency != "" {
			currency = `,"currency":` + currency
		}
		out = append(out, stage.Record{TimeMs: 1000, Value: fmt.Appendf(nil,
			`{"type":"capture","event_id":"%d","acquirer":"a","merchant_id":"m","order_id":"o%[1]d","capture_id":"c","amount_minor":100,"business_time":"2026-01-02T03:04:05Z"%s}`, i, currency)})
	}
	return out
}

// frail is a log of a process that ends at one of its calls, before or after what the
// call does.
type frail struct {
	stage.Log
	left  int
	after bool
}

var errEnded = errors.New("the process has ended")

func (f *frail) call(do func() error) error {
	if f.left--; f.left == 0 && !f.after || f.left < 0 {
		return errEnded
	}
	err := do()
	if f.left == 0 {
		return errEnded
	}
	return err
}

func (f *frail) Append(ctx context.Context, batches ...stage.Outgoing) error {
	for _, b := range batches {
		if err := f.call(func() error { return f.Log.Append(ctx, b) }); err != nil {
			return err
		}
	}
	return nil
}

// reading is the service of the raw topic.
type reading struct{ decoder *intake.Decoder }

func (r reading) Events(raw []byte, to []*event.Event) ([]*event.Event, error) {
	e, err := r.decoder.Decode(raw)
	if err != nil {
		return nil, err
	}
	return append(to, e), nil
}

func (reading) DeadLetter(source event.Source, raw stage.Record, reason error) (stage.Record, error) {
	l := deadletter.Letter{
		Service: source.Service, Profile: "documented@1", Reason: "x", Detail: reason.Error(), ArrivalMs: raw.TimeMs,
		Source:  deadletter.Source{Topic: source.Topic, Partition: source.Partition, Offset: raw.Offset},
		Payload: deadletter.NewPayload(intake.Mask(raw.Value)),
	}
	value, err := l.Encode()
	return stage.Record{Key: l.Key(), Value: value}, err
}

// shop is a raw topic with what becomes of it.
type shop struct {
	t         *testing.T
	log       *sim.Log
	committed int64
}

type still struct{}

func (still) Now() time.Time { return time.UnixMilli(1_000_000) }

func (still) Sleep(ctx context.Context, _ time.Duration) error { return ctx.Err() }

// ingest is a process that reads until all is appended and committed, or it ends.
func (s *shop) ingest(left int, after bool) error {
	f := &frail{Log: s.log, left: left, after: after}
	ctx, cancel := context.WithCancel(s.t.Context())
	defer cancel()
	in := &stage.Ingest{
		Log: f, Clock: still{}, Configs: stage.NewConfigs(), Intake: reading{intake.NewDecoder(intake.Capture, intake.TokenKey{})},
		Logger: slog.New(slog.DiscardHandler), Service: "capture", Profile: "documented", Version: 1,
		Seen: func(p stage.IngestProgress) {
			if p.Next == p.HighWatermark && p.Next == s.committed {
				cancel()
			}
		},
	}
	return in.Own(ctx, stage.Assignment{Topic: topic.RawCapture.Name, Offset: s.committed, Commit: func(_ context.Context, offset int64) error {
		return f.call(func() error { s.committed = offset; return nil })
	}})
}

// never is more calls than a process makes.
const never = 1 << 30

// raw is what there is to read; one that arrives after the retry has its own offset.
func (s *shop) raw() []stage.Record {
	s.t.Helper()
	records, err := s.log.Records(topic.RawCapture.Name, 0)
	if err != nil {
		s.t.Fatal(err)
	}
	return records
}

// requireNothingLost: every raw record is one event, by the reader's rule, or one
// letter; and gives how often each event is in the log, by its id.
func (s *shop) requireNothingLost(when string) map[event.ID]int {
	s.t.Helper()
	became := map[int64][]string{}
	events := map[event.ID]int{}
	n, err := s.log.Partitions(s.t.Context(), topic.PaymentLog.Name)
	if err != nil {
		s.t.Fatal(err)
	}
	for p := range int32(n) {
		records, err := s.log.Records(topic.PaymentLog.Name, p)
		if err != nil {
			s.t.Fatal(err)
		}
		reader := hop.NewReader(nil, nil)
		for _, r := range records {
			var record event.LogRecord
			if err := record.UnmarshalVT(r.Value); err != nil {
				s.t.Fatal(err)
			}
			if _, fresh := reader.Accept(record.Origin); fresh {
				became[record.Origin.Offset] = append(became[record.Origin.Offset], "event")
				events[event.ID(record.GetEvent().Id)]++
			}
		}
	}
	letters, err := ReadLetters(s.t.Context(), s.log)
	if err != nil {
		s.t.Fatal(err)
	}
	for _, l := range letters {
		became[l.Source.Offset] = append(became[l.Source.Offset], "letter")
	}
	for _, r := range s.raw() {
		if len(became[r.Offset]) != 1 {
			s.t.Fatalf("%s: raw offset %d became %v", when, r.Offset, became[r.Offset])
		}
	}
	return events
}

// retry is an operator who corrects the one letter. A process that ends before it
// hears of the append is started again.
func (s *shop) retry(times int) {
	s.t.Helper()
	for range times {
		letters, err := ReadLetters(s.t.Context(), s.log)
		if err != nil || len(letters) != 1 {
			s.t.Fatalf("%d letters (%v)", len(letters), err)
		}
		r, err := Repair(s.t.Context(), s.log, letters[0], Edit{Set: map[string]string{"currency": "CNY"}}, profile.Documented())
		if err == nil {
			err = r.Append(s.t.Context(), s.log, 5000)
		}
		if err != nil {
			s.t.Fatal(err)
		}
	}
}

// Between a dead letter and its retry nothing is lost, wherever a process ends: every
// raw record becomes one event or one letter, and the corrected one is in the log. Sent
// again twice, it is the same event, by its id, which the join takes for a repeat.
func TestNothingIsLostBetweenALetterAndItsRetry(t *testing.T) {
	for _, retries := range []int{1, 2} {
		for left := 1; ; left++ {
			ended := false
			for _, after := range []bool{false, true} {
				s := &shop{t: t, log: sim.NewLog(), committed: stage.None}
				for _, each := range topic.All {
					if err := s.log.CreateTopic(each.Name, each.Partitions); err != nil {
						t.Fatal(err)
					}
				}
				if err := s.log.Append(t.Context(), stage.Outgoing{Topic: topic.RawCapture.Name, Records: captures()}); err != nil {
					t.Fatal(err)
				}
				crash := func(when string) map[event.ID]int {
					t.Helper()
					if err := s.ingest(left, after); errors.Is(err, errEnded) {
						ended = true
						if err := s.ingest(never, false); err != nil {
							t.Fatal(err)
						}
					} else if err != nil {
						t.Fatal(err)
					}
					return s.requireNothingLost(when)
				}
				before := crash("before the retry")
				s.retry(retries)
				now := crash("after the retry")
				fresh := 0
				for id, n := range now {
					if _, known := before[id]; !known {
						fresh++
						if n != retries {
							t.Errorf("the corrected event came %d times, sent %d times", n, retries)
						}
					} else if n != before[id] {
						t.Errorf("event %s came again", id)
					}
				}
				if fresh != 1 || len(before) != 2 {
					t.Fatalf("%d events before, %d new ones after %d retries", len(before), fresh, retries)
				}
			}
			if !ended {
				if left < 4 {
					t.Errorf("a process makes %d calls", left-1)
				}
				break
			}
		}
	}
}
