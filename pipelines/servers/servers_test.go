package servers_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"

	"settlewatch/pipelines/servers"
	"settlewatch/pipelines/servers/serverstest"
)

// starterEnv makes the test binary start a server in the folder it names and then
// wait to be killed.
const starterEnv = "SERVERS_TEST_STARTER"

func TestMain(m *testing.M) {
	servers.MaybeRunChild()
	if dir := os.Getenv(starterEnv); dir != "" {
		os.Exit(starter(dir))
	}
	os.Exit(serverstest.Run(m))
}

// starter starts the server that the folder's name says, prints its address and waits
// for ever.
func starter(dir string) int {
	ctx := context.Background()
	var server servers.Server
	var err error
	o := servers.Options{Dir: dir}
	switch filepath.Base(dir) {
	case "redis":
		server, err = servers.StartRedis(ctx, servers.RedisOptions{Options: o})
	case "clickhouse":
		server, err = servers.StartClickHouse(ctx, servers.ClickHouseOptions{Options: o})
	default:
		err = errors.New("unknown server")
	}
	if err != nil {
		fmt.Println(err)
		return 1
	}
	fmt.Println(server.Addr())
	select {}
}

// requireGone fails if any process of the server's group is left.
func requireGone(t *testing.T, server servers.Server) {
	t.Helper()
	select {
	case <-server.Done():
	default:
		t.Fatal("the server says it has not ended")
	}
	if err := syscall.Kill(-server.Pid(), 0); !errors.Is(err, syscall.ESRCH) {
		t.Fatalf("processes of group %d are left (signal 0: %v)", server.Pid(), err)
	}
}

// requireStops stops twice and looks for what is left.
func requireStops(t *testing.T, server servers.Server) {
	t.Helper()
	for range 2 {
		if err := server.Stop(); err != nil {
			t.Fatal(err)
		}
	}
	requireGone(t, server)
	if conn, err := net.Dial("tcp", server.Addr()); err == nil {
		_ = conn.Close()
		t.Fatalf("something still listens on %s", server.Addr())
	}
}

func redis(t *testing.T, addr string, words ...string) string {
	t.Helper()
	reply, err := servers.RedisCommand(t.Context(), addr, words...)
	if err != nil {
		t.Fatal(err)
	}
	return reply
}

// clickhouse runs one query over HTTP and returns the trimmed body and status.
func clickhouse(t *testing.T, addr, query string) (string, int) {
	t.Helper()
	request, err := http.NewRequestWithContext(t.Context(), http.MethodPost, "http://"+addr+"/", strings.NewReader(query))
	if err != nil {
		t.Fatal(err)
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = response.Body.Close() }()
	body, err := io.ReadAll(response.Body)
	if err != nil {
		t.Fatal(err)
	}
	return strings.TrimSpace(string(body)), response.StatusCode
}

func requireClickHouse(t *testing.T, addr, query, want string) {
	t.Helper()
	if got, status := clickhouse(t, addr, query); got != want || status != http.StatusOK {
		t.Fatalf("%s:\n got %d %q\nwant 200 %q", query, status, got, want)
	}
}

func TestRedisKeepsDataOverKill(t *testing.T) {
	dir := t.TempDir()
	o := servers.RedisOptions{Options: servers.Options{Dir: dir}, AppendOnly: true, MaxMemory: "64mb"}
	first := serverstest.StartRedis(t, o)
	redis(t, first.Addr(), "SET", "payment", "open")
	if err := first.Kill(); err != nil {
		t.Fatal(err)
	}
	requireGone(t, first)

	second := serverstest.StartRedis(t, o)
	if got := redis(t, second.Addr(), "GET", "payment"); got != "open" {
		t.Fatalf("after kill -9 the key is %q", got)
	}
	if got, err := second.Version(t.Context()); err != nil || !regexp.MustCompile(`^\d+\.\d+\.\d+$`).MatchString(got) {
		t.Errorf("version %q, %v", got, err)
	}
	info := redis(t, second.Addr(), "INFO", "memory")
	for _, want := range []string{"maxmemory_policy:noeviction", "maxmemory:67108864"} {
		if !strings.Contains(info, want) {
			t.Errorf("INFO memory lacks %s", want)
		}
	}
	requireStops(t, second)
}

func TestRedisClusterKeepsDataOverKill(t *testing.T) {
	o := servers.RedisOptions{Options: servers.Options{Dir: t.TempDir()}}
	first := serverstest.StartRedisCluster(t, o)
	set := func(c *servers.RedisCluster, words ...string) (moved int, reply string) {
		for _, addr := range c.Addrs() {
			got, err := servers.RedisCommand(t.Context(), addr, words...)
			switch {
			case err == nil:
				reply = got
			case strings.Contains(err.Error(), "MOVED"):
				moved++
			default:
				t.Fatal(err)
			}
		}
		return moved, reply
	}
	// One node owns the key's slot, the two others point to it.
	if moved, reply := set(first, "SET", "{p1}:payment", "open"); moved != 2 || reply != "OK" {
		t.Fatalf("moved %d, reply %q", moved, reply)
	}
	if err := first.Kill(); err != nil {
		t.Fatal(err)
	}
	second := serverstest.StartRedisCluster(t, o)
	if moved, reply := set(second, "GET", "{p1}:payment"); moved != 2 || reply != "open" {
		t.Fatalf("after kill -9: moved %d, reply %q", moved, reply)
	}
	for _, node := range second.Nodes {
		requireStops(t, node)
	}
}

func TestClickHouseKeepsDataOverKill(t *testing.T) {
	// The server's time zone is not the machine's.
	t.Setenv("TZ", "Asia/Shanghai")
	o := servers.ClickHouseOptions{
		Options:        servers.Options{Dir: t.TempDir()},
		MemoryBytesMax: 1 << 30,
	}
	first := serverstest.StartClickHouse(t, o)
	for _, query := range []string{
		"CREATE DATABASE IF NOT EXISTS kept",
		"CREATE TABLE kept.events (id UInt64) ENGINE = MergeTree ORDER BY id SETTINGS non_replicated_deduplication_window = 100",
		"INSERT INTO kept.events SETTINGS insert_deduplication_token = 'range-1' VALUES (1), (2), (3)",
	} {
		requireClickHouse(t, first.HTTPAddr(), query, "")
	}
	// The memory bound is the configured one, and a query beyond it fails alone.
	body, status := clickhouse(t, first.HTTPAddr(), "SELECT length(groupArray(number)) FROM numbers(1000000000) SETTINGS max_memory_usage = 0")
	if status == http.StatusOK || !strings.Contains(body, "1.00 GiB") {
		t.Fatalf("a query beyond the memory bound: %d %q", status, body)
	}
	requireClickHouse(t, first.HTTPAddr(), "SELECT timezone()", "UTC")
	if err := first.Kill(); err != nil {
		t.Fatal(err)
	}
	requireGone(t, first)

	second := serverstest.StartClickHouse(t, o)
	// The same token again is the same insert, also after a crash.
	requireClickHouse(t, second.HTTPAddr(), "INSERT INTO kept.events SETTINGS insert_deduplication_token = 'range-1' VALUES (1), (2), (3)", "")
	requireClickHouse(t, second.HTTPAddr(), "SELECT count(), sum(id) FROM kept.events", "3\t6")
	requireStops(t, second)
}

func TestFolderServesOneServer(t *testing.T) {
	dir := t.TempDir()
	first := serverstest.StartRedis(t, servers.RedisOptions{Options: servers.Options{Dir: dir}})
	// Nobody waits for the lock on a context that has ended.
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	_, err := servers.StartRedis(ended, servers.RedisOptions{Options: servers.Options{Dir: dir}})
	if err == nil || !strings.Contains(err.Error(), dir) || !strings.Contains(err.Error(), "in use") {
		t.Fatalf("a second server in the same folder: %v", err)
	}
	requireStops(t, first)
	if first.Err() != nil {
		t.Errorf("stopped in good order: %v", first.Err())
	}

	o := servers.RedisOptions{Options: servers.Options{Dir: dir}, AppendOnly: true}
	kept := serverstest.StartRedis(t, o)
	redis(t, kept.Addr(), "SET", "payment", "open")
	requireStops(t, kept)
	o.Fresh = true
	fresh := serverstest.StartRedis(t, o)
	if got := redis(t, fresh.Addr(), "EXISTS", "payment"); got != "0" {
		t.Errorf("a fresh folder holds %s keys", got)
	}
}

// TestServersEndWithTheirStarter kills a starter and starts in the same folder again,
// which succeeds only when the orphan has ended and freed the lock. Redis stands for
// the servers that the kernel kills, ClickHouse for those that see their standard
// input end.
func TestServersEndWithTheirStarter(t *testing.T) {
	start := map[string]func(dir string) servers.Server{
		"redis": func(dir string) servers.Server {
			return serverstest.StartRedis(t, servers.RedisOptions{Options: servers.Options{Dir: dir}})
		},
		"clickhouse": func(dir string) servers.Server {
			return serverstest.StartClickHouse(t, servers.ClickHouseOptions{Options: servers.Options{Dir: dir}})
		},
	}
	for name, again := range start {
		t.Run(name, func(t *testing.T) {
			dir := filepath.Join(t.TempDir(), name)
			cmd := exec.CommandContext(t.Context(), os.Args[0])
			cmd.Env = append(os.Environ(), starterEnv+"="+dir)
			out, err := cmd.StdoutPipe()
			if err != nil {
				t.Fatal(err)
			}
			if err := cmd.Start(); err != nil {
				t.Fatal(err)
			}
			line, err := bufio.NewReader(out).ReadString('\n')
			addr := strings.TrimSpace(line)
			if conn, dialErr := net.Dial("tcp", addr); err != nil || dialErr != nil {
				t.Fatalf("the starter says %q (%v, %v)", line, err, dialErr)
			} else {
				_ = conn.Close()
			}
			if err := cmd.Process.Kill(); err != nil {
				t.Fatal(err)
			}
			_ = cmd.Wait()
			server := again(dir)
			if conn, err := net.Dial("tcp", addr); err == nil {
				_ = conn.Close()
				t.Errorf("the server on %s lives on after its starter", addr)
			}
			requireStops(t, server)
		})
	}
}

func TestMissingProgramsAreNamed(t *testing.T) {
	t.Setenv("PATH", t.TempDir())
	t.Setenv(servers.CacheEnv, t.TempDir())
	ctx, o := t.Context(), servers.Options{Dir: t.TempDir()}
	for name, start := range map[string]func() error{
		"apt-get install redis-server": func() error {
			_, err := servers.StartRedis(ctx, servers.RedisOptions{Options: o})
			return err
		},
		"redis-cli is not on PATH": func() error {
			_, err := servers.StartRedisCluster(ctx, servers.RedisOptions{Options: o})
			return err
		},
		"install Node.js": func() error {
			_, err := servers.StartClickHouse(ctx, servers.ClickHouseOptions{Options: o})
			return err
		},
		"install Java 17": func() error {
			_, err := servers.StartKafka(ctx, servers.KafkaOptions{Options: o})
			return err
		},
	} {
		if err := start(); err == nil || !strings.Contains(err.Error(), name) {
			t.Errorf("want an error that says %q, got %v", name, err)
		}
	}

	embedded, err := servers.StartRedis(ctx, servers.RedisOptions{Options: o, AllowEmbedded: true})
	if err != nil {
		t.Fatal(err)
	}
	if !embedded.Embedded() || redis(t, embedded.Addr(), "PING") != "PONG" {
		t.Error("the embedded Redis does not answer")
	}
	if err := errors.Join(embedded.Stop(), embedded.Stop()); err != nil {
		t.Error(err)
	}
	<-embedded.Done()
}

func TestStartFailureSaysWhatTheServerSaid(t *testing.T) {
	_, err := servers.StartRedis(t.Context(), servers.RedisOptions{
		Options: servers.Options{Dir: t.TempDir()}, Args: []string{"--no-such-option", "1"},
	})
	if err == nil || !strings.Contains(err.Error(), "no-such-option") || !strings.Contains(err.Error(), "exit status 1") {
		t.Fatalf("got %v", err)
	}
}

// TestClickHouseFromPath puts a clickhouse on PATH that is the library behind a
// script, so that the choice and the arguments are those of a real binary.
func TestClickHouseFromPath(t *testing.T) {
	library, err := servers.ChdbLibrary(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for version, fromPath := range map[string]bool{"26.3.1.20": true, "24.8.4.13": false} {
		t.Run(version, func(t *testing.T) {
			bin, used := t.TempDir(), filepath.Join(t.TempDir(), "used")
			script := fmt.Sprintf("#!/bin/sh\n[ \"$1\" = local ] || exit 9\nshift\n"+
				"if [ \"$1\" = --version ]; then echo 'ClickHouse local version %s (official build).'; exit; fi\n"+
				": > '%s'\nexec '%s' %s '%s' \"$@\"\n", version, used, os.Args[0], servers.ChildArgument, library)
			if err := os.WriteFile(filepath.Join(bin, "clickhouse"), []byte(script), 0o755); err != nil {
				t.Fatal(err)
			}
			t.Setenv("PATH", bin+string(os.PathListSeparator)+os.Getenv("PATH"))
			c := serverstest.StartClickHouse(t, servers.ClickHouseOptions{})
			requireClickHouse(t, c.HTTPAddr(), "SELECT 1", "1")
			if _, err := os.Stat(used); (err == nil) != fromPath {
				t.Errorf("version %s: used from PATH is %v, want %v", version, err == nil, fromPath)
			}
			requireStops(t, c)
		})
	}
}

func TestClickHouseRecent(t *testing.T) {
	for version, want := range map[string]bool{
		"25.12.1.1": true, "25.12": true, "26.1.2": true, "100.1": true,
		"25.11.9.9": false, "25.8": false, "24.12": false, "": false, "twenty": false, "25": false,
	} {
		if got := servers.ClickHouseRecent(version); got != want {
			t.Errorf("%q: %v", version, got)
		}
	}
}
