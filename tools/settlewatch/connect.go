package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"time"

	"github.com/spf13/cobra"

	"settlewatch/pipelines/bus"
	"settlewatch/pipelines/servers"
	"settlewatch/pipelines/statestore"
	"settlewatch/pipelines/warehouse"
	"settlewatch/services/boot"
)

// currentFile holds the addresses of the stack that `up` or `demo` runs on this
// machine, in the form of --config; it lies in servers.CacheDir.
const currentFile = "current.yaml"

// connectPatience is how long a person waits for a server that does not answer.
const connectPatience = 5 * time.Second

// addresses are the flags that say where the servers are.
var addresses = []struct{ flag, environment string }{
	{"kafka-brokers", "SETTLEWATCH_KAFKA_BROKERS"},
	{"redis-addrs", "SETTLEWATCH_REDIS_ADDRS"},
	{"clickhouse-dsn", "SETTLEWATCH_CLICKHOUSE_DSN"},
	{"config", "SETTLEWATCH_CONFIG"},
}

// settings of a command that looks at a running Settlewatch: flags, environment
// and file as the services have them. Where none of them says where the servers
// are, those of the stack that runs on this machine are meant.
func settings(cmd *cobra.Command, need boot.Need) (boot.Settings, error) {
	if !addressGiven(cmd) {
		path, err := currentPath()
		if err != nil {
			return boot.Settings{}, err
		}
		if _, err := os.Stat(path); err == nil {
			if err := cmd.Flags().Set("config", path); err != nil {
				return boot.Settings{}, fmt.Errorf("use %s: %w", path, err)
			}
		} else if !errors.Is(err, fs.ErrNotExist) {
			return boot.Settings{}, fmt.Errorf("look for a running stack: %w", err)
		}
	}
	s, err := boot.Read(cmd.Flags(), need)
	if err != nil {
		return s, fmt.Errorf("settings: %w", err)
	}
	return s, nil
}

func addressGiven(cmd *cobra.Command) bool {
	for _, a := range addresses {
		if f := cmd.Flags().Lookup(a.flag); f != nil && f.Changed {
			return true
		}
		if os.Getenv(a.environment) != "" {
			return true
		}
	}
	return false
}

func currentPath() (string, error) {
	dir, err := servers.CacheDir()
	if err != nil {
		return "", err
	}
	return filepath.Join(dir, currentFile), nil
}

// nextStep says what to do about servers that do not answer, where their addresses
// were not given.
func nextStep(cmd *cobra.Command) string {
	path, err := currentPath()
	if config, _ := cmd.Flags().GetString("config"); err == nil && config == path {
		return "the addresses are those that `settlewatch up` or `settlewatch demo` left in " + path +
			": is it still running? Start it again, or give the addresses (see --help)"
	}
	if !addressGiven(cmd) {
		return "no address was given and no stack runs on this machine: start one with `settlewatch up`, " +
			"or give the addresses by flag, environment or --config (see --help)"
	}
	return "" // the error itself says what to check
}

// connect calls one of boot's Connect functions with a person's patience. Its
// error is the last one that was seen, and what to do about it.
func connect[T any](cmd *cobra.Command, dial func(context.Context, *slog.Logger) (T, error)) (T, error) {
	ctx, cancel := context.WithTimeout(cmd.Context(), connectPatience)
	defer cancel()
	last := new(lastError)
	type dialled struct {
		c   T
		err error
	}
	done := make(chan dialled, 1)
	go func() {
		c, err := dial(ctx, slog.New(last))
		done <- dialled{c, err}
	}()
	var c T
	var err error
	select {
	case d := <-done:
		if c, err = d.c, d.err; err == nil {
			return c, nil
		}
	case <-cmd.Context().Done():
		// A handshake that is not answered does not end with its context; at Ctrl-C the
		// program does not wait for it.
	}
	if cmd.Context().Err() != nil {
		return c, cmd.Context().Err()
	}
	if seen := last.err.Load(); seen != nil && errors.Is(err, context.DeadlineExceeded) {
		err = *seen
	}
	if next := nextStep(cmd); next != "" {
		return c, fmt.Errorf("%w\n%s", err, next)
	}
	return c, err
}

// openKafka is for commands that need nothing else.
func openKafka(cmd *cobra.Command) (*bus.Bus, error) {
	s, err := settings(cmd, boot.NeedKafka)
	if err != nil {
		return nil, err
	}
	return connectKafka(cmd, s)
}

func connectKafka(cmd *cobra.Command, s boot.Settings) (*bus.Bus, error) {
	return connect(cmd, func(ctx context.Context, log *slog.Logger) (*bus.Bus, error) {
		return boot.ConnectKafka(ctx, s, log, "tool")
	})
}

func connectRedis(cmd *cobra.Command, s boot.Settings) (*statestore.Client, error) {
	return connect(cmd, func(ctx context.Context, log *slog.Logger) (*statestore.Client, error) {
		return boot.ConnectRedis(ctx, s, log)
	})
}

func connectClickHouse(cmd *cobra.Command, s boot.Settings) (*warehouse.Warehouse, error) {
	return connect(cmd, func(ctx context.Context, log *slog.Logger) (*warehouse.Warehouse, error) {
		return boot.ConnectClickHouse(ctx, s, log)
	})
}

// lastError is a log handler that keeps the last error of a retried connection:
// the context's end says only that it took too long.
type lastError struct{ err atomic.Pointer[error] }

func (l *lastError) Enabled(context.Context, slog.Level) bool { return true }

func (l *lastError) Handle(_ context.Context, r slog.Record) error {
	r.Attrs(func(a slog.Attr) bool {
		if err, ok := a.Value.Any().(error); ok && strings.EqualFold(a.Key, "error") {
			l.err.Store(&err)
		}
		return true
	})
	return nil
}

func (l *lastError) WithAttrs([]slog.Attr) slog.Handler { return l }
func (l *lastError) WithGroup(string) slog.Handler      { return l }
