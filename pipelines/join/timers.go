package join

import "container/heap"

// timers orders a group's payments by (next moment, payment key): that is the
// order in which they are judged, so it must not depend on anything else.
type timers []*tracked

func (t timers) Len() int { return len(t) }

func (t timers) Less(i, j int) bool {
	a, b := t[i], t[j]
	if a.next != b.next {
		return a.next < b.next
	}
	return a.key < b.key
}

func (t timers) Swap(i, j int) {
	t[i], t[j] = t[j], t[i]
	t[i].slot, t[j].slot = int32(i), int32(j)
}

func (t *timers) Push(x any) {
	p := x.(*tracked)
	p.slot = int32(len(*t))
	*t = append(*t, p)
}

func (t *timers) Pop() any {
	old := *t
	p := old[len(old)-1]
	old[len(old)-1] = nil
	*t = old[:len(old)-1]
	p.slot = noSlot
	return p
}

// set moves a payment to its next moment; without one it leaves.
func (t *timers) set(p *tracked, next int64) {
	p.next = next
	switch {
	case p.slot == noSlot && next != noMoment:
		heap.Push(t, p)
	case p.slot != noSlot && next != noMoment:
		heap.Fix(t, int(p.slot))
	case p.slot != noSlot:
		heap.Remove(t, int(p.slot))
	}
}
