// Package bench measures the whole pipeline, and the same join on Kafka Streams and
// Flink, on real servers of this machine.
//
// A workload enters, whose events and whose alerts follow from its size; what leaves
// is, for each run, the events per second, the CPU seconds and the peak memory of every
// process, and whether the alerts were exactly those that had to come.
//
// Guaranteed: everybody reads the same records from the same broker; one stopwatch, the
// one in this package, measures all: from the first record that is taken in to the
// moment when a read-committed consumer has seen every expected alert. A run with
// another set of alerts is void.
package bench

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"

	"settlewatch/pipelines/bus"
	"settlewatch/pipelines/servers"
)

// Options of a bench.
type Options struct {
	// Dir holds the servers' data and every log.
	Dir string
	// Binaries are the services' executables by name.
	Binaries map[string]string
	// Say receives one line per step. Progress receives how far a long step is.
	Say      func(format string, args ...any)
	Progress func(step string, done, total int64)
	// Profiles is a folder that receives a CPU profile of every service of ours;
	// empty takes none.
	Profiles string
}

// Bench is a broker with a filled log, and what is measured on it.
type Bench struct {
	options Options
	kafka   *servers.Kafka
	bus     *bus.Bus
	peers   string   // folder with their classes
	told    []string // servers and their versions
}

const (
	brokerName = "broker"
	logsFolder = "logs"
	// brokerHeap is Kafka's own default.
	brokerHeap = "1g"
)

// Start starts the broker.
func Start(ctx context.Context, o Options) (*Bench, error) {
	b := &Bench{options: o}
	if err := b.start(ctx); err != nil {
		return nil, errors.Join(fmt.Errorf("start bench: %w", err), b.Stop())
	}
	return b, nil
}

func (b *Bench) start(ctx context.Context) error {
	if err := os.MkdirAll(filepath.Join(b.options.Dir, logsFolder), 0o755); err != nil {
		return err
	}
	b.options.Say("starting Apache Kafka")
	log, err := b.openLog(brokerName)
	if err != nil {
		return err
	}
	b.kafka, err = servers.StartKafka(ctx, servers.KafkaOptions{
		Options: b.serverOptions(brokerName, log), Heap: brokerHeap,
	})
	if err != nil {
		return err
	}
	b.tell("Apache Kafka", b.kafka.Version())
	b.bus, err = bus.Dial(ctx, bus.Options{Brokers: []string{b.kafka.Addr()}, ClientID: "settlewatch-bench"})
	return err
}

// tell says which version of a server takes part, once.
func (b *Bench) tell(server, version string) {
	what := server + " " + version
	if !slices.Contains(b.told, what) {
		b.told = append(b.told, what)
		b.options.Say("  %s", what)
	}
}

// Stop ends the broker and removes its data.
func (b *Bench) Stop() error {
	if b.bus != nil {
		b.bus.Close()
	}
	if b.kafka == nil {
		return nil
	}
	return errors.Join(b.kafka.Stop(), os.RemoveAll(filepath.Join(b.options.Dir, brokerName)))
}

// Feed fills the input topics.
func (b *Bench) Feed(ctx context.Context, w Workload) error {
	b.options.Say("feeding %d events of %d payments", w.EventCount(), w.Payments)
	return Feed(ctx, b.bus, w, func(done, total int64) { b.options.Progress("written", done, total) })
}

func (b *Bench) serverOptions(name string, log io.Writer) servers.Options {
	return servers.Options{
		Dir: filepath.Join(b.options.Dir, name), Fresh: true, Log: log,
		Progress: func(what string, done, total int64) { b.options.Progress(what, done, total) },
	}
}

// openLog opens the log of a process, which lives as long as this program.
func (b *Bench) openLog(name string) (*os.File, error) {
	path := filepath.Join(b.options.Dir, logsFolder, name+".log")
	log, err := os.OpenFile(path, os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o644)
	if err != nil {
		return nil, fmt.Errorf("open log: %w", err)
	}
	return log, nil
}
