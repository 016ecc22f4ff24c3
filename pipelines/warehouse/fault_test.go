package warehouse_test

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/ClickHouse/clickhouse-go/v2"

	"settlewatch/pipelines/servers"
	"settlewatch/pipelines/servers/serverstest"
	"settlewatch/pipelines/sim"
	"settlewatch/pipelines/stage"
	"settlewatch/pipelines/stage/conformance"
	"settlewatch/pipelines/warehouse"
	"settlewatch/schemas/event"
	"settlewatch/schemas/table"
	"settlewatch/schemas/topic"
)

const (
	retryFirst = time.Millisecond
	retryMax   = 20 * time.Millisecond
)

// through is a second adapter on the test's database, by way of an address.
func (f fresh) through(t *testing.T, addr string, onRetry func(error, time.Duration)) *warehouse.Warehouse {
	t.Helper()
	w, err := warehouse.Dial(t.Context(), warehouse.Options{
		Addrs: []string{addr}, Database: f.database, RetryFirst: retryFirst, RetryMax: retryMax, OnRetry: onRetry,
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = w.Close() })
	return w
}

// manyEvents is a block too large to be taken for the head of a request: ids do
// not compress.
func manyEvents(t *testing.T, n int64) table.Block {
	t.Helper()
	b, err := table.NewBuilder(topic.PaymentLog.Name, 0)
	if err != nil {
		t.Fatal(err)
	}
	for i := range n {
		rec := conformance.EventRecord(i, 1)
		id := event.NewID("many", fmt.Sprint(i))
		rec.GetEvent().PaymentKey = id.String()
		if err := b.Add(i, nil, body(t, rec)); err != nil {
			t.Fatal(err)
		}
	}
	return b.Blocks()[0]
}

// TestReplyLost: the server has the rows, the client never hears. The same insert
// goes out again, and the rows are there once.
func TestReplyLost(t *testing.T) {
	f := open(t)
	p := newProxy(t, serverstest.ClickHouse(t).Native)
	var retries atomic.Int32
	w := f.through(t, p.addr, func(error, time.Duration) { retries.Add(1) })
	p.lose.Store(3)
	if err := w.Insert(t.Context(), manyEvents(t, 2000), "token"); err != nil {
		t.Fatal(err)
	}
	if p.lost.Load() != 3 || retries.Load() < 3 {
		t.Fatalf("%d replies lost and %d retries: the test tests nothing", p.lost.Load(), retries.Load())
	}
	if stored, _ := f.Events(t); stored != 2000 {
		t.Errorf("%d rows are stored, want 2000", stored)
	}
}

// TestTooManyParts: the server throttles; the insert waits and goes in once.
func TestTooManyParts(t *testing.T) {
	f := open(t)
	alter := func(setting string) {
		if err := f.conn.Exec(context.Background(), f.named("ALTER TABLE db.events "+setting)); err != nil {
			t.Error(err)
		}
	}
	f.put(t, topic.PaymentLog.Name, body(t, conformance.EventRecord(1, 1)))
	f.put(t, topic.PaymentLog.Name, body(t, conformance.EventRecord(2, 1)))
	alter("MODIFY SETTING parts_to_throw_insert = 1, parts_to_delay_insert = 0")
	var seen []string
	w := f.through(t, serverstest.ClickHouse(t).Native, func(err error, _ time.Duration) {
		seen = append(seen, err.Error())
		if len(seen) == 3 {
			alter("RESET SETTING parts_to_throw_insert, parts_to_delay_insert")
		}
	})
	if err := w.Insert(t.Context(), manyEvents(t, 5), "token"); err != nil {
		t.Fatal(err)
	}
	if len(seen) != 3 || !strings.Contains(seen[0], "insert 5 rows into events: clickhouse at 127.0.0.1") {
		t.Errorf("retries %q", seen)
	}
	if stored, _ := f.Events(t); stored != 7 {
		t.Errorf("%d rows are stored, want 7", stored)
	}
}

// TestFinalError: what no second try changes is returned at once.
func TestFinalError(t *testing.T) {
	f := open(t)
	w := f.through(t, serverstest.ClickHouse(t).Native, func(err error, _ time.Duration) { t.Errorf("tried again: %v", err) })
	b := manyEvents(t, 2)
	for i := range b.Columns {
		if b.Columns[i].Name == "offset" {
			b.Columns[i].Type = "Int32" // it is an Int64
		}
	}
	if err := w.Insert(t.Context(), b, "a"); err == nil || !strings.Contains(err.Error(), "column offset is of type Int64") {
		t.Errorf("error %v, want one about column offset", err)
	}
	b = manyEvents(t, 2)
	b.Table = "nowhere"
	if err := w.Insert(t.Context(), b, "b"); err == nil || !strings.Contains(err.Error(), "nowhere") {
		t.Errorf("error %v, want one about the table", err)
	}
	b = manyEvents(t, 2)
	b.Rows = 3
	if err := w.Insert(t.Context(), b, "c"); err == nil {
		t.Error("a block that says more rows than it has is accepted")
	}
	b.Rows = 1
	if err := w.Insert(t.Context(), b, "c"); err == nil {
		t.Error("a block that says fewer rows than it has is accepted")
	}
	if err := w.Insert(t.Context(), manyEvents(t, 2), "d"); err != nil {
		t.Errorf("the next insert fails: %v", err)
	}
	if stored, _ := f.Events(t); stored != 2 {
		t.Errorf("%d rows are stored, want 2", stored)
	}
}

// TestLoadThroughFaults runs the loop on the real server: replies are lost, the
// loop crashes at both places between record and reply, and starts again.
func TestLoadThroughFaults(t *testing.T) {
	f := open(t)
	p := newProxy(t, serverstest.ClickHouse(t).Native)
	w := f.through(t, p.addr, nil)
	log := sim.NewLog()
	if err := log.CreateTopic(topic.PaymentLog.Name, 1); err != nil {
		t.Fatal(err)
	}
	const events = 3000
	var records []stage.Record
	for i := range int64(events) {
		rec := conformance.EventRecord(i%2500, []int64{1777593599999, 1777593600000}[i%2]) // 500 come twice
		records = append(records, stage.Record{Value: body(t, rec)})
	}
	if err := log.Append(t.Context(), stage.Outgoing{Topic: topic.PaymentLog.Name, Partition: 0, Records: records}); err != nil {
		t.Fatal(err)
	}
	crashed := errors.New("crashed")
	for attempt := 0; ; attempt++ {
		ctx, cancel := context.WithCancel(t.Context())
		crash := func() error { return nil }
		if attempt < 6 { // the first attempts end at their second insert
			inserts := 0
			crash = func() error {
				if inserts++; inserts == 2 {
					return crashed
				}
				return nil
			}
			p.lose.Store(1)
		}
		err := stage.Load(ctx, log, crashing{w, attempt%2 == 0, crash}, stage.Assignment{Topic: topic.PaymentLog.Name}, stage.LoadOptions{
			MaxRows: 200 + 10*attempt, Interval: 10 * time.Millisecond, Clock: wallClock{},
			Progress: func(p stage.LoadProgress) {
				if p.Next == p.HighWatermark {
					cancel()
				}
			},
		})
		cancel()
		if err == nil {
			break
		}
		if !errors.Is(err, crashed) {
			t.Fatal(err)
		}
	}
	if p.lost.Load() == 0 {
		t.Error("no reply was lost: the test tests nothing")
	}
	stored, distinct := f.Events(t)
	if stored != events || distinct != 2500 {
		t.Errorf("%d rows of %d events are stored, want %d of 2500", stored, distinct, events)
	}
}

type wallClock struct{}

func (wallClock) Now() time.Time { return time.Now() }

// Sleep is not used by Load.
func (wallClock) Sleep(ctx context.Context, _ time.Duration) error { return ctx.Err() }

// crashing ends before or after an insert, as a killed process does.
type crashing struct {
	stage.Warehouse
	before bool
	crash  func() error
}

func (c crashing) Insert(ctx context.Context, b table.Block, token string) error {
	if c.before {
		if err := c.crash(); err != nil {
			return err
		}
	}
	if err := c.Warehouse.Insert(ctx, b, token); err != nil {
		return err
	}
	if !c.before {
		return c.crash()
	}
	return nil
}

// TestServerKilled: the server is killed between the insert and its repeat, and
// comes back with its data: tokens and ranges are still known.
func TestServerKilled(t *testing.T) {
	options := servers.ClickHouseOptions{Options: servers.Options{Dir: t.TempDir()}}
	server := serverstest.StartClickHouse(t, options)
	p := newProxy(t, server.Addr())
	restarted := make(chan struct{})
	w, err := warehouse.Dial(t.Context(), warehouse.Options{
		Addrs: []string{p.addr}, RetryFirst: retryFirst, RetryMax: retryMax,
		OnRetry: func(error, time.Duration) {
			select {
			case <-restarted:
			default:
				p.target.Store(serverstest.StartClickHouse(t, options).Addr())
				close(restarted)
			}
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = w.Close() }()
	if err := w.Migrate(t.Context(), nil); err != nil {
		t.Fatal(err)
	}
	r := stage.Range{Topic: topic.PaymentLog.Name, Partition: 1, First: 3, Last: 9, Checksum: 5}
	if err := w.RecordRange(t.Context(), r); err != nil {
		t.Fatal(err)
	}
	if err := w.Insert(t.Context(), manyEvents(t, 50), "token"); err != nil {
		t.Fatal(err)
	}
	if err := server.Kill(); err != nil {
		t.Fatal(err)
	}
	if err := w.Insert(t.Context(), manyEvents(t, 50), "token"); err != nil {
		t.Fatal(err)
	}
	select {
	case <-restarted:
	default:
		t.Fatal("the insert did not notice the kill: the test tests nothing")
	}
	if got, found, err := w.LastRange(t.Context(), r.Topic, r.Partition); err != nil || !found || got != r {
		t.Errorf("LastRange = %+v, %v, %v; want %+v", got, found, err, r)
	}
	conn, err := clickhouse.Open(&clickhouse.Options{Addr: []string{p.addr}})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.Close() }()
	var stored uint64
	if err := conn.QueryRow(t.Context(), "SELECT count() FROM settlewatch.events").Scan(&stored); err != nil || stored != 50 {
		t.Errorf("%d rows are stored, error %v; want 50", stored, err)
	}
}

// refusing answers a handshake as ClickHouse does for a wrong password. The real
// one in local mode would end.
func refusing(t *testing.T) string {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = listener.Close() })
	go func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			go func() {
				defer func() { _ = conn.Close() }()
				if _, err := conn.Read(make([]byte, 1024)); err != nil {
					return
				}
				reply := append([]byte{2}, 0x04, 0x02, 0, 0) // an exception, code 516
				for _, text := range []string{"DB::Exception", "Authentication failed", ""} {
					reply = append(append(reply, byte(len(text))), text...)
				}
				_, _ = conn.Write(append(reply, 0))
				_, _ = io.Copy(io.Discard, conn)
			}()
		}
	}()
	return listener.Addr().String()
}

// TestDialErrors: each says where and what to check, and whether to try again.
func TestDialErrors(t *testing.T) {
	dead, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	deadAddr := dead.Addr().String()
	if err := dead.Close(); err != nil {
		t.Fatal(err)
	}
	web := serverstest.ClickHouse(t).HTTP
	tlsServer := httptest.NewUnstartedServer(nil)
	tlsServer.Config.ErrorLog = nil
	tlsServer.StartTLS()
	defer tlsServer.Close()
	tlsAddr := tlsServer.Listener.Addr().String()
	refuses := refusing(t)
	for _, c := range []struct {
		name string
		o    warehouse.Options
		is   error
		want []string
	}{
		{"nobody there", warehouse.Options{Addrs: []string{deadAddr}}, warehouse.ErrUnreachable, []string{deadAddr, "check that it runs", "native port"}},
		{"wrong password", warehouse.Options{DSN: "clickhouse://bob:geheim@" + refuses}, warehouse.ErrRefused, []string{refuses, `check the user "bob"`}},
		{"the HTTP port", warehouse.Options{Addrs: []string{web}}, warehouse.ErrRefused, []string{web, "not the HTTP port"}},
		{"unknown authority", warehouse.Options{Addrs: []string{tlsAddr}, TLS: &tls.Config{}}, warehouse.ErrRefused, []string{tlsAddr, "certificate"}},
		{"no address", warehouse.Options{}, nil, []string{"no address"}},
		{"bad database", warehouse.Options{Addrs: []string{deadAddr}, Database: "a; DROP"}, nil, []string{"database name"}},
		{"http dsn", warehouse.Options{DSN: "http://127.0.0.1:8123"}, nil, []string{"native protocol"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			w, err := warehouse.Dial(t.Context(), c.o)
			if err == nil {
				t.Fatal("no error", w.Close())
			}
			for _, sentinel := range []error{warehouse.ErrUnreachable, warehouse.ErrRefused} {
				if errors.Is(err, sentinel) != errors.Is(c.is, sentinel) {
					t.Errorf("error %q is %q: %v", err, sentinel, errors.Is(err, sentinel))
				}
			}
			for _, want := range c.want {
				if !strings.Contains(err.Error(), want) {
					t.Errorf("error %q does not say %q", err, want)
				}
			}
			if strings.Contains(err.Error(), "geheim") {
				t.Errorf("error %q shows the password", err)
			}
		})
	}
}

// TestTLS: the real server behind a forwarder that speaks TLS.
func TestTLS(t *testing.T) {
	certificates := httptest.NewUnstartedServer(nil)
	certificates.StartTLS()
	config := certificates.TLS
	roots := x509.NewCertPool()
	roots.AddCert(certificates.Certificate())
	certificates.Close()
	listener, err := tls.Listen("tcp", "127.0.0.1:0", &tls.Config{Certificates: config.Certificates})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = listener.Close() }()
	p := &proxy{}
	p.target.Store(serverstest.ClickHouse(t).Native)
	go func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			go p.serve(conn)
		}
	}()
	w, err := warehouse.Dial(t.Context(), warehouse.Options{
		DSN: "clickhouse://default@" + listener.Addr().String() + "/" + serverstest.Name(t), TLS: &tls.Config{RootCAs: roots, ServerName: "example.com"},
	})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = w.Close() }()
	if err := w.Migrate(t.Context(), nil); err != nil {
		t.Fatal(err)
	}
	if s, err := w.Summary(t.Context()); err != nil || s.Events != 0 || !s.Holds() {
		t.Errorf("summary %+v, error %v; want an empty one", s, err)
	}
}

// TestRangesMerged: merging keeps the highest range of each partition.
func TestRangesMerged(t *testing.T) {
	f := open(t)
	highest := map[int32]stage.Range{}
	for _, r := range []stage.Range{
		{Topic: "a", Partition: 0, First: 0, Last: 9},
		{Topic: "a", Partition: 0, First: 10, Last: 19, Checksum: 7},
		{Topic: "a", Partition: 0, First: 10, Last: 12},
		{Topic: "a", Partition: 1, First: 5, Last: 6},
	} {
		if err := f.RecordRange(t.Context(), r); err != nil {
			t.Fatal(err)
		}
		if h, found := highest[r.Partition]; !found || h.Last < r.Last {
			highest[r.Partition] = r
		}
	}
	if err := f.conn.Exec(t.Context(), f.named("OPTIMIZE TABLE db.warehouse_ranges FINAL")); err != nil {
		t.Fatal(err)
	}
	if n := f.number(t, "SELECT count() FROM db.warehouse_ranges"); n != 2 {
		t.Errorf("%d ranges are left, want one a partition", n)
	}
	for _, want := range highest {
		if got, found, err := f.LastRange(t.Context(), want.Topic, want.Partition); err != nil || !found || got != want {
			t.Errorf("LastRange = %+v, %v, %v; want %+v", got, found, err, want)
		}
	}
}
