package stage_test

import (
	"context"
	"fmt"
	"log/slog"
	"testing"
	"time"

	"settlewatch/pipelines/intake"
	"settlewatch/pipelines/profile"
	"settlewatch/pipelines/stage"
	"settlewatch/schemas/event"
	"settlewatch/schemas/topic"
)

// blackHole is a log whose raw partition holds the same batch for ever, and which
// acknowledges what is appended without looking at it.
type blackHole struct {
	batch   []stage.Record
	left    int // batches
	stop    context.CancelFunc
	records int
	bytes   int
}

func (b *blackHole) Open(string, int32) (stage.Reader, error)           { return b, nil }
func (b *blackHole) Partitions(context.Context, string) (int, error)    { return 4, nil }
func (b *blackHole) Bounds(context.Context) (first, end int64, _ error) { return 0, 1 << 40, nil }
func (b *blackHole) Close() error                                       { return nil }

func (b *blackHole) Fetch(_ context.Context, offset int64, _ time.Duration) (stage.Batch, error) {
	if b.left--; b.left <= 0 {
		b.stop()
	}
	for i := range b.batch {
		b.batch[i].Offset = offset + int64(i)
	}
	next := offset + int64(len(b.batch))
	return stage.Batch{Records: b.batch, Next: next, HighWatermark: next + 1}, nil
}

func (b *blackHole) Append(_ context.Context, batches ...stage.Outgoing) error {
	for _, o := range batches {
		b.records += len(o.Records)
		for i := range o.Records {
			b.bytes += len(o.Records[i].Value)
		}
	}
	return nil
}

// lender is an intake as the services have them.
type lender struct {
	events func(raw []byte, into []*event.Event) ([]*event.Event, error)
}

func (l lender) Events(raw []byte, into []*event.Event) ([]*event.Event, error) {
	return l.events(raw, into)
}

func (lender) DeadLetter(_ event.Source, _ stage.Record, reason error) (stage.Record, error) {
	return stage.Record{}, reason
}

func documented(b *testing.B) lender {
	b.Helper()
	d := intake.NewDecoder(intake.Authorization, intake.TokenKey{})
	return lender{func(raw []byte, into []*event.Event) ([]*event.Event, error) {
		e, err := d.Borrow(raw)
		return append(into, e), err
	}}
}

func byProfile(b *testing.B) lender {
	b.Helper()
	p, err := profile.Parse([]byte(`{profile: p, version: 1, files: [{match: "*", format: jsonl, kind: {const: authorization},
layout: rfc3339, amounts: {unit: minor}, ignore: [payment, token], fields: {
  acquirer: '=split(field("payment"), "|")[0]', order_id: '=split(field("payment"), "|")[1]', event_id: id, merchant_id: merchant,
  terminal_id: terminal, amount: amount, currency: currency, response_code: code, business_time: at, mode: {const: dual}}}]}`))
	if err != nil {
		b.Fatal(err)
	}
	d, err := p.NewDecoder(intake.Authorization)
	if err != nil {
		b.Fatal(err)
	}
	return lender{d.Events}
}

// BenchmarkIngest is an ingest service without Kafka: raw JSON to encoded log
// records, by log partition.
func BenchmarkIngest(b *testing.B) {
	b.Run("documented", func(b *testing.B) {
		ingestOrdinary(b, documented(b), `{"event_id":"%016x","order_id":"%012d","acquirer":"acq1","merchant_id":"m%d","terminal_id":"t%d",`+
			`"amount_minor":%d,"currency":"CNY","response_code":"00","mode":"dual","business_time":"%s","type":"authorization"}`)
	})
	b.Run("profile", func(b *testing.B) {
		ingestOrdinary(b, byProfile(b), `{"id":"%016x","payment":"acq1|%012d","merchant":"m%d","terminal":"t%d",`+
			`"amount":%d,"currency":"CNY","code":"00","token":"7a2b1c0d9e8f","at":"%s"}`)
	})
}

func ingestOrdinary(b *testing.B, records stage.Intake, format string) {
	const batch = 4000
	log := &blackHole{left: b.N/batch + 1}
	for i := range batch {
		at := time.UnixMilli(1_756_684_800_000 + int64(i)).UTC().Format("2006-01-02T15:04:05.000Z")
		log.batch = append(log.batch, stage.Record{TimeMs: 1_756_684_800_000 + int64(i), Value: fmt.Appendf(nil, format,
			uint64(i)*0x9e3779b97f4a7c15, i, 1000+i%5000, 10000+i%20000, 100+i*7919, at)})
	}
	ctx, stop := context.WithCancel(b.Context())
	log.stop = stop
	ingest := stage.Ingest{
		Log: log, Clock: &handClock{ms: 1_756_684_900_000}, Configs: stage.NewConfigs(), Logger: slog.New(slog.DiscardHandler),
		Intake:  records,
		Service: "authorization", Profile: "documented", Version: 1,
	}
	b.ReportAllocs()
	b.ResetTimer()
	err := ingest.Own(ctx, stage.Assignment{Topic: topic.RawAuthorization.Name, Offset: stage.None, Commit: func(context.Context, int64) error { return nil }})
	if err != nil || log.records < b.N {
		b.Fatalf("%d records, %v", log.records, err)
	}
	b.ReportMetric(float64(log.bytes)/float64(log.records), "B/record")
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(log.records), "ns/event")
}
