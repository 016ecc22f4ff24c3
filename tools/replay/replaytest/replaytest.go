// Package replaytest makes a small payment log in memory for the tests of the
// recovery commands.
//
// What enters is a number of payments; what leaves is a log with their sales, with
// settlement lines for most of them, and with marks until all that can happen has
// happened. It is the same at every call.
package replaytest

import (
	"context"
	"fmt"
	"log/slog"
	"slices"
	"testing"
	"time"

	"settlewatch/pipelines/calendar"
	"settlewatch/pipelines/join"
	"settlewatch/pipelines/sim"
	"settlewatch/pipelines/stage"
	"settlewatch/schemas/alert"
	"settlewatch/schemas/event"
	"settlewatch/schemas/topic"
)

var (
	saleFeed = event.Source{Service: "authorization", Topic: topic.RawAuthorization.Name, Profile: "documented", Version: 1}
	lineFeed = event.Source{Service: "settlement", Topic: topic.RawSettlement.Name, Profile: "documented", Version: 1}

	// monday is 10:00 in Shanghai; evidence of T+1 is due on Tuesday at 12:00.
	monday = time.Date(2026, 3, 2, 2, 0, 0, 0, time.UTC)
)

// Config of the log: T+1 for all.
func Config(t testing.TB) *event.Config {
	t.Helper()
	versions, err := calendar.Versions()
	if err != nil {
		t.Fatal(err)
	}
	hour := time.Hour.Milliseconds()
	return &event.Config{
		Rules: "t1", JoinVersion: join.Version, AlertVersion: alert.Version, TzdataVersion: calendar.TZDataVersion, Calendars: versions,
		Groups: []*event.Group{{
			Name: "all", Sources: []*event.ExpectedSource{
				{Name: saleFeed.String(), Clock: event.Clock_CLOCK_PLAYED}, {Name: lineFeed.String(), Clock: event.Clock_CLOCK_PLAYED},
			},
			Terms: &event.Terms{
				Cycle: "T+1", Calendar: "cn-mainland", Zone: "Asia/Shanghai", Counting: event.Counting_COUNTING_FROM_CLEARING,
				PublishMs: 10 * hour, GraceMs: 2 * hour, Refunds: event.RefundMode_REFUND_MODE_NETTED,
				Stage: int32(event.Stage_STAGE_PAID_OUT), MaxFeeBps: 1000, AllowanceBps: 11500, LifeDays: 60, HoldCapDays: 30,
			},
		}},
	}
}

// Log has the product's topics, and payments in so many partitions of the payment
// log. Of four payments one is settled in time, one a day late, one twice, and one
// never.
func Log(t testing.TB, partitions, payments int) *sim.Log {
	t.Helper()
	log := sim.NewLog()
	for _, each := range topic.All {
		n := each.Partitions
		if each.Name == topic.PaymentLog.Name {
			n = partitions
		}
		if err := log.CreateTopic(each.Name, n); err != nil {
			t.Fatal(err)
		}
	}
	w := &writer{t: t, log: log, partitions: partitions, offsets: map[string]int64{}}
	w.everywhere(&event.LogRecord{
		Origin: &event.Origin{Source: "config/config.v1/0/config@1"}, Body: &event.LogRecord_Config{Config: Config(t)},
	})
	type arrival struct {
		at    time.Time
		write func(at time.Time)
	}
	var all []arrival
	for p := range payments {
		all = append(all, arrival{monday.Add(time.Duration(p) * time.Second), func(at time.Time) { w.event(saleFeed, at, sale(p)) }})
		lines := map[int][]time.Duration{0: {20 * time.Hour}, 1: {50 * time.Hour}, 2: {20 * time.Hour, 60 * time.Hour}}[p%4]
		for i, after := range lines {
			all = append(all, arrival{monday.Add(after + time.Duration(p)*time.Second), func(at time.Time) { w.event(lineFeed, at, line(p, i)) }})
		}
	}
	for at := monday; at.Before(monday.Add(5 * 24 * time.Hour)); at = at.Add(2 * time.Hour) {
		all = append(all, arrival{at.Add(time.Millisecond), func(at time.Time) { w.marks(at) }})
	}
	slices.SortStableFunc(all, func(a, b arrival) int { return a.at.Compare(b.at) })
	for _, a := range all {
		a.write(a.at)
	}
	return log
}

type writer struct {
	t          testing.TB
	log        *sim.Log
	partitions int
	offsets    map[string]int64
}

func (w *writer) append(partition int32, r *event.LogRecord) {
	w.t.Helper()
	value, err := r.MarshalVT()
	if err == nil {
		err = w.log.Append(context.Background(), stage.Outgoing{
			Topic: topic.PaymentLog.Name, Partition: partition, Records: []stage.Record{{Value: value, TimeMs: r.ArrivalMs}},
		})
	}
	if err != nil {
		w.t.Fatal(err)
	}
}

func (w *writer) everywhere(r *event.LogRecord) {
	for p := range w.partitions {
		w.append(int32(p), r)
	}
}

func (w *writer) event(feed event.Source, at time.Time, e *event.Event) {
	name := feed.String()
	w.append(topic.Partition([]byte(e.PaymentKey), w.partitions), &event.LogRecord{
		Origin: &event.Origin{Source: name, Offset: w.offsets[name]}, ArrivalMs: at.UnixMilli(), Body: &event.LogRecord_Event{Event: e},
	})
	w.offsets[name]++
}

func (w *writer) marks(at time.Time) {
	for _, feed := range []event.Source{saleFeed, lineFeed} {
		w.everywhere(&event.LogRecord{
			Origin: &event.Origin{Source: feed.String()}, ArrivalMs: at.UnixMilli(), Body: &event.LogRecord_Mark{Mark: &event.Mark{TMs: at.UnixMilli()}},
		})
	}
}

func sale(p int) *event.Event {
	e := newEvent(p, "sale")
	e.Kind, e.Mode = event.Kind_KIND_AUTHORIZATION, event.Mode_MODE_SINGLE
	return e
}

func line(p, i int) *event.Event {
	e := newEvent(p, fmt.Sprint("line ", i))
	e.Kind, e.Stage, e.Amounts.GrossMinor = event.Kind_KIND_SETTLEMENT, event.Stage_STAGE_PAID_OUT, e.Amounts.TransactionMinor
	return e
}

func newEvent(p int, name string) *event.Event {
	key := fmt.Sprintf("acq|o|%d", p)
	id, amountMinor := event.NewID(key, name), int64(100+p)
	return &event.Event{
		Id: id[:], PaymentKey: key, Operation: event.Operation_OPERATION_NEW, Outcome: event.Outcome_OUTCOME_ACCEPTED,
		Amounts: &event.Amounts{Currency: "CNY", TransactionMinor: &amountMinor}, Time: &event.Time{},
		Parties: &event.Parties{Merchant: "898310158120004"},
	}
}

// Fold runs a joiner on one partition until it has stored all of the log.
func Fold(t testing.TB, log stage.Log, partition int32, state func() stage.State, checkpoints stage.Checkpoints) error {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	reader, err := log.Open(topic.PaymentLog.Name, partition)
	if err != nil {
		t.Fatal(err)
	}
	_, end, err := reader.Bounds(ctx)
	if err != nil {
		t.Fatal(err)
	}
	j := &stage.Joiner{
		Log: log, State: func(int32) stage.State { return state() }, Clock: clock{}, Logger: slog.New(slog.DiscardHandler),
		FencedWait: time.Millisecond, CommitEvery: time.Nanosecond, Checkpoints: checkpoints,
	}
	return j.Own(ctx, stage.Assignment{
		Topic: topic.PaymentLog.Name, Partition: partition, Offset: stage.None,
		Commit: func(_ context.Context, offset int64) error {
			if offset == end {
				cancel()
			}
			return nil
		},
	})
}

type clock struct{}

func (clock) Now() time.Time { return time.Now() }

func (clock) Sleep(ctx context.Context, d time.Duration) error {
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-time.After(d):
		return nil
	}
}
