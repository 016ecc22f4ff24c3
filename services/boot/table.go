package boot

import (
	"strings"

	"github.com/spf13/pflag"
)

// envPrefix starts every environment variable: --kafka-brokers is
// SETTLEWATCH_KAFKA_BROKERS.
const envPrefix = "SETTLEWATCH_"

// Need says which parts of the settings a program uses; only those are flags of
// it, and only those are checked.
type Need uint8

// The needs.
const (
	NeedKafka Need = 1 << iota
	NeedRedis
	NeedClickHouse
	NeedCardKey
	// NeedProfile is for what reads raw records.
	NeedProfile
	// NeedService is for what runs on: its listener, its traces, its end.
	NeedService
	// NeedCheckpoints is for the joiner, which keeps checkpoints.
	NeedCheckpoints
)

// form is how a setting is written.
type form string

const (
	formText     form = "text"
	formList     form = "list"
	formSwitch   form = "true or false"
	formDuration form = "duration"
	formNumber   form = "number"
	// formSecret has no flag: a command line is visible to every user of the machine.
	formSecret form = "secret"
)

// setting is one row of the table that flags, environment, file and
// docs/configuration.md follow.
type setting struct {
	name  string
	form  form
	need  Need // 0: every program has it
	value string
	about string
}

func (s setting) env() string {
	return envPrefix + strings.ToUpper(strings.ReplaceAll(s.name, "-", "_"))
}

// settings are all there are, of all services.
var settings = concat(
	[]setting{
		{"config", formText, 0, "", "YAML file with these settings, named as the flags are"},
		{"log-level", formText, 0, "info", "debug, info, warn or error"},
		{"log-format", formText, 0, "text", "text or json"},
		{
			"http-addr", formText, NeedService, "",
			"host:port of /healthz, /readyz and /metrics; port 0 takes a free one, `off` listens nowhere; each service has a default of its own",
		},
		{
			"stall-after", formDuration, NeedService, "60s",
			"how long a partition may stand still while input waits before /healthz says so; at least 10s, or 0 for never",
		},
		{
			"shutdown-timeout", formDuration, NeedService, "10s",
			"how long SIGTERM may take: what was read is published and committed, then the group is left; at least 1s",
		},
		{
			"traces", formText, NeedService, "off",
			"off, stdout, or the address of an OpenTelemetry collector, such as http://127.0.0.1:4318 (OTLP over HTTP)",
		},
		{
			"clock-offset", formDuration, NeedService, "0s",
			"for tests of skewed clocks only: what this service's clock is ahead (or behind, as in -1h); the log warns of it",
		},
		{
			"pprof", formSwitch, NeedService, "false",
			"serve Go's own profiles (CPU, heap, goroutines) at /debug/pprof/ of http-addr; they show function names, never records",
		},
		{"kafka-brokers", formList, NeedKafka, "127.0.0.1:9092", "Kafka brokers, host:port,…"},
		{
			"kafka-session-timeout", formDuration, NeedService, "6s",
			"how long a silent member of a consumer group keeps its partitions, so how long a killed service is missed; " +
				"the broker's group.min.session.timeout.ms is the least it grants; 1s to 5m",
		},
		{"kafka-sasl", formText, NeedKafka, "off", "off, plain, scram-sha-256 or scram-sha-512"},
		{"kafka-user", formText, NeedKafka, "", "user for kafka-sasl"},
		{"kafka-password", formSecret, NeedKafka, "", "password for kafka-sasl"},
	},
	tlsSettings("kafka", NeedKafka),
	[]setting{
		{"redis-addrs", formList, NeedRedis, "127.0.0.1:6379", "Redis, host:port; several for a cluster"},
		{"redis-cluster", formSwitch, NeedRedis, "false", "the addresses belong to a Redis Cluster"},
		{"redis-user", formText, NeedRedis, "", "Redis ACL user; empty for the default user"},
		{"redis-password", formSecret, NeedRedis, "", "Redis password"},
	},
	tlsSettings("redis", NeedRedis),
	[]setting{{
		"checkpoint-every", formDuration, NeedCheckpoints, "10m",
		"time between two checkpoints of a partition's state in Kafka, by which a lost Redis comes back; at least 1s, or 0 for none",
	}, {
		"checkpoint-records", formNumber, NeedCheckpoints, "5000000",
		"records of the log after which a checkpoint is made before its time: what a recovery has to fold again; at least 10000, or 0 for no bound",
	}, {
		"checkpoint-share", formNumber, NeedCheckpoints, "10",
		"percent of one core that making a checkpoint takes, so that alerts do not wait for it; a late one takes more; 100 is as fast as it can",
	}, {
		"payment-snapshots", formSwitch, NeedCheckpoints, "true",
		"publish payments.v1 for the warehouse; without, the alerts are the same for less work. A stored state keeps its choice until it is rebuilt",
	}},
	[]setting{
		{
			"clickhouse-dsn", formText, NeedClickHouse, "clickhouse://127.0.0.1:9000/default",
			"ClickHouse, native protocol, clickhouse://host:port,…/database; a password in it is taken from the environment only",
		},
		{"clickhouse-user", formText, NeedClickHouse, "", "ClickHouse user; empty for the one of the DSN"},
		{"clickhouse-password", formSecret, NeedClickHouse, "", "password of clickhouse-user"},
	},
	tlsSettings("clickhouse", NeedClickHouse),
	[]setting{
		{"card-key-id", formText, NeedCardKey, "", "name of the key that makes card tokens"},
		{"card-key", formSecret, NeedCardKey, "", "that key, base64, at least 16 bytes"},
		{
			"profile", formText, NeedProfile, documented,
			"YAML file that says how raw records are read, see profiles.md; `documented` is the built-in one of the documented JSON",
		},
	},
)

// tlsSettings are the same for each server. To skip the check of certificates is
// not among them.
func tlsSettings(server string, need Need) []setting {
	return []setting{
		{server + "-tls", formSwitch, need, "false", "encrypt, and check the server's certificate"},
		{server + "-tls-ca-file", formText, need, "", "PEM file with the authorities that may have signed it; empty for the system's"},
		{server + "-tls-cert-file", formText, need, "", "PEM file with this client's certificate, where the server asks for one"},
		{server + "-tls-key-file", formText, need, "", "PEM file with its private key"},
		{server + "-tls-server-name", formText, need, "", "name that the server's certificate must have; empty for the host of the address"},
	}
}

// concat also adds, to every secret, the setting that names a file to read it from.
func concat(parts ...[]setting) []setting {
	var all []setting
	for _, part := range parts {
		for _, s := range part {
			all = append(all, s)
			if s.form == formSecret {
				all = append(all, setting{
					s.name + fileSuffix, formText, s.need, "", "file that holds " + s.name + "; space and line ends around it are dropped",
				})
			}
		}
	}
	return all
}

const fileSuffix = "-file"

func lookup(name string) (setting, bool) {
	for _, s := range settings {
		if s.name == name {
			return s, true
		}
	}
	return setting{}, false
}

// Environment is what the flags that were given would be as environment variables,
// NAME=value each: for services that are started with the same settings.
func Environment(flags *pflag.FlagSet) []string {
	var out []string
	for _, s := range settings {
		f := flags.Lookup(s.name)
		if f == nil || !f.Changed {
			continue
		}
		value := f.Value.String()
		if list, is := f.Value.(pflag.SliceValue); is {
			value = strings.Join(list.GetSlice(), ",")
		}
		out = append(out, s.env()+"="+value)
	}
	return out
}

// NoConnections are the variables of this process that say how servers are reached
// or cards are masked, NAME= each, which says nothing: for services that are started
// on servers of their own.
func NoConnections(environ []string) []string {
	var out []string
	for _, variable := range environ {
		name, _, _ := strings.Cut(variable, "=")
		for _, s := range settings {
			if s.env() == name && (s.name == "config" || s.need&(NeedKafka|NeedRedis|NeedClickHouse|NeedCardKey) != 0) {
				out = append(out, name+"=")
			}
		}
	}
	return out
}

// AddFlags declares the flags that need asks for.
func AddFlags(flags *pflag.FlagSet, need Need) {
	for _, s := range settings {
		if s.need != 0 && s.need&need == 0 {
			continue
		}
		about := strings.ReplaceAll(s.about, "`", "'")
		switch s.form {
		case formText:
			if secret, is := strings.CutSuffix(s.name, fileSuffix); is {
				if of, known := lookup(secret); known && of.form == formSecret {
					about += "; or " + of.env()
				}
			}
			flags.String(s.name, s.value, about)
		case formList:
			flags.StringSlice(s.name, strings.Split(s.value, ","), about)
		case formSwitch:
			flags.Bool(s.name, s.value == "true", about)
		case formDuration, formNumber:
			flags.String(s.name, s.value, about)
		case formSecret:
		}
	}
}
