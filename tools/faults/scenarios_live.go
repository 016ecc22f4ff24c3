package faults

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"settlewatch/pipelines/oracle/invariant"
	"settlewatch/schemas/alert"
	"settlewatch/schemas/event"
	"settlewatch/schemas/ruleset"
	"settlewatch/services/boot"
	"settlewatch/tools/livefeed"
)

// The live scenarios have traffic of the present and marks by the services' clocks.
const (
	livePayments = 900
	livePerS     = 60
	// heldAfter is how old the frontier may be before somebody is told: rules.yaml has
	// 15 minutes.
	heldAfter = 8 * time.Second
)

var liveScenarios = []Scenario{
	{
		Number: 27, Name: "live marks by clocks ahead and behind, one of them set back and right again", Holds: []string{i2, i1}, live: true,
		env: liveSkew, inject: clockSetBack,
		Scale: "ingest clocks up to 40 s ahead, for the log refuses marks from more than 60 s ahead; one set back by an hour for 6 s, and then set two minutes ahead",
	},
	{Number: 31, Name: "settlement ingest down, the others live", Holds: []string{i7, i2}, inject: settlementDown},
	{
		Number: 31, Name: "settlement ingest down, live marks: one pipeline alert, and its end", Holds: []string{i7, i2}, live: true, inject: liveSettlementDown,
		Scale: "told after 8 s instead of 15 min (SettlewatchFrontierHeld)",
	},
}

// liveConfig expects the traffic's sources with marks by the clock, in one group.
func (w *world) liveConfig(abilities ruleset.Abilities) *event.Config {
	sources := w.traffic.Sources(boot.Profile, boot.ProfileVersion)
	for _, s := range sources {
		s.Clock = event.Clock_CLOCK_LIVE
	}
	return ruleset.Default(abilities, sources...)
}

// liven feeds traffic of the present beside what follows; wait returns what was
// planted when all stories are told.
func (w *world) liven() (wait func() (livefeed.Totals, error)) {
	type outcome struct {
		totals livefeed.Totals
		err    error
	}
	done := make(chan outcome, 1)
	ctx, stop := context.WithCancel(w.ctx)
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		totals, err := livefeed.Run(ctx, w.bus, livefeed.Options{Seed: w.options.Seed, Rate: livePerS, Payments: livePayments}, func(livefeed.Totals) {})
		done <- outcome{totals, err}
	}()
	w.endings = append(w.endings, func() error { stop(); <-ended; return nil })
	return func() (livefeed.Totals, error) {
		select {
		case o := <-done:
			return o.totals, o.err
		case <-w.ctx.Done():
			return livefeed.Totals{}, context.Cause(w.ctx)
		}
	}
}

// perKind are the alerts that a subscriber has, by kind.
func (w *world) perKind() map[alert.Kind]int {
	n := map[alert.Kind]int{}
	for _, revisions := range w.collector.Collected().Alerts {
		n[revisions[0].Kind]++
	}
	return n
}

// liveEnd waits until all stories are told and exactly the planted alerts are there,
// and lets the log come to rest: live services mark for ever.
func (w *world) liveEnd(wait func() (livefeed.Totals, error)) error {
	totals, err := wait()
	if err != nil {
		return err
	}
	if err := w.until(fmt.Sprintf("the planted alerts are there: %v", totals.Planted), func() (bool, error) {
		got := w.perKind()
		for kind, n := range totals.Planted {
			if got[kind] < n {
				return false, nil
			}
		}
		return true, nil
	}); err != nil {
		return err
	}
	ingests := []string{"authorization", "capture", "settlement"}
	if err := w.drained(ingests...); err != nil {
		return err
	}
	if err := w.halt(ingests...); err != nil {
		return err
	}
	if err := w.drained("joiner", "warehouse"); err != nil {
		return err
	}
	for kind, n := range w.perKind() {
		if n != totals.Planted[kind] {
			w.found = append(w.found, invariant.Violation{Invariant: i2, Place: string(kind), What: fmt.Sprintf("%d alerts, planted were %d", n, totals.Planted[kind])})
		}
	}
	w.note("%d live records, alerts %v", totals.Records, totals.Planted)
	return nil
}

// liveSkew has no clock behind the feeds' own: what is before the slowest clock is
// judged, and an hour is long.
func liveSkew(service string) []string {
	offset := map[string]string{"authorization": "40s", "capture": "0s", "settlement": "15s", "joiner": "-1h", "warehouse": "1h"}[service]
	return []string{"SETTLEWATCH_CLOCK_OFFSET=" + offset}
}

// clockSetBack starts the slowest service again with its clock an hour back, then two
// minutes ahead, and then right: the frontier stands meanwhile, and never goes back.
func clockSetBack(w *world) error {
	wait := w.liven()
	if err := w.untilAlertsFlow(); err != nil {
		return err
	}
	if err := w.halt("capture"); err != nil {
		return err
	}
	back, err := w.beside("capture", "capture-back", "SETTLEWATCH_CLOCK_OFFSET=-1h")
	if err != nil {
		return err
	}
	if err := w.pause(6 * time.Second); err != nil {
		return err
	}
	if err := back.Stop(); err != nil {
		return err
	}
	// Two minutes ahead is more than the log takes: it is refused, not tried for ever.
	ahead, err := w.beside("capture", "capture-ahead", "SETTLEWATCH_CLOCK_OFFSET=2m")
	if err != nil {
		return err
	}
	if err := w.until("the clock that is two minutes ahead is refused", func() (bool, error) {
		return strings.Contains(w.log("capture-ahead"), "reason=clock_ahead"), nil
	}); err != nil {
		return err
	}
	if err := ahead.Stop(); err != nil {
		return err
	}
	if err := w.resume("capture"); err != nil {
		return err
	}
	if err := w.recovery("alerts", w.alerts); err != nil {
		return err
	}
	return w.liveEnd(wait)
}

// pipelineAlerts are the feeds that are silent for longer than somebody may go without
// being told, as the joiner's metrics say.
func (w *world) pipelineAlerts() ([]string, error) {
	text, err := w.scrape("joiner")
	if err != nil {
		return nil, err
	}
	return pipelineAlerts(text, heldAfter.Seconds()), nil
}

// pipelineAlerts reads metrics as the rule SettlewatchFrontierHeld does: the feed of
// every source whose mark is older than the bound, each feed once.
func pipelineAlerts(metrics string, mostSeconds float64) (feeds []string) {
	for line := range strings.Lines(metrics) {
		name, value, _ := strings.Cut(strings.TrimSpace(line), "} ")
		if !strings.HasPrefix(name, "settlewatch_source_mark_age_seconds{") {
			continue
		}
		age, err := strconv.ParseFloat(value, 64)
		if feed, _, _ := strings.Cut(label(name, "source"), "/"); err == nil && age > mostSeconds && !slices.Contains(feeds, feed) {
			feeds = append(feeds, feed)
		}
	}
	return feeds
}

// label is the value of a label in a line of metrics.
func label(series, name string) string {
	_, rest, _ := strings.Cut(series, name+`="`)
	value, _, _ := strings.Cut(rest, `"`)
	return value
}

// liveSettlementDown: one feed is down, the others live. One thing is told of the
// pipeline, nothing of payments; when the feed is back it ends.
func liveSettlementDown(w *world) error {
	wait := w.liven()
	if err := w.untilAlertsFlow(); err != nil {
		return err
	}
	if err := w.until("no pipeline alert stands", func() (bool, error) {
		feeds, err := w.pipelineAlerts()
		return len(feeds) == 0, err
	}); err != nil {
		return err
	}
	if err := w.halt("settlement"); err != nil {
		return err
	}
	// The joiner comes to the last of its marks.
	if err := w.pause(3 * time.Second); err != nil {
		return err
	}
	before, err := w.published()
	if err != nil {
		return err
	}
	told := map[string]bool{}
	for end := time.Now().Add(2 * heldAfter); time.Now().Before(end); {
		feeds, err := w.pipelineAlerts()
		if err != nil {
			return err
		}
		for _, feed := range feeds {
			told[feed] = true
		}
		if err := w.pause(200 * time.Millisecond); err != nil {
			return err
		}
	}
	after, err := w.published()
	if err != nil {
		return err
	}
	if len(told) != 1 || !told["settlement"] {
		w.found = append(w.found, invariant.Violation{Invariant: i7, Place: "joiner", What: fmt.Sprintf("pipeline alerts for %v, want exactly one, for settlement", told)})
	}
	if after != before {
		w.found = append(w.found, invariant.Violation{
			Invariant: i2, Place: "alert topics", What: fmt.Sprintf("%d revisions while the settlement feed was down", after-before),
		})
	}
	if err := w.resume("settlement"); err != nil {
		return err
	}
	if err := w.recovery("alerts", w.alerts); err != nil {
		return err
	}
	if err := w.until("the pipeline alert has ended", func() (bool, error) {
		feeds, err := w.pipelineAlerts()
		return len(feeds) == 0, err
	}); err != nil {
		return err
	}
	w.note("without the settlement feed: pipeline alerts for %d feed, %d alerts of payments; it ended when the feed was back", len(told), after-before)
	return w.liveEnd(wait)
}

// settlementDown stops the settlement service while the others go on to the end:
// nobody can know what was settled. One thing says so, and no payment does.
func settlementDown(w *world) error {
	if err := w.feed(0.02); err != nil {
		return err
	}
	if err := w.until("the settlement service is at work", func() (bool, error) {
		n, err := w.committed("settlement")()
		return n > 0, err
	}); err != nil {
		return err
	}
	if err := w.halt("settlement"); err != nil {
		return err
	}
	before, err := w.published()
	if err != nil {
		return err
	}
	if err := w.feed(1); err != nil {
		return err
	}
	if err := w.drained("authorization", "capture", "joiner", "warehouse"); err != nil {
		return err
	}
	after, err := w.published()
	if err != nil {
		return err
	}
	if after > before {
		w.found = append(w.found, invariant.Violation{
			Invariant: i2, Place: "alert topics", What: fmt.Sprintf("%d revisions while the settlement feed was down", after-before),
		})
	}
	held, err := w.heldBy()
	if err != nil {
		return err
	}
	w.note("without the settlement feed: %d payment alerts, the frontier held by %v", after-before, held)
	for _, source := range held {
		if !strings.HasPrefix(source, "settlement/") {
			w.found = append(w.found, invariant.Violation{Invariant: i7, Place: "joiner", What: "it says that " + source + " holds the frontier"})
		}
	}
	if len(held) == 0 {
		w.found = append(w.found, invariant.Violation{Invariant: i7, Place: "joiner", What: "it does not say what holds the frontier"})
	}
	if err := w.resume("settlement"); err != nil {
		return err
	}
	return w.recovery("alerts", w.alerts)
}

// scrape is what a service's metrics are now, a line each.
func (w *world) scrape(service string) (string, error) {
	request, err := http.NewRequestWithContext(w.ctx, http.MethodGet, "http://"+w.http[service]+"/metrics", nil)
	if err != nil {
		return "", fmt.Errorf("ask for metrics: %w", err)
	}
	reply, err := probe.Do(request)
	if err != nil {
		return "", fmt.Errorf("ask for metrics: %w", err)
	}
	defer func() { _ = reply.Body.Close() }()
	text, err := io.ReadAll(reply.Body)
	if err != nil {
		return "", fmt.Errorf("ask for metrics: %w", err)
	}
	return string(text), nil
}

// heldBy asks the joiner's metrics which sources hold a frontier back.
func (w *world) heldBy() ([]string, error) {
	text, err := w.scrape("joiner")
	if err != nil {
		return nil, err
	}
	var held []string
	for line := range strings.Lines(text) {
		name, value, _ := strings.Cut(strings.TrimSpace(line), "} ")
		_, source, is := strings.Cut(name, `source="`)
		if strings.HasPrefix(name, "settlewatch_frontier_held{") && is && value == "1" {
			source = strings.TrimRight(source, `"`)
			if !slices.Contains(held, source) {
				held = append(held, source)
			}
		}
	}
	return held, nil
}
