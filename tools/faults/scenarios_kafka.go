package faults

import (
	"context"
	"fmt"
	"strings"
	"time"

	"settlewatch/pipelines/oracle/invariant"
	"settlewatch/pipelines/servers"
	"settlewatch/pipelines/servers/outsider"
	"settlewatch/schemas/topic"
	"settlewatch/tools/demo"
)

var kafkaScenarios = []Scenario{
	{Number: 16, Name: "broker killed mid-produce and started again", Holds: []string{i2, i4}, inject: restartBroker},
	{Number: 17, Name: "payment log made anew below the stored position", Holds: []string{i7}, Quick: true, inject: logMadeAnew},
	{Number: 18, Name: "retention passes the stored position", Holds: []string{i7}, inject: retention},
	{Number: 19, Name: "partitions added to the payment log", Holds: []string{i7}, inject: morePartitions},
	{Number: 20, Name: "consumer groups deleted", Holds: []string{i1, i3}, inject: groupsDeleted},
	{Number: 32, Name: "aborted transactions on a raw topic", Holds: []string{i1}, Quick: true, inject: abortedTransactions},
}

// restartBroker kills the broker under load. Its time to start is its own; what is
// measured is from then on.
func restartBroker(w *world) error {
	if err := w.busy(); err != nil {
		return err
	}
	if err := w.kafka.Kill(); err != nil {
		return err
	}
	began := time.Now()
	again, err := servers.StartKafka(w.ctx, w.kafkaOptions)
	if err != nil {
		return err
	}
	w.ground.kafka = again
	w.note("the broker was away for %.1f s", time.Since(began).Seconds())
	all := w.every()
	return w.recoverBeyond("all partitions", all, int64(topic.PaymentLog.Partitions)-1)
}

// halt stops services in good order, all of them where none is named.
func (w *world) halt(names ...string) error {
	if len(names) == 0 {
		names = demo.Services
	}
	for _, name := range names {
		if err := w.supervisor.Halt(name); err != nil {
			return err
		}
	}
	return nil
}

func (w *world) resume(names ...string) error {
	if len(names) == 0 {
		names = demo.Services
	}
	for _, name := range names {
		if err := w.supervisor.Resume(name); err != nil {
			return err
		}
	}
	return nil
}

// refuses holds the service to it that it does not go on, says why in its health
// and its log, and publishes nothing.
func (w *world) refuses(service, reason string) error {
	w.expects.refused = true
	before, err := w.published()
	if err != nil {
		return err
	}
	began := time.Now()
	said := ""
	err = w.until(service+" refuses", func() (bool, error) {
		text, ok := w.verdict(w.ctx, service, "/readyz")
		said = text
		return !ok && strings.Contains(text, reason), nil
	})
	if err == nil {
		w.measured = append(w.measured, measurement{service + " says that it refuses", time.Since(began).Seconds()})
	}
	// Whatever it would do wrong it has the time to do.
	if err := w.pause(2 * time.Second); err != nil {
		return err
	}
	after, failed := w.published()
	if failed != nil {
		return failed
	}
	says := func(text string) bool {
		return strings.Contains(text, reason) && strings.Contains(w.log(service), "refused")
	}
	w.found = append(w.found, invariant.Refuses(service, err == nil, said, says, int(after-before))...)
	return nil
}

// published counts the records of the alert topics.
func (w *world) published() (sum int64, err error) {
	for _, t := range []topic.Topic{topic.AlertsPaidUnsettled, topic.AlertsSettledTwice} {
		for p := range int32(t.Partitions) {
			_, end, err := w.bus.Bounds(w.ctx, t.Name, p)
			if err != nil {
				return 0, err
			}
			sum += end
		}
	}
	return sum, nil
}

// logMadeAnew deletes the payment log and makes it again under its name. The ingest
// services fill it from where they are; the state speaks of another log.
func logMadeAnew(w *world) error {
	if err := w.busy(); err != nil {
		return err
	}
	if err := w.halt(); err != nil {
		return err
	}
	if err := w.bus.RemoveTopics(w.ctx, []string{topic.PaymentLog.Name}); err != nil {
		return err
	}
	if err := w.bus.CreateTopics(w.ctx, []topic.Topic{topic.PaymentLog}, 1); err != nil {
		return err
	}
	if err := w.resume(); err != nil {
		return err
	}
	w.trickle(1, rate)
	if err := w.refuses("joiner", "log_changed"); err != nil {
		return err
	}
	return w.refuses("warehouse", "topic_changed")
}

// retention lets the broker remove what the joiner has not read yet.
func retention(w *world) error {
	if err := w.busy(); err != nil {
		return err
	}
	if err := w.halt("joiner"); err != nil {
		return err
	}
	o := outsider.New(w.kafka.Addr())
	for _, property := range [][2]string{{"segment.ms", "100"}, {"retention.ms", "100"}} {
		if err := o.Configure(w.ctx, topic.PaymentLog.Name, property[0], property[1]); err != nil {
			return err
		}
	}
	w.trickle(1, rate)
	if err := w.until("the log begins beyond the state", func() (bool, error) {
		for p := range int32(topic.PaymentLog.Partitions) {
			place, err := w.storedPlace(p)
			if err != nil {
				return false, err
			}
			first, _, err := w.bus.Bounds(w.ctx, topic.PaymentLog.Name, p)
			if err != nil || first <= place.Offset {
				return false, err
			}
		}
		return true, nil
	}); err != nil {
		return err
	}
	if err := w.resume("joiner"); err != nil {
		return err
	}
	return w.refuses("joiner", "log_changed")
}

// morePartitions adds a partition to the payment log: payments would change places.
func morePartitions(w *world) error {
	if err := w.busy(); err != nil {
		return err
	}
	if err := w.halt("joiner"); err != nil {
		return err
	}
	if err := outsider.New(w.kafka.Addr()).AddPartitions(w.ctx, topic.PaymentLog.Name, topic.PaymentLog.Partitions+1); err != nil {
		return err
	}
	if err := w.resume("joiner"); err != nil {
		return err
	}
	return w.refuses("joiner", "partitions_changed")
}

// groupsDeleted takes the committed offsets of all groups away, under services that
// are stopped for the moment that it takes: a broker deletes no group with members.
func groupsDeleted(w *world) error {
	if err := w.busy(); err != nil {
		return err
	}
	if err := w.halt(); err != nil {
		return err
	}
	if err := w.bus.RemoveGroups(w.ctx, groups()); err != nil {
		return err
	}
	if err := w.resume(); err != nil {
		return err
	}
	return w.recovery("joiner", w.stored)
}

// abortedTransactions writes good records in transactions that are aborted, between
// the traffic. Not one of them happened.
func abortedTransactions(w *world) error {
	if err := w.feed(0.3); err != nil {
		return err
	}
	o := outsider.New(w.kafka.Addr())
	var records []outsider.Record
	for r := range w.traffic.Records() {
		if r.IsMark() || r.Topic != topic.RawSettlement.Name || len(records) == 50 {
			continue
		}
		// Lines that exist, each of another name: settled twice, if they were read.
		value := strings.Replace(string(r.Value), `"line_id":"`, `"line_id":"aborted-`, 1)
		records = append(records, outsider.Record{Key: r.Key, Value: []byte(value), TimeMs: r.TimeMs})
	}
	for n := range 4 {
		ctx, cancel := context.WithTimeout(w.ctx, time.Minute)
		err := o.Transaction(ctx, fmt.Sprintf("faults-%d", n), topic.RawSettlement.Name, n%topic.RawSettlement.Partitions, records, false)
		cancel()
		if err != nil {
			return err
		}
		if err := w.feed(0.3 + 0.1*float64(n+1)); err != nil {
			return err
		}
	}
	w.note("%d records in 4 aborted transactions", 4*len(records))
	w.trickle(0.85, rate)
	return w.recovery("settlement", w.committed("settlement"))
}
