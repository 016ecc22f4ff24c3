package audit

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/cespare/xxhash/v2"

	"settlewatch/pipelines/hop"
	"settlewatch/pipelines/stage"
	"settlewatch/schemas/event"
	"settlewatch/schemas/topic"
	"settlewatch/tools/replay"
)

func (a *audit) span(ctx context.Context, name string, p int32) (span, error) {
	first, end, err := replay.Bounds(ctx, a.Log, name, p)
	if err != nil {
		return span{}, err
	}
	loaded, found, err := a.Tables.LastRange(ctx, name, p)
	if err != nil {
		return span{}, err
	}
	until := first
	if found {
		until = min(end, loaded.Last+1)
	}
	s := span{partition: p, from: first, until: max(until, first), notLoaded: end - max(until, first)}
	if a.Range != nil {
		if a.Range.From < first || a.Range.Until > end {
			return span{}, &replay.CutError{Topic: name, Partition: p, From: a.Range.From, Until: a.Range.Until, First: first, End: end}
		}
		s.from, s.notLoaded = a.Range.From, max(0, a.Range.Until-max(s.until, a.Range.From))
		s.until = max(s.from, min(s.until, a.Range.Until))
	}
	return s, nil
}

// origin is an event's identity within its source.
type origin struct {
	generation uint32
	offset     int64
	index      uint32
}

func (o origin) compare(p origin) int {
	return cmp.Or(cmp.Compare(o.generation, p.generation), cmp.Compare(o.offset, p.offset), cmp.Compare(o.index, p.index))
}

// row is one event or alert as both sides know it.
type row struct {
	origin
	id     string
	sum    uint64
	offset int64 // in the topic
}

// events of one log partition. Of each source the origins rise, so the rows between
// two of them are exactly those of a range.
func (a *audit) events(ctx context.Context, s span) (Part, error) {
	part := Part{Topic: topic.PaymentLog.Name, Partition: s.partition, NotLoaded: s.notLoaded}
	reader := hop.NewReader(nil, nil) // the reader's rule: a repeat counts once
	last := map[string]origin{}       // of each source, before this range
	for from := s.from; from < s.until; from += a.RangeRecords {
		rows := map[string][]row{}
		err := replay.Records(ctx, a.Log, part.Topic, s.partition, from, min(from+a.RangeRecords, s.until), func(r *stage.Record) error {
			a.count(&part)
			var record event.LogRecord
			if err := record.UnmarshalVT(r.Value); err != nil || record.GetOrigin() == nil || record.GetEvent() == nil {
				return nil //nolint:nilerr // it makes no row, there or here
			}
			if _, fresh := reader.Accept(record.Origin); fresh {
				o := origin{record.Origin.Generation, record.Origin.Offset, record.Origin.Index}
				rows[record.Origin.Source] = append(rows[record.Origin.Source], row{origin: o, sum: eventSum(&record), offset: r.Offset})
			}
			return nil
		})
		if err != nil {
			return part, err
		}
		part.Ranges++
		if err := a.eventRange(ctx, &part, rows, last); err != nil {
			return part, err
		}
	}
	if a.Range == nil {
		return part, a.strangers(ctx, &part, last, s.until)
	}
	return part, nil
}

func (a *audit) eventRange(ctx context.Context, part *Part, rows map[string][]row, last map[string]origin) error {
	different := false
	names := make([]string, 0, len(rows))
	for source := range rows {
		names = append(names, source)
	}
	slices.Sort(names)
	for _, source := range names {
		of := rows[source]
		var sum uint64
		for _, r := range of {
			sum ^= r.sum
		}
		after, known := last[source]
		if !known && a.Range == nil {
			after = origin{offset: -1}
		} else if !known {
			after = of[0].origin
			after.offset-- // what lies before the range is not asked for
		}
		last[source] = of[len(of)-1].origin
		part.Rows += int64(len(of))
		where, parameters := eventWhere(part.Partition, source, after, last[source])
		n, equal, err := a.agree(ctx, `SELECT toUInt64(count()), groupBitXor(h) FROM (SELECT DISTINCT generation, offset, idx, `+eventHash+` AS h
			FROM settlewatch.events WHERE `+where+`)`, parameters, len(of), sum)
		if err != nil {
			return err
		}
		part.InClickHouse += n
		if equal {
			continue
		}
		different = true
		if part.First == nil {
			if part.First, err = a.firstEvent(ctx, source, of, where, parameters); err != nil {
				return err
			}
		}
	}
	if different {
		part.Different++
	}
	return nil
}

// agree asks for the number of rows and their checksum. The range that the warehouse
// recorded last may still be on its way: the first time that something differs, it is
// given a moment.
func (a *audit) agree(ctx context.Context, query string, parameters map[string]string, want int, sum uint64) (n int64, equal bool, err error) {
	for {
		answer, err := a.Tables.Ask(ctx, query, parameters)
		if err != nil {
			return 0, false, err
		}
		count, ok := answer.Rows[0][0].(uint64)
		h, fine := answer.Rows[0][1].(uint64)
		if !ok || !fine {
			return 0, false, fmt.Errorf("ClickHouse answers %v", answer.Rows[0])
		}
		equal = count == uint64(want) && h == sum
		if equal || a.waited {
			return int64(count), equal, nil
		}
		a.waited = true
		select {
		case <-ctx.Done():
			return 0, false, ctx.Err()
		case <-time.After(a.Settle):
		}
	}
}

func eventWhere(partition int32, source string, after, last origin) (string, map[string]string) {
	tuple := func(name string, o origin, to map[string]string) string {
		to[name+"g"], to[name+"o"], to[name+"i"] = fmt.Sprint(o.generation), fmt.Sprint(o.offset), fmt.Sprint(o.index)
		return fmt.Sprintf("({%[1]sg:UInt32}, {%[1]so:Int64}, {%[1]si:UInt32})", name)
	}
	p := map[string]string{"p": fmt.Sprint(partition), "s": source}
	return `log_partition = {p:Int32} AND source = {s:String} AND (generation, offset, idx) > ` + tuple("a", after, p) +
		` AND (generation, offset, idx) <= ` + tuple("b", last, p), p
}

// firstEvent reads the rows of one source's range and finds the first that differs.
func (a *audit) firstEvent(ctx context.Context, source string, here []row, where string, parameters map[string]string) (*Finding, error) {
	answer, err := a.Tables.Ask(ctx, `SELECT DISTINCT toUInt64(generation), offset, toUInt64(idx), `+eventHash+` AS h
		FROM settlewatch.events WHERE `+where+` ORDER BY 1, 2, 3`, parameters)
	if err != nil {
		return nil, err
	}
	there := make([]row, 0, len(answer.Rows))
	for _, cells := range answer.Rows {
		generation, ok1 := cells[0].(uint64)
		offset, ok2 := cells[1].(int64)
		index, ok3 := cells[2].(uint64)
		sum, ok4 := cells[3].(uint64)
		if !ok1 || !ok2 || !ok3 || !ok4 {
			return nil, fmt.Errorf("ClickHouse answers %v", cells)
		}
		there = append(there, row{origin: origin{uint32(generation), offset, uint32(index)}, sum: sum})
	}
	return firstOf(here, there, func(x, y row) int { return x.compare(y.origin) }, func(r row) string {
		text := fmt.Sprintf("%s offset %d", source, r.origin.offset)
		if r.generation > 0 || r.index > 0 {
			text += fmt.Sprintf(" (generation %d, index %d)", r.generation, r.index)
		}
		return text
	}), nil
}

// firstOf walks two sorted lists.
func firstOf(here, there []row, compare func(x, y row) int, name func(row) string) *Finding {
	for i, j := 0, 0; i < len(here) || j < len(there); {
		order := 0
		switch {
		case i == len(here):
			order = 1
		case j == len(there):
			order = -1
		default:
			order = compare(here[i], there[j])
		}
		switch {
		case order < 0:
			return &Finding{What: "missing", Row: name(here[i]), Offset: here[i].offset}
		case order > 0:
			return &Finding{What: "extra", Row: name(there[j]), Offset: -1}
		case here[i].sum != there[j].sum:
			return &Finding{What: "different", Row: name(here[i]), Offset: here[i].offset}
		}
		i++
		j++
	}
	return nil
}

// strangers looks for rows beyond the last origin of every source, and of sources
// that the log does not know.
func (a *audit) strangers(ctx context.Context, part *Part, last map[string]origin, until int64) error {
	names := make([]string, 0, len(last))
	for source := range last {
		names = append(names, source)
	}
	slices.Sort(names)
	p := map[string]string{"p": fmt.Sprint(part.Partition)}
	known := make([]string, 0, len(names))
	for i, source := range names {
		s, o := fmt.Sprint("s", i), last[source]
		p[s], p[s+"g"], p[s+"o"], p[s+"i"] = source, fmt.Sprint(o.generation), fmt.Sprint(o.offset), fmt.Sprint(o.index)
		known = append(known, fmt.Sprintf("(source = {%[1]s:String} AND (generation, offset, idx) <= ({%[1]sg:UInt32}, {%[1]so:Int64}, {%[1]si:UInt32}))", s))
	}
	where := "log_partition = {p:Int32}"
	if len(known) > 0 {
		where += " AND NOT (" + strings.Join(known, " OR ") + ")"
	}
	answer, err := a.Tables.Ask(ctx, `SELECT toString(source), offset, toUInt64(count() OVER ()) FROM settlewatch.events WHERE `+where+
		` ORDER BY source, generation, offset, idx LIMIT 1`, p)
	if err != nil || len(answer.Rows) == 0 {
		return err
	}
	// The warehouse may have loaded more since it was asked how far it is.
	if now, _, err := a.Tables.LastRange(ctx, part.Topic, part.Partition); err != nil || now.Last >= until {
		return err
	}
	part.Different++
	if n, ok := answer.Rows[0][2].(uint64); ok {
		part.InClickHouse += int64(n)
	}
	if part.First == nil {
		part.First = &Finding{What: "extra", Row: fmt.Sprintf("%v offset %v", answer.Rows[0][0], answer.Rows[0][1]), Offset: -1}
	}
	return nil
}

// eventHash is eventSum in ClickHouse's words.
const eventHash = `xxHash64(concat(toString(source), '|', toString(generation), '|', toString(offset), '|', toString(idx), '|', payment_key, '|',
	event_id, '|', toString(toUnixTimestamp64Milli(arrival_time)), '|', toString(currency), '|',
	ifNull(toString(transaction_minor), ''), '|', ifNull(toString(gross_minor), ''), '|', ifNull(toString(net_minor), '')))`

// eventSum is a checksum of an event's identity and of what money it is about.
func eventSum(r *event.LogRecord) uint64 {
	e, o := r.GetEvent(), r.Origin
	amounts := e.GetAmounts()
	if amounts == nil {
		amounts = new(event.Amounts)
	}
	return xxhash.Sum64String(fmt.Sprintf("%s|%d|%d|%d|%s|%x|%d|%s|%s|%s|%s", o.Source, o.Generation, o.Offset, o.Index, e.PaymentKey,
		e.Id, r.ArrivalMs, amounts.Currency, maybe(amounts.TransactionMinor), maybe(amounts.GrossMinor), maybe(amounts.NetMinor)))
}

func maybe(n *int64) string {
	if n == nil {
		return ""
	}
	return strconv.FormatInt(*n, 10)
}
