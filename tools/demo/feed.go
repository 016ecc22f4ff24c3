package demo

import (
	"context"
	"fmt"
	"iter"

	"settlewatch/pipelines/stage"
	"settlewatch/tools/traffic"
)

// feedBatch is how many records are written together. Each partition is written
// in order, so the raw log is the same on every run.
const feedBatch = 8000

type place struct {
	topic     string
	partition int32
}

// Feed writes the records to their raw topics and reports how many are written.
// pace, if not nil, is called with a record's time before it is written, and may
// wait.
func Feed(ctx context.Context, log stage.Log, records iter.Seq[traffic.Record],
	pace func(context.Context, int64) (flush bool, err error), written func(int),
) error {
	pending := make(map[place][]stage.Record)
	n := 0
	flush := func() error {
		var batches []stage.Outgoing
		for at, batch := range pending {
			if len(batch) > 0 {
				batches = append(batches, stage.Outgoing{Topic: at.topic, Partition: at.partition, Records: batch})
			}
		}
		if err := log.Append(ctx, batches...); err != nil {
			return fmt.Errorf("feed: %w", err)
		}
		for at := range pending {
			pending[at] = pending[at][:0]
		}
		written(n)
		n = 0
		return ctx.Err()
	}
	for r := range records {
		at := place{r.Topic, r.Partition}
		pending[at] = append(pending[at], stage.Record{Key: r.Key, Value: r.Value, Headers: r.Headers, TimeMs: r.TimeMs})
		n++
		due := n >= feedBatch
		if pace != nil {
			now, err := pace(ctx, r.WriteMs)
			if err != nil {
				return err
			}
			due = due || now
		}
		if due {
			if err := flush(); err != nil {
				return err
			}
		}
	}
	return flush()
}
