package health_test

import (
	"errors"
	"strings"
	"testing"
	"time"

	"settlewatch/services/health"
)

type clock struct{ now time.Time }

func (c *clock) pass(d time.Duration) { c.now = c.now.Add(d) }

func start(t *testing.T) (*health.Health, *clock) {
	t.Helper()
	c := &clock{now: time.Unix(1_000_000, 0)}
	h := health.New(health.Options{StallAfter: time.Minute, Now: func() time.Time { return c.now }})
	return h, c
}

var place = health.Place{Topic: "payment-log.v1", Partition: 2}

// beat is a fetch at next whose reply showed end.
func beat(h *health.Health, next, end int64) {
	h.Beat(place, next)
	h.End(place, end)
}

func expect(t *testing.T, what string, r health.Report, ok bool, reasons ...string) {
	t.Helper()
	if r.OK != ok {
		t.Fatalf("%s: ok is %t, want %t: %v", what, r.OK, ok, r.Reasons)
	}
	for _, want := range reasons {
		if !strings.Contains(strings.Join(r.Reasons, "\n"), want) {
			t.Errorf("%s: %v does not say %q", what, r.Reasons, want)
		}
	}
}

func TestReadyFollowsTheStart(t *testing.T) {
	h, _ := start(t)
	h.Waiting("Kafka")
	expect(t, "start", h.Ready(), false, "waiting for Kafka")
	expect(t, "start", h.Alive(), true)
	h.Connected()
	expect(t, "idle", h.Ready(), true)
	release := h.Own(place)
	expect(t, "loading", h.Ready(), false, "payment-log.v1/2 is being loaded")
	beat(h, 5, 9)
	expect(t, "behind is ready", h.Ready(), true)
	if p := h.Ready().Partitions; len(p) != 1 || p[0].Lag != 4 || p[0].State != "running" {
		t.Errorf("partitions %+v", p)
	}
	release()
	expect(t, "released", h.Ready(), true)
	h.Ending()
	expect(t, "ending", h.Ready(), false, "asked to end")
	expect(t, "ending", h.Alive(), true)
}

// A member that cannot reach its group any more has lost its partitions, and looks
// like one that was given none.
func TestLostFromItsGroupIsNotReady(t *testing.T) {
	h, c := start(t)
	h.Connected()
	h.Own(place)()
	for range 20 {
		expect(t, "for a moment", h.Ready(), true)
		h.Retry("kafka", errors.New("connection refused"))
		c.pass(500 * time.Millisecond)
	}
	h.Retry("kafka", errors.New("connection refused"))
	c.pass(500 * time.Millisecond)
	h.Retry("kafka", errors.New("connection refused"))
	expect(t, "for longer", h.Ready(), false, "owns no partition", "kafka 0s ago: connection refused")
	release := h.Own(place)
	beat(h, 5, 5)
	expect(t, "back in its group", h.Ready(), true)
	release()
	c.pass(11 * time.Second)
	expect(t, "long ago", h.Ready(), true)
	h.Retry("kafka", errors.New("connection refused"))
	expect(t, "another series", h.Ready(), true)
}

func TestIdleIsNoStall(t *testing.T) {
	h, c := start(t)
	h.Connected()
	defer h.Own(place)()
	for range 1000 {
		beat(h, 7, 7)
		c.pass(time.Second)
	}
	expect(t, "an hour of silence", h.Alive(), true)
	expect(t, "an hour of silence", h.Ready(), true)
}

func TestLoopThatDoesNotComeRoundIsAStall(t *testing.T) {
	h, c := start(t)
	h.Connected()
	defer h.Own(place)()
	beat(h, 7, 7)
	c.pass(11 * time.Second)
	h.Retry("redis", errors.New("commit: connection refused"))
	expect(t, "11 s", h.Alive(), true)
	expect(t, "11 s", h.Ready(), false, "connection refused")
	c.pass(48 * time.Second)
	expect(t, "59 s", h.Alive(), true)
	c.pass(time.Second)
	expect(t, "60 s", h.Alive(), false, "payment-log.v1/2", "1m0s", "redis", "connection refused")
	beat(h, 8, 8)
	expect(t, "it goes on", h.Alive(), true)
	expect(t, "it goes on", h.Ready(), true)
}

func TestPositionThatDoesNotMoveIsAStall(t *testing.T) {
	h, c := start(t)
	h.Connected()
	defer h.Own(place)()
	for range 59 {
		beat(h, 7, 9)
		c.pass(time.Second)
	}
	expect(t, "59 s", h.Alive(), true)
	c.pass(time.Second)
	beat(h, 7, 10)
	expect(t, "60 s", h.Alive(), false, "stands at offset 7 of 10")
	beat(h, 8, 10)
	expect(t, "it moves", h.Alive(), true)
}

func TestLoadingForTooLongIsAStall(t *testing.T) {
	h, c := start(t)
	h.Connected()
	defer h.Own(place)()
	c.pass(599 * time.Second)
	expect(t, "nearly ten minutes of loading", h.Alive(), true)
	c.pass(time.Second)
	expect(t, "ten minutes of loading", h.Alive(), false, "payment-log.v1/2")
}

// A partition may be assigned again before its last owner has ended.
func TestOwnersOverlap(t *testing.T) {
	h, _ := start(t)
	first := h.Own(place)
	second := h.Own(place)
	first()
	if h.Owned() != 1 {
		t.Fatal("the second owner is forgotten")
	}
	second()
	if h.Owned() != 0 {
		t.Fatal("a partition is left over")
	}
}

func TestZeroNeverStalls(t *testing.T) {
	c := &clock{now: time.Unix(1_000_000, 0)}
	h := health.New(health.Options{Now: func() time.Time { return c.now }})
	defer h.Own(place)()
	c.pass(time.Hour)
	expect(t, "an hour", h.Alive(), true)
}

// What is refused is not ready, and no number of restarts helps: it stays alive.
func TestRefused(t *testing.T) {
	h, c := start(t)
	h.Connected()
	defer h.Own(place)()
	beat(h, 5, 9)
	h.Refuse(place, "log_changed", errors.New("the log was cut"))
	c.pass(time.Hour)
	expect(t, "refused", h.Ready(), false, "payment-log.v1/2 is refused (log_changed): the log was cut; see deploy/runbooks/refused.md")
	expect(t, "refused", h.Alive(), true)
	if p := h.Ready().Partitions; len(p) != 1 || p[0].State != "refused" || p[0].Refused != "log_changed" {
		t.Errorf("partitions %+v", p)
	}
	beat(h, 5, 9)
	expect(t, "mended", h.Ready(), true)
	expect(t, "mended", h.Alive(), true)
	c.pass(time.Minute)
	expect(t, "mended, and stands still", h.Alive(), false)
	h.Refuse(health.Place{Topic: "other"}, "log_changed", errors.New("x"))
}

// No progress with input waiting is unhealthy within StallAfter, whatever the loop
// does meanwhile: it may hang, or come round again and again at one place.
func TestStallBound(t *testing.T) {
	for name, round := range map[string]bool{"hangs": false, "comes round": true} {
		h, c := start(t)
		h.Connected()
		release := h.Own(place)
		beat(h, 5, 9)
		for range 59 {
			c.pass(time.Second)
			if round {
				beat(h, 5, 9)
			}
			expect(t, name, h.Alive(), true)
		}
		c.pass(time.Second)
		if round {
			beat(h, 5, 9)
		}
		expect(t, name, h.Alive(), false, "payment-log.v1/2")
		release()
	}
}
