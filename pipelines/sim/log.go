// Package sim holds in-memory adapters for the interfaces of package stage.
//
// What enters: appended records. What leaves: the same records, in order, with
// the offsets they got. What it guarantees: the same calls in the same order give
// the same result; no clock is read, except to end a Fetch that waits. A reader's
// batch is overwritten by its next Fetch, so that code which keeps a record for
// longer fails here first.
package sim

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"settlewatch/pipelines/stage"
)

// ErrUnknownPartition is a topic or partition that was not created.
var ErrUnknownPartition = errors.New("unknown topic or partition")

// DefaultBatchRecords is how many records a Fetch returns at most, unless
// LimitBatch says otherwise.
const DefaultBatchRecords = 1000

// Log is a stage.Log in memory. It is safe for concurrent use.
type Log struct {
	mutex        sync.Mutex
	topics       map[string][]*partition
	groups       map[string]*coordinator
	batchRecords int
}

type partition struct {
	first   int64 // offset of records[0]
	records []stage.Record
	grown   chan struct{} // closed and replaced by every append
}

var (
	_ stage.Log    = (*Log)(nil)
	_ stage.Reader = (*Reader)(nil)
)

// NewLog returns a log without topics.
func NewLog() *Log {
	return &Log{
		topics:       map[string][]*partition{},
		groups:       map[string]*coordinator{},
		batchRecords: DefaultBatchRecords,
	}
}

// LimitBatch sets how many records a Fetch returns at most, at least one: what
// comes out of a stage must not depend on it.
func (l *Log) LimitBatch(records int) {
	l.mutex.Lock()
	defer l.mutex.Unlock()
	l.batchRecords = max(records, 1)
}

// CreateTopic makes an empty topic. One that exists with as many partitions is
// left as it is.
func (l *Log) CreateTopic(topic string, partitions int) error {
	l.mutex.Lock()
	defer l.mutex.Unlock()
	if have, ok := l.topics[topic]; ok && len(have) != partitions {
		return fmt.Errorf("create topic %s with %d partitions: it has %d", topic, partitions, len(have))
	} else if ok {
		return nil
	}
	l.topics[topic] = makePartitions(partitions)
	return nil
}

// Recreate empties a topic, as if it had been deleted and made again: its offsets
// start at 0, while groups keep what they committed.
func (l *Log) Recreate(topic string) error {
	l.mutex.Lock()
	defer l.mutex.Unlock()
	have, ok := l.topics[topic]
	if !ok {
		return fmt.Errorf("recreate topic %s: %w", topic, ErrUnknownPartition)
	}
	l.topics[topic] = makePartitions(len(have))
	for _, p := range have {
		close(p.grown)
		p.grown = make(chan struct{})
	}
	return nil
}

func makePartitions(n int) []*partition {
	ps := make([]*partition, n)
	for i := range ps {
		ps[i] = &partition{grown: make(chan struct{})}
	}
	return ps
}

// AddPartition gives a topic one partition more, as an administrator can.
func (l *Log) AddPartition(topic string) error {
	l.mutex.Lock()
	defer l.mutex.Unlock()
	have, ok := l.topics[topic]
	if !ok {
		return fmt.Errorf("add a partition to %s: %w", topic, ErrUnknownPartition)
	}
	l.topics[topic] = append(have, makePartitions(1)...)
	return nil
}

// Trim drops the records below offset, as retention does.
func (l *Log) Trim(topic string, number int32, offset int64) error {
	l.mutex.Lock()
	defer l.mutex.Unlock()
	p, err := l.partition(topic, number)
	if err != nil {
		return fmt.Errorf("trim %s/%d: %w", topic, number, err)
	}
	if offset < p.first || offset > p.end() {
		return fmt.Errorf("trim %s/%d to offset %d: %w", topic, number, offset, stage.ErrOffsetOutOfRange)
	}
	p.records = slices.Clone(p.records[offset-p.first:])
	p.first = offset
	return nil
}

// Records are copies of all that a partition holds.
func (l *Log) Records(topic string, number int32) ([]stage.Record, error) {
	l.mutex.Lock()
	defer l.mutex.Unlock()
	p, err := l.partition(topic, number)
	if err != nil {
		return nil, fmt.Errorf("records of %s/%d: %w", topic, number, err)
	}
	return cloneRecords(nil, p.records), nil
}

// Open returns a reader of one partition.
func (l *Log) Open(topic string, number int32) (stage.Reader, error) {
	l.mutex.Lock()
	defer l.mutex.Unlock()
	if _, err := l.partition(topic, number); err != nil {
		return nil, fmt.Errorf("open %s/%d: %w", topic, number, err)
	}
	return &Reader{log: l, topic: topic, number: number}, nil
}

// Append adds records, those of each partition all or none.
func (l *Log) Append(ctx context.Context, batches ...stage.Outgoing) error {
	for i := range batches {
		for j := range i {
			if batches[i].Partition == batches[j].Partition && batches[i].Topic == batches[j].Topic {
				return fmt.Errorf("append to %s/%d: named twice", batches[i].Topic, batches[i].Partition)
			}
		}
	}
	for _, b := range batches {
		if err := l.append(ctx, b); err != nil {
			return fmt.Errorf("append %d records to %s/%d: %w", len(b.Records), b.Topic, b.Partition, err)
		}
	}
	return nil
}

func (l *Log) append(ctx context.Context, b stage.Outgoing) error {
	l.mutex.Lock()
	defer l.mutex.Unlock()
	p, err := l.partition(b.Topic, b.Partition)
	if err == nil {
		err = ctx.Err()
	}
	if err != nil || len(b.Records) == 0 {
		return err
	}
	end := p.end()
	p.records = cloneRecords(p.records, b.Records)
	for i := range b.Records {
		p.records[end-p.first+int64(i)].Offset = end + int64(i)
	}
	close(p.grown)
	p.grown = make(chan struct{})
	return nil
}

// Partitions of a topic.
func (l *Log) Partitions(_ context.Context, topic string) (int, error) {
	l.mutex.Lock()
	defer l.mutex.Unlock()
	ps, ok := l.topics[topic]
	if !ok {
		return 0, fmt.Errorf("count partitions of %s: %w", topic, ErrUnknownPartition)
	}
	return len(ps), nil
}

// partition needs the mutex.
func (l *Log) partition(topic string, number int32) (*partition, error) {
	ps := l.topics[topic]
	if number < 0 || int(number) >= len(ps) {
		return nil, ErrUnknownPartition
	}
	return ps[number], nil
}

func (p *partition) end() int64 { return p.first + int64(len(p.records)) }

// Reader reads one partition of a Log.
type Reader struct {
	log    *Log
	topic  string
	number int32
	batch  []stage.Record
}

// Fetch returns the records from offset on, at most as many as LimitBatch says.
// Without any it waits up to maxWait.
func (r *Reader) Fetch(ctx context.Context, offset int64, maxWait time.Duration) (stage.Batch, error) {
	timer := time.NewTimer(maxWait)
	defer timer.Stop()
	for waited := maxWait <= 0; ; {
		batch, grown, err := r.take(offset)
		if err == nil {
			err = ctx.Err()
		}
		if err != nil {
			return stage.Batch{}, fmt.Errorf("fetch %s/%d from offset %d: %w", r.topic, r.number, offset, err)
		}
		if len(batch.Records) > 0 || waited {
			return batch, nil
		}
		select {
		case <-grown:
		case <-timer.C:
			waited = true
		case <-ctx.Done():
		}
	}
}

// take copies what is there at this moment.
func (r *Reader) take(offset int64) (stage.Batch, <-chan struct{}, error) {
	scribble(r.batch)
	r.log.mutex.Lock()
	defer r.log.mutex.Unlock()
	p, err := r.log.partition(r.topic, r.number)
	if err != nil {
		return stage.Batch{}, nil, err
	}
	if offset < p.first || offset > p.end() {
		return stage.Batch{}, nil, fmt.Errorf("%w: the log holds %d up to, not including, %d",
			stage.ErrOffsetOutOfRange, p.first, p.end())
	}
	found := p.records[offset-p.first:]
	found = found[:min(len(found), r.log.batchRecords)]
	r.batch = cloneRecords(r.batch[:0], found)
	return stage.Batch{
		Records:       r.batch,
		Next:          offset + int64(len(found)),
		HighWatermark: p.end(),
		LogStart:      p.first,
	}, p.grown, nil
}

// scribble spoils memory that nobody may look at any more.
func scribble(records []stage.Record) {
	for i := range records {
		for _, b := range [][]byte{records[i].Key, records[i].Value} {
			for j := range b {
				b[j] = 0xdb
			}
		}
		for j := range records[i].Headers {
			records[i].Headers[j] = stage.Header{Key: "overwritten by the next fetch"}
		}
		records[i] = stage.Record{Offset: -1}
	}
}

// Bounds are the first offset that exists and the one after the last.
func (r *Reader) Bounds(context.Context) (first, end int64, err error) {
	r.log.mutex.Lock()
	defer r.log.mutex.Unlock()
	p, err := r.log.partition(r.topic, r.number)
	if err != nil {
		return 0, 0, fmt.Errorf("list offsets of %s/%d: %w", r.topic, r.number, err)
	}
	return p.first, p.end(), nil
}

// Close spoils the last batch.
func (r *Reader) Close() error {
	scribble(r.batch)
	r.batch = nil
	return nil
}

// cloneRecords appends deep copies; nil stays nil and empty stays empty.
func cloneRecords(to, from []stage.Record) []stage.Record {
	for _, r := range from {
		r.Key, r.Value = bytes.Clone(r.Key), bytes.Clone(r.Value)
		r.Headers = slices.Clone(r.Headers)
		for i := range r.Headers {
			r.Headers[i].Value = bytes.Clone(r.Headers[i].Value)
		}
		to = append(to, r)
	}
	return to
}
