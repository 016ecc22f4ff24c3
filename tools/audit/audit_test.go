package audit_test

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"settlewatch/pipelines/servers/serverstest"
	"settlewatch/pipelines/sim"
	"settlewatch/pipelines/stage"
	"settlewatch/pipelines/warehouse"
	"settlewatch/schemas/topic"
	"settlewatch/tools/audit"
	"settlewatch/tools/replay/replaytest"
)

func TestMain(m *testing.M) { serverstest.Main(m) }

const partitions = 2

// world is a log with its alerts, and a database into which both are loaded.
type world struct {
	t        *testing.T
	log      *sim.Log
	tables   *warehouse.Warehouse
	http     string
	database string
}

func newWorld(t *testing.T) *world {
	t.Helper()
	server := serverstest.ClickHouse(t)
	w := &world{t: t, log: replaytest.Log(t, partitions, 40), http: server.HTTP, database: serverstest.Name(t)}
	w.log.LimitBatch(20) // so that a payment has several snapshots
	for p := range int32(partitions) {
		store := sim.NewState()
		if err := replaytest.Fold(t, w.log, p, func() stage.State { return store.Owner() }, nil); err != nil {
			t.Fatal(err)
		}
	}
	w.log.LimitBatch(1000)
	// A hop repeats records, and a joiner alerts.
	for _, at := range []struct {
		topic     string
		partition int32
	}{{topic.PaymentLog.Name, 0}, {topic.AlertsPaidUnsettled.Name, 1}} {
		records, err := w.log.Records(at.topic, at.partition)
		if err != nil {
			t.Fatal(err)
		}
		if err := w.log.Append(t.Context(), stage.Outgoing{Topic: at.topic, Partition: at.partition, Records: records[len(records)/2:]}); err != nil {
			t.Fatal(err)
		}
	}
	var err error
	if w.tables, err = warehouse.Dial(t.Context(), warehouse.Options{DSN: server.DSN, Database: w.database}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		w.exec("DROP DATABASE " + w.database)
		if err := w.tables.Close(); err != nil {
			t.Error(err)
		}
	})
	if err := w.tables.Migrate(t.Context(), nil); err != nil {
		t.Fatal(err)
	}
	w.loadAll(60, audit.Topics()...)
	return w
}

// loadAll loads topics, in inserts of so many rows.
func (w *world) loadAll(maxRows int, topics ...string) {
	w.t.Helper()
	for _, name := range topics {
		n, err := w.log.Partitions(w.t.Context(), name)
		if err != nil {
			w.t.Fatal(err)
		}
		for p := range int32(n) {
			w.load(name, p, maxRows)
		}
	}
}

// load what a partition holds, unless it holds nothing.
func (w *world) load(name string, partition int32, maxRows int) {
	w.t.Helper()
	records, err := w.log.Records(name, partition)
	if err != nil || len(records) == 0 {
		return
	}
	ctx, cancel := context.WithCancel(w.t.Context())
	defer cancel()
	err = stage.Load(ctx, w.log, w.tables, stage.Assignment{Topic: name, Partition: partition, Offset: stage.None}, stage.LoadOptions{
		Clock: clock{}, Interval: time.Millisecond, MaxRows: maxRows,
		Progress: func(p stage.LoadProgress) {
			if p.Next == p.HighWatermark {
				cancel()
			}
		},
	})
	if err != nil {
		w.t.Fatal(err)
	}
}

type clock struct{ stage.Clock }

func (clock) Now() time.Time { return time.Now() }

// exec changes the tables behind the warehouse's back.
func (w *world) exec(statement string) {
	w.t.Helper()
	if strings.HasPrefix(statement, "ALTER") {
		statement += " SETTINGS mutations_sync = 2"
	}
	// Not the test's own context, which has ended when clean-up runs.
	request, err := http.NewRequestWithContext(context.Background(), http.MethodPost, "http://"+w.http, strings.NewReader(statement))
	if err != nil {
		w.t.Fatal(err)
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		w.t.Fatal(err)
	}
	defer func() { _ = response.Body.Close() }()
	if body, _ := io.ReadAll(response.Body); response.StatusCode != http.StatusOK {
		w.t.Fatalf("%s: %s", statement, body)
	}
}

func (w *world) audit(o audit.Options) *audit.Report {
	w.t.Helper()
	if o.Tables, o.Settle = w.tables, time.Nanosecond; o.Log == nil {
		o.Log = w.log
	}
	r, err := audit.Run(w.t.Context(), o)
	if err != nil {
		w.t.Fatal(err)
	}
	return r
}

func TestEqual(t *testing.T) {
	w := newWorld(t)
	for _, records := range []int64{1, 10, 100_000} {
		r := w.audit(audit.Options{RangeRecords: records})
		if !r.Equal() {
			t.Errorf("in ranges of %d: %+v", records, findings(r))
		}
		var rows int64
		for _, p := range r.Parts {
			if p.Rows != p.InClickHouse || p.NotLoaded != 0 && p.Topic != topic.PaymentLog.Name {
				t.Errorf("%+v", p)
			}
			if p.Topic == topic.PaymentLog.Name {
				rows += p.Rows
			}
		}
		if rows != 40+40 { // every fourth payment has two lines, another none
			t.Errorf("%d events", rows)
		}
	}
	for _, text := range []string{"payment-log.v1/0:5-60", "alerts.paid-unsettled.v1/1:0-3", "payments.v1/1:0-3"} {
		of, err := audit.ParseRange(text)
		if err != nil {
			t.Fatal(err)
		}
		if r := w.audit(audit.Options{Range: of}); !r.Equal() || r.Parts[0].Rows == 0 || r.Parts[0].Rows != r.Parts[0].InClickHouse {
			t.Errorf("%s: %+v", text, r.Parts)
		}
	}
}

func findings(r *audit.Report) (all []string) {
	for _, p := range r.Parts {
		if p.First != nil {
			all = append(all, fmt.Sprintf("%s/%d %s %s", p.Topic, p.Partition, p.First.What, p.First.Row))
		}
	}
	return all
}

// Whatever is done to the tables is found, and named.
func TestDifferent(t *testing.T) {
	const sale, line = "authorization/raw.authorization.v1/0/documented@1", "settlement/raw.settlement.v1/0/documented@1"
	w, maxRows := newWorld(t), 60
	for name, c := range map[string]struct {
		statement string
		want      string
	}{
		"an event is missing": {
			"ALTER TABLE %s.events DELETE WHERE source = '" + sale + "' AND offset = 17", "missing " + sale + " offset 17",
		},
		"an amount is another": {
			"ALTER TABLE %s.events UPDATE gross_minor = gross_minor + 1 WHERE source = '" + line + "' AND offset = 3", "different " + line + " offset 3",
		},
		"an event is too many": {
			"INSERT INTO %[1]s.events SELECT * REPLACE (offset + 5000 AS offset) FROM (SELECT * FROM %[1]s.events WHERE source = '" + sale + "' AND offset = 9)", "extra " + sale + " offset 5009",
		},
		"an event in a gap": {
			"INSERT INTO %[1]s.events SELECT * REPLACE (1 AS idx) FROM (SELECT * FROM %[1]s.events WHERE source = '" + sale + "' AND offset = 9)", "extra " + sale + " offset 9 (generation 0, index 1)",
		},
		"an event of an unknown source": {
			"INSERT INTO %[1]s.events SELECT * REPLACE ('x/y/0/z@1' AS source) FROM (SELECT * FROM %[1]s.events WHERE source = '" + sale + "' AND offset = 9)", "extra x/y/0/z@1 offset 9",
		},
		"a revision is missing": {
			"ALTER TABLE %s.alert_revisions DELETE WHERE kind = 'paid_unsettled' AND payment_key = 'acq|o|9' AND revision = 2", "alerts.paid-unsettled.v1/-1 missing",
		},
		"a revision is another": {
			"ALTER TABLE %s.alert_revisions UPDATE amount_minor = 1 WHERE kind = 'settled_twice' AND payment_key = 'acq|o|10'", "alerts.settled-twice.v1/-1 different",
		},
		"a revision is too many": {
			"INSERT INTO %[1]s.alert_revisions SELECT * REPLACE (77 AS revision) FROM (SELECT * FROM %[1]s.alert_revisions WHERE kind = 'settled_twice' AND payment_key = 'acq|o|10')", "alerts.settled-twice.v1/-1 extra",
		},
		"a payment is missing": {
			"ALTER TABLE %s.payments DELETE WHERE payment_key = 'acq|o|39'", "payments.v1/-1 missing acq|o|39 life",
		},
		"an open amount is another": {
			"ALTER TABLE %s.payments UPDATE open_minor = 99 WHERE payment_key = 'acq|o|5'", "payments.v1/-1 different acq|o|5 life",
		},
		"a payment's status is another": {
			"ALTER TABLE %s.payments UPDATE status = 'open' WHERE payment_key = 'acq|o|7'", "payments.v1/-1 different acq|o|7 life",
		},
		"a payment too many": {
			"INSERT INTO %[1]s.payments SELECT * REPLACE ('acq|o|390' AS payment_key) FROM (SELECT * FROM %[1]s.payments FINAL WHERE payment_key = 'acq|o|39')", "payments.v1/-1 extra acq|o|390 life",
		},
		"a life too many": {
			"INSERT INTO %[1]s.payments SELECT * REPLACE ('00' AS life) FROM (SELECT * FROM %[1]s.payments FINAL WHERE payment_key = 'acq|o|11')", "payments.v1/-1 extra acq|o|11 life 00",
		},
		"a version that nobody wrote": {
			"INSERT INTO %[1]s.payments SELECT * REPLACE (77 AS version) FROM (SELECT * FROM %[1]s.payments FINAL WHERE payment_key = 'acq|o|11')", "payments.v1/-1 extra acq|o|11 life",
		},
	} {
		t.Run(name, func(t *testing.T) {
			w.exec(strings.ReplaceAll(strings.ReplaceAll(c.statement, "%[1]s", w.database), "%s", w.database))
			got := findings(w.audit(audit.Options{RangeRecords: 20}))
			if len(got) != 1 || !strings.Contains(got[0], c.want) {
				t.Errorf("found %q, want %q", got, c.want)
			}
			// The table is loaded anew, in other inserts: those that were made are dropped.
			maxRows--
			for table, topics := range map[string][]string{
				"events": {topic.PaymentLog.Name}, "payments": {topic.Payments.Name}, "alert_revisions": {topic.AlertsPaidUnsettled.Name, topic.AlertsSettledTwice.Name},
			} {
				if strings.Contains(c.statement, "s."+table+" ") {
					w.exec("TRUNCATE TABLE " + w.database + "." + table)
					w.exec("ALTER TABLE " + w.database + ".warehouse_ranges DELETE WHERE topic IN ('" + strings.Join(topics, "', '") + "')")
					w.loadAll(maxRows, topics...)
				}
			}
		})
	}
}

// What the warehouse has not loaded yet is no finding.
func TestLagIsNoFinding(t *testing.T) {
	w := newWorld(t)
	for _, at := range []stage.Outgoing{{Topic: topic.PaymentLog.Name, Partition: 1}, {Topic: topic.AlertsPaidUnsettled.Name}} {
		other := replaytest.Log(t, partitions, 80)
		store := sim.NewState()
		if err := replaytest.Fold(t, other, 1, func() stage.State { return store.Owner() }, nil); err != nil {
			t.Fatal(err)
		}
		records, err := other.Records(at.Topic, at.Partition)
		if err != nil {
			t.Fatal(err)
		}
		at.Records = records
		if err := w.log.Append(t.Context(), at); err != nil {
			t.Fatal(err)
		}
	}
	r := w.audit(audit.Options{})
	var behind int64
	for _, p := range r.Parts {
		behind += p.NotLoaded
	}
	if !r.Equal() || behind == 0 {
		t.Errorf("%d records are not loaded, found %q", behind, findings(r))
	}
}

// compacted is a log whose payments topic holds only the last record of each key.
type compacted struct{ stage.Log }

func (c compacted) Open(name string, partition int32) (stage.Reader, error) {
	r, err := c.Log.Open(name, partition)
	if name != topic.Payments.Name || err != nil {
		return r, err
	}
	last := map[string]int64{}
	_, end, err := r.Bounds(context.Background())
	for next := int64(0); next < end && err == nil; {
		var b stage.Batch
		b, err = r.Fetch(context.Background(), next, time.Second)
		for _, record := range b.Records {
			last[string(record.Key)] = record.Offset
		}
		next = b.Next
	}
	return compactedReader{r, last}, err
}

type compactedReader struct {
	stage.Reader
	last map[string]int64
}

func (r compactedReader) Fetch(ctx context.Context, offset int64, maxWait time.Duration) (stage.Batch, error) {
	b, err := r.Reader.Fetch(ctx, offset, maxWait)
	b.Records = slices.DeleteFunc(b.Records, func(record stage.Record) bool { return r.last[string(record.Key)] != record.Offset })
	return b, err
}

// Compaction takes older snapshots away and changes no verdict. Where an owner that was
// fenced has repeated an older snapshot, it is the one that compaction keeps: the row
// above it is counted, and is no finding.
func TestCompactedPayments(t *testing.T) {
	w := newWorld(t)
	payments := func(log stage.Log) audit.Part {
		t.Helper()
		return w.audit(audit.Options{Log: log, Topics: []string{topic.Payments.Name}, RangeRecords: 7}).Parts[0]
	}
	if p := payments(compacted{w.log}); p.Different != 0 || p.Newer != 0 || p.Rows != 40 || p.InClickHouse != 40 || p.Ranges < 6 {
		t.Errorf("compacted: %+v", p)
	}
	var old stage.Record
	var partition int32
	for n := range int32(topic.Payments.Partitions) {
		records, err := w.log.Records(topic.Payments.Name, n)
		if err != nil {
			t.Fatal(err)
		}
		for i, r := range records {
			if slices.ContainsFunc(records[i+1:], func(later stage.Record) bool { return bytes.Equal(later.Key, r.Key) }) {
				old, partition = r, n
			}
		}
	}
	repeat := stage.Outgoing{Topic: topic.Payments.Name, Partition: partition, Records: []stage.Record{{Key: old.Key, Value: old.Value}}}
	if err := w.log.Append(t.Context(), repeat); old.Key == nil || err != nil {
		t.Fatalf("no payment has two snapshots (%v)", err)
	}
	// What lies before is hidden, though the warehouse has not loaded the repeat.
	if p := payments(compacted{w.log}); p.Newer != 1 || p.Different != 0 || p.NotLoaded != 1 {
		t.Errorf("not loaded: %+v", p)
	}
	w.load(topic.Payments.Name, partition, 60)
	if p := payments(w.log); p.Newer != 0 || p.Different != 0 {
		t.Errorf("before compaction: %+v", p)
	}
	if p := payments(compacted{w.log}); p.Newer != 1 || p.Different != 0 {
		t.Errorf("after compaction: %+v", p)
	}
	// A row below the topic is a finding, whatever compaction did.
	w.exec("ALTER TABLE " + w.database + ".payments DELETE WHERE version > 1")
	if p := payments(compacted{w.log}); p.Different == 0 || p.First.What != "missing" {
		t.Errorf("rows went back: %+v", p)
	}
}

func TestWrongRanges(t *testing.T) {
	for _, text := range []string{"", "payment-log.v1", "payment-log.v1/0", "payment-log.v1/x:0-1", "payment-log.v1/0:5-5", "payment-log.v1/0:-1-5", "payment-log.v1/0:9-"} {
		if r, err := audit.ParseRange(text); err == nil {
			t.Errorf("%q is %+v", text, r)
		}
	}
}
