package whatif

import (
	"context"
	"errors"
	"fmt"

	"github.com/cespare/xxhash/v2"

	"settlewatch/pipelines/hop"
	"settlewatch/pipelines/join"
	"settlewatch/pipelines/stage"
	"settlewatch/schemas/event"
	"settlewatch/schemas/topic"
	"settlewatch/tools/replay"
)

// Begin is where the fold of a partition began with a checkpoint.
type Begin struct {
	Partition int32 `json:"partition"`
	Offset    int64 `json:"offset"`
}

// ErrWindow is a window that ends before the checkpoint that the fold begins with.
var ErrWindow = errors.New("--until lies before the checkpoint that the log begins with, so how alerts stood then is not known: choose a later one")

// bounds of a partition, held to what the fold can begin with before anything is read.
func (r *run) bounds(ctx context.Context, partition int32) (first, end int64, err error) {
	if first, end, err = replay.Bounds(ctx, r.Log, topic.PaymentLog.Name, partition); err != nil {
		return 0, 0, err
	}
	if first > 0 || r.FromCheckpoint {
		_, err = replay.Checkpoint(ctx, r.Checkpoints, partition, first, end)
	}
	return first, end, err
}

// start is where the two sides of a partition begin.
type start struct {
	offset        int64
	recordSum     uint64 // of the record before
	before, after *side
	at            stage.Stored // the checkpoint; zero at the log's beginning
}

// start makes both sides: empty ones, or those of the checkpoint, which are the same
// but for the rules that come into force there.
func (r *run) start(ctx context.Context, partition int32, first, end int64) (*start, error) {
	if first == 0 && !r.FromCheckpoint {
		return &start{before: newSide(join.New()), after: newSide(join.New())}, nil
	}
	at, err := replay.Checkpoint(ctx, r.Checkpoints, partition, first, end)
	if err != nil {
		return nil, err
	}
	s := &start{at: at}
	if s.before, err = s.load(); err != nil {
		return nil, err
	}
	if s.after, err = s.load(); err != nil {
		return nil, err
	}
	for _, f := range s.before.state.Frontiers() {
		if r.UntilMs != 0 && f.TMs != hop.Never && f.TMs >= r.UntilMs {
			return nil, ErrWindow
		}
	}
	if err := r.previous(ctx, partition, first, s); err != nil {
		return nil, err
	}
	if config := s.after.state.Config(); config != nil {
		// Behind the CONFIG in force and before the next one of the log.
		source := event.Source{Service: "config", Topic: topic.Config.Name, Profile: "config", Version: 1}
		err := r.step(s.after, &event.LogRecord{
			Origin: &event.Origin{Source: source.String(), Offset: s.after.state.ConfigNumber(), Index: 1},
			Body:   &event.LogRecord_Config{Config: r.instead(config)},
		})
		if err != nil {
			return nil, fmt.Errorf("under rules %s: %w", r.Config.GetRules(), err)
		}
	}
	r.report.Begins = append(r.report.Begins, Begin{Partition: partition, Offset: s.offset})
	return s, nil
}

// load a side.
func (s *start) load() (*side, error) {
	state, position, err := join.Load(s.at.Meta, s.at.Buckets, s.at.Ring)
	if err != nil {
		return nil, fmt.Errorf("load the checkpoint at offset %d: %w", s.at.Offset, err)
	}
	s.offset, s.recordSum = position.Offset, position.RecordSum
	return newSide(state), nil
}

// previous holds the checkpoint to the log: the record before it must be the one that
// it was folded from.
func (r *run) previous(ctx context.Context, partition int32, first int64, s *start) error {
	if s.offset <= first {
		return nil // that record is gone
	}
	return replay.Records(ctx, r.Log, topic.PaymentLog.Name, partition, s.offset-1, s.offset, func(raw *stage.Record) error {
		if xxhash.Sum64(raw.Value) != s.recordSum {
			return stage.ErrLogChanged
		}
		return nil
	})
}

// complete gives each side the alerts that only the other one has said more about: they
// stand there as the checkpoint has them.
func (s *start) complete() error {
	s.before.state, s.after.state = nil, nil
	wanted := map[int]map[string]bool{} // payment keys, by bucket
	for _, pair := range [][2]*side{{s.before, s.after}, {s.after, s.before}} {
		for id, at := range pair[0].standing {
			if at.known && pair[1].standing[id] == nil {
				b := join.BucketOf(event.PaymentKey(at.key))
				if wanted[b] == nil {
					wanted[b] = map[string]bool{}
				}
				wanted[b][at.key] = true
			}
		}
	}
	if len(wanted) == 0 {
		return nil
	}
	later := map[int][]join.Change{}
	for _, delta := range s.at.Ring {
		for c, err := range join.ReadDelta(delta) {
			if err != nil {
				return fmt.Errorf("read the checkpoint at offset %d: %w", s.at.Offset, err)
			}
			if wanted[c.Bucket] != nil {
				later[c.Bucket] = append(later[c.Bucket], c)
			}
		}
	}
	values := map[int][]byte{}
	for _, b := range s.at.Buckets {
		values[b.Index] = b.Value
	}
	reader := join.NewBucketReader()
	for b, keys := range wanted {
		if err := reader.Read(b, values[b], later[b]); err != nil {
			return fmt.Errorf("read the checkpoint at offset %d: %w", s.at.Offset, err)
		}
		for key := range keys {
			if err := s.known(key, reader.Payment(event.PaymentKey(key))); err != nil {
				return err
			}
		}
	}
	return nil
}

// known gives the sides what the checkpoint knows of a payment's alerts.
func (s *start) known(key string, packed []byte) error {
	e, err := join.Explain(s.at.Meta, packed)
	if err != nil {
		return fmt.Errorf("read payment %s of the checkpoint at offset %d: %w", key, s.at.Offset, err)
	}
	for _, a := range e.Alerts {
		one, other := s.before.standing[a.ID], s.after.standing[a.ID]
		if (one == nil) == (other == nil) {
			continue
		}
		into := s.before
		if one != nil {
			into = s.after
		}
		into.standing[a.ID] = &standing{
			Standing: Standing{Revision: a.Revision, Status: a.Status, AmountMinor: a.AmountMinor, Currency: a.Currency},
			kind:     a.Kind, key: key, known: true,
		}
	}
	return nil
}
