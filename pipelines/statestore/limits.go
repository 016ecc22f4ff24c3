package statestore

import (
	"fmt"
	"time"

	"settlewatch/pipelines/stage"
)

// All limits of the package.
const (
	// MaxCommitBytes bounds meta, delta and buckets of one commit together. Redis
	// looks at maxmemory before a transaction, which overshoots it by as much.
	MaxCommitBytes = 64 << 20
	// MaxCommitBuckets bounds the buckets of one commit, two arguments each of one
	// HSET; Redis takes at most 1,048,576 in one command.
	MaxCommitBuckets = 100_000

	bucketsPerRead = 256 // entries per HSCAN or HMGET; a bucket is some 10 KB
	deltasPerRead  = 16  // entries per LRANGE; a delta is some 200 KB
	// pageBytes is about what a Snapshot reads at a time: Redis answers nobody else
	// meanwhile, the owner's commit neither.
	pageBytes = 512 << 10
	// maxLoadAttempts ends a Load by a reader that is not the owner while the
	// owner commits faster than the reader reads.
	maxLoadAttempts = 100

	socketTimeout = 10 * time.Second
	retryFirst    = 20 * time.Millisecond
	retryLongest  = 2 * time.Second
)

// LimitError is a commit that is too large to be sent, a stage.ErrTooLarge: the
// caller must commit smaller batches.
type LimitError struct {
	What     string // what was counted, with its unit
	Got, Max int
}

func (e *LimitError) Error() string {
	return fmt.Sprintf("commit has %d %s, the limit is %d", e.Got, e.What, e.Max)
}

// Unwrap makes it a stage.ErrTooLarge.
func (e *LimitError) Unwrap() error { return stage.ErrTooLarge }
