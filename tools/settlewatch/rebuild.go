package main

import (
	"errors"
	"fmt"
	"os"

	"github.com/spf13/cobra"

	"settlewatch/pipelines/bus"
	"settlewatch/pipelines/checkpoint"
	"settlewatch/pipelines/statestore"
	"settlewatch/schemas/topic"
	"settlewatch/services/boot"
	"settlewatch/tools/rebuild"
)

type rebuildFlags struct {
	partitions                        []int32
	fromCheckpoint, yes, noWait, json bool
}

func rebuildCommand() *cobra.Command {
	var f rebuildFlags
	cmd := &cobra.Command{
		Use:   "rebuild",
		Short: "Have the joiner's state folded again from the log",
		Long: `Takes the stored state of one or all partitions away. Their joiners find themselves
fenced, load nothing, and fold the payment log again from its beginning, by the same
code as ever: they publish the same alerts with the same ids and revisions, which
subscribers know already. Then it waits until they have caught up.

It checks first that a fold can begin, and changes nothing where it cannot. The
checkpoints of the partitions are discarded, because what made the state wrong may be
in them; --from-checkpoint keeps them and begins with the newest, which is what a log
with a bounded retention needs.

While a partition is folded, its new alerts wait. Ctrl-C ends the waiting only.

Exit status: 0 rebuilt; 2 it could not begin, or no joiner takes it up.`,
		Example: `  settlewatch rebuild --partition 3
  settlewatch rebuild --from-checkpoint --yes
  settlewatch rebuild --yes --no-wait --json`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return runRebuild(cmd, f) },
	}
	flags := cmd.Flags()
	flags.Int32SliceVar(&f.partitions, "partition", nil, "only this partition of the payment log; may be given again (default: all)")
	flags.BoolVar(&f.fromCheckpoint, "from-checkpoint", false, "begin with the newest checkpoint instead of the beginning of the log")
	flags.BoolVarP(&f.yes, "yes", "y", false, "do not ask")
	flags.BoolVar(&f.noWait, "no-wait", false, "do not wait until the joiners have caught up")
	flags.BoolVar(&f.json, "json", false, "print the result as one JSON object; asks nothing")
	serverFlags(cmd, boot.NeedKafka|boot.NeedRedis)
	return cmd
}

func runRebuild(cmd *cobra.Command, f rebuildFlags) error {
	return withLogAndState(cmd, func(kafka *bus.Bus, redis *statestore.Client) error {
		what := "all partitions"
		if len(f.partitions) > 0 {
			what = fmt.Sprintf("partitions %v", f.partitions)
		}
		if !f.yes && !f.json && !agreed(cmd.Context(), "Take the stored state of "+what+" away and have it folded again?") {
			return errors.New("nothing was changed")
		}
		show, done := progressOf("folding records of " + topic.PaymentLog.Name)
		r, err := rebuild.Run(cmd.Context(), rebuild.Options{
			Log:            kafka,
			Store:          func(p int32) rebuild.Store { return redis.Partition(topic.PaymentLog.Name, p) },
			Checkpoints:    &checkpoint.Store{Log: kafka},
			FromCheckpoint: f.fromCheckpoint, Partitions: f.partitions, Wait: !f.noWait, Progress: show,
		})
		done()
		if err != nil {
			return err
		}
		if f.json {
			return printJSON(os.Stdout, []any{r})
		}
		sayRebuilt(r, f.noWait)
		return nil
	})
}

func sayRebuilt(r *rebuild.Report, noWait bool) {
	for _, p := range r.Parts {
		state := fmt.Sprintf("folded from offset %d to %d", p.From, p.Offset)
		if noWait {
			state = fmt.Sprintf("taken away; to be folded from offset %d to %d", p.From, p.End)
		}
		fmt.Printf("partition %d: %s\n", p.Partition, state)
	}
}
