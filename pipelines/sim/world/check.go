package world

import (
	"bytes"
	"errors"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strings"

	"settlewatch/pipelines/join"
	"settlewatch/pipelines/oracle"
	"settlewatch/pipelines/oracle/invariant"
	"settlewatch/pipelines/sim"
	"settlewatch/schemas/alert"
	"settlewatch/schemas/event"
	"settlewatch/schemas/payment"
	"settlewatch/schemas/table"
	"settlewatch/schemas/topic"
)

// refused: a loop that stops for an operator must have a cause.
func (w *World) refused(a *actor) {
	w.refusal = a.err
	w.violate("no loop stops without a cause", "%s: %v", a.name, a.err)
}

// decoded is one partition of the payment log.
func (w *World) decoded(partition int32) []*event.LogRecord {
	records, err := w.all(partition)
	if err != nil {
		w.violate("simulation", "%v", err)
		return nil
	}
	out := make([]*event.LogRecord, len(records))
	for i, r := range records {
		out[i] = new(event.LogRecord)
		if err := out[i].UnmarshalVT(r.Value); err != nil {
			w.violate("the log can be read", "partition %d offset %d: %v", partition, r.Offset, err)
		}
	}
	return out
}

// fed tells whether all that was planned is in the log: every source has marked a
// moment after its last record, and the last CONFIG has come.
func (w *World) fed() bool {
	if w.feed.nextMs() != 0 || w.nowMs < horizonMs {
		w.nowMs += dayMs / 4
		return false
	}
	if w.fedMs == 0 {
		w.fedMs = w.nowMs + 1
	}
	configs := w.ends[place{topic.Config.Name, 0}]
	for _, s := range w.stores {
		marks, last := map[string]int64{}, int64(-1)
		for _, r := range w.decoded(s.partition) {
			if m := r.GetMark(); m != nil {
				marks[r.Origin.Source] = max(marks[r.Origin.Source], m.TMs)
			} else if r.GetConfig() != nil {
				last = max(last, r.Origin.Offset)
			}
		}
		if last != configs-1 {
			return false
		}
		for _, source := range w.latest.Groups[0].Sources {
			want := w.fedMs
			if source.Clock == event.Clock_CLOCK_PLAYED {
				want = horizonMs
			}
			if marks[source.Name] < want {
				return false
			}
		}
	}
	return true
}

// standing says how far everything is.
func (w *World) standing() string {
	var b strings.Builder
	for _, g := range w.groups {
		for n := range g.partitions {
			at := place{g.topic, int32(n)}
			fmt.Fprintf(&b, "%s %s/%d at %d of %d; ", g.id, g.topic, n, g.committed[at.partition], w.ends[at])
		}
	}
	for _, a := range w.actors {
		fmt.Fprintf(&b, "%s at %s; ", a.name, a.op)
	}
	return b.String()
}

// check holds what was left against what it must be.
func (w *World) check() {
	logs := make([][]*event.LogRecord, len(w.stores))
	for n := range logs {
		logs[n] = w.decoded(int32(n))
		w.checkFrontier(int32(n), logs[n])
	}
	w.checkHop(logs)
	var want []*alert.Alert
	var orders [][]string
	for n, log := range logs {
		alerts := w.checkFold(int32(n), log)
		want = append(want, alerts...)
		order := []string{}
		for _, a := range alerts {
			order = append(order, revision(a))
		}
		orders = append(orders, order)
		w.checkOracle(int32(n), log, alerts)
		w.checkWeave(int32(n), log, alerts)
		w.checkLoaded(w.stores[n], w.stores[n].look())
		w.checkCommits(w.stores[n])
		if s := w.stores[n]; s.checkpoints.lost && s.look().Meta != nil {
			w.violate("what is lost is refused", "partition %d: state at offset %d though the log begins later", n, s.look().Offset)
		}
	}
	w.checkAlerts(want, orders)
	w.checkPayments()
	if w.schedule.Plan.Warehouse {
		w.checkWarehouse()
	}
}

func revision(a *alert.Alert) string { return fmt.Sprintf("%s:%d", a.ID, a.Revision) }

// checkFold folds a log quietly: what must have been published.
func (w *World) checkFold(partition int32, log []*event.LogRecord) []*alert.Alert {
	alerts, err := quiet(log)
	if err != nil {
		w.violate("the log can be folded", "partition %d: %v", partition, err)
	}
	return alerts
}

func quiet(log []*event.LogRecord) ([]*alert.Alert, error) {
	state, out := join.New(), new(join.Output)
	for i, r := range log {
		if err := state.Step(r, out); err != nil {
			return out.Alerts, fmt.Errorf("record %d: %w", i, err)
		}
	}
	return out.Alerts, nil
}

func (w *World) checkOracle(partition int32, log []*event.LogRecord, got []*alert.Alert) {
	want, err := oracle.Alerts(log)
	if err != nil {
		w.violate("the join's alerts are the oracle's", "partition %d: %v", partition, err)
		return
	}
	for i := range max(len(got), len(want)) {
		var a, b []byte
		if i < len(got) {
			a, _ = got[i].Encode()
		}
		if i < len(want) {
			b, _ = want[i].Encode()
		}
		if !bytes.Equal(a, b) {
			w.violate("the join's alerts are the oracle's", "partition %d, revision %d: join\n%s\noracle\n%s", partition, i, a, b)
			return
		}
	}
}

// checkAlerts: what was published is what must be, in order, and repeats are
// the same bytes.
func (w *World) checkAlerts(want []*alert.Alert, orders [][]string) {
	var bodies [][]byte
	for _, t := range []topic.Topic{topic.AlertsPaidUnsettled, topic.AlertsSettledTwice} {
		for n := range t.Partitions {
			records, err := w.log.Records(t.Name, int32(n))
			if err != nil {
				w.violate("simulation", "%v", err)
				return
			}
			first := []string{}
			for _, r := range records {
				bodies = append(bodies, r.Value)
				if a, err := alert.Decode(r.Value); err == nil && !slices.Contains(first, revision(a)) {
					first = append(first, revision(a))
				}
			}
			w.stats.Alerts += len(first)
			for _, order := range orders {
				if !inOrder(first, order) {
					w.violate("alerts come in the order of the log", "%s/%d has %v, the log gives %v", t.Name, n, first, order)
				}
			}
		}
	}
	for _, v := range invariant.AlertsAreTheOracles(want, bodies) {
		if w.lost() && strings.Contains(v.What, "lost: ") {
			continue // not published, and said so
		}
		w.violate("alerts are those of the log", "%s", v)
	}
}

// inOrder: those of got that are in order stand as they do there.
func inOrder(got, order []string) bool {
	last := -1
	for _, name := range got {
		if i := slices.Index(order, name); i >= 0 {
			if i < last {
				return false
			}
			last = i
		}
	}
	return true
}

// checkWeave reads the feeds in another order, each in its own: where no arrival
// was behind its own source's marks, the alerts must be the same.
func (w *World) checkWeave(partition int32, log []*event.LogRecord, want []*alert.Alert) {
	queues, names := map[string][]*event.LogRecord{}, []string{}
	marked := map[string]int64{}
	events := false
	for _, r := range log {
		if r.GetConfig() != nil && events {
			return // what it changes depends on its place
		}
		name := r.Origin.Source
		if queues[name] == nil {
			names = append(names, name)
		}
		queues[name] = append(queues[name], r)
		if m := r.GetMark(); m != nil {
			marked[name] = max(marked[name], m.TMs)
		} else if r.GetEvent() != nil {
			events = true
			if r.ArrivalMs < marked[name] && w.aheadMs > 0 {
				return
			}
		}
	}
	var other []*event.LogRecord
	for _, r := range log {
		if r.GetConfig() != nil {
			other = append(other, r)
		}
	}
	names = slices.DeleteFunc(names, func(n string) bool { return queues[n][0].GetConfig() != nil })
	for turn := uint64(0); len(names) > 0; turn++ {
		draw := mix(w.schedule.Seed + turn)
		k := int(draw % uint64(len(names)))
		n := min(1+int(draw>>32%5), len(queues[names[k]]))
		other = append(other, queues[names[k]][:n]...)
		if queues[names[k]] = queues[names[k]][n:]; len(queues[names[k]]) == 0 {
			names = slices.Delete(names, k, k+1)
		}
	}
	got, err := quiet(other)
	// Payments of different groups have no order between them.
	if one, two := bodies(want), bodies(got); err != nil || one != two {
		w.violate("the order of reading feeds is irrelevant", "partition %d (%v)\n%s\nin another order\n%s", partition, err, one, two)
	}
}

// bodies of alerts, sorted.
func bodies(alerts []*alert.Alert) string {
	lines := make([]string, len(alerts))
	for i, a := range alerts {
		body, _ := a.Encode()
		lines[i] = string(body)
	}
	slices.Sort(lines)
	return strings.Join(lines, "\n")
}

// checkPayments: the amounts of every snapshot add up.
func (w *World) checkPayments() {
	for n := range topic.Payments.Partitions {
		records, err := w.log.Records(topic.Payments.Name, int32(n))
		if err != nil {
			w.violate("simulation", "%v", err)
			return
		}
		for _, r := range records {
			p := new(payment.Payment)
			if err := p.UnmarshalVT(r.Value); err != nil {
				w.violate("amounts are conserved", "%v", err)
				return
			}
			if p.CapturedMinor != p.SettledMinor+p.OpenMinor+p.AlertedMinor+p.ExcludedMinor ||
				min(p.CapturedMinor, p.SettledMinor, p.OpenMinor, p.AlertedMinor, p.ExcludedMinor, p.ReceivedMinor, p.ExcessMinor) < 0 {
				w.violate("amounts are conserved", "%v", p)
				return
			}
		}
	}
}

// checkWarehouse: the tables hold what their topics hold, each once.
func (w *World) checkWarehouse() {
	want := sim.NewWarehouse()
	fill := func(name string, partitions int) error {
		for n := range partitions {
			builder, err := table.NewBuilder(name, int32(n))
			if err != nil {
				return err
			}
			records, err := w.log.Records(name, int32(n))
			if err != nil {
				return err
			}
			for _, r := range records {
				if err := builder.Add(r.Offset, r.Key, r.Value); err != nil {
					return err
				}
			}
			for i, b := range builder.Blocks() {
				if err := want.Insert(background, b, fmt.Sprintf("%s/%d/%d", name, n, i)); err != nil {
					return err
				}
			}
		}
		return nil
	}
	err := errors.Join(
		fill(topic.PaymentLog.Name, len(w.stores)),
		fill(topic.AlertsPaidUnsettled.Name, topic.AlertsPaidUnsettled.Partitions),
		fill(topic.AlertsSettledTwice.Name, topic.AlertsSettledTwice.Partitions),
	)
	if err != nil {
		w.violate("simulation", "rows: %v", err)
		return
	}
	for _, t := range []table.Table{table.Events, table.AlertRevisions} {
		got, expect := w.warehouse.Distinct(t), want.Distinct(t)
		for _, id := range slices.Sorted(maps.Keys(expect)) {
			if !reflect.DeepEqual(got[id], expect[id]) {
				w.violate("the warehouse holds what the topics hold", "%s %q: has %v, want %v", t.Name, id, got[id], expect[id])
				return
			}
		}
		if len(got) != len(expect) {
			w.violate("the warehouse holds what the topics hold", "%s has %d rows, want %d", t.Name, len(got), len(expect))
		}
	}
}
