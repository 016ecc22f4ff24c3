package faults

import (
	"bufio"
	"context"
	"errors"
	"io"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"settlewatch/pipelines/oracle/invariant"
)

// Every fault of the list has a scenario, and the quick half is about half of them.
func TestTheListIsWhole(t *testing.T) {
	const last = 33
	quick := 0
	seen := map[int]int{}
	for _, s := range Scenarios() {
		seen[s.Number]++
		if s.Quick {
			quick++
		}
		if s.inject == nil || s.Name == "" || len(s.Holds) == 0 {
			t.Errorf("fault %d: nothing happens, or nothing is said of it", s.Number)
		}
	}
	for n := 1; n <= last; n++ {
		if seen[n] == 0 {
			t.Errorf("fault %d has no scenario", n)
		}
	}
	if quick < 12 || quick > 20 {
		t.Errorf("%d faults are quick", quick)
	}
}

func TestChoose(t *testing.T) {
	if got, err := choose(Options{Faults: []int{11, 2}}); err != nil || len(got) != 2 || got[0].Number != 2 {
		t.Errorf("got %v, %v", got, err)
	}
	if _, err := choose(Options{Faults: []int{34}}); err == nil {
		t.Error("fault 34 is not on the list")
	}
	got, err := choose(Options{Quick: true})
	if err != nil || len(got) == 0 {
		t.Fatalf("got %d, %v", len(got), err)
	}
	for _, s := range got {
		if !s.Quick {
			t.Errorf("fault %d is not quick", s.Number)
		}
	}
}

// Two lanes work side by side: the first scenario waits until the second has ended.
func TestLanesShareTheScenarios(t *testing.T) {
	scenarios := []Scenario{{Number: 1}, {Number: 2}, {Number: 3}, {Number: 4}}
	second := make(chan struct{})
	var telling atomic.Int32
	told := map[int]int{}
	ended, err := spread(t.Context(), []string{"lane-1", "lane-2"}, scenarios, func(_ context.Context, _ string, s Scenario) (Result, error) {
		switch s.Number {
		case 1:
			<-second
		case 2:
			close(second)
		}
		return Result{Fault: s.Number}, nil
	}, func(r Result) {
		if telling.Add(1) != 1 {
			t.Error("told of two faults at once")
		}
		told[r.Fault]++
		telling.Add(-1)
	})
	if err != nil || len(ended) != len(scenarios) {
		t.Fatalf("%d of %d ended, %v", len(ended), len(scenarios), err)
	}
	for k, s := range scenarios {
		if ended[k].Fault != s.Number || told[s.Number] != 1 {
			t.Errorf("fault %d: result %d is of fault %d; told %d times", s.Number, k, ended[k].Fault, told[s.Number])
		}
	}
}

// A lane that fails ends the others before they begin another scenario, and what ended counts.
func TestALaneThatFailsEndsTheRun(t *testing.T) {
	died := errors.New("died")
	scenarios := []Scenario{{Number: 1}, {Number: 2}, {Number: 3}, {Number: 4}}
	ended, err := spread(t.Context(), []string{"lane-1", "lane-2"}, scenarios, func(ctx context.Context, _ string, s Scenario) (Result, error) {
		switch s.Number {
		case 1:
			return Result{Fault: s.Number}, nil
		case 2:
			return Result{}, died
		case 4:
			t.Error("another scenario begins")
		}
		<-ctx.Done() // the other lane may have begun this one
		return Result{Fault: s.Number}, nil
	}, func(Result) {})
	if !errors.Is(err, died) || len(ended) == 0 || ended[0].Fault != 1 {
		t.Errorf("%v ended, %v", ended, err)
	}
}

func TestPipelineAlerts(t *testing.T) {
	const metrics = `# HELP settlewatch_source_mark_age_seconds x
settlewatch_source_mark_age_seconds{group="all",service="joiner",source="settlement/raw.settlement.v1/0/documented@1"} 12.5
settlewatch_source_mark_age_seconds{group="all",service="joiner",source="settlement/raw.settlement.v1/1/documented@1"} 11
settlewatch_source_mark_age_seconds{group="other",service="joiner",source="capture/raw.capture.v1/0/documented@1"} 3
settlewatch_frontier_age_seconds{group="other",service="joiner"} 900
`
	for most, want := range map[float64][]string{8: {"settlement"}, 20: nil, 1: {"settlement", "capture"}} {
		if got := pipelineAlerts(metrics, most); !slices.Equal(got, want) {
			t.Errorf("beyond %g s: got %v, want %v", most, got, want)
		}
	}
	infinite := strings.Replace(metrics, "12.5", "+Inf", 1)
	if got := pipelineAlerts(infinite, 8); !slices.Equal(got, []string{"settlement"}) {
		t.Errorf("a source that never marked: got %v", got)
	}
}

func TestOffsetsInALog(t *testing.T) {
	const log = `msg="checkpoint made" service=joiner partition=0 offset=7 bytes=9
msg="nothing was stored: restored from a checkpoint" service=joiner partition=3 offset=5
msg="checkpoint made" service=joiner partition=0 offset=12 bytes=9
`
	if got := offsets(log, keptLine); len(got) != 1 || got[0] != 12 {
		t.Errorf("kept: got %v", got)
	}
	if got := offsets(log, restoredLine); len(got) != 1 || got[3] != 5 {
		t.Errorf("restored: got %v", got)
	}
}

func TestResultsAreAddedUp(t *testing.T) {
	w := new(world)
	w.watch = newWatch(w)
	w.watch.peakKiB["joiner"] = 2048
	var r Result
	for _, seconds := range []float64{5, 1, 3} {
		w.measured, w.replayed = []measurement{{"joiner", seconds}}, []replay{{100_000, seconds}}
		r.add(w, []invariant.Violation{{Invariant: i1}}, time.Second)
	}
	if r.Runs != 3 || r.Violations != 3 || r.RecoveryP50 != 3 || r.RecoveryMax != 5 || r.PeakMiB != 2 || r.Seconds != 1 ||
		r.Peaks["joiner"] != 2 || r.ReplayRecords != 100_000 || r.ReplayPerMillion != 30 {
		t.Errorf("got %+v", r)
	}
	if found := w.bounds(Scenario{mostSeconds: 2}); len(found) != 1 || found[0].Invariant != i6 {
		t.Errorf("a recovery of 3 s within 2 s: %v", found)
	}
	w.measured = nil
	if found := w.bounds(Scenario{mostMiB: map[string]float64{"joiner": 1, "warehouse": 9}}); len(found) != 1 || found[0].Place != "memory of joiner" {
		t.Errorf("2 MiB of the joiner within its 1 MiB: %v", found)
	}
	if found := w.bounds(Scenario{mostMiB: map[string]float64{"warehouse": 1}}); len(found) != 0 {
		t.Errorf("2 MiB of the joiner beside another's bound of 1 MiB: %v", found)
	}
	report := Report{Results: []Result{r}}
	if text := report.Markdown(); !strings.Contains(text, "| 3 | 3 | 3.0 s | 5.0 s | 2 MiB (joiner) |") || !strings.Contains(text, "## Violations") ||
		!strings.Contains(text, "| 100000 | 30.0 s |") {
		t.Errorf("the report says\n%s", text)
	}
}

// A report names no folder of the machine on which it was made.
func TestReportNamesNoFolder(t *testing.T) {
	dir, home := t.TempDir(), t.TempDir()
	t.Setenv("HOME", home)
	said := "open " + dir + "/fault-1-run-1/logs/joiner.log: no such file; run " + home + "/.cache/clickhouse; " + filepath.Join(os.TempDir(), "hsperf") + " is full"
	report := Report{Options: Options{Dir: dir + "/"}, Results: []Result{{
		Violations: 1, Found: []invariant.Violation{{Invariant: i7, Place: dir, What: said}}, Notes: []string{said},
	}}}
	text := report.Markdown()
	if strings.Contains(text, dir) || strings.Contains(text, home) || strings.Contains(text, os.TempDir()) {
		t.Errorf("the report says\n%s", text)
	}
	want := "open DIR/fault-1-run-1/logs/joiner.log: no such file; run HOME/.cache/clickhouse; TMP/hsperf is full"
	if strings.Count(text, want) != 2 {
		t.Errorf("want %q twice in\n%s", want, text)
	}
}

// echo answers each line with itself.
func echo(t *testing.T) string {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = listener.Close() })
	go func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			go func() {
				defer func() { _ = conn.Close() }()
				_, _ = io.Copy(conn, conn)
			}()
		}
	}()
	return listener.Addr().String()
}

func TestProxy(t *testing.T) {
	target := echo(t)
	p, err := openProxy(t.Context(), target)
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := p.close(); err != nil {
			t.Error(err)
		}
	}()
	say := func(word string) (string, error) {
		conn, err := net.Dial("tcp", p.addr())
		if err != nil {
			return "", err
		}
		defer func() { _ = conn.Close() }()
		if _, err := io.WriteString(conn, word+"\n"); err != nil {
			return "", err
		}
		return bufio.NewReader(conn).ReadString('\n')
	}
	through := func(word string) bool {
		got, err := say(word)
		return err == nil && got == word+"\n"
	}
	if !through("a") {
		t.Fatal("nothing comes through")
	}
	arrived := false
	p.change(func(p *proxy) {
		p.request = func(_ *link, piece []byte) verdict {
			switch {
			case strings.HasPrefix(string(piece), "lose reply"):
				return loseReply
			case strings.HasPrefix(string(piece), "lose request"):
				return loseRequest
			}
			return pass
		}
		p.reply = func(_ *link, piece []byte) verdict {
			arrived = arrived || strings.HasPrefix(string(piece), "lose reply")
			return pass
		}
	})
	if through("lose request") || through("lose reply") || !through("b") {
		t.Error("the wrong things come through")
	}
	p.change(func(*proxy) {
		if !arrived {
			t.Error("the server never saw the request whose reply was lost")
		}
	})
	p.shut()
	if through("c") {
		t.Error("a shut proxy lets through")
	}
	p.heal(target)
	if !through("d") {
		t.Error("a healed proxy lets nothing through")
	}
}

func TestAnswers(t *testing.T) {
	for reply, want := range map[string]string{
		"+OK\r\n": "OK", ":7\r\n": "7", "$3\r\nabc\r\n": "abc", "$-1\r\n": "", "*2\r\n$1\r\na\r\n$-1\r\n": "a\n",
	} {
		if got, err := answer(bufio.NewReader(strings.NewReader(reply))); err != nil || got != want {
			t.Errorf("%q: got %q, %v", reply, got, err)
		}
	}
	for _, reply := range []string{"-ERR no\r\n", "?\r\n", "", "\r\n", "$9\r\nabc\r\n"} {
		if got, err := answer(bufio.NewReader(strings.NewReader(reply))); err == nil {
			t.Errorf("%q: got %q", reply, got)
		}
	}
}
