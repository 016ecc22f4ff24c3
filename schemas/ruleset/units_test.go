package ruleset

import (
	"strings"
	"testing"
)

func TestTimesOfDay(t *testing.T) {
	for text, want := range map[string]int64{
		"00:00": 0, "23:00": 82_800_000, "23:59:59.999": dayMs - 1, "09:30:05": 34_205_000, "09:30:05.5": 34_205_500,
	} {
		if got, err := parseClock(text); err != nil || got != want {
			t.Errorf("%s is %d, %v, want %d", text, got, err, want)
		}
	}
	for _, text := range []string{"", "9:00", "9:00:00.5", "23:60", "24:00", "23:00:00.0001", "23:00 ", "-1:00", "23h"} {
		if got, err := parseClock(text); err == nil {
			t.Errorf("%q was read as %d", text, got)
		}
	}
	for ms, want := range map[int64]string{0: "00:00", 82_800_000: "23:00", 34_205_000: "09:30:05", dayMs - 1: "23:59:59.999"} {
		if got, err := formatClock(ms); err != nil || got != want {
			t.Errorf("%d is written %s, %v, want %s", ms, got, err, want)
		}
	}
}

func TestDurationsAsPeopleWriteThem(t *testing.T) {
	for ms, want := range map[int64]string{
		0: "0s", 1: "1ms", 30_000: "30s", minuteMs: "1m", 10 * minuteMs: "10m", 60 * minuteMs: "1h",
		90 * minuteMs: "1h30m", 120 * minuteMs: "2h", 100 * 60 * minuteMs: "100h", 60*minuteMs + 1000: "1h0m1s",
		70 * minuteMs: "1h10m",
	} {
		text, err := formatDuration(ms)
		if err != nil || text != want {
			t.Errorf("%d ms is written %s, %v, want %s", ms, text, err, want)
		}
		if back, err := parseDuration(text); err != nil || back != ms {
			t.Errorf("%s is %d ms, %v, want %d", text, back, err, ms)
		}
	}
}

func TestPercentages(t *testing.T) {
	for text, want := range map[string]int64{"0%": 0, "0.6%": 60, "0.06%": 6, "0.60%": 60, "10%": 1000, "115%": 11_500, "0.38%": 38} {
		if got, err := parsePercent(text); err != nil || got != want {
			t.Errorf("%s is %d, %v, want %d", text, got, err, want)
		}
	}
	for bps, want := range map[int64]string{0: "0%", 6: "0.06%", 60: "0.6%", 38: "0.38%", 1000: "10%", 11_550: "115.5%"} {
		if got, err := formatPercent(bps); err != nil || got != want {
			t.Errorf("%d is written %s, %v, want %s", bps, got, err, want)
		}
	}
	for _, text := range []string{"", "%", ".6%", "0.6", "6 %", "1e1%", strings.Repeat("9", 30) + "%"} {
		if got, err := parsePercent(text); err == nil {
			t.Errorf("%q was read as %d", text, got)
		}
	}
}
