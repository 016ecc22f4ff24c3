package main

import (
	"errors"
	"path/filepath"
	"strings"
	"testing"
)

// A run says what it did; a planted bug is caught, and the schedule that is written
// down for it replays.
func TestSim(t *testing.T) {
	var out, messages strings.Builder
	if err := runSim(t.Context(), simFlags{runs: 20, seed: 1}, &out, &messages); err != nil || !strings.HasPrefix(out.String(), "20 runs from seed 1: 0 failed") {
		t.Fatalf("%v, %s", err, &out)
	}
	dir := t.TempDir()
	out.Reset()
	err := runSim(t.Context(), simFlags{runs: 100, seed: 1, planted: "trimmed-too-early", dir: dir}, &out, &messages)
	if err != nil || !strings.Contains(out.String(), "loaded state is a fold of the log") {
		t.Fatalf("%v, %s", err, &out)
	}
	files, err := filepath.Glob(filepath.Join(dir, "sim-*.json"))
	if err != nil || len(files) != 1 || !strings.Contains(messages.String(), "--replay "+files[0]) {
		t.Fatalf("schedules %v, messages %s", files, &messages)
	}
	out.Reset()
	if err := runSim(t.Context(), simFlags{runs: 1, replay: files[0], watch: true}, &out, &messages); !errors.Is(err, errFindings) {
		t.Fatalf("the replay ends with %v", err)
	}
	for _, want := range []string{"start joiner-0", "commit 1,", "loaded state is a fold of the log: partition"} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("the replay does not say %q:\n%s", want, &out)
		}
	}
	for _, bad := range []simFlags{{runs: 0}, {runs: 1, planted: "none"}, {runs: 1, replay: "missing.json"}} {
		if err := runSim(t.Context(), bad, &out, &messages); err == nil || errors.Is(err, errFindings) {
			t.Errorf("%+v: %v", bad, err)
		}
	}
}
