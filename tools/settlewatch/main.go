// Command settlewatch is the tool that a person runs: the demonstration, the
// configuration, and the stack on this machine.
package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"syscall"

	"github.com/spf13/cobra"

	"settlewatch/pipelines/servers"
)

// Exit statuses.
const (
	exitOK       = 0
	exitFindings = 1 // it ran, and something is missing or unexpected
	exitFailed   = 2 // it could not run
)

// errFindings ends a command that ran and has something to report.
var errFindings = errors.New("not what was planted")

func main() {
	// The embedded ClickHouse is this program, run again.
	servers.MaybeRunChild()
	os.Exit(run())
}

func run() int {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	root := &cobra.Command{
		Use:   "settlewatch",
		Short: "The card was charged: where is the money?",
		Long: `Settlewatch joins authorization, capture and settlement events and raises an
alert when a payment was charged but not settled, or settled twice.

Exit status: 0 done, 1 something was found that should not be there, 2 could not run.`,
		SilenceUsage: true, SilenceErrors: true,
	}
	root.AddCommand(demoCommand(), applyCommand())
	err := root.ExecuteContext(ctx)
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
