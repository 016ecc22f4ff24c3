package bus

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/segmentio/kafka-go"
)

// asker asks a broker how many partitions a topic has, over one connection that it
// keeps. The client's own answer comes from a cache of some seconds, in which a new
// partition can fill behind the back of who asks.
type asker struct {
	mu   sync.Mutex
	conn *kafka.Conn
}

// partitions of a topic that exists; the broker may make one that does not.
func (a *asker) partitions(ctx context.Context, o *Options, topic string) (int, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.conn == nil {
		conn, err := dialAny(ctx, o)
		if err != nil {
			return 0, err
		}
		a.conn = conn
	}
	err := a.conn.SetDeadline(time.Now().Add(requestTimeout))
	var found []kafka.Partition
	if err == nil {
		found, err = a.conn.ReadPartitions(topic)
	}
	if err != nil {
		a.drop() // the next question begins anew, perhaps with another broker
		return 0, err
	}
	if len(found) == 0 { // the library hides why
		return 0, kafka.UnknownTopicOrPartition
	}
	return len(found), nil
}

func (a *asker) drop() {
	if a.conn != nil {
		_ = a.conn.Close() // nothing was written that could be lost
		a.conn = nil
	}
}

func (a *asker) close() {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.drop()
}

// dialAny of the brokers that answers.
func dialAny(ctx context.Context, o *Options) (*kafka.Conn, error) {
	dialer := &kafka.Dialer{ClientID: o.ClientID, Timeout: 5 * time.Second, TLS: o.TLS, SASLMechanism: o.SASL}
	var last error
	for _, broker := range o.Brokers {
		conn, err := dialer.DialContext(ctx, "tcp", broker)
		if err == nil {
			return conn, nil
		}
		last = err
	}
	return nil, fmt.Errorf("connect to a broker: %w", last)
}
