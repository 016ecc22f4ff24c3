package commands_test

import (
	"bufio"
	"fmt"
	"strings"
	"testing"
	"time"

	"settlewatch/pipelines/intake"
	"settlewatch/pipelines/stage"
	"settlewatch/schemas/deadletter"
	"settlewatch/schemas/event"
	"settlewatch/schemas/topic"
	"settlewatch/services/boot"
	"settlewatch/tools/console"
	"settlewatch/tools/replay"
	"settlewatch/tools/replay/replaytest"
)

// TestRetryIsKilled: a retry of many letters that is killed in the middle, and done
// again by the same command: every record is appended, what it had told before it was
// killed too, and every payment has its capture once, however often that was sent.
func TestRetryIsKilled(t *testing.T) {
	// What it prints about so many does not fit into a pipe: it cannot come to its end
	// before it is killed.
	const letters, killAfter = 1600, 40
	log := world.platform.Bus
	_, first, err := log.Bounds(t.Context(), topic.RawCapture.Name, 0)
	if err != nil {
		t.Fatal(err)
	}
	var raw []stage.Record
	places := []string{"dead", "retry"}
	for i := range letters {
		raw = append(raw, stage.Record{TimeMs: time.Date(2025, 9, 22, 4, 0, 0, 0, time.UTC).UnixMilli(), Value: fmt.Appendf(nil,
			`{"type":"capture","event_id":"killed-%d","acquirer":"acq-east","merchant_id":"m","order_id":"KILLED%[1]d","capture_id":"c","amount_minor":100,"business_time":"2025-09-22T03:04:05Z"}`, i)})
		places = append(places, console.PlaceOf(deadletter.Source{Topic: topic.RawCapture.Name, Offset: first + int64(i)}))
	}
	if err := log.Append(t.Context(), stage.Outgoing{Topic: topic.RawCapture.Name, Records: raw}); err != nil {
		t.Fatal(err)
	}
	await(t, "the letters", func() bool {
		found, err := console.ReadLetters(t.Context(), log)
		if err != nil {
			t.Fatal(err)
		}
		_, last := found.Find(deadletter.Source{Topic: topic.RawCapture.Name, Offset: first + letters - 1})
		return last
	})
	args := append(places, "--set", "currency=CNY", "--json", "--arrival", "2025-09-22T12:00:00Z")
	told := killed(t, killAfter, args...)
	sent := retriesOf(t, first)
	if len(told) < killAfter || len(sent) >= letters {
		t.Fatalf("%d places were told and %d sent when it was killed, want %d and fewer than %d", len(told), len(sent), killAfter, letters)
	}
	for _, place := range told {
		if sent[place] == 0 {
			t.Errorf("%s was told to be appended, and is not", place)
		}
	}
	if again := command(t, "", nil, args...); again.status != 0 || strings.Count(again.out, `"appended":true`) != letters {
		t.Fatalf("again it ends with %d: %s%s", again.status, again.out, again.errors)
	}
	await(t, "the retried captures in the payment log", func() bool {
		lag, err := log.Lag(t.Context(), boot.GroupIngest(intake.Capture, boot.Documented), topic.RawCapture.Name)
		if err != nil {
			t.Fatal(err)
		}
		return lag == 0
	})
	sent = retriesOf(t, first)
	judged := replaytest.Judged(t, log, nil)
	twice := 0
	for i := range letters {
		times := sent[places[2+i]]
		p := judged[event.PaymentKey(fmt.Sprintf("acq-east|o|KILLED%d", i))]
		if p == nil {
			t.Errorf("payment %d is not there, sent %d times", i, times)
			continue
		}
		if p.CapturedMinor != 100 || int(p.Events) != times || int(p.Repeats) != times-1 {
			t.Errorf("payment %d captured %d of 100, in %d events with %d repeats; sent %d times", i, p.CapturedMinor, p.Events, p.Repeats, times)
		}
		if times > 1 {
			twice++
		}
	}
	if twice < killAfter {
		t.Errorf("%d records were sent twice, want at least %d: nothing was repeated", twice, killAfter)
	}
}

// killed runs the command until it has printed so many lines, and kills it. It gives
// the places of all that it printed.
func killed(t *testing.T, lines int, args ...string) (places []string) {
	t.Helper()
	cmd := prepare(t, nil, args...)
	out, err := cmd.StdoutPipe()
	if err == nil {
		err = cmd.Start()
	}
	if err != nil {
		t.Fatal(err)
	}
	for said := bufio.NewScanner(out); said.Scan(); {
		_, rest, _ := strings.Cut(said.Text(), `"place":"`)
		place, _, found := strings.Cut(rest, `"`)
		if !found || !strings.Contains(said.Text(), `"appended":true`) {
			t.Fatalf("it says %s", said.Text())
		}
		places = append(places, place)
		if len(places) == lines {
			if err := cmd.Process.Kill(); err != nil {
				t.Fatal(err)
			}
		}
	}
	_ = cmd.Wait() // it was killed
	return places
}

// retriesOf is how often each place was appended again to the first raw partition.
func retriesOf(t *testing.T, from int64) map[string]int {
	t.Helper()
	_, end, err := world.platform.Bus.Bounds(t.Context(), topic.RawCapture.Name, 0)
	if err != nil {
		t.Fatal(err)
	}
	times := map[string]int{}
	err = replay.Records(t.Context(), world.platform.Bus, topic.RawCapture.Name, 0, from, end, func(r *stage.Record) error {
		for _, h := range r.Headers {
			if h.Key == console.RetryHeader {
				times[string(h.Value)]++
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return times
}

// await looks again and again, until it is seen.
func await(t *testing.T, what string, seen func() bool) {
	t.Helper()
	end := time.Now().Add(startMax)
	for !seen() {
		if time.Now().After(end) {
			t.Fatalf("%s did not come", what)
		}
	}
}
