package join

import (
	"bytes"
	"cmp"
	"math"
	"slices"

	"settlewatch/schemas/event"
)

// timers say which of a group's payments is to be judged next: in the order
// (moment, payment key), which must not depend on anything else.
//
// A timer is a moment and the hash of a payment's key, as far as it places the payment. Whether it still holds, the
// payment says when the moment comes: one whose next moment is another by then
// has a timer of its own there. So setting a timer writes to one place, and none
// is looked for to be moved; those that hold no more are dropped many at a time. Far timers lie in slots of a quarter of an hour,
// packed and in no order; those of the slot that the frontier is in are put in order
// once, and what is set there later forms a heap.
type timers struct {
	slots map[int64]*timerSlot
	order []int64 // the numbers of the slots, as a heap
	near  []timer // what is left of the slots up to nearTo, by moment
	late  []timer // a heap, by moment: set when its slot was near already
	// nearTo is the number of the last slot that near holds the timers of.
	nearTo int64
	slot   []timer // the memory of near
	unread int     // how many of near come before the payments of the next are read ahead
	// run are the payments of the earliest moment, in order, at is the next of them.
	run    []span
	at     int
	keys   []byte // of run
	moment int64  // of run
}

// A span is where in keys a key stands.
type span struct{ from, to uint32 }

type timer struct {
	moment int64
	hash   uint64
}

// A farTimer is a timer in eight bytes: of the hash the bucket and the low half, which
// are all that is looked at, and the milliseconds from its slot's begin.
type farTimer uint64

// The parts of a farTimer fit into it, or this does not compile.
const _ = uint(64 - bucketBits - 32 - slotShift)

func farTimerOf(moment int64, hash uint64) farTimer {
	return farTimer(hash>>(64-bucketBits)<<(64-bucketBits) | uint64(uint32(hash))<<slotShift | uint64(moment)&(1<<slotShift-1))
}

// timer is what it says in the slot of a number.
func (f farTimer) timer(number int64) timer {
	bucket := uint64(f) >> (64 - bucketBits) << (64 - bucketBits)
	return timer{number<<slotShift | int64(f&(1<<slotShift-1)), bucket | uint64(uint32(f>>slotShift))}
}

const slotShift = 20 // 2^20 ms: 17 minutes

func newTimers() timers {
	return timers{slots: make(map[int64]*timerSlot), nearTo: math.MinInt64}
}

// set adds a timer; noMoment needs none.
func (t *timers) set(moment int64, hash uint64) {
	if moment == noMoment {
		return
	}
	number := moment >> slotShift
	if number <= t.nearTo {
		t.late = append(t.late, timer{moment, hash})
		up(t.late, sooner)
		return
	}
	s := t.slots[number]
	if s == nil {
		s = new(timerSlot)
		t.slots[number] = s
		t.order = append(t.order, number)
		up(t.order, less)
	}
	s.set.add(farTimerOf(moment, hash))
}

// left says that a payment's next moment is another now: the timer that was set for it may
// go. An authorization's is for the end of a life, weeks away, and an hour later its capture
// has one of its own.
func (t *timers) left(moment int64, hash uint64) {
	if s := t.slots[moment>>slotShift]; s != nil { // else it is near, and comes soon
		s.leave(farTimerOf(moment, hash))
	}
}

func less(a, b int64) bool { return a < b }

// due tells whether a payment is to be judged before the frontier, and readies the
// run of the earliest moment.
func (t *timers) due(frontier int64, payments *table, r rejudge) bool {
	for t.at == len(t.run) {
		t.run, t.keys, t.at = kept(t.run), kept(t.keys), 0
		switch {
		case len(t.near)+len(t.late) > 0:
			if t.soonest() >= frontier {
				return false
			}
			t.gather(payments, r)
			if len(t.near) == 0 {
				t.slot = kept(t.slot)
			}
		case len(t.order) > 0:
			if t.order[0]<<slotShift >= frontier {
				return false
			}
			t.approach()
		default:
			return false
		}
	}
	return t.moment < frontier
}

// kept is the room of a slice for use again, unless a busy moment made it large: a
// day's payments are due at one.
func kept[E any](s []E) []E {
	if cap(s) > 1<<16 {
		return nil
	}
	return s[:0]
}

// approach puts the timers of the next slot in order.
func (t *timers) approach() {
	number := t.order[0]
	t.order = pop(t.order, less)
	far := &t.slots[number].set
	t.near, t.late = slices.Grow(t.slot[:0], far.count), kept(t.late)
	for _, chunk := range far.chunks {
		for _, f := range chunk {
			t.near = append(t.near, f.timer(number))
		}
	}
	t.slot = t.near
	delete(t.slots, number)
	t.nearTo, t.unread = number, 0
	slices.SortFunc(t.near, func(a, b timer) int { return cmp.Compare(a.moment, b.moment) })
}

// soonest is the moment of the next timer; there is one.
func (t *timers) soonest() int64 {
	switch {
	case len(t.near) == 0:
		return t.late[0].moment
	case len(t.late) == 0:
		return t.near[0].moment
	default:
		return min(t.near[0].moment, t.late[0].moment)
	}
}

// next takes a timer of a moment, and gives the hash; false if there is no more.
func (t *timers) next(moment int64, payments *table) (hash uint64, is bool) {
	if len(t.near) > 0 && t.near[0].moment == moment {
		if t.unread == 0 {
			t.unread = min(LookAhead, len(t.near))
			payments.lookAheadDue(t.near[:t.unread])
		}
		hash = t.near[0].hash
		t.near = t.near[1:]
		t.unread--
		return hash, true
	}
	if len(t.late) > 0 && t.late[0].moment == moment {
		hash = t.late[0].hash
		t.late = pop(t.late, sooner)
		return hash, true
	}
	return 0, false
}

// gather makes the run of the earliest moment: the keys of the payments whose next
// moment it is. Two payments may share a hash, and a payment may have two timers
// for one moment: it comes once.
func (t *timers) gather(payments *table, r rejudge) {
	t.moment = t.soonest()
	for hash, is := t.next(t.moment, payments); is; hash, is = t.next(t.moment, payments) {
		b := payments.bucket(hash)
		for slot := b.first(uint32(hash)); slot >= 0; slot = b.next(slot, uint32(hash)) {
			if h, err := peek(b.payment(slot)); err == nil && r.next(&h) == t.moment {
				from := len(t.keys)
				t.keys = append(t.keys, h.key...)
				t.run = append(t.run, span{uint32(from), uint32(len(t.keys))})
			}
		}
	}
	if len(t.run) > 1 {
		compare := func(a, b span) int { return bytes.Compare(t.keys[a.from:a.to], t.keys[b.from:b.to]) }
		slices.SortFunc(t.run, compare)
		t.run = slices.CompactFunc(t.run, func(a, b span) bool { return compare(a, b) == 0 })
	}
}

// pop takes the payment that is to be judged next, after due has said that there
// is one. The key lasts until the next call of due.
func (t *timers) pop() (key event.PaymentKey, moment int64) {
	at := t.run[t.at]
	t.at++
	return event.PaymentKey(view(t.keys[at.from:at.to])), t.moment
}

func sooner(a, b timer) bool { return a.moment < b.moment }

// up moves the last element of a heap to its place.
func up[E any](heap []E, less func(a, b E) bool) {
	for i := len(heap) - 1; i > 0; {
		parent := (i - 1) / 2
		if !less(heap[i], heap[parent]) {
			return
		}
		heap[i], heap[parent] = heap[parent], heap[i]
		i = parent
	}
}

// pop removes the first element of a heap.
func pop[E any](heap []E, less func(a, b E) bool) []E {
	last := len(heap) - 1
	heap[0] = heap[last]
	heap = heap[:last]
	for i := 0; ; {
		child := 2*i + 1
		if child >= last {
			return heap
		}
		if child+1 < last && less(heap[child+1], heap[child]) {
			child++
		}
		if !less(heap[child], heap[i]) {
			return heap
		}
		heap[i], heap[child] = heap[child], heap[i]
		i = child
	}
}
