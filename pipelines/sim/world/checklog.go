package world

import (
	"bytes"
	"slices"

	"settlewatch/pipelines/hop"
	"settlewatch/pipelines/intake"
	"settlewatch/pipelines/stage"
	"settlewatch/schemas/deadletter"
	"settlewatch/schemas/event"
	"settlewatch/schemas/topic"
)

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
