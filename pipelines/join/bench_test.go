package join

import (
	"encoding/binary"
	"flag"
	"fmt"
	"math"
	"runtime"
	"syscall"
	"testing"

	"settlewatch/schemas/event"
)

// benchPayments is the size of the workload: three events each but for two in a
// hundred, as in the comparison with stream engines.
var benchPayments = flag.Int("payments", 100_000, "payments of the benchmarks")

var benchAlertsOnly = flag.Bool("alertsonly", false, "benchmarks without payment snapshots")

// benchAcquirers each have a group, and payments in turn.
var benchAcquirers = flag.Int64("acquirers", 1, "acquirers of the benchmarks, each with terms of its own")

// benchBatch is less where a joiner keeps up with live traffic.
var benchBatch = flag.Int("percommit", 3_000, "records of a commit in the benchmarks")

func benchConfig() *event.Config {
	c := testConfig(nil)
	all := c.Groups[0]
	c.Groups = nil
	for i := range *benchAcquirers {
		name := fmt.Sprint("acq", i+1)
		c.Groups = append(c.Groups, &event.Group{Name: name, Terms: all.Terms, Sources: all.Sources, Acquirers: []string{name}})
	}
	return c
}

// The workload plays a payment every 10 ms: authorized, captured two seconds later
// and settled a quarter of an hour after that. Every feed marks each 10 s.
const (
	benchStepMs   = 10
	benchLagMs    = 2_000
	benchSettleMs = 1_000_000
	benchMarkMs   = 10_000
)

// benchLog is a log in its encoded form: length-prefixed records.
type benchLog struct {
	bytes  []byte
	events int
}

func (l *benchLog) add(r *event.LogRecord) {
	b, err := r.MarshalVT()
	if err != nil {
		panic(err)
	}
	l.bytes = append(binary.AppendUvarint(l.bytes, uint64(len(b))), b...)
	if r.GetEvent() != nil {
		l.events++
	}
}

// each calls fold with every record.
func (l *benchLog) each(fold func(value []byte)) {
	for rest := l.bytes; len(rest) > 0; {
		n, at := binary.Uvarint(rest)
		fold(rest[at : at+int(n)])
		rest = rest[at+int(n):]
	}
}

// newBenchLog is the log of n payments; those that are never settled stay open.
func newBenchLog(n int, settled bool) *benchLog {
	l := new(benchLog)
	var offsets [3]int64
	lag := [3]int64{0, benchLagMs, benchLagMs + benchSettleMs}
	slots := int64(n) + lag[2]/benchStepMs
	if !settled {
		slots = int64(n) + lag[1]/benchStepMs
	}
	for slot := range slots {
		at := monday10 + slot*benchStepMs
		for kind := range 3 {
			i := slot - lag[kind]/benchStepMs
			if i < 0 || i >= int64(n) || (kind > 0 && i%50 == 3) || (kind == 2 && (!settled || i%1000 == 7)) {
				continue
			}
			l.add(benchRecord(kind, i, at, offsets[kind]))
			offsets[kind]++
		}
		if at%benchMarkMs == 0 {
			for _, f := range feeds {
				l.add(markOf(f, at))
			}
		}
	}
	for _, f := range feeds {
		l.add(markOf(f, monday10+slots*benchStepMs))
	}
	return l
}

func benchRecord(kind int, i, at, offset int64) *event.LogRecord {
	amount := 100 + (i*2654435761)%1_000_000
	acquirer := fmt.Sprint("acq", i%*benchAcquirers+1)
	key := fmt.Sprintf("%s|o|%012d", acquirer, i)
	e := &event.Event{
		Id: testID(key, fmt.Sprint(kind)), PaymentKey: key, Operation: event.Operation_OPERATION_NEW, Outcome: event.Outcome_OUTCOME_ACCEPTED,
		Amounts:    &event.Amounts{Currency: "CNY", TransactionMinor: &amount},
		References: []*event.Reference{{Type: "order", Value: key[len(acquirer)+3:]}},
		Time:       &event.Time{BusinessMs: ptr(at), Zone: "Asia/Shanghai", ZoneFrom: "record"},
		Parties:    &event.Parties{Acquirer: acquirer, Merchant: fmt.Sprintf("m%d", 1000+i%5000), Terminal: fmt.Sprintf("t%d", 10_000+i%20_000)},
		Provenance: &event.Provenance{Profile: "json", ProfileVersion: 1, RawHash: testID(key, "raw")},
	}
	switch kind {
	case 0:
		e.Kind, e.Mode = event.Kind_KIND_AUTHORIZATION, event.Mode_MODE_DUAL
		e.Response = &event.Response{Code: "00", Namespace: "de39", Class: "approved"}
		e.Amounts.ApprovedMinor = &amount
	case 1:
		e.Kind = event.Kind_KIND_CAPTURE
	default:
		e.Kind, e.Stage = event.Kind_KIND_SETTLEMENT, event.Stage_STAGE_PAID_OUT
		e.Amounts.GrossMinor = &amount
		e.Line = &event.Line{BatchId: "b1", LineId: fmt.Sprint(i)}
		e.Time = &event.Time{SettlementDate: ptr(int32(20514))}
	}
	return &event.LogRecord{
		Origin: &event.Origin{Source: feeds[kind], Offset: offset}, ArrivalMs: at, Body: &event.LogRecord_Event{Event: e},
	}
}

// benchState folds a whole log in batches of benchBatch records, each committed.
type benchState struct {
	state    *State
	out      Output
	recorder *Recorder
	stored   *store
	sent     int // bytes of all commits
}

func newBenchState(b *testing.B) *benchState {
	b.Helper()
	s := &benchState{state: New(), stored: newStore()}
	if *benchAlertsOnly {
		s.state = NewAlertsOnly()
	}
	if err := s.state.Step(configRecord(benchConfig(), 0), &s.out); err != nil {
		b.Fatal(err)
	}
	s.recorder = NewRecorder(s.state)
	return s
}

func (s *benchState) fold(b *testing.B, l *benchLog) {
	b.Helper()
	n := 0
	l.each(func(value []byte) {
		s.foldRecord(b, value)
		if n++; n%*benchBatch == 0 {
			s.commit(b)
		}
	})
	s.commit(b)
}

func (s *benchState) commit(b *testing.B) {
	b.Helper()
	s.out.Reset()
	c := s.stored.commit(b, s.recorder, Position{Offset: int64(s.stored.sequence) + 1})
	defer s.recorder.Stored()
	s.sent += len(c.Delta) + len(c.Meta)
	for _, x := range c.Buckets {
		s.sent += len(x.Value)
	}
}

// load makes the state again of what is stored, and gives the milliseconds of CPU.
func (s *benchState) load(b *testing.B) float64 {
	b.Helper()
	buckets := s.stored.snapshot()
	least := int64(math.MaxInt64)
	for range 3 {
		before := cpuNs(b)
		if _, _, err := Load(s.stored.meta, buckets, s.stored.ring); err != nil {
			b.Fatal(err)
		}
		least = min(least, cpuNs(b)-before)
	}
	return float64(least) / 1e6
}

func cpuNs(b *testing.B) int64 {
	b.Helper()
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		b.Fatal(err)
	}
	return u.Utime.Nano() + u.Stime.Nano()
}

func heapBytes() float64 {
	runtime.GC()
	runtime.GC() // what is lent to nobody stays for one
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return float64(m.HeapAlloc)
}

// BenchmarkFold folds the workload's log, encoded as it lies in Kafka, with all
// commits but for Redis itself, up to before the first due time.
func BenchmarkFold(b *testing.B) {
	l := newBenchLog(*benchPayments, true)
	b.ReportAllocs()
	least := int64(math.MaxInt64) // of what a shared machine takes, the smallest says most
	sent := 0
	for b.Loop() {
		s := newBenchState(b)
		runtime.GC()
		before := cpuNs(b)
		s.fold(b, l)
		least = min(least, cpuNs(b)-before)
		sent = s.sent
	}
	b.ReportMetric(float64(least)/float64(l.events), "cpu-ns/event")
	b.ReportMetric(float64(sent)/float64(l.events), "redis-B/event")
}

// BenchmarkDue judges every payment at the moment when evidence is due, and then
// ends their lives.
func BenchmarkDue(b *testing.B) {
	l := newBenchLog(*benchPayments, true)
	b.ReportAllocs()
	due, end := int64(math.MaxInt64), int64(math.MaxInt64)
	for b.Loop() {
		b.StopTimer()
		s := newBenchState(b)
		s.fold(b, l)
		pass := func(t int64) int64 {
			before := cpuNs(b)
			for _, f := range feeds {
				if err := s.state.Step(markOf(f, t), &s.out); err != nil {
					b.Fatal(err)
				}
			}
			for s.state.Pending() {
				if err := s.state.Drain(&s.out); err != nil {
					b.Fatal(err)
				}
				s.out.Alerts, s.out.Payments = s.out.Alerts[:0], s.out.Payments[:0]
			}
			return cpuNs(b) - before
		}
		b.StartTimer()
		due = min(due, pass(tuesday12+1))
		end = min(end, pass(tuesday12+100*day))
	}
	payments := float64(*benchPayments)
	b.ReportMetric(float64(due)/payments, "due-cpu-ns/payment")
	b.ReportMetric(float64(end)/payments, "end-cpu-ns/payment")
}

// BenchmarkMemory says what a payment takes in memory and in the store, open
// (authorized and captured) and settled and kept (behind its due time): the ring under
// load, the snapshot when the ring has gone into it; and what it takes to load a partition
// of open ones.
func BenchmarkMemory(b *testing.B) {
	for b.Loop() {
		for _, settled := range []bool{false, true} {
			name := map[bool]string{false: "open", true: "settled"}[settled]
			l := newBenchLog(*benchPayments, settled)
			s := newBenchState(b)
			before := heapBytes()
			s.fold(b, l)
			if settled {
				end := new(benchLog)
				for range 1 + *benchPayments/judgedPerRecord {
					for _, f := range feeds {
						end.add(markOf(f, tuesday12+1))
					}
				}
				s.fold(b, end)
			}
			s.out = Output{}
			payments := float64(s.state.Payments())
			_, ring := s.stored.sizes()
			for s.stored.first <= s.stored.sequence {
				s.commit(b) // silence, until the ring is empty
			}
			snapshot, _ := s.stored.sizes()
			b.ReportMetric(float64(snapshot)/payments, name+"-snapshot-B/payment")
			b.ReportMetric(float64(ring)/payments, name+"-ring-B/payment")
			if !settled {
				b.ReportMetric(s.load(b), "load-cpu-ms")
			}
			s.stored = nil
			b.ReportMetric((heapBytes()-before)/payments, name+"-heap-B/payment")
			runtime.KeepAlive(s)
			runtime.KeepAlive(l)
		}
	}
}

func (s *benchState) foldRecord(b *testing.B, value []byte) {
	if err := s.state.Fold(value, &s.out); err != nil {
		b.Fatal(err)
	}
}
