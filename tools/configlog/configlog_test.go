package configlog_test

import (
	"errors"
	"strings"
	"testing"
	"time"

	"settlewatch/pipelines/sim"
	"settlewatch/schemas/event"
	"settlewatch/schemas/ruleset"
	"settlewatch/schemas/topic"
	"settlewatch/tools/configlog"
)

func ordinary() *event.Config {
	return ruleset.Default(ruleset.Abilities{JoinVersion: 1, TZData: "2025c", Calendar: "2026.1"},
		&event.ExpectedSource{Name: "capture/raw.capture.v1/0/documented@1", Clock: event.Clock_CLOCK_LIVE})
}

func configTopic(t *testing.T) *sim.Log {
	t.Helper()
	log := sim.NewLog()
	for name, n := range map[string]int{topic.Config.Name: 1, topic.PaymentLog.Name: 3} {
		if err := log.CreateTopic(name, n); err != nil {
			t.Fatal(err)
		}
	}
	return log
}

func TestInForceIsTheLatest(t *testing.T) {
	log := configTopic(t)
	log.LimitBatch(1) // more than one fetch
	if _, err := configlog.InForce(t.Context(), log); !errors.Is(err, configlog.ErrNone) {
		t.Fatalf("an empty topic: %v, want ErrNone", err)
	}
	for want, rules := range []string{"first", "second", "third"} {
		config := ordinary()
		config.Rules = rules
		number, err := configlog.Append(t.Context(), log, config, time.UnixMilli(1))
		if err != nil || number != int64(want) {
			t.Fatalf("append %s: number %d, %v; want %d", rules, number, err, want)
		}
		got, err := configlog.InForce(t.Context(), log)
		if err != nil || got.Number != number || got.Rules != rules {
			t.Errorf("in force: %d %s, %v; want %d %s", got.Number, got.GetRules(), err, number, rules)
		}
	}
}

func TestAppendRefuses(t *testing.T) {
	for name, spoil := range map[string]func(*event.Config){
		"no groups":           func(c *event.Config) { c.Groups = nil },
		"an unknown calendar": func(c *event.Config) { c.Calendars[0].Version = "1999.1" },
	} {
		log := configTopic(t)
		config := ordinary()
		spoil(config)
		if _, err := configlog.Append(t.Context(), log, config, time.UnixMilli(1)); err == nil {
			t.Errorf("%s: was appended", name)
		}
		if _, err := configlog.InForce(t.Context(), log); !errors.Is(err, configlog.ErrNone) {
			t.Errorf("%s: %v in force, want ErrNone", name, err)
		}
	}
}

func TestDifference(t *testing.T) {
	from := &configlog.Numbered{Config: ordinary(), Number: 4}
	to := ordinary()
	if diff, err := configlog.Difference(from, to, "new.yaml"); err != nil || diff != "" {
		t.Fatalf("between equals: %q, %v", diff, err)
	}
	to.Groups[0].Terms.Cycle = "T+2"
	diff, err := configlog.Difference(from, to, "new.yaml")
	if err != nil {
		t.Fatal(err)
	}
	for _, line := range []string{"--- configuration 4, in force", "+++ new.yaml", "-      cycle: T+1", "+      cycle: T+2"} {
		if !strings.Contains(diff, line+"\n") {
			t.Errorf("no line %q in\n%s", line, diff)
		}
	}
	diff, err = configlog.Difference(nil, to, "new.yaml")
	if err != nil || !strings.Contains(diff, "--- (nothing in force)\n") || strings.Contains(diff, "\n-") {
		t.Errorf("from nothing: %v\n%s", err, diff)
	}
}

// The number of partitions is written once and stands for good.
func TestLogPartitions(t *testing.T) {
	log := configTopic(t)
	config := ordinary()
	if _, err := configlog.Append(t.Context(), log, config, time.UnixMilli(1)); err != nil || config.LogPartitions != 3 {
		t.Fatalf("%d partitions are written (%v)", config.LogPartitions, err)
	}
	from, err := configlog.InForce(t.Context(), log)
	if err != nil || from.LogPartitions != 3 {
		t.Fatalf("%d partitions are in force (%v)", from.LogPartitions, err)
	}
	four := ordinary()
	four.LogPartitions = 4
	if _, err := configlog.Append(t.Context(), log, four, time.UnixMilli(1)); !errors.Is(err, configlog.ErrPartitions) {
		t.Errorf("a file that says 4 is appended: %v", err)
	}
	from.LogPartitions = 2
	if err := configlog.Complete(t.Context(), log, &from, ordinary()); !errors.Is(err, configlog.ErrPartitions) {
		t.Errorf("a log that has grown is taken: %v", err)
	}
}
