package faults

import (
	"fmt"
	"runtime"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"settlewatch/pipelines/oracle/invariant"
	"settlewatch/pipelines/stage"
	"settlewatch/pipelines/statestore"
	"settlewatch/schemas/alert"
	"settlewatch/schemas/payment"
	"settlewatch/schemas/topic"
	"settlewatch/tools/traffic"
)

// seen is everything that a run left behind.
type seen struct {
	log      map[int32][]stage.Record
	raw      []invariant.Raw
	bodies   [][]byte // of alerts
	letters  [][]byte
	payments []*payment.Payment
	stored   map[int32]stage.Stored
}

// rawTopics are what the feeds fill.
var rawTopics = []topic.Topic{topic.RawAuthorization, topic.RawCapture, topic.RawSettlement}

// read reads all of it, several partitions at a time.
func (w *world) read() (*seen, error) {
	s := &seen{log: map[int32][]stage.Record{}, stored: map[int32]stage.Stored{}}
	// A client of its own: the Redis that holds the state may be another one by now.
	state, err := statestore.Dial(w.ctx, statestore.Options{Addrs: w.stateAddrs, Cluster: len(w.stateAddrs) > 1})
	if err != nil {
		return nil, err
	}
	defer func() { _ = state.Close() }()
	var g errgroup.Group
	g.SetLimit(runtime.NumCPU())
	var mu sync.Mutex // over s
	for p := range int32(topic.PaymentLog.Partitions) {
		g.Go(func() error {
			stored, err := state.Partition(topic.PaymentLog.Name, p).Load(w.ctx)
			if err != nil {
				return err
			}
			records, err := w.records(topic.PaymentLog.Name, p)
			mu.Lock()
			defer mu.Unlock()
			s.stored[p], s.log[p] = stored, append(w.cut[p], records...)
			return err
		})
	}
	for _, t := range rawTopics {
		for p := range int32(t.Partitions) {
			g.Go(func() error {
				places, err := w.rawPlaces(t.Name, p)
				mu.Lock()
				defer mu.Unlock()
				s.raw = append(s.raw, places...)
				return err
			})
		}
	}
	for p := range int32(topic.Payments.Partitions) {
		g.Go(func() error {
			payments, err := w.payments(p)
			mu.Lock()
			defer mu.Unlock()
			s.payments = append(s.payments, payments...)
			return err
		})
	}
	g.Go(func() (err error) {
		for _, k := range alert.Kinds {
			if s.bodies, err = w.values(s.bodies, k.Topic()); err != nil {
				return err
			}
		}
		s.letters, err = w.values(s.letters, topic.DeadLetters)
		return err
	})
	return s, g.Wait()
}

// rawPlaces are the places of a raw partition's records, marks left out.
func (w *world) rawPlaces(name string, partition int32) (places []invariant.Raw, err error) {
	err = w.each(name, partition, func(r *stage.Record) error {
		if !isMark(r) {
			places = append(places, invariant.Raw{Topic: name, Partition: partition, Offset: r.Offset})
		}
		return nil
	})
	return places, err
}

func isMark(r *stage.Record) bool {
	for _, h := range r.Headers {
		if h.Key == traffic.MarkHeader {
			return true
		}
	}
	return false
}

// payments are the snapshots in a partition of their topic.
func (w *world) payments(partition int32) (all []*payment.Payment, err error) {
	err = w.each(topic.Payments.Name, partition, func(r *stage.Record) error {
		if len(r.Value) == 0 {
			return nil
		}
		p := new(payment.Payment)
		if err := p.UnmarshalVT(r.Value); err != nil {
			return fmt.Errorf("decode a payment: %w", err)
		}
		all = append(all, p)
		return nil
	})
	return all, err
}

func (w *world) values(into [][]byte, t topic.Topic) ([][]byte, error) {
	for p := range int32(t.Partitions) {
		records, err := w.records(t.Name, p)
		if err != nil {
			return nil, err
		}
		for i := range records {
			into = append(into, records[i].Value)
		}
	}
	return into, nil
}

// arenaBytes hold many records' values: one by one they would be a million pieces.
const arenaBytes = 1 << 20

// records are the offsets and values of all that a partition holds.
func (w *world) records(name string, partition int32) (all []stage.Record, err error) {
	var arena []byte
	err = w.each(name, partition, func(r *stage.Record) error {
		if cap(arena)-len(arena) < len(r.Value) {
			arena = make([]byte, 0, max(arenaBytes, len(r.Value)))
		}
		// The memory of a record is ours until the next fetch only.
		from := len(arena)
		arena = append(arena, r.Value...)
		all = append(all, stage.Record{Offset: r.Offset, Value: arena[from:len(arena):len(arena)]})
		return nil
	})
	return all, err
}

// each visits all records that a partition holds, each until visit returns.
func (w *world) each(name string, partition int32, visit func(*stage.Record) error) error {
	reader, err := w.bus.Open(name, partition)
	if err != nil {
		return fmt.Errorf("open %s/%d: %w", name, partition, err)
	}
	defer func() { _ = reader.Close() }()
	next, end, err := reader.Bounds(w.ctx)
	if err != nil {
		return fmt.Errorf("read %s/%d: %w", name, partition, err)
	}
	for next < end {
		batch, err := reader.Fetch(w.ctx, next, 100*time.Millisecond)
		if err != nil {
			return fmt.Errorf("read %s/%d at %d: %w", name, partition, next, err)
		}
		for i := range batch.Records {
			if r := &batch.Records[i]; r.Offset >= next {
				if err := visit(r); err != nil {
					return fmt.Errorf("read %s/%d at %d: %w", name, partition, r.Offset, err)
				}
			}
		}
		next = max(next, batch.Next)
	}
	return nil
}
