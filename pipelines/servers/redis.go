package servers

import (
	"bufio"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"os/exec"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/alicebob/miniredis/v2"

	"settlewatch/pipelines/servers/process"
)

// RedisOptions configure Redis.
type RedisOptions struct {
	Options
	// Port to listen on. 0 chooses a free one.
	Port int
	// AppendOnly keeps the data on disk with RedisSettings: it survives Kill. False
	// keeps it in memory only.
	AppendOnly bool
	// MaxMemory such as "256mb". Empty is unlimited. The policy is always noeviction:
	// an evicted key is lost state.
	MaxMemory string
	// Args are further arguments for redis-server. They come last and win.
	Args []string
	// TLS makes Port a TLS port, the only one; Args say which certificates. With it
	// and the user the server is asked whether it is up.
	TLS                *tls.Config
	Username, Password string
	// AllowEmbedded uses a Redis imitation inside this process where there is no
	// redis-server on PATH. It keeps nothing on disk.
	AllowEmbedded bool
}

// Redis is one Redis server.
type Redis struct {
	Server
	embedded bool
}

// Command sends one command, such as INFO memory, on a connection of its own, and
// returns a reply that is a text or a number. It is for a look at a server without TLS.
func (r *Redis) Command(ctx context.Context, words ...string) (string, error) {
	return redisCommand(ctx, r.Addr(), words...)
}

// Version of the server, such as 7.4.2, as INFO says it.
func (r *Redis) Version(ctx context.Context) (string, error) {
	info, err := r.Command(ctx, "INFO", "server")
	if err != nil {
		return "", fmt.Errorf("version of redis: %w", err)
	}
	for line := range strings.Lines(info) {
		if v, is := strings.CutPrefix(strings.TrimSpace(line), "redis_version:"); is {
			return v, nil
		}
	}
	return "", errors.New("version of redis: INFO has no redis_version")
}

// Embedded says whether this is the imitation inside this process.
func (r *Redis) Embedded() bool { return r.embedded }

const (
	redisGrace   = 10 * time.Second
	redisMissing = "redis-server is not on PATH: install Redis 7 or later (Debian and Ubuntu: apt-get install redis-server; macOS: brew install redis)"
)

// StartRedis starts one Redis server and returns when it answers PING with PONG,
// which is after it has loaded its data.
func StartRedis(ctx context.Context, o RedisOptions) (*Redis, error) {
	binary, err := exec.LookPath("redis-server")
	if err != nil {
		if o.AllowEmbedded {
			return startMiniredis(o)
		}
		return nil, errors.New(redisMissing)
	}
	folder, err := takeFolder(ctx, o.Options)
	if err != nil {
		return nil, fmt.Errorf("start redis: %w", err)
	}
	defer folder.release()
	port, err := choosePort(o.Port)
	if err != nil {
		return nil, fmt.Errorf("start redis: %w", err)
	}
	addr := address(port)
	p, err := launch(ctx, "redis on "+addr, folder, process.Command{
		Path: binary, Args: redisArgs(o, port, folder.dir),
	}, o.Log, func(ctx context.Context) error {
		reply, err := redisCommandAs(ctx, o, addr, "PING")
		if err == nil && reply != "PONG" {
			err = fmt.Errorf("answer to PING is %q", reply)
		}
		return err
	})
	if err != nil {
		return nil, err
	}
	return &Redis{Server: &child{Process: p, addr: addr, grace: redisGrace}}, nil
}

// RedisSettings are those of deploy/redis/redis.conf, which says why, as redis-server's
// arguments: what a Redis that keeps the joiner's state should run with.
func RedisSettings() []string {
	return []string{
		"--appendonly", "yes", "--appendfsync", "everysec", "--save", "",
		"--no-appendfsync-on-rewrite", "yes",
		"--maxmemory-policy", "noeviction",
		"--rdbcompression", "no", "--rdbchecksum", "no",
		"--auto-aof-rewrite-min-size", "4gb", "--auto-aof-rewrite-percentage", "300",
	}
}

func redisArgs(o RedisOptions, port int, dir string) []string {
	args := []string{
		"--bind", loopback,
		"--dir", dir, "--daemonize", "no", "--save", "",
		"--maxmemory-policy", "noeviction",
	}
	if o.TLS != nil {
		args = append(args, "--port", "0", "--tls-port", strconv.Itoa(port))
	} else {
		args = append(args, "--port", strconv.Itoa(port))
	}
	if o.AppendOnly {
		args = append(args, RedisSettings()...)
	}
	if o.MaxMemory != "" {
		args = append(args, "--maxmemory", o.MaxMemory)
	}
	return append(args, o.Args...)
}

// redisCommand sends one command on a connection of its own and returns a simple or
// bulk reply as text. An error reply is an error.
func redisCommand(ctx context.Context, addr string, words ...string) (string, error) {
	return redisCommandAs(ctx, RedisOptions{}, addr, words...)
}

// redisCommandAs is redisCommand over TLS and as a user, where the options say so.
func redisCommandAs(ctx context.Context, o RedisOptions, addr string, words ...string) (string, error) {
	conn, err := (&net.Dialer{Timeout: time.Second}).DialContext(ctx, "tcp", addr)
	if err != nil {
		return "", err
	}
	defer func() { _ = conn.Close() }()
	if err := conn.SetDeadline(time.Now().Add(2 * time.Second)); err != nil {
		return "", err
	}
	if o.TLS != nil {
		config := o.TLS.Clone()
		config.ServerName = loopback
		conn = tls.Client(conn, config)
	}
	reader := bufio.NewReader(conn)
	if o.Username != "" {
		if _, err := redisExchange(conn, reader, addr, "AUTH", o.Username, o.Password); err != nil {
			return "", err
		}
	}
	return redisExchange(conn, reader, addr, words...)
}

func redisExchange(conn io.Writer, reader *bufio.Reader, addr string, words ...string) (string, error) {
	var request strings.Builder
	fmt.Fprintf(&request, "*%d\r\n", len(words))
	for _, word := range words {
		fmt.Fprintf(&request, "$%d\r\n%s\r\n", len(word), word)
	}
	if _, err := io.WriteString(conn, request.String()); err != nil {
		return "", err
	}
	line, err := reader.ReadString('\n')
	if err != nil {
		return "", err
	}
	line = strings.TrimRight(line, "\r\n")
	switch {
	case strings.HasPrefix(line, "-"):
		return "", fmt.Errorf("redis %s answers %s to %s", addr, line[1:], words[0])
	case strings.HasPrefix(line, "$"):
		size, err := strconv.Atoi(line[1:])
		if err != nil || size < 0 {
			return "", err
		}
		body := make([]byte, size)
		_, err = io.ReadFull(reader, body)
		return string(body), err
	}
	return strings.TrimLeft(line, "+:"), nil
}

// miniServer is the imitation of Redis inside this process.
type miniServer struct {
	mini *miniredis.Miniredis
	addr string
	once sync.Once
	done chan struct{}
}

var _ Server = (*miniServer)(nil)

func startMiniredis(o RedisOptions) (*Redis, error) {
	port, err := choosePort(o.Port)
	if err != nil {
		return nil, fmt.Errorf("start embedded redis: %w", err)
	}
	s := &miniServer{mini: miniredis.NewMiniRedis(), addr: address(port), done: make(chan struct{})}
	if err := s.mini.StartAddr(s.addr); err != nil {
		return nil, fmt.Errorf("start embedded redis on %s: %w", s.addr, err)
	}
	return &Redis{Server: s, embedded: true}, nil
}

func (s *miniServer) Addr() string          { return s.addr }
func (s *miniServer) Pid() int              { return 0 }
func (s *miniServer) Done() <-chan struct{} { return s.done }
func (s *miniServer) Err() error            { return nil }
func (s *miniServer) Kill() error           { return s.Stop() }

func (s *miniServer) Stop() error {
	s.once.Do(func() {
		s.mini.Close()
		close(s.done)
	})
	return nil
}
