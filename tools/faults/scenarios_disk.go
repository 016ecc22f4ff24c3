package faults

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"settlewatch/pipelines/servers"
	"settlewatch/schemas/topic"
)

var diskScenarios = []Scenario{{
	Number: 28, Name: "disks full: ClickHouse, Redis, Kafka", Holds: []string{i7, i1}, inject: disksFull, disks: true, traffic: larger(8),
	Scale: "each until the product says so, and 3 s more",
}}

// diskMiB are the sizes of the disks that a ground of its own stands on.
var diskMiB = map[string]int{"kafka": 1024, "redis": 256, "clickhouse": 768}

// onDisks starts servers whose data lie on small disks of their own, in memory. Where
// this process may not mount any there are none, which is no error.
func onDisks(ctx context.Context, dir string, log io.Writer) (g *ground, err error) {
	var unmount []func() error
	undo := func() error {
		var errs []error
		for _, f := range unmount {
			errs = append(errs, f())
		}
		return errors.Join(errs...)
	}
	for name, mib := range diskMiB {
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(path, 0o755); err != nil {
			return nil, errors.Join(fmt.Errorf("make a folder for a disk: %w", err), undo())
		}
		if said, err := exec.CommandContext(ctx, "mount", "-t", "tmpfs", "-o", fmt.Sprintf("size=%dm", mib), "settlewatch-faults", path).CombinedOutput(); err != nil {
			if log != nil {
				_, _ = fmt.Fprintf(log, "fault 28: no disk of its own can be mounted (%v: %s): Redis and ClickHouse are made to refuse instead\n", err, strings.TrimSpace(string(said)))
			}
			return nil, undo()
		}
		unmount = append(unmount, func() error {
			said, err := exec.CommandContext(context.WithoutCancel(ctx), "umount", path).CombinedOutput()
			if err != nil {
				return fmt.Errorf("unmount %s: %w: %s", path, err, said)
			}
			return nil
		})
	}
	starting, started := context.WithTimeout(ctx, 5*time.Minute)
	defer started()
	g, err = open(starting, dir, log)
	if err != nil {
		return nil, errors.Join(err, undo())
	}
	// First in the list: closed last, when nothing is open on the disks any more.
	g.closers = append([]func() error{undo}, g.closers...)
	g.disks = true
	return g, nil
}

// fill leaves a server's disk no free byte; free gives it back.
func (w *world) fill(name string) (free func() error, err error) {
	path := filepath.Join(w.ground.dir, name, "filler")
	file, err := os.Create(path)
	if err != nil {
		return nil, fmt.Errorf("fill the disk of %s: %w", name, err)
	}
	free = func() error {
		if err := os.Remove(path); err != nil && !errors.Is(err, os.ErrNotExist) {
			return fmt.Errorf("free the disk of %s: %w", name, err)
		}
		return nil
	}
	w.endings = append(w.endings, free)
	for size := 1 << 20; size > 0; size /= 2 {
		piece := make([]byte, size)
		for err == nil {
			_, err = file.Write(piece)
		}
		if !errors.Is(err, syscall.ENOSPC) {
			break
		}
		err = nil
	}
	if err = errors.Join(err, file.Close()); err != nil {
		return nil, fmt.Errorf("fill the disk of %s: %w", name, err)
	}
	return free, nil
}

// disksFull fills the servers' disks, one after the other, and frees them again.
func disksFull(w *world) error {
	if !w.disks {
		w.note("no disk could be mounted: Redis cannot save and answers MISCONF, ClickHouse is told to keep more free than there is; " +
			"a broker whose disk is full ends, which is fault 16")
		return refusing(w)
	}
	if err := w.busy(); err != nil {
		return err
	}
	for _, x := range []struct {
		server, service, word string
		goesOn                progress
	}{
		{"clickhouse", "warehouse", "space", w.committed("warehouse")},
		{"redis", "joiner", "MISCONF", w.stored},
	} {
		free, err := w.fill(x.server)
		if err != nil {
			return err
		}
		if err := w.saysTrouble(x.service, x.word); err != nil {
			return err
		}
		if err := w.pause(3 * time.Second); err != nil {
			return err
		}
		if err := free(); err != nil {
			return err
		}
		if err := w.recovery(x.service, x.goesOn); err != nil {
			return err
		}
	}
	if err := w.mend(); err != nil {
		return err
	}
	return w.fillBroker()
}

// mend does what the runbook asks for after ClickHouse's disk was full: a merge of then
// may have left a part that nothing can read.
func (w *world) mend() error {
	if err := w.halt("warehouse"); err != nil {
		return err
	}
	damaged, err := w.warehouse.Damaged(w.ctx, nil)
	if err != nil {
		return err
	}
	if err := w.warehouse.LoadAgain(w.ctx, damaged); err != nil {
		return err
	}
	w.note("ClickHouse had %d damaged parts; they were put aside as by settlewatch mend", len(damaged))
	return w.resume("warehouse")
}

// fillBroker: a broker that cannot write its log ends. It is started again when there
// is room.
func (w *world) fillBroker() error {
	w.trickle(0.95, rate) // it must have something to write
	free, err := w.fill("kafka")
	if err != nil {
		return err
	}
	if err := w.until("the broker has ended, for it cannot write", func() (bool, error) {
		select {
		case <-w.kafka.Done():
			return true, nil
		default:
			return false, nil
		}
	}); err != nil {
		return err
	}
	if err := w.pause(3 * time.Second); err != nil {
		return err
	}
	if err := free(); err != nil {
		return err
	}
	again, err := servers.StartKafka(w.ctx, w.kafkaOptions)
	if err != nil {
		return err
	}
	w.ground.kafka = again
	w.trickle(1, rate)
	all := w.every()
	return w.recoverBeyond("all partitions", all, int64(topic.PaymentLog.Partitions)-1)
}

// refusing stands in where no disk can be had: Redis and ClickHouse are made to refuse
// what they could keep.
func refusing(w *world) error {
	if err := w.busy(); err != nil {
		return err
	}
	tables := []string{"events", "payments", "alert_revisions"}
	for _, t := range tables {
		if _, err := w.sql(w.ctx, "ALTER TABLE settlewatch."+t+" MODIFY SETTING min_free_disk_bytes_to_perform_insert = 1125899906842624"); err != nil {
			return err
		}
	}
	// A folder that is gone is as good as a disk that is full: the snapshot fails.
	gone := filepath.Join(w.dir, "gone")
	if err := os.MkdirAll(gone, 0o755); err != nil {
		return fmt.Errorf("make a folder: %w", err)
	}
	for _, words := range [][]string{{"CONFIG", "SET", "dir", gone}, {"CONFIG", "SET", "stop-writes-on-bgsave-error", "yes"}, {"CONFIG", "SET", "save", "1 1"}} {
		if _, err := ask(w.ctx, w.redis.Addr(), words...); err != nil {
			return err
		}
	}
	restore := func() error {
		_, err := ask(w.ctx, w.redis.Addr(), "CONFIG", "SET", "dir", w.redisOptions.Dir)
		_, unset := ask(w.ctx, w.redis.Addr(), "CONFIG", "SET", "save", "")
		return errors.Join(err, unset)
	}
	w.endings = append(w.endings, restore)
	if err := os.RemoveAll(gone); err != nil {
		return fmt.Errorf("remove a folder: %w", err)
	}
	if _, err := ask(w.ctx, w.redis.Addr(), "BGSAVE"); err != nil {
		return err
	}
	if err := w.saysTrouble("joiner", "MISCONF"); err != nil {
		return err
	}
	if err := w.saysTrouble("warehouse", "free space"); err != nil {
		return err
	}
	if err := restore(); err != nil {
		return err
	}
	// A save that succeeds lets Redis take writes again.
	if _, err := ask(w.ctx, w.redis.Addr(), "BGSAVE"); err != nil {
		return err
	}
	for _, t := range tables {
		if _, err := w.sql(w.ctx, "ALTER TABLE settlewatch."+t+" RESET SETTING min_free_disk_bytes_to_perform_insert"); err != nil {
			return err
		}
	}
	if err := w.recovery("joiner", w.stored); err != nil {
		return err
	}
	return w.recovery("warehouse", w.committed("warehouse"))
}
