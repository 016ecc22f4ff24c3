package stage_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"reflect"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"settlewatch/pipelines/sim"
	"settlewatch/pipelines/stage"
	"settlewatch/pipelines/stage/conformance"
	"settlewatch/schemas/event"
	"settlewatch/schemas/payment"
	"settlewatch/schemas/table"
	"settlewatch/schemas/topic"
)

// loadClock moves by a step whenever it is read: inserts that the clock decides
// fall somewhere, without a wait.
type loadClock struct {
	mu   sync.Mutex
	now  time.Time
	step time.Duration
}

func (c *loadClock) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.now = c.now.Add(c.step)
	return c.now
}

func (c *loadClock) Sleep(ctx context.Context, d time.Duration) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.now = c.now.Add(d)
	return ctx.Err()
}

func newLoadClock() *loadClock {
	return &loadClock{now: time.Unix(1_700_000_000, 0), step: time.Millisecond}
}

var loadTopic = topic.PaymentLog.Name

// loadMonths are arrivals in three table partitions.
var loadMonths = []int64{1777593599999, 1777593600000, 1780272000000}

func loadValue(t *testing.T, m interface{ MarshalVT() ([]byte, error) }) stage.Record {
	t.Helper()
	b, err := m.MarshalVT()
	if err != nil {
		t.Fatal(err)
	}
	return stage.Record{Key: []byte("k"), Value: b}
}

// eventAt is a record of the log whose arrival follows from its origin.
func eventAt(t *testing.T, origin int64) stage.Record {
	t.Helper()
	return loadValue(t, conformance.EventRecord(origin, loadMonths[origin%int64(len(loadMonths))]))
}

func markAt(t *testing.T, ms int64) stage.Record {
	t.Helper()
	return loadValue(t, &event.LogRecord{ArrivalMs: ms, Body: &event.LogRecord_Mark{Mark: &event.Mark{TMs: ms}}})
}

func newLoadLog(t *testing.T, name string, records ...stage.Record) *sim.Log {
	t.Helper()
	log := sim.NewLog()
	if err := log.CreateTopic(name, 1); err != nil {
		t.Fatal(err)
	}
	appendTo(t, log, name, records...)
	return log
}

func appendTo(t *testing.T, log *sim.Log, name string, records ...stage.Record) {
	t.Helper()
	if err := log.Append(t.Context(), stage.Outgoing{Topic: name, Partition: 0, Records: records}); err != nil {
		t.Fatal(err)
	}
}

// loadOnce runs Load until everything in the log is loaded, or it fails.
func loadOnce(t *testing.T, log stage.Log, w stage.Warehouse, name string, o stage.LoadOptions) error {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	if o.Clock == nil {
		o.Clock = newLoadClock()
	}
	if o.Interval == 0 {
		o.Interval = 3 * time.Millisecond
	}
	outer := o.Progress
	o.Progress = func(p stage.LoadProgress) {
		if outer != nil {
			outer(p)
		}
		if p.Next == p.HighWatermark {
			cancel()
		}
	}
	return stage.Load(ctx, log, w, stage.Assignment{Topic: name, Offset: stage.None}, o)
}

// TestLoadExactlyOnce runs one log under random faults and restarts. Whatever
// happens, every record becomes one row, without help from the merging by
// identity; a token always stands for the same rows.
func TestLoadExactlyOnce(t *testing.T) {
	for seed := range uint64(300) {
		t.Run(fmt.Sprint("seed ", seed), func(t *testing.T) {
			random := rand.New(rand.NewPCG(seed, 0))
			var records []stage.Record
			origins, events := map[int64]bool{}, 0
			for range 50 + random.IntN(100) {
				if random.IntN(3) == 0 {
					records = append(records, markAt(t, 1))
					continue
				}
				origin := int64(random.IntN(80)) // some come again at other offsets of the log
				origins[origin] = true
				events++
				records = append(records, eventAt(t, origin))
			}
			log := newLoadLog(t, loadTopic, records...)
			w := sim.NewWarehouse()
			fault := func() sim.WarehouseFault {
				if random.IntN(4) > 0 {
					return sim.WarehouseOK
				}
				return sim.WarehouseRequestLost + sim.WarehouseFault(random.IntN(2))
			}
			rowsOf := map[string]map[string]any{}
			w.OnRecord = func(stage.Range) sim.WarehouseFault { return fault() }
			w.OnInsert = func(b table.Block, token string) sim.WarehouseFault {
				rows, err := b.Go()
				if err != nil {
					t.Error(err)
				}
				if before, seen := rowsOf[token]; seen && !reflect.DeepEqual(before, rows) {
					t.Errorf("token %s came with other rows", token)
				}
				rowsOf[token] = rows
				return fault()
			}
			for attempt := 0; ; attempt++ {
				log.LimitBatch(1 + random.IntN(20))
				// Every restart cuts the log in another way.
				err := loadOnce(t, log, w, loadTopic, stage.LoadOptions{
					MaxRows: 1 + random.IntN(15), MaxBytes: 1 + random.IntN(2000), MaxSpan: 1 + random.Int64N(30),
				})
				if err == nil {
					break
				}
				if !errors.Is(err, sim.ErrReplyLost) {
					t.Fatal(err)
				}
				if attempt > 10_000 {
					t.Fatal("no progress")
				}
			}
			if stored := len(w.Inserted(table.Events.Name)); stored != events {
				t.Errorf("%d rows are stored, want %d", stored, events)
			}
			if distinct := len(w.Distinct(table.Events)); distinct != len(origins) {
				t.Errorf("%d events are stored, want %d", distinct, len(origins))
			}
		})
	}
}

// TestLoadTwoOwners: two instances that both believe to own the partition lose
// nothing; what they write twice has the same identity.
func TestLoadTwoOwners(t *testing.T) {
	for seed := range uint64(30) {
		var records []stage.Record
		for i := range int64(120) {
			records = append(records, eventAt(t, i))
		}
		log := newLoadLog(t, loadTopic, records...)
		w := sim.NewWarehouse()
		var owners sync.WaitGroup
		for owner := range uint64(2) {
			random := rand.New(rand.NewPCG(seed, owner))
			owners.Go(func() {
				for {
					err := loadOnce(t, log, w, loadTopic, stage.LoadOptions{MaxRows: 1 + random.IntN(9)})
					if err == nil {
						return
					}
					t.Error(err)
				}
			})
		}
		owners.Wait()
		if distinct := len(w.Distinct(table.Events)); distinct != 120 {
			t.Fatalf("seed %d: %d events are stored, want 120", seed, distinct)
		}
	}
}

// TestLoadCrashBetween goes through the two places where a crash leaves a range
// recorded and its rows unknown, with more records behind it.
func TestLoadCrashBetween(t *testing.T) {
	for name, fault := range map[string]sim.WarehouseFault{
		"before the insert": sim.WarehouseRequestLost,
		"before the reply":  sim.WarehouseReplyLost,
	} {
		t.Run(name, func(t *testing.T) {
			log := newLoadLog(t, loadTopic, eventAt(t, 0), eventAt(t, 3), markAt(t, 1), eventAt(t, 6))
			w := sim.NewWarehouse()
			w.OnInsert = func(table.Block, string) sim.WarehouseFault { return fault }
			if err := loadOnce(t, log, w, loadTopic, stage.LoadOptions{MaxRows: 2}); !errors.Is(err, sim.ErrReplyLost) {
				t.Fatalf("error %v, want the fault", err)
			}
			appendTo(t, log, loadTopic, eventAt(t, 9))
			w.OnInsert = nil
			if err := loadOnce(t, log, w, loadTopic, stage.LoadOptions{MaxRows: 100}); err != nil {
				t.Fatal(err)
			}
			var origins []int64
			for _, row := range w.Inserted(table.Events.Name) {
				origins = append(origins, row["offset"].(int64))
			}
			slices.Sort(origins)
			if want := []int64{0, 3, 6, 9}; !slices.Equal(origins, want) {
				t.Errorf("origins %v are stored, want %v", origins, want)
			}
		})
	}
}

// TestLoadTopicChanged: a topic that is not the one that was loaded is refused.
func TestLoadTopicChanged(t *testing.T) {
	events := func(from, to int64) (out []stage.Record) {
		for i := from; i < to; i++ {
			out = append(out, eventAt(t, i))
		}
		return out
	}
	for _, c := range []struct {
		name    string
		change  func(t *testing.T, log *sim.Log)
		refused bool
	}{
		{"grown", func(t *testing.T, log *sim.Log) { appendTo(t, log, loadTopic, events(10, 20)...) }, false},
		{"created anew, empty", func(t *testing.T, log *sim.Log) { recreate(t, log) }, true},
		{"created anew, shorter", func(t *testing.T, log *sim.Log) { recreate(t, log, events(50, 55)...) }, true},
		{"created anew, as long", func(t *testing.T, log *sim.Log) { recreate(t, log, events(50, 60)...) }, true},
		{"created anew, longer", func(t *testing.T, log *sim.Log) { recreate(t, log, events(50, 90)...) }, true},
		{"cut below the last range", func(t *testing.T, log *sim.Log) { trim(t, log, 8) }, false},
		{"cut within the last range", func(t *testing.T, log *sim.Log) { trim(t, log, 9) }, true},
		{"cut above the last range", func(t *testing.T, log *sim.Log) {
			appendTo(t, log, loadTopic, events(10, 20)...)
			trim(t, log, 15)
		}, true},
	} {
		t.Run(c.name, func(t *testing.T) {
			log := newLoadLog(t, loadTopic, events(0, 10)...)
			w := sim.NewWarehouse()
			if err := loadOnce(t, log, w, loadTopic, stage.LoadOptions{MaxRows: 4}); err != nil {
				t.Fatal(err) // the ranges are 0 to 3, 4 to 7, 8 to 9
			}
			c.change(t, log)
			err := loadOnce(t, log, w, loadTopic, stage.LoadOptions{MaxRows: 4})
			if got := errors.Is(err, stage.ErrTopicChanged); got != c.refused {
				t.Errorf("error %v, want refused %v", err, c.refused)
			}
			if err == nil == c.refused {
				t.Errorf("error %v", err)
			}
		})
	}
}

func recreate(t *testing.T, log *sim.Log, records ...stage.Record) {
	t.Helper()
	if err := log.Recreate(loadTopic); err != nil {
		t.Fatal(err)
	}
	appendTo(t, log, loadTopic, records...)
}

func trim(t *testing.T, log *sim.Log, offset int64) {
	t.Helper()
	if err := log.Trim(loadTopic, 0, offset); err != nil {
		t.Fatal(err)
	}
}

// TestLoadMarksOnly: an idle log carries marks. They are not worth a range each,
// but what a start reads again stays bounded, and the group's offset follows.
func TestLoadMarksOnly(t *testing.T) {
	var marks []stage.Record
	for i := range int64(95) {
		marks = append(marks, markAt(t, i))
	}
	log := newLoadLog(t, loadTopic, marks...)
	w := sim.NewWarehouse()
	var ranges []string
	w.OnRecord = func(r stage.Range) sim.WarehouseFault {
		ranges = append(ranges, fmt.Sprint(r.First, "-", r.Last))
		return sim.WarehouseOK
	}
	log.LimitBatch(10)
	var next int64
	err := loadOnce(t, log, w, loadTopic, stage.LoadOptions{
		MaxSpan: 40, MaxBytes: 1, Progress: func(p stage.LoadProgress) { next = p.Next },
	})
	if err != nil {
		t.Fatal(err)
	}
	if want := []string{"0-39", "40-79"}; !slices.Equal(ranges, want) {
		t.Errorf("ranges %v, want %v", ranges, want)
	}
	if next != 95 {
		t.Errorf("next offset %d, want 95", next)
	}
}

// TestLoadRefusedRecord: what makes no row ends the load, or goes where it is told.
func TestLoadRefusedRecord(t *testing.T) {
	late := conformance.EventRecord(1, 253402300799999) // the year 9999
	log := newLoadLog(t, loadTopic, eventAt(t, 0), loadValue(t, late), stage.Record{Value: []byte("{}")}, eventAt(t, 2))
	err := loadOnce(t, log, sim.NewWarehouse(), loadTopic, stage.LoadOptions{})
	if want := "load payment-log.v1/0: record at offset 1: table events, field arrival_time: outside the years 1900 to 2261"; err == nil || err.Error() != want {
		t.Errorf("error %v, want %s", err, want)
	}

	w, refused := sim.NewWarehouse(), []string(nil)
	err = loadOnce(t, log, w, loadTopic, stage.LoadOptions{Refuse: func(_ context.Context, r stage.Refused) error {
		refused = append(refused, fmt.Sprintf("%s/%d/%d %v", r.Topic, r.Partition, r.Record.Offset, r.Err))
		return nil
	}})
	if err != nil {
		t.Fatal(err)
	}
	if len(refused) != 2 || !strings.HasPrefix(refused[0], "payment-log.v1/0/1 table events, field arrival_time") ||
		!strings.HasPrefix(refused[1], "payment-log.v1/0/2 decode log record") {
		t.Errorf("refused %q", refused)
	}
	if stored := len(w.Inserted(table.Events.Name)); stored != 2 {
		t.Errorf("%d rows are stored, want 2", stored)
	}

	failed := errors.New("dead letters are not taken")
	err = loadOnce(t, log, sim.NewWarehouse(), loadTopic, stage.LoadOptions{
		Refuse: func(context.Context, stage.Refused) error { return failed },
	})
	if !errors.Is(err, failed) {
		t.Errorf("error %v, want that of Refuse", err)
	}
}

// TestLoadHintRefused: the group's offset is only a hint.
func TestLoadHintRefused(t *testing.T) {
	log := newLoadLog(t, loadTopic, eventAt(t, 0), eventAt(t, 1))
	w := sim.NewWarehouse()
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	over := errors.New("the generation is over")
	var hintErr error
	err := stage.Load(ctx, log, w, stage.Assignment{
		Topic: loadTopic, Offset: 2, // a hint that is wrong: nothing is loaded yet
		Commit: func(context.Context, int64) error { return over },
	}, stage.LoadOptions{
		Clock: newLoadClock(), Interval: 3 * time.Millisecond,
		Progress: func(p stage.LoadProgress) {
			hintErr = p.HintErr
			cancel()
		},
	})
	if err != nil || !errors.Is(hintErr, over) {
		t.Errorf("error %v, hint error %v; want none and that of the group", err, hintErr)
	}
	if stored := len(w.Inserted(table.Events.Name)); stored != 2 {
		t.Errorf("%d rows are stored, want 2", stored)
	}
}

// compactedLog hides records, as the broker does in a compacted topic.
type compactedLog struct {
	stage.Log
	gone map[int64]bool
}

func (l compactedLog) Open(name string, partition int32) (stage.Reader, error) {
	r, err := l.Log.Open(name, partition)
	return compactedReader{r, l.gone}, err
}

type compactedReader struct {
	stage.Reader
	gone map[int64]bool
}

func (r compactedReader) Fetch(ctx context.Context, offset int64, maxWait time.Duration) (stage.Batch, error) {
	b, err := r.Reader.Fetch(ctx, offset, maxWait)
	b.Records = slices.DeleteFunc(b.Records, func(rec stage.Record) bool { return r.gone[rec.Offset] })
	return b, err
}

// TestLoadCompacted: snapshots that the broker has dropped since, the last of a
// recorded range too, are older ones of payments that come again. The highest
// version stands.
func TestLoadCompacted(t *testing.T) {
	snapshot := func(key string, version uint64, open int64) stage.Record {
		return loadValue(t, &payment.Payment{PaymentKey: key, Life: []byte{1}, Version: version, OpenMinor: open})
	}
	name := topic.Payments.Name
	log := newLoadLog(t, name, snapshot("a", 1, 10), snapshot("b", 1, 20), snapshot("a", 2, 11))
	w := sim.NewWarehouse()
	w.OnInsert = func(table.Block, string) sim.WarehouseFault { return sim.WarehouseRequestLost }
	if err := loadOnce(t, log, w, name, stage.LoadOptions{}); !errors.Is(err, sim.ErrReplyLost) {
		t.Fatalf("error %v, want the fault", err)
	}
	appendTo(t, log, name, snapshot("a", 4, 13), snapshot("b", 2, 21), snapshot("a", 3, 12))
	w.OnInsert = nil
	cut := compactedLog{log, map[int64]bool{0: true, 2: true}}
	if err := loadOnce(t, cut, w, name, stage.LoadOptions{}); err != nil {
		t.Fatal(err)
	}
	got := map[any]any{}
	for _, row := range w.Distinct(table.Payments) {
		got[row["payment_key"]] = row["open_minor"]
	}
	if want := map[any]any{"a": int64(13), "b": int64(21)}; !reflect.DeepEqual(got, want) {
		t.Errorf("open amounts %v, want %v", got, want)
	}
}

func TestLoadOptions(t *testing.T) {
	log := newLoadLog(t, loadTopic)
	for name, o := range map[string]stage.LoadOptions{
		"no clock":       {},
		"too many rows":  {Clock: newLoadClock(), MaxRows: 500_001},
		"negative bytes": {Clock: newLoadClock(), MaxBytes: -1},
	} {
		if err := stage.Load(t.Context(), log, sim.NewWarehouse(), stage.Assignment{Topic: loadTopic}, o); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
	err := stage.Load(t.Context(), log, sim.NewWarehouse(), stage.Assignment{Topic: "raw.capture.v1"}, stage.LoadOptions{Clock: newLoadClock()})
	if err == nil {
		t.Error("a topic without a table is loaded")
	}
}

// ownSeats are one partition's view of the seats that several share.
type ownSeats struct {
	shared stage.Seats
	// all is how many seats are taken, by any.
	all    *atomic.Int64
	seated atomic.Bool
}

func (s *ownSeats) Take(ctx context.Context) error {
	if err := s.shared.Take(ctx); err != nil {
		return err
	}
	s.all.Add(1)
	s.seated.Store(true)
	return nil
}

func (s *ownSeats) Wanted() bool { return s.shared.Wanted() }

func (s *ownSeats) Give() {
	s.seated.Store(false)
	s.all.Add(-1)
	s.shared.Give()
}

// TestLoadTakesSeats: of four partitions in a backlog one at a time holds more than a
// few rows; all of them finish, though one fails, and the seat is given back.
func TestLoadTakesSeats(t *testing.T) {
	var taken atomic.Int64
	shared := stage.NewSeats(1)
	var running sync.WaitGroup
	for n := range 4 {
		var records []stage.Record
		for i := range 100 {
			records = append(records, eventAt(t, int64(i)))
		}
		log, w := newLoadLog(t, loadTopic, records...), sim.NewWarehouse()
		seats := &ownSeats{shared: shared, all: &taken}
		large := 0
		w.OnInsert = func(b table.Block, _ string) sim.WarehouseFault {
			if b.Rows > 3 {
				large++
				if !seats.seated.Load() || taken.Load() != 1 {
					t.Errorf("%d rows are inserted; seated %v, %d seats taken", b.Rows, seats.seated.Load(), taken.Load())
				}
			}
			if n == 0 {
				return sim.WarehouseRequestLost
			}
			return sim.WarehouseOK
		}
		running.Go(func() {
			err := loadOnce(t, log, w, loadTopic, stage.LoadOptions{MaxRows: 20, SmallRows: 3, Seats: seats, Interval: time.Hour})
			if n == 0 && errors.Is(err, sim.ErrReplyLost) {
				return
			}
			if stored := len(w.Inserted(table.Events.Name)); err != nil || stored != len(records) || large == 0 {
				t.Errorf("%d rows, %d large inserts, error %v", stored, large, err)
			}
		})
	}
	running.Wait()
	if taken.Load() != 0 {
		t.Errorf("%d seats are taken at the end", taken.Load())
	}
	if err := shared.Take(t.Context()); err != nil {
		t.Fatal(err)
	}
	// Who waits for a seat is seen, and ends with its context.
	if shared.Wanted() {
		t.Error("a seat is wanted, and nobody waits")
	}
	ctx, cancel := context.WithCancel(t.Context())
	var waiting sync.WaitGroup
	waiting.Go(func() { _ = shared.Take(ctx) })
	for !shared.Wanted() {
		runtime.Gosched()
	}
	cancel()
	waiting.Wait()
	if err := shared.Take(ctx); !errors.Is(err, context.Canceled) {
		t.Errorf("error %v after the end, want the context's", err)
	}
}
