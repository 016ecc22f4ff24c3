package stack_test

import (
	"context"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"settlewatch/tools/stack"
)

// query runs one query over ClickHouse's HTTP interface.
func query(t *testing.T, addr, text string) string {
	t.Helper()
	request, err := http.NewRequestWithContext(t.Context(), http.MethodPost, "http://"+addr+"/", strings.NewReader(text))
	if err != nil {
		t.Fatal(err)
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = response.Body.Close() }()
	body, err := io.ReadAll(response.Body)
	if err != nil || response.StatusCode != http.StatusOK {
		t.Fatalf("%s: %s %v %s", text, response.Status, err, body)
	}
	return strings.TrimSpace(string(body))
}

// redis sends one inline command and returns the first bytes of the reply.
func redis(t *testing.T, addr, command string) string {
	t.Helper()
	conn, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.Close() }()
	if _, err := io.WriteString(conn, command+"\r\n"); err != nil {
		t.Fatal(err)
	}
	reply := make([]byte, 256)
	n, err := conn.Read(reply)
	if err != nil {
		t.Fatal(err)
	}
	return strings.TrimSpace(string(reply[:n]))
}

func TestStackLives(t *testing.T) {
	dir := t.TempDir()
	events := record("redis", "clickhouse")
	s, err := stack.Start(t.Context(), stack.Options{Dir: dir, Log: t.Output(), Events: events.event})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Stop() })
	if s.RedisEmbedded {
		t.Fatal("install redis-server: this test kills it")
	}
	if got := redis(t, s.Redis[0], "SET payment open"); got != "+OK" {
		t.Fatalf("redis answers %q", got)
	}
	query(t, s.ClickHouseHTTP, "CREATE DATABASE kept")
	query(t, s.ClickHouseHTTP, "CREATE TABLE kept.events (id UInt64) ENGINE = MergeTree ORDER BY id")
	query(t, s.ClickHouseHTTP, "INSERT INTO kept.events VALUES (1), (2)")
	for _, addr := range []string{s.Brokers[0], s.ClickHouse} {
		conn, err := net.Dial("tcp", addr)
		if err != nil {
			t.Fatal(err)
		}
		_ = conn.Close()
	}

	// A second stack in the same folder finds it taken, and leaves the data alone.
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := stack.Start(ended, stack.Options{Dir: dir}); err == nil || !strings.Contains(err.Error(), "in use") {
		t.Fatalf("a second stack in the same folder: %v", err)
	}

	// Servers that are killed come back on their addresses with their data.
	var pids []int
	for _, name := range []string{"redis", "clickhouse"} {
		pid := events.next(t, name, stack.Started).Pid
		if err := syscall.Kill(pid, syscall.SIGKILL); err != nil {
			t.Fatal(err)
		}
		events.next(t, name, stack.Died)
		pids = append(pids, pid, events.next(t, name, stack.Restarted).Pid)
	}
	if got := redis(t, s.Redis[0], "GET payment"); got != "$4\r\nopen" {
		t.Errorf("redis answers %q", got)
	}
	if got := query(t, s.ClickHouseHTTP, "SELECT sum(id) FROM kept.events"); got != "3" {
		t.Errorf("clickhouse answers %q", got)
	}

	socket := filepath.Join(shortDir(t), "a.sock")
	supervisor, err := s.Supervise(t.Context(), []stack.Service{testService("service", socket)})
	if err != nil {
		t.Fatal(err)
	}
	connect(t, socket)
	pids = append(pids, supervisor.Pid("service"))
	for range 2 {
		if err := s.Stop(); err != nil {
			t.Fatal(err)
		}
	}
	for _, pid := range pids {
		requireGone(t, pid)
	}
	for _, addr := range append([]string{s.ClickHouse, s.ClickHouseHTTP, s.Redis[0]}, s.Brokers...) {
		if conn, err := net.Dial("tcp", addr); err == nil {
			_ = conn.Close()
			t.Errorf("something still listens on %s", addr)
		}
	}
	left, err := os.ReadDir(dir)
	if err != nil || len(left) != 1 || left[0].Name() != "logs" {
		t.Errorf("left in the folder: %v, %v", left, err)
	}
	if _, err := s.Supervise(t.Context(), []stack.Service{testService("late", socket)}); err == nil {
		t.Error("a stopped stack starts services")
	}
	if got := read(t, s.LogPath("service")); got != "ready\nbye\n" {
		t.Errorf("the service's log is %q", got)
	}
}
