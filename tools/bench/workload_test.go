package bench

import (
	"bytes"
	"fmt"
	"os"
	"strings"
	"testing"

	"settlewatch/pipelines/profile"
	"settlewatch/schemas/alert"
	"settlewatch/tools/reconcile"
)

// The bytes of the first payments, as the programs that this workload was taken from
// write them.
func TestEventBytes(t *testing.T) {
	for _, c := range []struct {
		event Event
		want  string
	}{
		{
			Event{Authorization, 0, startMs},
			`{"event_id":"e220a8397b1dcdaf","payment_id":"acq1|000000000000","merchant_id":"m1000","terminal_id":"t10000","amount_minor":303867,"currency":"CNY","response_code":"00","card_token":"1fdd7128f310","event_time":"2026-01-05T00:00:00.000Z","type":"authorization"}`,
		},
		{
			Event{SecondSettlement, 1013, startMs + 62_000},
			`{"event_id":"dbba6b67e61d888c","payment_id":"acq1|000000001013","merchant_id":"m2013","terminal_id":"t11013","amount_minor":957906,"currency":"CNY","response_code":"00","card_token":"bfacff44763d","event_time":"2026-01-05T00:01:02.000Z","type":"settlement"}`,
		},
	} {
		if got := string(c.event.AppendJSON(nil)); got != c.want {
			t.Errorf("event is\n%s\nwant\n%s", got, c.want)
		}
	}
}

func TestEventsAreThoseThatAreCounted(t *testing.T) {
	for _, w := range []Workload{
		{Payments: 2500, Partitions: 4},
		{Payments: 2500, Partitions: 4, OpenAll: true},
		{Payments: 1, Partitions: 1},
		{Payments: 3000, Partitions: 2, OpenAll: true, StepMs: 1},
		{Payments: 2014, Partitions: 1, Unsettled: true},
		{Payments: 1500, Partitions: 1, First: 4000, Stays: true},
	} {
		t.Run(fmt.Sprintf("%+v", w), func(t *testing.T) {
			var count, last int64
			seen := make(map[string]bool)
			for e := range w.Events() {
				if e.AtMs < last {
					t.Fatalf("event %+v is before %d", e, last)
				}
				last = e.AtMs
				text := string(e.AppendJSON(nil))
				if seen[text] {
					t.Fatalf("event %s is there twice", text)
				}
				seen[text] = true
				count++
			}
			if want := w.EventCount(); count != want {
				t.Errorf("%d events, %d are counted", count, want)
			}
			if last >= w.EndMs()-2*dayMs {
				t.Errorf("the last event, at %d, is too near to the end, %d", last, w.EndMs())
			}
		})
	}
}

// The rule in our terms, and the profiles, give exactly the alerts that the peers'
// rule gives: read, joined and judged without servers.
func TestTermsGiveTheTruth(t *testing.T) {
	for _, w := range []Workload{{Payments: 3000, Partitions: 4}, {Payments: 3000, Partitions: 4, OpenAll: true}} {
		eyes := judgedWithoutServers(t, w)
		notes, alerts, repeated := eyes.verdict()
		if len(notes) > 0 || alerts != len(w.Truth()) || repeated > 0 {
			t.Errorf("open all %t: %d alerts of %d, %d repeated: %s", w.OpenAll, alerts, len(w.Truth()), repeated, strings.Join(notes, "; "))
		}
	}
}

func judgedWithoutServers(t *testing.T, w Workload) *watcher {
	t.Helper()
	files, err := w.WriteFiles(t.TempDir(), func(int64, int64) {})
	if err != nil {
		t.Fatal(err)
	}
	if files.Count != w.EventCount() {
		t.Fatalf("%d lines are written of %d events", files.Count, w.EventCount())
	}
	text, err := os.ReadFile(files.Profile)
	if err != nil {
		t.Fatal(err)
	}
	one, err := profile.Parse(text)
	if err != nil {
		t.Fatal(err)
	}
	config, err := Config(w, ruleDays)
	if err != nil {
		t.Fatal(err)
	}
	result, err := reconcile.Run(t.Context(), reconcile.Options{
		Files: files.Lines, Profile: one, Config: config, AsOfMs: w.EndMs(),
	})
	if err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	if err := result.WriteJSON(&out); err != nil {
		t.Fatal(err)
	}
	eyes := newWatcher(ourOutput(), w.Truth(), func() {})
	for line := range strings.Lines(out.String()) {
		if !strings.HasPrefix(line, `{"summary"`) {
			eyes.add([]byte(line))
		}
	}
	return eyes
}

func TestWatcherSeesWhatIsWrong(t *testing.T) {
	w := Workload{Payments: 1000, Partitions: 4}
	body := func(kind alert.Kind, payment, amount int64, revision int, status, id string) string {
		return fmt.Sprintf(`{"id":%q,"kind":%q,"revision":%d,"status":%q,"payment_key":"acq1|o|%012d","amount_minor":%d}`,
			id, kind, revision, status, payment, amount)
	}
	late, double := body(alert.PaidUnsettled, 7, amountMinor(7), 1, "OPEN", "a"), body(alert.SettledTwice, 13, amountMinor(13), 1, "OPEN", "b")
	for name, c := range map[string]struct {
		bodies   []string
		notes    string
		repeated int
	}{
		"exact":                 {[]string{late, double}, "", 0},
		"repeated":              {[]string{late, late, double}, "", 1},
		"missing":               {[]string{late}, "1 of 2 expected alerts are missing", 0},
		"another payment":       {[]string{late, double, body(alert.SettledTwice, 14, amountMinor(14), 1, "OPEN", "c")}, "settled_twice for payment 14, which is not expected", 0},
		"another kind":          {[]string{late, double, body(alert.SettledTwice, 7, amountMinor(7), 1, "OPEN", "c")}, "settled_twice for payment 7, which is not expected", 0},
		"taken back":            {[]string{late, double, body(alert.PaidUnsettled, 7, amountMinor(7), 2, "RESOLVED", "a")}, "revision 2, RESOLVED", 0},
		"another amount":        {[]string{double, body(alert.PaidUnsettled, 7, 1, 1, "OPEN", "a")}, "is about 1 minor", 0},
		"two ids":               {[]string{late, double, body(alert.PaidUnsettled, 7, amountMinor(7), 1, "OPEN", "c")}, "twice, with two ids", 0},
		"a foreign payment":     {[]string{late, double, `{"kind":"paid_unsettled","payment_key":"acq2|o|000000000007"}`}, "not in the workload", 0},
		"text that is no alert": {[]string{late, double, "x"}, "cannot be read", 0},
	} {
		t.Run(name, func(t *testing.T) {
			eyes := newWatcher(ourOutput(), w.Truth(), func() {})
			for _, b := range c.bodies {
				eyes.add([]byte(b))
			}
			notes, _, repeated := eyes.verdict()
			text := strings.Join(notes, "; ")
			if (c.notes == "") != (text == "") || !strings.Contains(text, c.notes) || repeated != c.repeated {
				t.Errorf("notes %q, %d repeated; want %q, %d", text, repeated, c.notes, c.repeated)
			}
		})
	}
	if stays := (Workload{Payments: 2000, First: 1000, Stays: true}).Truth(); len(stays) != 2 || !stays[Expected{alert.SettledTwice, 1013}] {
		t.Errorf("what goes on and does not end: %v", stays)
	}
	eyes := newWatcher(peerOutput("t"), w.Truth(), func() {})
	eyes.add([]byte(`{"type":"paid_unsettled","payment_id":"acq1|000000000007"}`))
	eyes.add([]byte(`{"type":"settled_twice","payment_id":"acq1|000000000013"}`))
	if notes, alerts, _ := eyes.verdict(); len(notes) > 0 || alerts != 2 {
		t.Errorf("a peer's alerts: %v, %d", notes, alerts)
	}
}

func TestSummariesLeaveVoidRunsOut(t *testing.T) {
	run := func(rate float64, exact bool) Result {
		return Result{
			Variant: "v", EventsPerSecond: rate, Total: rate / 10, Exact: exact,
			CPUSecondsPerMillion: map[string]float64{"joiner": rate}, PeakBytes: map[string]int64{"joiner": int64(rate)},
		}
	}
	s := summarize("v", []Result{run(30, true), run(10, true), run(1000, false), run(20, true), run(40, true)})
	if want := (Range{25, 10, 40}); s.EventsPerSecond != want || s.CPUSecondsPerMillion["joiner"] != want || s.PeakBytes["joiner"] != want {
		t.Errorf("summary %+v, want %+v", s, want)
	}
	if s.Runs != 4 || s.Void != 1 || Void([]Summary{s}) == nil {
		t.Errorf("%d runs, %d void", s.Runs, s.Void)
	}
	if s := summarize("v", []Result{run(1, false)}); s.Runs != 0 || s.EventsPerSecond != (Range{}) {
		t.Errorf("summary of nothing but void runs: %+v", s)
	}
}
