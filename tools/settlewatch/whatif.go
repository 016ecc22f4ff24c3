package main

import (
	"errors"
	"os"

	"github.com/spf13/cobra"

	"settlewatch/pipelines/checkpoint"
	"settlewatch/services/boot"
	"settlewatch/tools/whatif"
)

type whatifFlags struct {
	rules, from, until string
	limit              int
	fromCheckpoint     bool
	json               bool
}

func whatifCommand() *cobra.Command {
	var f whatifFlags
	cmd := &cobra.Command{
		Use:   "whatif --rules FILE",
		Short: "Replay the log under other rules and show which alerts would be others",
		Long: `Folds the payment log twice, in memory: under the configurations that it holds, and
with the rules of a file in their place. Shows which alerts would be raised only
before, only after, or would be others. Nothing is published and nothing is stored.

The file is one as for ` + "`settlewatch apply`" + `; the sources that it expects are replaced by
those of the log, because what arrived is given. --from and --until bound the moments
judged: only alerts with a revision in between are compared, as they stand at --until.

A partition whose log no longer begins at offset 0 begins with its newest checkpoint: the
other rules come into force there, what was said before stands, and the output says so.
With --from-checkpoint every partition does, which asks less of a long log: what would
change if these rules were applied there?

Exit status: 0 no alert would be another; 1 some would; 2 it could not run.`,
		Example: `  settlewatch whatif --rules t2.yaml
  settlewatch whatif --rules t2.yaml --from 2026-03-01T00:00:00+08:00 --until 2026-04-01T00:00:00+08:00
  settlewatch whatif --rules t2.yaml --json | jq -c 'select(.after == null)'`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return runWhatif(cmd, f) },
	}
	flags := cmd.Flags()
	flags.StringVar(&f.rules, "rules", "", "the other rules: a configuration `FILE` (required)")
	flags.StringVar(&f.from, "from", "", "only alerts judged at this `TIME` or later, RFC 3339 with offset")
	flags.StringVar(&f.until, "until", "", "only alerts judged before this `TIME`, RFC 3339 with offset")
	flags.BoolVar(&f.fromCheckpoint, "from-checkpoint", false, "begin with the newest checkpoints instead of the beginning of the log")
	flags.IntVar(&f.limit, "limit", 20, "how many alerts of each sort to show; 0 shows none")
	flags.BoolVar(&f.json, "json", false, "print one alert a line, and the summary as the last line")
	serverFlags(cmd, boot.NeedKafka)
	return cmd
}

func runWhatif(cmd *cobra.Command, f whatifFlags) error {
	if f.rules == "" {
		return errors.New("whatif: name the rules to try with --rules FILE; deploy/config/china-t1.yaml is an example")
	}
	config, err := readConfig(f.rules)
	if err != nil {
		return err
	}
	o := whatif.Options{Config: config}
	var errs [2]error
	o.FromMs, errs[0] = whatif.ParseMoment("from", f.from)
	o.UntilMs, errs[1] = whatif.ParseMoment("until", f.until)
	if err := errors.Join(errs[:]...); err != nil {
		return err
	}
	kafka, err := openKafka(cmd)
	if err != nil {
		return err
	}
	defer kafka.Close()
	show, done := progressOf("replaying records")
	o.Log, o.Progress = kafka, show
	o.Checkpoints, o.FromCheckpoint = &checkpoint.Store{Log: kafka}, f.fromCheckpoint
	r, err := whatif.Run(cmd.Context(), o)
	done()
	if err != nil {
		return err
	}
	if f.json {
		err = r.WriteJSON(os.Stdout)
	} else {
		err = r.WriteText(os.Stdout, f.limit)
	}
	if err == nil && r.Differs() {
		err = errFindings
	}
	return err
}
