// Package verify compares the stored state of the joiner with a fold of its log.
//
// What enters are the payment log, or a checkpoint and the rest of it, and the state
// store, read beside its owner; what leaves is, for each partition, how many payments
// differ, and the first difference. Nothing is written, and nobody waits.
// Guaranteed: a partition's payments are in memory once, as the fold; of the store there
// is a bucket at a time, and what the ring holds.
package verify

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/cespare/xxhash/v2"

	"settlewatch/pipelines/join"
	"settlewatch/pipelines/stage"
	"settlewatch/pipelines/statestore"
	"settlewatch/schemas/topic"
	"settlewatch/tools/replay"
)

// Store is one partition's stored state, for reading from outside.
type Store interface {
	ReadBucket(ctx context.Context, index int) (statestore.BucketView, error)
	ReadRingTail(ctx context.Context, from uint64) (statestore.RingTail, error)
}

var _ Store = (*statestore.Partition)(nil)

// Options of a run.
type Options struct {
	Log   stage.Log
	Store func(partition int32) Store
	// Checkpoints are where a fold begins whose log does not begin at 0.
	Checkpoints stage.Checkpoints
	// Partitions to verify; nil for all.
	Partitions []int32
	// Progress is called now and then with records of the log; nil is silent.
	Progress func(done, total int64)
}

// Difference is one thing that is not what the fold gives.
type Difference struct {
	// Payment is empty where the difference is not about one.
	Payment string `json:"payment,omitempty"`
	Field   string `json:"field"`
	Stored  string `json:"stored"`
	Folded  string `json:"folded"`
}

// Part is what was compared of one partition.
type Part struct {
	Partition int32 `json:"partition"`
	// From is where the fold began: 0, or a checkpoint's offset. Offset is where it
	// ended, with the stored state.
	From     int64 `json:"from"`
	Offset   int64 `json:"offset"`
	Payments int   `json:"payments"`
	// Different payments; a difference that is about none of them counts as one.
	Different int         `json:"different"`
	First     *Difference `json:"first,omitempty"`
}

// Report is the result.
type Report struct {
	Parts []Part `json:"partitions"`
}

// Equal tells whether nothing differs.
func (r *Report) Equal() bool {
	for _, p := range r.Parts {
		if p.Different > 0 {
			return false
		}
	}
	return true
}

// ErrMoves is a stored state that moved in another way than by commits, again and
// again: it was rolled back, wiped or rebuilt.
var ErrMoves = errors.New("the stored state keeps moving back while it is verified")

const (
	attempts     = 3
	viewAttempts = 100
	// settleEvery is after how many records what was folded is packed: it bounds
	// what waits for it.
	settleEvery = 50_000
)

// Run verifies partition after partition.
func Run(ctx context.Context, o Options) (*Report, error) {
	if o.Partitions == nil {
		n, err := o.Log.Partitions(ctx, topic.PaymentLog.Name)
		if err != nil {
			return nil, fmt.Errorf("partitions of %s: %w", topic.PaymentLog.Name, err)
		}
		for p := range n {
			o.Partitions = append(o.Partitions, int32(p))
		}
	}
	r := &run{Options: o}
	for _, p := range o.Partitions {
		view, err := o.Store(p).ReadBucket(ctx, 0)
		if err != nil {
			return nil, err
		}
		r.total += view.Offset
	}
	report := &Report{}
	for _, p := range o.Partitions {
		part, err := r.partition(ctx, p)
		if err != nil {
			return nil, fmt.Errorf("verify partition %d: %w", p, err)
		}
		report.Parts = append(report.Parts, part)
	}
	return report, nil
}

// run is one Run.
type run struct {
	Options
	done, total int64
}

func (r *run) partition(ctx context.Context, partition int32) (Part, error) {
	for range attempts {
		done := r.done
		c, err := r.begin(ctx, partition)
		if err == nil {
			err = c.compare(ctx)
		}
		switch {
		case err == nil:
			return c.part, nil
		case !errors.Is(err, errMoved) && !errors.Is(err, statestore.ErrTrimmed):
			return Part{}, err
		}
		r.done = done
	}
	return Part{}, ErrMoves
}

// errMoved is a store that stands before what was folded.
var errMoved = errors.New("the stored state has moved back")

// comparison is one attempt at one partition.
type comparison struct {
	run      *run
	store    Store
	part     Part
	state    *join.State
	recorder *join.Recorder
	sequence uint64 // of the recorder's own commits
	position join.Position
	out      join.Output
	ring     ring
	stored   *join.BucketReader
}

// begin makes the state that the fold starts with.
func (r *run) begin(ctx context.Context, partition int32) (*comparison, error) {
	c := &comparison{run: r, store: r.Store(partition), part: Part{Partition: partition}, stored: join.NewBucketReader()}
	view, err := c.store.ReadBucket(ctx, 0)
	if err != nil {
		return nil, err
	}
	first, end, err := replay.Bounds(ctx, r.Log, topic.PaymentLog.Name, partition)
	if err != nil {
		return nil, err
	}
	if view.Offset > end {
		return nil, fmt.Errorf("the state stands at offset %d, the log ends at %d: %w", view.Offset, end, stage.ErrLogChanged)
	}
	c.state = join.New()
	if view.Meta != nil {
		meta, err := join.ReadMeta(view.Meta)
		if err != nil {
			return nil, err
		}
		if meta.AlertsOnly {
			c.state = join.NewAlertsOnly()
		}
	}
	if first > 0 {
		if err := c.fromCheckpoint(ctx, first, view.Offset); err != nil {
			return nil, err
		}
	}
	c.part.From = c.position.Offset
	c.recorder = join.NewRecorder(c.state)
	return c, nil
}

func (c *comparison) fromCheckpoint(ctx context.Context, first, stored int64) error {
	at, err := replay.Checkpoint(ctx, c.run.Checkpoints, c.part.Partition, first, stored)
	if err != nil {
		return err
	}
	if c.state, c.position, err = join.Load(at.Meta, at.Buckets, at.Ring); err != nil {
		return fmt.Errorf("load the checkpoint at offset %d: %w", at.Offset, err)
	}
	c.run.done += at.Offset
	return nil
}

// foldTo folds on to an offset.
func (c *comparison) foldTo(ctx context.Context, offset int64) error {
	if offset < c.position.Offset {
		return errMoved
	}
	folded := 0
	err := replay.Records(ctx, c.run.Log, topic.PaymentLog.Name, c.part.Partition, c.position.Offset, offset, func(r *stage.Record) error {
		if c.run.done++; c.run.done%4096 == 0 && c.run.Progress != nil {
			c.run.Progress(c.run.done, max(c.run.done, c.run.total))
		}
		err := c.state.Fold(r.Value, &c.out)
		var none *join.DecodeError
		if err != nil && !errors.As(err, &none) { // the joiner leaves out what is none of ours
			return err
		}
		c.out.Alerts, c.out.Payments = c.out.Alerts[:0], c.out.Payments[:0]
		c.position = join.Position{Offset: r.Offset + 1, RecordSum: xxhash.Sum64(r.Value)}
		if folded++; folded%settleEvery == 0 {
			_, err := c.meta()
			return err
		}
		return nil
	})
	c.position.Offset = max(c.position.Offset, offset)
	return err
}

// meta is what a commit of the fold would hold beside the payments.
func (c *comparison) meta() ([]byte, error) {
	c.sequence++
	changes, err := c.recorder.Commit(c.sequence, c.position)
	return changes.Meta, err
}

// compare goes through the buckets. The owner goes on meanwhile, and the fold follows.
func (c *comparison) compare(ctx context.Context) error {
	var metaDifference *Difference
	for index := range join.BucketCount {
		view, err := c.view(ctx, index)
		if err != nil {
			return err
		}
		if view.Meta == nil {
			if c.position.Offset > 0 {
				return errMoved
			}
			return c.nothingStored(ctx)
		}
		if err := c.foldTo(ctx, view.Offset); err != nil {
			return err
		}
		if metaDifference == nil {
			folded, err := c.meta()
			if err != nil {
				return err
			}
			if metaDifference, err = compareMeta(view.Meta, folded); err != nil {
				return err
			}
		}
		if err := c.bucket(index, view); err != nil {
			return err
		}
		c.part.Offset, c.part.Payments = view.Offset, c.state.Payments()
	}
	if metaDifference != nil {
		// Where payments differ, the sums over them do too: a payment says more.
		if c.part.Different == 0 || metaDifference.Field != "checksum" && metaDifference.Field != "payments" && c.part.First == nil {
			c.part.Different = max(c.part.Different, 1)
			c.part.First = metaDifference
		}
	}
	return nil
}

// view reads a bucket, and what the ring has grown by. A ring that an owner who
// commits quickly has trimmed in between is read anew, with the bucket.
func (c *comparison) view(ctx context.Context, index int) (statestore.BucketView, error) {
	for attempt := 0; ; attempt++ {
		view, err := c.store.ReadBucket(ctx, index)
		if err != nil || view.Meta == nil {
			return view, err
		}
		err = c.ring.follow(ctx, c.store, view)
		if !errors.Is(err, statestore.ErrTrimmed) || attempt == viewAttempts {
			return view, err
		}
		c.ring = ring{}
	}
}

// nothingStored is right while the log is empty.
func (c *comparison) nothingStored(ctx context.Context) error {
	_, end, err := replay.Bounds(ctx, c.run.Log, topic.PaymentLog.Name, c.part.Partition)
	if err == nil && end > 0 {
		c.part.Different = 1
		c.part.First = &Difference{Field: "offset", Stored: "nothing is stored", Folded: fmt.Sprintf("the log ends at offset %d", end)}
	}
	return err
}

// bucket compares the payments of one bucket at one commit.
func (c *comparison) bucket(index int, view statestore.BucketView) error {
	if err := c.stored.Read(index, view.Value, c.ring.changed[index]); err != nil {
		c.differs(Difference{Field: "bucket", Stored: fmt.Sprintf("bucket %d cannot be read: %v", index, err), Folded: "readable"})
		return nil
	}
	folded := c.state.Bucket(index)
	for key, packed := range c.stored.Payments() {
		is, there := folded[key]
		switch {
		case !there:
			c.differs(Difference{Payment: string(key), Field: "payment", Stored: "there", Folded: "missing"})
		case string(packed) != string(is):
			c.differs(comparePayments(view.Meta, key, packed, is))
		}
	}
	for key := range folded {
		if c.stored.Payment(key) == nil {
			c.differs(Difference{Payment: string(key), Field: "payment", Stored: "missing", Folded: "there"})
		}
	}
	return nil
}

// differs counts, and keeps the first: the one with the smallest key, so that two runs
// name the same.
func (c *comparison) differs(d Difference) {
	c.part.Different++
	if c.part.First == nil || d.Payment < c.part.First.Payment {
		d.Payment = strings.Clone(d.Payment) // a key lasts no longer than its bucket is looked at
		c.part.First = &d
	}
}
