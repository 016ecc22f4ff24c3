package statestore

import (
	"slices"
	"sync"
)

// holds are the rings that are being read beside their owners. An owner of the same
// client trims no delta that a reader has still to read, or a slow reader of a quiet
// partition, whose ring is empty after each commit, would be overtaken every time. A
// ring that is longer than it need be is right: its deltas are in the buckets, too.
type holds struct {
	mu  sync.Mutex
	all []*hold
}

// A hold is one reader's. It is used by one goroutine, beside owners that ask for it.
type hold struct {
	of   *holds
	name string // log/partition
	from uint64 // sequence of the first delta that it has still to read
}

// hold keeps a partition's whole ring, until it is moved on or released.
func (h *holds) hold(name string) *hold {
	h.mu.Lock()
	defer h.mu.Unlock()
	one := &hold{of: h, name: name}
	h.all = append(h.all, one)
	return one
}

func (h *hold) move(from uint64) {
	h.of.mu.Lock()
	defer h.of.mu.Unlock()
	h.from = from
}

func (h *hold) release() {
	h.of.mu.Lock()
	defer h.of.mu.Unlock()
	h.of.all = slices.DeleteFunc(h.of.all, func(one *hold) bool { return one == h })
}

// trimTo is how far an owner may trim a partition's ring that wants to trim it so far.
func (h *holds) trimTo(name string, wanted uint64) uint64 {
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, one := range h.all {
		if one.name == name {
			wanted = min(wanted, one.from)
		}
	}
	return wanted
}
