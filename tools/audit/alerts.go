package audit

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/cespare/xxhash/v2"

	"settlewatch/pipelines/stage"
	"settlewatch/schemas/alert"
	"settlewatch/tools/replay"
)

// An alert's id is a hash, in hexadecimal digits: its first two are its block.
const (
	blockDigits = 2
	blocks      = 256
	// alertsMax revisions are in memory at a time.
	alertsMax = 2_000_000
)

// revisionID is the identity of a row.
func revisionID(a *alert.Alert) string { return fmt.Sprintf("%s:%d", a.ID, a.Revision) }

// alerts of one kind, all partitions of its topic together: a row does not say from
// which it comes.
func (a *audit) alerts(ctx context.Context, kind alert.Kind, spans []span) (Part, error) {
	part := Part{Topic: kind.Topic().Name, Partition: -1}
	var records int64
	for _, s := range spans {
		records += s.until - s.from
		part.NotLoaded += s.notLoaded
	}
	if a.Range != nil {
		part.Partition = a.Range.Partition
	}
	passes := min(blocks, int(1+records/alertsMax))
	for pass := range passes {
		here, err := a.readAlerts(ctx, &part, spans, passes, pass)
		if err != nil {
			return part, err
		}
		equal, err := a.equalBlocks(ctx, kind, here)
		if err != nil {
			return part, err
		}
		for block := pass; block < blocks; block += passes {
			if equal[block] {
				part.Ranges++
				part.Rows += int64(len(here[block]))
				part.InClickHouse += int64(len(here[block]))
			} else if err := a.alertBlock(ctx, &part, kind, spans, fmt.Sprintf("%0*x", blockDigits, block), here[block]); err != nil {
				return part, err
			}
		}
	}
	return part, nil
}

// equalBlocks are those whose number and checksum are the same on both sides, found
// in one look through the table; none where only a range is asked for.
func (a *audit) equalBlocks(ctx context.Context, kind alert.Kind, here map[int][]row) (equal [blocks]bool, err error) {
	if a.Range != nil {
		return equal, nil
	}
	answer, err := a.Tables.Ask(ctx, fmt.Sprintf(`SELECT substring(id, 1, %d) AS b, toUInt64(count()), groupBitXor(h) FROM (
		SELECT DISTINCT id, revision, `+alertHash+` AS h FROM settlewatch.alert_revisions WHERE kind = {k:String}) GROUP BY b`, blockDigits),
		map[string]string{"k": string(kind)})
	if err != nil {
		return equal, err
	}
	for block := range equal {
		equal[block] = len(here[block]) == 0
	}
	for _, cells := range answer.Rows {
		name, ok := cells[0].(string)
		n, fine := cells[1].(uint64)
		sum, good := cells[2].(uint64)
		if !ok || !fine || !good {
			return equal, fmt.Errorf("ClickHouse answers %v", cells)
		}
		if block, known := blockOf(name); known {
			equal[block] = n == uint64(len(here[block])) && sum == sumOf(here[block])
		}
	}
	return equal, nil
}

// blockOf an alert's id; false for an id that is none of ours.
func blockOf(id string) (int, bool) {
	n, err := strconv.ParseUint(id[:min(len(id), blockDigits)], 16, 8)
	return int(n), err == nil && len(id) >= blockDigits
}

func sumOf(rows []row) (sum uint64) {
	for _, r := range rows {
		sum ^= r.sum
	}
	return sum
}

// readAlerts gives the distinct revisions of every passes-th block, by block, sorted.
func (a *audit) readAlerts(ctx context.Context, part *Part, spans []span, passes, pass int) (map[int][]row, error) {
	here := map[int][]row{}
	seen := map[string]bool{}
	for _, s := range spans {
		err := replay.Records(ctx, a.Log, part.Topic, s.partition, s.from, s.until, func(r *stage.Record) error {
			if pass == 0 {
				a.count(part)
			}
			one, err := alert.Decode(r.Value)
			if err != nil || one.ID == "" {
				return nil //nolint:nilerr // it makes no row, there or here
			}
			block, ours := blockOf(one.ID)
			if !ours || block%passes != pass || seen[revisionID(one)] {
				return nil
			}
			seen[revisionID(one)] = true
			here[block] = append(here[block], row{id: revisionID(one), sum: alertSum(one), offset: r.Offset})
			return nil
		})
		if err != nil {
			return nil, err
		}
	}
	for _, rows := range here {
		slices.SortFunc(rows, byID)
	}
	return here, nil
}

func byID(x, y row) int { return cmp.Compare(x.id, y.id) }

func (a *audit) alertBlock(ctx context.Context, part *Part, kind alert.Kind, spans []span, block string, here []row) error {
	if a.Range != nil && len(here) == 0 {
		return nil
	}
	part.Ranges++
	part.Rows += int64(len(here))
	parameters := map[string]string{"k": string(kind), "b": block}
	where := `kind = {k:String} AND startsWith(id, {b:String})`
	if a.Range != nil {
		ids := make([]string, len(here))
		for i, r := range here {
			ids[i] = "'" + r.id + "'" // hexadecimal digits, a colon, a number
		}
		parameters["ids"] = "[" + strings.Join(ids, ",") + "]"
		where += ` AND concat(id, ':', toString(revision)) IN {ids:Array(String)}`
	}
	n, equal, err := a.agree(ctx, `SELECT toUInt64(count()), groupBitXor(h) FROM (SELECT DISTINCT id, revision, `+alertHash+` AS h
		FROM settlewatch.alert_revisions WHERE `+where+`)`, parameters, len(here), sumOf(here))
	if err != nil {
		return err
	}
	part.InClickHouse += n
	if equal {
		return nil
	}
	first, err := a.firstAlert(ctx, part, spans, here, where, parameters)
	if err != nil || first == nil {
		return err // what was loaded since is there as well
	}
	part.Different++
	if part.First == nil {
		part.First = first
	}
	return nil
}

// firstAlert reads the block's rows and finds the first that differs. A row that was
// loaded after the warehouse was asked how far it is, is none.
func (a *audit) firstAlert(ctx context.Context, part *Part, spans []span, here []row, where string, parameters map[string]string) (*Finding, error) {
	answer, err := a.Tables.Ask(ctx, `SELECT DISTINCT concat(id, ':', toString(revision)) AS i, `+alertHash+` AS h
		FROM settlewatch.alert_revisions WHERE `+where+` ORDER BY i`, parameters)
	if err != nil {
		return nil, err
	}
	later := map[string]bool{}
	for _, s := range spans {
		_, end, err := replay.Bounds(ctx, a.Log, part.Topic, s.partition)
		if err != nil {
			return nil, err
		}
		err = replay.Records(ctx, a.Log, part.Topic, s.partition, s.until, end, func(r *stage.Record) error {
			if one, err := alert.Decode(r.Value); err == nil {
				later[revisionID(one)] = true
			}
			return nil
		})
		if err != nil {
			return nil, err
		}
	}
	known := map[string]bool{}
	for _, r := range here {
		known[r.id] = true
	}
	there := make([]row, 0, len(answer.Rows))
	for _, cells := range answer.Rows {
		id, ok := cells[0].(string)
		sum, fine := cells[1].(uint64)
		if !ok || !fine {
			return nil, fmt.Errorf("ClickHouse answers %v", cells)
		}
		if known[id] || !later[id] {
			there = append(there, row{id: id, sum: sum})
		}
	}
	return firstOf(here, there, byID, func(r row) string { return r.id }), nil
}

// alertHash is alertSum in ClickHouse's words.
const alertHash = `xxHash64(concat(id, '|', toString(revision), '|', payment_key, '|', toString(status), '|', toString(amount_minor), '|',
	toString(currency), '|', toString(toUnixTimestamp64Milli(moment_judged)), '|', toString(evidence_total)))`

func alertSum(a *alert.Alert) uint64 {
	return xxhash.Sum64String(fmt.Sprintf("%s|%d|%s|%s|%d|%s|%d|%d", a.ID, a.Revision, a.PaymentKey, a.Status, a.AmountMinor,
		a.Currency, a.MomentMs(), a.EvidenceTotal))
}
