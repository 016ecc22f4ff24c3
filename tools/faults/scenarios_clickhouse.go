package faults

import (
	"bytes"
	"errors"
	"fmt"
	"sync/atomic"
	"syscall"
	"time"
)

var clickHouseScenarios = []Scenario{
	{
		Number: 4, Name: "kill -9 warehouse after an insert", Holds: []string{i4, i5}, Quick: true, inject: killWarehouse, mostSeconds: 15,
		Instead: "the range is recorded before the insert, not after it: it is killed when ClickHouse has taken an insert and nobody has heard of it",
	},
	{
		Number: 21, Name: "ClickHouse away, then slow", Holds: []string{i4, i6}, inject: clickHouseAway,
		Scale: "away for 6 s instead of 10 min, then 3 s with 200 ms before each reply",
	},
	{Number: 22, Name: "ClickHouse's reply lost after an insert", Holds: []string{i4, i5}, Quick: true, inject: insertRepliesLost},
	{Number: 23, Name: "ClickHouse refuses inserts: too many parts", Holds: []string{i4, i7}, inject: tooManyParts, Scale: "for 12 s"},
}

// Stages of a connection on which an insert is under way.
const (
	asked = iota + 1 // the query was sent
	ready            // the server wants the rows
	sent             // rows were sent
)

// atInsert calls back when ClickHouse has taken an insert into a table of rows, with
// its last reply in hand, and does with that reply what the call says.
func (w *world) atInsert(taken func() verdict) {
	w.clickProxy.change(func(p *proxy) {
		p.request = func(l *link, piece []byte) verdict {
			switch {
			case bytes.Contains(piece, []byte("INSERT INTO")) && !bytes.Contains(piece, []byte("warehouse_ranges")):
				l.stage = asked
			case l.stage == ready:
				l.stage = sent
			}
			return pass
		}
		p.reply = func(l *link, piece []byte) verdict {
			const endOfStream = 5
			switch {
			case l.stage == asked:
				l.stage = ready
			case l.stage == sent && piece[len(piece)-1] == endOfStream:
				l.stage = 0
				return taken()
			}
			return pass
		}
	})
}

func killWarehouse(w *world) error {
	if err := w.busy(); err != nil {
		return err
	}
	pid := w.supervisor.Pid("warehouse")
	struck := make(chan error, 1)
	var once atomic.Bool
	w.atInsert(func() verdict {
		if !once.CompareAndSwap(false, true) {
			return pass
		}
		struck <- syscall.Kill(pid, syscall.SIGKILL)
		return loseReply
	})
	select {
	case err := <-struck:
		if err != nil {
			return fmt.Errorf("kill the warehouse: %w", err)
		}
	case <-time.After(patience):
		return errors.New("no insert came by")
	}
	return w.recovery("warehouse", w.committed("warehouse"))
}

func insertRepliesLost(w *world) error {
	if err := w.busy(); err != nil {
		return err
	}
	var lost atomic.Int64
	w.atInsert(func() verdict {
		if lost.Load() >= 5 {
			return pass
		}
		lost.Add(1)
		return loseReply
	})
	if err := w.until("replies to inserts are lost", func() (bool, error) { return lost.Load() >= 5 || w.feeder.done(), nil }); err != nil {
		return err
	}
	if lost.Load() == 0 {
		return errors.New("no insert came by")
	}
	w.note("%d replies to inserts lost", lost.Load())
	return w.recovery("warehouse", w.committed("warehouse"))
}

func clickHouseAway(w *world) error {
	if err := w.busy(); err != nil {
		return err
	}
	w.clickProxy.shut()
	if err := w.pause(6 * time.Second); err != nil {
		return err
	}
	w.clickProxy.change(func(p *proxy) { p.closed, p.delay = false, 200*time.Millisecond })
	if err := w.recovery("warehouse", w.committed("warehouse")); err != nil {
		return err
	}
	if err := w.pause(3 * time.Second); err != nil {
		return err
	}
	w.clickProxy.change(func(p *proxy) { p.delay = 0 })
	return nil
}

// tooManyParts makes ClickHouse refuse every insert of rows for a while.
func tooManyParts(w *world) error {
	if err := w.busy(); err != nil {
		return err
	}
	if err := w.until("there are rows", func() (bool, error) {
		n, err := w.sql(w.ctx, "SELECT count() FROM settlewatch.events")
		return n != "0", err
	}); err != nil {
		return err
	}
	tables := []string{"events", "payments", "alert_revisions"}
	for _, t := range tables {
		if _, err := w.sql(w.ctx, "SYSTEM STOP MERGES settlewatch."+t); err != nil {
			return err
		}
		if _, err := w.sql(w.ctx, "ALTER TABLE settlewatch."+t+" MODIFY SETTING parts_to_throw_insert = 1, parts_to_delay_insert = 1"); err != nil {
			return err
		}
	}
	if err := w.saysTrouble("warehouse", "parts"); err != nil {
		return err
	}
	for _, t := range tables {
		if _, err := w.sql(w.ctx, "ALTER TABLE settlewatch."+t+" RESET SETTING parts_to_throw_insert, parts_to_delay_insert"); err != nil {
			return err
		}
		if _, err := w.sql(w.ctx, "SYSTEM START MERGES settlewatch."+t); err != nil {
			return err
		}
	}
	return w.recovery("warehouse", w.committed("warehouse"))
}
