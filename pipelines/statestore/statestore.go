// Package statestore keeps the joiner's state of each log partition in Redis. It
// is the only package that imports go-redis.
//
// What enters: one stage.Commit per batch, from the owner of a partition. What
// leaves: everything that was committed, when a partition is taken over
// (Partition.Load), and one payment's bucket with the deltas behind it, for
// readers from outside (Partition.ReadBucket, Partition.ReadRingTail).
//
// # Layout
//
// A partition has three keys, all under the hash tag {<log>/<partition>}, so
// that one slot of a Redis Cluster holds them and one transaction may touch them:
//
//	sw:{payment-log.v1/3}:meta   hash
//	    owners      how often a token was drawn
//	    token       "<owners>:<random>" of the owner
//	    seq         sequence of the last commit, from 1; absent: nothing is stored
//	    offset      the next log offset to read
//	    meta        the joiner's own bytes (frontier, CONFIG, sources, checksum)
//	    ring_first  sequence of the ring's first delta
//	sw:{payment-log.v1/3}:ring   list, one packed delta for each commit from
//	                             ring_first to seq, oldest first
//	sw:{payment-log.v1/3}:seg    hash, bucket index → packed bucket (the snapshot)
//
// The snapshot is rewritten a few buckets at a time, so a bucket is older than
// seq; the ring holds all that happened since. State = snapshot, then ring.
// None of the keys has a time to live, and Dial refuses a Redis that evicts: a
// key that Redis drops by itself is lost state.
//
// # Guarantees
//
//   - A commit is applied whole or not at all, and once, by one transaction. All
//     three keys are watched before they are looked at, so that Redis drops the
//     transaction when anything has changed since: a new owner's token, a key's
//     type, the length of the ring. What Redis refuses (memory, disk, a replica)
//     it refuses before it applies any of it. It does not undo what it has
//     written when a later command fails, so types are looked at before. A script
//     would do the same, but Redis hashes and copies what is handed to one, which
//     cost it more than all else that a commit is.
//   - A commit is applied only if the caller's token is the stored one, its
//     sequence follows the stored one, and it starts at the stored offset. The
//     three mask each other's mistakes; each is needed on its own: the token
//     against a zombie, sequence and offset against a Redis that was rolled back
//     together with its token.
//   - The same commit may be sent any number of times: "already done" is
//     answered only if token, sequence and to-offset are the stored ones.
//   - A token is a counter and a random number. The counter alone would repeat
//     after a rollback or a wipe of Redis. A missing token equals nothing, so
//     that a wiped partition fences its owner.
//   - Sequences and offsets travel and are compared as decimal strings: the numbers
//     of Lua, in which a whole state is restored, are doubles and lose whole numbers above 2^53.
//   - Everything is read from primaries.
//
// While Redis is away, out of memory or changing its primary, operations of a
// Partition are repeated unchanged until their context ends; Options.OnRetry
// tells of it. The package logs nothing.
package statestore
