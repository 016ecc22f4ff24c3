package main

import (
	"fmt"
	"os"

	"github.com/spf13/cobra"

	"settlewatch/pipelines/bus"
	"settlewatch/pipelines/checkpoint"
	"settlewatch/pipelines/statestore"
	"settlewatch/schemas/topic"
	"settlewatch/services/boot"
	"settlewatch/tools/verify"
)

func verifyCommand() *cobra.Command {
	var partitions []int32
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "verify",
		Short: "Compare the joiner's state in Redis with a fold of the log",
		Long: `Folds the payment log up to the stored offset, in memory, and compares the result with
what Redis holds: payments, frontiers, positions, counts. Where they differ it names
the first difference of each partition: the payment and the field.

It changes nothing, and joiners may go on meanwhile. A log that was cut is folded from
the newest checkpoint. One partition's payments are in memory at a time.

Exit status: 0 equal; 1 something differs; 2 it could not run.`,
		Example: `  settlewatch verify
  settlewatch verify --partition 3
  settlewatch verify --json | jq '.partitions[] | select(.different > 0)'`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return runVerify(cmd, partitions, asJSON) },
	}
	flags := cmd.Flags()
	flags.Int32SliceVar(&partitions, "partition", nil, "only this partition of the payment log; may be given again (default: all)")
	flags.BoolVar(&asJSON, "json", false, "print the result as one JSON object")
	serverFlags(cmd, boot.NeedKafka|boot.NeedRedis)
	return cmd
}

func runVerify(cmd *cobra.Command, partitions []int32, asJSON bool) error {
	return withLogAndState(cmd, func(kafka *bus.Bus, redis *statestore.Client) error {
		show, done := progressOf("folding records of " + topic.PaymentLog.Name)
		r, err := verify.Run(cmd.Context(), verify.Options{
			Log:         kafka,
			Store:       func(p int32) verify.Store { return redis.Partition(topic.PaymentLog.Name, p) },
			Checkpoints: &checkpoint.Store{Log: kafka},
			Partitions:  partitions, Progress: show,
		})
		done()
		if err != nil {
			return err
		}
		return tell(r, asJSON, sayVerified)
	})
}

func sayVerified(r *verify.Report, p palette) {
	for _, part := range r.Parts {
		from := ""
		if part.From > 0 {
			from = fmt.Sprintf(", folded from the checkpoint at offset %d", part.From)
		}
		if d := part.First; d != nil {
			about := d.Field
			if d.Payment != "" {
				about = fmt.Sprintf("payment %s, %s", d.Payment, d.Field)
			}
			fmt.Printf("partition %d: %s, %d of %d payments differ%s\n  first: %s\n    stored: %s\n    folded: %s\n",
				part.Partition, p.bad("different"), part.Different, part.Payments, from, about, d.Stored, d.Folded)
			continue
		}
		fmt.Printf("partition %d: %s, %d payments at offset %d%s\n", part.Partition, p.good("equal"), part.Payments, part.Offset, from)
	}
	if !r.Equal() {
		fmt.Fprintln(os.Stderr, "settlewatch: Redis is not what the log gives; `settlewatch rebuild` has it folded again (deploy/runbooks/refused.md)")
	}
}
