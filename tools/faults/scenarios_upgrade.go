package faults

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"settlewatch/pipelines/join"
	"settlewatch/schemas/topic"
	"settlewatch/tools/demo"
)

var upgradeScenarios = []Scenario{
	{
		Number: 28, Name: "disks full: Redis, ClickHouse", Holds: []string{i7, i1}, inject: disksFull, Scale: "for about 12 s",
		Instead: "without a disk of its own to fill: Redis cannot save and answers MISCONF, ClickHouse is told to keep more free than there is " +
			"and answers NOT_ENOUGH_SPACE; a broker whose disk is full ends, which is fault 16",
	},
	{
		Number: 33, Name: "rolling upgrade, state of a newer version", Holds: []string{i1}, inject: rollingUpgrade,
		Instead: "there is one version of the state so far: every service is replaced in its turn under load, and one partition's state is " +
			"marked as of a newer version, which this one must leave alone until it is taken back",
	},
}

const newerFormat = join.StateFormat + 1000

// disksFull has Redis and ClickHouse refuse what they cannot keep.
func disksFull(w *world) error {
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

// rollingUpgrade replaces every service in its turn, with a second joiner beside, and
// then shows a state to this version that only a newer one can read.
func rollingUpgrade(w *world) error {
	second, err := w.second("joiner-2")
	if err != nil {
		return err
	}
	if err := w.feed(0.2); err != nil {
		return err
	}
	w.trickle(0.6, rate)
	for _, name := range demo.Services {
		if err := w.halt(name); err != nil {
			return err
		}
		if err := w.resume(name); err != nil {
			return err
		}
		if err := w.pause(500 * time.Millisecond); err != nil {
			return err
		}
	}
	if err := second.Stop(); err != nil {
		return err
	}
	if err := w.halt("joiner"); err != nil {
		return err
	}
	if err := w.remark(join.StateFormat, newerFormat); err != nil {
		return err
	}
	if err := w.resume("joiner"); err != nil {
		return err
	}
	w.trickle(0.8, rate)
	if err := w.saysTrouble("joiner", "newer_state"); err != nil {
		return err
	}
	place, err := w.storedPlace(0)
	if err != nil {
		return err
	}
	others := w.every()
	if err := w.until("the other partitions go on", func() (bool, error) {
		n, err := others()
		return n >= int64(topic.PaymentLog.Partitions)-1, err
	}); err != nil {
		return err
	}
	if now, err := w.storedPlace(0); err != nil || now != place {
		return errors.Join(fmt.Errorf("partition 0 went from %v to %v", place, now), err)
	}
	if err := w.halt("joiner"); err != nil {
		return err
	}
	if err := w.remark(newerFormat, join.StateFormat); err != nil {
		return err
	}
	if err := w.resume("joiner"); err != nil {
		return err
	}
	all := w.every()
	return w.recoverBeyond("all partitions", all, int64(topic.PaymentLog.Partitions)-1)
}

// remark changes the format that partition 0's state says it has.
func (w *world) remark(fromFormat, toFormat int) error {
	from, to := fmt.Sprintf(`"format":%d,`, fromFormat), fmt.Sprintf(`"format":%d,`, toFormat)
	meta, err := ask(w.ctx, w.redis.Addr(), "HGET", metaKey(0), "meta")
	if err != nil {
		return err
	}
	if !strings.Contains(meta, from) {
		return fmt.Errorf("the state of partition 0 does not say %s: %.60q", from, meta)
	}
	_, err = ask(w.ctx, w.redis.Addr(), "HSET", metaKey(0), "meta", strings.Replace(meta, from, to, 1))
	return err
}
