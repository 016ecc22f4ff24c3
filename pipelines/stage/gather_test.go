package stage_test

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"settlewatch/pipelines/sim"
	"settlewatch/pipelines/stage"
	"settlewatch/schemas/event"
	"settlewatch/schemas/topic"
)

// passing is a log and a clock: time passes only while somebody sleeps or a fetch waits,
// and every so often a raw record arrives. It ends what runs on it at last.
type passing struct {
	*sim.Log
	now     time.Time
	last    time.Time
	every   time.Duration // between arrivals; none if 0
	arrived func(n int)
	at      []time.Time // of the arrivals
	end     context.CancelFunc
	drains  bool // nothing more is read from last on

	fetches int
	marks   []string      // T and how much later it was appended
	longest time.Duration // from an arrival until it was appended
}

func (p *passing) Now() time.Time { return p.now }

func (p *passing) Sleep(ctx context.Context, d time.Duration) error {
	p.pass(d)
	if p.drained() {
		return stage.ErrDrained
	}
	return ctx.Err()
}

func (p *passing) drained() bool { return p.drains && !p.now.Before(p.last) }

func (p *passing) pass(d time.Duration) {
	next := p.now.Add(d)
	if p.every > 0 {
		for at := p.now.Truncate(p.every).Add(p.every); !at.After(next); at = at.Add(p.every) {
			p.arrived(len(p.at))
			p.at = append(p.at, at)
		}
	}
	if p.now = next; !p.now.Before(p.last) && !p.drains {
		p.end()
	}
}

func (p *passing) Open(topic string, partition int32) (stage.Reader, error) {
	reader, err := p.Log.Open(topic, partition)
	return passingReader{reader, p}, err
}

func (p *passing) Append(ctx context.Context, batches ...stage.Outgoing) error {
	for _, b := range batches {
		for _, r := range b.Records {
			var record event.LogRecord
			if err := record.UnmarshalVT(r.Value); err != nil {
				return err
			}
			if mark := record.GetMark(); mark != nil {
				p.marks = append(p.marks, fmt.Sprintf("%d+%d", mark.TMs, p.now.UnixMilli()-mark.TMs))
			} else if record.GetEvent() != nil {
				p.longest = max(p.longest, p.now.Sub(p.at[record.Origin.Offset]))
			}
		}
	}
	return p.Log.Append(ctx, batches...)
}

type passingReader struct {
	stage.Reader
	p *passing
}

// Fetch waits in steps of a millisecond.
func (r passingReader) Fetch(ctx context.Context, offset int64, maxWait time.Duration) (stage.Batch, error) {
	r.p.fetches++
	for waited := time.Duration(0); ; waited += time.Millisecond {
		if r.p.drained() {
			return stage.Batch{}, stage.ErrDrained
		}
		batch, err := r.Reader.Fetch(ctx, offset, 0)
		if err != nil || len(batch.Records) > 0 || waited >= maxWait {
			return batch, err
		}
		r.p.pass(time.Millisecond)
	}
}

// ingestFor lets an ingest work for a time of this log's clock, from second 1 on.
func (p *passing) ingestFor(t *testing.T, d time.Duration) *offsets {
	t.Helper()
	configs, publish := follow(t, p.Log)
	publish(configOf(t, event.Clock_CLOCK_LIVE, saleFeed, saleFeedAt(1)))
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	p.now, p.last, p.end = time.UnixMilli(1010), time.UnixMilli(1010).Add(d), cancel
	p.arrived = func(n int) {
		appendTo(t, p.Log, topic.RawAuthorization.Name, rawRecord(t, arrival{atMs: int64(n), event: sale(1, 1)}))
	}
	group := newOffsets()
	err := ingestOf(p, configs, saleFeed, p).Own(ctx, group.assignment(topic.RawAuthorization.Name, 0, healthy()))
	if err != nil && !(p.drains && errors.Is(err, stage.ErrDrained)) {
		t.Fatal(err)
	}
	return group
}

// Marks of every source come at the same moments, and are no older than their moment: a
// verdict waits for the oldest.
func TestIngestMarksAreNew(t *testing.T) {
	for name, every := range map[string]time.Duration{"idle": 0, "seldom": 150 * time.Millisecond, "busy": time.Millisecond} {
		t.Run(name, func(t *testing.T) {
			p := &passing{Log: newWorld(t, 1), every: every}
			p.ingestFor(t, time.Second)
			mustBe(t, "marks", p.marks, []string{"1010+0", "1252+0", "1502+0", "1752+0", "2002+0"})
		})
	}
}

// What keeps coming is fetched now and then, and what comes after a silence at once.
func TestIngestGathers(t *testing.T) {
	p := &passing{Log: newWorld(t, 1), every: time.Millisecond}
	group := p.ingestFor(t, 10*time.Second)
	if p.fetches < 75 || p.fetches > 90 {
		t.Errorf("%d fetches in 10 s of a record each millisecond", p.fetches)
	}
	if n := len(group.all); n < 9 || n > 11 {
		t.Errorf("%d offsets told in 10 s", n)
	}
	if p.longest > 125*time.Millisecond || p.longest < 115*time.Millisecond {
		t.Errorf("a record waited %s", p.longest)
	}
	p = &passing{Log: newWorld(t, 1), every: 150 * time.Millisecond}
	if p.ingestFor(t, 10*time.Second); p.longest != 0 {
		t.Errorf("a record after a silence waited %s", p.longest)
	}
}

// A service that is asked to end has committed all that it appended, whether it was
// gathering then or waiting for a record.
func TestIngestCommitsWhenItIsDrained(t *testing.T) {
	for name, every := range map[string]time.Duration{"gathering": time.Millisecond, "waiting": 400 * time.Millisecond} {
		t.Run(name, func(t *testing.T) {
			p := &passing{Log: newWorld(t, 1), every: every, drains: true}
			group := p.ingestFor(t, 3500*time.Millisecond)
			last := stage.None
			for _, r := range decoded(t, p.Log, 0) {
				if r.GetEvent() != nil {
					last = r.Origin.Offset
				}
			}
			if last < 0 || group.get() != last+1 {
				t.Errorf("committed %d, the last that was appended is %d", group.get(), last)
			}
		})
	}
}
