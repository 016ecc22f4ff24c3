package sim_test

import (
	"errors"
	"testing"

	"settlewatch/pipelines/sim"
	"settlewatch/pipelines/stage"
	"settlewatch/pipelines/stage/conformance"
)

func TestStateConforms(t *testing.T) {
	conformance.State(t, func(*testing.T) func() stage.State {
		store := sim.NewState()
		return func() stage.State { return store.Owner() }
	})
}

// TestStateLoadLooksTwice changes the state in the middle of a load.
func TestStateLoadLooksTwice(t *testing.T) {
	store := sim.NewState()
	owner, reader := store.Owner(), store.Owner()
	must(t, owner.Acquire(t.Context()))
	next := uint64(1)
	commit := func() {
		must(t, owner.Commit(t.Context(), stage.Commit{
			Sequence: next, FromOffset: int64(next) - 1, ToOffset: int64(next), Delta: []byte{byte(next)},
			Buckets: []stage.Bucket{{Index: 0, Value: []byte{byte(next)}}}, TrimTo: next,
		}))
		next++
	}
	commit()
	pauses := 0
	store.MidLoad = func() {
		if pauses++; pauses <= 5 {
			commit()
		}
	}
	got, err := reader.Load(t.Context())
	must(t, err)
	if got.Sequence != 6 || len(got.Ring) != 1 || got.Ring[0][0] != 6 || got.Buckets[0].Value[0] != 6 {
		t.Fatalf("loaded %+v, want everything of sequence 6", got)
	}
}

func TestStateFaults(t *testing.T) {
	first := stage.Commit{Sequence: 1, ToOffset: 10}
	for _, c := range []struct {
		fault   sim.StateFault
		want    error
		applied bool
		dead    bool
	}{
		{sim.StateOK, nil, true, false},
		{sim.StateRequestLost, sim.ErrReplyLost, false, false},
		{sim.StateReplyLost, sim.ErrReplyLost, true, false},
		{sim.StateCrashBefore, sim.ErrCrashed, false, true},
		{sim.StateCrashAfter, sim.ErrCrashed, true, true},
	} {
		store := sim.NewState()
		fault := c.fault
		store.OnCommit = func(stage.Commit) sim.StateFault { return fault }
		owner := store.Owner()
		must(t, owner.Acquire(t.Context()))
		if err := owner.Commit(t.Context(), first); !errors.Is(err, c.want) {
			t.Errorf("fault %d: got error %v, want %v", c.fault, err, c.want)
		}
		stored, err := store.Owner().Load(t.Context())
		must(t, err)
		if (stored.Meta != nil) != c.applied {
			t.Errorf("fault %d: applied is %t, want %t", c.fault, stored.Meta != nil, c.applied)
		}
		fault = sim.StateOK
		if err := owner.Commit(t.Context(), first); (err != nil) != c.dead {
			t.Errorf("fault %d: the repeat returned %v", c.fault, err)
		}
	}
}

func TestStateRestoreBringsTheTokenBack(t *testing.T) {
	store := sim.NewState()
	owner := store.Owner()
	must(t, owner.Acquire(t.Context()))
	must(t, owner.Commit(t.Context(), stage.Commit{Sequence: 1, ToOffset: 10, Buckets: []stage.Bucket{{Index: 1, Value: []byte("a")}}}))
	snap := store.Snapshot()
	must(t, owner.Commit(t.Context(), stage.Commit{Sequence: 2, FromOffset: 10, ToOffset: 20, Buckets: []stage.Bucket{{Index: 1, Value: []byte("b")}}}))
	heir := store.Owner()
	must(t, heir.Acquire(t.Context()))

	store.Restore(snap)
	if err := heir.Commit(t.Context(), stage.Commit{Sequence: 3, FromOffset: 20, ToOffset: 30}); !errors.Is(err, stage.ErrFenced) {
		t.Errorf("a commit on a state that was rolled back: got %v, want ErrFenced", err)
	}
	// The earlier owner's token is back, but its sequence is not.
	if err := owner.Commit(t.Context(), stage.Commit{Sequence: 3, FromOffset: 20, ToOffset: 30}); !errors.Is(err, stage.ErrFenced) {
		t.Errorf("a commit by the token that came back: got %v, want ErrFenced", err)
	}
	// A new token is one that never was: heir drew the second, the store forgot it.
	must(t, store.Owner().Acquire(t.Context()))
	if err := heir.Commit(t.Context(), stage.Commit{Sequence: 2, FromOffset: 10, ToOffset: 20}); !errors.Is(err, stage.ErrFenced) {
		t.Errorf("a token was drawn twice: got %v, want ErrFenced", err)
	}
	stored, err := store.Owner().Load(t.Context())
	must(t, err)
	if stored.Sequence != 1 || string(stored.Buckets[0].Value) != "a" {
		t.Errorf("after the rollback it loads as %+v", stored)
	}
	store.Restore(sim.StateSnapshot{})
	if stored, err = store.Owner().Load(t.Context()); err != nil || stored.Meta != nil {
		t.Errorf("after the loss it loads as %+v, %v", stored, err)
	}
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
