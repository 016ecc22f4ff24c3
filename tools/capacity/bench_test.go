package capacity

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"settlewatch/pipelines/bus"
	"settlewatch/pipelines/join"
	"settlewatch/pipelines/servers"
	"settlewatch/pipelines/servers/serverstest"
	"settlewatch/pipelines/stage"
	"settlewatch/schemas/event"
	"settlewatch/schemas/ruleset"
	"settlewatch/schemas/topic"
	"settlewatch/tools/demo"
)

func TestMain(m *testing.M) { serverstest.Main(m) }

// manySources of three feeds, each with partitions.
func manySources(partitions int) []*event.ExpectedSource {
	var out []*event.ExpectedSource
	for _, feed := range []string{"authorization", "capture", "settlement"} {
		for p := range partitions {
			name := fmt.Sprintf("%s/raw.%s.v1/%d/bench@1", feed, feed, p)
			out = append(out, &event.ExpectedSource{Name: name, Clock: event.Clock_CLOCK_LIVE})
		}
	}
	return out
}

func markRecord(b *testing.B, source string, t int64) []byte {
	b.Helper()
	r := &event.LogRecord{
		Origin: &event.Origin{Source: source}, ArrivalMs: t,
		Body: &event.LogRecord_Mark{Mark: &event.Mark{TMs: t, Configs: 1}},
	}
	value, err := r.MarshalVT()
	if err != nil {
		b.Fatal(err)
	}
	return value
}

// BenchmarkMark is what a mark costs the joiner: the frontier is the least of all
// sources of a group, so it grows with them.
func BenchmarkMark(b *testing.B) {
	for _, partitions := range []int{1, 8, 64} {
		b.Run(fmt.Sprintf("sources=%d", 3*partitions), func(b *testing.B) {
			sources := manySources(partitions)
			abilities, err := demo.Abilities()
			if err != nil {
				b.Fatal(err)
			}
			config := ruleset.Default(abilities, sources...)
			first, err := (&event.LogRecord{
				Origin: &event.Origin{Source: "config/config.v1/0/config@1"}, Body: &event.LogRecord_Config{Config: config},
			}).MarshalVT()
			if err != nil {
				b.Fatal(err)
			}
			records := [][]byte{first}
			for round := 1; len(records) < 100_000; round++ {
				for _, s := range sources {
					records = append(records, markRecord(b, s.Name, int64(round)*250))
				}
			}
			var state *join.State
			out, n, began := join.Output{}, 0, ownSeconds(b)
			for b.Loop() {
				if n%len(records) == 0 {
					state = join.New() // a mark that is no later than the last is cheaper
				}
				if err := state.Fold(records[n%len(records)], &out); err != nil {
					b.Fatal(err)
				}
				n++
			}
			b.ReportMetric((ownSeconds(b)-began)*1e6/float64(n), "cpu-µs/mark")
		})
	}
}

// processTicks of user and system time, from /proc.
func processTicks(b *testing.B, pid int) float64 {
	b.Helper()
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		b.Fatal(err)
	}
	fields := strings.Fields(string(text[bytes.LastIndexByte(text, ')')+1:]))
	user, _ := strconv.ParseFloat(fields[11], 64)
	system, err := strconv.ParseFloat(fields[12], 64)
	if err != nil {
		b.Fatal(err)
	}
	return (user + system) / 100
}

func ownSeconds(b *testing.B) float64 {
	b.Helper()
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		b.Fatal(err)
	}
	return float64(u.Utime.Nano()+u.Stime.Nano()) / 1e9
}

// BenchmarkAppend is what an append of one mark costs, on both sides, when a source
// marks all partitions at once; and how many bytes it takes on the broker's disk.
func BenchmarkAppend(b *testing.B) {
	dir := b.TempDir()
	kafka := serverstest.StartKafka(b, servers.KafkaOptions{Options: servers.Options{Dir: dir}})
	log, err := bus.Dial(b.Context(), bus.Options{Brokers: []string{kafka.Addr()}})
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(log.Close)
	const partitions, warm, rounds = 64, 40, 60
	name := serverstest.Name(b)
	if err := log.CreateTopics(b.Context(), []topic.Topic{{Name: name, Partitions: partitions, RetentionMs: topic.RetainAll}}, 1); err != nil {
		b.Fatal(err)
	}
	var batches []stage.Outgoing
	for p := range partitions {
		batches = append(batches, stage.Outgoing{Topic: name, Partition: int32(p), Records: []stage.Record{
			{Value: markRecord(b, manySources(1)[0].Name, 1_770_000_000_000)},
		}})
	}
	for b.Loop() {
		for range warm {
			if err := log.Append(b.Context(), batches...); err != nil {
				b.Fatal(err)
			}
		}
		client, broker := ownSeconds(b), processTicks(b, kafka.Pid())
		for range rounds {
			if err := log.Append(b.Context(), batches...); err != nil {
				b.Fatal(err)
			}
		}
		appends := float64(rounds * partitions)
		b.ReportMetric((ownSeconds(b)-client)/appends*1e6, "client-µs/append")
		b.ReportMetric((processTicks(b, kafka.Pid())-broker)/appends*1e6, "broker-µs/append")
	}
	var stored int64
	segments, err := filepath.Glob(filepath.Join(dir, "*", name+"-*", "*.log"))
	if err != nil {
		b.Fatal(err)
	}
	for _, s := range segments {
		info, err := os.Stat(s)
		if err != nil {
			b.Fatal(err)
		}
		stored += info.Size()
	}
	b.ReportMetric(float64(stored)/float64(b.N*(warm+rounds)*partitions), "stored-B/append")
}
