// Package stage is the loop that every service runs: read, step, publish,
// commit. It owns the small interfaces that the loop needs; bus, statestore and
// warehouse implement them on Kafka, Redis and ClickHouse.
//
// A loop starts no goroutine, and waits nowhere but in these interfaces, a Clock's
// Sleep included: the simulation (sim/world), which owns them, so owns every
// interleaving. Whoever adds a channel or a timer here takes that away.
package stage

import (
	"context"
	"errors"
	"time"

	"settlewatch/pipelines/join"
)

// Record is one Kafka record. TimeMs is the batch's append time where the topic
// uses the broker's clock, else the producer's timestamp.
type Record struct {
	Key, Value []byte
	Headers    []Header
	TimeMs     int64
	Offset     int64
}

// Header is one record header.
type Header struct {
	Key   string
	Value []byte
}

// Batch is the reply to one fetch. Records may be empty though more lie ahead:
// an empty reply is not the end, only Next >= HighWatermark is.
type Batch struct {
	Records []Record
	// Next is the offset to fetch from afterwards; it may be past the last
	// record's (control records, compaction).
	Next          int64
	HighWatermark int64
	LogStart      int64
}

// ErrOffsetOutOfRange is a fetch below the log's start or above its end.
var ErrOffsetOutOfRange = errors.New("offset out of range")

// ErrTimeAhead is an Append that the log refuses because a record's time is too far
// ahead of the log's own clock. It passes when a clock is set, or with time.
var ErrTimeAhead = errors.New("the time of a record is too far ahead")

// ErrDrained comes from a Reader that gives nothing more because its service is
// asked to end. Load inserts what it has collected and returns nil; the other loops
// have committed all they read by then, and return it.
var ErrDrained = errors.New("nothing more is read")

// Reader reads one partition from an offset. It waits up to maxWait for data and
// returns an empty batch when there is none. Only committed records come back:
// aborted transactions are left out. The records' memory is the caller's until
// the next Fetch on the same Reader.
type Reader interface {
	Fetch(ctx context.Context, offset int64, maxWait time.Duration) (Batch, error)
	// Bounds are the first offset that exists and the one after the last.
	Bounds(ctx context.Context) (first, end int64, err error)
	Close() error
}

// Outgoing is what one Append brings to one partition.
type Outgoing struct {
	Topic     string
	Partition int32
	Records   []Record
}

// Log opens partitions and appends to them.
type Log interface {
	Open(topic string, partition int32) (Reader, error)
	// Append returns when all records are acknowledged by all in-sync replicas. It
	// names each partition at most once: records of one keep their order, and
	// between partitions there is none. Retries inside keep the order and may repeat
	// records. A returned error is final: any of the records may be in the log, and
	// the caller must stop and start again from what it committed. The records'
	// memory is the caller's again when Append returns.
	Append(ctx context.Context, batches ...Outgoing) error
	// Partitions of a topic.
	Partitions(ctx context.Context, topic string) (int, error)
}

// Assignment is one partition that a consumer group gave to this member.
type Assignment struct {
	Topic     string
	Partition int32
	// Offset committed by the group; None when there is none: start at the
	// first record, never at the latest.
	Offset int64
	// Commit stores the next offset to read. It fails when the assignment is over.
	Commit func(ctx context.Context, offset int64) error
}

// None is the committed offset of a group that has not committed.
const None int64 = -1

// Group spreads partitions over the members of a consumer group. Run calls own
// in a goroutine of its own for each assigned partition, with a context that
// ends with the assignment, and returns when ctx is done (nil) or an own fails.
type Group interface {
	Run(ctx context.Context, own func(ctx context.Context, a Assignment) error) error
}

// ErrFenced is a commit by an owner that another one has replaced.
var ErrFenced = errors.New("fenced by another owner")

// ErrTooLarge is a commit that the store does not take for its size. The same payments
// fit in several smaller ones.
var ErrTooLarge = errors.New("the commit is too large")

// Commit is what one batch leaves in the state store, applied whole or not at all.
type Commit struct {
	Sequence   uint64 // stored + 1
	FromOffset int64  // the stored offset
	ToOffset   int64
	Meta       []byte
	// Delta is pushed to the ring: what the batch changed, in order.
	Delta []byte
	// Buckets are rewritten in the snapshot; an empty value removes one.
	Buckets []Bucket
	// TrimTo drops ring entries with a sequence below it.
	TrimTo uint64
}

// Bucket is one packed part of the snapshot, as the join makes it and takes it.
type Bucket = join.Bucket

// Stored is what the state store holds of one partition.
type Stored struct {
	Sequence uint64
	Offset   int64
	Meta     []byte // nil: nothing is stored
	Buckets  []Bucket
	// Ring holds the deltas of sequences RingFirst, RingFirst+1, …
	RingFirst uint64
	Ring      [][]byte
}

// State keeps the joiner's state of one log partition.
type State interface {
	// Acquire draws a new owner's token, which fences every earlier owner.
	Acquire(ctx context.Context) error
	// Load reads everything; it looks at token and sequence again at the end and
	// starts over when they changed.
	Load(ctx context.Context) (Stored, error)
	// Commit applies c once, also when called again after a lost reply. What c holds is
	// the caller's memory again when it returns. It
	// returns ErrFenced when token, sequence or offset are not the stored ones, and
	// ErrTooLarge, having stored nothing, for one above the store's bound.
	Commit(ctx context.Context, c Commit) error
	// Restore stores a whole state, as Load gives it, where nothing is stored, and
	// is applied whole or not at all. It returns ErrFenced when the token is not the
	// stored one, or something is stored.
	Restore(ctx context.Context, s Stored) error
}

// Clock tells the time; tests and the simulation inject their own.
type Clock interface {
	Now() time.Time
	// Sleep returns after d, or with the context's error when that ends first.
	Sleep(ctx context.Context, d time.Duration) error
}
