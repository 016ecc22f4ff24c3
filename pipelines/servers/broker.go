package servers

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kfake"
)

// BrokerOptions configure the in-process broker.
type BrokerOptions struct {
	Options
	// Port to listen on. 0 chooses a free one.
	Port int
	// GroupMinSession is the shortest session a consumer group may ask for. Defaults
	// to 6s, like Kafka's own.
	GroupMinSession time.Duration
}

// Broker is a Kafka broker inside this process, reachable from others. It speaks
// the protocol of a real one and keeps nothing on disk: with it end its topics.
type Broker struct {
	cluster *kfake.Cluster
	addr    string
	port    int
	once    sync.Once
	done    chan struct{}
}

var _ Server = (*Broker)(nil)

// StartBroker starts the in-process broker. Dir and Progress are not used.
func StartBroker(_ context.Context, o BrokerOptions) (*Broker, error) {
	port, err := choosePort(o.Port)
	if err != nil {
		return nil, fmt.Errorf("start broker: %w", err)
	}
	opts := []kfake.Opt{
		kfake.Ports(port), kfake.NumBrokers(1), kfake.ClusterID("settlewatch"),
		// A fetch that waits for data must not hold up the other requests of its
		// connection.
		kfake.SleepOutOfOrder(),
	}
	if o.GroupMinSession > 0 {
		opts = append(opts, kfake.GroupMinSessionTimeout(o.GroupMinSession))
	}
	if o.Log != nil {
		opts = append(opts, kfake.WithLogger(kfake.BasicLogger(o.Log, kfake.LogLevelWarn)))
	}
	cluster, err := kfake.NewCluster(opts...)
	if err != nil {
		return nil, fmt.Errorf("start broker on %s: %w", address(port), err)
	}
	return &Broker{cluster: cluster, addr: address(port), port: port, done: make(chan struct{})}, nil
}

// Addr is the bootstrap address.
func (b *Broker) Addr() string { return b.addr }

// Port is the address's port.
func (b *Broker) Port() int { return b.port }

// Pid is 0: the broker runs in this process.
func (b *Broker) Pid() int { return 0 }

// Done is closed by Stop.
func (b *Broker) Done() <-chan struct{} { return b.done }

// Err is nil: the broker ends in good order only.
func (b *Broker) Err() error { return nil }

// Stop closes all connections and forgets all topics.
func (b *Broker) Stop() error {
	b.once.Do(func() {
		b.cluster.Close()
		close(b.done)
	})
	return nil
}

// Kill is Stop.
func (b *Broker) Kill() error { return b.Stop() }
