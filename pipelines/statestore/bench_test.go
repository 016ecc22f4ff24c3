package statestore_test

import (
	"fmt"
	"strconv"
	"strings"
	"testing"

	"github.com/alicebob/miniredis/v2"
	"github.com/redis/go-redis/v9"

	"settlewatch/pipelines/servers/serverstest"
	"settlewatch/pipelines/stage"
	"settlewatch/pipelines/statestore"
)

// A commit of some 3,000 events: 200 KB of changed states and six buckets of
// 10 KB. The ring is kept at 32 MB.
const (
	deltaBytes, bucketBytes = 200 << 10, 10 << 10
	bucketsPerCommit        = 6
	ringDeltas              = (32 << 20) / deltaBytes
	snapshotBuckets         = 8_192 // 80 MB: about a million open payments
)

var benched = map[string]func(b *testing.B) string{
	"redis":     func(b *testing.B) string { return serverstest.Redis(b) },
	"miniredis": func(b *testing.B) string { return miniredis.RunT(b).Addr() },
}

func BenchmarkCommit(b *testing.B) {
	for name, start := range benched {
		b.Run(name, func(b *testing.B) {
			part := dial(b, statestore.Options{Addrs: []string{start(b)}}).Partition(topic, 0)
			must(b, part.Acquire(b.Context()))
			b.SetBytes(deltaBytes + bucketsPerCommit*bucketBytes)
			b.ReportAllocs()
			for sequence := uint64(1); b.Loop(); sequence++ {
				must(b, part.Commit(b.Context(), heavy(sequence, bucketsPerCommit)))
			}
		})
	}
}

// BenchmarkCommitServer tells what a commit of a full load costs Redis: 0.4 MB of changes and 1.2 MB of
// buckets, in CPU time of its process, which does not depend on what else the machine does.
func BenchmarkCommitServer(b *testing.B) {
	addr := serverstest.Redis(b)
	raw := rawClient(b, addr)
	part := dial(b, statestore.Options{Addrs: []string{addr}}).Partition(topic, 0)
	must(b, part.Acquire(b.Context()))
	const deltas, buckets = 64, 48
	changes, packed := make([]byte, 400<<10), make([]byte, 25<<10)
	b.SetBytes(int64(len(changes) + buckets*len(packed)))
	before := serverCPU(b, raw)
	commits := 0
	for sequence := uint64(1); b.Loop(); sequence++ {
		c := number(sequence)
		c.Delta, c.Buckets = changes, nil
		for i := range buckets {
			c.Buckets = append(c.Buckets, stage.Bucket{Index: (int(sequence)*buckets + i) % (16 * buckets), Value: packed})
		}
		if sequence > deltas {
			c.TrimTo = sequence - deltas
		}
		must(b, part.Commit(b.Context(), c))
		commits++
	}
	b.ReportMetric((serverCPU(b, raw)-before)*1e6/float64(commits), "redis-cpu-µs/commit")
}

// serverCPU is the CPU time that Redis has used, in seconds.
func serverCPU(b *testing.B, raw *redis.Client) float64 {
	b.Helper()
	info, err := raw.Info(b.Context(), "cpu").Result()
	must(b, err)
	var seconds float64
	for line := range strings.Lines(info) {
		name, value, _ := strings.Cut(strings.TrimSpace(line), ":")
		if name == "used_cpu_user" || name == "used_cpu_sys" {
			used, err := strconv.ParseFloat(value, 64)
			must(b, err)
			seconds += used
		}
	}
	return seconds
}

// BenchmarkLoad takes over a partition with a full ring and a full snapshot.
func BenchmarkLoad(b *testing.B) {
	for name, start := range benched {
		b.Run(name, func(b *testing.B) {
			part := dial(b, statestore.Options{Addrs: []string{start(b)}}).Partition(topic, 0)
			must(b, part.Acquire(b.Context()))
			for sequence := uint64(1); sequence <= ringDeltas; sequence++ {
				must(b, part.Commit(b.Context(), heavy(sequence, snapshotBuckets/ringDeltas+1)))
			}
			b.SetBytes(deltaBytes*ringDeltas + bucketBytes*snapshotBuckets)
			b.ReportAllocs()
			for b.Loop() {
				got, err := part.Load(b.Context())
				must(b, err)
				if len(got.Buckets) != snapshotBuckets || len(got.Ring) != ringDeltas {
					b.Fatal(fmt.Errorf("loaded %d buckets and %d deltas", len(got.Buckets), len(got.Ring)))
				}
			}
		})
	}
}

var delta, bucket = make([]byte, deltaBytes), make([]byte, bucketBytes)

func heavy(sequence uint64, buckets int) stage.Commit {
	c := number(sequence)
	c.Delta, c.Buckets = delta, nil
	for i := range buckets {
		c.Buckets = append(c.Buckets, stage.Bucket{Index: (int(sequence)*buckets + i) % snapshotBuckets, Value: bucket})
	}
	if sequence > ringDeltas {
		c.TrimTo = sequence - ringDeltas
	}
	return c
}
