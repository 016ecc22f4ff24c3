package main

import (
	"fmt"
	"io"
	"os"
	"time"

	"github.com/spf13/cobra"

	"settlewatch/services/boot"
	"settlewatch/tools/console"
)

type alertsFlags struct {
	follow, all, details, json bool
	kinds, statuses            []string
	merchant, since            string
}

func alertsCommand() *cobra.Command {
	var f alertsFlags
	cmd := &cobra.Command{
		Use:   "alerts",
		Short: "Watch the alerts",
		Long: `Shows the alerts of the alert topics, one a line: when it became certain, its
status and revision, what it is about, how much money, whose, and why. Of each
alert only the latest revision is shown; --all shows every one. It ends at the
topics' present end; with --follow it goes on and shows what comes.

--status and --merchant look at the revision that is shown: ` + "`--status open`" + ` is
what is open now. --since compares the moment that was judged: the time of the
events, which in a replay is not today's.

With --json each line is one alert exactly as it was published (see
schemas/alert/alert.schema.json).

Exit status: 0 done, whether there are alerts or not; 2 could not run.`,
		Example: `  settlewatch alerts --status open
  settlewatch alerts --follow
  settlewatch alerts --kind settled_twice --since 2025-10-01 --details
  settlewatch alerts --merchant M100012 --all
  settlewatch alerts --json | jq -s 'group_by(.kind) | map({(.[0].kind): length}) | add'`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return watchAlerts(cmd, f) },
	}
	flags := cmd.Flags()
	flags.BoolVarP(&f.follow, "follow", "f", false, "go on and show what comes, until Ctrl-C")
	flags.BoolVar(&f.all, "all", false, "every revision, not only the latest of each alert")
	flags.BoolVar(&f.details, "details", false, "amounts, due time with its arithmetic, closing and evidence under each line")
	flags.BoolVar(&f.json, "json", false, "one alert a line as JSON, as it was published")
	flags.StringSliceVar(&f.kinds, "kind", nil, "paid_unsettled or settled_twice")
	flags.StringSliceVar(&f.statuses, "status", nil, "open, resolved or retracted")
	flags.StringVar(&f.merchant, "merchant", "", "only this merchant")
	flags.StringVar(&f.since, "since", "", "judged since then: 2025-10-01, 2025-10-01T09:00:00+08:00, or before now as in 36h, 7d")
	boot.AddFlags(flags, boot.NeedKafka)
	return cmd
}

func (f *alertsFlags) filter() (console.Filter, error) {
	filter := console.Filter{Merchant: f.merchant}
	for _, k := range f.kinds {
		kind, err := console.ParseKind(k)
		if err != nil {
			return filter, err
		}
		filter.Kinds = append(filter.Kinds, kind)
	}
	for _, s := range f.statuses {
		status, err := console.ParseStatus(s)
		if err != nil {
			return filter, err
		}
		filter.Statuses = append(filter.Statuses, status)
	}
	if f.since == "" {
		return filter, nil
	}
	var err error
	filter.SinceMs, err = console.ParseSince(f.since, time.Now())
	return filter, err
}

func watchAlerts(cmd *cobra.Command, f alertsFlags) error {
	filter, err := f.filter()
	if err != nil {
		return err
	}
	kafka, err := openKafka(cmd)
	if err != nil {
		return err
	}
	defer kafka.Close()
	out, style, shown := cmd.OutOrStdout(), styleOf(cmd.OutOrStdout()), 0
	watch := &console.Watch{Log: kafka, Filter: filter, All: f.all, Follow: f.follow}
	err = watch.Run(cmd.Context(), func(r console.Revision) error {
		shown++
		if f.json {
			_, err := fmt.Fprintf(out, "%s\n", r.Body)
			return err
		}
		if _, err := fmt.Fprintln(out, style.Line(r.Alert)); err != nil || !f.details {
			return err
		}
		_, err := fmt.Fprint(out, style.Details(r.Alert))
		return err
	})
	if err == nil && shown == 0 && !f.follow && !f.json {
		fmt.Fprintln(cmd.ErrOrStderr(), "no alert matches")
	}
	return err
}

// styleOf a writer: colours on a terminal only, and not where NO_COLOR is set.
func styleOf(out io.Writer) console.Style {
	file, is := out.(*os.File)
	return console.Style{Colour: is && isTerminal(file) && os.Getenv("NO_COLOR") == ""}
}
