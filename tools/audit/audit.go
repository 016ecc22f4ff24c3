// Package audit compares ClickHouse with Kafka: events by their origin, alerts by
// (id, revision), payments by (key, life).
//
// What enters are the payment log, the topics of alerts and payments, and the tables;
// what leaves are counts, and the first row that is missing, too many or another.
// Guaranteed: only what the warehouse says that it has loaded is asked for, so a lag is
// no finding; repeats in a topic count once, as they do in the tables; memory is bounded
// by the range, not by the topic.
//
// A range of offsets is compared by number and by a checksum of its rows, made by
// both sides; only where they differ the rows themselves are read.
package audit

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"settlewatch/pipelines/stage"
	"settlewatch/pipelines/warehouse"
	"settlewatch/schemas/alert"
	"settlewatch/schemas/topic"
)

// Tables are ClickHouse, for reading.
type Tables interface {
	Ask(ctx context.Context, query string, parameters map[string]string) (warehouse.Answer, error)
	LastRange(ctx context.Context, topic string, partition int32) (stage.Range, bool, error)
}

// Options of a run.
type Options struct {
	Log    stage.Log
	Tables Tables
	// Topics to compare; nil for all of Topics.
	Topics []string
	// Range is one part of one partition; nil for all that is loaded.
	Range *Range
	// RangeRecords is how many records of a topic are compared at a time. Defaults to
	// 100,000.
	RangeRecords int64
	// Settle is how long rows that the warehouse is just inserting are waited for,
	// once. Defaults to 3s.
	Settle time.Duration
	// Progress is called now and then with records; nil is silent.
	Progress func(done, total int64)
}

// Range is a part of one partition, Until not within.
type Range struct {
	Topic       string
	Partition   int32
	From, Until int64
}

// ParseRange reads topic/partition, or topic/partition:from-until.
func ParseRange(text string) (*Range, error) {
	wrong := fmt.Errorf("--range %q: want topic/partition:from-until, such as payment-log.v1/0:0-100000", text)
	place, part, found := strings.Cut(text, ":")
	name, number, named := strings.Cut(place, "/")
	from, until, both := strings.Cut(part, "-")
	p, err := strconv.ParseInt(number, 10, 32)
	if !found || !named || !both || err != nil || p < 0 {
		return nil, wrong
	}
	r := &Range{Topic: name, Partition: int32(p)}
	if r.From, err = strconv.ParseInt(from, 10, 64); err != nil || r.From < 0 {
		return nil, wrong
	}
	if r.Until, err = strconv.ParseInt(until, 10, 64); err != nil || r.Until <= r.From {
		return nil, wrong
	}
	return r, nil
}

// Finding is the first difference of a partition or topic.
type Finding struct {
	// What is "missing" in ClickHouse, "extra" there, or "different".
	What string `json:"what"`
	Row  string `json:"row"` // its identity
	// Offset in the topic; -1 for a row that is not there.
	Offset int64 `json:"offset"`
}

// Part is what was compared of one partition of the payment log, or of one of the other topics.
type Part struct {
	Topic     string `json:"topic"`
	Partition int32  `json:"partition"` // -1: all of them
	// Records were read, Rows made of them; InClickHouse stand there in the same
	// ranges. NotLoaded records are beyond what the warehouse has loaded.
	Records      int64 `json:"records"`
	Rows         int64 `json:"rows"`
	InClickHouse int64 `json:"in_clickhouse"`
	NotLoaded    int64 `json:"not_loaded"`
	// Newer rows stand above the snapshots that the compacted topic still holds: whether
	// they are right cannot be told from it.
	Newer int64 `json:"newer,omitempty"`
	// Ranges were compared, Different of them differ.
	Ranges    int      `json:"ranges"`
	Different int      `json:"different"`
	First     *Finding `json:"first,omitempty"`
}

// Report is the result.
type Report struct {
	Parts []Part `json:"parts"`
}

// Equal tells whether nothing differs.
func (r *Report) Equal() bool {
	return !slices.ContainsFunc(r.Parts, func(p Part) bool { return p.Different > 0 })
}

// Topics that can be compared.
func Topics() []string {
	names := []string{topic.PaymentLog.Name}
	for _, k := range alert.Kinds {
		names = append(names, k.Topic().Name)
	}
	return append(names, topic.Payments.Name)
}

// Run compares.
func Run(ctx context.Context, o Options) (*Report, error) {
	if o.RangeRecords == 0 {
		o.RangeRecords = 100_000
	}
	if o.Settle == 0 {
		o.Settle = 3 * time.Second
	}
	if o.Topics == nil {
		o.Topics = Topics()
	}
	if o.Range != nil {
		o.Topics = []string{o.Range.Topic}
	}
	for _, name := range o.Topics {
		if !slices.Contains(Topics(), name) {
			return nil, fmt.Errorf("topic %q cannot be compared: want one of %s", name, strings.Join(Topics(), ", "))
		}
	}
	a := &audit{Options: o}
	for _, name := range o.Topics {
		spans, err := a.spans(ctx, name)
		if err != nil {
			return nil, err
		}
		a.work = append(a.work, spans)
		for _, s := range spans {
			a.total += s.until - s.from
		}
	}
	report := &Report{}
	for i, name := range o.Topics {
		parts, err := a.topic(ctx, name, a.work[i])
		if err != nil {
			return nil, err
		}
		report.Parts = append(report.Parts, parts...)
	}
	return report, nil
}

// audit is one Run.
type audit struct {
	Options
	work        [][]span
	done, total int64
	waited      bool
}

// span is what is compared of one partition.
type span struct {
	partition   int32
	from, until int64
	notLoaded   int64
}

// spans are the loaded parts of a topic's partitions.
func (a *audit) spans(ctx context.Context, name string) ([]span, error) {
	n, err := a.Log.Partitions(ctx, name)
	if err != nil {
		return nil, fmt.Errorf("partitions of %s: %w", name, err)
	}
	if a.Range != nil && int(a.Range.Partition) >= n {
		return nil, fmt.Errorf("%s has %d partitions, and no partition %d", name, n, a.Range.Partition)
	}
	var spans []span
	for p := range int32(n) {
		if a.Range != nil && p != a.Range.Partition {
			continue
		}
		s, err := a.span(ctx, name, p)
		if err != nil {
			return nil, err
		}
		spans = append(spans, s)
	}
	return spans, nil
}

func (a *audit) count(part *Part) {
	part.Records++
	if a.done++; a.done%4096 == 0 && a.Progress != nil {
		a.Progress(a.done, a.total)
	}
}

func (a *audit) topic(ctx context.Context, name string, spans []span) ([]Part, error) {
	if name == topic.PaymentLog.Name {
		var parts []Part
		for _, s := range spans {
			part, err := a.events(ctx, s)
			if err != nil {
				return nil, fmt.Errorf("compare %s/%d: %w", name, s.partition, err)
			}
			parts = append(parts, part)
		}
		return parts, nil
	}
	var part Part
	var err error
	if i := slices.IndexFunc(alert.Kinds, func(k alert.Kind) bool { return k.Topic().Name == name }); i >= 0 {
		part, err = a.alerts(ctx, alert.Kinds[i], spans)
	} else {
		part, err = a.payments(ctx, spans)
	}
	if err != nil {
		return nil, fmt.Errorf("compare %s: %w", name, err)
	}
	return []Part{part}, nil
}
