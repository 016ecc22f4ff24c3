package stage_test

import (
	"bytes"
	"context"
	"fmt"
	"maps"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"

	"settlewatch/pipelines/calendar"
	"settlewatch/pipelines/join"
	"settlewatch/pipelines/sim"
	"settlewatch/pipelines/stage"
	"settlewatch/schemas/alert"
	"settlewatch/schemas/event"
	"settlewatch/schemas/payment"
	"settlewatch/schemas/topic"
)

// The feeds of the tests. Money is due on Tuesday, evidence at 12:00 in Shanghai.
var (
	saleFeed = event.Source{Service: "authorization", Topic: topic.RawAuthorization.Name, Profile: "json", Version: 1}
	lineFeed = event.Source{Service: "settlement", Topic: topic.RawSettlement.Name, Profile: "json", Version: 1}

	monday10  = time.Date(2026, 3, 2, 2, 0, 0, 0, time.UTC).UnixMilli()
	tuesday12 = time.Date(2026, 3, 3, 4, 0, 0, 0, time.UTC).UnixMilli()
)

const hourMs = int64(time.Hour / time.Millisecond)

// configOf expects the sources, all by the same clock, in one group.
func configOf(t *testing.T, clock event.Clock, sources ...event.Source) *event.Config {
	t.Helper()
	versions, err := calendar.Versions()
	if err != nil {
		t.Fatal(err)
	}
	g := &event.Group{Name: "all", Terms: &event.Terms{
		Cycle: "T+1", Calendar: "cn-mainland", Zone: "Asia/Shanghai", Counting: event.Counting_COUNTING_FROM_CLEARING,
		PublishMs: 10 * hourMs, GraceMs: 2 * hourMs, Refunds: event.RefundMode_REFUND_MODE_NETTED,
		Stage: int32(event.Stage_STAGE_PAID_OUT), MaxFeeBps: 1000, AllowanceBps: 11500, LifeDays: 60, HoldCapDays: 30,
	}}
	for _, s := range sources {
		g.Sources = append(g.Sources, &event.ExpectedSource{Name: s.String(), Clock: clock})
	}
	return &event.Config{
		Rules: "test", JoinVersion: join.Version, AlertVersion: alert.Version, TzdataVersion: calendar.TZDataVersion,
		Calendars: versions, Groups: []*event.Group{g},
	}
}

// sale and line are events of payment number p; a line is told apart by its name.
func sale(p int, amountMinor int64) *event.Event {
	e := newEvent(p, "sale", amountMinor)
	e.Kind, e.Mode = event.Kind_KIND_AUTHORIZATION, event.Mode_MODE_SINGLE
	return e
}

func line(p int, name string, amountMinor int64) *event.Event {
	e := newEvent(p, name, amountMinor)
	e.Kind, e.Stage, e.Amounts.GrossMinor = event.Kind_KIND_SETTLEMENT, event.Stage_STAGE_PAID_OUT, &amountMinor
	return e
}

func newEvent(p int, name string, amountMinor int64) *event.Event {
	key := fmt.Sprintf("acq|o|%d", p)
	id := event.NewID(key, name)
	return &event.Event{
		Id: id[:], PaymentKey: key, Operation: event.Operation_OPERATION_NEW, Outcome: event.Outcome_OUTCOME_ACCEPTED,
		Amounts: &event.Amounts{Currency: "CNY", TransactionMinor: &amountMinor}, Time: &event.Time{},
		Parties: &event.Parties{Merchant: "898310158120004"},
	}
}

// An arrival is what one feed brings at one time: an event, or without one a
// loader's mark that says the same time.
type arrival struct {
	feed  event.Source
	atMs  int64
	event *event.Event
}

// history is some payments of every fate, and marks of both feeds every six
// hours, until all that can happen has happened. briefs of its alerts are
// historyAlerts.
func history() []arrival {
	all := []arrival{
		{saleFeed, monday10, sale(1, 100)},
		{saleFeed, monday10, sale(2, 200)},
		{saleFeed, monday10 + hourMs, sale(3, 300)},
		{saleFeed, monday10 + 2*hourMs, sale(4, 400)},
		{saleFeed, monday10 + 2*hourMs, sale(5, 500)},
		{lineFeed, monday10 + 20*hourMs, line(1, "in time", 100)},
		{lineFeed, monday10 + 20*hourMs, line(4, "first", 400)},
		{lineFeed, tuesday12, line(5, "just in time", 500)},
		{lineFeed, tuesday12 + 20*hourMs, line(3, "late", 300)},
		{lineFeed, tuesday12 + 30*hourMs, line(4, "again", 400)},
		{lineFeed, tuesday12 + 30*hourMs, line(2, "part", 50)},
	}
	const marks = 14
	for i := range int64(marks) {
		at := monday10 + i*6*hourMs + 1
		all = append(all, arrival{feed: saleFeed, atMs: at}, arrival{feed: lineFeed, atMs: at})
	}
	slices.SortStableFunc(all, func(a, b arrival) int { return int(a.atMs - b.atMs) })
	return all
}

var historyAlerts = []string{
	"acq|o|2 paid_unsettled r1 OPEN 200",
	"acq|o|2 paid_unsettled r2 OPEN 150",
	"acq|o|3 paid_unsettled r1 OPEN 300",
	"acq|o|3 paid_unsettled r2 RESOLVED 300",
	"acq|o|4 settled_twice r1 OPEN 400",
}

// logRecords are the payment log of the arrivals, as one partition holds it.
func logRecords(t *testing.T, arrivals []arrival) []*event.LogRecord {
	t.Helper()
	out := []*event.LogRecord{{
		Origin: &event.Origin{Source: "config/config.v1/0/config@1"},
		Body:   &event.LogRecord_Config{Config: configOf(t, event.Clock_CLOCK_PLAYED, saleFeed, lineFeed)},
	}}
	offsets := map[event.Source]int64{}
	for _, a := range arrivals {
		r := &event.LogRecord{Origin: &event.Origin{Source: a.feed.String(), Offset: offsets[a.feed]}, ArrivalMs: a.atMs}
		offsets[a.feed]++
		if a.event != nil {
			r.Body = &event.LogRecord_Event{Event: a.event}
		} else {
			r.Origin.Offset = 0
			r.Body = &event.LogRecord_Mark{Mark: &event.Mark{TMs: a.atMs}}
		}
		out = append(out, r)
	}
	return out
}

// encoded records of the payment log, as appended.
func encoded(t *testing.T, records ...*event.LogRecord) []stage.Record {
	t.Helper()
	out := make([]stage.Record, len(records))
	for i, r := range records {
		out[i] = loadValue(t, r)
		out[i].TimeMs = r.ArrivalMs
	}
	return out
}

// decoded records of one partition of the payment log.
func decoded(t *testing.T, log *sim.Log, partition int32) []*event.LogRecord {
	t.Helper()
	records, err := log.Records(topic.PaymentLog.Name, partition)
	if err != nil {
		t.Fatal(err)
	}
	out := make([]*event.LogRecord, len(records))
	for i, r := range records {
		out[i] = new(event.LogRecord)
		if err := out[i].UnmarshalVT(r.Value); err != nil {
			t.Fatal(err)
		}
	}
	return out
}

// newWorld has the product's topics; the payment log in so many partitions.
func newWorld(t *testing.T, logPartitions int) *sim.Log {
	t.Helper()
	log := sim.NewLog()
	for _, each := range topic.All {
		n := each.Partitions
		if each.Name == topic.PaymentLog.Name {
			n = logPartitions
		}
		if err := log.CreateTopic(each.Name, n); err != nil {
			t.Fatal(err)
		}
	}
	return log
}

// published are the alerts of all topics as payment key, kind, revision, status
// and amount, sorted. A repeat must be the same bytes as the first, and counts once.
func published(t *testing.T, log *sim.Log) (briefs []string, bodies map[string][]byte) {
	t.Helper()
	bodies = map[string][]byte{}
	for _, kind := range alert.Kinds {
		for p := range kind.Topic().Partitions {
			records, err := log.Records(kind.Topic().Name, int32(p))
			if err != nil {
				t.Fatal(err)
			}
			last := map[string]uint32{}
			for _, r := range records {
				a, err := alert.Decode(r.Value)
				if err != nil {
					t.Fatal(err)
				}
				brief := fmt.Sprintf("%s %s r%d %s %d", a.PaymentKey, a.Kind, a.Revision, a.Status, a.AmountMinor)
				if first, repeat := bodies[brief]; repeat && !bytes.Equal(first, r.Value) {
					t.Errorf("a repeat is other bytes:\n%s\n%s", first, r.Value)
				} else if !repeat && a.Revision != last[a.ID]+1 {
					t.Errorf("%s comes first after revision %d", brief, last[a.ID])
				}
				if string(r.Key) != a.PaymentKey || topic.Partition(r.Key, kind.Topic().Partitions) != int32(p) || r.TimeMs != a.MomentMs() {
					t.Errorf("%s has key %q, partition %d, time %d", brief, r.Key, p, r.TimeMs)
				}
				if want := fmt.Sprintf("%s:%d", a.ID, a.Revision); headerOf(r, "ce_id") != want {
					t.Errorf("%s has the id %q, want %q", brief, headerOf(r, "ce_id"), want)
				}
				last[a.ID] = max(last[a.ID], a.Revision)
				bodies[brief] = r.Value
			}
		}
	}
	return slices.Sorted(maps.Keys(bodies)), bodies
}

func headerOf(r stage.Record, key string) string {
	for _, h := range r.Headers {
		if h.Key == key {
			return string(h.Value)
		}
	}
	return ""
}

// snapshots are those of the highest version of all payments. An owner that was
// replaced may publish an older one later.
func snapshots(t *testing.T, log *sim.Log) map[string]*payment.Payment {
	t.Helper()
	last := map[string]*payment.Payment{}
	for p := range topic.Payments.Partitions {
		records, err := log.Records(topic.Payments.Name, int32(p))
		if err != nil {
			t.Fatal(err)
		}
		for _, r := range records {
			s := new(payment.Payment)
			if err := s.UnmarshalVT(r.Value); err != nil {
				t.Fatal(err)
			}
			before := last[s.PaymentKey]
			if before == nil || before.Version < s.Version {
				last[s.PaymentKey] = s
			} else if before.Version == s.Version && !proto.Equal(before, s) {
				t.Errorf("two snapshots of one version:\n%v\n%v", before, s)
			}
		}
	}
	return last
}

// foldLog folds one partition of the payment log and gives its alerts' bodies and
// its snapshots.
func foldLog(t *testing.T, log *sim.Log, partition int32) string {
	t.Helper()
	state, out := join.New(), new(join.Output)
	for _, r := range decoded(t, log, partition) {
		if err := state.Step(r, out); err != nil {
			t.Fatal(err)
		}
	}
	var all strings.Builder
	for _, a := range out.Alerts {
		body, err := a.Encode()
		if err != nil {
			t.Fatal(err)
		}
		all.Write(append(body, '\n'))
	}
	for _, p := range out.Payments {
		body, err := proto.MarshalOptions{Deterministic: true}.Marshal(p)
		if err != nil {
			t.Fatal(err)
		}
		fmt.Fprintf(&all, "%x\n", body)
	}
	return all.String()
}

// handClock stands until a test sets it, or goes on by a step at every look.
type handClock struct {
	mu   sync.Mutex
	ms   int64
	step int64
}

func (c *handClock) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.ms += c.step
	return time.UnixMilli(c.ms)
}

// Sleep waits by the machine's clock: nothing that is shown depends on how long.
func (c *handClock) Sleep(ctx context.Context, d time.Duration) error {
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-time.After(d):
		return nil
	}
}

func (c *handClock) set(ms int64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.ms = ms
}

// follow starts to follow the configuration topic, and publish appends a CONFIG
// and returns when it is known.
func follow(t *testing.T, log *sim.Log) (configs *stage.Configs, publish func(*event.Config)) {
	t.Helper()
	configs = stage.NewConfigs()
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- configs.Follow(ctx, log) }()
	t.Cleanup(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Errorf("follow the configuration: %v", err)
		}
	})
	return configs, func(c *event.Config) {
		t.Helper()
		before := configs.Latest()
		appendTo(t, log, topic.Config.Name, loadValue(t, c))
		for configs.Latest() == before {
			runtime.Gosched()
		}
	}
}
