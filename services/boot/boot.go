package boot

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"settlewatch/pipelines/bus"
	"settlewatch/pipelines/statestore"
	"settlewatch/pipelines/warehouse"
)

// Exit statuses of every service.
const (
	exitOK     = 0
	exitFailed = 1 // it ran and could not go on: start it again
	exitUsage  = 2 // it was told something it cannot use: starting it again does not help
)

// Service is one microservice: its command line and what it does.
type Service struct {
	Name  string
	About string
	Need  Need
	// Run until ctx is done, which is no error.
	Run func(ctx context.Context, s Settings, log *slog.Logger) error
}

// errUsage marks what exitUsage is for.
var errUsage = errors.New("settings")

// Main runs the service until SIGINT or SIGTERM and returns its exit status.
func Main(service Service) int {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	cmd := &cobra.Command{
		Use: service.Name, Short: service.About,
		Long: service.About + "\n\nA flag stands before the environment (" + envPrefix + "KAFKA_BROKERS for --kafka-brokers), " +
			"the environment before the file of --config.\nExit status: 0 ended as asked, 1 could not go on, 2 wrong settings.",
		Args: cobra.NoArgs, SilenceUsage: true, SilenceErrors: true,
		RunE: func(cmd *cobra.Command, _ []string) error {
			settings, err := Read(cmd.Flags(), service.Need)
			if err != nil {
				return fmt.Errorf("%w: %w", errUsage, err)
			}
			log := newLogger(settings).With("service", service.Name)
			slog.SetDefault(log)
			log.Info("started", "pid", os.Getpid())
			if err := service.Run(cmd.Context(), settings, log); err != nil && ctx.Err() == nil {
				log.Error("ended", "error", err)
				return err
			}
			log.Info("ended as asked")
			return nil
		},
	}
	AddFlags(cmd.Flags(), service.Need)
	cmd.SetFlagErrorFunc(func(_ *cobra.Command, err error) error { return fmt.Errorf("%w: %w", errUsage, err) })
	err := cmd.ExecuteContext(ctx)
	switch {
	case err == nil:
		return exitOK
	case errors.Is(err, errUsage):
		fmt.Fprintf(os.Stderr, "%s: %v\nSee `%s --help`.\n", service.Name, err, service.Name)
		return exitUsage
	default:
		return exitFailed
	}
}

func newLogger(s Settings) *slog.Logger {
	options := &slog.HandlerOptions{Level: s.LogLevel}
	if s.LogJSON {
		return slog.New(slog.NewJSONHandler(os.Stderr, options))
	}
	return slog.New(slog.NewTextHandler(os.Stderr, options))
}

// Clock is the machine's.
type Clock struct{}

// Now is the time of day.
func (Clock) Now() time.Time { return time.Now() }

// patience is how long a service waits for a server that is not there at start.
const patience = 2 * time.Minute

// ConnectKafka waits for a broker that answers.
func ConnectKafka(ctx context.Context, s Settings, log *slog.Logger, client string) (*bus.Bus, error) {
	return bus.Dial(ctx, bus.Options{
		Brokers: s.KafkaBrokers, ClientID: "settlewatch-" + client, WaitReady: patience, Logger: log,
	})
}

// ConnectRedis waits for a Redis that answers.
func ConnectRedis(ctx context.Context, s Settings, log *slog.Logger) (*statestore.Client, error) {
	return retried(ctx, log, "Redis", func() (*statestore.Client, error) {
		return statestore.Dial(ctx, statestore.Options{
			Addrs: s.RedisAddrs, Cluster: s.RedisCluster, Username: s.RedisUser, Password: s.RedisPassword,
			OnRetry: func(r statestore.Retry) { log.Warn("Redis: trying again", "retry", r) },
		})
	}, func(error) bool { return true })
}

// ConnectClickHouse waits for a ClickHouse that answers.
func ConnectClickHouse(ctx context.Context, s Settings, log *slog.Logger) (*warehouse.Warehouse, error) {
	return retried(ctx, log, "ClickHouse", func() (*warehouse.Warehouse, error) {
		return warehouse.Dial(ctx, warehouse.Options{
			DSN:     s.ClickHouseDSN,
			OnRetry: func(err error, wait time.Duration) { log.Warn("ClickHouse: trying again", "in", wait, "error", err) },
		})
	}, func(err error) bool { return errors.Is(err, warehouse.ErrUnreachable) })
}

// retried dials until it succeeds, patience is over or the failure is final.
func retried[T any](ctx context.Context, log *slog.Logger, what string, dial func() (T, error), again func(error) bool) (T, error) {
	deadline := time.Now().Add(patience)
	for wait := 200 * time.Millisecond; ; wait = min(2*wait, 5*time.Second) {
		c, err := dial()
		if err == nil || !again(err) || time.Now().Add(wait).After(deadline) {
			return c, err
		}
		log.Warn("waiting for a server", "server", what, "error", err)
		select {
		case <-ctx.Done():
			return c, ctx.Err()
		case <-time.After(wait):
		}
	}
}
