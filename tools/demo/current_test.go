package demo_test

import (
	"errors"
	"os"
	"strconv"
	"strings"
	"testing"

	"settlewatch/pipelines/servers"
	"settlewatch/tools/demo"
)

func TestOneClaimAtATime(t *testing.T) {
	t.Setenv(servers.CacheEnv, t.TempDir())
	claim, err := demo.TakeClaim()
	if err != nil {
		t.Fatal(err)
	}
	_, err = demo.TakeClaim()
	if !errors.Is(err, demo.ErrClaimed) || !strings.Contains(err.Error(), strconv.Itoa(os.Getpid())) {
		t.Errorf("a second claim: %v; want ErrClaimed with the process", err)
	}
	if err := claim.Announce(demo.Addresses{Brokers: []string{"127.0.0.1:1"}, Redis: []string{"127.0.0.1:2"}, ClickHouseDSN: "clickhouse://127.0.0.1:3/default"}); err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(claim.Path())
	if err != nil {
		t.Fatal(err)
	}
	const want = "clickhouse-dsn: clickhouse://127.0.0.1:3/default\nkafka-brokers:\n    - 127.0.0.1:1\nredis-addrs:\n    - 127.0.0.1:2\n"
	if string(text) != want {
		t.Errorf("announced\n%s\nwant\n%s", text, want)
	}
	if err := claim.Release(); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(claim.Path()); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the addresses are still there after the release: %v", err)
	}
	again, err := demo.TakeClaim()
	if err != nil {
		t.Fatalf("after the release: %v", err)
	}
	if err := again.Release(); err != nil {
		t.Fatal(err)
	}
}
