package warehouse

import (
	"context"
	"errors"
	"fmt"
	"math/big"
)

// Summary is what the tables hold.
type Summary struct {
	// Events are distinct origins, Payments lives of payments, Alerts distinct ids.
	Events, Payments, Alerts uint64
	// Completeness, one a currency, by its code.
	Completeness []Completeness
}

// Holds tells whether the identity holds in every currency.
func (s Summary) Holds() bool {
	for _, c := range s.Completeness {
		if !c.Holds {
			return false
		}
	}
	return true
}

// Completeness is captured = settled + open + alerted + excluded in one currency,
// minor units. Alerted comes from the alerts, the rest from the payments.
type Completeness struct {
	Currency                                                            string
	CapturedMinor, SettledMinor, OpenMinor, AlertedMinor, ExcludedMinor int64
	// DifferenceMinor is what is captured and nowhere else.
	DifferenceMinor int64
	Holds           bool
}

// Summary reads the counts and the completeness identity. The tables are read
// one after the other: while something is loaded, they need not agree.
func (w *Warehouse) Summary(ctx context.Context) (Summary, error) {
	var s Summary
	err := w.retry(ctx, "read summary", func() error {
		s = Summary{}
		counts := fmt.Sprintf(
			`SELECT (SELECT count() FROM %[1]s.events_distinct), (SELECT count() FROM %[1]s.payments_current),
				(SELECT uniqExact(id) FROM %[1]s.alert_revisions)`, w.database)
		if err := w.conn.QueryRow(ctx, counts).Scan(&s.Events, &s.Payments, &s.Alerts); err != nil {
			return fmt.Errorf("count rows: %w", err)
		}
		var err error
		s.Completeness, err = w.completeness(ctx)
		return err
	})
	return s, err
}

func (w *Warehouse) completeness(ctx context.Context) (out []Completeness, err error) {
	rows, err := w.conn.Query(ctx, fmt.Sprintf(`SELECT currency, captured_minor, settled_minor, open_minor,
		alerted_minor, excluded_minor, difference_minor, holds = 1 FROM %s.completeness ORDER BY currency`, w.database))
	if err != nil {
		return nil, fmt.Errorf("read completeness: %w", err)
	}
	defer func() { err = errors.Join(err, rows.Close()) }()
	for rows.Next() {
		var c Completeness
		var holds uint8
		sums := make([]big.Int, 6)
		if err := rows.Scan(&c.Currency, &sums[0], &sums[1], &sums[2], &sums[3], &sums[4], &sums[5], &holds); err != nil {
			return nil, fmt.Errorf("scan completeness: %w", err)
		}
		for i, to := range []*int64{&c.CapturedMinor, &c.SettledMinor, &c.OpenMinor, &c.AlertedMinor, &c.ExcludedMinor, &c.DifferenceMinor} {
			if !sums[i].IsInt64() {
				return nil, fmt.Errorf("completeness of %s: a sum of 64 bits and more", c.Currency)
			}
			*to = sums[i].Int64()
		}
		c.Holds = holds == 1
		out = append(out, c)
	}
	return out, rows.Err()
}
