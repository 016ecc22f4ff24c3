package main

import (
	"os"

	"github.com/spf13/cobra"

	"settlewatch/pipelines/bus"
	"settlewatch/pipelines/statestore"
	"settlewatch/pipelines/warehouse"
	"settlewatch/services/boot"
)

// withLogAndState runs what needs the log and the joiner's stored state.
func withLogAndState(cmd *cobra.Command, run func(kafka *bus.Bus, redis *statestore.Client) error) error {
	s, err := settings(cmd, boot.NeedKafka|boot.NeedRedis)
	if err != nil {
		return err
	}
	kafka, err := connectKafka(cmd, s)
	if err != nil {
		return err
	}
	defer kafka.Close()
	redis, err := connectRedis(cmd, s)
	if err != nil {
		return err
	}
	defer func() { _ = redis.Close() }() // what was done is acknowledged
	return run(kafka, redis)
}

// withTables runs what needs ClickHouse's tables only.
func withTables(cmd *cobra.Command, run func(tables *warehouse.Warehouse) error) error {
	s, err := settings(cmd, boot.NeedClickHouse)
	if err != nil {
		return err
	}
	tables, err := connectClickHouse(cmd, s)
	if err != nil {
		return err
	}
	defer func() { _ = tables.Close() }() // every statement was acknowledged
	return run(tables)
}

// comparison is the report of a command that holds two things to each other.
type comparison interface{ Equal() bool }

// tell prints a comparison, for programs or by say, and ends as what differs must.
func tell[R comparison](r R, asJSON bool, say func(R, palette)) error {
	if asJSON {
		if err := printJSON(os.Stdout, []any{r}); err != nil {
			return err
		}
	} else {
		say(r, paletteOf(os.Stdout))
	}
	if !r.Equal() {
		return errFindings
	}
	return nil
}
