package e2e_test

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"settlewatch/pipelines/servers/serverstest"
	"settlewatch/schemas/alert"
)

// settingsFile writes what the secured servers want as a file of --config; what is
// secret is in files of its own. Kafka knows its clients by their certificates.
func (s secured) settingsFile(t *testing.T) string {
	t.Helper()
	var text strings.Builder
	for _, line := range []string{
		"kafka-brokers: [KAFKA]", "kafka-tls: true", "kafka-tls-ca-file: CA", "kafka-tls-cert-file: CERT", "kafka-tls-key-file: KEY",
		"redis-addrs: [REDIS]", "redis-tls: true", "redis-tls-ca-file: CA", "redis-tls-cert-file: CERT", "redis-tls-key-file: KEY",
		"redis-user: USER", "redis-password-file: SECRET",
		"clickhouse-dsn: DSN", "clickhouse-tls: true", "clickhouse-tls-ca-file: CA", "clickhouse-tls-cert-file: CERT", "clickhouse-tls-key-file: KEY",
		"clickhouse-user: USER", "clickhouse-password-file: SECRET",
	} {
		text.WriteString(line + "\n")
	}
	filled := strings.NewReplacer(
		"KAFKA", s.kafkaMutual, "REDIS", s.redis, "DSN", s.dsn(), "CA\n", s.CAFile+"\n", "CERT", s.ClientCertFile, "KEY", s.ClientKeyFile,
		"USER", serverstest.User, "SECRET", s.secrets,
	).Replace(text.String())
	path := filepath.Join(t.TempDir(), "settings.yaml")
	if err := os.WriteFile(path, []byte(filled), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// flags are the same settings on a command line.
func (s secured) flags() []string {
	return []string{
		"--kafka-brokers", s.kafkaMutual, "--kafka-tls", "--kafka-tls-ca-file", s.CAFile,
		"--kafka-tls-cert-file", s.ClientCertFile, "--kafka-tls-key-file", s.ClientKeyFile,
		"--redis-addrs", s.redis, "--redis-tls", "--redis-tls-ca-file", s.CAFile,
		"--redis-tls-cert-file", s.ClientCertFile, "--redis-tls-key-file", s.ClientKeyFile,
		"--redis-user", serverstest.User, "--redis-password-file", s.secrets,
		"--clickhouse-dsn", s.dsn(), "--clickhouse-tls", "--clickhouse-tls-ca-file", s.CAFile,
		"--clickhouse-tls-cert-file", s.ClientCertFile, "--clickhouse-tls-key-file", s.ClientKeyFile,
		"--clickhouse-user", serverstest.User, "--clickhouse-password-file", s.secrets,
	}
}

// TestToolOnSecuredServers: the demo, by flags, and every command that looks at an
// installation, by a file, on servers that want TLS and client certificates.
func TestToolOnSecuredServers(t *testing.T) {
	s := startSecured(t)
	answer := func(status int, env []string, args ...string) string {
		t.Helper()
		p := run(t, "settlewatch", env, args...)
		if got := p.end(); got != status {
			t.Errorf("%q: status %d, want %d\n%s%s", args, got, status, p.stdout.String(), p.stderr.String())
		}
		if said := p.stdout.String() + p.stderr.String(); strings.Contains(said, serverstest.Password) {
			t.Errorf("%q says the password", args)
		}
		return p.stdout.String()
	}
	// A setting for other servers in the environment: what is given by flags goes before.
	elsewhere := []string{"SETTLEWATCH_KAFKA_BROKERS=" + nowhere(t)}
	demo := append([]string{"demo", "--once", "--json", "--payments", "300", "--dir", t.TempDir()}, s.flags()...)
	var result struct {
		Exact  bool                               `json:"exact"`
		Alerts map[alert.Kind]struct{ Found int } `json:"alerts"`
	}
	if out := answer(0, elsewhere, demo...); json.Unmarshal([]byte(out), &result) != nil || !result.Exact || result.Alerts[alert.PaidUnsettled].Found == 0 {
		t.Fatalf("the demo printed %s", out)
	}
	file := []string{"SETTLEWATCH_CONFIG=" + s.settingsFile(t)}
	published := strings.Split(strings.TrimSpace(answer(0, file, "alerts", "--json")), "\n")
	var first alert.Alert
	if err := json.Unmarshal([]byte(published[0]), &first); err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(answer(0, file, "payment", first.PaymentKey), "Redis and ClickHouse agree") {
		t.Errorf("payment %s: no word of agreement", first.PaymentKey)
	}
	rules := filepath.Join("..", "..", "deploy", "config", "china-t1.yaml")
	for _, c := range []struct {
		args   []string
		status int
		want   string
	}{
		// The demo has ended, its services with it: status finds that nobody works.
		{[]string{"status", "--json"}, 1, `"servers":{"clickhouse":{"reachable":true},"kafka":{"reachable":true},"redis":{"reachable":true}}`},
		{[]string{"apply", rules, "--dry-run"}, 0, "dry run: nothing was applied"},
		{[]string{"apply", rules, "--yes"}, 0, "configuration 1: rules china-t1"},
		{[]string{"migrate", "--status"}, 0, ""},
		{[]string{"query", "completeness", "--format", "csv"}, 0, "CNY"},
		{[]string{"dead", "list", "--json"}, 0, `"reason"`},
		{demo, 2, ""}, // its topics are not empty any more
	} {
		if out := answer(c.status, file, c.args...); !strings.Contains(out, c.want) {
			t.Errorf("%q does not print %q but\n%s", c.args, c.want, out)
		}
	}
}
