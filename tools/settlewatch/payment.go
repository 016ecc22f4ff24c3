package main

import (
	"errors"
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"settlewatch/schemas/event"
	"settlewatch/schemas/topic"
	"settlewatch/services/boot"
	"settlewatch/tools/console"
)

func paymentCommand() *cobra.Command {
	var asJSON bool
	var partitions int
	cmd := &cobra.Command{
		Use:   "payment KEY",
		Short: "Show one payment's timeline",
		Long: `Shows what is known of one payment: its events with the places of their raw
records and in the payment log, what is owed and when it is due with the
arithmetic, its alerts with all revisions, live from Redis and from ClickHouse,
and whether the two agree. Where one of them cannot be read, the other is shown.

The key is acquirer|o|order_id, or acquirer|r|rrn|terminal_id|payment_date. Put it
in quotes: the shell takes | for a pipe.

The column "in Redis" says how the joiner holds an event: judged; waits (for the
frontier); unread (the joiner has not come to it); said again (a repeat, or
another content under the same identity: of no effect); no amount (a fee or a
dispute: counted only); no longer (its life of the payment has ended).

Exit status: 0 known, and the two agree or only one was read; 1 nobody knows the
payment, or they differ; 2 could not run.`,
		Example: `  settlewatch payment 'umpay|o|A-20251001-7'
  settlewatch payment 'acq-north|r|000000000718|31001573|2025-10-04' --json
  settlewatch alerts --status open --json | jq -r .payment_key | head -1 | xargs -d '\n' settlewatch payment`,
		Args: arguments(cobra.ExactArgs(1), "name one payment by its key, in quotes: the shell takes | for a pipe"),
		RunE: func(cmd *cobra.Command, args []string) error {
			return showPayment(cmd, event.PaymentKey(args[0]), partitions, asJSON)
		},
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "one JSON object")
	cmd.Flags().IntVar(&partitions, "log-partitions", topic.PaymentLog.Partitions, "partitions of "+topic.PaymentLog.Name)
	boot.AddFlags(cmd.Flags(), boot.NeedRedis|boot.NeedClickHouse)
	return cmd
}

func showPayment(cmd *cobra.Command, key event.PaymentKey, partitions int, asJSON bool) error {
	if partitions < 1 {
		return fmt.Errorf("--log-partitions %d: want 1 or more", partitions)
	}
	s, err := settings(cmd, boot.NeedRedis|boot.NeedClickHouse)
	if err != nil {
		return err
	}
	t := &console.Timeline{Key: key, LogPartition: topic.Partition([]byte(key), partitions)}
	var similar []string
	// Redis first: then a running stream makes ClickHouse the one that knows more.
	t.Live, t.LiveProblem = readLive(cmd, s, t)
	t.Recorded, similar, t.RecordedProblem = readRecorded(cmd, s, t)
	if err := cmd.Context().Err(); err != nil {
		return err
	}
	if t.Live == nil && t.Recorded == nil {
		return fmt.Errorf("read payment %s: %w", key, errors.Join(t.LiveProblem, t.RecordedProblem))
	}
	if !t.Known() {
		return unknownPayment(cmd, t, similar)
	}
	if asJSON {
		err = t.WriteJSON(cmd.OutOrStdout())
	} else {
		err = t.Write(cmd.OutOrStdout(), styleOf(cmd.OutOrStdout()))
	}
	if err != nil {
		return err
	}
	if a := console.Compare(t.Live, t.Recorded); a.Compared && !a.Agree {
		return errFindings
	}
	return nil
}

func readLive(cmd *cobra.Command, s boot.Settings, t *console.Timeline) (*console.Live, error) {
	client, err := connectRedis(cmd, s)
	if err != nil {
		return nil, err
	}
	live, err := console.ReadLive(cmd.Context(), client.Partition(topic.PaymentLog.Name, t.LogPartition), t.Key)
	if err = errors.Join(err, client.Close()); err != nil {
		return nil, err
	}
	return live, nil
}

func readRecorded(cmd *cobra.Command, s boot.Settings, t *console.Timeline) (*console.Recorded, []string, error) {
	w, err := connectClickHouse(cmd, s)
	if err != nil {
		return nil, nil, err
	}
	recorded, err := console.ReadRecorded(cmd.Context(), w, t.Key)
	var similar []string
	if err == nil && len(recorded.Events) == 0 {
		similar, err = console.Similar(cmd.Context(), w, string(t.Key))
	}
	if err = errors.Join(err, w.Close()); err != nil {
		return nil, nil, err
	}
	return recorded, similar, nil
}

// unknownPayment says so, and what the key might have meant.
func unknownPayment(cmd *cobra.Command, t *console.Timeline, similar []string) error {
	var b strings.Builder
	fmt.Fprintf(&b, "settlewatch: no payment %s is known", t.Key)
	for _, missed := range []struct {
		name    string
		problem error
	}{{"Redis", t.LiveProblem}, {"ClickHouse", t.RecordedProblem}} {
		if missed.problem != nil {
			fmt.Fprintf(&b, " (%s was not read: %v)", missed.name, missed.problem)
		}
	}
	b.WriteString("\n")
	if len(similar) > 0 {
		b.WriteString("These keys contain it:\n")
		for _, k := range similar {
			fmt.Fprintf(&b, "  settlewatch payment '%s'\n", k)
		}
	} else {
		b.WriteString("A key is acquirer|o|order_id or acquirer|r|rrn|terminal_id|payment_date, in quotes. A record that could not\nbe read makes no payment: see `settlewatch dead`.\n")
	}
	fmt.Fprint(cmd.ErrOrStderr(), b.String())
	return errFindings
}
