package stage

import (
	"fmt"

	"settlewatch/schemas/event"
	"settlewatch/schemas/topic"
)

// logQueue holds what an ingestion appends next to the payment log, by log
// partition. Keys and values lie in memory that is used again after each flush:
// one allocation for each of them would cost more than to encode it.
type logQueue struct {
	partitions []lot
	// The record that is being encoded.
	record event.LogRecord
	origin event.Origin
	body   event.LogRecord_Event
	key    []byte
}

// lot is what is queued for one partition. Its memory is its own: by the time it is
// read, it has left the processor's caches, and comes back the sooner if it lies in
// the order in which it is read.
type lot struct {
	records []Record
	memory  []byte
}

// Sizes of memory: what a lot begins with, and what all lots keep at most after a
// flush that needed more.
const (
	lotStartBytes  = 16 << 10
	queueKeptBytes = 64 << 20
)

func newLogQueue(partitions int) *logQueue {
	q := &logQueue{partitions: make([]lot, partitions)}
	q.record.Origin = &q.origin
	return q
}

// event queues an event in its payment's partition.
func (q *logQueue) event(source string, raw *Record, index uint32, e *event.Event) error {
	q.origin.Source, q.origin.Offset, q.origin.Index = source, raw.Offset, index
	q.body.Event = e
	q.record.ArrivalMs, q.record.Body = raw.TimeMs, &q.body
	q.key = append(q.key[:0], e.PaymentKey...)
	l := &q.partitions[topic.Partition(q.key, len(q.partitions))]
	key := l.take(len(q.key))
	copy(key, q.key)
	value, err := q.encode(l)
	if err != nil {
		return err
	}
	l.records = append(l.records, Record{Key: key, Value: value, TimeMs: raw.TimeMs})
	return nil
}

// mark queues a mark in every partition. configs is how many CONFIGs it rests on.
func (q *logQueue) mark(source string, t int64, configs uint64) error {
	q.origin.Source, q.origin.Offset, q.origin.Index = source, 0, 0
	q.record.ArrivalMs, q.record.Body = t, &event.LogRecord_Mark{Mark: &event.Mark{TMs: t, Configs: configs}}
	value, err := q.encode(&q.partitions[0])
	if err != nil {
		return err
	}
	for p := range q.partitions {
		l := &q.partitions[p]
		l.records = append(l.records, Record{Key: []byte{}, Value: value, TimeMs: t})
	}
	return nil
}

func (q *logQueue) encode(l *lot) ([]byte, error) {
	value := l.take(q.record.SizeVT())
	if _, err := q.record.MarshalToSizedBufferVT(value); err != nil {
		return nil, fmt.Errorf("encode record of offset %d: %w", q.origin.Offset, err)
	}
	return value, nil
}

// take is a piece of the memory. When there is no more, what has been taken stays
// where it is and new memory begins.
func (l *lot) take(n int) []byte {
	if n > cap(l.memory)-len(l.memory) {
		l.memory = make([]byte, 0, max(lotStartBytes, 2*cap(l.memory), n))
	}
	start := len(l.memory)
	l.memory = l.memory[:start+n]
	return l.memory[start : start+n : start+n]
}

// batches appends one for each partition that has records.
func (q *logQueue) batches(into []Outgoing) []Outgoing {
	for p := range q.partitions {
		if records := q.partitions[p].records; len(records) > 0 {
			into = append(into, Outgoing{Topic: topic.PaymentLog.Name, Partition: int32(p), Records: records})
		}
	}
	return into
}

// reset empties the queue once everything in it is acknowledged.
func (q *logQueue) reset() {
	for p := range q.partitions {
		l := &q.partitions[p]
		l.records = l.records[:0]
		if l.memory = l.memory[:0]; cap(l.memory) > queueKeptBytes/len(q.partitions) {
			l.memory = nil
		}
	}
}
