// Package configlog is the configuration topic as the tool uses it: what is in
// force, what another CONFIG would change, and appending one.
//
// In go the topic and a CONFIG; out come the CONFIG in force with its number, the
// difference between two as people read it, and the number of the one appended.
// Guaranteed: only what this release can judge by is appended.
package configlog

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/aymanbagabas/go-udiff"

	"settlewatch/pipelines/calendar"
	"settlewatch/pipelines/stage"
	"settlewatch/schemas/event"
	"settlewatch/schemas/ruleset"
	"settlewatch/schemas/topic"
)

// Numbered is a CONFIG with its number: its offset in the configuration topic.
type Numbered struct {
	*event.Config
	Number int64
}

// ErrNone is a configuration topic without a record.
var ErrNone = errors.New("no configuration was applied yet")

// fetchWait is how long one fetch waits for data that is known to be there.
const fetchWait = 2 * time.Second

// InForce reads the latest CONFIG: ErrNone where there is none. It is the one that
// counts for what is appended to the payment log from now on; a partition of the
// log whose joiner is behind still judges by an earlier one.
func InForce(ctx context.Context, log stage.Log) (Numbered, error) {
	name := topic.Config.Name
	reader, err := log.Open(name, 0)
	if err != nil {
		return Numbered{}, fmt.Errorf("open %s: %w", name, err)
	}
	defer func() { _ = reader.Close() }()
	first, end, err := reader.Bounds(ctx)
	if err != nil {
		return Numbered{}, fmt.Errorf("read %s: %w", name, err)
	}
	latest := Numbered{Number: -1}
	for next := first; next < end; {
		batch, err := reader.Fetch(ctx, next, fetchWait)
		if err != nil {
			return Numbered{}, fmt.Errorf("read %s at %d: %w", name, next, err)
		}
		for _, r := range batch.Records {
			if r.Offset < next {
				continue
			}
			config := new(event.Config)
			if err := config.UnmarshalVT(r.Value); err != nil {
				return Numbered{}, fmt.Errorf("decode configuration %d: %w", r.Offset, err)
			}
			latest = Numbered{Config: config, Number: r.Offset}
		}
		next = max(next, batch.Next)
	}
	if latest.Config == nil {
		return Numbered{}, ErrNone
	}
	return latest, nil
}

// Difference is a unified diff from the CONFIG in force, nil for none, to
// another one, both as ruleset.Render writes them; empty where they are equal.
func Difference(from *Numbered, to *event.Config, toName string) (string, error) {
	var before []byte
	fromName := "(nothing in force)"
	if from != nil {
		var err error
		if before, err = ruleset.Render(from.Config); err != nil {
			return "", fmt.Errorf("configuration %d: %w", from.Number, err)
		}
		fromName = fmt.Sprintf("configuration %d, in force", from.Number)
	}
	after, err := ruleset.Render(to)
	if err != nil {
		return "", err
	}
	return udiff.Unified(fromName, toName, string(before), string(after)), nil
}

// Check tells whether this release can judge by a CONFIG: its structure, and the
// calendars, zones and cycles that it names.
func Check(config *event.Config) error {
	if err := ruleset.Validate(config); err != nil {
		return fmt.Errorf("check configuration: %w", err)
	}
	if _, err := calendar.Compile(config); err != nil {
		return fmt.Errorf("check configuration: %w", err)
	}
	return nil
}

// ErrPartitions is a CONFIG for a payment log of another number of partitions.
var ErrPartitions = errors.New("the payment log has another number of partitions")

// Complete fills in how many partitions the payment log has, which is the
// installation's and not the rule file's. The number never changes: a CONFIG, or one
// in force (nil for none), that says another one is refused.
func Complete(ctx context.Context, log stage.Log, from *Numbered, config *event.Config) error {
	n, err := log.Partitions(ctx, topic.PaymentLog.Name)
	if err != nil {
		return fmt.Errorf("count partitions of %s: %w", topic.PaymentLog.Name, err)
	}
	if from != nil && from.LogPartitions != 0 && int(from.LogPartitions) != n {
		return fmt.Errorf("%w: %s has %d, and had %d when configuration %d was applied; see deploy/runbooks/refused.md",
			ErrPartitions, topic.PaymentLog.Name, n, from.LogPartitions, from.Number)
	}
	if config.LogPartitions != 0 && int(config.LogPartitions) != n {
		return fmt.Errorf("%w: %s has %d, log_partitions says %d", ErrPartitions, topic.PaymentLog.Name, n, config.LogPartitions)
	}
	config.LogPartitions = uint32(n)
	return nil
}

// Append checks a CONFIG and appends it to the configuration topic, from where it
// reaches every partition of the payment log. It completes config, and returns its
// number.
func Append(ctx context.Context, log stage.Log, config *event.Config, now time.Time) (int64, error) {
	if err := Check(config); err != nil {
		return 0, err
	}
	if err := Complete(ctx, log, nil, config); err != nil {
		return 0, err
	}
	value, err := config.MarshalVT()
	if err != nil {
		return 0, fmt.Errorf("encode configuration: %w", err)
	}
	reader, err := log.Open(topic.Config.Name, 0)
	if err != nil {
		return 0, fmt.Errorf("open %s: %w", topic.Config.Name, err)
	}
	defer func() { _ = reader.Close() }()
	_, number, err := reader.Bounds(ctx)
	if err != nil {
		return 0, fmt.Errorf("read %s: %w", topic.Config.Name, err)
	}
	err = log.Append(ctx, stage.Outgoing{Topic: topic.Config.Name, Partition: 0, Records: []stage.Record{{Value: value, TimeMs: now.UnixMilli()}}})
	if err != nil {
		return 0, fmt.Errorf("append configuration: %w", err)
	}
	return number, nil
}
