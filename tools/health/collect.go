package health

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"

	"settlewatch/pipelines/bus"
	"settlewatch/pipelines/hop"
	"settlewatch/pipelines/join"
	"settlewatch/pipelines/statestore"
	"settlewatch/pipelines/warehouse"
	"settlewatch/schemas/alert"
	"settlewatch/schemas/event"
	"settlewatch/schemas/topic"
	"settlewatch/tools/configlog"
)

// Connections to an installation; one that is nil was not reached.
type Connections struct {
	Kafka      *bus.Bus
	Redis      *statestore.Client
	ClickHouse *warehouse.Warehouse
	// Errors say why a connection is nil, by the server's name.
	Errors map[string]error
}

// Collect reads everything that can be read now. The context bounds each server's
// part: what has not answered by then counts as unreachable.
func Collect(ctx context.Context, c Connections, now time.Time) *Report {
	r := &Report{At: now, Servers: map[string]*Server{}, Problems: []string{}}
	var metas []partitionMeta
	var config *configlog.Numbered
	run := func(name string, there bool, read func() error) func() error {
		s := &Server{Reachable: there}
		r.Servers[name] = s
		return func() error {
			err := c.Errors[name]
			if there {
				err = read()
			}
			if err != nil {
				s.Reachable, s.Error = false, firstLine(err)
			}
			return nil
		}
	}
	var g errgroup.Group // each part fills fields of its own
	g.Go(run(Kafka, c.Kafka != nil, func() (err error) {
		config, err = r.readKafka(ctx, c.Kafka)
		return err
	}))
	g.Go(run(Redis, c.Redis != nil, func() (err error) {
		metas, err = readMetas(ctx, c.Redis)
		return err
	}))
	g.Go(run(ClickHouse, c.ClickHouse != nil, func() error { return r.readClickHouse(ctx, c.ClickHouse) }))
	_ = g.Wait() // failures are in the report
	r.place(metas, now)
	if config != nil {
		r.Config = &Config{Number: config.Number, Rules: config.Rules}
		for _, m := range metas {
			if m.Config == nil || m.ConfigNumber < config.Number {
				r.Config.Behind = append(r.Config.Behind, m.partition)
			}
		}
	}
	return r
}

func firstLine(err error) string {
	line, _, _ := strings.Cut(err.Error(), "\n")
	return line
}

func (r *Report) readKafka(ctx context.Context, kafka *bus.Bus) (*configlog.Numbered, error) {
	config, err := configlog.InForce(ctx, kafka)
	if err != nil && !errors.Is(err, configlog.ErrNone) {
		return nil, err
	}
	for _, p := range parts(config.Config) {
		s := Service{Name: p.name, Group: p.group}
		members, err := kafka.Members(ctx, p.group)
		if err != nil {
			return nil, err
		}
		s.Members = len(members)
		for _, name := range p.topics {
			places, err := kafka.Places(ctx, p.group, name)
			if err != nil {
				return nil, err
			}
			l := Leg{Topic: name, Partitions: len(places)}
			for _, m := range members {
				l.Owned += len(m.Partitions[name])
			}
			for _, place := range places {
				l.Lag += place.Lag()
				l.LagMax = max(l.LagMax, place.Lag())
			}
			s.Legs = append(s.Legs, l)
		}
		r.Services = append(r.Services, s)
	}
	if err := r.readLastAlert(ctx, kafka); err != nil {
		return nil, err
	}
	if config.Config == nil {
		return nil, nil
	}
	return &config, nil
}

// readLastAlert looks at the last record of every partition.
func (r *Report) readLastAlert(ctx context.Context, kafka *bus.Bus) error {
	for _, k := range alert.Kinds {
		n, err := kafka.Partitions(ctx, k.Topic().Name)
		if err != nil {
			return err
		}
		for p := range n {
			a, err := lastAlert(ctx, kafka, k.Topic().Name, int32(p))
			if err != nil {
				return err
			}
			if a != nil && (r.LastAlert == nil || a.MomentJudged > r.LastAlert.MomentJudged) {
				r.LastAlert = &LastAlert{
					Kind: a.Kind, Status: a.Status, Revision: a.Revision, MomentJudged: a.MomentJudged,
					PaymentKey: a.PaymentKey, AmountMinor: a.AmountMinor, Currency: a.Currency,
				}
			}
		}
	}
	return nil
}

func lastAlert(ctx context.Context, kafka *bus.Bus, name string, partition int32) (*alert.Alert, error) {
	first, end, err := kafka.Bounds(ctx, name, partition)
	if err != nil || end <= first {
		return nil, err
	}
	reader, err := kafka.Open(name, partition)
	if err != nil {
		return nil, err
	}
	defer func() { _ = reader.Close() }()
	batch, err := reader.Fetch(ctx, end-1, time.Second)
	if err != nil || len(batch.Records) == 0 {
		return nil, err
	}
	a, err := alert.Decode(batch.Records[len(batch.Records)-1].Value)
	if err != nil {
		return nil, fmt.Errorf("read %s/%d at %d: %w", name, partition, end-1, err)
	}
	return a, nil
}

// partitionMeta is what the joiner has committed of one log partition.
type partitionMeta struct {
	join.Meta
	partition int32
}

func readMetas(ctx context.Context, redis *statestore.Client) ([]partitionMeta, error) {
	var metas []partitionMeta
	for n := range topic.PaymentLog.Partitions {
		view, err := redis.Partition(topic.PaymentLog.Name, int32(n)).ReadBucket(ctx, 0)
		if err != nil {
			return nil, err
		}
		if view.Sequence == 0 {
			continue
		}
		m, err := join.ReadMeta(view.Meta)
		if err != nil {
			return nil, fmt.Errorf("read state of %s/%d: %w", topic.PaymentLog.Name, n, err)
		}
		metas = append(metas, partitionMeta{m, int32(n)})
	}
	return metas, nil
}

// place finds each group's frontier and holder, and adds up the totals.
func (r *Report) place(metas []partitionMeta, now time.Time) {
	r.Frontiers = []Frontier{}
	least := map[string]int64{}
	for i := range metas {
		m := &metas[i]
		if r.Payments == nil {
			r.Payments = new(Payments)
		}
		r.Payments.Watched += m.Payments
		r.Payments.Events += m.Counts.Events
		r.Payments.Repeats += m.Counts.Repeats
		r.Payments.Alerts += m.Counts.Alerts
		for g, group := range m.Groups {
			at, seen := least[group.Name]
			if seen && at <= group.Frontier {
				continue
			}
			least[group.Name] = group.Frontier
			f := Frontier{Group: group.Name, Partition: m.partition}
			f.HeldBy, _ = m.Holder(g)
			f.Played = clockOf(m.Config, f.HeldBy) == event.Clock_CLOCK_PLAYED
			if group.Frontier != hop.Never {
				t := time.UnixMilli(group.Frontier).UTC()
				f.Time = &t
				if !f.Played {
					age := now.Sub(t).Seconds()
					f.AgeSeconds = &age
				}
			}
			r.Frontiers = slices.DeleteFunc(r.Frontiers, func(other Frontier) bool { return other.Group == group.Name })
			r.Frontiers = append(r.Frontiers, f)
		}
	}
	slices.SortFunc(r.Frontiers, func(a, b Frontier) int { return cmp.Compare(a.Group, b.Group) })
}

func clockOf(config *event.Config, source string) event.Clock {
	for _, g := range config.GetGroups() {
		for _, s := range g.Sources {
			if s.Name == source {
				return s.Clock
			}
		}
	}
	return event.Clock_CLOCK_UNKNOWN
}

func (r *Report) readClickHouse(ctx context.Context, tables *warehouse.Warehouse) error {
	var t Tables
	counts, err := tables.Ask(ctx, `SELECT (SELECT count() FROM settlewatch.events_distinct), count(), countIf(open_minor != 0)
		FROM settlewatch.payments_current`, nil)
	if err != nil {
		return err
	}
	for i, to := range []*uint64{&t.Events, &t.Payments, &t.OpenPayments} {
		*to, _ = counts.Rows[0][i].(uint64) // count() is a UInt64
	}
	open, err := tables.Ask(ctx, "SELECT kind, count() FROM settlewatch.alerts WHERE status = 'OPEN' GROUP BY kind", nil)
	if err != nil {
		return err
	}
	t.OpenAlerts = map[string]uint64{}
	for _, k := range alert.Kinds {
		t.OpenAlerts[string(k)] = 0
	}
	for _, row := range open.Rows {
		if kind, is := row[0].(string); is {
			t.OpenAlerts[kind], _ = row[1].(uint64)
		}
	}
	r.ClickHouse = &t
	return nil
}
