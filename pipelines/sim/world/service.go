package world

import (
	"context"
	"errors"
	"fmt"
	"time"

	"settlewatch/pipelines/intake"
	"settlewatch/pipelines/sim"
	"settlewatch/pipelines/stage"
	"settlewatch/schemas/deadletter"
	"settlewatch/schemas/event"
	"settlewatch/schemas/topic"
)

// build makes the world of a schedule, nothing started yet.
func build(s *Schedule, replay bool, flaw *Flaw) (*World, error) {
	w := &World{
		schedule: s, replay: replay, flaw: flaw, nowMs: monday10, log: sim.NewLog(), ends: map[place]int64{},
		warehouse: sim.NewWarehouse(),
	}
	if len(s.Plan.Played) == len(rawTopics) {
		w.nowMs = horizonMs + dayMs // all of it has been
	}
	if !replay {
		s.Faults = nil
	}
	for n, t := range rawTopics {
		w.raws = append(w.raws, &raw{Topic: t, kind: kind(n), partitions: s.Plan.firstPartitions(t)})
	}
	w.feed = newFeeder(&s.Plan, w.raws)
	if err := w.createTopics(); err != nil {
		return nil, err
	}
	for n := range s.Plan.LogPartitions {
		st := &store{state: sim.NewState(), partition: int32(n)}
		st.state.MidLoad = func() { w.park(opLoadPart, place{topic.PaymentLog.Name, st.partition}) }
		w.flaw.store(st.state)
		w.stores = append(w.stores, st)
	}
	w.configure(0)
	w.createGroups()
	for k := kindAuthorization; k <= kindWarehouse; k++ {
		if k == kindWarehouse && !s.Plan.Warehouse {
			continue
		}
		for n := range s.Plan.Instances {
			w.processes = append(w.processes, &process{name: fmt.Sprintf("%s-%d", k, n), kind: k, index: n, version: 1})
		}
	}
	return w, nil
}

func (w *World) createTopics() error {
	for _, t := range topic.All {
		n := 1
		switch t.Name {
		case topic.PaymentLog.Name:
			n = w.schedule.Plan.LogPartitions
		case topic.RawAuthorization.Name, topic.RawCapture.Name, topic.RawSettlement.Name:
			n = w.schedule.Plan.firstPartitions(t)
		case topic.AlertsPaidUnsettled.Name, topic.AlertsSettledTwice.Name, topic.Payments.Name:
			n = t.Partitions
		}
		if err := w.log.CreateTopic(t.Name, n); err != nil {
			return err
		}
	}
	return nil
}

// firstPartitions are a raw topic's at the start. One that is played has all of them
// from the beginning: what a loader writes of the past cannot be waited for.
func (p *Plan) firstPartitions(t topic.Topic) int {
	if p.Grow && !p.played(t) {
		return max(p.RawPartitions-1, 1)
	}
	return p.RawPartitions
}

func (w *World) addGroup(g *group) {
	g.committed, g.owners = map[int32]int64{}, make([]*actor, g.partitions)
	w.groups = append(w.groups, g)
}

func (w *World) createGroups() {
	p, add := &w.schedule.Plan, w.addGroup
	for _, r := range w.raws {
		add(&group{id: r.Name, topic: r.Name, partitions: r.partitions, kinds: []kind{r.kind}, version: 1, own: w.ingest})
	}
	add(&group{id: "config", topic: topic.Config.Name, partitions: 1, kinds: []kind{kindAuthorization, kindCapture, kindSettlement}, own: w.carry})
	add(&group{id: "joiner", topic: topic.PaymentLog.Name, partitions: p.LogPartitions, kinds: []kind{kindJoiner}, own: w.join})
	if !p.Warehouse {
		return
	}
	add(&group{id: "warehouse", topic: topic.PaymentLog.Name, partitions: p.LogPartitions, kinds: []kind{kindWarehouse}, own: w.load})
	for _, t := range []topic.Topic{topic.AlertsPaidUnsettled, topic.AlertsSettledTwice} {
		add(&group{id: "warehouse", topic: t.Name, partitions: t.Partitions, kinds: []kind{kindWarehouse}, own: w.load})
	}
}

// boot starts a process.
func (w *World) boot(p *process) {
	w.note("start %s", p.name)
	p.alive = true
	if p.kind.ingest() {
		p.configs = stage.NewConfigs()
		w.spawn(p, "follow", func(ctx context.Context) error { return p.configs.Follow(ctx, port{w, p}) })
	}
}

func (w *World) ingest(p *process, a stage.Assignment) func(context.Context) error {
	feed := []intake.Feed{intake.Authorization, intake.Capture, intake.Settlement}[p.kind]
	i := &stage.Ingest{
		Log: port{w, p}, Clock: clock{w, p}, Configs: p.configs, Logger: silent,
		Intake:  &reading{decoder: intake.NewDecoder(feed, intake.TokenKey{})},
		Service: p.kind.String(), Profile: "json", Version: p.version,
	}
	if p.version == 2 {
		i.Intake = otherRules{i.Intake}
	}
	w.flaw.ingest(w, p, &a, i)
	return func(ctx context.Context) error {
		if err := p.configs.CatchUp(ctx, port{w, p}); err != nil {
			if ctx.Err() != nil {
				return nil //nolint:nilerr // the assignment ended first
			}
			return err
		}
		return i.Own(ctx, a)
	}
}

func (w *World) carry(p *process, a stage.Assignment) func(context.Context) error {
	c := &stage.Configure{Log: port{w, p}}
	w.flaw.configure(w, p, c)
	return func(ctx context.Context) error { return c.Own(ctx, a) }
}

func (w *World) join(p *process, a stage.Assignment) func(context.Context) error {
	j := &stage.Joiner{
		Log: port{w, p}, Clock: clock{w, p}, Logger: silent, AlertsOnly: w.schedule.Plan.AlertsOnly,
		State: func(n int32) stage.State {
			s := w.stores[n]
			return &owner{w: w, store: s, own: s.state.Owner()}
		},
	}
	if w.schedule.Plan.Checkpoints {
		j.Checkpoints = memory{w}
	}
	w.flaw.join(w, p, &a, j)
	return func(ctx context.Context) error { return j.Own(ctx, a) }
}

// loadEvery is how long a row waits for its insert at most.
const loadEvery = 700 * time.Millisecond

func (w *World) load(p *process, a stage.Assignment) func(context.Context) error {
	var log stage.Log = port{w, p}
	var rows stage.Warehouse = shelf{w}
	w.flaw.load(w, p, &log, &rows)
	options := stage.LoadOptions{Clock: clock{w, p}, MaxRows: 1 + int(w.hash(streamSplit)%20), Interval: loadEvery}
	return func(ctx context.Context) error { return stage.Load(ctx, log, rows, a, options) }
}

// reading is an ingest service's intake: one record, one event or one dead letter.
type reading struct{ decoder *intake.Decoder }

var _ stage.Intake = (*reading)(nil)

func (r *reading) Events(raw []byte, into []*event.Event) ([]*event.Event, error) {
	e, err := r.decoder.Decode(raw)
	if err != nil {
		return nil, err
	}
	return append(into, e), nil
}

func (r *reading) DeadLetter(source event.Source, raw stage.Record, reason error) (stage.Record, error) {
	l := deadletter.Letter{
		Service: source.Service, Profile: fmt.Sprintf("%s@%d", source.Profile, source.Version),
		Source:    deadletter.Source{Topic: source.Topic, Partition: source.Partition, Offset: raw.Offset},
		ArrivalMs: raw.TimeMs, Reason: "unusable", Detail: reason.Error(),
		Payload: deadletter.NewPayload(intake.Mask(raw.Value)),
	}
	var decode *intake.DecodeError
	if errors.As(reason, &decode) {
		l.Path, l.Reason, l.Detail = decode.Path, string(decode.Reason), decode.Detail
	}
	value, err := l.Encode()
	return stage.Record{Key: l.Key(), Value: value, TimeMs: raw.TimeMs}, err
}
