package boot

import (
	"context"
	"errors"
	"log/slog"
	"time"

	"settlewatch/pipelines/bus"
	"settlewatch/pipelines/statestore"
	"settlewatch/pipelines/warehouse"
)

// patience is how long a service waits for a server that is not there at start.
const patience = 2 * time.Minute

// ConnectKafka waits for a broker that answers.
func ConnectKafka(ctx context.Context, s Settings, log *slog.Logger, client string) (*bus.Bus, error) {
	return connectKafka(ctx, s, log, client, nil)
}

// ConnectRedis waits for a Redis that answers.
func ConnectRedis(ctx context.Context, s Settings, log *slog.Logger) (*statestore.Client, error) {
	return connectRedis(ctx, s, log, func(error) {})
}

// ConnectClickHouse waits for a ClickHouse that answers.
func ConnectClickHouse(ctx context.Context, s Settings, log *slog.Logger) (*warehouse.Warehouse, error) {
	return connectClickHouse(ctx, s, log, func(error) {})
}

// KafkaOptions are how the settings say that Kafka is reached.
func KafkaOptions(s Settings) (bus.Options, error) {
	options := bus.Options{Brokers: s.KafkaBrokers, TLS: s.KafkaTLS}
	if s.KafkaSASL != "" {
		mechanism, err := bus.SASL(s.KafkaSASL, s.KafkaUser, s.KafkaPassword.Reveal())
		if err != nil {
			return options, err
		}
		options.SASL = mechanism
	}
	return options, nil
}

// ClickHouseOptions are how the settings say that ClickHouse is reached.
func ClickHouseOptions(s Settings) warehouse.Options {
	return warehouse.Options{
		DSN: s.ClickHouseDSN.Reveal(), Username: s.ClickHouseUser, Password: s.ClickHousePassword.Reveal(), TLS: s.ClickHouseTLS,
	}
}

func connectKafka(ctx context.Context, s Settings, log *slog.Logger, client string, retried func(error)) (*bus.Bus, error) {
	options, err := KafkaOptions(s)
	if err != nil {
		return nil, err
	}
	options.ClientID, options.WaitReady, options.Logger, options.OnRetry = "settlewatch-"+client, patience, log, retried
	return bus.Dial(ctx, options)
}

func connectRedis(ctx context.Context, s Settings, log *slog.Logger, retried func(error)) (*statestore.Client, error) {
	return persist(ctx, log, "Redis", func() (*statestore.Client, error) {
		return statestore.Dial(ctx, statestore.Options{
			Addrs: s.RedisAddrs, Cluster: s.RedisCluster, Username: s.RedisUser, Password: s.RedisPassword.Reveal(), TLS: s.RedisTLS,
			OnRetry: func(r statestore.Retry) {
				log.Warn("Redis: trying again", "retry", r)
				retried(r.Err)
			},
		})
	}, func(err error) bool {
		return !errors.Is(err, statestore.ErrRefused) && !errors.Is(err, statestore.ErrUnsafe)
	})
}

func connectClickHouse(ctx context.Context, s Settings, log *slog.Logger, retried func(error)) (*warehouse.Warehouse, error) {
	return persist(ctx, log, "ClickHouse", func() (*warehouse.Warehouse, error) {
		options := ClickHouseOptions(s)
		options.OnRetry = func(err error, wait time.Duration) {
			log.Warn("ClickHouse: trying again", "wait", wait, "error", err)
			retried(err)
		}
		return warehouse.Dial(ctx, options)
	}, func(err error) bool { return errors.Is(err, warehouse.ErrUnreachable) })
}

// refused tells whether a server does not let us in, which another start with the
// same settings does not mend.
func refused(err error) bool {
	return errors.Is(err, bus.ErrRefused) || errors.Is(err, statestore.ErrRefused) || errors.Is(err, warehouse.ErrRefused)
}

// persist dials until it succeeds, patience is over or the failure is final.
func persist[T any](ctx context.Context, log *slog.Logger, server string, dial func() (T, error), again func(error) bool) (T, error) {
	deadline := time.Now().Add(patience)
	for wait := 200 * time.Millisecond; ; wait = min(2*wait, 5*time.Second) {
		c, err := dial()
		if err == nil || !again(err) || time.Now().Add(wait).After(deadline) {
			return c, err
		}
		log.Warn("waiting for a server", "server", server, "error", err)
		select {
		case <-ctx.Done():
			return c, ctx.Err()
		case <-time.After(wait):
		}
	}
}
