package world

import (
	"context"
	"encoding/binary"
	"errors"

	"settlewatch/pipelines/hop"
	"settlewatch/pipelines/sim"
	"settlewatch/pipelines/stage"
	"settlewatch/schemas/event"
	"settlewatch/schemas/topic"
)

// Flaws are the bugs that the simulation has to catch. Each is planted with the
// other defences as they are, except where one would hide it: then the flaw says so.
var Flaws = []Flaw{
	// A hop's writing end.
	{
		Name: "mark-while-behind", About: "a mark counts at once, not when the high watermark of its fetch is reached",
		onIngest: func(_ *World, _ *process, _ *stage.Assignment, i *stage.Ingest) {
			i.Log = editedLog{Log: i.Log, batch: func(_ place, _ int64, b *stage.Batch) { b.HighWatermark = b.Next }}
		},
	},
	{
		Name: "empty-is-the-end", About: "an empty reply is taken for the end of the partition",
		onIngest: func(_ *World, _ *process, _ *stage.Assignment, i *stage.Ingest) {
			i.Log = editedLog{Log: i.Log, batch: func(_ place, _ int64, b *stage.Batch) {
				if len(b.Records) == 0 {
					b.HighWatermark = b.Next
				}
			}}
		},
	},
	{
		Name: "clock-after-fetch", About: "a mark's T is read after the fetch, not before",
		onIngest: func(w *World, _ *process, _ *stage.Assignment, i *stage.Ingest) {
			early := &earlyFetch{w: w, clock: i.Clock}
			i.Clock, i.Log = early, editedLog{Log: i.Log, reader: early.around}
		},
	},
	{
		Name: "commit-before-acknowledgement", About: "ingest commits its offset before the append is acknowledged",
		onIngest: func(_ *World, _ *process, a *stage.Assignment, i *stage.Ingest) {
			log, held := i.Log, []stage.Outgoing(nil)
			release := func(ctx context.Context) error {
				out := held
				held = nil
				return log.Append(ctx, out...)
			}
			commit := a.Commit
			a.Commit = func(ctx context.Context, offset int64) error {
				if err := commit(ctx, offset); err != nil {
					return err
				}
				return release(ctx)
			}
			i.Log = editedLog{
				Log: log,
				append: func(_ context.Context, batches []stage.Outgoing) error {
					held = append(held, copied(batches)...)
					return nil
				},
				fetch: release,
			}
		},
	},
	{
		Name: "letters-unacknowledged", About: "dead letters are sent after the offset is committed",
		shape: func(p *Plan) {
			p.FaultEvery = 10
			for i := 0; i < len(p.Items); i += 2 {
				p.Items[i].Token = "bad"
			}
		},
		onIngest: func(_ *World, _ *process, a *stage.Assignment, i *stage.Ingest) {
			log, held := i.Log, []stage.Outgoing(nil)
			commit := a.Commit
			a.Commit = func(ctx context.Context, offset int64) error {
				if err := commit(ctx, offset); err != nil {
					return err
				}
				out := held
				held = nil
				return log.Append(ctx, out...)
			}
			i.Log = editedLog{Log: log, append: func(ctx context.Context, batches []stage.Outgoing) error {
				var rest []stage.Outgoing
				for _, b := range batches {
					if b.Topic == topic.DeadLetters.Name {
						held = append(held, copied([]stage.Outgoing{b})...)
					} else {
						rest = append(rest, b)
					}
				}
				return log.Append(ctx, rest...)
			}}
		},
	},
	{
		Name: "commit-the-watermark", About: "ingest commits the end of the partition instead of what it has read",
		onIngest: func(_ *World, _ *process, a *stage.Assignment, i *stage.Ingest) {
			end, commit := int64(0), a.Commit
			i.Log = editedLog{Log: i.Log, batch: func(_ place, _ int64, b *stage.Batch) { end = b.HighWatermark }}
			a.Commit = func(ctx context.Context, _ int64) error { return commit(ctx, end) }
		},
	},
	{
		Name: "appends-reordered", About: "two requests to one partition overtake each other",
		onIngest: func(_ *World, _ *process, _ *stage.Assignment, i *stage.Ingest) {
			log := i.Log
			i.Log = editedLog{Log: log, append: func(ctx context.Context, batches []stage.Outgoing) error {
				for _, b := range batches {
					first := b
					first.Records = b.Records[len(b.Records)/2:]
					b.Records = b.Records[:len(b.Records)/2]
					if err := errors.Join(log.Append(ctx, first), log.Append(ctx, b)); err != nil {
						return err
					}
				}
				return nil
			}}
		},
	},
	{
		Name: "append-gives-up", About: "ingest goes on behind a batch that could not be appended",
		onIngest: func(_ *World, _ *process, _ *stage.Assignment, i *stage.Ingest) { i.Log = forgiving(i.Log) },
	},
	{
		Name: "latest-not-first", About: "a group without a committed offset starts at the end",
		onAssignment: func(w *World, p *process, a *stage.Assignment) {
			if p.kind.ingest() && a.Offset == stage.None {
				a.Offset = w.ends[place{a.Topic, a.Partition}]
			}
		},
	},
	{
		Name: "other-rules-in-a-zombie", About: "instances under one source's name read the same bytes by different rules",
		shape: func(p *Plan) { p.Instances = 2 },
		onIngest: func(_ *World, p *process, _ *stage.Assignment, i *stage.Ingest) {
			if p.index == 1 {
				i.Intake = otherRules{i.Intake}
			}
		},
	},
	{
		Name: "partitions-miscounted", About: "one instance believes that the log has one partition more",
		shape: func(p *Plan) { p.Instances, p.LogPartitions = 2, 1 },
		onIngest: func(_ *World, p *process, _ *stage.Assignment, i *stage.Ingest) {
			if p.index == 1 {
				log := i.Log
				i.Log = editedLog{
					Log: log, partitions: func(name string, n int) int {
						if name == topic.PaymentLog.Name {
							n++
						}
						return n
					},
					append: func(ctx context.Context, batches []stage.Outgoing) error {
						for _, b := range batches {
							if b.Topic != topic.PaymentLog.Name || b.Partition == 0 { // what goes to the other is in another log
								if err := log.Append(ctx, b); err != nil {
									return err
								}
							}
						}
						return nil
					},
				}
			}
		},
	},
	{
		Name: "marks-to-one-partition", About: "marks are appended to the first partition of the log only",
		shape: func(p *Plan) { p.LogPartitions = 2 },
		onIngest: func(_ *World, _ *process, _ *stage.Assignment, i *stage.Ingest) {
			i.Log = dropping(i.Log, func(b *stage.Outgoing, r *stage.Record) bool { return b.Partition > 0 && len(r.Key) == 0 })
		},
	},
	{
		Name: "config-to-one-partition", About: "CONFIG is carried to the first partition of the log only",
		shape: func(p *Plan) { p.LogPartitions = 2 },
		onConfigure: func(_ *World, _ *process, c *stage.Configure) {
			c.Log = dropping(c.Log, func(b *stage.Outgoing, _ *stage.Record) bool { return b.Partition > 0 })
		},
	},

	{
		Name: "marks-without-config", About: "a mark does not say which CONFIG it rests on, and counts before that stands in the log",
		shape: func(p *Plan) { p.RawPartitions, p.Grow, p.Played, p.Warehouse, p.FaultEvery = 2, true, nil, false, 10 },
		onIngest: func(_ *World, _ *process, _ *stage.Assignment, i *stage.Ingest) {
			log := i.Log
			i.Log = editedLog{Log: log, append: func(ctx context.Context, batches []stage.Outgoing) error {
				batches = copied(batches)
				for _, b := range batches {
					for k := range b.Records {
						r := new(event.LogRecord)
						if r.UnmarshalVT(b.Records[k].Value) == nil && r.GetMark() != nil {
							r.GetMark().Configs = 0
							b.Records[k].Value, _ = r.MarshalVT()
						}
					}
				}
				return log.Append(ctx, batches...)
			}}
		},
	},

	// A hop's reading end.
	{
		Name: "dedupe-dropped", About: "the reader takes every record for a new one",
		onJoin: func(w *World, _ *process, _ *stage.Assignment, j *stage.Joiner) { withoutDedupe(w, j) },
		shape:  func(p *Plan) { p.BatchMax = 50 },
	},
	{
		Name: "frontier-by-clock", About: "deadlines and expiry follow the joiner's clock, not the frontier",
		shape: func(p *Plan) { p.BatchMax = 50 },
		onJoin: func(w *World, p *process, _ *stage.Assignment, j *stage.Joiner) {
			editedRecords(j, func(r *event.LogRecord) bool {
				m := r.GetMark()
				if m != nil {
					m.TMs = w.nowMs + p.skewMs
				}
				return m != nil
			})
		},
	},
	{
		Name: "nobody-is-waited-for", About: "the frontier waits for the first source of a group only",
		shape: func(p *Plan) { p.BatchMax = 50 },
		onJoin: func(_ *World, _ *process, _ *stage.Assignment, j *stage.Joiner) {
			editedRecords(j, func(r *event.LogRecord) bool {
				c := r.GetConfig()
				if c != nil {
					for _, g := range c.Groups {
						g.Sources = g.Sources[:1]
					}
				}
				return c != nil
			})
		},
	},

	// A step.
	{
		Name: "commit-before-publish", About: "the state is committed before the alerts are published",
		onJoin: func(_ *World, _ *process, _ *stage.Assignment, j *stage.Joiner) {
			log, state, held := j.Log, j.State, []stage.Outgoing(nil)
			j.Log = editedLog{Log: log, append: func(_ context.Context, batches []stage.Outgoing) error { held = batches; return nil }}
			j.State = func(n int32) stage.State {
				return editedState{State: state(n), committed: func(ctx context.Context, err error) error {
					out := held
					held = nil
					if err != nil {
						return err
					}
					return log.Append(ctx, out...)
				}}
			}
		},
	},
	{
		Name: "publish-gives-up", About: "the joiner commits though an alert could not be published",
		shape:  func(p *Plan) { p.FaultEvery = 40 },
		onJoin: func(_ *World, _ *process, _ *stage.Assignment, j *stage.Joiner) { j.Log = forgiving(j.Log) },
	},
	{
		Name: "order-of-a-map", About: "alerts of one batch come in the order of a map",
		onJoin: func(w *World, _ *process, _ *stage.Assignment, j *stage.Joiner) {
			log := j.Log
			j.Log = editedLog{Log: log, append: func(ctx context.Context, batches []stage.Outgoing) error {
				for _, b := range batches {
					for i := range b.Records {
						k := int(mix(w.hash(streamOrder)+uint64(i)) % uint64(i+1))
						b.Records[i], b.Records[k] = b.Records[k], b.Records[i]
					}
				}
				return log.Append(ctx, batches...)
			}}
		},
	},
	{
		Name: "last-of-a-batch", About: "of an alert's revisions in one batch only the last is published",
		shape:  func(p *Plan) { p.BatchMax = 50 },
		onJoin: func(_ *World, _ *process, _ *stage.Assignment, j *stage.Joiner) { j.Log = lastOfBatch(j.Log) },
	},
	{
		Name: "offset-from-the-group", About: "the joiner goes on from the group's offset, not from the store's",
		onJoin: func(_ *World, _ *process, a *stage.Assignment, j *stage.Joiner) {
			from, state, group := int64(0), j.State, a.Offset
			j.State = func(n int32) stage.State {
				return editedState{State: state(n), loaded: func(s *stage.Stored) { from = s.Offset }}
			}
			j.Log = editedLog{Log: j.Log, offset: func(_ place, offset int64) int64 {
				if offset == from {
					return max(offset, group)
				}
				return offset
			}}
		},
	},

	{
		Name: "jump-over-a-cut", About: "below the first offset the joiner goes on at the first, as kafka-go's reader does",
		shape: func(p *Plan) { p.Checkpoints, p.Warehouse, p.FaultEvery = true, false, 10 },
		onJoin: func(_ *World, _ *process, _ *stage.Assignment, j *stage.Joiner) {
			j.Log = editedLog{Log: j.Log, reader: func(r stage.Reader) stage.Reader { return jumping{r} }}
		},
	},

	// The state.
	{
		Name: "marks-not-committed", About: "a commit lacks the T of the sources",
		onJoin: func(_ *World, _ *process, _ *stage.Assignment, j *stage.Joiner) {
			j.State = editedMeta(j.State, func(meta map[string]any) {
				for _, s := range meta["sources"].([]any) {
					s.(map[string]any)["T"] = hop.Never
				}
			})
		},
	},
	{
		Name: "config-not-committed", About: "a commit lacks CONFIG: a new owner takes the latest there is",
		onJoin: func(w *World, _ *process, _ *stage.Assignment, j *stage.Joiner) {
			j.State = editedMetaLoaded(j.State, func(meta map[string]any) {
				if records, err := w.log.Records(topic.Config.Name, 0); err == nil && meta["packed_config"] != nil {
					delete(meta, "packed_config")
					meta["config"], meta["config_number"] = records[len(records)-1].Value, len(records)-1
				}
			})
		},
	},
	{
		Name: "origins-not-committed", About: "a commit lacks the last origin of the sources",
		onJoin: func(_ *World, _ *process, _ *stage.Assignment, j *stage.Joiner) {
			j.State = editedMetaLoaded(j.State, func(meta map[string]any) {
				for _, s := range meta["sources"].([]any) {
					s.(map[string]any)["Offset"] = -1
				}
			})
		},
	},
	{
		Name: "no-second-look", About: "a load gives what it read though the store changed meanwhile",
		onStore: func(s *sim.State) { s.Flaws.NoSecondLook = true },
	},
	{
		Name: "fence-by-token-only", About: "a commit is held to the token alone",
		onStore: func(s *sim.State) { s.Flaws.NoSequence, s.Flaws.NoOffset = true, true },
	},
	{
		Name: "fence-by-sequence-only", About: "a commit is held to the sequence alone",
		onStore: func(s *sim.State) { s.Flaws.NoToken, s.Flaws.NoOffset = true, true },
	},
	{
		Name: "no-fence", About: "a commit is held to nothing",
		onStore: func(s *sim.State) { s.Flaws.NoToken, s.Flaws.NoSequence, s.Flaws.NoOffset = true, true, true },
	},
	{
		Name: "no-token-matches-all", About: "an empty store takes any owner's commit (sequence and offset not compared)",
		onStore: func(s *sim.State) {
			s.Flaws = sim.StateFlaws{NoneMatchesAll: true, NoSequence: true, NoOffset: true}
		},
		without: []string{faultRestore}, noLateCommits: true,
	},
	{
		Name: "token-drawn-once", About: "an owner that was fenced loads again without a new token",
		onJoin: func(_ *World, _ *process, _ *stage.Assignment, j *stage.Joiner) {
			state, kept := j.State, stage.State(nil)
			j.State = func(n int32) stage.State {
				if kept == nil {
					kept = &oneToken{State: state(n)}
				}
				return kept
			}
		},
	},
	{
		Name: "lost-is-done", About: "a commit without an answer is taken for done (sequence and offset not compared)",
		lostIsDone: true,
		onStore:    func(s *sim.State) { s.Flaws.NoSequence, s.Flaws.NoOffset = true, true },
		without:    []string{faultRestore, faultWipe}, noLateCommits: true,
	},
	{
		Name: "trimmed-too-early", About: "the ring is trimmed before the snapshot holds what it drops",
		onJoin: func(_ *World, _ *process, _ *stage.Assignment, j *stage.Joiner) {
			state := j.State
			j.State = func(n int32) stage.State {
				return editedState{State: state(n), commit: func(c *stage.Commit) {
					c.TrimTo, c.Buckets = c.Sequence, nil
				}}
			}
		},
	},

	{
		Name: "checkpoint-unchecked", About: "a checkpoint takes the place of the last one without being looked at",
		shape:     func(p *Plan) { p.Checkpoints, p.Warehouse = true, false },
		unchecked: true,
	},

	// The warehouse.
	{
		Name: "range-taken-for-rows", About: "a start takes a recorded range for inserted rows",
		shape: func(p *Plan) { p.Warehouse = true },
		onLoad: func(_ *World, _ *process, _ *stage.Log, rows *stage.Warehouse) {
			*rows = &trusting{Warehouse: *rows}
		},
	},
	{
		Name: "insert-lost-is-done", About: "an insert without an answer is taken for done",
		shape:           func(p *Plan) { p.Warehouse = true },
		lostRowsAreDone: true,
	},
}

// otherRules move what happened by an hour.
type otherRules struct{ stage.Intake }

func (o otherRules) Events(raw []byte, into []*event.Event) ([]*event.Event, error) {
	events, err := o.Intake.Events(raw, into)
	for _, e := range events {
		if e.Time != nil && e.Time.BusinessMs != nil {
			*e.Time.BusinessMs += hourMs
		}
	}
	return events, err
}

// id tells alerts of one batch apart by what their key and body begin with.
func id(r *stage.Record) string {
	n := binary.BigEndian.AppendUint32(nil, uint32(len(r.Key)))
	return string(n) + string(r.Key) + string(r.Value[:min(len(r.Value), 45)])
}
