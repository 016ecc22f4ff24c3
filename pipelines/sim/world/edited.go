package world

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"time"

	"settlewatch/pipelines/hop"
	"settlewatch/pipelines/stage"
	"settlewatch/schemas/event"
	"settlewatch/schemas/table"
	"settlewatch/schemas/topic"
)

// editedLog is a log whose calls a planted bug changes.
type editedLog struct {
	stage.Log
	append     func(ctx context.Context, batches []stage.Outgoing) error
	partitions func(topic string, n int) int
	reader     func(r stage.Reader) stage.Reader
	// fetch is called before a fetch, offset changes where it begins, batch what came.
	fetch  func(ctx context.Context) error
	offset func(at place, offset int64) int64
	batch  func(at place, offset int64, b *stage.Batch)
}

func (l editedLog) Append(ctx context.Context, batches ...stage.Outgoing) error {
	if l.append == nil {
		return l.Log.Append(ctx, batches...)
	}
	return l.append(ctx, batches)
}

func (l editedLog) Partitions(ctx context.Context, topic string) (int, error) {
	n, err := l.Log.Partitions(ctx, topic)
	if l.partitions != nil {
		n = l.partitions(topic, n)
	}
	return n, err
}

func (l editedLog) Open(topic string, partition int32) (stage.Reader, error) {
	r, err := l.Log.Open(topic, partition)
	if err != nil {
		return nil, err
	}
	if l.reader != nil {
		r = l.reader(r)
	}
	return editedReader{r, l, place{topic, partition}}, nil
}

type editedReader struct {
	stage.Reader
	log editedLog
	at  place
}

func (r editedReader) Fetch(ctx context.Context, offset int64, maxWait time.Duration) (stage.Batch, error) {
	if r.log.fetch != nil {
		if err := r.log.fetch(ctx); err != nil {
			return stage.Batch{}, err
		}
	}
	if r.log.offset != nil {
		offset = r.log.offset(r.at, offset)
	}
	b, err := r.Reader.Fetch(ctx, offset, maxWait)
	if err == nil && r.log.batch != nil {
		r.log.batch(r.at, offset, &b)
	}
	return b, err
}

// jumping reads on at the first offset that there is.
type jumping struct{ stage.Reader }

func (j jumping) Bounds(ctx context.Context) (first, end int64, err error) {
	_, end, err = j.Reader.Bounds(ctx)
	return 0, end, err
}

func (j jumping) Fetch(ctx context.Context, offset int64, maxWait time.Duration) (stage.Batch, error) {
	first, _, err := j.Reader.Bounds(ctx)
	if err != nil {
		return stage.Batch{}, err
	}
	return j.Reader.Fetch(ctx, max(offset, first), maxWait)
}

// copied batches outlive their owner's next round.
func copied(batches []stage.Outgoing) []stage.Outgoing {
	out := make([]stage.Outgoing, len(batches))
	for i, b := range batches {
		b.Records = append([]stage.Record(nil), b.Records...)
		out[i] = b
	}
	return out
}

// forgiving takes a failed append for a successful one.
func forgiving(log stage.Log) stage.Log {
	return editedLog{Log: log, append: func(ctx context.Context, batches []stage.Outgoing) error {
		for _, b := range batches {
			if err := log.Append(ctx, b); err != nil && !errors.Is(err, errFailed) {
				return err
			}
		}
		return nil
	}}
}

// dropping loses records of the payment log.
func dropping(log stage.Log, drop func(b *stage.Outgoing, r *stage.Record) bool) stage.Log {
	return editedLog{Log: log, append: func(ctx context.Context, batches []stage.Outgoing) error {
		for _, b := range batches {
			var kept []stage.Record
			for i := range b.Records {
				if b.Topic != topic.PaymentLog.Name || !drop(&b, &b.Records[i]) {
					kept = append(kept, b.Records[i])
				}
			}
			if b.Records = kept; len(kept) == 0 {
				continue
			}
			if err := log.Append(ctx, b); err != nil {
				return err
			}
		}
		return nil
	}}
}

// lastOfBatch publishes the last revision of each alert in a batch.
func lastOfBatch(log stage.Log) stage.Log {
	return editedLog{Log: log, append: func(ctx context.Context, batches []stage.Outgoing) error {
		for i, b := range batches {
			last := map[string]int{}
			for k := range b.Records {
				last[id(&b.Records[k])] = k
			}
			var kept []stage.Record
			for k := range b.Records {
				if last[id(&b.Records[k])] == k {
					kept = append(kept, b.Records[k])
				}
			}
			batches[i].Records = kept
		}
		return log.Append(ctx, batches...)
	}}
}

// editedRecords changes records of the payment log as the joiner reads them. It
// leaves alone what the joiner takes a checksum of, the last record of a batch and
// the one before the stored position: so only the bug itself shows.
func editedRecords(j *stage.Joiner, change func(r *event.LogRecord) bool) {
	edited(j, func(_ int32, _ int64, records []stage.Record) {
		for i := range records {
			r := new(event.LogRecord)
			if r.UnmarshalVT(records[i].Value) == nil && change(r) {
				records[i].Value, _ = r.MarshalVT()
			}
		}
	})
}

func edited(j *stage.Joiner, change func(partition int32, offset int64, records []stage.Record)) {
	state, from := j.State, int64(0)
	j.State = func(n int32) stage.State {
		return editedState{State: state(n), loaded: func(s *stage.Stored) { from = s.Offset }}
	}
	j.Log = editedLog{Log: j.Log, batch: func(at place, offset int64, b *stage.Batch) {
		if offset != from-1 && len(b.Records) > 0 {
			change(at.partition, offset, b.Records[:len(b.Records)-1])
		}
	}}
}

// withoutDedupe gives every repeat an origin of its own.
func withoutDedupe(w *World, j *stage.Joiner) {
	edited(j, func(partition int32, offset int64, records []stage.Record) {
		reader := hop.NewReader(nil, nil)
		for _, r := range w.decoded(partition)[:offset] {
			if r.GetMark() == nil {
				reader.Accept(r.Origin)
			}
		}
		for i := range records {
			r := new(event.LogRecord)
			if err := r.UnmarshalVT(records[i].Value); err != nil || r.GetEvent() == nil {
				continue
			}
			source, fresh := reader.Accept(r.Origin)
			if last := reader.Positions()[source]; !fresh {
				r.Origin.Generation, r.Origin.Offset, r.Origin.Index = last.Generation, last.Offset, last.Index+1
				reader.Accept(r.Origin)
				records[i].Value, _ = r.MarshalVT()
			}
		}
	})
}

// earlyFetch is a clock that fetches before it is read.
type earlyFetch struct {
	w      *World
	clock  stage.Clock
	inner  stage.Reader
	next   int64
	known  bool
	batch  stage.Batch
	err    error
	waits  time.Duration
	filled bool
}

func (e *earlyFetch) around(r stage.Reader) stage.Reader {
	if e.inner != nil {
		return r // only the source's own
	}
	e.inner = r
	return earlyReader{r, e}
}

func (e *earlyFetch) Now() time.Time {
	if e.known && !e.filled {
		e.batch, e.err = e.inner.Fetch(e.w.running.ctx, e.next, e.waits)
		e.filled = true
	}
	return e.clock.Now()
}

func (e *earlyFetch) Sleep(ctx context.Context, d time.Duration) error { return e.clock.Sleep(ctx, d) }

type earlyReader struct {
	stage.Reader
	early *earlyFetch
}

func (r earlyReader) Fetch(ctx context.Context, offset int64, maxWait time.Duration) (stage.Batch, error) {
	e := r.early
	if !e.filled || e.next != offset {
		e.batch, e.err = r.Reader.Fetch(ctx, offset, maxWait)
	}
	e.filled, e.known, e.waits, e.next = false, true, maxWait, max(offset, e.batch.Next)
	return e.batch, e.err
}

// editedState is a store whose calls a planted bug changes.
type editedState struct {
	stage.State
	loaded    func(s *stage.Stored)
	commit    func(c *stage.Commit)
	committed func(ctx context.Context, err error) error
}

func (s editedState) Load(ctx context.Context) (stage.Stored, error) {
	stored, err := s.State.Load(ctx)
	if err == nil && s.loaded != nil {
		s.loaded(&stored)
	}
	return stored, err
}

func (s editedState) Commit(ctx context.Context, c stage.Commit) error {
	if s.commit != nil {
		s.commit(&c)
	}
	err := s.State.Commit(ctx, c)
	if s.committed != nil {
		return s.committed(ctx, err)
	}
	return err
}

// editedMeta changes what is committed beside the payments, editedMetaLoaded what
// is loaded of it.
func editedMeta(open func(int32) stage.State, change func(meta map[string]any)) func(int32) stage.State {
	return func(n int32) stage.State {
		return editedState{State: open(n), commit: func(c *stage.Commit) { c.Meta = changed(c.Meta, change) }}
	}
}

func editedMetaLoaded(open func(int32) stage.State, change func(meta map[string]any)) func(int32) stage.State {
	return func(n int32) stage.State {
		return editedState{State: open(n), loaded: func(s *stage.Stored) {
			if s.Meta != nil {
				s.Meta = changed(s.Meta, change)
			}
		}}
	}
}

func changed(text []byte, change func(meta map[string]any)) []byte {
	meta := map[string]any{}
	decoder := json.NewDecoder(bytes.NewReader(text))
	decoder.UseNumber()
	if decoder.Decode(&meta) != nil {
		return text
	}
	change(meta)
	out, err := json.Marshal(meta)
	if err != nil {
		return text
	}
	return out
}

// oneToken draws a token once.
type oneToken struct {
	stage.State
	drawn bool
}

func (o *oneToken) Acquire(ctx context.Context) error {
	if o.drawn {
		return nil
	}
	o.drawn = true
	return o.State.Acquire(ctx)
}

// trusting inserts nothing of a range that is recorded already.
type trusting struct {
	stage.Warehouse
	again bool
}

func (t *trusting) LastRange(ctx context.Context, topic string, partition int32) (stage.Range, bool, error) {
	t.again = true
	return t.Warehouse.LastRange(ctx, topic, partition)
}

func (t *trusting) RecordRange(ctx context.Context, r stage.Range) error {
	t.again = false
	return t.Warehouse.RecordRange(ctx, r)
}

func (t *trusting) Insert(ctx context.Context, b table.Block, token string) error {
	if t.again {
		return nil
	}
	return t.Warehouse.Insert(ctx, b, token)
}
