// Package topic lists every Kafka topic: name, key, partitions, retention. One
// place, so that a service, the local stack, a document and a test agree.
package topic

// Topic describes one topic. Partitions is what a fresh installation creates;
// the payment log's number never changes in its life.
type Topic struct {
	Name       string
	Key        string // what the record key is, for people
	Partitions int
	// RetentionMs is Kafka's retention.ms; -1 keeps everything.
	RetentionMs int64
	Compacted   bool
	About       string
}

// RetainAll is the retention of topics that are replayed from their beginning.
const RetainAll int64 = -1

// Topics of the product.
var (
	RawAuthorization = Topic{
		Name: "raw.authorization.v1", Key: "any", Partitions: 2, RetentionMs: RetainAll,
		About: "authorizations, reversals and voids as the host reports them",
	}
	RawCapture = Topic{
		Name: "raw.capture.v1", Key: "any", Partitions: 2, RetentionMs: RetainAll,
		About: "captures, completions, offline advices, refunds and amount adjustments",
	}
	RawSettlement = Topic{
		Name: "raw.settlement.v1", Key: "any", Partitions: 2, RetentionMs: RetainAll,
		About: "settlement lines, what takes them back, credit adjustments, disputes, holds",
	}
	Config = Topic{
		Name: "config.v1", Key: "none", Partitions: 1, RetentionMs: RetainAll,
		About: "rules, calendars' versions and expected sources; the offset is the number",
	}
	PaymentLog = Topic{
		Name: "payment-log.v1", Key: "payment key", Partitions: 4, RetentionMs: RetainAll,
		About: "the one ordered log: events, marks and configuration",
	}
	DeadLetters = Topic{
		Name: "dead-letters.v1", Key: "source topic/partition", Partitions: 1, RetentionMs: RetainAll,
		About: "what could not be read, with its place, field path and reason; card numbers masked",
	}
	AlertsPaidUnsettled = Topic{
		Name: "alerts.paid-unsettled.v1", Key: "payment key", Partitions: 4, RetentionMs: RetainAll,
		About: "revisions of paid-unsettled alerts",
	}
	AlertsSettledTwice = Topic{
		Name: "alerts.settled-twice.v1", Key: "payment key", Partitions: 4, RetentionMs: RetainAll,
		About: "revisions of settled-twice alerts",
	}
	Payments = Topic{
		Name: "payments.v1", Key: "payment key and life, placed by the payment key", Partitions: 4, RetentionMs: RetainAll, Compacted: true,
		About: "the latest judgement of every life of a payment",
	}
	Checkpoints = Topic{
		Name: "checkpoints.v1", Key: "log partition, slot and chunk, placed by the log partition", Partitions: 4, RetentionMs: RetainAll, Compacted: true,
		About: "whole states of the joiner at one offset, by which a lost Redis comes back",
	}
)

// All topics in the order of the flow.
var All = []Topic{
	RawAuthorization, RawCapture, RawSettlement, Config, PaymentLog, DeadLetters,
	AlertsPaidUnsettled, AlertsSettledTwice, Payments, Checkpoints,
}

// ReadBy names the ingest service that reads a raw topic; false for other topics.
func ReadBy(raw string) (service string, known bool) {
	switch raw {
	case RawAuthorization.Name:
		return "authorization", true
	case RawCapture.Name:
		return "capture", true
	case RawSettlement.Name:
		return "settlement", true
	}
	return "", false
}

// Partition places a key as the Java client does: murmur2, sign bit cleared,
// modulo n. The payment log is placed by it; a subscriber can do the same.
func Partition(key []byte, n int) int32 {
	return int32(murmur2(key)&0x7fffffff) % int32(n)
}

func murmur2(data []byte) uint32 {
	const (
		seed = uint32(0x9747b28c)
		m    = uint32(0x5bd1e995)
		r    = 24
	)
	h := seed ^ uint32(len(data))
	for len(data) >= 4 {
		k := uint32(data[0]) | uint32(data[1])<<8 | uint32(data[2])<<16 | uint32(data[3])<<24
		k *= m
		k ^= k >> r
		k *= m
		h *= m
		h ^= k
		data = data[4:]
	}
	switch len(data) {
	case 3:
		h ^= uint32(data[2]) << 16
		fallthrough
	case 2:
		h ^= uint32(data[1]) << 8
		fallthrough
	case 1:
		h ^= uint32(data[0])
		h *= m
	}
	h ^= h >> 13
	h *= m
	h ^= h >> 15
	return h
}
