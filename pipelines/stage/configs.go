package stage

import (
	"context"
	"fmt"
	"path"
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
	number int64 // of the latest
	clocks map[string]event.Clock
	places map[string][]*event.ExpectedSource // by raw partition
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
		next, err := c.read(ctx, reader, offset)
		if ctx.Err() != nil {
			break
		}
		if err != nil {
			return err
		}
		offset = next
	}
	return nil
}

// CatchUp reads what the configuration topic holds now. An ingest service does it
// before it appends anything, to know how many partitions the log must have.
func (c *Configs) CatchUp(ctx context.Context, log Log) error {
	reader, err := log.Open(topic.Config.Name, 0)
	if err != nil {
		return fmt.Errorf("open %s: %w", topic.Config.Name, err)
	}
	defer func() { _ = reader.Close() }()
	first, end, err := reader.Bounds(ctx)
	if err != nil {
		return fmt.Errorf("read bounds of %s: %w", topic.Config.Name, err)
	}
	for offset := first; offset < end; {
		if offset, err = c.read(ctx, reader, offset); err != nil {
			return err
		}
	}
	return nil
}

// read takes what one fetch brings.
func (c *Configs) read(ctx context.Context, reader Reader, offset int64) (next int64, err error) {
	batch, err := reader.Fetch(ctx, offset, time.Second)
	if err != nil {
		return 0, fmt.Errorf("fetch %s at %d: %w", topic.Config.Name, offset, err)
	}
	for _, r := range batch.Records {
		config := new(event.Config)
		if err := config.UnmarshalVT(r.Value); err != nil {
			return 0, fmt.Errorf("decode configuration %d: %w", r.Offset, err)
		}
		c.set(config, r.Offset)
	}
	return max(offset, batch.Next), nil
}

func (c *Configs) set(config *event.Config, number int64) {
	clocks, places := make(map[string]event.Clock), make(map[string][]*event.ExpectedSource)
	for _, g := range config.Groups {
		for _, s := range g.Sources {
			if _, seen := clocks[s.Name]; !seen { // several groups may wait for one
				places[path.Dir(s.Name)] = append(places[path.Dir(s.Name)], s)
			}
			clocks[s.Name] = s.Clock
		}
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.latest == nil || number > c.number { // who catches up may be behind who follows
		c.latest, c.number, c.clocks, c.places = config, number, clocks, places
	}
}

// Clock of a source: CLOCK_UNKNOWN where the latest CONFIG does not expect it.
func (c *Configs) Clock(source string) event.Clock {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.clocks[source]
}

// Count is how many CONFIGs there are up to the latest, 0 before the first.
func (c *Configs) Count() uint64 {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.latest == nil {
		return 0
	}
	return uint64(c.number) + 1
}

// Latest CONFIG, nil before the first.
func (c *Configs) Latest() *event.Config {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.latest
}
