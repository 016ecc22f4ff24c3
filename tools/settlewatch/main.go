// Command settlewatch is the tool that a person runs: the stack on this machine,
// the configuration, and what there is to see in a running installation.
package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"strings"
	"syscall"

	"github.com/spf13/cobra"

	"settlewatch/pipelines/servers"
	"settlewatch/services/boot"
)

// Exit statuses.
const (
	exitOK       = 0
	exitFindings = 1 // it ran, and something is missing or unexpected
	exitFailed   = 2 // it could not run
)

// errFindings ends a command that ran and has something to report, which it has
// said by then.
var errFindings = errors.New("something was found")

// The groups of commands in `settlewatch --help`.
const (
	groupRun     = "run"
	groupOperate = "operate"
	groupLook    = "look"
	groupFiles   = "files"
)

func main() {
	// The embedded ClickHouse is this program, run again.
	servers.MaybeRunChild()
	os.Exit(run())
}

func run() int {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	// The first Ctrl-C ends in good order; a second one ends at once.
	context.AfterFunc(ctx, stop)
	err := rootCommand().ExecuteContext(ctx)
	switch {
	case err == nil:
		return exitOK
	case errors.Is(err, errFindings):
		return exitFindings
	case ctx.Err() != nil:
		fmt.Fprintln(os.Stderr, "settlewatch: stopped")
		return exitFailed
	default:
		fmt.Fprintf(os.Stderr, "settlewatch: %v\n", err)
		return exitFailed
	}
}

func rootCommand() *cobra.Command {
	root := &cobra.Command{
		Use:   "settlewatch",
		Short: "The card was charged: where is the money?",
		Long: `Settlewatch joins authorization, capture and settlement events and raises an
alert when a payment was charged but not settled, or settled twice.

Commands that look at a running installation find the stack of this machine by
themselves (` + "`settlewatch up`" + `); flags, SETTLEWATCH_… in the environment or a file
of --config name another one.

Exit status: 0 done, 1 something was found that should not be there, 2 could not run.`,
		Example: `  settlewatch demo --once        see it work, in seconds
  settlewatch up                 a stack on this machine that stays
  settlewatch feed --rate 50     live traffic into it
  settlewatch status             how far each service is`,
		SilenceUsage: true, SilenceErrors: true,
	}
	root.AddGroup(&cobra.Group{ID: groupRun, Title: "Run it on this machine:"},
		&cobra.Group{ID: groupOperate, Title: "Operate an installation:"},
		&cobra.Group{ID: groupLook, Title: "Look into an installation:"},
		&cobra.Group{ID: groupFiles, Title: "Work without servers:"})
	root.SetFlagErrorFunc(func(cmd *cobra.Command, err error) error {
		return fmt.Errorf("%w\nSee `%s --help`", err, cmd.CommandPath())
	})
	add := func(group string, commands ...*cobra.Command) {
		for _, c := range commands {
			c.GroupID = group
			root.AddCommand(c)
		}
	}
	add(groupRun, demoCommand(), upCommand(), feedCommand(), benchCommand(), faultsCommand())
	add(groupOperate, applyCommand(), migrateCommand(), mendCommand(), statusCommand(), rebuildCommand(), verifyCommand(), auditCommand(), versionCommand())
	add(groupLook, alertsCommand(), paymentCommand(), deadCommand(), queryCommand(), whatifCommand())
	add(groupFiles, reconcileCommand(), profileCommand(), simCommand(), capacityCommand(), subscriberCheckCommand())
	return root
}

// arguments says what is wanted where the number of arguments is not what want
// accepts: cobra itself counts them only.
func arguments(want cobra.PositionalArgs, what string) cobra.PositionalArgs {
	return func(cmd *cobra.Command, args []string) error {
		if want(cmd, args) != nil {
			name := strings.TrimPrefix(cmd.CommandPath(), cmd.Root().Name()+" ")
			return fmt.Errorf("%s: %s\nSee `%s --help`", name, what, cmd.CommandPath())
		}
		return nil
	}
}

// serverFlags declares the flags that say where the servers are, as the services
// have them.
func serverFlags(cmd *cobra.Command, need boot.Need) {
	boot.AddFlags(cmd.Flags(), need)
	// The services' logging; the tool says what it has to say.
	for _, name := range []string{"log-level", "log-format"} {
		_ = cmd.Flags().MarkHidden(name) // fails only where there is no such flag
	}
}
