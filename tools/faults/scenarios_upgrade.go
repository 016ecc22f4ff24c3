package faults

import (
	"errors"
	"fmt"
	"strings"
	"time"

	"settlewatch/pipelines/join"
	"settlewatch/schemas/topic"
	"settlewatch/tools/demo"
)

var upgradeScenarios = []Scenario{
	{
		Number: 33, Name: "rolling upgrade, state of a newer version", Holds: []string{i1}, inject: rollingUpgrade,
		Instead: "there is one version of the state so far: every service is replaced in its turn under load, and one partition's state is " +
			"marked as of a newer version, which this one must leave alone until it is taken back",
	},
}

const newerFormat = join.StateFormat + 1000

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
