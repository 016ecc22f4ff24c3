package traffic

import (
	"math"
	"math/bits"
	"math/rand/v2"
	"slices"
	"time"

	"settlewatch/pipelines/calendar"
)

// payment is one payment with its story, a pure function of seed and index. It
// is made anew for each of its records, which is cheaper than keeping it.
type payment struct {
	index    int
	story    *Case
	acquirer string
	acqIndex int
	merchant int
	terminal int
	channel  string
	currency string
	byRRN    bool
	hasBiz   bool // its lines say their business time
	unit     float64
	card     [19]byte
	cardLen  int
	momentMs int64
	day      calendar.Date // local date of the moment
	clearing calendar.Date
	jitter   uint64
}

// dice are the draws of one payment.
type dice struct{ pcg rand.PCG }

func (d *dice) upTo(n uint64) uint64 {
	hi, _ := bits.Mul64(d.pcg.Uint64(), n)
	return hi
}

// ordinaryHours and plantedHours weigh the hours of the day. Planted payments
// keep clear of the cut-over, so that a story's days are what its words say.
var (
	ordinaryHours = runningSum([24]int{2, 1, 1, 1, 1, 2, 8, 20, 35, 45, 55, 70, 80, 65, 55, 50, 55, 70, 85, 80, 60, 40, 20, 8})
	plantedHours  = runningSum([24]int{8: 35, 9: 45, 10: 55, 11: 70, 12: 80, 13: 65, 14: 55, 15: 50, 16: 55, 17: 70, 18: 85, 19: 80, 20: 60})
)

func runningSum(weights [24]int) []int {
	out := make([]int, len(weights))
	sum := 0
	for i, w := range weights {
		sum += w
		out[i] = sum
	}
	return out
}

// pick finds where a draw falls in a running sum; a weight of zero is never chosen.
func pick(d *dice, sums []int) int {
	return above(sums, int(d.upTo(uint64(sums[len(sums)-1]))))
}

// above is the first place whose sum is greater than n.
func above(sums []int, n int) int {
	i, _ := slices.BinarySearch(sums, n+1)
	return i
}

// plan makes payment i.
func (g *Generator) plan(p *payment, i int) {
	var d dice
	d.pcg.Seed(g.opt.Seed, uint64(i))
	*p = payment{index: i}
	planted := g.chooseStory(p, &d)
	p.day = g.dayOf(i)
	p.momentMs = g.chooseMoment(&d, p.day, planted)
	g.draw(p, &d)
	p.clearing = clearingDate(p.momentMs+p.story.clearsAfter().Milliseconds(), p.channel)
}

// draw chooses the parties, the amount and the card of a payment that has a story.
func (g *Generator) draw(p *payment, d *dice) {
	p.acqIndex = g.chooseAcquirer(d, p.story)
	p.acquirer = g.acquirer(p.acqIndex)
	p.merchant = int(min(d.upTo(400), d.upTo(400)))
	p.terminal = int(d.upTo(4))
	p.channel = [...]string{"pos", "pos", "pos", "pos", "pos", "qr", "qr", "qr", "online", "online"}[d.upTo(10)]
	p.byRRN = d.upTo(10) < 3
	p.jitter = d.pcg.Uint64()
	p.hasBiz = p.jitter>>63 == 1
	chooseAmount(p, d)
	chooseCard(p, d)
}

func (g *Generator) chooseStory(p *payment, d *dice) (planted bool) {
	if p.index < g.opt.Payments {
		if rank := int(g.perm.rank(uint64(p.index))); rank < g.ranks[g.planted] {
			p.story = &g.cases[above(g.ranks, rank)-1]
			return true
		}
	} else if g.planted > 0 && d.upTo(1000) < livePlantedPerMille {
		p.story = &g.cases[d.upTo(uint64(g.planted))]
		return true
	}
	p.story = &g.cases[g.planted+pick(d, g.weights)]
	return false
}

// dayOf finds the day of a payment; live ones go on at the last day's pace.
func (g *Generator) dayOf(i int) calendar.Date {
	if i >= g.opt.Payments {
		return g.opt.Start + calendar.Date(g.opt.Days+(i-g.opt.Payments)/g.livePerDay())
	}
	return g.opt.Start + calendar.Date(above(g.dayFirst, i)-1)
}

func (g *Generator) chooseMoment(d *dice, on calendar.Date, planted bool) int64 {
	hours := ordinaryHours
	if planted {
		hours = plantedHours
	} else if d.upTo(100) < 3 {
		return localMs(on, cutoffMs-2*minuteMs) + int64(d.upTo(uint64(4*minuteMs)))
	}
	return localMs(on, int64(pick(d, hours))*hourMs) + int64(d.upTo(uint64(hourMs)))
}

func (g *Generator) chooseAcquirer(d *dice, c *Case) int {
	netted := len(g.opt.NettedAcquirers)
	switch {
	case c.Gross:
		return netted
	case c.Netted:
		return int(d.upTo(uint64(netted)))
	}
	if d.upTo(8) == 0 {
		return netted
	}
	return int(d.upTo(uint64(netted)))
}

func (g *Generator) acquirer(i int) string {
	if i < len(g.opt.NettedAcquirers) {
		return g.opt.NettedAcquirers[i]
	}
	return GrossAcquirer
}

// chooseAmount draws what 100 in the story's notation is, in hundredths. Stories
// that split an amount get one that all their parts divide exactly.
func chooseAmount(p *payment, d *dice) {
	p.currency = "CNY"
	if d.upTo(100) < 4 {
		p.currency = [...]string{"HKD", "USD", "JPY", "KWD"}[d.upTo(4)]
	}
	// Squaring makes small payments common: the median is about 1,250.00.
	r := float64(d.upTo(1<<20)) / (1 << 20)
	if p.story.whole() {
		p.unit = float64(100+int64(500_000*r*r)) / 100
		return
	}
	p.unit = float64(5 * (1 + int64(1000*r*r)))
}

// minor is an amount of the story in minor units.
func (p *payment) minor(amount float64) int64 { return int64(math.Round(amount * p.unit)) }

// clearingDate of a moment: the local date, from the cut-off on the next one;
// the qr channel has no cut-off.
func clearingDate(ms int64, channel string) calendar.Date {
	d := localDate(ms)
	if channel != "qr" && ms-localMs(d, 0) >= cutoffMs {
		d++
	}
	return d
}

// clearsAfter is how long after the payment its first capture is made.
func (c *Case) clearsAfter() time.Duration {
	for i := range c.Steps {
		if s := &c.Steps[i]; (s.typ == "capture" || s.typ == "completion") && s.biz.base == fromPayment {
			return s.biz.off
		}
	}
	return 0
}

// whole tells whether all amounts of the story are 0 or 100.
func (c *Case) whole() bool {
	for i := range c.Steps {
		s := &c.Steps[i]
		for _, a := range [...]float64{s.amount, s.gross, s.net, s.fee, s.approved, s.replacement} {
			if a != 0 && a != 100 {
				return false
			}
		}
	}
	return true
}

// dueMs is when the evidence of a capture made shift days later is due.
func (g *Generator) dueMs(p *payment, shift int) int64 {
	return localMs(g.settleDay(p.clearingOf(shift), 1), publishMs+graceMs)
}

// clearingOf the capture that is made shift days later, in daytime.
func (p *payment) clearingOf(shift int) calendar.Date {
	if shift == 0 {
		return p.clearing
	}
	return p.day + calendar.Date(shift)
}

// momentOf resolves a moment of the story, Unix milliseconds, without latency.
func (g *Generator) momentOf(p *payment, w when) int64 {
	off := w.off.Milliseconds()
	switch w.base {
	case fromFile:
		d := g.settleDay(p.clearingOf(w.shift), 1+w.n)
		// Each acquirer's file has its own time, between 9:00 and 9:35.
		started := uint64(p.acqIndex)*7919 + uint64(d)*104729
		return localMs(d, 9*hourMs+int64(started%35)*minuteMs)
	case fromDue:
		return g.dueMs(p, w.shift) + off
	case fromDay:
		return localMs(p.day+calendar.Date(w.n), off)
	default:
		return p.momentMs + off
	}
}

// arrival of step k, Unix milliseconds.
func (g *Generator) arrival(p *payment, k int) int64 {
	s := &p.story.Steps[k]
	at := g.momentOf(p, s.at)
	// The same draw for all steps of a payment keeps their order.
	draw := int64(p.jitter >> 20 & 0xffff)
	switch {
	case s.at.base == fromDue:
	case s.at.base == fromFile:
		at += draw%(8*minuteMs) + int64(k)*1000
	case s.feed == FeedCapture:
		at += 3000 + draw%40_000
	default:
		at += 800 + draw%3000
	}
	for i := range g.opt.Pauses {
		if pause := &g.opt.Pauses[i]; pause.Late && pause.Feed == s.feed && at >= pause.From && at < pause.To {
			at = pause.To + (at-pause.From)/100
		}
	}
	return at
}

// written is when the loader writes what arrived at that moment.
func (g *Generator) written(f Feed, at int64) int64 {
	for i := range g.opt.Pauses {
		if pause := &g.opt.Pauses[i]; !pause.Late && pause.Feed == f && at >= pause.From && at < pause.To {
			return pause.To
		}
	}
	return at
}

// silent tells whether the feed's loader writes nothing at that moment.
func (g *Generator) silent(f Feed, ms int64) bool {
	for i := range g.opt.Pauses {
		if pause := &g.opt.Pauses[i]; pause.Feed == f && ms >= pause.From && ms < pause.To {
			return true
		}
	}
	return false
}

// horizon is the last moment at which the payment's story can change: its
// records, due times and holds.
func (g *Generator) horizon(p *payment) int64 {
	last := g.dueMs(p, 0)
	for k := range p.story.Steps {
		s := &p.story.Steps[k]
		last = max(last, g.arrival(p, k))
		if s.at.shift > 0 {
			last = max(last, g.dueMs(p, s.at.shift))
		}
		if s.typ == "offline_advice" {
			last = max(last, g.dueMs(p, s.at.n))
		}
		if s.has&hasUntil != 0 {
			last = max(last, g.momentOf(p, s.until))
		}
	}
	return last
}

// cardRanges are the first six digits and the length of the cards in use.
var cardRanges = [...]struct {
	bin    string
	length int
}{
	{"622202", 19},
	{"621700", 19},
	{"622848", 19},
	{"625912", 16},
	{"628888", 16},
	{"436742", 16},
	{"486493", 16},
	{"518710", 16},
	{"552398", 16},
	{"356895", 16},
	{"374738", 15},
}

// chooseCard makes a card number with a valid check digit.
func chooseCard(p *payment, d *dice) {
	r := cardRanges[d.upTo(uint64(len(cardRanges)))]
	p.cardLen = r.length
	copy(p.card[:], r.bin)
	body := d.pcg.Uint64()
	for i := len(r.bin); i < r.length-1; i++ {
		p.card[i] = '0' + byte(body%10)
		body /= 10
	}
	p.card[r.length-1] = luhnDigit(p.card[:r.length-1])
}

// luhnDigit is the check digit that follows the digits.
func luhnDigit(digits []byte) byte {
	sum := 0
	for i := range digits {
		n := int(digits[len(digits)-1-i] - '0')
		if i%2 == 0 {
			if n *= 2; n > 9 {
				n -= 9
			}
		}
		sum += n
	}
	return '0' + byte((10-sum%10)%10)
}
