package main

import "testing"

func TestGarbageShare(t *testing.T) {
	for live, want := range map[uint64]int{
		0: garbageMost, 1 << 20: garbageMost, 64 << 20: 200, 128 << 20: 100, 512 << 20: 25, 4 << 30: garbagePercent, 8 << 30: garbagePercent,
	} {
		if got := garbageShare(live); got != want {
			t.Errorf("of %d MiB: %d %%, want %d", live>>20, got, want)
		}
	}
}
