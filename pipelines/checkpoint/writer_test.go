package checkpoint_test

import (
	"bytes"
	"context"
	"errors"
	"slices"
	"strings"
	"testing"

	"settlewatch/pipelines/checkpoint"
	"settlewatch/pipelines/stage"
)

// spoiling is a topic that keeps other records than it is given.
type spoiling struct {
	stage.Log
	spoil func(*stage.Record) (keep bool)
}

func (l *spoiling) Append(ctx context.Context, batches ...stage.Outgoing) error {
	for i := range batches {
		var kept []stage.Record
		for _, r := range batches[i].Records {
			r.Value = bytes.Clone(r.Value)
			if l.spoil(&r) {
				kept = append(kept, r)
			}
		}
		batches[i].Records = kept
	}
	return l.Log.Append(ctx, batches...)
}

// A checkpoint is proved as it lies in the topic, not as it was sent; and what does not
// load leaves the ones before.
func TestProvedInTheTopic(t *testing.T) {
	whole := folded(t)
	const chunk = "/00000000"
	for name, c := range map[string]struct {
		spoil func(*stage.Record) bool
		want  error
	}{
		"whole":    {func(*stage.Record) bool { return true }, nil},
		"a bit":    {func(r *stage.Record) bool { flip(r, chunk); return true }, checkpoint.ErrDamaged},
		"a chunk":  {func(r *stage.Record) bool { return !strings.HasSuffix(string(r.Key), chunk) }, checkpoint.ErrDamaged},
		"manifest": {func(r *stage.Record) bool { return !strings.HasSuffix(string(r.Key), "manifest") }, nil},
	} {
		t.Run(name, func(t *testing.T) {
			log := newTopic(t, 1)
			before := stateAt(whole.Offset-1, 100)
			save(t, &checkpoint.Store{Log: log}, 0, before)
			s := &checkpoint.Store{Log: &spoiling{log, c.spoil}, Check: checkpoint.Loads}
			if _, err := s.Save(t.Context(), 0, whole); !errors.Is(err, c.want) || (err == nil) != (c.want == nil) {
				t.Errorf("saved: %v, want %v", err, c.want)
			}
			if name != "whole" {
				mustBeLatest(t, &checkpoint.Store{Log: log}, 0, before)
			}
		})
	}
	log := newTopic(t, 1)
	s := &checkpoint.Store{Log: log, Check: checkpoint.Loads}
	less := whole
	less.Buckets = whole.Buckets[1:]
	if _, err := s.Save(t.Context(), 0, less); !errors.Is(err, checkpoint.ErrUnloadable) {
		t.Errorf("a state without a bucket is saved: %v", err)
	}
	if m := manifests(t, s, 0); len(m) != 0 {
		t.Errorf("it stands: %+v", m)
	}
	save(t, s, 0, whole)
	mustBeLatest(t, s, 0, whole)
}

func flip(r *stage.Record, part string) {
	if strings.HasSuffix(string(r.Key), part) {
		r.Value[len(r.Value)/2] ^= 1
	}
}

// What was proved is not read a second time to find the manifests.
func TestProofIsALookForManifests(t *testing.T) {
	whole := folded(t)
	log := newTopic(t, 1)
	counted := &countingLog{Log: log}
	s := &checkpoint.Store{Log: counted, Check: checkpoint.Loads}
	save(t, s, 0, whole)
	if counted.records == 0 {
		t.Error("it was proved without being read")
	}
	counted.records = 0
	if m := manifests(t, s, 0); len(m) != 1 || m[0].Offset != whole.Offset {
		t.Errorf("it sees %+v", m)
	}
	if counted.records != 1 {
		t.Errorf("%d records are read behind the proof, where there is a manifest", counted.records)
	}
	mustBeLatest(t, s, 0, whole)
}

// Buckets reach the proof in the order of their indexes, whatever order they are held in.
func TestOrdered(t *testing.T) {
	held := []stage.Bucket{{Index: 7}, {Index: 3, Value: []byte("a")}, {Index: 300}, {Index: 3, Value: []byte("b")}}
	var got []int
	for b, err := range checkpoint.Ordered(held) {
		if err != nil {
			t.Fatal(err)
		}
		if got = append(got, b.Index); b.Index == 7 {
			break
		}
	}
	if want := []int{3, 3, 7}; !slices.Equal(got, want) {
		t.Errorf("they come as %v, want %v", got, want)
	}
}
