package main

import (
	"context"
	"fmt"
	"os"
	"time"

	"github.com/spf13/cobra"

	"settlewatch/pipelines/bus"
	"settlewatch/schemas/ruleset"
	"settlewatch/schemas/topic"
	"settlewatch/tools/demo"
)

func applyCommand() *cobra.Command {
	var brokers []string
	var create bool
	var replication int
	cmd := &cobra.Command{
		Use:   "apply FILE",
		Short: "Put a configuration into the log",
		Long: `Checks a configuration (rules, calendars, expected sources) and appends it to ` + topic.Config.Name + `,
from where it reaches every partition of the payment log. It is in force for what is judged
after its place in the log, and never rewrites what was published.`,
		Example: `  settlewatch apply deploy/config/china-t1.yaml --kafka-brokers k1:9092,k2:9092
  settlewatch apply config.yaml --create-topics --replication 3`,
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			return apply(cmd.Context(), args[0], brokers, create, replication)
		},
	}
	cmd.Flags().StringSliceVar(&brokers, "kafka-brokers", []string{"127.0.0.1:9092"}, "Kafka brokers, host:port,…")
	cmd.Flags().BoolVar(&create, "create-topics", false, "make the topics that are not there yet")
	cmd.Flags().IntVar(&replication, "replication", 3, "replication of the topics that are made")
	return cmd
}

func apply(ctx context.Context, path string, brokers []string, create bool, replication int) error {
	text, err := os.ReadFile(path)
	if err != nil {
		return fmt.Errorf("read configuration: %w", err)
	}
	config, err := ruleset.Parse(text)
	if err != nil {
		return fmt.Errorf("%s: %w", path, err)
	}
	kafka, err := bus.Dial(ctx, bus.Options{Brokers: brokers, ClientID: "settlewatch-apply", WaitReady: 10 * time.Second})
	if err != nil {
		return err
	}
	defer kafka.Close()
	if create {
		if err := kafka.CreateTopics(ctx, topic.All, replication); err != nil {
			return err
		}
	}
	number, err := demo.Apply(ctx, kafka, config)
	if err != nil {
		return err
	}
	_, err = fmt.Printf("configuration %d: rules %s, %d groups\n", number, config.Rules, len(config.Groups))
	return err
}
