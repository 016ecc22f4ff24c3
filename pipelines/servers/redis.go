package servers

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
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
	// AppendOnly keeps the data on disk (AOF, synced every second): it survives Kill.
	// False keeps it in memory only.
	AppendOnly bool
	// MaxMemory such as "256mb". Empty is unlimited. The policy is always noeviction:
	// an evicted key is lost state.
	MaxMemory string
	// Args are further arguments for redis-server.
	Args []string
	// AllowEmbedded uses a Redis imitation inside this process where there is no
	// redis-server on PATH. It keeps nothing on disk.
	AllowEmbedded bool
}

// Redis is one Redis server.
type Redis struct {
	Server
	embedded bool
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
	if o.Dir, err = makeDir(o.Dir); err != nil {
		return nil, fmt.Errorf("start redis: %w", err)
	}
	port, err := choosePort(o.Port)
	if err != nil {
		return nil, fmt.Errorf("start redis: %w", err)
	}
	addr := address(port)
	p, err := launch(ctx, "redis on "+addr, o.Options, process.Command{
		Path: binary, Args: redisArgs(o, port),
	}, func(ctx context.Context) error {
		reply, err := redisCommand(ctx, addr, "PING")
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

func redisArgs(o RedisOptions, port int) []string {
	args := []string{
		"--bind", loopback, "--port", strconv.Itoa(port),
		"--dir", o.Dir, "--daemonize", "no", "--save", "",
		"--maxmemory-policy", "noeviction",
	}
	if o.AppendOnly {
		args = append(args, "--appendonly", "yes", "--appendfsync", "everysec")
	}
	if o.MaxMemory != "" {
		args = append(args, "--maxmemory", o.MaxMemory)
	}
	return append(args, o.Args...)
}

// redisCommand sends one command on a connection of its own and returns a simple or
// bulk reply as text. An error reply is an error.
func redisCommand(ctx context.Context, addr string, words ...string) (string, error) {
	conn, err := (&net.Dialer{Timeout: time.Second}).DialContext(ctx, "tcp", addr)
	if err != nil {
		return "", err
	}
	defer func() { _ = conn.Close() }()
	if err := conn.SetDeadline(time.Now().Add(2 * time.Second)); err != nil {
		return "", err
	}
	var request strings.Builder
	fmt.Fprintf(&request, "*%d\r\n", len(words))
	for _, word := range words {
		fmt.Fprintf(&request, "$%d\r\n%s\r\n", len(word), word)
	}
	if _, err := io.WriteString(conn, request.String()); err != nil {
		return "", err
	}
	reader := bufio.NewReader(conn)
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
func (s *miniServer) Kill() error           { return s.Stop() }

func (s *miniServer) Stop() error {
	s.once.Do(func() {
		s.mini.Close()
		close(s.done)
	})
	return nil
}

// RedisCluster is a Redis Cluster of three masters.
type RedisCluster struct {
	Nodes []*Redis
}

const clusterNodes = 3

// StartRedisCluster starts three masters with AOF, each in a folder of its own below
// Dir, joins them, and returns when each sees all slots served. Started again in the
// same folder, the nodes take their former ports. Options.Port and AllowEmbedded are
// not used.
func StartRedisCluster(ctx context.Context, o RedisOptions) (*RedisCluster, error) {
	dir, err := makeDir(o.Dir)
	if err != nil {
		return nil, fmt.Errorf("start redis cluster: %w", err)
	}
	cli, err := exec.LookPath("redis-cli")
	if err != nil {
		return nil, errors.New("redis-cli is not on PATH: install Redis 7 or later (Debian and Ubuntu: apt-get install redis-server)")
	}
	ports, joined, err := clusterPorts(dir)
	if err != nil {
		return nil, fmt.Errorf("start redis cluster: %w", err)
	}
	c := &RedisCluster{}
	for i, port := range ports {
		node := o
		node.Dir = filepath.Join(dir, "node"+strconv.Itoa(i+1))
		node.Port, node.AppendOnly, node.AllowEmbedded = port, true, false
		node.Args = append([]string{"--cluster-enabled", "yes", "--cluster-node-timeout", "3000"}, o.Args...)
		r, err := StartRedis(ctx, node)
		if err != nil {
			_ = c.Stop()
			return nil, fmt.Errorf("start redis cluster: %w", err)
		}
		c.Nodes = append(c.Nodes, r)
	}
	if err := c.join(ctx, cli, dir, joined); err != nil {
		_ = c.Stop()
		return nil, fmt.Errorf("start redis cluster: %w", err)
	}
	return c, nil
}

// clusterPorts returns the nodes' ports, and whether they have been joined before.
func clusterPorts(dir string) (ports []int, joined bool, err error) {
	text, err := os.ReadFile(filepath.Join(dir, "ports"))
	if err == nil {
		for word := range strings.FieldsSeq(string(text)) {
			port, err := strconv.Atoi(word)
			if err != nil {
				return nil, false, fmt.Errorf("read ports of the cluster in %s: %w", dir, err)
			}
			ports = append(ports, port)
		}
		return ports, true, nil
	}
	if !errors.Is(err, os.ErrNotExist) {
		return nil, false, fmt.Errorf("read ports of the cluster: %w", err)
	}
	for len(ports) < clusterNodes {
		port, err := FreePort()
		if err != nil {
			return nil, false, err
		}
		ports = append(ports, port)
	}
	return ports, false, nil
}

// join makes the nodes one cluster, once per folder, and waits until it serves.
func (c *RedisCluster) join(ctx context.Context, cli, dir string, joined bool) error {
	if !joined {
		tail := process.NewTail(nil)
		args := append(append([]string{"--cluster", "create"}, c.Addrs()...), "--cluster-yes")
		if err := process.Run(ctx, process.Command{Path: cli, Args: args, Output: tail}); err != nil {
			return fmt.Errorf("redis-cli --cluster create: %w; it said last:\n%s", err, tail.Last(errorLines))
		}
		var ports strings.Builder
		for _, addr := range c.Addrs() {
			_, port, _ := net.SplitHostPort(addr)
			fmt.Fprintln(&ports, port)
		}
		if err := os.WriteFile(filepath.Join(dir, "ports"), []byte(ports.String()), 0o644); err != nil {
			return fmt.Errorf("note ports of the cluster: %w", err)
		}
	}
	for _, node := range c.Nodes {
		if err := waitCluster(ctx, node.Addr()); err != nil {
			return err
		}
	}
	return nil
}

// waitCluster waits until the node sees a cluster that serves all slots.
func waitCluster(ctx context.Context, addr string) error {
	ctx, cancel := context.WithTimeoutCause(ctx, readyMax, fmt.Errorf("not ready after %s", readyMax))
	defer cancel()
	tick := time.NewTicker(readyPoll)
	defer tick.Stop()
	for {
		info, err := redisCommand(ctx, addr, "CLUSTER", "INFO")
		if err == nil && strings.Contains(info, "cluster_state:ok") {
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("wait for cluster at %s: %w (last error %v, state %q)", addr, context.Cause(ctx), err, info)
		case <-tick.C:
		}
	}
}

// Addrs are the nodes' addresses.
func (c *RedisCluster) Addrs() []string {
	var addrs []string
	for _, node := range c.Nodes {
		addrs = append(addrs, node.Addr())
	}
	return addrs
}

// Stop stops all nodes.
func (c *RedisCluster) Stop() error {
	var errs []error
	for _, node := range c.Nodes {
		errs = append(errs, node.Stop())
	}
	return errors.Join(errs...)
}

// Kill kills all nodes.
func (c *RedisCluster) Kill() error {
	var errs []error
	for _, node := range c.Nodes {
		errs = append(errs, node.Kill())
	}
	return errors.Join(errs...)
}
