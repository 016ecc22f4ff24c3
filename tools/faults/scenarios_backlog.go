package faults

import (
	"fmt"
	"iter"
	"slices"
	"strconv"
	"time"

	"settlewatch/pipelines/stage"
	"settlewatch/tools/traffic"
)

// backlogMostMiB: the joiner holds the payments of the backlog, and as much again until
// the garbage collector has been there; the warehouse the rows of large inserts. What
// was seen, and a quarter.
var backlogMostMiB = map[string]float64{"joiner": 1290, "warehouse": 430}

var backlogScenarios = []Scenario{
	{
		Number: 29, Name: "a backlog of 1,000,000 records is waiting", Holds: []string{i6, i2}, inject: backlog, traffic: larger(142),
		patience: longPatience, mostSeconds: 180, mostMiB: backlogMostMiB,
	},
	{
		Number: 30, Name: "20 h of silence, then a burst of 500,000 records", Holds: []string{i2, i6}, traffic: burst, order: silence, inject: atOnce,
		patience: longPatience, mostMiB: backlogMostMiB,
		Scale: "the 20 h are played: marks of every minute, and nothing else",
	},
}

func larger(times int) func(*traffic.Options) {
	return func(o *traffic.Options) { o.Payments *= times }
}

// backlog has everything written before the services begin to read.
func backlog(w *world) error {
	if err := w.halt(); err != nil {
		return err
	}
	w.feeder.inBulk()
	if err := w.feed(1); err != nil {
		return err
	}
	began := time.Now()
	if err := w.resume(); err != nil {
		return err
	}
	if err := w.settle(); err != nil {
		return err
	}
	took := time.Since(began).Seconds()
	w.measured = append(w.measured, measurement{"all that was waiting", took})
	n := w.feeder.fed()
	w.note("%d raw records in %.1f s, %.0f a second", n, took, float64(n)/took)
	return nil
}

// burst is one day with all the payments.
func burst(o *traffic.Options) { o.Days, o.Payments = 1, 70*o.Payments }

// atOnce feeds everything as fast as the broker takes it.
func atOnce(w *world) error {
	w.feeder.inBulk()
	return undisturbed(w)
}

// silence is 20 hours in which nothing comes but marks, before the burst.
func silence(w *world, records iter.Seq[traffic.Record]) iter.Seq[traffic.Record] {
	return func(yield func(traffic.Record) bool) {
		start := w.traffic.StartMs()
		places := map[string]traffic.Record{}
		for r := range records {
			if r.IsMark() {
				places[fmt.Sprintf("%s/%d", r.Topic, r.Partition)] = r
			}
		}
		names := make([]string, 0, len(places))
		for name := range places {
			names = append(names, name)
		}
		slices.Sort(names)
		for at := start - 20*time.Hour.Milliseconds(); at < start; at += time.Minute.Milliseconds() {
			for _, name := range names {
				mark := places[name]
				mark.TimeMs, mark.WriteMs = at, at
				mark.Headers = []stage.Header{{Key: traffic.MarkHeader, Value: strconv.AppendInt(nil, at, 10)}}
				if !yield(mark) {
					return
				}
			}
		}
		for r := range records {
			if !yield(r) {
				return
			}
		}
	}
}
