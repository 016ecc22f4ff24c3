package statestore_test

import (
	"context"
	"crypto/tls"
	"net"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/alicebob/miniredis/v2"
	"github.com/redis/go-redis/v9"

	"settlewatch/pipelines/servers"
	"settlewatch/pipelines/servers/serverstest"
	"settlewatch/pipelines/statestore"
)

const metaKey = "sw:{" + topic + "/0}:meta"

var keys = []string{metaKey, "sw:{" + topic + "/0}:ring", "sw:{" + topic + "/0}:seg"}

func TestDialRefuses(t *testing.T) {
	plain := serverstest.Redis(t)
	evicting := serverstest.StartRedis(t, servers.RedisOptions{Args: []string{"--maxmemory-policy", "allkeys-lru"}}).Addr()
	locked := serverstest.StartRedis(t, servers.RedisOptions{}).Addr()
	rawSet(t, locked, "requirepass", "right")
	host, port, err := net.SplitHostPort(plain)
	must(t, err)
	replica := serverstest.StartRedis(t, servers.RedisOptions{Args: []string{"--replicaof", host + " " + port}}).Addr()
	cluster := serverstest.RedisCluster(t)
	for name, c := range map[string]struct {
		opts statestore.Options
		want []string
	}{
		"no address":       {statestore.Options{}, []string{"no address"}},
		"two addresses":    {statestore.Options{Addrs: []string{"a:1", "b:2"}}, []string{"a:1, b:2", "cluster"}},
		"brace in prefix":  {statestore.Options{Addrs: []string{plain}, Prefix: "a{b}"}, []string{"brace"}},
		"nobody there":     {statestore.Options{Addrs: []string{"127.0.0.1:1"}}, []string{"127.0.0.1:1", "check that it runs"}},
		"nobody, cluster":  {statestore.Options{Addrs: []string{"127.0.0.1:1"}, Cluster: true}, []string{"127.0.0.1:1", "check that it runs"}},
		"evicts":           {statestore.Options{Addrs: []string{evicting}}, []string{evicting, "allkeys-lru", "noeviction"}},
		"no password":      {statestore.Options{Addrs: []string{locked}}, []string{locked, "check user name and password"}},
		"wrong password":   {statestore.Options{Addrs: []string{locked}, Password: "wrong"}, []string{locked, "check user name and password"}},
		"replica":          {statestore.Options{Addrs: []string{replica}}, []string{replica, "is a replica"}},
		"node of cluster":  {statestore.Options{Addrs: cluster[:1]}, []string{cluster[0], "node of a Redis Cluster"}},
		"single, not many": {statestore.Options{Addrs: []string{plain}, Cluster: true}, []string{plain, "single server"}},
		"TLS, plain there": {statestore.Options{Addrs: []string{plain}, TLS: &tls.Config{MinVersion: tls.VersionTLS12}}, []string{plain, "TLS"}},
	} {
		t.Run(name, func(t *testing.T) {
			ctx := t.Context()
			if c.opts.TLS != nil { // nobody answers there; do not wait as long as the client would
				var cancel context.CancelFunc
				ctx, cancel = context.WithTimeout(ctx, 300*time.Millisecond)
				defer cancel()
			}
			client, err := statestore.Dial(ctx, c.opts)
			if err == nil {
				_ = client.Close()
				t.Fatal("connected")
			}
			for _, want := range c.want {
				if !strings.Contains(err.Error(), want) {
					t.Errorf("%q does not say %q", err, want)
				}
			}
			if strings.Contains(err.Error(), "wrong (") || strings.Contains(err.Error(), "\n") {
				t.Errorf("%q shows a secret or is more than one line", err)
			}
		})
	}
}

func TestDialAccepts(t *testing.T) {
	locked := serverstest.StartRedis(t, servers.RedisOptions{}).Addr()
	raw := rawClient(t, locked)
	must(t, raw.Do(t.Context(), "ACL", "SETUSER", "joiner", "on", ">pw", "~sw:*", "+@all", "-@dangerous", "+info").Err())
	must(t, raw.Do(t.Context(), "ACL", "SETUSER", "narrow", "on", ">pw", "~other:*", "+@all", "-@dangerous").Err())
	for name, opts := range map[string]statestore.Options{
		"miniredis":          {Addrs: []string{miniredis.RunT(t).Addr()}},
		"user":               {Addrs: []string{locked}, Username: "joiner", Password: "pw"},
		"user without INFO":  {Addrs: []string{locked}, Username: "narrow", Password: "pw", Prefix: "other"},
		"one of the cluster": {Addrs: serverstest.RedisCluster(t)[1:2], Cluster: true},
	} {
		t.Run(name, func(t *testing.T) {
			client := dial(t, opts)
			must(t, client.Ping(t.Context()))
			for partition := range int32(8) {
				part := client.Partition(topic, partition)
				must(t, part.Acquire(t.Context()))
				must(t, part.Commit(t.Context(), number(1)))
				_, err := part.Load(t.Context())
				must(t, err)
			}
		})
	}
}

func rawClient(t testing.TB, addr string) *redis.Client {
	t.Helper()
	raw := redis.NewClient(&redis.Options{Addr: addr})
	t.Cleanup(func() { _ = raw.Close() })
	return raw
}

func rawSet(t *testing.T, addr, name, value string) {
	t.Helper()
	must(t, rawClient(t, addr).ConfigSet(t.Context(), name, value).Err())
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func mustInt(t *testing.T, text string) int {
	t.Helper()
	n, err := strconv.Atoi(text)
	must(t, err)
	return n
}
