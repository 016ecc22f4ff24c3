package statestore

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"strconv"
	"strings"

	"github.com/redis/go-redis/v9"
	"github.com/redis/go-redis/v9/logging"
	"github.com/redis/go-redis/v9/maintnotifications"
)

// Options say which Redis to use, and how.
type Options struct {
	// Addrs are host:port. A cluster needs one that answers, a single server
	// exactly one.
	Addrs []string
	// Cluster says that Addrs belong to a Redis Cluster.
	Cluster bool
	// Username and Password of an ACL user; an empty name is the default user,
	// an empty password sends none.
	Username, Password string
	// TLS is nil for a plain connection.
	TLS *tls.Config
	// Prefix starts every key, without its colon. Defaults to "sw".
	Prefix string
	// OnRetry, if set, is called before each wait for the next attempt of an
	// operation. It may be called from several goroutines at a time.
	OnRetry func(Retry)
}

// ErrRefused is a Redis that answers but does not let us in, or whose certificate
// is not trusted. Dialling again does not help.
var ErrRefused = errors.New("redis refuses the connection")

// ErrUnsafe is a Redis that may drop state by itself. Nothing is right on it.
var ErrUnsafe = errors.New("redis may drop state")

// Client is a connection to one Redis or Redis Cluster. It is safe for
// concurrent use.
type Client struct {
	rdb     redis.UniversalClient
	addrs   string
	tls     bool
	prefix  string
	onRetry func(Retry)
	holds   holds
}

// Dial connects and looks at every primary: it must answer, be a primary, be
// part of a cluster exactly if opts say so, and never evict keys. Dial does not
// repeat: at start an operator wants to hear at once what is wrong.
func Dial(ctx context.Context, opts Options) (*Client, error) {
	if opts.Prefix == "" {
		opts.Prefix = "sw"
	}
	if len(opts.Addrs) == 0 {
		return nil, errors.New("connect to Redis: no address given")
	}
	if !opts.Cluster && len(opts.Addrs) > 1 {
		return nil, fmt.Errorf("connect to Redis: %d addresses (%s) given for a single server: give one, or say that it is a cluster",
			len(opts.Addrs), strings.Join(opts.Addrs, ", "))
	}
	if strings.ContainsAny(opts.Prefix, "{}") {
		return nil, fmt.Errorf("connect to Redis: key prefix %q holds a brace: it would change the hash tag that keeps a partition in one slot", opts.Prefix)
	}
	// go-redis writes to stderr by itself; what it would say comes back as errors.
	logging.Disable()
	c := &Client{
		rdb: redis.NewUniversalClient(&redis.UniversalOptions{
			Addrs:           opts.Addrs,
			IsClusterMode:   opts.Cluster,
			Username:        opts.Username,
			Password:        opts.Password,
			TLSConfig:       opts.TLS,
			ReadTimeout:     socketTimeout,
			WriteTimeout:    socketTimeout,
			DialerRetries:   1, // run waits between attempts, and tells of them
			DisableIdentity: true,
			// Without this a cancelled context waits for the socket's timeout.
			ContextTimeoutEnabled: true,
			// Unknown to miniredis and to Redis before 8.
			MaintNotificationsConfig: &maintnotifications.Config{Mode: maintnotifications.ModeDisabled},
		}),
		addrs:   strings.Join(opts.Addrs, ", "),
		tls:     opts.TLS != nil,
		prefix:  opts.Prefix,
		onRetry: opts.OnRetry,
	}
	err := c.eachPrimary(ctx, func(ctx context.Context, node *redis.Client) error {
		if err := node.Ping(ctx).Err(); err != nil {
			return err
		}
		return inspect(ctx, node, opts.Cluster)
	})
	if err != nil {
		return nil, errors.Join(c.explain("connect to", err), c.rdb.Close())
	}
	return c, nil
}

// Partition is the state of one partition of a log. It sends nothing.
func (c *Client) Partition(log string, partition int32) *Partition {
	name := log + "/" + strconv.Itoa(int(partition))
	base := c.prefix + ":{" + name + "}:"
	return &Partition{client: c, name: name, keys: []string{base + "meta", base + "ring", base + "seg"}}
}

// Ping asks every primary for an answer, once.
func (c *Client) Ping(ctx context.Context) error {
	err := c.eachPrimary(ctx, func(ctx context.Context, node *redis.Client) error { return node.Ping(ctx).Err() })
	if err != nil {
		return c.explain("ping", err)
	}
	return nil
}

// Check looks at every primary again, as Dial did: a setting may have been changed
// since, and a replica that has become a primary has its own.
func (c *Client) Check(ctx context.Context) error {
	cluster := false
	if _, is := c.rdb.(*redis.ClusterClient); is {
		cluster = true
	}
	err := c.eachPrimary(ctx, func(ctx context.Context, node *redis.Client) error { return inspect(ctx, node, cluster) })
	if err != nil {
		return c.explain("check", err)
	}
	return nil
}

// Close ends all connections. Operations under way fail.
func (c *Client) Close() error {
	if err := c.rdb.Close(); err != nil {
		return fmt.Errorf("close connections to Redis at %s: %w", c.addrs, err)
	}
	return nil
}

func (c *Client) eachPrimary(ctx context.Context, fn func(context.Context, *redis.Client) error) error {
	switch rdb := c.rdb.(type) {
	case *redis.ClusterClient:
		return rdb.ForEachMaster(ctx, fn)
	case *redis.Client:
		return fn(ctx, rdb)
	default:
		return fmt.Errorf("unexpected client type %T", rdb)
	}
}

// inspect refuses a server on which state could get lost or be read stale. A
// server that answers neither INFO nor CONFIG (miniredis, a managed service, a
// narrow ACL) is taken on trust.
func inspect(ctx context.Context, node *redis.Client, cluster bool) error {
	info, err := optional(node.Info(ctx).Result())
	if err != nil {
		return err
	}
	at := node.Options().Addr
	if field(info, "role") == "slave" {
		return fmt.Errorf("%s is a replica: state is only read from and written to a primary, give its address", at)
	}
	if !cluster && field(info, "cluster_enabled") == "1" {
		return fmt.Errorf("%s is a node of a Redis Cluster: say in the configuration that it is a cluster", at)
	}
	policy := field(info, "maxmemory_policy")
	if policy == "" {
		settings, err := optional(node.ConfigGet(ctx, "maxmemory-policy").Result())
		if err != nil {
			return err
		}
		policy = settings["maxmemory-policy"]
	}
	if policy != "" && policy != "noeviction" {
		return fmt.Errorf("%w: %s has maxmemory-policy %s: under memory pressure it would drop state without a word, "+
			"set \"maxmemory-policy noeviction\" (writes then fail and are repeated until there is room)", ErrUnsafe, at, policy)
	}
	return nil
}

// optional turns an error that the server answered into a zero value, and leaves
// those of the connection.
func optional[T any](v T, err error) (T, error) {
	var zero T
	var answered redis.Error
	if errors.As(err, &answered) {
		return zero, nil
	}
	return v, err
}

func field(info, name string) string {
	for line := range strings.Lines(info) {
		if value, ok := strings.CutPrefix(line, name+":"); ok {
			return strings.TrimSpace(value)
		}
	}
	return ""
}
