package servers

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"settlewatch/pipelines/servers/process"
)

// RedisCluster is a Redis Cluster of three masters.
type RedisCluster struct {
	Nodes   []*Redis
	options []RedisOptions // of each node
}

const clusterNodes = 3

// StartRedisCluster starts three masters with AOF, each in a folder of its own below
// Dir, joins them, and returns when each sees all slots served. Started again in the
// same folder, the nodes take their former ports. Options.Port and AllowEmbedded are
// not used.
func StartRedisCluster(ctx context.Context, o RedisOptions) (*RedisCluster, error) {
	cli, err := exec.LookPath("redis-cli")
	if err != nil {
		return nil, errors.New("redis-cli is not on PATH: install Redis 7 or later (Debian and Ubuntu: apt-get install redis-server)")
	}
	// The nodes' folders lie in this one; while they are being made, this lock keeps
	// another cluster out, afterwards the nodes' own do.
	folder, err := takeFolder(ctx, o.Options)
	if err != nil {
		return nil, fmt.Errorf("start redis cluster: %w", err)
	}
	defer folder.release()
	dir := folder.dir
	ports, joined, err := clusterPorts(dir)
	if err != nil {
		return nil, fmt.Errorf("start redis cluster: %w", err)
	}
	c := &RedisCluster{}
	for i, port := range ports {
		node := o
		node.Dir = filepath.Join(dir, "node"+strconv.Itoa(i+1))
		node.Fresh = false
		node.Port, node.AppendOnly, node.AllowEmbedded = port, true, false
		node.Args = append([]string{"--cluster-enabled", "yes", "--cluster-node-timeout", "3000"}, o.Args...)
		r, err := StartRedis(ctx, node)
		if err != nil {
			_ = c.Stop()
			return nil, fmt.Errorf("start redis cluster: %w", err)
		}
		c.Nodes, c.options = append(c.Nodes, r), append(c.options, node)
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
		switch {
		case err != nil:
		case strings.Contains(info, "cluster_state:ok"):
			return nil
		default:
			err = fmt.Errorf("its state is %q", info)
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("wait for cluster at %s: %w (%w)", addr, context.Cause(ctx), err)
		case <-tick.C:
		}
	}
}

// Restart starts one node that has ended again, on its data and address, and returns
// when every node sees all slots served.
func (c *RedisCluster) Restart(ctx context.Context, node int) error {
	r, err := StartRedis(ctx, c.options[node])
	if err != nil {
		return fmt.Errorf("restart node %d of the redis cluster: %w", node, err)
	}
	c.Nodes[node] = r
	for _, n := range c.Nodes {
		if err := waitCluster(ctx, n.Addr()); err != nil {
			return err
		}
	}
	return nil
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
