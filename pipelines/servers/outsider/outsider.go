// Package outsider does to a Kafka cluster what the product never does itself and
// others do: an administrator who adds partitions or lets retention run, a producer
// with transactions that it aborts. It is for tests of what the product makes of it.
package outsider

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"time"

	"github.com/segmentio/kafka-go"
	"github.com/segmentio/kafka-go/protocol"
)

// Outsider is a client of one cluster.
type Outsider struct{ client *kafka.Client }

// New talks to the broker at the address.
func New(addr string) *Outsider {
	return &Outsider{client: &kafka.Client{Addr: kafka.TCP(addr), Timeout: 10 * time.Second}}
}

// AddPartitions raises a topic's number of partitions.
func (o *Outsider) AddPartitions(ctx context.Context, topic string, count int) error {
	reply, err := o.client.CreatePartitions(ctx, &kafka.CreatePartitionsRequest{
		Topics: []kafka.TopicPartitionsConfig{{Name: topic, Count: int32(count)}},
	})
	if err == nil {
		err = reply.Errors[topic]
	}
	if err != nil {
		return fmt.Errorf("add partitions to %s: %w", topic, err)
	}
	return nil
}

// Configure sets one property of a topic.
func (o *Outsider) Configure(ctx context.Context, topic, name, value string) error {
	reply, err := o.client.IncrementalAlterConfigs(ctx, &kafka.IncrementalAlterConfigsRequest{
		Resources: []kafka.IncrementalAlterConfigsRequestResource{{
			ResourceType: kafka.ResourceTypeTopic, ResourceName: topic,
			Configs: []kafka.IncrementalAlterConfigsRequestConfig{{Name: name, Value: value, ConfigOperation: kafka.ConfigOperationSet}},
		}},
	})
	if err == nil && len(reply.Resources) > 0 {
		err = reply.Resources[0].Error
	}
	if err != nil {
		return fmt.Errorf("set %s of %s: %w", name, topic, err)
	}
	return nil
}

// Record of a transaction.
type Record struct {
	Key, Value []byte
	TimeMs     int64
}

// Transaction writes records to one partition in a transaction of their own, and
// commits or aborts it. The id names the producer.
func (o *Outsider) Transaction(ctx context.Context, id, topic string, partition int, records []Record, commit bool) error {
	session, err := o.begin(ctx, id, topic, partition)
	if err != nil {
		return fmt.Errorf("begin a transaction: %w", err)
	}
	batch, err := encode(records, session)
	if err != nil {
		return fmt.Errorf("encode a transaction: %w", err)
	}
	produced, err := o.client.RawProduce(ctx, &kafka.RawProduceRequest{
		Topic: topic, Partition: partition, RequiredAcks: kafka.RequireAll, TransactionalID: id,
		RawRecords: protocol.RawRecordSet{Reader: bytes.NewReader(batch)},
	})
	if err == nil {
		err = produced.Error
	}
	if err != nil {
		return fmt.Errorf("write in a transaction: %w", err)
	}
	return persist(ctx, func() error {
		reply, err := o.client.EndTxn(ctx, &kafka.EndTxnRequest{
			TransactionalID: id, ProducerID: session.ProducerID, ProducerEpoch: session.ProducerEpoch, Committed: commit,
		})
		if err == nil {
			err = reply.Error
		}
		return err
	})
}

func (o *Outsider) begin(ctx context.Context, id, topic string, partition int) (kafka.ProducerSession, error) {
	var session kafka.ProducerSession
	err := persist(ctx, func() error {
		reply, err := o.client.InitProducerID(ctx, &kafka.InitProducerIDRequest{
			TransactionalID: id, TransactionTimeoutMs: 60_000, ProducerID: -1, ProducerEpoch: -1,
		})
		if err == nil {
			err = reply.Error
		}
		if err == nil {
			session = *reply.Producer
		}
		return err
	})
	if err != nil {
		return session, err
	}
	return session, persist(ctx, func() error {
		reply, err := o.client.AddPartitionsToTxn(ctx, &kafka.AddPartitionsToTxnRequest{
			TransactionalID: id, ProducerID: session.ProducerID, ProducerEpoch: session.ProducerEpoch,
			Topics: map[string][]kafka.AddPartitionToTxn{topic: {{Partition: partition}}},
		})
		if err == nil {
			err = reply.Topics[topic][0].Error
		}
		return err
	})
}

// persist repeats what a coordinator refuses for a moment: it is being made, or the
// last transaction's marker is on its way.
func persist(ctx context.Context, try func() error) error {
	ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	for {
		err := try()
		var said kafka.Error
		if err == nil || (errors.As(err, &said) && !said.Temporary() && !errors.Is(err, kafka.Error(51))) {
			return err // 51: CONCURRENT_TRANSACTIONS
		}
		select {
		case <-ctx.Done():
			return err
		case <-time.After(50 * time.Millisecond):
		}
	}
}

// The batch on the wire, behind the four bytes of its size.
const (
	sizeBytes    = 4
	checksumAt   = sizeBytes + 17
	attributesAt = sizeBytes + 21
	producerAt   = sizeBytes + 43
	epochAt      = sizeBytes + 51
	sequenceAt   = sizeBytes + 53
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// encode is the records as one transactional batch of the session.
func encode(records []Record, session kafka.ProducerSession) ([]byte, error) {
	list := make([]protocol.Record, len(records))
	for i, r := range records {
		list[i] = protocol.Record{Time: time.UnixMilli(r.TimeMs), Key: protocol.NewBytes(r.Key), Value: protocol.NewBytes(r.Value)}
	}
	set := protocol.RecordSet{Version: 2, Attributes: protocol.Transactional, Records: protocol.NewRecordReader(list...)}
	var out bytes.Buffer
	if _, err := set.WriteTo(&out); err != nil && !errors.Is(err, io.EOF) {
		return nil, err
	}
	b := out.Bytes()
	binary.BigEndian.PutUint64(b[producerAt:], uint64(session.ProducerID))
	binary.BigEndian.PutUint16(b[epochAt:], uint16(session.ProducerEpoch))
	binary.BigEndian.PutUint32(b[sequenceAt:], 0)
	binary.BigEndian.PutUint32(b[checksumAt:], crc32.Checksum(b[attributesAt:], castagnoli))
	return b, nil
}
