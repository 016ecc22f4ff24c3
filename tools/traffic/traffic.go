// Package traffic makes raw card traffic for demonstrations and tests: a pure
// function of its Options, with planted cases and their ground truth.
//
// What enters is a seed, a number of payments and a calendar span. What leaves
// is the three raw topics' records in the order in which a loader is to write
// them, marks included, and the Truth: every alert that must come, and the
// dead letters. Everything not listed in the Truth must raise nothing.
//
// Guaranteed: the same Options give the same bytes; within a partition arrival
// (the Kafka timestamp) never goes back; a mark T stands behind every record of
// its partition that arrived before T. The Truth follows from what was planted,
// never from running the join. Memory grows with what is on its way (24 bytes a
// record that is still to come), not with what has been written.
package traffic

import (
	"fmt"
	"math/bits"
	"sync"
	"time"

	"settlewatch/pipelines/calendar"
	"settlewatch/pipelines/stage"
	"settlewatch/schemas/topic"
)

// MarkHeader names the record header that makes a record a mark; its value is
// the moment in Unix milliseconds, decimal.
const MarkHeader = "settlewatch-mark"

// GrossAcquirer pays refunds outside of settlement: its payments are alone in a
// CONFIG group whose refunds are gross. All others net them.
const GrossAcquirer = "acq-gross"

// Feed is one of the three raw topics.
type Feed uint8

// The feeds.
const (
	FeedAuthorization Feed = iota
	FeedCapture
	FeedSettlement
	feedCount
)

// Topic that the feed's records go to.
func (f Feed) Topic() topic.Topic { return feedTopics[f] }

// Service that reads the feed: authorization, capture or settlement.
func (f Feed) Service() string { return feedServices[f] }

var (
	feedTopics   = [feedCount]topic.Topic{topic.RawAuthorization, topic.RawCapture, topic.RawSettlement}
	feedServices = [feedCount]string{"authorization", "capture", "settlement"}
)

// Pause is a feed that is silent from From until To (Unix milliseconds): no
// records, no marks. Without Late its records lie in the source with their old
// arrival and are only written later, as when an ingest service was down: the
// frontier waits, and nothing about their payments may be judged before. With
// Late the source itself was down, and they arrive after To.
type Pause struct {
	Feed     Feed
	From, To int64
	Late     bool
}

// Options of a Generator. The zero value of each means its default.
type Options struct {
	Seed uint64
	// Payments in the planted period, planted ones included. Defaults to 10,000;
	// raised to what is needed for every case once.
	Payments int
	// Days of payments. Defaults to 14.
	Days int
	// Start is the first day, in Asia/Shanghai. Defaults to 2025-09-22, so that
	// National Day lies inside.
	Start calendar.Date
	// NettedAcquirers are the acquirers that net refunds, [A-Za-z0-9_.-]{1,32}.
	// Defaults to three. GrossAcquirer always comes in addition.
	NettedAcquirers []string
	// Partitions of each raw topic. Defaults to the topic's own number.
	Partitions [feedCount]int
	// MarkEvery is the event time between two marks. Defaults to 30 minutes.
	MarkEvery time.Duration
	// Clean plants nothing and writes nothing malformed: no alert may come.
	Clean bool
	// Pauses of feeds; with Clean and none given there are three, one of each feed.
	Pauses []Pause
}

// Record is one raw record, or a mark. Its memory is the caller's.
type Record struct {
	Feed      Feed
	Topic     string
	Partition int32
	// TimeMs is the arrival, which becomes the Kafka timestamp, Unix milliseconds.
	TimeMs int64
	// WriteMs is when the loader writes it: TimeMs, or the end of a Pause. The
	// iterators are in its order.
	WriteMs int64
	Key     []byte
	Value   []byte
	Headers []stage.Header
}

// IsMark tells whether the record is a mark.
func (r *Record) IsMark() bool { return len(r.Headers) > 0 }

// Generator of one traffic. It does not change after New and may be shared.
type Generator struct {
	opt      Options
	cases    []Case // planted, then ordinary
	planted  int    // how many of cases are planted
	ranks    []int  // ranks[i]: payments of the planted cases before i
	weights  []int  // running sum of the ordinary cases' weights
	dayFirst []int  // index of each day's first payment, and the total
	perm     permutation
	working  []bool // from firstDay on
	firstDay calendar.Date
	malform  []malformedAt
	survey   func() surveyed
}

const (
	dayMs       = int64(24 * time.Hour / time.Millisecond)
	hourMs      = int64(time.Hour / time.Millisecond)
	minuteMs    = int64(time.Minute / time.Millisecond)
	zoneMs      = 8 * hourMs // Asia/Shanghai has had no other offset since 1991
	cutoffMs    = 23 * hourMs
	publishMs   = 10 * hourMs
	graceMs     = 2 * hourMs
	paymentsMax = 1 << 30
	daysMax     = 366
	tailDays    = 75 // covers the longest planted story and a holiday
)

// New checks the options, fills in defaults and lays out the period.
func New(opt Options) (*Generator, error) {
	if err := opt.fill(); err != nil {
		return nil, err
	}
	g := &Generator{opt: opt, firstDay: opt.Start - 1}
	if err := g.loadCalendar(); err != nil {
		return nil, err
	}
	g.layCases()
	g.layDays()
	g.perm = newPermutation(uint64(g.opt.Payments), opt.Seed)
	if opt.Clean && opt.Pauses == nil {
		g.opt.Pauses = g.defaultPauses()
	}
	if !opt.Clean {
		g.layMalformed()
	}
	g.survey = sync.OnceValue(g.look)
	return g, nil
}

// Options in force, defaults filled in.
func (g *Generator) Options() Options { return g.opt }

// StartMs is the first midnight, Unix milliseconds.
func (g *Generator) StartMs() int64 { return localMs(g.opt.Start, 0) }

func (o *Options) fill() error {
	if o.Payments == 0 {
		o.Payments = 10_000
	}
	if o.Days == 0 {
		o.Days = 14
	}
	if o.Start == 0 {
		o.Start = calendar.DateOf(2025, time.September, 22)
	}
	if len(o.NettedAcquirers) == 0 {
		o.NettedAcquirers = []string{"acq-east", "acq-north", "acq-south"}
	}
	if o.MarkEvery == 0 {
		o.MarkEvery = 30 * time.Minute
	}
	for f := range feedCount {
		if o.Partitions[f] == 0 {
			o.Partitions[f] = f.Topic().Partitions
		}
	}
	switch {
	case o.Payments < 0 || o.Payments > paymentsMax:
		return fmt.Errorf("traffic of %d payments: want 1 to %d", o.Payments, paymentsMax)
	case o.Days < 0 || o.Days > daysMax:
		return fmt.Errorf("traffic of %d days: want 1 to %d", o.Days, daysMax)
	case min(o.Partitions[0], o.Partitions[1], o.Partitions[2]) < 0:
		return fmt.Errorf("traffic for %v partitions: want at least 1 each", o.Partitions)
	case o.MarkEvery < time.Second:
		return fmt.Errorf("marks every %s: want at least 1s", o.MarkEvery)
	}
	for _, p := range o.Pauses {
		if p.Late && !o.Clean {
			return fmt.Errorf("pause of feed %s delays arrivals: planted cases would end otherwise than the truth says", p.Feed.Service())
		}
	}
	return nil
}

// loadCalendar keeps the working days of the period and its tail. A settlement
// day is counted on them here, apart from the product's own due dates, so that
// an error there cannot hide.
func (g *Generator) loadCalendar() error {
	cal, err := calendar.Lookup("cn-mainland", CalendarVersion)
	if err != nil {
		return fmt.Errorf("lay out traffic: %w", err)
	}
	last := g.opt.Start + calendar.Date(g.opt.Days+tailDays)
	for d := g.firstDay; d <= last; d++ {
		works, err := cal.Working(d)
		if err != nil {
			return fmt.Errorf("lay out traffic of %d days from %s: %w", g.opt.Days, g.opt.Start, err)
		}
		g.working = append(g.working, works)
	}
	// Live traffic goes on for as long as the calendar knows.
	for d := last + 1; d <= cal.LastKnown(); d++ {
		works, err := cal.Working(d)
		if err != nil {
			return fmt.Errorf("lay out traffic: %w", err)
		}
		g.working = append(g.working, works)
	}
	return nil
}

// CalendarVersion of cn-mainland whose days the traffic follows.
const CalendarVersion = "2026.1"

// settleDay is the n-th settlement day after the clearing date: T+1 is n = 1.
func (g *Generator) settleDay(clearing calendar.Date, n int) calendar.Date {
	d := clearing
	for n > 0 {
		d++
		if g.working[d-g.firstDay] {
			n--
		}
	}
	return d
}

// layCases counts how many payments each planted case gets and makes room for
// every case once.
func (g *Generator) layCases() {
	if !g.opt.Clean {
		g.cases = append(g.cases, plantedCases...)
	}
	g.planted = len(g.cases)
	total := 0
	for i := range g.planted {
		g.ranks = append(g.ranks, total)
		total += max(1, g.opt.Payments*g.cases[i].perMille()/1000)
	}
	g.ranks = append(g.ranks, total)
	g.opt.Payments = max(g.opt.Payments, total)
	sum := 0
	for _, c := range ordinaryCases {
		sum += c.Weight
		g.cases = append(g.cases, c)
		g.weights = append(g.weights, sum)
	}
}

// layDays gives every day its share: more on weekends, most on National Day.
func (g *Generator) layDays() {
	share := make([]int, g.opt.Days)
	total := 0
	for i := range share {
		d := g.opt.Start + calendar.Date(i)
		share[i] = 100
		if wd := d.Weekday(); wd == time.Saturday || wd == time.Sunday {
			share[i] = 120
		}
		if _, month, day := d.Civil(); month == time.October && day <= 7 {
			share[i] = 140
		}
		total += share[i]
	}
	sum := 0
	for i := range share {
		g.dayFirst = append(g.dayFirst, int(int64(g.opt.Payments)*int64(sum)/int64(total)))
		sum += share[i]
	}
	g.dayFirst = append(g.dayFirst, g.opt.Payments)
}

// defaultPauses are one of each feed, at the worst hours that still leave a
// month clean: captures and authorizations that arrive after their settlement,
// a morning file inside the grace, and a settlement service that is down over
// the hour at which everything falls due.
func (g *Generator) defaultPauses() []Pause {
	at := func(day int, hour, minute int64) int64 {
		return localMs(g.opt.Start+calendar.Date(day%g.opt.Days), hour*hourMs+minute*minuteMs)
	}
	due := g.settleDay(g.opt.Start+calendar.Date(g.opt.Days/2), 1)
	return []Pause{
		{Feed: FeedAuthorization, From: at(1, 9, 10), To: at(1, 15, 10), Late: true},
		{Feed: FeedCapture, From: at(2, 13, 5), To: at(2, 20, 5), Late: true},
		{Feed: FeedSettlement, From: localMs(g.settleDay(g.opt.Start, 1), 8*hourMs), To: localMs(g.settleDay(g.opt.Start, 1), 11*hourMs+5*minuteMs), Late: true},
		{Feed: FeedSettlement, From: localMs(due, 8*hourMs+10*minuteMs), To: localMs(due, 17*hourMs+10*minuteMs)},
	}
}

// localMs is the instant of a local time of day in Asia/Shanghai.
func localMs(d calendar.Date, clockMs int64) int64 { return int64(d)*dayMs + clockMs - zoneMs }

// localDate is the date of an instant in Asia/Shanghai.
func localDate(ms int64) calendar.Date { return calendar.Date((ms + zoneMs) / dayMs) }

// permutation spreads the planted payments evenly over the period: payment i
// has rank (i·step + shift) mod n, and the planted ones are the lowest ranks.
type permutation struct{ n, step, shift, inverse uint64 }

func newPermutation(n, seed uint64) permutation {
	p := permutation{n: n, shift: seed * 0x9e3779b97f4a7c15 % n}
	for p.step = n*618/1000 + 1; gcd(p.step, n) != 1; p.step++ {
	}
	p.step %= max(n, 2)
	p.inverse = invert(p.step, n)
	return p
}

func (p permutation) rank(i uint64) uint64 { return (i*p.step + p.shift) % p.n }

func (p permutation) index(rank uint64) uint64 {
	hi, lo := bits.Mul64(p.inverse, (rank+p.n-p.shift)%p.n)
	return bits.Rem64(hi, lo, p.n)
}

func gcd(a, b uint64) uint64 {
	for b != 0 {
		a, b = b, a%b
	}
	return a
}

// invert is the x with a·x ≡ 1 mod n, for a without common factor with n.
func invert(a, n uint64) uint64 {
	oldR, r := int64(a%n), int64(n)
	oldX, x := int64(1), int64(0)
	for r != 0 {
		q := oldR / r
		oldR, r = r, oldR-q*r
		oldX, x = x, oldX-q*x
	}
	return uint64((oldX%int64(n) + int64(n)) % int64(n))
}
