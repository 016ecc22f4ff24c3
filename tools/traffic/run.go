package traffic

import (
	"cmp"
	"iter"
	"slices"
	"strconv"

	"settlewatch/pipelines/stage"
)

// Records are the planted period and what follows from it, to the last mark, in
// the order in which the loader is to write them. Every call starts anew.
func (g *Generator) Records() iter.Seq[Record] {
	return func(yield func(Record) bool) {
		r := g.newRun(g.StartMs(), g.markEveryMs(), yield)
		for day := range g.opt.Days {
			from, to := g.dayPayments(day)
			for i := from; i < to; i++ {
				r.schedule(i)
			}
			r.scheduleMalformed(day)
			if !r.play(day) {
				return
			}
		}
		for day := g.opt.Days; day < len(r.byDay); day++ {
			if !r.play(day) {
				return
			}
		}
		r.finish()
	}
}

// Live is endless traffic after the planted period, with a low share of planted
// cases and marks at least every five minutes. It begins at fromMs, or at EndMs
// where that is later, and ends a season before the calendar does. The caller
// sets the pace: arrival is event time.
func (g *Generator) Live(fromMs int64) iter.Seq[Record] {
	return func(yield func(Record) bool) {
		fromMs = max(fromMs, g.EndMs())
		every := min(g.markEveryMs(), 5*minuteMs)
		r := g.newRun((fromMs/every+1)*every, every, yield)
		first := int(localDate(fromMs) - g.opt.Start)
		last := int(g.firstDay-g.opt.Start) + len(g.working) - tailDays
		for day := first; day < last; day++ {
			from := g.opt.Payments + (day-g.opt.Days)*g.livePerDay()
			for i := from; i < from+g.livePerDay(); i++ {
				if g.plan(&r.p, i); r.p.momentMs >= fromMs {
					r.schedule(i)
				}
			}
			if !r.play(day) {
				return
			}
		}
	}
}

const livePlantedPerMille = 20

func (g *Generator) livePerDay() int { return max(1, g.opt.Payments/g.opt.Days) }

func (g *Generator) markEveryMs() int64 { return g.opt.MarkEvery.Milliseconds() }

// dayPayments are the indices of the day's payments.
func (g *Generator) dayPayments(day int) (from, to int) { return g.dayFirst[day], g.dayFirst[day+1] }

// item is one record that is still to come. Its bytes are made when it is
// written, so that a holiday's worth of lines costs little memory.
type item struct {
	writeMs, atMs int64
	index         uint32 // of the payment, or of the malformed record
	step          uint8  // malformed: noStep
	feed          Feed
}

const noStep = 255

// run is one pass over the traffic.
type run struct {
	g        *Generator
	p        payment
	byDay    [][]item // by the local day on which they are written, from Start on
	nextMark int64
	every    int64
	arena    []byte
	yield    func(Record) bool
	stopped  bool
}

func (g *Generator) newRun(firstMark, every int64, yield func(Record) bool) *run {
	return &run{g: g, nextMark: firstMark, every: every, yield: yield}
}

func (r *run) schedule(i int) {
	r.g.plan(&r.p, i)
	for k := range r.p.story.Steps {
		feed := r.p.story.Steps[k].feed
		at := r.g.arrival(&r.p, k)
		r.add(item{writeMs: r.g.written(feed, at), atMs: at, index: uint32(i), step: uint8(k), feed: feed})
	}
}

func (r *run) scheduleMalformed(day int) {
	for i := range r.g.malform {
		m := &r.g.malform[i]
		if m.day == day {
			feed := malformedKinds[m.kind].Feed
			r.add(item{writeMs: r.g.written(feed, m.atMs), atMs: m.atMs, index: uint32(i), step: noStep, feed: feed})
		}
	}
}

func (r *run) add(it item) {
	day := int(localDate(it.writeMs) - r.g.opt.Start)
	for day >= len(r.byDay) {
		r.byDay = append(r.byDay, nil)
	}
	r.byDay[day] = append(r.byDay[day], it)
}

// play writes one day. Nothing of a later day can come before it.
func (r *run) play(day int) bool {
	if day >= len(r.byDay) {
		return true
	}
	items := r.byDay[day]
	r.byDay[day] = nil
	slices.SortFunc(items, func(a, b item) int {
		return cmp.Or(cmp.Compare(a.writeMs, b.writeMs), cmp.Compare(a.atMs, b.atMs),
			cmp.Compare(a.index, b.index), cmp.Compare(a.step, b.step))
	})
	for i := range items {
		it := &items[i]
		// A mark T comes before what arrives at T or later, and after what a
		// pause that ends at T has held back.
		for r.nextMark < it.writeMs || r.nextMark == it.writeMs && r.nextMark <= it.atMs {
			r.mark(r.nextMark)
			r.nextMark += r.every
		}
		if r.stopped || !r.write(it) {
			return false
		}
	}
	return true
}

func (r *run) write(it *item) bool {
	var partition int32
	keyFrom, keyTo, valueTo := r.room(), 0, 0
	if it.step == noStep {
		m := &r.g.malform[it.index]
		keyTo = keyFrom
		r.arena = malformedKinds[m.kind].build(r.arena, int(it.index))
		partition = int32(int(it.index) % r.g.opt.Partitions[it.feed])
	} else {
		r.g.plan(&r.p, int(it.index))
		s := &r.p.story.Steps[it.step]
		if r.p.byRRN {
			r.arena = r.p.rrn(r.arena, s.has&isSecond != 0)
		} else {
			r.arena = r.p.orderID(r.arena, s.has&isSecond != 0)
		}
		keyTo = len(r.arena)
		r.arena = r.g.render(r.arena, &r.p, int(it.step))
		partition = r.g.partition(&r.p, s)
	}
	valueTo = len(r.arena)
	return r.emit(Record{
		Feed: it.feed, Topic: it.feed.Topic().Name, Partition: partition, TimeMs: it.atMs, WriteMs: it.writeMs,
		Key: r.arena[keyFrom:keyTo:keyTo], Value: r.arena[keyTo:valueTo:valueTo],
	})
}

// partition of a record: a settlement file lies in one, payments are spread.
func (g *Generator) partition(p *payment, s *Step) int32 {
	n := p.index
	if s.feed == FeedSettlement {
		n = p.fileNumber(s) + p.acqIndex
	}
	return int32(n % g.opt.Partitions[s.feed])
}

// room makes sure that the arena has space for a usual record and says where it
// begins. Records keep their part of an arena; a full one is left to them.
func (r *run) room() int {
	const chunk, usual = 1 << 20, 4 << 10
	if cap(r.arena)-len(r.arena) < usual {
		r.arena = make([]byte, 0, chunk)
	}
	return len(r.arena)
}

func (r *run) emit(rec Record) bool {
	if !r.stopped && !r.yield(rec) {
		r.stopped = true
	}
	return !r.stopped
}

// mark writes the mark into every partition whose feed is not silent.
func (r *run) mark(ms int64) {
	for f := range feedCount {
		if r.g.silent(f, ms) {
			continue
		}
		for partition := range r.g.opt.Partitions[f] {
			r.emit(Record{
				Feed: f, Topic: f.Topic().Name, Partition: int32(partition), TimeMs: ms, WriteMs: ms,
				Headers: []stage.Header{{Key: MarkHeader, Value: strconv.AppendInt(nil, ms, 10)}},
			})
		}
	}
}

// finish writes marks until everything due has become due. A joiner judges a
// limited number of payments at one record, so a tail of marks a second apart
// lets it come to the end.
func (r *run) finish() {
	horizon := r.g.survey().horizonMs
	for ; r.nextMark <= horizon; r.nextMark += r.every {
		r.mark(r.nextMark)
	}
	for end := r.g.EndMs(); r.nextMark <= end && !r.stopped; r.nextMark += 1000 {
		r.mark(r.nextMark)
	}
}

// EndMs is the moment of the last mark of Records.
func (g *Generator) EndMs() int64 {
	every := g.markEveryMs()
	afterHorizon := g.StartMs() + ((g.survey().horizonMs-g.StartMs())/every+1)*every
	return afterHorizon + int64(tailMarks+g.opt.Payments/1000)*1000
}

const tailMarks = 20
