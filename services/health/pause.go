package health

// pause is why a partition is not read on; zero where it is.
type pause struct {
	why   string
	ended bool
}

// Pause notes that a partition is not read on, and why: somebody has to do
// something, or it has ended as it should, which is healthy. Neither is stalled,
// for another start does not help. It stands until the loop comes round, or why is
// empty.
func (h *Health) Pause(p Place, why string, ended bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	at := h.owned[p]
	if at == nil {
		return
	}
	if why == "" {
		now := h.options.Now()
		at.beat, at.advanced = now, now
	}
	at.paused = pause{why: why, ended: ended && why != ""}
}
