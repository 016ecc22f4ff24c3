// Package boot is what the services share to start and to end: settings, logging,
// the connections they need, health, metrics and traces, and a clean end. What
// enters is a command line, the environment and a file; what leaves is a running
// service and its exit status.
//
// What it guarantees: every mistake in the settings is reported at once, before
// anything is connected; a secret is never printed; a service that is asked to end
// does so within its bound.
package boot

import (
	"crypto/tls"
	"encoding/base64"
	"errors"
	"log/slog"
	"net/url"
	"os"
	"strings"
	"time"

	"github.com/knadh/koanf/providers/posflag"
	"github.com/spf13/pflag"

	"settlewatch/pipelines/bus"
	"settlewatch/pipelines/intake"
	"settlewatch/pipelines/profile"
	"settlewatch/pipelines/warehouse"
)

// Settings of a service. A flag stands before the environment, the environment
// before the file, the file before the default.
type Settings struct {
	KafkaBrokers  []string
	KafkaSASL     string // bus.SASL's mechanism; empty for none
	KafkaUser     string
	KafkaPassword Secret
	// KafkaSession is how long a silent member of a group keeps its partitions.
	KafkaSession time.Duration
	KafkaTLS     *tls.Config // nil for plain text, as the next two

	RedisAddrs    []string
	RedisCluster  bool
	RedisUser     string
	RedisPassword Secret
	RedisTLS      *tls.Config

	ClickHouseDSN      Secret // it may hold a password
	ClickHouseUser     string
	ClickHousePassword Secret
	ClickHouseTLS      *tls.Config

	CardKey intake.TokenKey
	// Profile by which raw records are read; nil for the documented JSON.
	Profile *profile.Profile

	LogLevel slog.Level
	LogJSON  bool

	// HTTPAddr to listen on; empty listens nowhere.
	HTTPAddr string
	// StallAfter is how long a partition may stand still; 0 is for ever.
	StallAfter      time.Duration
	ShutdownTimeout time.Duration
	// CheckpointEvery is the time between two checkpoints of a partition; 0 is for none.
	CheckpointEvery time.Duration
	// CheckpointRecords of the log are the most between two of them; 0 is for no bound.
	CheckpointRecords int64
	// CheckpointShare of one core that making one takes, percent.
	CheckpointShare int
	// PaymentSnapshots are published for the warehouse.
	PaymentSnapshots bool
	// Traces is empty, "stdout" or the address of a collector.
	Traces string
	// ClockOffset is what the service's clock is ahead of the machine's; for tests.
	ClockOffset time.Duration
	// Pprof serves Go's profiles on HTTPAddr.
	Pprof bool
}

// Read collects the settings; its error names every mistake, not just the first.
func Read(flags *pflag.FlagSet, need Need) (Settings, error) {
	r := newReader(flags)
	r.mistake(r.k.Load(posflag.Provider(flags, "\x00", r.k), nil))
	var s Settings
	s.readLog(r)
	if need&NeedKafka != 0 {
		s.readKafka(r)
	}
	if need&NeedRedis != 0 {
		s.readRedis(r)
	}
	if need&NeedClickHouse != 0 {
		s.readClickHouse(r)
	}
	if need&NeedCardKey != 0 {
		s.readCardKey(r)
	}
	if need&NeedProfile != 0 {
		s.readProfile(r)
	}
	if need&NeedService != 0 {
		s.readService(r)
	}
	if need&NeedCheckpoints != 0 {
		if s.CheckpointEvery = r.duration("checkpoint-every"); s.CheckpointEvery != 0 && s.CheckpointEvery < checkpointLeast {
			r.wrong("checkpoint-every", "%s: use at least %s, or 0 for none", s.CheckpointEvery, checkpointLeast)
		}
		if s.CheckpointRecords = r.number("checkpoint-records"); s.CheckpointRecords != 0 && s.CheckpointRecords < checkpointRecordsLeast {
			r.wrong("checkpoint-records", "%d: use at least %d, or 0 for no bound", s.CheckpointRecords, checkpointRecordsLeast)
		}
		share := r.number("checkpoint-share")
		if share < 1 || share > 100 {
			r.wrong("checkpoint-share", "%d: use a percentage of one core, 1 to 100", share)
		}
		s.CheckpointShare = int(share)
		s.PaymentSnapshots = r.yes("payment-snapshots")
	}
	return s, errors.Join(r.mistakes...)
}

// Each checkpoint is all of a partition's state.
const (
	checkpointLeast        = time.Second
	checkpointRecordsLeast = 10_000
)

func (s *Settings) readLog(r *reader) {
	if err := s.LogLevel.UnmarshalText([]byte(r.text("log-level"))); err != nil {
		r.wrong("log-level", "%q: use debug, info, warn or error", r.text("log-level"))
	}
	switch format := r.text("log-format"); format {
	case "text":
	case "json":
		s.LogJSON = true
	default:
		r.wrong("log-format", "%q: use text or json", format)
	}
}

const off = "off"

func (s *Settings) readKafka(r *reader) {
	s.KafkaBrokers = r.addresses("kafka-brokers")
	s.KafkaTLS = r.tls("kafka")
	s.KafkaUser, s.KafkaPassword = r.text("kafka-user"), r.secret("kafka-password")
	mechanism := strings.ToLower(r.text("kafka-sasl"))
	switch {
	case mechanism == off || mechanism == "":
		if s.KafkaUser != "" || !s.KafkaPassword.IsEmpty() {
			r.wrong("kafka-sasl", "a user or password is given, and no mechanism: use plain, scram-sha-256 or scram-sha-512")
		}
		return
	case s.KafkaUser == "" || s.KafkaPassword.IsEmpty():
		r.wrong("kafka-sasl", "%s needs kafka-user and kafka-password", mechanism)
	}
	s.KafkaSASL = mechanism
	if _, err := bus.SASL(mechanism, s.KafkaUser, s.KafkaPassword.Reveal()); err != nil {
		r.wrong("kafka-sasl", "%w", err)
	}
}

func (s *Settings) readRedis(r *reader) {
	s.RedisAddrs = r.addresses("redis-addrs")
	s.RedisCluster = r.yes("redis-cluster")
	if len(s.RedisAddrs) > 1 && !s.RedisCluster {
		r.wrong("redis-addrs", "%d addresses for a single server: give one, or say --redis-cluster", len(s.RedisAddrs))
	}
	s.RedisTLS = r.tls("redis")
	s.RedisUser, s.RedisPassword = r.text("redis-user"), r.secret("redis-password")
	if s.RedisUser != "" && s.RedisPassword.IsEmpty() {
		r.wrong("redis-user", "no redis-password is given for %q", s.RedisUser)
	}
}

func (s *Settings) readClickHouse(r *reader) {
	s.ClickHouseTLS = r.tls("clickhouse")
	s.ClickHouseUser, s.ClickHousePassword = r.text("clickhouse-user"), r.secret("clickhouse-password")
	if s.ClickHouseUser != "" && s.ClickHousePassword.IsEmpty() {
		r.wrong("clickhouse-user", "no clickhouse-password is given for %q", s.ClickHouseUser)
	}
	s.ClickHouseDSN = NewSecret(r.text("clickhouse-dsn"))
	dsn, err := warehouse.InspectDSN(s.ClickHouseDSN.Reveal())
	switch {
	case err != nil:
		r.wrong("clickhouse-dsn", "%w", err)
	case dsn.Unverified:
		r.wrong("clickhouse-dsn", "skip_verify trusts whoever answers: use clickhouse-tls-ca-file")
	case dsn.Password && r.origin("clickhouse-dsn") != fromEnvironment:
		r.wrong("clickhouse-dsn", "a password in it is visible there: use clickhouse-user with clickhouse-password-file, or the environment")
	}
}

func (s *Settings) readCardKey(r *reader) {
	s.CardKey.ID = r.text("card-key-id")
	// The value is never part of an error.
	key, err := base64.StdEncoding.DecodeString(r.secret("card-key").Reveal())
	if err != nil {
		r.wrong("card-key", "not base64; make one with `openssl rand -base64 32`")
		return
	}
	s.CardKey.Secret = key
	if err := s.CardKey.Validate(); err != nil {
		r.wrong("card-key-id and card-key", "%w; make a key with `openssl rand -base64 32`", err)
	}
}

// documented is the setting that asks for no file.
const documented = profile.DocumentedName

func (s *Settings) readProfile(r *reader) {
	path := r.text("profile")
	if path == documented || path == "" {
		return
	}
	text, err := os.ReadFile(path)
	if err != nil {
		r.wrong("profile", "%w", err)
		return
	}
	if s.Profile, err = profile.Parse(text); err != nil {
		r.wrong("profile", "%s:\n%w", path, err)
	}
}

const (
	stallLeast    = 10 * time.Second
	shutdownLeast = time.Second
	// A heartbeat is lost now and then; below this a group would do nothing but rebalance.
	sessionLeast = time.Second
	sessionMost  = 5 * time.Minute
	clockMost    = 24 * time.Hour
)

func (s *Settings) readService(r *reader) {
	if s.HTTPAddr = r.text("http-addr"); s.HTTPAddr == off {
		s.HTTPAddr = ""
	} else {
		r.address("http-addr", s.HTTPAddr, true)
	}
	if s.StallAfter = r.duration("stall-after"); s.StallAfter != 0 && s.StallAfter < stallLeast {
		r.wrong("stall-after", "%s: use at least %s, or 0 for never", s.StallAfter, stallLeast)
	}
	if s.ShutdownTimeout = r.duration("shutdown-timeout"); s.ShutdownTimeout < shutdownLeast {
		r.wrong("shutdown-timeout", "%s: use at least %s", s.ShutdownTimeout, shutdownLeast)
	}
	s.KafkaSession = r.duration("kafka-session-timeout")
	if s.KafkaSession < sessionLeast || s.KafkaSession > sessionMost {
		r.wrong("kafka-session-timeout", "%s: use %s to %s", s.KafkaSession, sessionLeast, sessionMost)
	}
	s.ClockOffset = r.signedDuration("clock-offset")
	if s.ClockOffset.Abs() > clockMost {
		r.wrong("clock-offset", "%s: use at most %s either way", s.ClockOffset, clockMost)
	}
	if s.Pprof = r.yes("pprof"); s.Pprof && s.HTTPAddr == "" {
		r.wrong("pprof", "it does nothing with http-addr %s", off)
	}
	switch s.Traces = r.text("traces"); s.Traces {
	case off, "":
		s.Traces = ""
	case "stdout":
	default:
		if u, err := url.Parse(s.Traces); err != nil || (u.Scheme != "http" && u.Scheme != "https") || u.Host == "" {
			r.wrong("traces", "use off, stdout or an address such as http://127.0.0.1:4318")
		}
	}
}

// LogValue of the card key's holder: settings as a whole are not for logs.
func (s Settings) LogValue() slog.Value {
	return slog.GroupValue(
		slog.Any("kafka_brokers", s.KafkaBrokers), slog.Bool("kafka_tls", s.KafkaTLS != nil), slog.String("kafka_sasl", s.KafkaSASL),
		slog.Any("redis_addrs", s.RedisAddrs), slog.Bool("redis_tls", s.RedisTLS != nil),
		slog.Bool("clickhouse_tls", s.ClickHouseTLS != nil), slog.String("card_key_id", s.CardKey.ID),
	)
}

// String is LogValue's text: the card key's bytes must not be printed by chance.
func (s Settings) String() string { return s.LogValue().String() }
