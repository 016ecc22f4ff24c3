package bus_test

import (
	"context"
	"testing"

	"settlewatch/pipelines/bus"
	"settlewatch/pipelines/servers/serverstest"
	"settlewatch/pipelines/stage"
)

func TestPlacesAndMembersOnKfake(t *testing.T) { placesAndMembers(t, startKfake(t, 1).ListenAddrs()) }

func TestPlacesAndMembersOnKafka(t *testing.T) {
	placesAndMembers(t, []string{serverstest.Kafka(t)})
}

func placesAndMembers(t *testing.T, brokers []string) {
	b := dial(t, bus.Options{Brokers: brokers, ClientID: "looks"})
	name := createTopic(t, b, 2)
	id := "group-of-" + name
	if members, err := b.Members(t.Context(), id); err != nil || len(members) != 0 {
		t.Fatalf("an unknown group has members %v, %v", members, err)
	}
	if err := b.Append(t.Context(), stage.Outgoing{Topic: name, Partition: 0, Records: []stage.Record{{Value: []byte("a")}, {Value: []byte("b")}, {Value: []byte("c")}}}); err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	owned, ended := make(chan stage.Assignment, 2), make(chan error, 1)
	go func() {
		ended <- b.Group(bus.GroupOptions{ID: id, Topics: []string{name}}).Run(ctx, func(ctx context.Context, a stage.Assignment) error {
			if a.Partition == 0 {
				if err := a.Commit(ctx, 2); err != nil {
					return err
				}
			}
			owned <- a
			<-ctx.Done()
			return nil
		})
	}()
	<-owned
	<-owned
	members, err := b.Members(t.Context(), id)
	if err != nil || len(members) != 1 || len(members[0].Partitions[name]) != 2 || members[0].ClientID == "" {
		t.Errorf("members %+v, %v; want one with two partitions", members, err)
	}
	places, err := b.Places(t.Context(), id, name)
	if err != nil {
		t.Fatal(err)
	}
	want := []bus.Place{{Partition: 0, End: 3, Committed: 2}, {Partition: 1, Committed: stage.None}}
	if len(places) != 2 || places[0] != want[0] || places[1] != want[1] {
		t.Errorf("places %+v, want %+v", places, want)
	}
	if lag, err := b.Lag(t.Context(), id, name); err != nil || lag != 1 {
		t.Errorf("lag %d, %v; want 1", lag, err)
	}
	stop()
	if err := <-ended; err != nil {
		t.Fatal(err)
	}
	if members, err := b.Members(t.Context(), id); err != nil || len(members) != 0 {
		t.Errorf("after the end: members %v, %v", members, err)
	}
}
