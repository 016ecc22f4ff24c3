package console

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"settlewatch/pipelines/profile"
	"settlewatch/pipelines/sim"
	"settlewatch/pipelines/stage"
	"settlewatch/schemas/event"
	"settlewatch/schemas/payment"
	"settlewatch/schemas/topic"
	"settlewatch/tools/replay/replaytest"
)

// badCaptures is how many of the raw records lack their currency; each is a payment.
const badCaptures = 3

// newShop has good and bad captures by turns, all of them read by the service.
func newShop(t *testing.T) *shop {
	t.Helper()
	s := &shop{t: t, log: sim.NewLog(), committed: stage.None}
	for _, each := range topic.All {
		if err := s.log.CreateTopic(each.Name, each.Partitions); err != nil {
			t.Fatal(err)
		}
	}
	var raw []stage.Record
	for i := range 2 * badCaptures {
		currency := ""
		if i%2 == 0 {
			currency = `,"currency":"CNY"`
		}
		raw = append(raw, stage.Record{TimeMs: 1000, Value: fmt.Appendf(nil,
			`{"type":"capture","event_id":"%d","acquirer":"a","merchant_id":"m","order_id":"o%[1]d","capture_id":"c","amount_minor":100,"business_time":"2026-01-02T03:04:05Z"%s}`, i, currency)})
	}
	if err := s.log.Append(t.Context(), stage.Outgoing{Topic: topic.RawCapture.Name, Records: raw}); err != nil {
		t.Fatal(err)
	}
	s.read()
	return s
}

// read is the service, until it has nothing left to read.
func (s *shop) read() {
	s.t.Helper()
	if err := s.ingest(never, false); err != nil {
		s.t.Fatal(err)
	}
}

// person retries every letter, as the command does, with the calls of a process that
// may end. before is called before each of its calls. It gives the places that it was
// told are appended.
func (s *shop) person(f *frail, before func()) (told []int64, err error) {
	log := watched{f, before}
	letters, err := ReadLetters(s.t.Context(), log)
	if err != nil {
		return nil, err
	}
	if len(letters) != badCaptures {
		s.t.Fatalf("%d letters are found, want %d", len(letters), badCaptures)
	}
	var all []*Repaired
	for _, l := range letters {
		r, err := Repair(s.t.Context(), log, l, Edit{Set: map[string]string{"currency": "CNY"}}, profile.Documented())
		if err != nil {
			return nil, err
		}
		all = append(all, r)
	}
	done, err := AppendAll(s.t.Context(), log, all, 5000, func(r *Repaired) error {
		told = append(told, r.Source.Offset)
		return nil
	})
	if done != len(told) {
		s.t.Errorf("%d are said to be appended, %d were told", done, len(told))
	}
	return told, err
}

// watched counts every call of a log and its readers, appends and reads alike.
type watched struct {
	*frail
	before func()
}

func (w watched) Partitions(ctx context.Context, topic string) (n int, err error) {
	w.before()
	err = w.call(func() error { n, err = w.Log.Partitions(ctx, topic); return err })
	return n, err
}

func (w watched) Open(topic string, partition int32) (r stage.Reader, err error) {
	w.before()
	if err = w.call(func() error { r, err = w.Log.Open(topic, partition); return err }); err != nil {
		return nil, err
	}
	return watchedReader{r, w}, nil
}

func (w watched) Append(ctx context.Context, batches ...stage.Outgoing) error {
	w.before()
	return w.frail.Append(ctx, batches...)
}

type watchedReader struct {
	stage.Reader
	w watched
}

func (r watchedReader) Bounds(ctx context.Context) (first, end int64, err error) {
	r.w.before()
	err = r.w.call(func() error { first, end, err = r.Reader.Bounds(ctx); return err })
	return first, end, err
}

func (r watchedReader) Fetch(ctx context.Context, offset int64, wait time.Duration) (b stage.Batch, err error) {
	r.w.before()
	err = r.w.call(func() error { b, err = r.Reader.Fetch(ctx, offset, wait); return err })
	return b, err
}

// retries are how often each bad record was appended again, by its offset.
func (s *shop) retries() map[string]int {
	s.t.Helper()
	times := map[string]int{}
	for _, r := range s.raw() {
		for _, h := range r.Headers {
			if h.Key == RetryHeader {
				times[string(h.Value)]++
			}
		}
	}
	return times
}

// requireTold: what a person was told is appended is in the raw topic, and whatever
// happened, every letter can still be found.
func (s *shop) requireTold(when string, told []int64) {
	s.t.Helper()
	times := s.retries()
	for _, offset := range told {
		if place := fmt.Sprintf("%s/0/%d", topic.RawCapture.Name, offset); times[place] == 0 {
			s.t.Errorf("%s: %s was told to be appended, and is not", when, place)
		}
	}
	if letters, err := ReadLetters(s.t.Context(), s.log); err != nil || len(letters) != badCaptures {
		s.t.Fatalf("%s: %d letters are found (%v), want %d", when, len(letters), err, badCaptures)
	}
}

// requireJoined: every payment is there and has its capture once, however often it
// was sent.
func (s *shop) requireJoined(when string) {
	s.t.Helper()
	s.read()
	s.requireNothingLost(when)
	config := replaytest.Config(s.t)
	config.Groups[0].Sources = []*event.ExpectedSource{{
		Name:  event.Source{Service: "capture", Topic: topic.RawCapture.Name, Profile: "documented", Version: 1}.String(),
		Clock: event.Clock_CLOCK_PLAYED,
	}}
	times := s.retries()
	judged := replaytest.Judged(s.t, s.log, config)
	if len(times) != badCaptures || len(judged) != 2*badCaptures {
		s.t.Fatalf("%s: %d places were appended again, want %d; %d payments, want %d", when, len(times), badCaptures, len(judged), 2*badCaptures)
	}
	for i := range 2 * badCaptures {
		sent := 1
		if i%2 == 1 {
			sent = times[fmt.Sprintf("%s/0/%d", topic.RawCapture.Name, i)]
		}
		p := judged[event.PaymentKey(fmt.Sprintf("a|o|o%d", i))]
		if p == nil {
			p = &payment.Payment{}
		}
		if p.CapturedMinor != 100 || int(p.Events) != sent || int(p.Repeats) != sent-1 || p.Conflicts != 0 {
			s.t.Errorf("%s: payment %d captured %d of 100 in %d events, %d of them repeats, %d conflicts; it was sent %d times",
				when, i, p.CapturedMinor, p.Events, p.Repeats, p.Conflicts, sent)
		}
	}
}

// A retry of several letters that ends before or after any of its calls, the reads
// too, leaves every letter where it is; done again it is complete, and what was sent
// twice counts once.
func TestRetryEndsAtEveryCall(t *testing.T) {
	for _, after := range []bool{false, true} {
		for left := 1; ; left++ {
			s := newShop(t)
			when := fmt.Sprintf("ended at call %d, after it %t", left, after)
			told, err := s.person(&frail{Log: s.log, left: left, after: after}, func() {})
			s.requireTold(when, told)
			if err == nil {
				s.requireJoined(when)
				if least := 4 * badCaptures; left <= least {
					t.Errorf("a retry makes %d calls, want more than %d", left-1, least)
				}
				break
			}
			if !errors.Is(err, errEnded) {
				t.Fatal(err)
			}
			// The service may have read what was sent, or not yet.
			if left%2 == 0 {
				s.read()
			}
			if told, err = s.person(&frail{Log: s.log, left: never}, func() {}); err != nil || len(told) != badCaptures {
				t.Fatalf("%s: again: %d are appended (%v)", when, len(told), err)
			}
			s.requireTold(when, told)
			s.requireJoined(when)
		}
	}
}

// Two people retry the same letters: between any two calls of the one, the other has
// done all of it, or ended half way. None is left out, none counts twice.
func TestTwoPeopleRetry(t *testing.T) {
	all := 0
	if _, err := newShop(t).person(&frail{Log: newShop(t).log, left: never}, func() { all++ }); err != nil {
		t.Fatal(err)
	}
	for at := 1; ; at++ {
		came := false
		// The last calls are the appends.
		for _, ends := range []int{never, all - 2, all - 1} {
			s := newShop(t)
			calls := 0
			when := fmt.Sprintf("the other came before call %d, and made %d", at, ends)
			told, err := s.person(&frail{Log: s.log, left: never}, func() {
				if calls++; calls != at {
					return
				}
				came = true
				told, err := s.person(&frail{Log: s.log, left: ends, after: true}, func() {})
				if err != nil && !errors.Is(err, errEnded) {
					t.Fatal(err)
				}
				s.requireTold(when, told)
			})
			if err != nil || len(told) != badCaptures {
				t.Fatalf("%s: %d are appended (%v)", when, len(told), err)
			}
			s.requireTold(when, told)
			s.requireJoined(when)
		}
		if !came {
			break
		}
	}
}

// Ctrl-C during any append: what has been told is appended, and the rest is not
// begun. Done again it is complete.
func TestInterruptedRetry(t *testing.T) {
	for k := range badCaptures {
		s := newShop(t)
		letters, err := ReadLetters(t.Context(), s.log)
		if err != nil {
			t.Fatal(err)
		}
		var all []*Repaired
		for _, l := range letters {
			r, err := Repair(t.Context(), s.log, l, Edit{Set: map[string]string{"currency": "CNY"}}, profile.Documented())
			if err != nil {
				t.Fatal(err)
			}
			all = append(all, r)
		}
		ctx, interrupt := context.WithCancel(t.Context())
		appends := 0
		done, err := AppendAll(ctx, interrupted{s.log, func() {
			if appends == k {
				interrupt()
			}
			appends++
		}}, all, 5000, func(*Repaired) error { return nil })
		if !errors.Is(err, context.Canceled) || done != k || appends != k+1 || len(s.retries()) != k {
			t.Errorf("interrupted at append %d: %d done in %d appends, %d are there (%v)", k, done, appends, len(s.retries()), err)
		}
		if _, err := s.person(&frail{Log: s.log, left: never}, func() {}); err != nil {
			t.Fatal(err)
		}
		s.requireJoined(fmt.Sprintf("interrupted at append %d", k))
	}
}

// interrupted is a log whose caller is told to stop while it appends.
type interrupted struct {
	stage.Log
	appending func()
}

func (l interrupted) Append(ctx context.Context, batches ...stage.Outgoing) error {
	l.appending()
	if err := ctx.Err(); err != nil {
		return err
	}
	return l.Log.Append(ctx, batches...)
}
