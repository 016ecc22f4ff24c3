package main

import (
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"settlewatch/services/boot"
	"settlewatch/tools/audit"
)

func auditCommand() *cobra.Command {
	var topics []string
	var within string
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "audit",
		Short: "Compare ClickHouse with Kafka, range by range",
		Long: `Compares the tables with what the warehouse has loaded them from: events by their
origin, alerts by id and revision, payments by key and life. Of each range the number of
rows and a checksum over them are made by both sides; where they differ, the first row
is named that is missing in ClickHouse, too many there, or another.

It changes nothing. Repeats in a topic count once. What is not loaded yet is shown and
is no finding. Of a payment only the newest snapshot is compared, for payments.v1 is
compacted: a row that stands above what compaction has left is counted as newer, one
below it is a finding. Topics: ` + strings.Join(audit.Topics(), ", ") + `.

Exit status: 0 equal; 1 something differs; 2 it could not run.`,
		Example: `  settlewatch audit
  settlewatch audit --topic alerts.settled-twice.v1
  settlewatch audit --range payment-log.v1/0:0-100000
  settlewatch audit --json | jq '.parts[] | select(.different > 0)'`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			o := audit.Options{Topics: topics}
			if within != "" {
				var err error
				if o.Range, err = audit.ParseRange(within); err != nil {
					return err
				}
			}
			return runAudit(cmd, o, asJSON)
		},
	}
	flags := cmd.Flags()
	flags.StringSliceVar(&topics, "topic", nil, "only this topic; may be given again")
	flags.StringVar(&within, "range", "", "only these offsets: topic/partition:from-until")
	flags.BoolVar(&asJSON, "json", false, "print the result as one JSON object")
	cmd.MarkFlagsMutuallyExclusive("topic", "range")
	serverFlags(cmd, boot.NeedKafka|boot.NeedClickHouse)
	return cmd
}

func runAudit(cmd *cobra.Command, o audit.Options, asJSON bool) error {
	s, err := settings(cmd, boot.NeedKafka|boot.NeedClickHouse)
	if err != nil {
		return err
	}
	kafka, err := connectKafka(cmd, s)
	if err != nil {
		return err
	}
	defer kafka.Close()
	tables, err := connectClickHouse(cmd, s)
	if err != nil {
		return err
	}
	defer func() { _ = tables.Close() }() // it only read
	show, done := progressOf("comparing records")
	o.Log, o.Tables, o.Progress = kafka, tables, show
	r, err := audit.Run(cmd.Context(), o)
	done()
	if err != nil {
		return err
	}
	return tell(r, asJSON, sayAudited)
}

func sayAudited(r *audit.Report, p palette) {
	for _, part := range r.Parts {
		place := part.Topic
		if part.Partition >= 0 {
			place += fmt.Sprintf("/%d", part.Partition)
		}
		verdict := p.good("equal")
		if part.Different > 0 {
			verdict = p.bad("different")
		}
		fmt.Printf("%-26s %s: %d rows of %d records, %d in ClickHouse", place, verdict, part.Rows, part.Records, part.InClickHouse)
		if part.NotLoaded > 0 {
			fmt.Printf("; %d records are not loaded yet", part.NotLoaded)
		}
		if part.Newer > 0 {
			fmt.Printf("; %d of them newer than the topic still holds", part.Newer)
		}
		fmt.Println()
		if part.Different > 0 {
			fmt.Printf("  %d of %d ranges differ\n", part.Different, part.Ranges)
		}
		if f := part.First; f != nil {
			at := ""
			if f.Offset >= 0 {
				at = fmt.Sprintf(", offset %d of the topic", f.Offset)
			}
			fmt.Printf("  first: %s: %s%s\n", f.What, f.Row, at)
		}
	}
}
