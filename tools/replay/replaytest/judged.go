package replaytest

import (
	"testing"
	"time"

	"google.golang.org/protobuf/proto"

	"settlewatch/pipelines/join"
	"settlewatch/pipelines/stage"
	"settlewatch/schemas/event"
	"settlewatch/schemas/payment"
	"settlewatch/schemas/topic"
	"settlewatch/tools/replay"
)

// Judged folds the payment log up to its present end and then marks every expected
// source once more, so that all that has arrived is judged: what leaves is the last
// judgement of every payment. config stands before the log's first record; nil where
// the log has its own.
func Judged(t testing.TB, log stage.Log, config *event.Config) map[event.PaymentKey]*payment.Payment {
	t.Helper()
	n, err := log.Partitions(t.Context(), topic.PaymentLog.Name)
	if err != nil {
		t.Fatal(err)
	}
	judged := map[event.PaymentKey]*payment.Payment{}
	for p := range int32(n) {
		state, out := join.New(), new(join.Output)
		keep := func() {
			for _, each := range out.Payments {
				judged[event.PaymentKey(each.PaymentKey)] = proto.CloneOf(each)
			}
			out.Reset()
		}
		step := func(r *event.LogRecord) {
			if err := state.Step(r, out); err != nil {
				t.Fatal(err)
			}
			keep()
		}
		if config != nil {
			step(&event.LogRecord{
				Origin: &event.Origin{Source: "config/config.v1/0/config@1"}, Body: &event.LogRecord_Config{Config: config},
			})
		}
		lastMs := int64(0)
		fold := func(r *stage.Record) error {
			lastMs = max(lastMs, r.TimeMs)
			err := state.Fold(r.Value, out)
			keep()
			return err
		}
		_, end, err := replay.Bounds(t.Context(), log, topic.PaymentLog.Name, p)
		if err == nil {
			err = replay.Records(t.Context(), log, topic.PaymentLog.Name, p, 0, end, fold)
		}
		if err != nil {
			t.Fatal(err)
		}
		for _, each := range state.SourceMarks() {
			lastMs = max(lastMs, each.TMs)
		}
		for _, each := range state.SourceMarks() {
			step(&event.LogRecord{
				Origin: &event.Origin{Source: each.Source}, Body: &event.LogRecord_Mark{Mark: &event.Mark{TMs: lastMs + time.Hour.Milliseconds()}},
			})
		}
		for state.Pending() {
			if err := state.Drain(out); err != nil {
				t.Fatal(err)
			}
			keep()
		}
	}
	return judged
}
