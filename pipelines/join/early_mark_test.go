package join

import (
	"testing"

	"settlewatch/schemas/event"
)

// A mark that was made under a CONFIG which comes later in the log says nothing:
// records may lie in a source that this CONFIG adds.
func TestMarkBeforeItsConfigSaysNothing(t *testing.T) {
	s, out := New(), new(Output)
	step := func(r *event.LogRecord) {
		t.Helper()
		value, err := r.MarshalVT()
		if err == nil {
			err = s.Fold(value, out)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	mark := func(tMs int64, configs uint64) {
		t.Helper()
		for _, f := range feeds {
			r := markOf(f, tMs)
			r.GetMark().Configs = configs
			step(r)
		}
	}
	frontier := func(what string, want int64) {
		t.Helper()
		if got := s.Frontiers()[0].TMs; got != want {
			t.Errorf("%s: the frontier is %d, want %d", what, got, want)
		}
	}
	mark(50, 1)
	step(configRecord(testConfig(nil), 0))
	mark(100, 1)
	frontier("marks of the CONFIG in force", 100)
	mark(200, 2)
	frontier("marks of the next CONFIG", 100)
	mark(150, 0)
	frontier("marks that rest on none", 150)
	step(configRecord(testConfig(nil), 1))
	frontier("the next CONFIG", 150)
	mark(300, 2)
	frontier("marks after it", 300)
	mark(400, 1)
	frontier("marks of an ingest that does not know it yet", 400)
}
