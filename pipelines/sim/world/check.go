package world

import (
	"bytes"
	"errors"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strings"

	"settlewatch/pipelines/hop"
	"settlewatch/pipelines/intake"
	"settlewatch/pipelines/join"
	"settlewatch/pipelines/oracle"
	"settlewatch/pipelines/oracle/invariant"
	"settlewatch/pipelines/sim"
	"settlewatch/pipelines/stage"
	"settlewatch/schemas/alert"
	"settlewatch/schemas/deadletter"
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
	records, err := w.log.Records(topic.PaymentLog.Name, partition)
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

// everySource that has ever been expected.
func (w *World) everySource() (all []event.Source) {
	for _, r := range w.raws {
		for n := range r.partitions {
			all = append(all, r.source(n, 1))
			if r.untils != nil {
				all = append(all, r.source(n, 2))
			}
		}
	}
	return all
}

// checkFrontier holds two promises, less how far a clock was ahead. When a mark of T
// stands in the log, all that lay in its source before T stands before it. And when
// the frontier reaches F, so does all that lay in any source before F, also in a
// partition that was added while the others were read.
func (w *World) checkFrontier(partition int32, log []*event.LogRecord) {
	const check = "a mark stands behind all it speaks of"
	sources := w.everySource()
	waiting := make([][]arrived, len(sources)) // what has not passed yet
	index := map[string]int{}
	for i, s := range sources {
		waiting[i] = w.expected(s)[partition]
		index[s.String()] = i
	}
	reader, configs := hop.NewReader(nil, nil), uint64(0)
	for at, r := range log {
		i, known := index[r.Origin.Source]
		switch body := r.Body.(type) {
		case *event.LogRecord_Event:
			for known && len(waiting[i]) > 0 && waiting[i][0].offset <= r.Origin.Offset {
				waiting[i] = waiting[i][1:]
			}
			continue
		case *event.LogRecord_Config:
			if _, fresh := reader.Accept(r.Origin); fresh {
				expect(reader, body.Config)
				configs = uint64(r.Origin.Offset) + 1
			}
		case *event.LogRecord_Mark:
			if t := body.Mark.TMs; known && len(waiting[i]) > 0 && waiting[i][0].arrivalMs < t-w.aheadMs {
				w.violate(check, "partition %d record %d: mark %d of %s, but offset %d of %d ms comes later (clocks are ahead by %d ms at most)",
					partition, at, t, r.Origin.Source, waiting[i][0].offset, waiting[i][0].arrivalMs, w.aheadMs)
				return
			}
			if body.Mark.Configs <= configs {
				reader.Mark(r.Origin.Source, body.Mark.TMs)
			}
		}
		for g := range reader.Groups() {
			for i, rest := range waiting {
				if f := reader.Frontier(g); f != hop.Never && len(rest) > 0 && rest[0].arrivalMs < f-w.aheadMs {
					w.violate("the frontier waits for all", "partition %d record %d: the frontier is %d, but offset %d of %s, of %d ms, comes later (clocks are ahead by %d ms at most)",
						partition, at, f, rest[0].offset, sources[i], rest[0].arrivalMs, w.aheadMs)
					return
				}
			}
		}
	}
}

func expect(reader *hop.Reader, c *event.Config) {
	groups := make([]hop.Group, len(c.Groups))
	for i, g := range c.Groups {
		groups[i] = hop.Group{Name: g.Name, Frontier: hop.Never}
		for _, s := range g.Sources {
			groups[i].Sources = append(groups[i].Sources, s.Name)
		}
	}
	reader.Expect(groups)
}

// arrived is a raw record that becomes an event of one log partition.
type arrived struct {
	offset    int64
	arrivalMs int64
	event     *event.Event
}

// expected is what a source must bring to each log partition, in order.
func (w *World) expected(s event.Source) [][]arrived {
	if known, ok := w.expectations[s]; ok {
		return known
	}
	out := make([][]arrived, len(w.stores))
	var rules stage.Intake = &reading{decoder: intake.NewDecoder(feedOf(s.Service), intake.TokenKey{})}
	if s.Version == 2 {
		rules = otherRules{rules}
	}
	raw := w.raws[slices.IndexFunc(w.raws, func(r *raw) bool { return r.Name == s.Topic })]
	records, err := w.log.Records(s.Topic, s.Partition)
	if err != nil {
		w.violate("simulation", "%v", err)
	}
	for _, r := range records {
		if !raw.reads(int(s.Partition), s.Version, r.Offset) {
			continue
		}
		if events, err := rules.Events(r.Value, nil); err == nil {
			p := topic.Partition([]byte(events[0].PaymentKey), len(out))
			out[p] = append(out[p], arrived{r.Offset, r.TimeMs, events[0]})
		}
	}
	if w.expectations == nil {
		w.expectations = map[event.Source][][]arrived{}
	}
	w.expectations[s] = out
	return out
}

func feedOf(service string) intake.Feed {
	switch service {
	case "authorization":
		return intake.Authorization
	case "capture":
		return intake.Capture
	default:
		return intake.Settlement
	}
}

// checkHop: by the reader's rule every raw record is in the log exactly once, in
// the order of its source, and what cannot be read is a dead letter.
func (w *World) checkHop(logs [][]*event.LogRecord) {
	for _, s := range w.everySource() {
		want := w.expected(s)
		for p, log := range logs {
			w.checkSource(s, p, log, want[p])
		}
	}
	for p, log := range logs {
		var numbers []int64
		reader := hop.NewReader(nil, nil)
		for _, r := range log {
			if _, fresh := reader.Accept(r.Origin); r.GetConfig() != nil && fresh {
				numbers = append(numbers, r.Origin.Offset)
			}
		}
		for i := range int(w.ends[place{topic.Config.Name, 0}]) {
			if i >= len(numbers) || numbers[i] != int64(i) {
				w.violate("every CONFIG comes into the log once", "partition %d has %v of %d", p, numbers, w.ends[place{topic.Config.Name, 0}])
				break
			}
		}
	}
	w.checkLetters()
}

func (w *World) checkSource(s event.Source, partition int, log []*event.LogRecord, want []arrived) {
	const check = "every raw record is in the log once, in order"
	reader := hop.NewReader(nil, nil)
	i := 0
	for _, r := range log {
		e := r.GetEvent()
		if e == nil || r.Origin.Source != s.String() {
			continue
		}
		if _, fresh := reader.Accept(r.Origin); !fresh {
			continue
		}
		if i >= len(want) || want[i].offset != r.Origin.Offset {
			w.violate(check, "%s: partition %d has offset %d in place %d", s, partition, r.Origin.Offset, i)
			return
		}
		if r.ArrivalMs != want[i].arrivalMs || !sameEvent(e, want[i].event) {
			w.violate(check, "%s: partition %d offset %d is another event", s, partition, r.Origin.Offset)
			return
		}
		i++
	}
	if i < len(want) {
		w.violate(check, "%s: partition %d ends before offset %d", s, partition, want[i].offset)
	}
}

func sameEvent(a, b *event.Event) bool {
	one, err := a.MarshalVT()
	other, err2 := b.MarshalVT()
	return err == nil && err2 == nil && bytes.Equal(one, other)
}

func (w *World) checkLetters() {
	letters, err := w.log.Records(topic.DeadLetters.Name, 0)
	if err != nil {
		w.violate("simulation", "%v", err)
		return
	}
	have := map[deadletter.Source]bool{}
	for _, r := range letters {
		if l, err := deadletter.Decode(r.Value); err == nil {
			have[l.Source] = true
		}
	}
	for _, raw := range w.raws {
		for n := range raw.partitions {
			records, _ := w.log.Records(raw.Name, int32(n))
			decoder := intake.NewDecoder(feedOf(raw.kind.String()), intake.TokenKey{})
			for _, r := range records {
				at := deadletter.Source{Topic: raw.Name, Partition: int32(n), Offset: r.Offset}
				_, err := decoder.Decode(r.Value)
				if bad := err != nil && len(r.Headers) == 0; bad != have[at] {
					w.violate("what cannot be read is a dead letter", "%v: unreadable %v, letter %v", at, bad, have[at])
				}
			}
		}
	}
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
