package faults

import (
	"fmt"
	"regexp"
	"strconv"
	"strings"
	"time"

	"settlewatch/pipelines/oracle/invariant"
	"settlewatch/pipelines/servers/outsider"
	"settlewatch/pipelines/stage"
	"settlewatch/schemas/topic"
)

// checkpointEvery of the scenarios that are about checkpoints.
const checkpointEvery = 10 * time.Second

var recoveryScenarios = []Scenario{
	{
		Number: 10, Name: "Redis FLUSHALL under load, without checkpoints: the whole log again", Holds: []string{i1, i2, i4, i6},
		traffic: larger(20), env: checkpointsEvery(0), inject: wipe, patience: longPatience, mostSeconds: 120,
	},
	{
		Number: 10, Name: "Redis FLUSHALL under load, log cut by retention: checkpoint and log", Holds: []string{i1, i2, i4, i6},
		traffic: larger(20), env: checkpointsEvery(checkpointEvery), inject: wipeBehindCut,
		Scale: "a checkpoint every 10 s instead of 10 min",
	},
	{
		Number: 18, Name: "Redis FLUSHALL, log cut by retention beyond the last checkpoint", Holds: []string{i7},
		env: checkpointsEvery(checkpointEvery), inject: cutBeyondCheckpoint, Scale: "a checkpoint every 10 s instead of 10 min",
	},
}

// replayLeast: of fewer records a time per million would be that of noticing the loss.
const replayLeast = 10_000

func checkpointsEvery(every time.Duration) func(string) []string {
	return func(string) []string { return []string{"SETTLEWATCH_CHECKPOINT_EVERY=" + every.String()} }
}

// wipe empties Redis under load when there is much log and nothing else to come back from.
func wipe(w *world) error {
	w.feeder.inBulk()
	if err := w.feed(0.8); err != nil {
		return err
	}
	if err := w.drained("authorization", "capture", "settlement", "joiner"); err != nil {
		return err
	}
	w.trickle(0.95, 5*rate)
	from := map[int32]int64{} // every partition begins at its first record again
	if err := w.wipeAndReturn(from); err != nil {
		return err
	}
	if n := len(w.restored()); n > 0 {
		return fmt.Errorf("%d partitions came back from checkpoints that nobody should have made", n)
	}
	return nil
}

// wipeAndReturn empties Redis while the joiner is at work, and measures until every
// partition is beyond where it was. from, by partition, is where the fold begins again;
// a partition that it lacks begins at 0. Where from is nil the joiner's log says it.
func (w *world) wipeAndReturn(from map[int32]int64) error {
	working := w.every()
	if err := w.until("the joiner is at work", func() (bool, error) {
		n, err := working()
		return n == int64(topic.PaymentLog.Partitions), err
	}); err != nil {
		return err
	}
	w.expects.rolledBack = true
	before := map[int32]int64{}
	for p := range int32(topic.PaymentLog.Partitions) {
		place, err := w.storedPlace(p)
		if err != nil {
			return err
		}
		before[p] = place.Offset
	}
	all := w.every()
	began := time.Now()
	if _, err := ask(w.ctx, w.redis.Addr(), "FLUSHALL"); err != nil {
		return err
	}
	if err := w.recoverBeyond("all partitions", all, int64(topic.PaymentLog.Partitions)-1); err != nil {
		return err
	}
	r := replay{seconds: time.Since(began).Seconds()}
	if from == nil {
		from = w.restored()
	}
	for p, offset := range before {
		r.records += offset - from[p]
	}
	if r.records >= replayLeast {
		w.replayed = append(w.replayed, r)
	}
	w.note("%d records of the log folded again, back after %.1f s", r.records, r.seconds)
	return nil
}

// drained waits until services have worked off all that is there.
func (w *world) drained(services ...string) error {
	return w.until(strings.Join(services, ", ")+" have worked off what there is", func() (bool, error) {
		for _, name := range services {
			if n, err := w.lag(name); n > 0 || err != nil {
				return false, err
			}
		}
		return true, nil
	})
}

var (
	restoredLine = regexp.MustCompile(`restored from a checkpoint" .*partition=(\d+) offset=(\d+)`)
	keptLine     = regexp.MustCompile(`checkpoint made" .*partition=(\d+) offset=(\d+)`)
)

// restored says for each partition at which offset the joiner took up a checkpoint
// last, and kept up to where the newest checkpoint goes. Both are the joiner's words.
func (w *world) restored() map[int32]int64 { return offsets(w.log("joiner"), restoredLine) }
func (w *world) kept() map[int32]int64     { return offsets(w.log("joiner"), keptLine) }

func offsets(log string, line *regexp.Regexp) map[int32]int64 {
	last := map[int32]int64{}
	for _, m := range line.FindAllStringSubmatch(log, -1) {
		partition, _ := strconv.ParseInt(m[1], 10, 32) // digits, says the expression
		last[int32(partition)], _ = strconv.ParseInt(m[2], 10, 64)
	}
	return last
}

// everythingKept feeds a part and waits until checkpoints hold all of the log, which
// then stands still: the ingest services are halted.
func (w *world) everythingKept(share float64) error {
	if err := w.feed(share); err != nil {
		return err
	}
	ingests := []string{"authorization", "capture", "settlement"}
	if err := w.drained(append(ingests, "joiner", "warehouse")...); err != nil {
		return err
	}
	if err := w.halt(ingests...); err != nil {
		return err
	}
	// They may have said a last word.
	if err := w.drained("joiner", "warehouse"); err != nil {
		return err
	}
	return w.until("the checkpoints hold all of the log", func() (bool, error) {
		kept := w.kept()
		for p := range int32(topic.PaymentLog.Partitions) {
			_, end, err := w.bus.Bounds(w.ctx, topic.PaymentLog.Name, p)
			if err != nil || kept[p] < end {
				return false, err
			}
		}
		return true, nil
	})
}

// aheadOfCheckpoints waits until the state is that many records beyond the newest
// checkpoints, so that there is something to fold again.
func (w *world) aheadOfCheckpoints(records int64) error {
	return w.until("the state is ahead of the checkpoints", func() (bool, error) {
		ahead, err := w.stored()
		for _, offset := range w.kept() {
			ahead -= offset
		}
		return ahead >= records, err
	})
}

// retain has the broker's retention remove everything that the log holds now, and
// waits until it has; cut is asked for each partition whether enough is gone.
func (w *world) retain(gone func(partition int32, first, end int64) bool) error {
	o := outsider.New(w.kafka.Addr())
	for _, property := range [][2]string{{"segment.ms", "100"}, {"retention.ms", "100"}} {
		if err := o.Configure(w.ctx, topic.PaymentLog.Name, property[0], property[1]); err != nil {
			return err
		}
	}
	if err := w.until("retention has cut the log", func() (bool, error) {
		for p := range int32(topic.PaymentLog.Partitions) {
			first, end, err := w.bus.Bounds(w.ctx, topic.PaymentLog.Name, p)
			if err != nil || !gone(p, first, end) {
				return false, err
			}
		}
		return true, nil
	}); err != nil {
		return err
	}
	return o.Configure(w.ctx, topic.PaymentLog.Name, "retention.ms", "-1")
}

// wipeBehindCut has only checkpoints and the log behind them to come back from.
func wipeBehindCut(w *world) error {
	if err := w.everythingKept(0.5); err != nil {
		return err
	}
	// The checks are about all of the log; they keep what the broker will not.
	w.cut = map[int32][]stage.Record{}
	for p := range int32(topic.PaymentLog.Partitions) {
		records, err := w.records(topic.PaymentLog.Name, p)
		if err != nil {
			return err
		}
		w.cut[p] = records
	}
	if err := w.retain(func(_ int32, first, end int64) bool { return first == end }); err != nil {
		return err
	}
	if err := w.resume("authorization", "capture", "settlement"); err != nil {
		return err
	}
	w.feeder.inBulk()
	w.trickle(0.95, 0)
	if err := w.aheadOfCheckpoints(2 * replayLeast); err != nil {
		return err
	}
	if err := w.wipeAndReturn(nil); err != nil {
		return err
	}
	restored := w.restored()
	for p, records := range w.cut {
		at, from := restored[p]
		if first := records[len(records)-1].Offset + 1; !from || at < first {
			w.found = append(w.found, invariant.Violation{
				Invariant: i1, Place: fmt.Sprintf("%s/%d", topic.PaymentLog.Name, p),
				What: fmt.Sprintf("it came back from offset %d (checkpoint: %t), the log begins at %d", at, from, first),
			})
		}
	}
	w.note("the first %d records of the log were gone", len(w.cut[0])+len(w.cut[1])+len(w.cut[2])+len(w.cut[3]))
	return nil
}

// cutBeyondCheckpoint leaves a gap between the newest checkpoints and the log.
func cutBeyondCheckpoint(w *world) error {
	if err := w.everythingKept(0.4); err != nil {
		return err
	}
	if err := w.halt("joiner"); err != nil {
		return err
	}
	kept := w.kept()
	if err := w.resume("authorization", "capture", "settlement"); err != nil {
		return err
	}
	if err := w.feed(0.7); err != nil {
		return err
	}
	if err := w.drained("authorization", "capture", "settlement"); err != nil {
		return err
	}
	w.trickle(1, rate)
	if err := w.retain(func(p int32, first, _ int64) bool { return first > kept[p] }); err != nil {
		return err
	}
	if _, err := ask(w.ctx, w.redis.Addr(), "FLUSHALL"); err != nil {
		return err
	}
	if err := w.resume("joiner"); err != nil {
		return err
	}
	if err := w.refuses("joiner", "log_changed"); err != nil {
		return err
	}
	if !strings.Contains(w.log("joiner"), "take up the checkpoint at offset") {
		w.found = append(w.found, invariant.Violation{Invariant: i7, Place: "joiner", What: "it does not say that the checkpoint is too old for the log"})
	}
	return nil
}
