package statestore_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"reflect"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"settlewatch/pipelines/servers"
	"settlewatch/pipelines/servers/serverstest"
	"settlewatch/pipelines/stage"
	"settlewatch/pipelines/statestore"
)

const topic = "payment-log.v1"

func number(sequence uint64) stage.Commit {
	return stage.Commit{
		Sequence: sequence, FromOffset: int64(sequence) - 1, ToOffset: int64(sequence),
		Meta: fmt.Appendf(nil, "meta %d", sequence), Delta: fmt.Appendf(nil, "delta %d", sequence),
		Buckets: []stage.Bucket{{Index: int(sequence), Value: fmt.Appendf(nil, "bucket %d", sequence)}},
	}
}

func TestLostReplyIsAppliedOnce(t *testing.T) {
	p := startProxy(t, serverstest.Redis(t))
	part := dial(t, statestore.Options{Addrs: []string{p.addr()}}).Partition(topic, 0)
	p.drop.Store(2)
	must(t, part.Acquire(t.Context()))
	for sequence := uint64(1); sequence <= 3; sequence++ {
		// More than go-redis repeats by itself; the first is the one that says that it is applied.
		p.dropApplied.Store(int32(sequence) * 3)
		must(t, part.Commit(t.Context(), number(sequence)))
		if p.drop.Load() != 0 || p.dropApplied.Load() != 0 {
			t.Fatal("the proxy has not swallowed the replies")
		}
	}
	p.drop.Store(2)
	got, err := part.Load(t.Context())
	must(t, err)
	if got.Sequence != 3 || len(got.Ring) != 3 || len(got.Buckets) != 3 {
		t.Errorf("loaded sequence %d, %d deltas, %d buckets, want 3 of each", got.Sequence, len(got.Ring), len(got.Buckets))
	}
}

// TestLateCommitIsFenced lets another owner acquire after the commit was judged and before it is
// applied.
func TestLateCommitIsFenced(t *testing.T) {
	for name, late := range map[string]uint64{"the first commit": 1, "a later commit": 3} {
		t.Run(name, func(t *testing.T) {
			addr := serverstest.Redis(t)
			p, raw := startProxy(t, addr), rawClient(t, addr)
			part := dial(t, statestore.Options{Addrs: []string{p.addr()}}).Partition(topic, 0)
			heir := dial(t, statestore.Options{Addrs: []string{addr}}).Partition(topic, 0)
			must(t, part.Acquire(t.Context()))
			for sequence := uint64(1); sequence < late; sequence++ {
				must(t, part.Commit(t.Context(), number(sequence)))
			}
			var acquired error
			var before []string
			race := func() {
				acquired = heir.Acquire(t.Context())
				before = dumped(t, raw)
			}
			p.beforeTransaction.Store(&race)
			if err := part.Commit(t.Context(), number(late)); !errors.Is(err, stage.ErrFenced) {
				t.Errorf("got %v, want ErrFenced", err)
			}
			must(t, acquired)
			if p.beforeTransaction.Load() != nil {
				t.Fatal("the commit was not applied by a transaction")
			}
			if after := dumped(t, raw); !slices.Equal(before, after) {
				t.Errorf("the late commit changed %q to %q", before, after)
			}
			must(t, heir.Commit(t.Context(), number(late)))
		})
	}
}

// TestChangedSinceTheLook changes a key other than the token between look and EXEC: the commit
// looks again, and what it writes fits what is there.
func TestChangedSinceTheLook(t *testing.T) {
	for name, change := range map[string]struct {
		by   func(ctx context.Context, raw *redis.Client) error
		want string // in the error; empty: none
	}{
		"an owner's count": {func(ctx context.Context, raw *redis.Client) error {
			return raw.HIncrBy(ctx, metaKey, "owners", 1).Err()
		}, ""},
		"the ring's type":   {func(ctx context.Context, raw *redis.Client) error { return raw.Set(ctx, keys[1], "not ours", 0).Err() }, "WRONGTYPE"},
		"the buckets' type": {func(ctx context.Context, raw *redis.Client) error { return raw.Set(ctx, keys[2], "not ours", 0).Err() }, "WRONGTYPE"},
	} {
		t.Run(name, func(t *testing.T) {
			addr := serverstest.Redis(t)
			p, raw := startProxy(t, addr), rawClient(t, addr)
			part := dial(t, statestore.Options{Addrs: []string{p.addr()}}).Partition(topic, 0)
			must(t, part.Acquire(t.Context()))
			must(t, part.Commit(t.Context(), number(1)))
			var changed error
			race := func() { changed = change.by(t.Context(), raw) }
			p.beforeTransaction.Store(&race)
			err := part.Commit(t.Context(), number(2))
			must(t, changed)
			want := "2"
			if change.want != "" {
				want = "1" // nothing of it
			}
			if (err == nil) != (change.want == "") || err != nil && !strings.Contains(err.Error(), change.want) {
				t.Errorf("got %v, want %q", err, change.want)
			}
			if got := raw.HGet(t.Context(), metaKey, "seq").Val(); got != want {
				t.Errorf("sequence %s is stored, want %s", got, want)
			}
		})
	}
}

// dumped is everything that is stored of the partition.
func dumped(t *testing.T, raw *redis.Client) []string {
	t.Helper()
	var all []string
	for _, key := range keys {
		dump, err := raw.Dump(context.Background(), key).Result()
		if err != nil && !errors.Is(err, redis.Nil) {
			t.Error(err)
		}
		all = append(all, dump)
	}
	return all
}

// TestOutOfMemory fills Redis; the commit is repeated until there is room, and
// what Redis refused has left nothing behind.
func TestOutOfMemory(t *testing.T) {
	addr := serverstest.Redis(t)
	raw := rawClient(t, addr)
	var retries atomic.Int32
	var before map[string]string
	var atRetry error
	part := dial(t, statestore.Options{Addrs: []string{addr}, OnRetry: func(r statestore.Retry) {
		if retries.Add(1) < 3 {
			return
		}
		after, err := raw.HGetAll(context.Background(), metaKey).Result()
		if err == nil && !reflect.DeepEqual(after, before) {
			err = fmt.Errorf("a refused commit changed meta from %v to %v", before, after)
		}
		if r.Operation != "commit" || r.Partition != topic+"/0" || !strings.Contains(r.Err.Error(), "OOM") {
			err = fmt.Errorf("told of %+v", r)
		}
		atRetry = errors.Join(err, raw.ConfigSet(context.Background(), "maxmemory", "0").Err())
	}}).Partition(topic, 0)
	must(t, part.Acquire(t.Context()))
	before, err := raw.HGetAll(t.Context(), metaKey).Result()
	must(t, err)
	for sequence := uint64(1); sequence <= 2; sequence++ { // the first is the one that clears what was left
		retries.Store(0)
		must(t, raw.ConfigSet(t.Context(), "maxmemory", "1").Err())
		must(t, part.Commit(t.Context(), number(sequence)))
		must(t, atRetry)
		if retries.Load() < 3 {
			t.Errorf("commit %d went through while Redis was out of memory", sequence)
		}
		before, err = raw.HGetAll(t.Context(), metaKey).Result()
		must(t, err)
	}
	got, err := part.Load(t.Context())
	must(t, err)
	if got.Sequence != 2 || len(got.Ring) != 2 {
		t.Errorf("loaded sequence %d with %d deltas, want 2 of each", got.Sequence, len(got.Ring))
	}
}

func TestScriptsComeBackAfterFlush(t *testing.T) {
	addr := serverstest.Redis(t)
	raw := rawClient(t, addr)
	part := dial(t, statestore.Options{Addrs: []string{addr}, OnRetry: func(r statestore.Retry) {
		t.Errorf("a flushed script cache took a retry: %v", r.Err)
	}}).Partition(topic, 0)
	for sequence := uint64(1); sequence <= 3; sequence++ {
		must(t, raw.ScriptFlush(t.Context()).Err())
		if sequence == 1 {
			must(t, part.Acquire(t.Context()))
		}
		must(t, part.Commit(t.Context(), number(sequence)))
	}
}

// TestRestart kills Redis under an owner; what it had in memory is gone, the
// token too.
func TestRestart(t *testing.T) {
	server := serverstest.StartRedis(t, servers.RedisOptions{})
	_, port, err := net.SplitHostPort(server.Addr())
	must(t, err)
	retried := make(chan struct{}, 100)
	client := dial(t, statestore.Options{Addrs: []string{server.Addr()}, OnRetry: func(statestore.Retry) {
		select {
		case retried <- struct{}{}:
		default:
		}
	}})
	part := client.Partition(topic, 0)
	must(t, part.Acquire(t.Context()))
	must(t, part.Commit(t.Context(), number(1)))
	must(t, server.Kill())
	if err := client.Ping(t.Context()); err == nil || !strings.Contains(err.Error(), server.Addr()) {
		t.Errorf("ping of a dead Redis: got %v, want an error that names %s", err, server.Addr())
	}
	committed := make(chan error, 1)
	go func() { committed <- part.Commit(t.Context(), number(2)) }()
	<-retried
	again := serverstest.StartRedis(t, servers.RedisOptions{Port: mustInt(t, port)})
	if err := <-committed; !errors.Is(err, stage.ErrFenced) {
		t.Errorf("a commit on an emptied Redis: got %v, want ErrFenced", err)
	}
	must(t, part.Acquire(t.Context()))
	if got, err := part.Load(t.Context()); err != nil || got.Meta != nil {
		t.Errorf("an emptied Redis loads as %+v, %v", got, err)
	}
	_ = again
}

func TestContextEndsRetries(t *testing.T) {
	server := serverstest.StartRedis(t, servers.RedisOptions{})
	stop := errors.New("asked to stop")
	ctx, cancel := context.WithCancelCause(t.Context())
	defer cancel(nil)
	part := dial(t, statestore.Options{Addrs: []string{server.Addr()}, OnRetry: func(r statestore.Retry) {
		if r.Attempt == 2 {
			cancel(stop)
		}
	}}).Partition(topic, 0)
	must(t, part.Acquire(t.Context()))
	must(t, server.Kill())
	err := part.Commit(ctx, number(1))
	if !errors.Is(err, stop) || errors.Is(err, stage.ErrFenced) || !strings.Contains(err.Error(), server.Addr()) {
		t.Errorf("got %v, want the context's cause and the address", err)
	}
}

// TestTokenIsNeverDrawnTwice wipes in between, which sets the count of owners back.
func TestTokenIsNeverDrawnTwice(t *testing.T) {
	addr := serverstest.Redis(t)
	raw := rawClient(t, addr)
	part := dial(t, statestore.Options{Addrs: []string{addr}}).Partition(topic, 0)
	seen := map[string]bool{}
	for range 5 {
		must(t, part.Acquire(t.Context()))
		token, err := raw.HGet(t.Context(), metaKey, "token").Result()
		must(t, err)
		if !strings.HasPrefix(token, "1:") || seen[token] {
			t.Errorf("drew token %q, seen before: %t", token, seen[token])
		}
		seen[token] = true
		must(t, part.Wipe(t.Context()))
	}
}

// TestRollback puts an older copy of the keys back, as a stale replica does.
func TestRollback(t *testing.T) {
	addr := serverstest.Redis(t)
	raw := rawClient(t, addr)
	client := dial(t, statestore.Options{Addrs: []string{addr}})
	owner, heir := client.Partition(topic, 0), client.Partition(topic, 0)
	must(t, owner.Acquire(t.Context()))
	must(t, owner.Commit(t.Context(), number(1)))
	dumps := map[string]string{}
	for _, key := range keys {
		var err error
		dumps[key], err = raw.Dump(t.Context(), key).Result()
		must(t, err)
	}
	must(t, owner.Commit(t.Context(), number(2)))
	must(t, heir.Acquire(t.Context()))
	for key, dump := range dumps {
		must(t, raw.RestoreReplace(t.Context(), key, 0, dump).Err())
	}
	// The counter is back where heir's token was drawn from; a new one differs.
	must(t, client.Partition(topic, 0).Acquire(t.Context()))
	for name, part := range map[string]*statestore.Partition{"owner": owner, "heir": heir} {
		if err := part.Commit(t.Context(), number(2)); !errors.Is(err, stage.ErrFenced) {
			t.Errorf("%s commits after a rollback: got %v, want ErrFenced", name, err)
		}
	}
	must(t, heir.Acquire(t.Context()))
	got, err := heir.Load(t.Context())
	must(t, err)
	if got.Sequence != 1 || len(got.Ring) != 1 {
		t.Errorf("loaded sequence %d with %d deltas after a rollback, want 1 of each", got.Sequence, len(got.Ring))
	}
}

// TestLostKeys damages what is stored in ways that no commit does.
func TestLostKeys(t *testing.T) {
	meta, ring, seg := keys[0], keys[1], keys[2]
	for name, damage := range map[string]func(ctx context.Context, raw *redis.Client) error{
		"ring gone":          func(ctx context.Context, raw *redis.Client) error { return raw.Del(ctx, ring).Err() },
		"delta gone":         func(ctx context.Context, raw *redis.Client) error { return raw.LPop(ctx, ring).Err() },
		"delta too many":     func(ctx context.Context, raw *redis.Client) error { return raw.RPush(ctx, ring, "x").Err() },
		"offset gone":        func(ctx context.Context, raw *redis.Client) error { return raw.HDel(ctx, meta, "offset").Err() },
		"meta gone":          func(ctx context.Context, raw *redis.Client) error { return raw.HDel(ctx, meta, "meta").Err() },
		"sequence no number": func(ctx context.Context, raw *redis.Client) error { return raw.HSet(ctx, meta, "seq", "3.0").Err() },
		"ring in the future": func(ctx context.Context, raw *redis.Client) error {
			return raw.HSet(ctx, meta, "ring_first", "5").Err()
		},
		"foreign bucket": func(ctx context.Context, raw *redis.Client) error { return raw.HSet(ctx, seg, "x", "y").Err() },
	} {
		t.Run(name, func(t *testing.T) {
			addr := serverstest.Redis(t)
			raw := rawClient(t, addr)
			part := dial(t, statestore.Options{Addrs: []string{addr}}).Partition(topic, 0)
			must(t, part.Acquire(t.Context()))
			for sequence := uint64(1); sequence <= 3; sequence++ {
				must(t, part.Commit(t.Context(), number(sequence)))
			}
			must(t, damage(t.Context(), raw))
			var corrupt *statestore.CorruptError
			if _, err := part.Load(t.Context()); !errors.As(err, &corrupt) || corrupt.Partition != topic+"/0" {
				t.Fatalf("got %v, want a CorruptError", err)
			}
			must(t, part.Wipe(t.Context()))
			must(t, part.Acquire(t.Context()))
			must(t, part.Commit(t.Context(), number(1)))
		})
	}
}

// TestLeftoversAreCleared loses meta alone: the state is then empty, and the
// first commit must not build on an old snapshot.
func TestLeftoversAreCleared(t *testing.T) {
	addr := serverstest.Redis(t)
	part := dial(t, statestore.Options{Addrs: []string{addr}}).Partition(topic, 0)
	must(t, part.Acquire(t.Context()))
	for sequence := uint64(1); sequence <= 3; sequence++ {
		must(t, part.Commit(t.Context(), number(sequence)))
	}
	must(t, rawClient(t, addr).Del(t.Context(), metaKey).Err())
	must(t, part.Acquire(t.Context()))
	if got, err := part.Load(t.Context()); err != nil || got.Meta != nil || got.Buckets != nil {
		t.Fatalf("without meta it loads as %+v, %v", got, err)
	}
	must(t, part.Commit(t.Context(), number(1)))
	got, err := part.Load(t.Context())
	must(t, err)
	if len(got.Buckets) != 1 || len(got.Ring) != 1 {
		t.Errorf("loaded %d buckets and %d deltas, want only those of the one commit", len(got.Buckets), len(got.Ring))
	}
}

// TestWrongTypeFailsBeforeWriting has a key that the last step of a commit
// cannot write.
func TestWrongTypeFailsBeforeWriting(t *testing.T) {
	addr := serverstest.Redis(t)
	raw := rawClient(t, addr)
	for _, key := range keys[1:] {
		part := dial(t, statestore.Options{Addrs: []string{addr}}).Partition(topic, 0)
		must(t, part.Acquire(t.Context()))
		must(t, raw.Set(t.Context(), key, "not ours", 0).Err())
		before, err := raw.HGetAll(t.Context(), metaKey).Result()
		must(t, err)
		if err := part.Commit(t.Context(), number(1)); err == nil || !strings.Contains(err.Error(), "WRONGTYPE") {
			t.Errorf("got %v, want WRONGTYPE", err)
		}
		after, err := raw.HGetAll(t.Context(), metaKey).Result()
		must(t, err)
		if !reflect.DeepEqual(before, after) {
			t.Errorf("a failed commit changed meta from %v to %v", before, after)
		}
		must(t, part.Wipe(t.Context()))
	}
}

func TestLimits(t *testing.T) {
	part := dial(t, statestore.Options{Addrs: []string{serverstest.Redis(t)}}).Partition(topic, 0)
	must(t, part.Acquire(t.Context()))
	var limit *statestore.LimitError
	c := number(1)
	c.Delta = make([]byte, statestore.MaxCommitBytes)
	if err := part.Commit(t.Context(), c); !errors.As(err, &limit) || limit.Max != statestore.MaxCommitBytes {
		t.Errorf("got %v, want a LimitError in bytes", err)
	}
	c = number(1)
	c.Buckets = make([]stage.Bucket, statestore.MaxCommitBuckets+1)
	if err := part.Commit(t.Context(), c); !errors.As(err, &limit) || limit.Max != statestore.MaxCommitBuckets {
		t.Errorf("got %v, want a LimitError in buckets", err)
	}
	// The largest commit that is allowed goes through.
	c = number(1)
	c.Delta = make([]byte, statestore.MaxCommitBytes-len(c.Meta)-len(c.Buckets[0].Value))
	must(t, part.Commit(t.Context(), c))
	got, err := part.Load(t.Context())
	must(t, err)
	if len(got.Ring) != 1 || len(got.Ring[0]) != len(c.Delta) {
		t.Error("the largest commit was not loaded whole")
	}
}

func TestRetryIsReadableInJSON(t *testing.T) {
	var out strings.Builder
	r := statestore.Retry{Partition: topic + "/0", Operation: "commit", Attempt: 2, Wait: time.Second, Err: errors.New("connection refused")}
	slog.New(slog.NewJSONHandler(&out, nil)).Warn("Redis: trying again", "retry", r)
	for _, want := range []string{topic + "/0", "commit", "connection refused"} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("%s does not say %q", out.String(), want)
		}
	}
}
