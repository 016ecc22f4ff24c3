package traffic

import (
	"cmp"
	"slices"
	"time"
)

// Now makes traffic of the present, for sources whose marks follow the clock. Its
// stories end within seconds: money comes at once instead of on the next working
// day, and a payment whose money is missing is one of last week that is uploaded
// late. It knows no end of the calendar, and it is not safe for concurrent use.
type Now struct {
	g       *Generator
	weights []int
	first   int // number of the first payment
}

// nowCases are told in seconds. Words as in Case; "late" is an arrival days after
// the payment.
var nowCases = prepared([]Case{
	{Name: "sale", Words: "A, S", Weight: 680, Steps: []Step{sale(100), line(100).arrives(after(3 * time.Second))}},
	{
		Name: "capture", Words: "a, C, S", Weight: 180,
		Steps: []Step{authorized(100), captured(1, 100).happens(after(2 * time.Second)), line(100).names(1).arrives(after(5 * time.Second))},
	},
	{Name: "declined, funds", Words: "A 51", Weight: 60, Steps: []Step{sale(100).answered("51")}},
	{
		Name: "timed out, reversed", Words: "A no reply, R 00", Weight: 20,
		Steps: []Step{sale(100).answered(noReply), reversed(accepted).happens(after(4 * time.Second))},
	},
	{Name: "sale, money to come", Words: "A", Weight: 20, Steps: []Step{sale(100)}},
	{
		Name: "settled twice", Words: "A, S, S in another file", Weight: 20,
		Steps: []Step{sale(100), line(100).arrives(after(3 * time.Second)), line(100).inFile(9).arrives(after(6 * time.Second))},
		Want:  []Want{twice(100)},
	},
	{
		Name: "uploaded late, never settled", Words: "A late", Weight: 10,
		Steps: []Step{lastWeek()},
		Want:  []Want{unsettled(100)},
	},
	{
		Name: "uploaded late, settled then", Words: "A late, S", Weight: 10,
		Steps: []Step{lastWeek(), line(100).arrives(after(15 * time.Second))},
		Want:  []Want{unsettled(100).resolved(2)},
	},
})

// lastWeek is a sale whose money was due before the host reported it: ten days are
// longer than any holiday of the calendar.
func lastWeek() Step {
	s := sale(100)
	s.biz = after(-10 * 24 * time.Hour)
	return s
}

// numbersPerSecond keeps the payments of one run apart from those of a later one:
// a run that makes fewer payments a second never reaches the numbers of a run that
// begins after it.
const numbersPerSecond = 10_000

// epoch is where the numbers begin; a clock before it has no later run to fear.
var epoch = time.Date(2025, time.January, 1, 0, 0, 0, 0, time.UTC)

// NewNow is traffic that begins at that moment. The seed decides the stories; the
// moment decides the payments' numbers, so that no payment comes twice.
func NewNow(seed uint64, from time.Time) (*Now, error) {
	g, err := New(Options{Seed: seed, Clean: true, Pauses: []Pause{}})
	if err != nil {
		return nil, err
	}
	n := &Now{g: g, first: max(0, int(from.Sub(epoch)/time.Second)) * numbersPerSecond}
	sum := 0
	for _, c := range nowCases {
		sum += c.Weight
		n.weights = append(n.weights, sum)
	}
	return n, nil
}

// Payment is payment i of the run, made at that moment: its records in the order
// of their arrival, which is no earlier than the moment, and what must come of it.
func (n *Now) Payment(i int, at time.Time) ([]Record, []Want) {
	var d dice
	d.pcg.Seed(n.g.opt.Seed, uint64(i))
	p := payment{index: n.first + i, story: &nowCases[pick(&d, n.weights)], momentMs: at.UnixMilli()}
	n.g.draw(&p, &d)
	p.day = localDate(n.g.momentOf(&p, p.story.Steps[0].biz))
	p.clearing = clearingDate(p.momentMs, p.channel)
	records := make([]Record, 0, len(p.story.Steps))
	for k := range p.story.Steps {
		s := &p.story.Steps[k]
		key := p.orderID(nil, false)
		if p.byRRN {
			key = p.rrn(nil, false)
		}
		arrival := n.g.momentOf(&p, s.at) + int64(p.jitter>>20&0x3ff)
		records = append(records, Record{
			Feed: s.feed, Topic: s.feed.Topic().Name, Partition: n.g.partition(&p, s),
			TimeMs: arrival, WriteMs: arrival, Key: key, Value: n.g.render(nil, &p, k),
		})
	}
	slices.SortStableFunc(records, func(a, b Record) int { return cmp.Compare(a.WriteMs, b.WriteMs) })
	return records, p.story.Want
}
