// Command subscriber is an example of a downstream service in Go: it prints each
// new fact about missing or doubled money once, and goes on after a restart where
// it stopped. Copy it; what is particular to it is the function handle.
package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/signal"
	"syscall"

	"github.com/spf13/pflag"

	"settlewatch/pipelines/subscribe"
	"settlewatch/schemas/alert"
	"settlewatch/services/boot"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "subscriber:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, args []string) error {
	flags := pflag.NewFlagSet("subscriber", pflag.ContinueOnError)
	boot.AddFlags(flags, boot.NeedKafka)
	path := flags.String("positions", "positions.json", "file that keeps where to go on")
	once := flags.Bool("once", false, "end when everything that is there is handled")
	if err := flags.Parse(args); err != nil {
		if errors.Is(err, pflag.ErrHelp) {
			return nil
		}
		return err
	}
	settings, err := boot.Read(flags, boot.NeedKafka)
	if err != nil {
		return err
	}
	kafka, err := boot.ConnectKafka(ctx, settings, slog.New(slog.NewTextHandler(os.Stderr, nil)), "example-subscriber")
	if err != nil {
		return err
	}
	defer kafka.Close()
	stored, err := openPositions(*path)
	if err != nil {
		return err
	}
	subscriber := &subscribe.Subscriber{Log: kafka, Positions: stored, Handle: handle}
	if *once {
		return subscriber.CatchUp(ctx)
	}
	return subscriber.Run(ctx)
}

// handle is where a service does its work. It may be called again with an alert
// after a crash, so the work is keyed by id and revision.
func handle(_ context.Context, d subscribe.Delivery) error {
	a := d.Alert
	switch {
	case a.Status != alert.Open:
		fmt.Printf("%s:%d %s: over, nothing to do\n", a.ID, a.Revision, a.PaymentKey)
	case a.Kind == alert.PaidUnsettled:
		fmt.Printf("%s:%d %s: ask %s for %d %s (minor units) of merchant %s\n",
			a.ID, a.Revision, a.PaymentKey, a.Acquirer, a.AmountMinor, a.Currency, a.Merchant)
	case a.Kind == alert.SettledTwice:
		fmt.Printf("%s:%d %s: merchant %s received %d %s (minor units) too much\n",
			a.ID, a.Revision, a.PaymentKey, a.Merchant, a.AmountMinor, a.Currency)
	}
	return nil
}
