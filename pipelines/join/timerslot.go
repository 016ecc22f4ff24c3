package join

// A timerSlot holds the far timers of a quarter of an hour.
type timerSlot struct {
	set farTimers
	// left are those of set that hold no more. Each stands for one timer: of two payments
	// with one place and moment, or of one that came back to a moment, another stays.
	left farTimers
}

// farTimers are chunks, which grow without being copied.
type farTimers struct {
	chunks [][]farTimer
	count  int
}

const (
	chunkFirst = 16
	chunkLast  = 1024
)

func (t *farTimers) add(f farTimer) {
	last := len(t.chunks) - 1
	if last < 0 || len(t.chunks[last]) == cap(t.chunks[last]) {
		size := chunkFirst
		if last >= 0 {
			size = min(chunkLast, 2*cap(t.chunks[last]))
		}
		t.chunks = append(t.chunks, make([]farTimer, 0, size))
		last++
	}
	t.chunks[last] = append(t.chunks[last], f)
	t.count++
}

// leftLeast timers, and half of a slot's, hold no more before they are dropped: the work
// for each is then that for two or three, in memory that is in the processor's cache.
var leftLeast = 1024

func (s *timerSlot) leave(f farTimer) {
	s.left.add(f)
	if s.left.count >= leftLeast && 2*s.left.count >= s.set.count {
		s.set, s.left = s.set.without(&s.left), farTimers{}
	}
}

// dropped marks a place of a table of timers. A timer that is this, or 0, is not dropped.
const dropped = ^farTimer(0)

// without gives the timers without as many of each as others has. No payment is looked at:
// millions would be read from memory.
func (t *farTimers) without(others *farTimers) (kept farTimers) {
	size := 1
	for size < 2*others.count {
		size *= 2
	}
	table := make([]farTimer, size) // open addressing
	for _, chunk := range others.chunks {
		for _, f := range chunk {
			at := f.home(size)
			for ; table[at] != 0; at = (at + 1) & (size - 1) {
			}
			table[at] = f
		}
	}
	for _, chunk := range t.chunks {
		for _, f := range chunk {
			at := f.home(size)
			for ; table[at] != 0 && table[at] != f; at = (at + 1) & (size - 1) {
			}
			if table[at] == 0 || f == dropped {
				kept.add(f)
			} else {
				table[at] = dropped
			}
		}
	}
	return kept
}

// home is where in a table of so many places, a power of two, a timer is looked for first:
// by the low bits of its hash, as moments are often the same.
func (f farTimer) home(size int) int { return int(f>>slotShift) & (size - 1) }
