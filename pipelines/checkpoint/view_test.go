package checkpoint_test

import (
	"context"
	"slices"
	"testing"
	"time"

	"settlewatch/pipelines/checkpoint"
	"settlewatch/pipelines/stage"
	"settlewatch/schemas/topic"
)

// countingLog counts the records that are read of it.
type countingLog struct {
	stage.Log
	records int
}

func (l *countingLog) Open(name string, partition int32) (stage.Reader, error) {
	r, err := l.Log.Open(name, partition)
	return countingReader{r, l}, err
}

type countingReader struct {
	stage.Reader
	log *countingLog
}

func (r countingReader) Fetch(ctx context.Context, from int64, wait time.Duration) (stage.Batch, error) {
	b, err := r.Reader.Fetch(ctx, from, wait)
	r.log.records += len(b.Records)
	return b, err
}

// What a store has seen of its topic it does not read again, and it sees what others
// do to it.
func TestManifestsGoOn(t *testing.T) {
	log := newTopic(t, 1)
	log.LimitBatch(3)
	counted := &countingLog{Log: log}
	s := &checkpoint.Store{Log: counted}
	other := &checkpoint.Store{Log: log}
	same := func() {
		t.Helper()
		for p := range int32(2) {
			got, want := manifests(t, s, p), manifests(t, other, p)
			fresh := manifests(t, &checkpoint.Store{Log: log}, p)
			if len(got) != len(want) || len(got) != len(fresh) {
				t.Fatalf("%d checkpoints of partition %d, others see %d and %d", len(got), p, len(want), len(fresh))
			}
			for i, m := range got {
				if m != want[i] || m != fresh[i] {
					t.Errorf("%+v, others see %+v and %+v", m, want[i], fresh[i])
				}
				if _, err := s.Load(t.Context(), m); err != nil {
					t.Error(err)
				}
			}
		}
	}
	for offset := int64(1); offset < 40; offset++ {
		by := s
		if offset%3 == 0 {
			by = other
		}
		save(t, by, int32(offset%2), stateAt(offset, 3<<20))
	}
	same()
	records, err := log.Records(topic.Checkpoints.Name, 0)
	if err != nil {
		t.Fatal(err)
	}
	counted.records = 0
	manifests(t, s, 0, 1)
	if counted.records != 0 {
		t.Errorf("%d of %d records are read again", counted.records, len(records))
	}
	if err := other.Discard(t.Context(), 0); err != nil {
		t.Fatal(err)
	}
	same()
	// The topic is deleted and made anew.
	log = newTopic(t, 1)
	counted.Log, other = log, &checkpoint.Store{Log: log}
	save(t, other, 1, stateAt(3, 100))
	same()
	if got := manifests(t, s, 1); len(got) != 1 || got[0].Offset != 3 {
		t.Errorf("of a topic that was made anew it sees %+v", got)
	}
}

// One is being written in a slot while another is finished in the other.
func TestManifestsOfTwoWriters(t *testing.T) {
	log := newTopic(t, 1)
	s := &checkpoint.Store{Log: log}
	save(t, s, 0, stateAt(1, 3<<20))
	first, err := log.Records(topic.Checkpoints.Name, 0)
	if err != nil {
		t.Fatal(err)
	}
	second := stateAt(2, 3<<20)
	save(t, s, 0, second)
	all, err := log.Records(topic.Checkpoints.Name, 0)
	if err != nil {
		t.Fatal(err)
	}
	half := len(first) + 2 // two chunks of the second
	mixed := slices.Concat(all[len(first):half], all[:len(first)], all[half:])
	again := newTopic(t, 1)
	if err := again.Append(t.Context(), stage.Outgoing{Topic: topic.Checkpoints.Name, Records: clone(mixed)}); err != nil {
		t.Fatal(err)
	}
	mustBeLatest(t, &checkpoint.Store{Log: again}, 0, second)
}
