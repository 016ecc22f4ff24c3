package audit

import (
	"cmp"
	"context"
	"encoding/hex"
	"fmt"
	"slices"
	"strings"

	"github.com/cespare/xxhash/v2"

	"settlewatch/pipelines/stage"
	"settlewatch/schemas/payment"
	"settlewatch/schemas/topic"
	"settlewatch/tools/replay"
)

// paymentsMax lives are in memory at a time.
const paymentsMax = 1_000_000

// snapshot is one life of a payment as both sides know it.
type snapshot struct {
	key, life string
	version   uint64
	sum       uint64
	offset    int64 // in the topic
}

func (s snapshot) compare(o snapshot) int {
	return cmp.Or(cmp.Compare(s.key, o.key), cmp.Compare(s.life, o.life))
}

func (s snapshot) String() string {
	return fmt.Sprintf("%s life %s version %d", s.key, s.life, s.version)
}

// A life of a payment.
type life struct{ key, life string }

// payments audits payments.v1, a compacted topic: of each life the highest version
// that it still holds, against the highest one in the table.
//
// Compaction keeps the last record of each key, so every life is there, and a row of a
// life that is not is too many. The last record need not be the highest version: an
// owner that was fenced may have repeated an older one. So a row that stands above the
// topic proves nothing where compaction has taken records away; it is counted as newer.
// A row below the topic, or another one of the same version, is always a difference.
type payments struct {
	*audit
	part   Part
	spans  []span
	passes uint64
	// compacted: offsets are missing, so something may have stood there.
	compacted bool
	// later is what the topic has got since the warehouse was asked how far it is, up to
	// the offsets of read.
	later map[life][]snapshot
	read  []int64
}

func (a *audit) payments(ctx context.Context, spans []span) (Part, error) {
	p := &payments{audit: a, spans: spans, part: Part{Topic: topic.Payments.Name, Partition: -1}, later: map[life][]snapshot{}}
	var records int64
	for _, s := range spans {
		records += s.until - s.from
		p.part.NotLoaded += s.notLoaded
		p.compacted = p.compacted || s.from > 0
		p.read = append(p.read, s.until)
	}
	if a.Range != nil {
		p.part.Partition, p.compacted = a.Range.Partition, true
	}
	p.passes = uint64(1 + records/paymentsMax)
	for pass := range p.passes {
		here, err := p.highest(ctx, pass)
		if err != nil {
			return p.part, err
		}
		if err := p.compare(ctx, pass, here); err != nil {
			return p.part, err
		}
	}
	return p.part, nil
}

// decodeSnapshot gives false for what makes no row.
func decodeSnapshot(r *stage.Record) (snapshot, bool) {
	var p payment.Payment
	if len(r.Value) == 0 || p.UnmarshalVT(r.Value) != nil || p.PaymentKey == "" || len(p.Life) == 0 {
		return snapshot{}, false
	}
	return snapshot{key: p.PaymentKey, life: hex.EncodeToString(p.Life), version: p.Version, sum: paymentSum(&p), offset: r.Offset}, true
}

// highest version of every passes-th payment that is loaded, sorted.
func (p *payments) highest(ctx context.Context, pass uint64) ([]snapshot, error) {
	at := map[life]snapshot{}
	for _, s := range p.spans {
		next := s.from
		err := replay.Records(ctx, p.Log, p.part.Topic, s.partition, s.from, s.until, func(r *stage.Record) error {
			if p.compacted = p.compacted || r.Offset != next; pass == 0 {
				p.count(&p.part)
			}
			next = r.Offset + 1
			one, ok := decodeSnapshot(r)
			if !ok || xxhash.Sum64String(one.key)%p.passes != pass {
				return nil
			}
			if known, seen := at[life{one.key, one.life}]; !seen || known.version < one.version {
				at[life{one.key, one.life}] = one
			}
			return nil
		})
		if err != nil {
			return nil, err
		}
		p.compacted = p.compacted || next != s.until
	}
	here := make([]snapshot, 0, len(at))
	for _, one := range at {
		here = append(here, one)
	}
	slices.SortFunc(here, snapshot.compare)
	return here, nil
}

// compare goes through the payments in the order of the table, a range at a time.
func (p *payments) compare(ctx context.Context, pass uint64, here []snapshot) error {
	above := ""
	for len(here) > 0 || above == "" {
		n := min(len(here), int(p.RangeRecords))
		for n > 0 && n < len(here) && here[n].key == here[n-1].key { // the lives of a payment stay together
			n++
		}
		part := here[:n]
		where, parameters := p.where(pass, part, above, n == len(here))
		if err := p.paymentRange(ctx, part, where, parameters); err != nil {
			return err
		}
		if n == len(here) {
			return nil
		}
		above, here = part[n-1].key, here[n:]
	}
	return nil
}

// where names the rows above one payment key and up to another, both open at the ends.
func (p *payments) where(pass uint64, part []snapshot, above string, last bool) (string, map[string]string) {
	parameters := map[string]string{"above": above, "passes": fmt.Sprint(p.passes), "pass": fmt.Sprint(pass)}
	where := `payment_key > {above:String}`
	if p.passes > 1 {
		where += ` AND xxHash64(payment_key) % {passes:UInt64} = {pass:UInt64}`
	}
	if !last {
		parameters["last"] = part[len(part)-1].key
		where += ` AND payment_key <= {last:String}`
	}
	if p.Range != nil {
		lives := make([]string, len(part))
		for i, s := range part {
			lives[i] = "'" + s.life + "'" // hexadecimal digits
		}
		parameters["lives"] = "[" + strings.Join(lives, ",") + "]"
		where += ` AND life IN {lives:Array(String)}`
	}
	return where, parameters
}

func (p *payments) paymentRange(ctx context.Context, here []snapshot, where string, parameters map[string]string) error {
	if p.Range != nil && len(here) == 0 {
		return nil
	}
	p.part.Ranges++
	p.part.Rows += int64(len(here))
	var sum uint64
	for _, s := range here {
		sum ^= s.sum
	}
	n, equal, err := p.agree(ctx, `SELECT toUInt64(count()), groupBitXor(`+paymentHash+`) FROM settlewatch.payments FINAL WHERE `+where,
		parameters, len(here), sum)
	if err != nil {
		return err
	}
	p.part.InClickHouse += n
	if equal {
		return nil
	}
	answer, err := p.Tables.Ask(ctx, `SELECT payment_key, life, version, `+paymentHash+` FROM settlewatch.payments FINAL WHERE `+where+
		` ORDER BY payment_key, life`, parameters)
	if err != nil {
		return err
	}
	there := make([]snapshot, len(answer.Rows))
	for i, cells := range answer.Rows {
		var ok [4]bool
		s := &there[i]
		s.offset = -1
		s.key, ok[0] = cells[0].(string)
		s.life, ok[1] = cells[1].(string)
		s.version, ok[2] = cells[2].(uint64)
		s.sum, ok[3] = cells[3].(uint64)
		if ok != [4]bool{true, true, true, true} {
			return fmt.Errorf("ClickHouse answers %v", cells)
		}
	}
	if err := p.follow(ctx); err != nil { // after the answer: what it shows is in the topic by now
		return err
	}
	first := p.walk(here, there)
	if first == nil {
		return nil
	}
	p.part.Different++
	if p.part.First == nil {
		p.part.First = first
	}
	return nil
}

// follow reads what the topic has got meanwhile.
func (p *payments) follow(ctx context.Context) error {
	for i, s := range p.spans {
		_, end, err := replay.Bounds(ctx, p.Log, p.part.Topic, s.partition)
		if err != nil {
			return err
		}
		err = replay.Records(ctx, p.Log, p.part.Topic, s.partition, p.read[i], end, func(r *stage.Record) error {
			if one, ok := decodeSnapshot(r); ok {
				at := life{one.key, one.life}
				p.later[at] = append(p.later[at], one)
			}
			return nil
		})
		if err != nil {
			return err
		}
		p.read[i] = max(p.read[i], end)
	}
	return nil
}

// walk compares two sorted lists and gives the first difference.
func (p *payments) walk(here, there []snapshot) (first *Finding) {
	found := func(what string, s snapshot) {
		if first == nil && what != "" {
			first = &Finding{What: what, Row: s.String(), Offset: s.offset}
		}
	}
	for i, j := 0, 0; i < len(here) || j < len(there); {
		switch {
		case j == len(there) || i < len(here) && here[i].compare(there[j]) < 0:
			found("missing", here[i])
			i++
			continue
		case i == len(here) || here[i].compare(there[j]) > 0:
			found(p.above(there[j], false), there[j])
			j++
			continue
		}
		h, t := here[i], there[j]
		switch {
		case t.version < h.version:
			found("missing", h)
		case t.version == h.version && t.sum != h.sum:
			found("different", h)
		case t.version > h.version:
			found(p.above(t, true), t)
		}
		i++
		j++
	}
	return first
}

// above says what a row is that stands above all that was read of its life, known or
// not; "" is as it should be, or cannot be told.
func (p *payments) above(row snapshot, known bool) string {
	overtaken := false
	later := p.later[life{row.key, row.life}]
	for _, l := range later {
		if l.version == row.version && l.sum != row.sum {
			return "different"
		}
		overtaken = overtaken || l.version >= row.version
	}
	switch {
	case overtaken:
	case p.compacted && (known || len(later) > 0):
		p.part.Newer++
	default:
		return "extra"
	}
	return ""
}

// paymentHash is paymentSum in ClickHouse's words.
const paymentHash = `xxHash64(concat(payment_key, '|', life, '|', toString(version), '|', toString(toUnixTimestamp64Milli(judged_time)), '|',
	toString(status), '|', toString(currency), '|', toString(authorized_minor), '|', toString(captured_minor), '|', toString(settled_minor), '|',
	toString(open_minor), '|', toString(alerted_minor), '|', toString(excluded_minor), '|', toString(received_minor), '|',
	toString(refunded_minor), '|', toString(excess_minor), '|', toString(events)))`

// paymentSum is a checksum of a snapshot's identity and of what money it is about.
func paymentSum(p *payment.Payment) uint64 {
	status := strings.ToLower(strings.TrimPrefix(p.Status.String(), "STATUS_"))
	return xxhash.Sum64String(fmt.Sprintf("%s|%x|%d|%d|%s|%s|%d|%d|%d|%d|%d|%d|%d|%d|%d|%d", p.PaymentKey, p.Life, p.Version, p.JudgedMs,
		status, p.Currency, p.AuthorizedMinor, p.CapturedMinor, p.SettledMinor, p.OpenMinor, p.AlertedMinor, p.ExcludedMinor,
		p.ReceivedMinor, p.RefundedMinor, p.ExcessMinor, p.Events))
}
