package demo

import (
	"bytes"
	"cmp"
	"context"
	"fmt"
	"maps"
	"slices"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"settlewatch/pipelines/stage"
	"settlewatch/schemas/alert"
	"settlewatch/schemas/deadletter"
	"settlewatch/schemas/topic"
)

// Revision is one published revision of an alert, with its bytes.
type Revision struct {
	*alert.Alert
	Body []byte
}

// Collector reads the alert topics and the dead letters from their beginning. It
// keeps what a subscriber would: every (id, revision) once; a repeat that is not
// byte for byte the same is a broken promise and counted.
type Collector struct {
	mu        sync.Mutex
	revisions map[string]map[uint32]Revision // by id
	letters   map[deadletter.Source]*deadletter.Letter
	records   int64
	first     time.Time // when the first alert was read
	repeats   int
	unequal   int
}

// NewCollector has seen nothing.
func NewCollector() *Collector {
	return &Collector{
		revisions: make(map[string]map[uint32]Revision), letters: make(map[deadletter.Source]*deadletter.Letter),
	}
}

// Run reads until ctx is done. fresh is told of every new revision, in the order
// of its partition.
func (c *Collector) Run(ctx context.Context, log stage.Log, fresh func(Revision)) error {
	g, ctx := errgroup.WithContext(ctx)
	for _, kind := range alert.Kinds {
		for p := range kind.Topic().Partitions {
			g.Go(func() error {
				return follow(ctx, log, kind.Topic().Name, int32(p), func(r stage.Record) error {
					return c.addAlert(r, fresh)
				})
			})
		}
	}
	g.Go(func() error { return follow(ctx, log, topic.DeadLetters.Name, 0, c.addLetter) })
	return g.Wait()
}

func follow(ctx context.Context, log stage.Log, name string, partition int32, add func(stage.Record) error) error {
	reader, err := log.Open(name, partition)
	if err != nil {
		return fmt.Errorf("open %s: %w", name, err)
	}
	defer func() { _ = reader.Close() }()
	var next int64
	for ctx.Err() == nil {
		batch, err := reader.Fetch(ctx, next, 250*time.Millisecond)
		if ctx.Err() != nil {
			return nil
		}
		if err != nil {
			return fmt.Errorf("fetch %s/%d at %d: %w", name, partition, next, err)
		}
		for _, r := range batch.Records {
			if r.Offset < next {
				continue
			}
			if err := add(r); err != nil {
				return fmt.Errorf("read %s/%d at %d: %w", name, partition, r.Offset, err)
			}
		}
		next = max(next, batch.Next)
	}
	return nil
}

func (c *Collector) addAlert(r stage.Record, fresh func(Revision)) error {
	a, err := alert.Decode(r.Value)
	if err != nil {
		return err
	}
	c.mu.Lock()
	c.records++
	if c.revisions[a.ID] == nil {
		c.revisions[a.ID] = make(map[uint32]Revision)
	}
	if known, repeated := c.revisions[a.ID][a.Revision]; repeated {
		c.repeats++
		if !bytes.Equal(known.Body, r.Value) {
			c.unequal++
		}
		c.mu.Unlock()
		return nil
	}
	rev := Revision{Alert: a, Body: bytes.Clone(r.Value)}
	c.revisions[a.ID][a.Revision] = rev
	if c.first.IsZero() {
		c.first = time.Now()
	}
	c.mu.Unlock()
	if fresh != nil {
		fresh(rev)
	}
	return nil
}

func (c *Collector) addLetter(r stage.Record) error {
	l, err := deadletter.Decode(r.Value)
	if err != nil {
		return err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.records++
	c.letters[l.Source] = l
	return nil
}

// Records read so far, repeats included.
func (c *Collector) Records() int64 {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.records
}

// FirstAlert is when the first alert was read; zero before.
func (c *Collector) FirstAlert() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.first
}

// Collected is a copy of what was read.
type Collected struct {
	// Alerts by id, their revisions in order.
	Alerts map[string][]Revision
	// Letters, one for each raw record.
	Letters []*deadletter.Letter
	// Repeats of revisions, and how many of them were not byte for byte the same.
	Repeats, Unequal int
}

// Collected so far.
func (c *Collector) Collected() Collected {
	c.mu.Lock()
	defer c.mu.Unlock()
	out := Collected{Alerts: make(map[string][]Revision, len(c.revisions)), Repeats: c.repeats, Unequal: c.unequal}
	for id, revisions := range c.revisions {
		sorted := slices.Collect(maps.Values(revisions))
		slices.SortFunc(sorted, func(a, b Revision) int { return cmp.Compare(a.Revision, b.Revision) })
		out.Alerts[id] = sorted
	}
	out.Letters = slices.Collect(maps.Values(c.letters))
	return out
}

// Lines are all revisions, sorted, as they were published: one JSON a line.
func (c Collected) Lines() [][]byte {
	var lines [][]byte
	for _, revisions := range c.Alerts {
		for _, r := range revisions {
			lines = append(lines, r.Body)
		}
	}
	slices.SortFunc(lines, bytes.Compare)
	return lines
}
