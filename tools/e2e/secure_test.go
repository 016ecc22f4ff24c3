package e2e_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"settlewatch/pipelines/bus"
	"settlewatch/pipelines/servers"
	"settlewatch/pipelines/servers/serverstest"
	"settlewatch/pipelines/warehouse"
	"settlewatch/tools/demo"
	"settlewatch/tools/traffic"
)

// secured are Apache Kafka with SASL_SSL and, at another address, with client
// certificates, Redis with TLS, client certificates and an ACL user, and ClickHouse
// with a user behind TLS with client certificates.
type secured struct {
	*serverstest.Certificates
	kafka, redis, clickHouse string
	kafkaMutual              string
	clickHouseHTTP           string
	secrets                  string // the file with the password
}

func startSecured(t *testing.T) secured {
	t.Helper()
	t.Log("starting Apache Kafka, redis-server and ClickHouse, all with TLS and passwords")
	c := serverstest.NewCertificates(t)
	clickHouse := serverstest.StartClickHouse(t, servers.ClickHouseOptions{Username: serverstest.User, Password: serverstest.Password})
	kafka := serverstest.StartKafkaSecure(t, c, servers.KafkaOptions{})
	s := secured{
		Certificates:   c,
		kafka:          kafka.Addr(),
		kafkaMutual:    kafka.Mutual,
		redis:          serverstest.StartRedisSecure(t, c, servers.RedisOptions{}).Addr(),
		clickHouse:     serverstest.TLSForwarder(t, c, clickHouse.Addr()),
		clickHouseHTTP: clickHouse.HTTPAddr(),
		secrets:        filepath.Join(t.TempDir(), "password"),
	}
	if err := os.WriteFile(s.secrets, []byte(serverstest.Password+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	return s
}

func (s secured) dsn() string { return "clickhouse://" + s.clickHouse + "/default" }

// environment of a service; what comes later stands before what comes earlier.
func (s secured) environment(more ...string) []string {
	return append([]string{
		"SETTLEWATCH_KAFKA_BROKERS=" + s.kafka,
		"SETTLEWATCH_KAFKA_TLS=true",
		"SETTLEWATCH_KAFKA_TLS_CA_FILE=" + s.CAFile,
		"SETTLEWATCH_KAFKA_SASL=scram-sha-512",
		"SETTLEWATCH_KAFKA_USER=" + serverstest.User,
		"SETTLEWATCH_KAFKA_PASSWORD_FILE=" + s.secrets,
		"SETTLEWATCH_REDIS_ADDRS=" + s.redis,
		"SETTLEWATCH_REDIS_TLS=true",
		"SETTLEWATCH_REDIS_TLS_CA_FILE=" + s.CAFile,
		"SETTLEWATCH_REDIS_TLS_CERT_FILE=" + s.ClientCertFile,
		"SETTLEWATCH_REDIS_TLS_KEY_FILE=" + s.ClientKeyFile,
		"SETTLEWATCH_REDIS_USER=" + serverstest.User,
		"SETTLEWATCH_REDIS_PASSWORD=" + serverstest.Password,
		"SETTLEWATCH_CLICKHOUSE_DSN=" + s.dsn(),
		"SETTLEWATCH_CLICKHOUSE_TLS=true",
		"SETTLEWATCH_CLICKHOUSE_TLS_CA_FILE=" + s.CAFile,
		"SETTLEWATCH_CLICKHOUSE_TLS_CERT_FILE=" + s.ClientCertFile,
		"SETTLEWATCH_CLICKHOUSE_TLS_KEY_FILE=" + s.ClientKeyFile,
		"SETTLEWATCH_CLICKHOUSE_USER=" + serverstest.User,
		"SETTLEWATCH_CLICKHOUSE_PASSWORD_FILE=" + s.secrets,
		"SETTLEWATCH_CARD_KEY_ID=test",
		"SETTLEWATCH_CARD_KEY=bm90IGEgc2VjcmV0LCBhIHRlc3Qh",
		"SETTLEWATCH_HTTP_ADDR=127.0.0.1:0",
		"SETTLEWATCH_LOG_FORMAT=json",
	}, more...)
}

// mutualKafka is the environment where Kafka knows its clients by their certificates.
func (s secured) mutualKafka(certFile, keyFile string) []string {
	return []string{
		"SETTLEWATCH_KAFKA_BROKERS=" + s.kafkaMutual, "SETTLEWATCH_KAFKA_SASL=", "SETTLEWATCH_KAFKA_USER=", "SETTLEWATCH_KAFKA_PASSWORD_FILE=",
		"SETTLEWATCH_KAFKA_TLS_CERT_FILE=" + certFile, "SETTLEWATCH_KAFKA_TLS_KEY_FILE=" + keyFile,
	}
}

// TestSecuredServers plays a demo with all services on servers that want TLS, users
// and passwords, looks at health and metrics meanwhile, and then tries what is wrong.
func TestSecuredServers(t *testing.T) {
	s := startSecured(t)
	mechanism, err := bus.SASL("scram-sha-256", serverstest.User, serverstest.Password)
	if err != nil {
		t.Fatal(err)
	}
	w := start(t, traffic.Options{Seed: 1, Payments: 1000}, &demo.Addresses{
		Brokers: []string{s.kafka}, Redis: []string{s.redis}, ClickHouseDSN: s.dsn(),
		Environment: s.environment(),
		Kafka:       bus.Options{TLS: s.Client, SASL: mechanism},
		ClickHouse:  warehouse.Options{Username: serverstest.User, Password: serverstest.Password, TLS: s.Client},
	}, func(o *demo.PlatformOptions) {
		// Each mechanism serves at least one service.
		o.ServiceEnvironment = map[string][]string{
			"capture":    {"SETTLEWATCH_KAFKA_SASL=plain"},
			"settlement": {"SETTLEWATCH_KAFKA_SASL=scram-sha-256"},
		}
	})
	r := w.play(nil)
	requireExact(t, r)
	requirePlanted(t, r)
	t.Run("health and metrics", func(t *testing.T) { w.lookAt(t, r) })
	t.Run("nothing secret is logged", func(t *testing.T) { w.requireNoSecret(t) })
	for _, name := range demo.Services {
		t.Run("SIGTERM ends "+name, func(t *testing.T) {
			if err := w.Supervisor.Halt(name); err != nil {
				t.Error(err)
			}
			if text := w.log(t, name); !strings.Contains(text, "all that was read is committed") || !strings.Contains(text, "ended as asked") {
				t.Errorf("the log does not end as asked:\n%s", text)
			}
		})
	}
	s.testRefusals(t)
}

func (w *world) log(t *testing.T, service string) string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(w.dir, "logs", service+".log"))
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

var listening = regexp.MustCompile(`"http_addr":"([^"]+)"`)

// lookAt holds what every service shows to what was played.
func (w *world) lookAt(t *testing.T, r demo.Result) {
	families := ""
	for _, name := range demo.Services {
		match := listening.FindStringSubmatch(w.log(t, name))
		if match == nil {
			t.Fatalf("%s does not say where it listens", name)
		}
		for _, path := range []string{"/healthz", "/readyz"} {
			status, body := get(t, "http://"+match[1]+path)
			if status != http.StatusOK || !strings.Contains(body, `"ok":true`) {
				t.Errorf("%s%s: %d %s", name, path, status, body)
			}
		}
		_, body := get(t, "http://"+match[1]+"/metrics")
		families += body
	}
	for _, want := range []string{
		`settlewatch_events_appended_total{service="capture"}`,
		`settlewatch_alerts_published_total{kind="paid_unsettled",service="joiner",status="OPEN"}`,
		`settlewatch_consumer_lag_records{partition="0",service="joiner",topic="payment-log.v1"} 0`,
		`settlewatch_frontier_age_seconds{group="default",service="joiner"}`,
		`settlewatch_commit_duration_seconds_count{server="redis",service="joiner"}`,
		`settlewatch_commit_duration_seconds_count{server="kafka",service="settlement"}`,
		`settlewatch_commit_duration_seconds_count{server="clickhouse",service="warehouse"}`,
		`settlewatch_rows_inserted_total{service="warehouse",table="events"} ` + fmt.Sprint(r.Events),
		`settlewatch_ready{service="warehouse"} 1`,
	} {
		if !strings.Contains(families, want) {
			t.Errorf("no metric %s", want)
		}
	}
	if t.Failed() {
		t.Log(families)
	}
}

func get(t *testing.T, url string) (status int, body string) {
	t.Helper()
	request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, url, http.NoBody)
	if err != nil {
		t.Fatal(err)
	}
	request.Close = true
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	text, err := io.ReadAll(response.Body)
	if err != nil {
		t.Fatal(err)
	}
	return response.StatusCode, string(text)
}

// requireNoSecret also holds every line of every log to be JSON with the common keys.
func (w *world) requireNoSecret(t *testing.T) {
	for _, name := range demo.Services {
		text := w.log(t, name)
		if strings.Contains(text, serverstest.Password) {
			t.Errorf("the password stands in the log of %s", name)
		}
		for line := range strings.Lines(text) {
			var record map[string]any
			if err := json.Unmarshal([]byte(line), &record); err != nil || record["service"] != name || record["msg"] == nil {
				t.Errorf("%s logs %q (%v)", name, line, err)
			}
		}
	}
}

// testRefusals starts services with something wrong: each must end by itself with
// status 2 and say where and what to check.
func (s secured) testRefusals(t *testing.T) {
	other := serverstest.NewCertificates(t)
	fake := refusingClickHouse(t, s.Certificates)
	for name, c := range map[string]struct {
		service string
		env     []string
		says    []string
	}{
		"Kafka password": {
			"capture",
			[]string{"SETTLEWATCH_KAFKA_PASSWORD_FILE=", "SETTLEWATCH_KAFKA_PASSWORD=wr0ng-0ne"},
			[]string{s.kafka, "check the user, its password"},
		},
		"Kafka plain password": {
			"capture",
			[]string{"SETTLEWATCH_KAFKA_SASL=plain", "SETTLEWATCH_KAFKA_PASSWORD_FILE=", "SETTLEWATCH_KAFKA_PASSWORD=wr0ng-0ne"},
			[]string{s.kafka, "check the user, its password"},
		},
		"Kafka authority": {
			"authorization",
			[]string{"SETTLEWATCH_KAFKA_TLS_CA_FILE=" + other.CAFile},
			[]string{s.kafka, "check the certificate authority"},
		},
		"Kafka server name": {
			"authorization",
			[]string{"SETTLEWATCH_KAFKA_TLS_SERVER_NAME=kafka.example"},
			[]string{s.kafka, "server name", "kafka.example"},
		},
		"Kafka client certificate": {
			"settlement",
			s.mutualKafka("", ""),
			[]string{s.kafkaMutual, "client certificate"},
		},
		"Redis password": {
			"joiner",
			[]string{"SETTLEWATCH_REDIS_PASSWORD=wr0ng-0ne"},
			[]string{s.redis, "check user name and password"},
		},
		"Redis authority": {
			"joiner",
			[]string{"SETTLEWATCH_REDIS_TLS_CA_FILE=" + other.CAFile},
			[]string{s.redis, "check the certificate authority"},
		},
		"Redis client certificate": {
			"joiner",
			[]string{"SETTLEWATCH_REDIS_TLS_CERT_FILE=", "SETTLEWATCH_REDIS_TLS_KEY_FILE="},
			[]string{s.redis, "client certificate"},
		},
		// A wrong password over the native protocol ends this kind of ClickHouse.
		"ClickHouse password": {
			"warehouse",
			[]string{
				"SETTLEWATCH_CLICKHOUSE_DSN=clickhouse://" + fake + "/default",
				"SETTLEWATCH_CLICKHOUSE_PASSWORD_FILE=", "SETTLEWATCH_CLICKHOUSE_PASSWORD=wr0ng-0ne",
			},
			[]string{fake, "check the user", serverstest.User},
		},
		"ClickHouse client certificate": {
			"warehouse",
			[]string{"SETTLEWATCH_CLICKHOUSE_TLS_CERT_FILE=", "SETTLEWATCH_CLICKHOUSE_TLS_KEY_FILE="},
			[]string{s.clickHouse, "client certificate"},
		},
		"ClickHouse authority": {
			"warehouse",
			[]string{"SETTLEWATCH_CLICKHOUSE_TLS_CA_FILE=" + other.CAFile},
			[]string{s.clickHouse, "check the certificate authority"},
		},
	} {
		t.Run("wrong "+name, func(t *testing.T) {
			status, said := runService(t, c.service, s.environment(c.env...))
			if status != 2 {
				t.Errorf("exit status %d, want 2", status)
			}
			for _, want := range c.says {
				if !strings.Contains(said, want) {
					t.Errorf("it does not say %q", want)
				}
			}
			if strings.Contains(said, "wr0ng-0ne") || strings.Contains(said, serverstest.Password) {
				t.Error("it says the password")
			}
			if t.Failed() {
				t.Log(said)
			}
		})
	}
	t.Run("wrong ClickHouse password over HTTP", func(t *testing.T) {
		request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://"+s.clickHouseHTTP+"/?query=SELECT+1", http.NoBody)
		if err != nil {
			t.Fatal(err)
		}
		request.Close = true
		request.SetBasicAuth(serverstest.User, "wr0ng-0ne")
		response, err := http.DefaultClient.Do(request)
		if err != nil {
			t.Fatal(err)
		}
		_ = response.Body.Close()
		if code := response.Header.Get("X-ClickHouse-Exception-Code"); code != "516" {
			t.Errorf("exception %q, want 516", code)
		}
	})
	t.Run("all mistakes at once", func(t *testing.T) {
		status, said := runService(t, "joiner", s.environment(
			"SETTLEWATCH_REDIS_ADRS=r1:6379", "SETTLEWATCH_LOG_LEVEL=loud", "SETTLEWATCH_KAFKA_BROKERS=k1"), "--shutdown-timeout", "5")
		if status != 2 {
			t.Errorf("exit status %d, want 2", status)
		}
		for _, want := range []string{"SETTLEWATCH_REDIS_ADDRS?", `"loud"`, `"k1" is not host:port`, "with its unit"} {
			if !strings.Contains(said, want) {
				t.Errorf("it does not say %q in\n%s", want, said)
			}
		}
	})
}

// runService runs a service until it ends by itself.
func runService(t *testing.T, name string, env []string, args ...string) (status int, said string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, binary(t, name), args...)
	cmd.Cancel = func() error { return cmd.Process.Signal(syscall.SIGTERM) }
	cmd.WaitDelay = 15 * time.Second
	cmd.Env = slices.Concat(os.Environ(), env)
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	err := cmd.Run()
	if ctx.Err() != nil {
		t.Fatalf("%s does not end by itself:\n%s", name, out.String())
	}
	var ended *exec.ExitError
	if err != nil && !errors.As(err, &ended) {
		t.Fatal(err)
	}
	return cmd.ProcessState.ExitCode(), out.String()
}

// refusingClickHouse answers every native greeting, over TLS, as a real server does
// to a wrong password, and returns its address.
func refusingClickHouse(t *testing.T, c *serverstest.Certificates) string {
	t.Helper()
	l, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var serving sync.WaitGroup
	serving.Go(func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			_, _ = conn.Read(make([]byte, 4096))
			_, _ = conn.Write(authenticationFailed())
			_ = conn.Close()
		}
	})
	t.Cleanup(func() {
		_ = l.Close()
		serving.Wait()
	})
	return serverstest.TLSForwarder(t, c, l.Addr().String())
}

// authenticationFailed is an exception packet: 2, code 516 in 4 bytes, name,
// message, stack trace, and no nested exception. A text has its length before it.
func authenticationFailed() []byte {
	packet := []byte{2, 0x04, 0x02, 0, 0}
	for _, text := range []string{"DB::Exception", "Authentication failed", ""} {
		packet = append(packet, byte(len(text)))
		packet = append(packet, text...)
	}
	return append(packet, 0)
}
