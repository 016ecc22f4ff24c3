package health_test

import (
	"testing"
	"time"
)

// What waits for somebody is not ready, and what has ended is; neither is stalled.
func TestPause(t *testing.T) {
	h, c := start(t)
	h.Connected()
	defer h.Own(place)()
	h.Pause(place, "the service reads a@2", false)
	c.pass(time.Hour)
	expect(t, "waits", h.Ready(), false, "payment-log.v1/2 waits: the service reads a@2")
	expect(t, "waits", h.Alive(), true)
	h.Pause(place, "until_offset 7", true)
	c.pass(time.Hour)
	expect(t, "ended", h.Ready(), true)
	expect(t, "ended", h.Alive(), true)
	if p := h.Ready().Partitions; len(p) != 1 || p[0].State != "ended" || p[0].Why != "until_offset 7" {
		t.Errorf("partitions %+v", p)
	}
	h.Pause(place, "", false)
	expect(t, "goes on", h.Ready(), true)
	beat(h, 5, 9)
	c.pass(time.Minute)
	expect(t, "stands still", h.Alive(), false)
	h.Pause(place, "again", false)
	beat(h, 5, 9)
	expect(t, "came round", h.Ready(), true)
}
