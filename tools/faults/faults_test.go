package faults

import (
	"bufio"
	"io"
	"net"
	"strings"
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

func TestResultsAreAddedUp(t *testing.T) {
	w := new(world)
	w.watch = newWatch(w)
	w.watch.peakKiB["joiner"] = 2048
	var r Result
	for _, seconds := range []float64{5, 1, 3} {
		w.measured = []measurement{{"joiner", seconds}}
		r.add(w, []invariant.Violation{{Invariant: i1}}, time.Second)
	}
	if r.Runs != 3 || r.Violations != 3 || r.RecoveryP50 != 3 || r.RecoveryMax != 5 || r.PeakMiB != 2 || r.Seconds != 1 {
		t.Errorf("got %+v", r)
	}
	if found := w.bounds(Scenario{mostSeconds: 2}); len(found) != 1 || found[0].Invariant != i6 {
		t.Errorf("a recovery of 3 s within 2 s: %v", found)
	}
	report := Report{Results: []Result{r}}
	if text := report.Markdown(); !strings.Contains(text, "| 3 | 3 | 3.0 s | 5.0 s | 2 MiB (joiner) |") || !strings.Contains(text, "## Violations") {
		t.Errorf("the report says\n%s", text)
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
