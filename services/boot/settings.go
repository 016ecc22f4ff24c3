// Package boot is what the services share to start: settings, logging, the
// connections they need, and a clean end. What enters is a command line, the
// environment and a file; what leaves is a running service and its exit status.
package boot

import (
	"encoding/base64"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"strings"

	"github.com/knadh/koanf/parsers/yaml"
	"github.com/knadh/koanf/providers/env/v2"
	"github.com/knadh/koanf/providers/file"
	"github.com/knadh/koanf/providers/posflag"
	"github.com/knadh/koanf/v2"
	"github.com/spf13/pflag"

	"settlewatch/pipelines/intake"
)

// envPrefix starts every environment variable: --kafka-brokers is
// SETTLEWATCH_KAFKA_BROKERS.
const envPrefix = "SETTLEWATCH_"

// Settings of a service. A flag stands before the environment, the environment
// before the file, the file before the default.
type Settings struct {
	KafkaBrokers  []string
	RedisAddrs    []string
	RedisCluster  bool
	RedisUser     string
	RedisPassword string
	ClickHouseDSN string
	CardKey       intake.TokenKey
	LogLevel      slog.Level
	LogJSON       bool
}

// Need says which parts of the settings a service uses; only those are flags of
// it, and only those are checked.
type Need uint8

// The needs.
const (
	NeedKafka Need = 1 << iota
	NeedRedis
	NeedClickHouse
	NeedCardKey
)

// AddFlags declares the flags that need asks for.
func AddFlags(flags *pflag.FlagSet, need Need) {
	flags.String("config", "", "YAML file with these settings, named as the flags are")
	flags.String("log-level", "info", "debug, info, warn or error")
	flags.String("log-format", "text", "text or json")
	if need&NeedKafka != 0 {
		flags.StringSlice("kafka-brokers", []string{"127.0.0.1:9092"}, "Kafka brokers, host:port,…")
	}
	if need&NeedRedis != 0 {
		flags.StringSlice("redis-addrs", []string{"127.0.0.1:6379"}, "Redis, host:port; several for a cluster")
		flags.Bool("redis-cluster", false, "the addresses belong to a Redis Cluster")
		flags.String("redis-user", "", "Redis ACL user; empty for the default user")
		flags.String("redis-password-file", "", "file with the Redis password; or "+envPrefix+"REDIS_PASSWORD")
	}
	if need&NeedClickHouse != 0 {
		flags.String("clickhouse-dsn", "clickhouse://127.0.0.1:9000/default", "ClickHouse, native protocol; a DSN with a password belongs into "+envPrefix+"CLICKHOUSE_DSN")
	}
	if need&NeedCardKey != 0 {
		flags.String("card-key-id", "", "name of the key that makes card tokens")
		flags.String("card-key-file", "", "file with that key, base64, at least 16 bytes; or "+envPrefix+"CARD_KEY")
	}
}

// Read collects the settings; its error names every mistake, not just the first.
func Read(flags *pflag.FlagSet, need Need) (Settings, error) {
	k := koanf.New(".")
	// Secrets have no flag: a command line is visible to every user of the machine.
	fromEnv := func(k, v string) (string, any) {
		key := strings.ReplaceAll(strings.ToLower(strings.TrimPrefix(k, envPrefix)), "_", "-")
		if f := flags.Lookup(key); f != nil && f.Value.Type() == "stringSlice" {
			return key, strings.Split(v, ",")
		}
		return key, v
	}
	var errs []error
	path, _ := flags.GetString("config")
	if p := os.Getenv(envPrefix + "CONFIG"); path == "" {
		path = p
	}
	if path != "" {
		if err := k.Load(file.Provider(path), yaml.Parser()); err != nil {
			errs = append(errs, fmt.Errorf("read settings from %s: %w", path, err))
		}
	}
	errs = append(errs,
		k.Load(env.Provider(".", env.Opt{Prefix: envPrefix, TransformFunc: fromEnv}), nil),
		k.Load(posflag.Provider(flags, ".", k), nil))
	s := Settings{
		KafkaBrokers: k.Strings("kafka-brokers"),
		RedisAddrs:   k.Strings("redis-addrs"), RedisCluster: k.Bool("redis-cluster"), RedisUser: k.String("redis-user"),
		ClickHouseDSN: k.String("clickhouse-dsn"),
	}
	errs = append(errs, s.readLog(k), s.readSecrets(k, need))
	errs = append(errs, checkAddresses("kafka-brokers", s.KafkaBrokers, need&NeedKafka != 0),
		checkAddresses("redis-addrs", s.RedisAddrs, need&NeedRedis != 0))
	return s, errors.Join(errs...)
}

func (s *Settings) readLog(k *koanf.Koanf) error {
	var errs []error
	if err := s.LogLevel.UnmarshalText([]byte(k.String("log-level"))); err != nil {
		errs = append(errs, fmt.Errorf("log-level %q: use debug, info, warn or error", k.String("log-level")))
	}
	switch k.String("log-format") {
	case "text":
	case "json":
		s.LogJSON = true
	default:
		errs = append(errs, fmt.Errorf("log-format %q: use text or json", k.String("log-format")))
	}
	return errors.Join(errs...)
}

func (s *Settings) readSecrets(k *koanf.Koanf, need Need) error {
	var errs []error
	secret := func(name string) string {
		if path := k.String(name + "-file"); path != "" {
			b, err := os.ReadFile(path)
			if err != nil {
				errs = append(errs, fmt.Errorf("%s-file: %w", name, err))
			}
			return strings.TrimSpace(string(b))
		}
		return k.String(name)
	}
	if need&NeedRedis != 0 {
		s.RedisPassword = secret("redis-password")
	}
	if need&NeedCardKey != 0 {
		// The value is never part of an error.
		key, err := base64.StdEncoding.DecodeString(secret("card-key"))
		if err != nil {
			errs = append(errs, errors.New("card-key: not base64"))
		}
		s.CardKey = intake.TokenKey{ID: k.String("card-key-id"), Secret: key}
		if err := s.CardKey.Validate(); err != nil {
			errs = append(errs, fmt.Errorf("card-key-id and card-key: %w; make one with `openssl rand -base64 32`", err))
		}
	}
	return errors.Join(errs...)
}

func checkAddresses(name string, addrs []string, needed bool) error {
	if !needed {
		return nil
	}
	if len(addrs) == 0 {
		return fmt.Errorf("%s: no address given", name)
	}
	var errs []error
	for _, a := range addrs {
		if _, port, err := net.SplitHostPort(a); err != nil || port == "" {
			errs = append(errs, fmt.Errorf("%s: %q is not host:port", name, a))
		}
	}
	return errors.Join(errs...)
}
