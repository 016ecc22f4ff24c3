package bench

import (
	"os"
	"slices"
	"testing"
)

func TestUsageOfThisProcess(t *testing.T) {
	pid := os.Getpid()
	before, err := look()
	if err != nil {
		t.Fatal(err)
	}
	for sum := uint64(0); ; sum += mix(sum) {
		after, err := look()
		if err != nil {
			t.Fatal(err)
		}
		if after.seconds(pid, nil) > before.seconds(pid, nil) && after.machine > before.machine {
			break // time that was used is seen; without it this test would not end
		}
	}
	now, err := statusBytes(pid, "VmRSS") // first: it may grow
	if peak, err2 := statusBytes(pid, "VmHWM"); err != nil || err2 != nil || now <= 0 || peak < now {
		t.Errorf("now %d, peak %d, %v, %v", now, peak, err, err2)
	}
	if _, err := statusBytes(-1, "VmHWM"); err == nil {
		t.Error("a process that is not there has used nothing, without an error")
	}
}

// Redis rewrites its file in a child; whether that still runs, or has been waited for,
// it is Redis that works. The bench is the parent of all, and is not charged for them.
func TestChildrenCountWithTheirParents(t *testing.T) {
	const bench, redis, rewrite, editor = 1, 2, 3, 4
	began := usage{machine: 100, interrupts: 1, processes: map[int]processTime{
		bench: {own: 5, ended: 7}, redis: {own: 10, parent: bench}, editor: {name: "editor", own: 20},
	}}
	running := usage{machine: 110, interrupts: 1.5, processes: map[int]processTime{
		bench: {own: 6, ended: 7}, redis: {own: 12, parent: bench}, rewrite: {name: "redis", own: 3, parent: redis},
		editor: {name: "editor", own: 23},
	}}
	waited := usage{machine: 110, interrupts: 1.5, processes: map[int]processTime{
		bench: {own: 6, ended: 7}, redis: {own: 12, ended: 3, parent: bench}, editor: {name: "editor", own: 23},
	}}
	for name, ended := range map[string]usage{"running": running, "waited for": waited} {
		w := &stopwatch{pids: map[string]int{harnessName: bench, redisName: redis}, began: began, ended: ended}
		used, other := w.used()
		if used[harnessName] != 1 || used[redisName] != 5 || other != 4 {
			t.Errorf("%s: bench %v, redis %v, other %v; want 1, 5, 4", name, used[harnessName], used[redisName], other)
		}
		all := others(began, ended, w.pids, other+0.25)
		want := []Other{{"editor", 3}, {gone, 0.75}, {interrupting, 0.5}}
		if !slices.Equal(all, want) {
			t.Errorf("%s: others %v", name, all)
		}
	}
}
