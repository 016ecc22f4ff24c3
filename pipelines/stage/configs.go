package stage

import (
	"context"
	"fmt"
	"sync"
	"time"

	"settlewatch/schemas/event"
	"settlewatch/schemas/topic"
)

// Configs follows the configuration topic, so that an ingest service knows which
// sources are expected and where their marks come from. The fold does not use it:
// for the joiner, CONFIG is in force at its place in the payment log.
type Configs struct {
	mu     sync.Mutex
	latest *event.Config
	clocks map[string]event.Clock
}

// NewConfigs knows nothing yet; Follow fills it.
func NewConfigs() *Configs { return new(Configs) }

// Follow reads the configuration topic from its beginning until ctx is done.
func (c *Configs) Follow(ctx context.Context, log Log) error {
	reader, err := log.Open(topic.Config.Name, 0)
	if err != nil {
		return fmt.Errorf("open %s: %w", topic.Config.Name, err)
	}
	defer func() { _ = reader.Close() }()
	var offset int64
	for ctx.Err() == nil {
		batch, err := reader.Fetch(ctx, offset, time.Second)
		if ctx.Err() != nil {
			break
		}
		if err != nil {
			return fmt.Errorf("fetch %s at %d: %w", topic.Config.Name, offset, err)
		}
		for _, r := range batch.Records {
			config := new(event.Config)
			if err := config.UnmarshalVT(r.Value); err != nil {
				return fmt.Errorf("decode configuration %d: %w", r.Offset, err)
			}
			c.set(config)
		}
		offset = max(offset, batch.Next)
	}
	return nil
}

func (c *Configs) set(config *event.Config) {
	clocks := make(map[string]event.Clock)
	for _, g := range config.Groups {
		for _, s := range g.Sources {
			clocks[s.Name] = s.Clock
		}
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.latest, c.clocks = config, clocks
}

// Clock of a source: CLOCK_UNKNOWN where the latest CONFIG does not expect it.
func (c *Configs) Clock(source string) event.Clock {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.clocks[source]
}

// Latest CONFIG, nil before the first.
func (c *Configs) Latest() *event.Config {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.latest
}
