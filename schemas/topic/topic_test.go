package topic

import (
	"regexp"
	"strings"
	"testing"
)

// The expected hashes are those of the Java client's own test.
func TestPartitionIsTheJavaClients(t *testing.T) {
	for key, want := range map[string]int32{
		"21":                         -973932308,
		"foobar":                     -790332482,
		"a-little-bit-long-string":   -985981536,
		"a-little-bit-longer-string": -1486304829,
		"lkjh234lh9fiuh90y23oiuhsafujhadof229phr9h19h89h8": -58897971,
		"abc": 479470107,
	} {
		if got := int32(murmur2([]byte(key))); got != want {
			t.Errorf("murmur2(%q) = %d, want %d", key, got, want)
		}
		for _, n := range []int{1, 2, 4, 7, 64} {
			if got, want := Partition([]byte(key), n), (want&0x7fffffff)%int32(n); got != want {
				t.Errorf("Partition(%q, %d) = %d, want %d", key, n, got, want)
			}
		}
	}
}

func FuzzPartitionIsInRange(f *testing.F) {
	f.Add([]byte("umpay|o|1"), uint16(4))
	f.Add([]byte{}, uint16(1))
	f.Add([]byte{0xff, 0xff, 0xff}, uint16(3))
	f.Fuzz(func(t *testing.T, key []byte, n uint16) {
		if n == 0 {
			return
		}
		if got := Partition(key, int(n)); got < 0 || got >= int32(n) {
			t.Errorf("Partition(%q, %d) = %d is outside", key, n, got)
		}
	})
}

// A subscriber's position and the state of a partition depend on these figures.
func TestEveryTopicIsDescribedOnce(t *testing.T) {
	name := regexp.MustCompile(`^[a-z0-9]+([.-][a-z0-9]+)*\.v[1-9][0-9]*$`)
	seen := map[string]bool{}
	for _, topic := range All {
		if !name.MatchString(topic.Name) {
			t.Errorf("%s: not lower case words that end in a version", topic.Name)
		}
		if seen[topic.Name] {
			t.Errorf("%s: listed twice", topic.Name)
		}
		seen[topic.Name] = true
		if topic.Partitions < 1 || topic.Key == "" || topic.About == "" {
			t.Errorf("%s: partitions, key or what it is about is missing", topic.Name)
		}
		if topic.RetentionMs != RetainAll {
			t.Errorf("%s: retention.ms is %d: a log that is replayed keeps everything", topic.Name, topic.RetentionMs)
		}
		if topic.Compacted && topic.Key == "none" {
			t.Errorf("%s: compacted without a key", topic.Name)
		}
	}
	if Config.Partitions != 1 {
		t.Error("a CONFIG record's offset is its number: its topic has one partition")
	}
	for _, alerts := range All {
		if strings.HasPrefix(alerts.Name, "alerts.") && alerts.Key != PaymentLog.Key {
			t.Errorf("%s: key is %q, the log's is %q", alerts.Name, alerts.Key, PaymentLog.Key)
		}
	}
}
