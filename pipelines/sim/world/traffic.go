package world

import (
	"fmt"
	"regexp"
	"strconv"
	"strings"
	"time"

	"settlewatch/pipelines/stage"
	"settlewatch/schemas/topic"
)

// The world plays on Monday 2026-03-02, 10:00 in Shanghai: money is due on the
// 3rd, evidence at 12:00 (published at 10:00, 2 hours of grace).
var (
	monday10  = time.Date(2026, 3, 2, 2, 0, 0, 0, time.UTC).UnixMilli()
	tuesday12 = time.Date(2026, 3, 3, 4, 0, 0, 0, time.UTC).UnixMilli()
	zone      = time.FixedZone("", 8*60*60)
)

const (
	minuteMs = int64(60_000)
	hourMs   = 60 * minuteMs
	dayMs    = 24 * hourMs
)

// Item is one raw record: what happened to a payment, in the notation of tokens.
//
//	A100 A?100 A!100   approved, unanswered, declined single-message sale
//	a100               approved authorization of a dual-message payment
//	C60(1) C!60(1)     capture 1 accepted, rejected; O60(1) an offline advice
//	S60 S60(1)         line that names no capture, capture 1
//	N99+1 N99          line with only the net amount, with and without a fee
//	R V R12 R~40       accepted reversal, void, reversal answered 12, partial (40 stays)
//	F30 T115 T+15      refund, adjustment to, adjustment by
//	P100<x L100<x      returned payout, line reversal, of line x
//	K20 D100 H2 U      credit adjustment, chargeback, hold until due + 2 days, release
//	cancel<x           cancellation of capture x
//	fix<x:S100         correction of line x
//	bad                a record that cannot be read
//
// #x gives a record the identity x, where it must be named or repeated.
type Item struct {
	Payment int    `json:"payment"`
	Token   string `json:"token"`
	AtMs    int64  `json:"at_ms"` // planned arrival, Unix milliseconds
	// Partition of its raw topic, modulo their number.
	Partition int `json:"partition"`
}

// cases are histories in the order of their tokens: those that decide alerts.
var cases = []string{
	"A100", "A100 S100", "S100 A100", "a100", "A!100", "A?100", "A?100 S100", "A100 R", "R A100", "A100 R12", "A100 V",
	"a100 C60(1) C40(2) S60(1)", "C100(1) S60(1) S40(1)", "S50 S50 C100(1)", "C100(1) S60 S60 K20",
	"C100(1) S100(1)#x S100(1)#y L100<y", "C100(1) S100(1)#x S100(1)#x", "a200 C100(1) C100(2) S100#x S100#y",
	"C100(1) S100(1)#x S110(1)#x", "C100(1) S100(1)#x P100<x S100(1)#y", "C100(1) S100(1)#x L100<x",
	"C10000(1) N9940+60(1)", "C10000(1) N8000+60(1)", "C100(1) F30 S70(1)", "A100 F100", "a100 C115(1) S115(1)",
	"a100 C100(r1) C100(r2) S100(r1) S100(r2)", "O100(1)", "C100(1) S100(1) D100", "C100(1)#c cancel<c",
	"C100(1) C!100(1)", "A100 S60 S40", "a100 C60(1) C40(2) S100(1)", "a100 C60(1) S60(1) S40(2) C40(2)",
	"C100(1) S100(9)", "A100 S100 S100 R", "C100(1) S100(1) K100", "a100 C60(1) C60(2) S60(1) S60(2)",
	"C60(1) S60 S40 C40(2)", "A?100 S60#x L60<x", "C100(1) S60(1)#x fix<x:S100(1)", "A100 H2", "A100 H U",
	"C100(1) S100(1) S100(1) C!100(1)", "A100 bad S100", "R~40 A100 S40", "A100 T115 S115", "C100(1) T+15 S115(1)",
}

// loose are tokens that may come in any order.
var loose = []string{
	"A100", "A?100", "A!100", "a100", "a200", "C60(1)", "C40(2)", "C!60(1)", "O100(3)", "S60", "S60(1)", "S40(2)", "S100(9)",
	"S100#x", "N94+6(1)", "N80", "R", "V", "R12", "R~40", "F30", "F60(1)", "T115", "T+15", "P60<x", "P100<x", "L100<x", "K20",
	"D100", "H", "H2", "U", "cancel<x", "fix<x:S90", "S110#x", "bad",
}

// horizonMs is when the world ends: every deadline of the plan's terms is past.
var horizonMs = monday10 + 16*dayMs

var notation = regexp.MustCompile(`^(?:fix<(\w+):)?([A-Za-z]+)([?!~+]?)(\d*)(?:\+(\d+))?(?:\((\w+)\))?(?:<(\w+))?(?:#(\w+))?$`)

// topicOf is the raw topic that a token's record comes in.
func topicOf(token string) topic.Topic {
	switch letter := notation.FindStringSubmatch(token)[2]; letter {
	case "A", "a", "R", "V":
		return topic.RawAuthorization
	case "C", "O", "F", "T", "cancel", "bad":
		return topic.RawCapture
	default:
		return topic.RawSettlement
	}
}

// raw renders an item; n tells it from the payment's other records.
func (i Item) raw(n int) []byte {
	m := notation.FindStringSubmatch(i.Token)
	t := token{
		item: i, fix: m[1], letter: m[2], sign: m[3], fee: m[5], capture: m[6], names: m[7], id: m[8], digits: m[4],
	}
	t.amount, _ = strconv.ParseInt(m[4], 10, 64)
	if t.id == "" {
		t.id = strconv.Itoa(n)
	}
	if t.letter == "bad" {
		return fmt.Appendf(nil, `{"type":"capture","acquirer":"acq%d","n":%d`, i.Payment%2, n)
	}
	fields := []string{
		pair("type", t.kind()), pair("acquirer", fmt.Sprintf("acq%d", i.Payment%2)),
		pair("order_id", fmt.Sprintf("o%d", i.Payment)), pair("merchant_id", "898310158120004"),
	}
	business := i.AtMs
	if t.letter == "O" {
		business = monday10 - 3*dayMs
	}
	if t.letter != "H" && t.letter != "U" {
		fields = append(fields, pair("business_time", time.UnixMilli(business).In(zone).Format(time.RFC3339)))
	}
	if t.capture != "" {
		fields = append(fields, pair("capture_id", t.capture))
	}
	if topicOf(i.Token) == topic.RawSettlement {
		fields = append(fields, pair("batch_id", "b1"), pair("line_id", t.name(t.id)))
	} else {
		fields = append(fields, pair("event_id", t.name(t.id)))
	}
	return []byte("{" + strings.Join(append(fields, t.rest()...), ",") + "}")
}

type token struct {
	item                                               Item
	fix, letter, sign, fee, capture, names, id, digits string
	amount                                             int64
}

func pair(name, value string) string { return strconv.Quote(name) + ":" + strconv.Quote(value) }

func number(name string, value int64) string {
	return strconv.Quote(name) + ":" + strconv.FormatInt(value, 10)
}

func (t token) name(id string) string { return fmt.Sprintf("p%d-%s", t.item.Payment, id) }

func (t token) kind() string {
	return map[string]string{
		"A": "authorization", "a": "authorization", "R": "reversal", "V": "void", "C": "capture", "O": "offline_advice",
		"cancel": "capture", "F": "refund", "T": "adjustment", "S": "line", "N": "line", "P": "payout_return",
		"L": "line_reversal", "K": "credit_adjustment", "D": "chargeback", "H": "hold", "U": "release",
	}[t.letter]
}

// money is an amount with its currency.
func money(name string, minor int64) []string {
	return []string{number(name, minor), pair("currency", "CNY")}
}

// rest are the fields of the token's own type.
func (t token) rest() []string {
	switch t.letter {
	case "A", "a":
		fields := append(money("amount_minor", t.amount), pair("mode", map[string]string{"A": "single", "a": "dual"}[t.letter]))
		switch t.sign {
		case "?":
		case "!":
			fields = append(fields, pair("response_code", "51"))
		default:
			fields = append(fields, pair("response_code", "00"))
		}
		return fields
	case "R", "V":
		switch {
		case t.sign == "~":
			return append(money("replacement_minor", t.amount), pair("response_code", "00"))
		case t.digits == "12":
			return []string{pair("response_code", "12")}
		}
		return []string{pair("response_code", "00")}
	case "C", "O", "F", "T":
		fields := money("amount_minor", t.amount)
		if t.sign == "!" {
			fields = append(fields, pair("status", "rejected"))
		}
		if t.letter == "T" && t.sign == "+" {
			fields = append(fields, `"delta":true`)
		}
		return fields
	case "cancel":
		return append(money("amount_minor", 100), pair("operation", "cancellation"), pair("replaces", t.name(t.names)))
	}
	return t.settlement()
}

func (t token) settlement() []string {
	var fields []string
	if t.fix != "" {
		fields = append(fields, pair("operation", "correction"), pair("replaces", t.name(t.fix)))
	}
	switch t.letter {
	case "S":
		return append(append(fields, pair("stage", "paid_out")), money("gross_minor", t.amount)...)
	case "N":
		fields = append(append(fields, pair("stage", "paid_out")), money("net_minor", t.amount)...)
		if fee, err := strconv.ParseInt(t.fee, 10, 64); err == nil {
			fields = append(fields, number("fee_minor", fee))
		}
		return fields
	case "P", "L":
		fields = append(fields, money("amount_minor", t.amount)...)
		if t.names != "" {
			fields = append(fields, pair("takes_back_line_id", t.name(t.names)))
		}
		return fields
	case "H":
		fields = append(fields, pair("hold_reason", "risk"))
		if t.digits != "" {
			fields = append(fields, pair("hold_until", time.UnixMilli(tuesday12+t.amount*dayMs).In(zone).Format(time.RFC3339)))
		}
		return fields
	case "U":
		return fields
	}
	return append(fields, money("amount_minor", t.amount)...)
}

// feeder writes the plan's items to the raw topics, in order, when their time has
// come; to a played source also the marks between them.
type feeder struct {
	queues []*queue
}

type queue struct {
	at     place
	raw    *raw
	played bool
	coming []coming
}

type coming struct {
	atMs   int64
	record stage.Record
}

// markStepMs is the time between a loader's marks.
const markStepMs = 6 * hourMs

// newFeeder sorts the items into their raw partitions.
func newFeeder(p *Plan, raws []*raw) feeder {
	var f feeder
	index := map[place]*queue{}
	for _, r := range raws {
		for n := range p.RawPartitions {
			q := &queue{at: place{r.Name, int32(n)}, raw: r, played: p.played(r.Topic)}
			index[q.at] = q
			f.queues = append(f.queues, q)
		}
	}
	perPayment := map[int]int{}
	for _, i := range p.Items { // in order of time
		perPayment[i.Payment]++
		q := index[place{topicOf(i.Token).Name, int32(i.Partition % p.RawPartitions)}]
		q.coming = append(q.coming, coming{i.AtMs, stage.Record{Value: i.raw(perPayment[i.Payment])}})
	}
	for _, q := range f.queues {
		if q.played {
			q.mark()
		}
	}
	return f
}

// mark puts marks between the items, the last one at the horizon.
func (q *queue) mark() {
	var all []coming
	next := monday10
	for _, c := range append(q.coming, coming{atMs: horizonMs + 1}) {
		for ; next <= c.atMs; next += markStepMs {
			all = append(all, playedMark(next))
		}
		all = append(all, c)
	}
	all[len(all)-1] = playedMark(horizonMs + 1)
	q.coming = all
}

func playedMark(t int64) coming {
	return coming{t, stage.Record{Headers: []stage.Header{{Key: stage.MarkHeader, Value: strconv.AppendInt(nil, t, 10)}}, TimeMs: t}}
}

// ready are the partitions that have something to write.
func (f *feeder) ready(nowMs int64) (n int) {
	for _, q := range f.queues {
		if q.ready(nowMs) {
			n++
		}
	}
	return n
}

// ready: its next item's time has come, its partition is there, and nobody is about
// to take a turn at it.
func (q *queue) ready(nowMs int64) bool {
	return len(q.coming) > 0 && q.coming[0].atMs <= nowMs && int(q.at.partition) < q.raw.partitions && !q.raw.turning
}

// nextMs is the time of the next item, 0 when there is none.
func (f *feeder) nextMs() (at int64) {
	for _, q := range f.queues {
		if len(q.coming) > 0 && (at == 0 || q.coming[0].atMs < at) {
			at = q.coming[0].atMs
		}
	}
	return at
}

// write writes some of one partition's records: what arrives at a live source has
// the broker's time.
func (w *World) write(choice uint64) {
	n := choice % uint64(w.feed.ready(w.nowMs))
	for _, q := range w.feed.queues {
		if !q.ready(w.nowMs) {
			continue
		}
		if n > 0 {
			n--
			continue
		}
		out := stage.Outgoing{Topic: q.at.topic, Partition: q.at.partition}
		for most := 1 + choice>>32%5; most > 0 && len(q.coming) > 0 && q.coming[0].atMs <= w.nowMs; most-- {
			r := q.coming[0].record
			if r.TimeMs = q.coming[0].atMs; !q.played {
				r.TimeMs = w.nowMs
			}
			out.Records = append(out.Records, r)
			q.coming = q.coming[1:]
		}
		w.note("%d raw records arrive in %s/%d", len(out.Records), out.Topic, out.Partition)
		w.stats.Records += len(out.Records)
		w.append(out)
		return
	}
}
