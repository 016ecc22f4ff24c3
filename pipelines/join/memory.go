package join

import "sync"

// spare is the memory of commits that are stored, for whichever partition commits next:
// a backlog's commits are megabytes, and of dozens of partitions few are in the middle of
// one. The garbage collector takes what nobody asks for.
var spare sync.Pool // of *[]byte

// keptBytes is how much memory a partition keeps for itself: a quiet one's commits.
const keptBytes = 64 << 10

// lend gives memory for n bytes, maybe of another partition.
func lend(own []byte, n int) []byte {
	if n <= cap(own) {
		return own[:0]
	}
	if b, is := spare.Get().(*[]byte); is {
		if n <= cap(*b) {
			return (*b)[:0]
		}
		spare.Put(b)
	}
	return make([]byte, 0, n)
}

// giveBack is what a partition keeps of memory that it has no use for just now.
func giveBack(own []byte) []byte {
	if cap(own) <= keptBytes {
		return own[:0]
	}
	own = own[:0]
	spare.Put(&own)
	return nil
}
