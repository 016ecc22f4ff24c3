package boot

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"settlewatch/pipelines/statestore"
	"settlewatch/services/health"
	"settlewatch/services/telemetry"
)

// Exit statuses of every service.
const (
	exitOK     = 0
	exitFailed = 1 // it ran and could not go on, or did not end in time: start it again
	exitUsage  = 2 // it was told something it cannot use: starting it again does not help
	// exitRefused: going on would be wrong. A person has to act, see
	// deploy/runbooks/refused.md.
	exitRefused = 3
)

// Service is one microservice: its command line and what it does.
type Service struct {
	Name  string
	About string
	Need  Need
	// HTTPAddr is where it listens by default.
	HTTPAddr string
	// Run until ctx is done, which is no error.
	Run func(ctx context.Context, r *Run) error
}

// errUsage marks what exitUsage is for.
var errUsage = errors.New("settings")

// Main runs the service until SIGINT or SIGTERM and returns its exit status.
func Main(service Service) int {
	service.Need |= NeedService
	signals := make(chan os.Signal, 2)
	signal.Notify(signals, os.Interrupt, syscall.SIGTERM)
	defer signal.Stop(signals)
	cmd := &cobra.Command{
		Use: service.Name, Short: service.About, Long: service.About + "\n\n" + conduct,
		Args: noArguments, SilenceUsage: true, SilenceErrors: true,
		RunE: func(cmd *cobra.Command, _ []string) error {
			settings, err := Read(cmd.Flags(), service.Need)
			if err != nil {
				return fmt.Errorf("%w:\n%w", errUsage, err)
			}
			return service.live(cmd.Context(), settings, signals)
		},
	}
	AddFlags(cmd.Flags(), service.Need)
	listen := cmd.Flags().Lookup("http-addr")
	listen.DefValue = service.HTTPAddr
	_ = listen.Value.Set(service.HTTPAddr) // text takes any text
	cmd.SetFlagErrorFunc(func(cmd *cobra.Command, err error) error {
		// What else is wrong is told at the same time.
		_, others := Read(cmd.Flags(), service.Need)
		return fmt.Errorf("%w:\n%w", errUsage, errors.Join(flagMistake(err), others))
	})
	err := cmd.ExecuteContext(context.Background())
	switch {
	case err == nil:
		return exitOK
	case errors.Is(err, errUsage):
		fmt.Fprintf(os.Stderr, "%s: %v\nSee `%s --help` and docs/configuration.md.\n", service.Name, err, service.Name)
		return exitUsage
	case refused(err):
		return exitUsage
	case errors.Is(err, statestore.ErrUnsafe):
		return exitRefused
	default:
		return exitFailed
	}
}

func noArguments(cmd *cobra.Command, args []string) error {
	if err := cobra.NoArgs(cmd, args); err != nil {
		return fmt.Errorf("%w:\n%w", errUsage, err)
	}
	return nil
}

const conduct = `A flag stands before the environment (` + envPrefix + `KAFKA_BROKERS for --kafka-brokers), the
environment before the file of --config. Secrets have no flag.

SIGTERM and SIGINT end it: what was read is published and committed within
--shutdown-timeout. A second one ends it at once.

Exit status: 0 ended as asked; 1 could not go on, or did not end in time: start it
again; 2 wrong settings, or a server that refuses them; 3 a Redis that may drop state.

What must not be gone on with in one partition (a log that was cut or made anew, a
state or configuration of another version) ends nothing: the partition rests, and
/readyz, settlewatch_refused_partitions and the log say why.`

// live runs the service with everything around it.
func (service Service) live(ctx context.Context, settings Settings, signals <-chan os.Signal) error {
	log := newLogger(settings).With("service", service.Name)
	slog.SetDefault(log)
	traces, err := telemetry.NewTraces(ctx, service.Name, settings.Traces, log)
	if err != nil {
		return fmt.Errorf("%w: %w", errUsage, err)
	}
	r := &Run{
		Settings: settings, Log: log, traces: traces,
		Health: health.New(health.Options{StallAfter: settings.StallAfter}),
	}
	r.Metrics = telemetry.NewMetrics(service.Name, r.Health, time.Now)
	version, revision := telemetry.Version()
	log.Info("started", "pid", os.Getpid(), "version", version, "revision", revision)
	if settings.ClockOffset != 0 {
		log.Warn("the clock is shifted: this is for tests only", "clock_offset", settings.ClockOffset)
	}
	if settings.KafkaSASL != "" && settings.KafkaTLS == nil {
		log.Warn("the Kafka password goes over a connection that is not encrypted: set kafka-tls")
	}
	if settings.HTTPAddr != "" {
		stop, err := serve(settings.HTTPAddr, r)
		if err != nil {
			log.Error("ended", "error", err)
			return err
		}
		defer stop()
	}
	running, cancel := context.WithCancel(ctx)
	defer cancel()
	drain, nothingMore := context.WithCancel(ctx)
	defer nothingMore()
	r.drain = drain
	asked, ended := make(chan struct{}), make(chan struct{})
	go func() {
		s, open := <-signals
		if !open {
			return
		}
		close(asked)
		log.Info("asked to end", "signal", s.String(), "timeout", settings.ShutdownTimeout)
		r.end(nothingMore, cancel, signals, ended)
	}()
	err = service.Run(running, r)
	closing, done := context.WithTimeout(ctx, tracesGrace)
	defer done()
	if err := traces.Close(closing); err != nil {
		log.Warn("traces were not sent", "error", err)
	}
	// From here on nothing can take too long any more.
	close(ended)
	select {
	case <-asked:
		// Whatever fails now has only been repeated too late; the next start does it.
		if err != nil && !errors.Is(err, context.Canceled) {
			log.Warn("ended while something failed", "error", err)
		}
		log.Info("ended as asked")
		return nil
	default:
	}
	if err != nil {
		log.Error("ended", "error", err)
	}
	return err
}

const (
	// leaveGrace is kept of the time to end for leaving the groups.
	leaveGrace  = 3 * time.Second
	tracesGrace = 2 * time.Second
)

// end lets every partition finish what it has read, then ends the rest. It never
// takes longer than the settings say, and a second signal ends at once.
func (r *Run) end(nothingMore, cancel context.CancelFunc, signals <-chan os.Signal, ended <-chan struct{}) {
	timeout := r.Settings.ShutdownTimeout
	overall := time.NewTimer(timeout)
	patience := time.NewTimer(timeout - min(leaveGrace, timeout/3))
	r.Health.Ending()
	nothingMore()
	select {
	case <-r.owners.idle():
		r.Log.Info("all that was read is committed")
	case <-patience.C:
		r.Log.Warn("some of what was read is not committed: the next start does it again")
	case <-signals:
		r.Log.Warn("asked again: ending at once")
		os.Exit(exitFailed)
	}
	cancel()
	select {
	case <-ended:
		return
	case <-overall.C:
		r.Log.Error("did not end in time", "timeout", timeout)
	case <-signals:
		r.Log.Warn("asked again: ending at once")
	}
	os.Exit(exitFailed)
}

func newLogger(s Settings) *slog.Logger {
	options := &slog.HandlerOptions{Level: s.LogLevel}
	if s.LogJSON {
		return slog.New(slog.NewJSONHandler(os.Stderr, options))
	}
	return slog.New(slog.NewTextHandler(os.Stderr, options))
}

// Clock is the machine's, shifted where a test of skewed clocks says so.
type Clock struct{ Offset time.Duration }

// Now is the time of day.
func (c Clock) Now() time.Time { return time.Now().Add(c.Offset) }

// Sleep waits.
func (Clock) Sleep(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-timer.C:
		return nil
	}
}
