package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"settlewatch/pipelines/bus"
	"settlewatch/pipelines/join"
	"settlewatch/schemas/event"
	"settlewatch/schemas/ruleset"
	"settlewatch/schemas/topic"
	"settlewatch/services/boot"
	"settlewatch/tools/configlog"
)

type applyFlags struct {
	create, dryRun, yes, json bool
	replication               int
}

func applyCommand() *cobra.Command {
	var f applyFlags
	cmd := &cobra.Command{
		Use:   "apply FILE",
		Short: "Put a configuration into the log; shows the difference first",
		Long: `Checks a configuration (rules, calendars, expected sources), shows what it changes
compared to the one in force, asks, and appends it to ` + topic.Config.Name + `. From there it reaches
every partition of the payment log. It is in force for what is judged after its place
in the log, and never rewrites what was published.

Nothing is appended when nothing changes. On a terminal it asks before it appends.

Exit status: 0 applied, or nothing to change; 2 not applied.`,
		Example: `  settlewatch apply deploy/config/china-t1.yaml --dry-run
  settlewatch apply deploy/config/china-t1.yaml --kafka-brokers k1:9092,k2:9092
  settlewatch apply config.yaml --yes --create-topics --replication 3   # a new installation`,
		Args: arguments(cobra.ExactArgs(1), "name one configuration file to apply"),
		ValidArgsFunction: func(*cobra.Command, []string, string) ([]string, cobra.ShellCompDirective) {
			return []string{"yaml", "yml"}, cobra.ShellCompDirectiveFilterFileExt
		},
		RunE: func(cmd *cobra.Command, args []string) error { return runApply(cmd, args[0], f) },
	}
	flags := cmd.Flags()
	flags.BoolVar(&f.dryRun, "dry-run", false, "check and show the difference, append nothing")
	flags.BoolVarP(&f.yes, "yes", "y", false, "do not ask")
	flags.BoolVar(&f.json, "json", false, "print the result as one JSON object; asks nothing")
	flags.BoolVar(&f.create, "create-topics", false, "make the topics that are not there yet")
	flags.IntVar(&f.replication, "replication", 3, "replication of the topics that are made")
	serverFlags(cmd, boot.NeedKafka)
	return cmd
}

// applied is the object that --json prints.
type applied struct {
	// Number of the configuration that is in force at the end; absent where none is.
	Number     *int64 `json:"number,omitempty"`
	Before     *int64 `json:"number_before,omitempty"`
	Rules      string `json:"rules"`
	Groups     int    `json:"groups"`
	Applied    bool   `json:"applied"`
	Difference string `json:"difference"`
}

func runApply(cmd *cobra.Command, path string, f applyFlags) error {
	config, err := readConfig(path)
	if err != nil {
		return err
	}
	kafka, err := openKafka(cmd)
	if err != nil {
		return err
	}
	defer kafka.Close()
	ctx := cmd.Context()
	if f.create && !f.dryRun {
		if err := kafka.CreateTopics(ctx, topic.All, f.replication); err != nil {
			return fmt.Errorf("%w\n--replication %d needs as many brokers, and the right to create topics", err, f.replication)
		}
	}
	from, err := before(ctx, kafka)
	if err != nil {
		return err
	}
	// A dry run may come before the topics are made.
	if err := configlog.Complete(ctx, kafka, from, config); err != nil && (!f.dryRun || errors.Is(err, configlog.ErrPartitions)) {
		return err
	}
	if err := configlog.CheckSuccession(from, config); err != nil {
		return fmt.Errorf("%s:\n%w\nNew versions of a profile: docs/profiles.md", path, err)
	}
	out := applied{Rules: config.Rules, Groups: len(config.Groups)}
	if from != nil {
		out.Before, out.Number = &from.Number, &from.Number
	}
	if out.Difference, err = configlog.Difference(from, config, filepath.Base(path)); err != nil {
		return err
	}
	if !f.json {
		showDifference(os.Stdout, out.Difference)
	}
	if out.Difference != "" && !f.dryRun {
		if !f.yes && !f.json && !agreed(ctx, "Apply it?") {
			if ctx.Err() != nil {
				fmt.Fprintln(os.Stderr, "\nnothing was applied")
				return ctx.Err()
			}
			return errors.New("nothing was applied")
		}
		number, err := configlog.Append(ctx, kafka, config, time.Now())
		if err != nil {
			return err
		}
		out.Number, out.Applied = &number, true
	}
	return sayApplied(out, f)
}

func sayApplied(out applied, f applyFlags) error {
	if f.json {
		b, err := json.Marshal(out)
		if err != nil {
			return fmt.Errorf("encode result: %w", err)
		}
		_, err = fmt.Println(string(b))
		return err
	}
	var err error
	switch {
	case out.Applied:
		groups := "1 group"
		if out.Groups != 1 {
			groups = fmt.Sprintf("%d groups", out.Groups)
		}
		_, err = fmt.Printf("configuration %d: rules %s, %s\n", *out.Number, out.Rules, groups)
	case out.Difference == "":
		_, err = fmt.Printf("configuration %d says the same already: nothing to apply\n", *out.Number)
	default:
		_, err = fmt.Println("dry run: nothing was applied")
	}
	return err
}

// readConfig reads a file and checks what can be checked without a server.
func readConfig(path string) (*event.Config, error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("read configuration: %w", err)
	}
	config, err := ruleset.Parse(text)
	if err != nil {
		return nil, fmt.Errorf("%s:\n%w", path, err)
	}
	if err := configlog.Check(config); err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	if config.JoinVersion != join.Version {
		return nil, fmt.Errorf("%s: join_version %d, this release has %d: the joiners of this release would stop at it",
			path, config.JoinVersion, join.Version)
	}
	return config, nil
}

// before is the configuration in force, nil for none.
func before(ctx context.Context, kafka *bus.Bus) (*configlog.Numbered, error) {
	from, err := configlog.InForce(ctx, kafka)
	switch {
	case errors.Is(err, configlog.ErrNone):
		return nil, nil
	case err != nil:
		return nil, fmt.Errorf("%w\nIf the topics do not exist yet, --create-topics makes them", err)
	}
	return &from, nil
}

// showDifference prints a unified diff, in colour on a terminal.
func showDifference(out *os.File, diff string) {
	p := paletteOf(out)
	var b strings.Builder
	for line := range strings.Lines(diff) {
		text := strings.TrimSuffix(line, "\n")
		switch {
		case strings.HasPrefix(text, "---"), strings.HasPrefix(text, "+++"):
			text = p.bold(text)
		case strings.HasPrefix(text, "@@"):
			text = p.faint(text)
		case strings.HasPrefix(text, "+"):
			text = p.good(text)
		case strings.HasPrefix(text, "-"):
			text = p.bad(text)
		}
		b.WriteString(text + "\n")
	}
	_, _ = io.WriteString(out, b.String())
}

// agreed asks on a terminal; elsewhere there is nobody to ask and --yes is meant.
// Ctrl-C is a no.
func agreed(ctx context.Context, question string) bool {
	if !isTerminal(os.Stdin) || !isTerminal(os.Stderr) {
		return true
	}
	fmt.Fprint(os.Stderr, question+" [y/N] ")
	answer := make(chan string, 1)
	go func() {
		line, _ := bufio.NewReader(os.Stdin).ReadString('\n')
		answer <- strings.ToLower(strings.TrimSpace(line))
	}()
	select {
	case <-ctx.Done():
		return false
	case a := <-answer:
		return a == "y" || a == "yes"
	}
}
