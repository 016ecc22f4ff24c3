package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"settlewatch/pipelines/bus"
	"settlewatch/schemas/alert"
	"settlewatch/schemas/event"
	"settlewatch/services/boot"
	"settlewatch/tools/configlog"
	"settlewatch/tools/livefeed"
)

func feedCommand() *cobra.Command {
	var o livefeed.Options
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "feed",
		Short: "Write live card traffic at a rate until Ctrl-C",
		Long: `Writes invented card traffic that happens now into the raw topics. Most payments are
settled within seconds; about four in a hundred are planted mistakes (settled twice,
or a payment of last week without its money), so that alerts come while you look.

It is for trying things out: the payments cannot be told from real ones, so never
feed an installation that watches real money. One feed runs at a time.

Exit status: 0 ended as asked, 2 could not run.`,
		Example: `  settlewatch feed
  settlewatch feed --rate 200 --for 1m
  settlewatch feed --payments 1000 --seed 7 --json`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return runFeed(cmd, o, asJSON) },
	}
	flags := cmd.Flags()
	flags.Float64Var(&o.Rate, "rate", 20, "payments a second, two to three records each")
	flags.Uint64Var(&o.Seed, "seed", 1, "the same seed gives the same stories and amounts")
	flags.IntVar(&o.Payments, "payments", 0, "end after so many payments (default: no end)")
	flags.DurationVar(&o.For, "for", 0, "end after so long, such as 90s or 10m (default: no end)")
	flags.BoolVar(&asJSON, "json", false, "print the totals as one JSON object at the end")
	serverFlags(cmd, boot.NeedKafka)
	return cmd
}

func runFeed(cmd *cobra.Command, o livefeed.Options, asJSON bool) error {
	switch {
	case o.Rate <= 0 || o.Rate > livefeed.RateMax:
		return fmt.Errorf("--rate %g: want more than 0 and at most %d payments a second", o.Rate, livefeed.RateMax)
	case o.Payments < 0:
		return fmt.Errorf("--payments %d: want more than 0", o.Payments)
	case o.For < 0:
		return fmt.Errorf("--for %s: want more than 0", o.For)
	}
	kafka, err := openKafka(cmd)
	if err != nil {
		return err
	}
	defer kafka.Close()
	ctx := cmd.Context()
	if err := expectsLive(ctx, kafka); err != nil {
		return err
	}
	screen := newScreen(os.Stderr)
	screen.say("feeding %g payments a second until Ctrl-C or the end", o.Rate)
	totals, err := livefeed.Run(ctx, kafka, o, screen.fed())
	screen.finishFeed()
	if err != nil {
		return err
	}
	if asJSON {
		b, err := json.Marshal(totals)
		if err != nil {
			return fmt.Errorf("encode result: %w", err)
		}
		_, err = fmt.Println(string(b))
		return err
	}
	_, err = fmt.Printf("%s, in %.0f s\n", feedTotals(totals), totals.Seconds)
	return err
}

// expectsLive refuses where live traffic would never be judged.
func expectsLive(ctx context.Context, kafka *bus.Bus) error {
	config, err := configlog.InForce(ctx, kafka)
	if errors.Is(err, configlog.ErrNone) {
		return fmt.Errorf("%w: nothing would be judged; `settlewatch apply FILE` first", err)
	}
	if err != nil {
		return err
	}
	for _, g := range config.Groups {
		for _, s := range g.Sources {
			if s.Clock == event.Clock_CLOCK_PLAYED {
				return fmt.Errorf("configuration %d expects played sources (%s), as the demo does: live traffic would never be judged; "+
					"`settlewatch up` has live ones, or apply a configuration with clock: live", config.Number, s.Name)
			}
		}
	}
	return nil
}

func feedTotals(t livefeed.Totals) string {
	planted := make([]string, 0, len(alert.Kinds))
	for _, k := range alert.Kinds {
		planted = append(planted, fmt.Sprintf("%d %s", t.Planted[k], k))
	}
	return fmt.Sprintf("%d payments, %d records; planted alerts: %s", t.Payments, t.Records, strings.Join(planted, ", "))
}

// feedQuiet is the pause between two lines where there is no terminal.
const feedQuiet = 10 * time.Second

// fed shows the totals: one line that changes on a terminal, a line now and then
// elsewhere. The rate is that since the line before.
func (s *screen) fed() func(livefeed.Totals) {
	pause := feedQuiet
	if s.terminal {
		pause = time.Second
	}
	last, lastPayments := time.Now(), 0
	return func(t livefeed.Totals) {
		now := time.Now()
		since := now.Sub(last)
		if since < pause {
			return
		}
		line := fmt.Sprintf("%.1f payments a second; %s", float64(t.Payments-lastPayments)/since.Seconds(), feedTotals(t))
		last, lastPayments = now, t.Payments
		s.mu.Lock()
		defer s.mu.Unlock()
		if s.terminal {
			line = "\r\x1b[K" + s.cut(line)
		} else {
			line += "\n"
		}
		s.line(line)
	}
}

// finishFeed takes the changing line away: the totals follow.
func (s *screen) finishFeed() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.terminal {
		s.line("\r\x1b[K")
	}
}
