package faults

import (
	"cmp"
	"context"
	"fmt"
	"runtime"
	"slices"
	"time"

	"golang.org/x/sync/errgroup"

	"settlewatch/pipelines/oracle"
	"settlewatch/pipelines/oracle/invariant"
	"settlewatch/pipelines/stage"
	"settlewatch/schemas/alert"
	"settlewatch/schemas/deadletter"
	"settlewatch/schemas/event"
	"settlewatch/schemas/topic"
	"settlewatch/services/boot"
	"settlewatch/tools/demo"
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

// check holds what is left behind to all invariants; what does not need one another's
// outcome at the same time, for a million records are many.
func (w *world) check() ([]invariant.Violation, error) {
	s, err := w.read()
	if err != nil {
		return nil, err
	}
	partitions := w.checkPartitions(s)
	var want []*alert.Alert
	var rows []invariant.Row
	var found []invariant.Violation
	for p, c := range partitions {
		want, rows, found = append(want, c.alerts...), append(rows, c.rows...), append(found, c.found...)
		s.log[int32(p)] = c.ours
		s.raw = append(s.raw, c.foreign...)
	}
	var alerts, places, tables []invariant.Violation
	var g errgroup.Group
	g.Go(func() error {
		alerts = invariant.AlertsAreTheOracles(want, s.bodies)
		if !w.expects.live {
			alerts = append(alerts, w.checkPlanted(s)...)
		}
		return nil
	})
	g.Go(func() error { places = invariant.NothingIsLost(s.raw, s.log, s.letters); return nil })
	g.Go(func() (err error) { tables, err = w.checkWarehouse(s, rows); return err })
	if err := g.Wait(); err != nil {
		return nil, err
	}
	found = slices.Concat(found, alerts, places, tables)
	w.watch.mu.Lock()
	defer w.watch.mu.Unlock()
	for service, looks := range w.watch.looks {
		found = append(found, invariant.NothingIsSilent(service, silenceMost.Milliseconds(), looks)...)
	}
	return found, nil
}

// checked is what a partition of the payment log comes to.
type checked struct {
	alerts []*alert.Alert  // that the oracle wants
	rows   []invariant.Row // that the warehouse must have
	ours   []stage.Record  // the log without what somebody else wrote there
	// foreign is that; each must have become a dead letter, as a raw record that cannot
	// be read.
	foreign []invariant.Raw
	found   []invariant.Violation
}

// checkPartitions looks at every partition of the payment log, which have nothing to
// do with each other.
func (w *world) checkPartitions(s *seen) []checked {
	all := make([]checked, topic.PaymentLog.Partitions)
	var g errgroup.Group
	g.SetLimit(runtime.NumCPU())
	for p := range int32(topic.PaymentLog.Partitions) {
		g.Go(func() error {
			all[p] = w.checkPartition(p, s.log[p], s.stored[p])
			return nil
		})
	}
	_ = g.Wait() // none fails
	return all
}

// checkPartition holds the state of a partition to a fold of its log, and says what
// alerts and rows that asks for.
func (w *world) checkPartition(p int32, records []stage.Record, stored stage.Stored) (c checked) {
	place := fmt.Sprintf("%s/%d", topic.PaymentLog.Name, p)
	c.found = append(c.found, invariant.StateIsFold(place, records, stored)...)
	if stored.Meta == nil && len(records) > 0 {
		c.found = append(c.found, invariant.Violation{Invariant: invariant.I1, Place: place, What: "nothing is stored"})
	}
	if !w.expects.rolledBack {
		c.found = append(c.found, invariant.PlacesFollow(place, w.watch.places[p])...)
	}
	log := make([]*event.LogRecord, 0, len(records))
	c.ours = make([]stage.Record, 0, len(records))
	for i := range records {
		r, ours := invariant.Decode(records[i].Value)
		if !ours {
			c.foreign = append(c.foreign, invariant.Raw{Topic: topic.PaymentLog.Name, Partition: p, Offset: records[i].Offset})
			continue
		}
		log, c.ours = append(log, r), append(c.ours, records[i])
	}
	var err error
	if c.alerts, err = oracle.Alerts(log); err != nil {
		c.found = append(c.found, invariant.Violation{Invariant: invariant.I2, Place: place, What: err.Error()})
	}
	if c.rows, err = invariant.EventRows(map[int32][]stage.Record{p: c.ours}); err != nil {
		c.found = append(c.found, invariant.Violation{Invariant: invariant.I4, Place: place, What: err.Error()})
	}
	return c
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

// checkWarehouse holds the tables to Kafka's records; wantEvents are the payment log's.
func (w *world) checkWarehouse(s *seen, wantEvents []invariant.Row) ([]invariant.Violation, error) {
	ctx, cancel := context.WithTimeout(w.ctx, time.Minute)
	defer cancel()
	// As text: a million rows cell by cell take longer than the rest of the check.
	events, err := w.sql(ctx, invariant.EventQuery+" FORMAT TabSeparated")
	if err != nil {
		return nil, err
	}
	alerts, err := w.sql(ctx, invariant.AlertQuery+" FORMAT TabSeparated")
	if err != nil {
		return nil, err
	}
	summary, err := w.warehouse.Summary(ctx)
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
	found := invariant.RowsAreRecords("events", wantEvents, invariant.WarehouseEvents(events))
	found = append(found, invariant.RowsAreRecords("alert_revisions", wantAlerts, invariant.WarehouseAlerts(alerts))...)
	return append(found, invariant.AmountsAreConserved(s.payments, sums)...), nil
}
