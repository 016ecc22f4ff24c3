package commands_test

import (
	"encoding/csv"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"settlewatch/pipelines/servers/serverstest"
	"settlewatch/schemas/table"
)

const (
	lateKey     = "acq-gross|o|O0000000012" // opened, settled late
	reopenedKey = "acq-north|r|000000000718|31001573|2025-10-04"
	// badCapture lacks its currency; badLine has a card number in its memo.
	badCapture = "raw.capture.v1/1/20"
	badLine    = "raw.settlement.v1/0/530"
	nowhere    = "127.0.0.1:1"
)

// TestSaid: success and the main failures of every reading command.
func TestSaid(t *testing.T) {
	for _, c := range []struct {
		name string
		args []string
		env  []string
	}{
		{name: "alerts", args: []string{"alerts"}},
		{name: "alerts-all-of-merchant", args: []string{"alerts", "--all", "--merchant", "898301153110157"}},
		{name: "alerts-details", args: []string{"alerts", "--details", "--merchant", "898301153110157"}},
		{name: "alerts-json", args: []string{"alerts", "--json", "--kind", "settled", "--status", "open", "--since", "2025-10-01"}},
		{name: "alerts-none", args: []string{"alerts", "--since", "2030-01-01"}},
		{name: "alerts-bad-kind", args: []string{"alerts", "--kind", "late"}},
		{name: "alerts-bad-since", args: []string{"alerts", "--since", "yesterday"}},
		{name: "payment", args: []string{"payment", lateKey}},
		{name: "payment-reopened", args: []string{"payment", reopenedKey}},
		{name: "payment-json", args: []string{"payment", lateKey, "--json"}},
		{name: "payment-differs", args: []string{"payment", lateKey}, env: []string{"SETTLEWATCH_REDIS_ADDRS=" + serverstest.Redis(t)}},
		{name: "payment-no-key", args: []string{"payment"}},
		{name: "payment-part-of-key", args: []string{"payment", "O0000000012"}},
		{name: "payment-unknown", args: []string{"payment", "nobody|o|1"}},
		{name: "dead", args: []string{"dead"}},
		{name: "dead-each-of-field", args: []string{"dead", "list", "--each", "--field", "currency", "--topic", "raw.capture.v1"}},
		{name: "dead-json", args: []string{"dead", "list", "--json", "--reason", "card_number"}},
		{name: "dead-show", args: []string{"dead", "show", badLine}},
		{name: "dead-show-unknown", args: []string{"dead", "show", "raw.capture.v1/0/999999"}},
		{name: "dead-show-no-place", args: []string{"dead", "show", "yesterday"}},
		{name: "dead-show-no-argument", args: []string{"dead", "show"}},
		{name: "dead-none", args: []string{"dead", "--reason", "boredom"}},
		{name: "dead-unknown-command", args: []string{"dead", "shwo"}},
		{name: "dead-retry-unknown", args: []string{"dead", "retry", "raw.capture.v1/0/999999"}},
		{name: "dead-retry-file-and-set", args: []string{"dead", "retry", badCapture, "--file", "-", "--set", "currency=CNY"}},
		{name: "dead-retry-as-it-is", args: []string{"dead", "retry", badCapture}},
		{name: "dead-retry-dry-run", args: []string{"dead", "retry", badCapture, "--set", "currency=CNY", "--dry-run"}},
		{name: "dead-retry-one-refused", args: []string{"dead", "retry", badCapture, badLine, "--set", "currency=CNY"}},
		{name: "query-list", args: []string{"query", "--list"}},
		{name: "query-list-json", args: []string{"query", "--list", "--json"}},
		{name: "query-two", args: []string{"query", "ageing", "sources"}},
		{name: "query-sql", args: []string{"query", "completeness", "--sql"}},
		{name: "query-completeness", args: []string{"query", "completeness"}},
		{name: "query-settled-twice-csv", args: []string{"query", "settled-twice", "--format", "csv", "--param", "since=2025-10-01"}},
		{name: "query-settlement-lag-json", args: []string{"query", "settlement-lag", "--param", "acquirer=acq-gross", "--json"}},
		{name: "query-no-rows", args: []string{"query", "incomplete-payments"}},
		{name: "query-unknown", args: []string{"query", "everything"}},
		{name: "query-unknown-parameter", args: []string{"query", "ageing", "--param", "age=7"}},
		{name: "query-none", args: []string{"query"}},
		{name: "query-bad-format", args: []string{"query", "ageing", "--format", "xml"}},
	} {
		t.Run(c.name, func(t *testing.T) { golden(t, c.name, command(t, "", c.env, c.args...)) })
	}
}

// TestHelp: what the help teaches. The flags that all commands share are not ours.
func TestHelp(t *testing.T) {
	for _, args := range [][]string{{"alerts"}, {"payment"}, {"dead"}, {"dead", "list"}, {"dead", "show"}, {"dead", "retry"}, {"query"}} {
		s := command(t, "", nil, append(args, "--help")...)
		text, flags, found := strings.Cut(s.out, "\nFlags:\n")
		if !found || !strings.Contains(flags, "--json") || !strings.Contains(text, "Examples:") {
			t.Errorf("%v: no flags, no --json or no examples in the help", args)
		}
		s.out = text
		golden(t, "help-"+strings.Join(args, "-"), s)
	}
}

// TestServerMissing: what answers is shown, what does not is named, and where
// nothing answers the command could not run.
func TestServerMissing(t *testing.T) {
	noKafka, noRedis := "SETTLEWATCH_KAFKA_BROKERS="+nowhere, "SETTLEWATCH_REDIS_ADDRS="+nowhere
	noClickHouse := "SETTLEWATCH_CLICKHOUSE_DSN=clickhouse://" + nowhere + "/default"
	for _, c := range []struct {
		name   string
		env    []string
		args   []string
		status int
		want   []string
	}{
		{"no broker", []string{noKafka}, []string{"alerts"}, 2, []string{"connect to Kafka at " + nowhere, "refused"}},
		{"no broker for dead letters", []string{noKafka}, []string{"dead"}, 2, []string{"connect to Kafka at " + nowhere}},
		{"no ClickHouse", []string{noClickHouse}, []string{"query", "ageing"}, 2, []string{"clickhouse does not answer at " + nowhere}},
		{"payment without Redis", []string{noRedis}, []string{"payment", lateKey}, 0, []string{"not read: connect to Redis at " + nowhere, "settled, 1 day late", "nothing is compared"}},
		{"payment without ClickHouse", []string{noClickHouse}, []string{"payment", lateKey}, 0, []string{"settled, judgement 5", "raw.settlement.v1/1/144", "ClickHouse was not read"}},
		{"payment without both", []string{noRedis, noClickHouse}, []string{"payment", lateKey}, 2, []string{"connect to Redis", "clickhouse does not answer"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			s := command(t, "", c.env, c.args...)
			if s.status != c.status {
				t.Errorf("exit status %d, want %d", s.status, c.status)
			}
			for _, w := range c.want {
				if !strings.Contains(s.out+s.errors, w) {
					t.Errorf("it does not say %q:\n%s%s", w, s.out, s.errors)
				}
			}
		})
	}
}

// TestFindsTheStackOfThisMachine: without an address the running stack's file is
// used, and an address stands before it.
func TestFindsTheStackOfThisMachine(t *testing.T) {
	cache := t.TempDir()
	p := world.platform
	text := fmt.Sprintf("kafka-brokers: [%q]\nredis-addrs: [%q]\nclickhouse-dsn: %q\n", p.Brokers[0], p.Redis[0], p.ClickHouseDSN)
	if err := os.WriteFile(filepath.Join(cache, "current.yaml"), []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	none := []string{"SETTLEWATCH_CACHE=" + cache, "SETTLEWATCH_KAFKA_BROKERS=", "SETTLEWATCH_REDIS_ADDRS=", "SETTLEWATCH_CLICKHOUSE_DSN="}
	if s := command(t, "", none, "payment", lateKey); s.status != 0 {
		t.Errorf("status %d: %s", s.status, s.errors)
	}
	if s := command(t, "", none, "alerts", "--kafka-brokers", nowhere); s.status != 2 || !strings.Contains(s.errors, nowhere) {
		t.Errorf("status %d: %s", s.status, s.errors)
	}
	stale := strings.ReplaceAll(text, p.Brokers[0], nowhere)
	if err := os.WriteFile(filepath.Join(cache, "current.yaml"), []byte(stale), 0o600); err != nil {
		t.Fatal(err)
	}
	if s := command(t, "", none, "alerts"); s.status != 2 || !strings.Contains(s.errors, "is it still running?") {
		t.Errorf("status %d: %s", s.status, s.errors)
	}
}

// TestQueriesHaveTheirColumns: every question runs as it stands, and its answer
// has the columns that its header documents.
func TestQueriesHaveTheirColumns(t *testing.T) {
	questions, err := table.Questions()
	if err != nil {
		t.Fatal(err)
	}
	for _, q := range questions {
		s := command(t, "", nil, "query", q.Name, "--format", "csv")
		if s.status != 0 {
			t.Errorf("%s: %s", q.Name, s.errors)
			continue
		}
		header, err := csv.NewReader(strings.NewReader(s.out)).Read()
		if err != nil {
			t.Errorf("%s: %v", q.Name, err)
			continue
		}
		var documented []string
		for _, c := range q.Columns {
			documented = append(documented, c.Name)
		}
		if !slices.Equal(header, documented) {
			t.Errorf("%s: columns %q, its header documents %q", q.Name, header, documented)
		}
	}
}

// TestRetry corrects a dead letter and follows it into its payment: Redis and
// ClickHouse hold it, and agree. Retried twice, it is a repeat.
func TestRetry(t *testing.T) {
	const key = "acq-east|o|BAD1000021"
	if s := command(t, "", nil, "payment", key); s.status != 1 {
		t.Fatalf("the payment is known before: %s", s.out)
	}
	retry := func(stdin string, args ...string) {
		t.Helper()
		s := command(t, stdin, nil, append([]string{"dead", "retry", badCapture, "--json", "--arrival", "2025-09-22T12:00:00Z"}, args...)...)
		var line struct {
			Place    string `json:"place"`
			Appended bool   `json:"appended"`
		}
		if err := json.Unmarshal([]byte(s.out), &line); err != nil || s.status != 0 || !line.Appended || line.Place != badCapture {
			t.Fatalf("status %d: %s%s", s.status, s.out, s.errors)
		}
	}
	retry("", "--set", "currency=CNY")
	events := func() (n int, agree bool) {
		s := command(t, "", nil, "payment", key, "--json")
		if s.status == 1 && s.out == "" {
			return 0, false
		}
		var p struct {
			ClickHouse struct {
				Events []struct {
					InRedis string `json:"in_redis"`
				} `json:"events"`
			} `json:"clickhouse"`
			Agreement struct {
				Agree  bool     `json:"agree"`
				Faults []string `json:"faults"`
			} `json:"agreement"`
		}
		if err := json.Unmarshal([]byte(s.out), &p); err != nil {
			t.Fatalf("%v: %s%s", err, s.out, s.errors)
		}
		if len(p.Agreement.Faults) > 0 {
			t.Fatalf("faults: %q", p.Agreement.Faults)
		}
		return len(p.ClickHouse.Events), p.Agreement.Agree
	}
	await := func(want int) {
		t.Helper()
		end := time.Now().Add(startMax)
		for n, agree := events(); n < want || !agree; n, agree = events() {
			if time.Now().After(end) {
				t.Fatalf("%d events, agree %t", n, agree)
			}
		}
	}
	await(1)
	masked := command(t, "", nil, "dead", "show", badCapture, "--payload").out
	retry(strings.Replace(masked, `"amount_minor"`, `"currency": "CNY", "amount_minor"`, 1), "--file", "-")
	await(2)
}

// TestNoCardNumberIsShown: a letter that was refused for a card number shows
// none, in no form.
func TestNoCardNumberIsShown(t *testing.T) {
	reader, err := world.platform.Bus.Open("raw.settlement.v1", 0)
	if err != nil {
		t.Fatal(err)
	}
	defer reader.Close()
	batch, err := reader.Fetch(t.Context(), 530, time.Second)
	if err != nil {
		t.Fatal(err)
	}
	card := regexp.MustCompile(`\b\d{16,19}\b`).FindString(string(batch.Records[0].Value))
	if card == "" {
		t.Fatal("the raw record has no card number: this test looks at nothing")
	}
	shown := ""
	for _, args := range [][]string{
		{"show", badLine},
		{"show", badLine, "--json"},
		{"show", badLine, "--payload"},
		{"retry", badLine},
		{"retry", badLine, "--set", "note=" + card, "--dry-run"},
		{"retry", badLine, "--unset", "memo", "--set", "card_number=" + card, "--dry-run"},
		{"retry", badLine, "--unset", "memo", "--set", "card_number=\"" + card + "\"", "--dry-run"},
		{"retry", badLine, "--set", card},
		{"list", "--each", "--json"},
	} {
		s := command(t, "", nil, append([]string{"dead"}, args...)...)
		shown += s.out + s.errors
	}
	if !strings.Contains(shown, card[:6]+"****") {
		t.Error("the masked card is not there: this test looks at nothing")
	}
	if strings.Contains(shown, card) || strings.Contains(shown, card[:12]) {
		t.Errorf("a card number is shown:\n%s", shown)
	}
}
