// Package livefeed writes traffic of the present into the raw topics at a rate.
//
// In go a seed and a rate; records that arrive now leave for the raw topics, each
// stamped with the moment of its writing. Guaranteed: stories that have begun are
// told to their end, also when the context ends: then at once, so that no payment
// is left without its money by accident.
package livefeed

import (
	"container/heap"
	"context"
	"fmt"
	"time"

	"settlewatch/pipelines/stage"
	"settlewatch/schemas/alert"
	"settlewatch/tools/traffic"
)

// Options of a feed.
type Options struct {
	Seed uint64
	// Rate is payments a second, at most RateMax.
	Rate float64
	// Payments after which the feed ends; 0 means no end.
	Payments int
	// For is how long payments are made; 0 means no end.
	For time.Duration
}

// RateMax is the highest rate: beyond it a later feed could repeat payments.
const RateMax = 5000

// Totals since the start.
type Totals struct {
	Payments int                `json:"payments"`
	Records  int                `json:"records"`
	Planted  map[alert.Kind]int `json:"planted_alerts"`
	Seconds  float64            `json:"seconds"`
}

const (
	tick = 50 * time.Millisecond
	// finishMax bounds the writing of what is left when the context has ended.
	finishMax = 10 * time.Second
)

// Run feeds until its end or the context's, which is no error. told is called
// after every round of writing.
func Run(ctx context.Context, log stage.Log, o Options, told func(Totals)) (Totals, error) {
	if o.Rate <= 0 || o.Rate > RateMax {
		return Totals{}, fmt.Errorf("a rate of %g payments a second: want more than 0 and at most %d", o.Rate, RateMax)
	}
	start := time.Now()
	made, err := traffic.NewNow(o.Seed, start)
	if err != nil {
		return Totals{}, err
	}
	f := &feed{log: log, made: made, totals: Totals{Planted: map[alert.Kind]int{}}}
	for _, k := range alert.Kinds {
		f.totals.Planted[k] = 0
	}
	ticker := time.NewTicker(tick)
	defer ticker.Stop()
	for ended := false; !ended; {
		now := time.Now()
		ended = f.make(o, now, now.Sub(start)) && len(f.coming) == 0
		if err := f.write(ctx, now, now); err != nil && ctx.Err() == nil {
			return f.totals, err
		}
		f.totals.Seconds = now.Sub(start).Seconds()
		told(f.totals)
		select {
		case <-ctx.Done():
			finish, cancel := context.WithTimeout(context.WithoutCancel(ctx), finishMax)
			defer cancel()
			return f.totals, f.write(finish, time.Now(), time.Now().Add(time.Hour))
		case <-ticker.C:
		}
	}
	return f.totals, nil
}

type feed struct {
	log    stage.Log
	made   *traffic.Now
	coming queue
	totals Totals
	// batches are kept for the next round.
	batches map[place][]stage.Record
}

type place struct {
	topic     string
	partition int32
}

// make adds the payments that the rate has room for, and tells whether there will
// be no more.
func (f *feed) make(o Options, now time.Time, elapsed time.Duration) bool {
	over := o.For > 0 && elapsed >= o.For
	if over {
		elapsed = o.For
	}
	target := int(o.Rate * elapsed.Seconds())
	if o.Payments > 0 && target >= o.Payments {
		target, over = o.Payments, true
	}
	for ; f.totals.Payments < target; f.totals.Payments++ {
		records, wants := f.made.Payment(f.totals.Payments, now)
		for _, r := range records {
			heap.Push(&f.coming, r)
		}
		for _, w := range wants {
			f.totals.Planted[w.Kind]++
		}
	}
	return over
}

// write writes what arrives until that moment, with the time of now. What fails
// stays, so that it is written again.
func (f *feed) write(ctx context.Context, now, until time.Time) error {
	if f.batches == nil {
		f.batches = map[place][]stage.Record{}
	}
	written := 0
	for len(f.coming) > 0 && f.coming[0].WriteMs <= until.UnixMilli() {
		r := heap.Pop(&f.coming).(traffic.Record)
		at := place{r.Topic, r.Partition}
		f.batches[at] = append(f.batches[at], stage.Record{Key: r.Key, Value: r.Value, TimeMs: now.UnixMilli()})
	}
	var batches []stage.Outgoing
	for at, batch := range f.batches {
		if len(batch) > 0 {
			written += len(batch)
			batches = append(batches, stage.Outgoing{Topic: at.topic, Partition: at.partition, Records: batch})
		}
	}
	if err := f.log.Append(ctx, batches...); err != nil {
		return fmt.Errorf("feed: %w", err)
	}
	for at := range f.batches {
		f.batches[at] = f.batches[at][:0]
	}
	f.totals.Records += written
	return nil
}

// queue is a heap of records by the moment of their writing.
type queue []traffic.Record

func (q queue) Len() int           { return len(q) }
func (q queue) Less(i, j int) bool { return q[i].WriteMs < q[j].WriteMs }
func (q queue) Swap(i, j int)      { q[i], q[j] = q[j], q[i] }
func (q *queue) Push(x any)        { *q = append(*q, x.(traffic.Record)) }
func (q *queue) Pop() any {
	last := len(*q) - 1
	x := (*q)[last]
	*q = (*q)[:last]
	return x
}
