package boot_test

import (
	"encoding/json"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/spf13/pflag"

	"settlewatch/pipelines/servers/serverstest"
	"settlewatch/services/boot"
)

const cardKey = "bm90IGEgc2VjcmV0LCBhIHRlc3Qh"

// read parses args as a service with that need does. env holds NAME=value.
func read(t *testing.T, need boot.Need, file string, env, args []string) (boot.Settings, error) {
	t.Helper()
	for _, entry := range env {
		name, value, _ := strings.Cut(entry, "=")
		t.Setenv(name, value)
	}
	flags := pflag.NewFlagSet("test", pflag.ContinueOnError)
	boot.AddFlags(flags, need)
	if need&boot.NeedService != 0 {
		args = append([]string{"--http-addr", ":0"}, args...)
	}
	if file != "" {
		args = append(args, "--config", write(t, "settings.yaml", file))
	}
	if err := flags.Parse(args); err != nil {
		t.Fatal(err)
	}
	return boot.Read(flags, need)
}

func write(t *testing.T, name, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestPrecedence(t *testing.T) {
	const file = "kafka-brokers: [file:1, file:2]\nlog-format: json\nstall-after: 90s\ncard-key-id: 7\n"
	for name, c := range map[string]struct {
		file      string
		env, args []string
		want      string
	}{
		"default":               {"", nil, nil, "127.0.0.1:9092"},
		"file":                  {file, nil, nil, "file:1 file:2"},
		"file, text":            {"kafka-brokers: a:1, b:2", nil, nil, "a:1 b:2"},
		"environment over file": {file, []string{"SETTLEWATCH_KAFKA_BROKERS=env:1,env:2"}, nil, "env:1 env:2"},
		"empty environment":     {file, []string{"SETTLEWATCH_KAFKA_BROKERS="}, nil, "file:1 file:2"},
		"flag over both":        {file, []string{"SETTLEWATCH_KAFKA_BROKERS=env:1"}, []string{"--kafka-brokers", "flag:1"}, "flag:1"},
	} {
		t.Run(name, func(t *testing.T) {
			s, err := read(t, boot.NeedKafka|boot.NeedService, c.file, c.env, c.args)
			if err != nil {
				t.Fatal(err)
			}
			if got := strings.Join(s.KafkaBrokers, " "); got != c.want {
				t.Errorf("got %q, want %q", got, c.want)
			}
			if c.file == file && (!s.LogJSON || s.StallAfter != 90*time.Second) {
				t.Errorf("the file was not taken: %+v", s)
			}
		})
	}
}

func TestMistakesAreToldAtOnce(t *testing.T) {
	_, err := read(t, boot.NeedKafka|boot.NeedRedis|boot.NeedClickHouse|boot.NeedCardKey|boot.NeedService,
		"kafka-broker: [a:1]\nredis: {addrs: [b:1]}\nredis-password: s3cret\nredis-tls: maybe\n",
		[]string{
			"SETTLEWATCH_REDIS_ADRS=c:1", "SETTLEWATCH_LOG_LEVEL=loud", "SETTLEWATCH_KAFKA_SASL=md5",
			"SETTLEWATCH_KAFKA_USER=u", "SETTLEWATCH_KAFKA_PASSWORD=s3cret", "SETTLEWATCH_CARD_KEY=not base64: s3cret",
			"SETTLEWATCH_JOINER_PORT_8084_TCP_ADDR=10.0.0.1", "SETTLEWATCH_CACHE=/nowhere",
		},
		[]string{
			"--kafka-brokers", "nowhere", "--stall-after", "1s", "--shutdown-timeout", "10", "--traces", "collector:4318",
			"--clickhouse-dsn", "clickhouse://u:s3cret@h:9000/default", "--kafka-tls-ca-file", "/nowhere",
		})
	if err == nil {
		t.Fatal("accepted")
	}
	want := []string{
		"kafka-broker (in ", "did you mean kafka-brokers?", "redis.addrs (in ", "did you mean redis-addrs?",
		"redis-password (in ", "use redis-password-file, or SETTLEWATCH_REDIS_PASSWORD", "redis-tls (in ", `"maybe"`,
		"SETTLEWATCH_REDIS_ADRS: no such variable; did you mean SETTLEWATCH_REDIS_ADDRS?",
		`log-level (SETTLEWATCH_LOG_LEVEL): "loud"`, `kafka-sasl (SETTLEWATCH_KAFKA_SASL): "md5"`, "card-key (SETTLEWATCH_CARD_KEY): not base64",
		`kafka-brokers (--kafka-brokers): "nowhere" is not host:port`, "stall-after (--stall-after): 1s", "shutdown-timeout (--shutdown-timeout): \"10\"",
		"traces (--traces)", "clickhouse-dsn (--clickhouse-dsn): a password in it", "kafka-tls-ca-file (--kafka-tls-ca-file): it does nothing without kafka-tls",
	}
	for _, w := range want {
		if !strings.Contains(err.Error(), w) {
			t.Errorf("it does not say %q", w)
		}
	}
	if strings.Contains(err.Error(), "s3cret") {
		t.Error("it says a secret")
	}
	if n := strings.Count(err.Error(), "\n") + 1; n != 15 {
		t.Errorf("%d lines, want one for each of the 15 mistakes", n)
	}
	if t.Failed() {
		t.Log(err)
	}
}

func TestCombinations(t *testing.T) {
	c := serverstest.NewCertificates(t)
	password, empty, noPEM := write(t, "password", " s3cret\n"), write(t, "empty", "\n"), write(t, "no.pem", "nothing")
	for name, test := range map[string]struct {
		need boot.Need
		args []string
		env  []string
		want string // empty: it is right
	}{
		"SASL":                     {boot.NeedKafka, []string{"--kafka-sasl", "scram-sha-256", "--kafka-user", "u", "--kafka-password-file", password}, nil, ""},
		"SASL without user":        {boot.NeedKafka, []string{"--kafka-sasl", "plain", "--kafka-password-file", password}, nil, "needs kafka-user"},
		"user without SASL":        {boot.NeedKafka, []string{"--kafka-user", "u", "--kafka-password-file", password}, nil, "no mechanism"},
		"two passwords":            {boot.NeedRedis, []string{"--redis-password-file", password}, []string{"SETTLEWATCH_REDIS_PASSWORD=x"}, "use one of them"},
		"empty password file":      {boot.NeedRedis, []string{"--redis-password-file", empty}, nil, "is empty"},
		"password file missing":    {boot.NeedRedis, []string{"--redis-password-file", "/nowhere"}, nil, "no such file"},
		"Redis user alone":         {boot.NeedRedis, []string{"--redis-user", "u"}, nil, "no redis-password"},
		"two Redis":                {boot.NeedRedis, []string{"--redis-addrs", "a:1,b:1"}, nil, "--redis-cluster"},
		"TLS":                      {boot.NeedRedis, []string{"--redis-tls", "--redis-tls-ca-file", c.CAFile, "--redis-tls-cert-file", c.ClientCertFile, "--redis-tls-key-file", c.ClientKeyFile}, nil, ""},
		"TLS, no PEM":              {boot.NeedRedis, []string{"--redis-tls", "--redis-tls-ca-file", noPEM}, nil, "no certificate in PEM form"},
		"TLS, key missing":         {boot.NeedRedis, []string{"--redis-tls", "--redis-tls-cert-file", c.ClientCertFile}, nil, "one is given without the other"},
		"TLS, key of another":      {boot.NeedRedis, []string{"--redis-tls", "--redis-tls-cert-file", c.ClientCertFile, "--redis-tls-key-file", c.KeyFile}, nil, "private key does not match"},
		"ClickHouse":               {boot.NeedClickHouse, []string{"--clickhouse-user", "u", "--clickhouse-password-file", password, "--clickhouse-tls"}, nil, ""},
		"password in DSN, env":     {boot.NeedClickHouse, nil, []string{"SETTLEWATCH_CLICKHOUSE_DSN=clickhouse://u:p@h:9000/default"}, ""},
		"unverified TLS":           {boot.NeedClickHouse, []string{"--clickhouse-dsn", "clickhouse://h:9440/default?secure=true&skip_verify=true"}, nil, "skip_verify"},
		"HTTP DSN":                 {boot.NeedClickHouse, []string{"--clickhouse-dsn", "http://h:8123/default"}, nil, "native protocol"},
		"card key too short":       {boot.NeedCardKey, []string{"--card-key-id", "k"}, []string{"SETTLEWATCH_CARD_KEY=c2hvcnQ="}, "at least 16 bytes"},
		"nothing listens":          {boot.NeedService, []string{"--http-addr", "off"}, nil, ""},
		"listens on anything":      {boot.NeedService, []string{"--http-addr", "somewhere"}, nil, "not host:port"},
		"collector":                {boot.NeedService, []string{"--traces", "http://h:4318"}, nil, ""},
		"a setting of others":      {boot.NeedRedis, nil, []string{"SETTLEWATCH_CARD_KEY_ID=k", "SETTLEWATCH_HTTP_ADDR=:1"}, ""},
		"a port that is no port":   {boot.NeedKafka, []string{"--kafka-brokers", "h:70000"}, nil, "not host:port"},
		"a session too short":      {boot.NeedService, []string{"--kafka-session-timeout", "100ms"}, nil, "kafka-session-timeout (--kafka-session-timeout): 100ms: use 1s to 5m0s"},
		"a shorter session":        {boot.NeedService, []string{"--kafka-session-timeout", "3s"}, nil, ""},
		"a clock behind":           {boot.NeedService, nil, []string{"SETTLEWATCH_CLOCK_OFFSET=-1h"}, ""},
		"a clock a week ahead":     {boot.NeedService, []string{"--clock-offset", "168h"}, nil, "use at most 24h0m0s"},
		"checkpoints too often":    {boot.NeedCheckpoints, []string{"--checkpoint-every", "1ms"}, nil, "checkpoint-every (--checkpoint-every): 1ms: use at least 1s, or 0 for none"},
		"no checkpoints":           {boot.NeedCheckpoints, []string{"--checkpoint-every", "0s"}, nil, ""},
		"checkpoints at all times": {boot.NeedCheckpoints, []string{"--checkpoint-records", "5"}, nil, "checkpoint-records (--checkpoint-records): 5: use at least 10000, or 0 for no bound"},
		"checkpoints never made":   {boot.NeedCheckpoints, []string{"--checkpoint-share", "0"}, nil, "checkpoint-share (--checkpoint-share): 0: use a percentage of one core, 1 to 100"},
		"no bound of a recovery":   {boot.NeedCheckpoints, []string{"--checkpoint-records", "0"}, nil, ""},
		"no number":                {boot.NeedCheckpoints, nil, []string{"SETTLEWATCH_CHECKPOINT_RECORDS=5m"}, "\"5m\": use a number"},
		"a duration below zero":    {boot.NeedService, []string{"--stall-after", "-1m"}, nil, "cannot be negative"},
		"a file that is not there": {boot.NeedKafka, []string{"--config", "/nowhere.yaml"}, nil, "read settings from /nowhere.yaml"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := read(t, test.need, "", test.env, test.args)
			switch {
			case test.want == "" && err != nil:
				t.Error(err)
			case test.want != "" && (err == nil || !strings.Contains(err.Error(), test.want)):
				t.Errorf("got %v, want %q", err, test.want)
			}
		})
	}
}

func TestSecretsDoNotPrint(t *testing.T) {
	s, err := read(t, boot.NeedKafka|boot.NeedRedis|boot.NeedClickHouse|boot.NeedCardKey, "", []string{
		"SETTLEWATCH_REDIS_PASSWORD=s3cret", "SETTLEWATCH_CLICKHOUSE_DSN=clickhouse://u:s3cret@h:9000/default",
		"SETTLEWATCH_CARD_KEY_ID=k", "SETTLEWATCH_CARD_KEY=" + cardKey,
	}, nil)
	if err != nil {
		t.Fatal(err)
	}
	if s.RedisPassword.Reveal() != "s3cret" {
		t.Fatal("the secret is lost")
	}
	var out strings.Builder
	for _, format := range []string{"%v", "%+v", "%#v", "%s", "%q"} {
		fmt.Fprintf(&out, format+"\n", s.RedisPassword)
		fmt.Fprintf(&out, format+"\n", struct{ A any }{s.ClickHouseDSN})
	}
	fmt.Fprintf(&out, "%v\n%+v\n%s\n", s, s, &s)
	slog.New(slog.NewTextHandler(&out, nil)).Info("x", "settings", s, "secret", s.RedisPassword)
	slog.New(slog.NewJSONHandler(&out, nil)).Info("x", "settings", s, "secret", s.RedisPassword)
	b, err := json.Marshal(map[string]any{"secret": s.RedisPassword})
	if err != nil {
		t.Fatal(err)
	}
	out.Write(b)
	for _, secret := range []string{"s3cret", "not a secret", cardKey, fmt.Sprintf("%d", s.CardKey.Secret)} {
		if strings.Contains(out.String(), secret) {
			t.Errorf("%q is printed:\n%s", secret, out.String())
		}
	}
}

// A setting of every kind can be given in all three places.
func TestEveryFlagHasAVariable(t *testing.T) {
	flags := pflag.NewFlagSet("test", pflag.ContinueOnError)
	boot.AddFlags(flags, boot.NeedKafka|boot.NeedRedis|boot.NeedClickHouse|boot.NeedCardKey|boot.NeedService|boot.NeedCheckpoints)
	var names []string
	flags.VisitAll(func(f *pflag.Flag) { names = append(names, f.Name) })
	for _, password := range []string{"kafka-password", "redis-password", "clickhouse-password", "card-key"} {
		if slices.Contains(names, password) {
			t.Errorf("%s is a flag: a command line is visible", password)
		}
		if !slices.Contains(names, password+"-file") {
			t.Errorf("no flag %s-file", password)
		}
	}
}
