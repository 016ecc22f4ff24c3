package faults

import (
	"fmt"
	"iter"
	"math/rand/v2"
	"slices"
	"strings"
	"time"

	"settlewatch/pipelines/oracle/invariant"
	"settlewatch/pipelines/stage"
	"settlewatch/schemas/topic"
	"settlewatch/tools/traffic"
)

var feedScenarios = []Scenario{
	{Number: 24, Name: "30 % duplicates; a changed payload under the same id", Holds: []string{i1}, Quick: true, order: duplicates, inject: conflicts},
	{Number: 25, Name: "feeds read in any order", Holds: []string{i1, i2}, Quick: true, order: shuffled, inject: undisturbed},
	{Number: 26, Name: "poison", Holds: []string{i5}, inject: poison},
	{
		Number: 27, Name: "clocks an hour ahead and behind, other local zones", Holds: []string{i2}, env: skewed, inject: undisturbed,
		Scale: "the marks are played; the next one has clocks that make them",
	},
}

// undisturbed feeds everything; the fault is in what is fed, or in the settings.
func undisturbed(w *world) error {
	began := time.Now()
	if err := w.feed(1); err != nil {
		return err
	}
	if err := w.settle(); err != nil {
		return err
	}
	w.note("%d raw records in %.1f s", w.feeder.fed(), time.Since(began).Seconds())
	return nil
}

// duplicates writes three of ten records twice: at once, or much later.
func duplicates(w *world, records iter.Seq[traffic.Record]) iter.Seq[traffic.Record] {
	seed := w.options.Seed
	w.expects.moreLetters = true
	return func(yield func(traffic.Record) bool) {
		dice := rand.New(rand.NewPCG(seed, 24))
		var later []traffic.Record
		for r := range records {
			if !yield(r) {
				return
			}
			if r.IsMark() {
				continue
			}
			if dice.IntN(10) < 3 {
				later = append(later, r)
			}
			if len(later) > 0 && dice.IntN(4) == 0 {
				i := dice.IntN(len(later))
				again := later[i]
				later = slices.Delete(later, i, i+1)
				// It arrives now, as whoever repeats it sends it.
				again.TimeMs, again.WriteMs = r.TimeMs, r.WriteMs
				if !yield(again) {
					return
				}
			}
		}
	}
}

// conflicts makes sure that the changed payloads, which the traffic plants, are told.
func conflicts(w *world) error {
	if err := undisturbed(w); err != nil {
		return err
	}
	s, err := w.read()
	if err != nil {
		return err
	}
	var told, repeats uint32
	for _, p := range s.payments {
		told, repeats = max(told, p.Conflicts), max(repeats, p.Repeats)
	}
	if told == 0 || repeats == 0 {
		w.found = append(w.found, invariant.Violation{
			Invariant: i1, Place: topic.Payments.Name, What: fmt.Sprintf("conflicts up to %d, repeats up to %d: want some of both told", told, repeats),
		})
	}
	return nil
}

// shuffled writes each raw partition in its own order and chooses between them at
// random, in long runs: most settlements come before their authorizations.
func shuffled(w *world, records iter.Seq[traffic.Record]) iter.Seq[traffic.Record] {
	seed := w.options.Seed
	return func(yield func(traffic.Record) bool) {
		dice := rand.New(rand.NewPCG(seed, 25))
		type place struct {
			topic     string
			partition int32
		}
		queues := map[place][]traffic.Record{}
		var places []place
		for r := range records {
			at := place{r.Topic, r.Partition}
			if queues[at] == nil {
				places = append(places, at)
			}
			queues[at] = append(queues[at], r)
		}
		for len(places) > 0 {
			i := dice.IntN(len(places))
			queue := queues[places[i]]
			n := min(len(queue), 1+dice.IntN(2000))
			for _, r := range queue[:n] {
				if !yield(r) {
					return
				}
			}
			if queues[places[i]] = queue[n:]; n == len(queue) {
				places = slices.Delete(places, i, i+1)
			}
		}
	}
}

// poison sends what no intake should choke on, between the traffic.
func poison(w *world) error {
	if err := w.busy(); err != nil {
		return err
	}
	w.expects.moreAlerts, w.expects.moreLetters = true, true
	at := w.traffic.StartMs() + 3*24*time.Hour.Milliseconds()
	good := map[string]string{}
	for r := range w.traffic.Records() {
		if !r.IsMark() && len(r.Value) > 100 && good[r.Topic] == "" {
			good[r.Topic] = string(r.Value)
		}
	}
	for _, t := range []topic.Topic{topic.RawAuthorization, topic.RawCapture, topic.RawSettlement} {
		bodies := []string{
			"", "{", "[]", "null", "\x00", "\xff\xfe", strings.Repeat("x", 1_000_000), strings.Repeat("[", 100_000),
			`{"amount":` + strings.Repeat("9", 400) + `}`, good[t.Name] + good[t.Name],
			strings.ReplaceAll(good[t.Name], "2025-", "9999-"), inFields(good[t.Name], "9223372036854775807"), inFields(good[t.Name], "9223372036854775808"),
			inFields(good[t.Name], "-9223372036854775808"), inFields(good[t.Name], "-1"), strings.ReplaceAll(good[t.Name], `":"`, "\":\"\x00"),
		}
		for i, body := range bodies {
			if err := w.bus.Append(w.ctx, stage.Outgoing{Topic: t.Name, Partition: int32(i % t.Partitions), Records: []stage.Record{{
				Key: []byte("poison"), Value: []byte(body), TimeMs: at,
			}}}); err != nil {
				return err
			}
		}
	}
	// And one that is no record of ours in the payment log itself.
	for p := range int32(topic.PaymentLog.Partitions) {
		if err := w.bus.Append(w.ctx, stage.Outgoing{Topic: topic.PaymentLog.Name, Partition: p, Records: []stage.Record{{Value: []byte("not ours"), TimeMs: at}}}); err != nil {
			return err
		}
	}
	return w.recovery("joiner", w.stored)
}

// inFields puts another number into every amount of a record.
func inFields(record, number string) string {
	for _, field := range []string{"amount_minor", "gross_minor", "net_minor"} {
		record = strings.ReplaceAll(record, `"`+field+`":`, `"`+field+`":`+number+`,"was_`+field+`":`)
	}
	return record
}

// skewed gives every service another clock and another local zone.
func skewed(service string) []string {
	offsets := map[string]string{"authorization": "1h", "capture": "-1h", "settlement": "30m", "joiner": "-45m", "warehouse": "1h"}
	zones := map[string]string{
		"authorization": "America/New_York", "capture": "Australia/Lord_Howe", "settlement": "Asia/Kathmandu",
		"joiner": "Europe/London", "warehouse": "Pacific/Apia",
	}
	return []string{"SETTLEWATCH_CLOCK_OFFSET=" + offsets[service], "TZ=" + zones[service]}
}
