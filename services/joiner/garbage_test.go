package main

import "testing"

func TestGarbageShare(t *testing.T) {
	for live, want := range map[uint64]int{
		0: garbageMost, 1 << 20: garbageMost, 16 << 20: 200, 32 << 20: 100, 128 << 20: 25, 1 << 30: garbagePercent, 8 << 30: garbagePercent,
	} {
		if got := garbageShare(live); got != want {
			t.Errorf("of %d MiB: %d %%, want %d", live>>20, got, want)
		}
	}
}
