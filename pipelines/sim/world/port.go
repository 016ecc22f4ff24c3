package world

import (
	"context"
	"fmt"
	"time"

	"settlewatch/pipelines/stage"
	"settlewatch/schemas/topic"
)

// clock is a process's own: the world's, and how far it is wrong.
type clock struct {
	w *World
	p *process
}

// Now parks first: time passes between what a loop did and its look at the clock.
func (c clock) Now() time.Time {
	c.w.park(opClock, place{})
	if c.p.kind.ingest() {
		c.w.aheadMs = max(c.w.aheadMs, c.p.skewMs)
	}
	return time.UnixMilli(c.w.nowMs + c.p.skewMs)
}

func (c clock) Sleep(ctx context.Context, d time.Duration) error {
	if !c.w.parkUntil(opSleep, place{}, nil, c.w.nowMs+max(d.Milliseconds(), 1)) {
		return errCrashed
	}
	return ctx.Err()
}

// port is a process's connection to the broker.
type port struct {
	w *World
	p *process
}

var (
	_ stage.Log    = port{}
	_ stage.Clock  = clock{}
	_ stage.Reader = (*reader)(nil)
)

func (o port) Open(topic string, partition int32) (stage.Reader, error) {
	at := place{topic, partition}
	if !o.w.park(opOpen, at) {
		return nil, errCrashed
	}
	r, err := o.w.log.Open(topic, partition)
	return &reader{Reader: r, w: o.w, at: at, lazy: o.lazy(at)}, err
}

// lazy readers need no wake-up without data: nothing they do depends on it.
func (o port) lazy(at place) bool { return at.topic == topic.Config.Name }

func (o port) Partitions(ctx context.Context, topic string) (int, error) {
	return o.w.log.Partitions(ctx, topic)
}

type reader struct {
	stage.Reader
	w    *World
	at   place
	lazy bool
}

// Fetch waits for data or until maxWait is over. It may show little of what is
// there, or nothing: only the high watermark tells where the end was.
func (r *reader) Fetch(ctx context.Context, offset int64, maxWait time.Duration) (stage.Batch, error) {
	w := r.w
	wakes := w.nowMs + max(maxWait.Milliseconds(), 1)
	if r.lazy {
		wakes = 0
	}
	if a := w.running; a.offset == offset {
		a.again++
	} else {
		a.offset, a.again = offset, 0
	}
	if !w.parkUntil(opFetch, r.at, func() bool { return w.ends[r.at] > offset }, wakes) {
		return stage.Batch{}, errCrashed
	}
	limit := int(w.hash(streamBatch) % uint64(w.schedule.Plan.BatchMax))
	w.log.LimitBatch(limit + 1)
	batch, err := r.Reader.Fetch(ctx, offset, 0)
	if err == nil && !w.calm && len(batch.Records) > 0 && w.chance(streamEmpty, 25) {
		batch.Records, batch.Next = nil, offset
	}
	w.note("%s fetch %s/%d at %d: %d of %d, %v", w.running.name, r.at.topic, r.at.partition, offset, len(batch.Records), batch.HighWatermark, err)
	return batch, err
}

func (r *reader) Bounds(ctx context.Context) (first, end int64, err error) {
	if !r.w.park(opBounds, r.at) {
		return 0, 0, errCrashed
	}
	return r.Reader.Bounds(ctx)
}

// futureMs is how far ahead of the broker's clock a record of the payment log may
// be: message.timestamp.after.max.ms.
const futureMs = 60_000

// Append brings the batches to their partitions in an order that the schedule
// chooses, each in one or two requests. A request that gets no answer is sent
// again, unchanged, before anything behind it.
func (o port) Append(ctx context.Context, batches ...stage.Outgoing) error {
	w := o.w
	turn := int(w.hash(streamOrder) % uint64(max(len(batches), 1)))
	for i := range batches {
		b := batches[(i+turn)%len(batches)]
		parts := [][]stage.Record{b.Records}
		if n := len(b.Records); n > 1 && w.chance(streamSplit, 4) {
			cut := 1 + int(w.hash(streamSplit)>>8%uint64(n-1))
			parts = [][]stage.Record{b.Records[:cut], b.Records[cut:]}
		}
		for _, part := range parts {
			if err := o.send(ctx, stage.Outgoing{Topic: b.Topic, Partition: b.Partition, Records: part}); err != nil {
				return fmt.Errorf("append to %s/%d: %w", b.Topic, b.Partition, err)
			}
		}
	}
	return nil
}

// send is one request and its repetitions.
func (o port) send(ctx context.Context, b stage.Outgoing) error {
	w, at := o.w, place{b.Topic, b.Partition}
	for {
		if !w.park(opAppend, at) {
			return errCrashed
		}
		if err := ctx.Err(); err != nil {
			return err
		}
		for i := range b.Records {
			if b.Topic == topic.PaymentLog.Name && b.Records[i].TimeMs > w.nowMs+futureMs {
				return fmt.Errorf("%w: record %d is of the future", errFailed, i)
			}
		}
		fate := w.fate()
		w.note("%s append %d to %s/%d: %s", w.running.name, len(b.Records), b.Topic, b.Partition, fate)
		switch fate {
		case fateOK:
			w.append(b)
			return nil
		case fateRequestLost:
			continue
		case fateReplyLost:
			w.append(b)
			continue
		case fateTwice:
			w.append(b)
			w.later(func() { w.append(b) }, &b)
			return nil
		case fateFails:
			return errFailed
		case fateFailsDone:
			w.append(b)
			return errFailed
		case fateFailsLater:
			w.later(func() { w.append(b) }, &b)
			return errFailed
		}
	}
}

// later delivers a request at another time. What it carries is copied: its owner
// may use the memory again.
func (w *World) later(deliver func(), b *stage.Outgoing) {
	if b != nil {
		records := make([]stage.Record, len(b.Records))
		for i, r := range b.Records {
			r.Key, r.Value = append([]byte(nil), r.Key...), append([]byte(nil), r.Value...)
			records[i] = r
		}
		b.Records = records
	}
	w.network = append(w.network, late{deliver})
}
