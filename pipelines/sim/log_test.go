package sim_test

import (
	"context"
	"errors"
	"fmt"
	"testing"

	"settlewatch/pipelines/sim"
	"settlewatch/pipelines/stage"
	"settlewatch/pipelines/stage/conformance"
)

func TestLogConforms(t *testing.T) {
	for _, limit := range []int{1, sim.DefaultBatchRecords} {
		t.Run(fmt.Sprintf("batches of %d", limit), func(t *testing.T) {
			conformance.Log(t, func(*testing.T) conformance.Bus {
				log := sim.NewLog()
				log.LimitBatch(limit)
				topics := 0
				return conformance.Bus{
					Log:   log,
					Group: log.Group,
					CreateTopic: func(t *testing.T, partitions int) string {
						t.Helper()
						topics++
						topic := fmt.Sprintf("topic-%d", topics)
						if err := log.CreateTopic(topic, partitions); err != nil {
							t.Fatal(err)
						}
						return topic
					},
				}
			})
		})
	}
}

func TestTrimAndRecreate(t *testing.T) {
	log := sim.NewLog()
	ctx := context.Background()
	if err := log.CreateTopic("t", 1); err != nil {
		t.Fatal(err)
	}
	for range 5 {
		if err := log.Append(ctx, stage.Outgoing{Topic: "t", Partition: 0, Records: []stage.Record{{Value: []byte("v")}}}); err != nil {
			t.Fatal(err)
		}
	}
	reader, err := log.Open("t", 0)
	if err != nil {
		t.Fatal(err)
	}
	if err := log.Trim("t", 0, 3); err != nil {
		t.Fatal(err)
	}
	if _, err := reader.Fetch(ctx, 2, 0); !errors.Is(err, stage.ErrOffsetOutOfRange) {
		t.Errorf("fetch below the start returned %v", err)
	}
	batch, err := reader.Fetch(ctx, 3, 0)
	if err != nil || len(batch.Records) != 2 || batch.LogStart != 3 || batch.Records[0].Offset != 3 {
		t.Errorf("fetch at the start = %+v, %v", batch, err)
	}
	kept := batch.Records[0].Value
	if err := log.Recreate("t"); err != nil {
		t.Fatal(err)
	}
	if _, err := reader.Fetch(ctx, 3, 0); !errors.Is(err, stage.ErrOffsetOutOfRange) {
		t.Errorf("fetch from a recreated topic returned %v", err)
	}
	if string(kept) == "v" {
		t.Error("a record outlived the next fetch")
	}
}
