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
	partitions [][]Record
	memory     []byte
	// The record that is being encoded.
	record event.LogRecord
	origin event.Origin
	body   event.LogRecord_Event
}

// Sizes of the queue's memory: what it begins with, and what it keeps at most
// after a flush that needed more.
const (
	queueStartBytes = 64 << 10
	queueKeptBytes  = 64 << 20
)

func newLogQueue(partitions int) *logQueue {
	q := &logQueue{partitions: make([][]Record, partitions)}
	q.record.Origin = &q.origin
	return q
}

// event queues an event in its payment's partition.
func (q *logQueue) event(source string, raw *Record, index uint32, e *event.Event) error {
	q.origin.Source, q.origin.Offset, q.origin.Index = source, raw.Offset, index
	q.body.Event = e
	q.record.ArrivalMs, q.record.Body = raw.TimeMs, &q.body
	value, err := q.encode()
	if err != nil {
		return err
	}
	key := q.take(len(e.PaymentKey))
	copy(key, e.PaymentKey)
	p := topic.Partition(key, len(q.partitions))
	q.partitions[p] = append(q.partitions[p], Record{Key: key, Value: value, TimeMs: raw.TimeMs})
	return nil
}

// mark queues a mark in every partition. configs is how many CONFIGs it rests on.
func (q *logQueue) mark(source string, t int64, configs uint64) error {
	q.origin.Source, q.origin.Offset, q.origin.Index = source, 0, 0
	q.record.ArrivalMs, q.record.Body = t, &event.LogRecord_Mark{Mark: &event.Mark{TMs: t, Configs: configs}}
	value, err := q.encode()
	if err != nil {
		return err
	}
	for p := range q.partitions {
		q.partitions[p] = append(q.partitions[p], Record{Key: []byte{}, Value: value, TimeMs: t})
	}
	return nil
}

func (q *logQueue) encode() ([]byte, error) {
	value := q.take(q.record.SizeVT())
	if _, err := q.record.MarshalToSizedBufferVT(value); err != nil {
		return nil, fmt.Errorf("encode record of offset %d: %w", q.origin.Offset, err)
	}
	return value, nil
}

// take is a piece of the memory. When there is no more, what has been taken stays
// where it is and new memory begins.
func (q *logQueue) take(n int) []byte {
	if n > cap(q.memory)-len(q.memory) {
		q.memory = make([]byte, 0, max(queueStartBytes, 2*cap(q.memory), n))
	}
	start := len(q.memory)
	q.memory = q.memory[:start+n]
	return q.memory[start : start+n : start+n]
}

// batches appends one for each partition that has records.
func (q *logQueue) batches(into []Outgoing) []Outgoing {
	for p, records := range q.partitions {
		if len(records) > 0 {
			into = append(into, Outgoing{Topic: topic.PaymentLog.Name, Partition: int32(p), Records: records})
		}
	}
	return into
}

// reset empties the queue once everything in it is acknowledged.
func (q *logQueue) reset() {
	for p := range q.partitions {
		q.partitions[p] = q.partitions[p][:0]
	}
	if q.memory = q.memory[:0]; cap(q.memory) > queueKeptBytes {
		q.memory = nil
	}
}
