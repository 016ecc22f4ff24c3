package bus_test

import (
	"context"
	"testing"

	"settlewatch/pipelines/bus"
	"settlewatch/pipelines/servers/serverstest"
	"settlewatch/pipelines/stage"
	"settlewatch/schemas/topic"
)

func TestRemovedOnKfake(t *testing.T) { removed(t, startKfake(t, 1).ListenAddrs()) }

func TestRemovedOnKafka(t *testing.T) { removed(t, []string{serverstest.Kafka(t)}) }

// A topic that is made again under its name is empty, and a group without its
// offsets begins at the beginning.
func removed(t *testing.T, brokers []string) {
	b := dial(t, bus.Options{Brokers: brokers})
	ctx := t.Context()
	name := createTopic(t, b, 1)
	id := "group-of-" + name
	if err := b.Append(ctx, stage.Outgoing{Topic: name, Records: []stage.Record{{Value: []byte("a")}}}); err != nil {
		t.Fatal(err)
	}
	commit := func() {
		joined, leave := context.WithCancel(ctx)
		defer leave()
		err := b.Group(bus.GroupOptions{ID: id, Topics: []string{name}}).Run(joined, func(ctx context.Context, a stage.Assignment) error {
			defer leave()
			if a.Offset != stage.None {
				t.Errorf("the group begins at %d", a.Offset)
			}
			return a.Commit(ctx, 1)
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	commit()
	if err := b.RemoveGroups(ctx, []string{id, "never-there"}); err != nil {
		t.Fatal(err)
	}
	commit()
	if err := b.RemoveTopics(ctx, []string{name, "never-there"}); err != nil {
		t.Fatal(err)
	}
	again := []topic.Topic{{Name: name, Partitions: 1, RetentionMs: topic.RetainAll}}
	if err := b.CreateTopics(ctx, again, 1); err != nil {
		t.Fatal(err)
	}
	if _, end, err := b.Bounds(ctx, name, 0); err != nil || end != 0 {
		t.Errorf("the new topic ends at %d, %v", end, err)
	}
}
