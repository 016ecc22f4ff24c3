package faults

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"time"

	"settlewatch/pipelines/oracle"
	"settlewatch/pipelines/oracle/invariant"
	"settlewatch/pipelines/stage"
	"settlewatch/pipelines/statestore"
	"settlewatch/schemas/alert"
	"settlewatch/schemas/deadletter"
	"settlewatch/schemas/event"
	"settlewatch/schemas/payment"
	"settlewatch/schemas/topic"
	"settlewatch/services/boot"
	"settlewatch/tools/demo"
	"settlewatch/tools/traffic"
)

// allLegs are legs and the warehouse's other topics.
func allLegs() []leg {
	out := append([]leg{{"authorization", boot.GroupConfig, topic.Config.Name}}, legs...)
	out = append(out, leg{"warehouse", boot.GroupWarehouse, topic.Payments.Name})
	for _, k := range alert.Kinds {
		out = append(out, leg{"warehouse", boot.GroupWarehouse, k.Topic().Name})
	}
	return out
}

// settle feeds what is left and waits until everything has come through.
func (w *world) settle() error {
	if err := w.feed(1); err != nil {
		return err
	}
	for _, l := range allLegs() {
		what := fmt.Sprintf("%s has worked off %s", l.service, l.topic)
		if err := w.until(what, func() (bool, error) {
			members, err := w.bus.Members(w.ctx, l.group)
			if err != nil || len(members) == 0 {
				return false, nil //nolint:nilerr // the broker may still be starting
			}
			n, err := w.bus.Lag(w.ctx, l.group, l.topic)
			return err == nil && n == 0, nil
		}); err != nil {
			return err
		}
	}
	return nil
}

// seen is everything that a run left behind.
type seen struct {
	log      map[int32][]stage.Record
	raw      []invariant.Raw
	bodies   [][]byte // of alerts
	letters  [][]byte
	payments []*payment.Payment
	stored   map[int32]stage.Stored
}

func (w *world) read() (*seen, error) {
	s := &seen{log: map[int32][]stage.Record{}, stored: map[int32]stage.Stored{}}
	// A client of its own: the Redis that holds the state may be another one by now.
	state, err := statestore.Dial(w.ctx, statestore.Options{Addrs: w.stateAddrs, Cluster: len(w.stateAddrs) > 1})
	if err != nil {
		return nil, err
	}
	defer func() { _ = state.Close() }()
	for p := range int32(topic.PaymentLog.Partitions) {
		if s.stored[p], err = state.Partition(topic.PaymentLog.Name, p).Load(w.ctx); err != nil {
			return nil, err
		}
		if s.log[p], err = w.records(topic.PaymentLog.Name, p); err != nil {
			return nil, err
		}
	}
	for _, t := range []topic.Topic{topic.RawAuthorization, topic.RawCapture, topic.RawSettlement} {
		for p := range int32(t.Partitions) {
			records, err := w.records(t.Name, p)
			if err != nil {
				return nil, err
			}
			for i := range records {
				if !isMark(records[i]) {
					s.raw = append(s.raw, invariant.Raw{Topic: t.Name, Partition: p, Offset: records[i].Offset})
				}
			}
		}
	}
	for _, k := range alert.Kinds {
		if s.bodies, err = w.values(s.bodies, k.Topic()); err != nil {
			return nil, err
		}
	}
	if s.letters, err = w.values(s.letters, topic.DeadLetters); err != nil {
		return nil, err
	}
	snapshots, err := w.values(nil, topic.Payments)
	if err != nil {
		return nil, err
	}
	for _, b := range snapshots {
		if len(b) == 0 {
			continue
		}
		p := new(payment.Payment)
		if err := p.UnmarshalVT(b); err != nil {
			return nil, fmt.Errorf("decode a payment: %w", err)
		}
		s.payments = append(s.payments, p)
	}
	return s, nil
}

func isMark(r stage.Record) bool {
	for _, h := range r.Headers {
		if h.Key == traffic.MarkHeader {
			return true
		}
	}
	return false
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

// records are all that a partition holds.
func (w *world) records(name string, partition int32) ([]stage.Record, error) {
	reader, err := w.bus.Open(name, partition)
	if err != nil {
		return nil, fmt.Errorf("open %s/%d: %w", name, partition, err)
	}
	defer func() { _ = reader.Close() }()
	next, end, err := reader.Bounds(w.ctx)
	if err != nil {
		return nil, fmt.Errorf("read %s/%d: %w", name, partition, err)
	}
	var all []stage.Record
	for next < end {
		batch, err := reader.Fetch(w.ctx, next, 100*time.Millisecond)
		if err != nil {
			return nil, fmt.Errorf("read %s/%d at %d: %w", name, partition, next, err)
		}
		for _, r := range batch.Records {
			if r.Offset >= next {
				// The memory is ours until the next fetch only.
				r.Key, r.Value = append([]byte(nil), r.Key...), append([]byte(nil), r.Value...)
				headers := make([]stage.Header, len(r.Headers))
				for i, h := range r.Headers {
					headers[i] = stage.Header{Key: h.Key, Value: append([]byte(nil), h.Value...)}
				}
				r.Headers = headers
				all = append(all, r)
			}
		}
		next = max(next, batch.Next)
	}
	return all, nil
}

// check holds what is left behind to all invariants.
func (w *world) check() ([]invariant.Violation, error) {
	s, err := w.read()
	if err != nil {
		return nil, err
	}
	var found []invariant.Violation
	want, failed := w.oracle(s)
	found = append(found, failed...)
	found = append(found, invariant.AlertsAreTheOracles(want, s.bodies)...)
	found = append(found, w.checkPlanted(s)...)
	for p := range int32(topic.PaymentLog.Partitions) {
		place := fmt.Sprintf("%s/%d", topic.PaymentLog.Name, p)
		found = append(found, invariant.StateIsFold(place, s.log[p], s.stored[p])...)
		if s.stored[p].Meta == nil && len(s.log[p]) > 0 {
			found = append(found, invariant.Violation{Invariant: invariant.I1, Place: place, What: "nothing is stored"})
		}
		if !w.expects.rolledBack {
			found = append(found, invariant.PlacesFollow(place, w.watch.places[p])...)
		}
	}
	s.leaveOutForeign()
	found = append(found, invariant.NothingIsLost(s.raw, s.log, s.letters)...)
	rows, err := w.checkWarehouse(s)
	if err != nil {
		return nil, err
	}
	found = append(found, rows...)
	w.watch.mu.Lock()
	defer w.watch.mu.Unlock()
	for service, looks := range w.watch.looks {
		found = append(found, invariant.NothingIsSilent(service, silenceMost.Milliseconds(), looks)...)
	}
	return found, nil
}

// leaveOutForeign drops what is no record of ours from the payment log; each must
// have become a dead letter, as a raw record that cannot be read.
func (s *seen) leaveOutForeign() {
	for p, records := range s.log {
		s.log[p] = slices.DeleteFunc(records, func(r stage.Record) bool {
			_, ours := invariant.Decode(r.Value)
			if !ours {
				s.raw = append(s.raw, invariant.Raw{Topic: topic.PaymentLog.Name, Partition: p, Offset: r.Offset})
			}
			return !ours
		})
	}
}

// oracle is what the payment log asks for.
func (w *world) oracle(s *seen) (want []*alert.Alert, found []invariant.Violation) {
	for p, records := range s.log {
		var log []*event.LogRecord
		for i := range records {
			if r, ours := invariant.Decode(records[i].Value); ours {
				log = append(log, r)
			}
		}
		alerts, err := oracle.Alerts(log)
		if err != nil {
			return nil, []invariant.Violation{{Invariant: invariant.I2, Place: fmt.Sprintf("payment log %d", p), What: err.Error()}}
		}
		want = append(want, alerts...)
	}
	return want, nil
}

// checkPlanted holds the alerts to the traffic's ground truth, which knows nothing
// of logs: what the hop did wrong would show here.
func (w *world) checkPlanted(s *seen) (found []invariant.Violation) {
	v := demo.Judge(w.traffic.Truth(), s.collected())
	if v.Exact() {
		return nil
	}
	if w.expects.moreLetters && v.Letters.Found >= v.Letters.Planted {
		v.Letters = demo.Letters{}
	}
	for _, c := range v.Alerts {
		if w.expects.moreAlerts {
			c.Unexpected = 0
		}
	}
	if v.Exact() {
		return nil
	}
	for _, note := range v.Notes {
		found = append(found, invariant.Violation{Invariant: invariant.I2, Place: "ground truth", What: note})
	}
	if len(found) == 0 {
		found = append(found, invariant.Violation{Invariant: invariant.I2, Place: "ground truth", What: fmt.Sprintf("%+v", v)})
	}
	return found
}

// collected is what a subscriber would keep: every revision once.
func (s *seen) collected() demo.Collected {
	c := demo.Collected{Alerts: map[string][]demo.Revision{}}
	known := map[string]bool{}
	for _, b := range s.bodies {
		a, err := alert.Decode(b)
		if err != nil {
			continue // told already, by I2
		}
		if name := fmt.Sprintf("%s:%d", a.ID, a.Revision); !known[name] {
			known[name] = true
			c.Alerts[a.ID] = append(c.Alerts[a.ID], demo.Revision{Alert: a, Body: b})
		}
	}
	for _, revisions := range c.Alerts {
		slices.SortFunc(revisions, func(a, b demo.Revision) int { return cmp.Compare(a.Revision, b.Revision) })
	}
	letters := map[deadletter.Source]bool{}
	for _, b := range s.letters {
		l, err := deadletter.Decode(b)
		if err == nil && !letters[l.Source] {
			letters[l.Source] = true
			c.Letters = append(c.Letters, l)
		}
	}
	return c
}

func (w *world) checkWarehouse(s *seen) ([]invariant.Violation, error) {
	ctx, cancel := context.WithTimeout(w.ctx, time.Minute)
	defer cancel()
	events, err := w.warehouse.Ask(ctx, invariant.EventQuery, nil)
	if err != nil {
		return nil, err
	}
	alerts, err := w.warehouse.Ask(ctx, invariant.AlertQuery, nil)
	if err != nil {
		return nil, err
	}
	summary, err := w.warehouse.Summary(ctx)
	if err != nil {
		return nil, err
	}
	wantEvents, err := invariant.EventRows(s.log)
	if err != nil {
		return nil, err
	}
	wantAlerts, err := invariant.AlertRows(s.bodies)
	if err != nil {
		return nil, err
	}
	var sums []invariant.Amounts
	for _, c := range summary.Completeness {
		sums = append(sums, invariant.Amounts{
			Currency: c.Currency, Captured: c.CapturedMinor, Settled: c.SettledMinor, Open: c.OpenMinor,
			Alerted: c.AlertedMinor, Excluded: c.ExcludedMinor,
		})
	}
	found := invariant.RowsAreRecords("events", wantEvents, invariant.WarehouseEvents(events.Rows))
	found = append(found, invariant.RowsAreRecords("alert_revisions", wantAlerts, invariant.WarehouseAlerts(alerts.Rows))...)
	return append(found, invariant.AmountsAreConserved(s.payments, sums)...), nil
}
