package reconcile_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"settlewatch/schemas/alert"
	"settlewatch/schemas/deadletter"
	"settlewatch/schemas/ruleset"
	"settlewatch/tools/reconcile"
)

// Records of one sale of 100.00 CNY on 22 September 2025, a Monday: the money is
// due on the 23rd, and shown at noon.
const (
	sale    = `{"type":"authorization","event_id":"a-%s","acquirer":"acq","order_id":"%s","merchant_id":"M1","mode":"single","amount_minor":10000,"currency":"CNY","response_code":"00","business_time":"2025-09-22T10:00:00+08:00"}`
	payout  = `{"type":"line","batch_id":"B1","line_id":"L-%s","acquirer":"acq","order_id":"%s","stage":"paid_out","gross_minor":10000,"currency":"CNY"}`
	noonDue = "2025-09-23T12:00:00+08:00"
)

func wrapped(arrival, record string) string {
	return `{"arrival":"` + arrival + `","record":` + record + "}\n"
}

func saleOf(order string) string {
	return wrapped("2025-09-22T10:00:01+08:00", fmt.Sprintf(sale, order, order))
}

func payoutOf(order, arrival string) string {
	return wrapped(arrival, fmt.Sprintf(payout, order, order))
}

func moment(t *testing.T, text string) int64 {
	t.Helper()
	at, err := time.Parse(time.RFC3339, text)
	if err != nil {
		t.Fatal(err)
	}
	return at.UnixMilli()
}

// write makes files; names may have folders.
func write(t *testing.T, files map[string]string) string {
	t.Helper()
	dir := t.TempDir()
	for name, text := range files {
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

func options(t *testing.T, asOf string, files ...string) reconcile.Options {
	t.Helper()
	return reconcile.Options{Files: files, Config: ruleset.Default(abilities()), AsOfMs: moment(t, asOf)}
}

func reconciled(t *testing.T, o reconcile.Options) *reconcile.Report {
	t.Helper()
	r, err := reconcile.Run(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// TestTheMoment: what arrives exactly at the due time is in time, what falls due
// exactly at the moment is not judged, and what arrives at the moment is not known.
func TestTheMoment(t *testing.T) {
	for _, c := range []struct {
		about, paid, asOf                   string
		open, closed, settled, notDue, late int
	}{
		{"not due yet", "", "2025-09-23T11:00:00+08:00", 0, 0, 0, 1, 0},
		{"due exactly now", "", noonDue, 0, 0, 0, 1, 0},
		{"due just before", "", "2025-09-23T12:00:01+08:00", 1, 0, 0, 0, 0},
		{"paid exactly when due", noonDue, "2025-09-24T00:00:00+08:00", 0, 0, 1, 0, 0},
		{"paid late", "2025-09-23T12:00:01+08:00", "2025-09-24T00:00:00+08:00", 0, 1, 1, 0, 0},
		{"paid at the moment", "2025-09-24T00:00:00+08:00", "2025-09-24T00:00:00+08:00", 1, 0, 0, 0, 1},
		{"paid later", "2025-09-25T00:00:00+08:00", "2025-09-24T00:00:00+08:00", 1, 0, 0, 0, 1},
	} {
		t.Run(c.about, func(t *testing.T) {
			files := map[string]string{"sales.jsonl": saleOf("O1")}
			if c.paid != "" {
				files["lines.jsonl"] = payoutOf("O1", c.paid)
			}
			dir := write(t, files)
			var paths []string
			for name := range files {
				paths = append(paths, filepath.Join(dir, name))
			}
			r := reconciled(t, options(t, c.asOf, paths...))
			s := r.Summary
			if s.ByAlertKind[alert.PaidUnsettled] != c.open || s.AlertsClosed != c.closed || s.Settled != c.settled ||
				s.OpenNotDue != c.notDue || s.AfterAsOf != c.late || s.Payments != 1 || !s.IdentityHolds {
				t.Errorf("%+v", s)
			}
			if r.Findings() != (c.open > 0) {
				t.Errorf("findings %t", r.Findings())
			}
		})
	}
}

// TestUnmatched: a line without a capture is found where it stands, once, however
// often its file was sent.
func TestUnmatched(t *testing.T) {
	lines := payoutOf("O1", "2025-09-23T08:00:00+08:00") + payoutOf("X1", "2025-09-23T08:00:00+08:00")
	dir := write(t, map[string]string{
		"sales.jsonl": saleOf("O1") + saleOf("O2"),
		"b/day.jsonl": lines, "a/day.jsonl": lines,
	})
	r := reconciled(t, options(t, "2025-09-23T09:00:00+08:00",
		filepath.Join(dir, "sales.jsonl"), filepath.Join(dir, "b/day.jsonl"), filepath.Join(dir, "a/day.jsonl")))
	want := reconcile.Line{
		File: "a/day.jsonl", Line: 2, PaymentKey: "acq|o|X1", Reference: "L-X1", AmountMinor: 10_000, Currency: "CNY",
	}
	if len(r.Unknown) != 1 || r.Unknown[0] != want || r.Summary.SettledUnknown != 1 {
		t.Errorf("unknown %+v, want %+v", r.Unknown, want)
	}
	if len(r.Unsettled) != 1 || r.Unsettled[0].PaymentKey != "acq|o|O2" || r.Unsettled[0].AmountMinor != 10_000 ||
		r.Unsettled[0].EvidenceDueMs != moment(t, noonDue) {
		t.Errorf("unsettled %+v", r.Unsettled)
	}
	if !r.Findings() {
		t.Error("an unknown line is no finding")
	}
}

// TestBadRecords: a record that cannot be read is named by file and line, and
// costs nothing but itself.
func TestBadRecords(t *testing.T) {
	var many strings.Builder
	for i := 1; i <= 70_010; i++ {
		record := saleOf(fmt.Sprintf("P%d", i))
		if i == 70_001 {
			record = strings.Replace(record, "10000", `"1O0.00"`, 1)
		}
		many.WriteString(record)
	}
	for _, c := range []struct {
		about, text  string
		events, line int
		path, reason string
	}{
		{"an amount in line 70,001", many.String(), 70_009, 70_001, "/amount_minor", "wrong_type"},
		{"the last line cut off", saleOf("O1") + saleOf("O2")[:80], 1, 2, "", "not_json"},
		{"no line end at the end, blank lines, both line ends", saleOf("O1") + "\r\n\n" + strings.Replace(saleOf("O2"), "\n", "\r\n", 1) + "{}\n" + strings.TrimSpace(saleOf("O3")), 3, 5, "arrival", "missing_field"},
		{"another encoding", saleOf("O1") + strings.Replace(saleOf("O2"), "M1", "\xbd\xe1\xcb\xe3", 1) + saleOf("O3"), 2, 2, "/merchant_id", "not_utf8"},
		{"a card number in a text", saleOf("O1") + strings.Replace(saleOf("O2"), `"mode"`, `"memo":"6222020200112233446","mode"`, 1), 1, 2, "/memo", "card_number"},
	} {
		t.Run(c.about, func(t *testing.T) {
			dir := write(t, map[string]string{"x.jsonl": c.text})
			o := options(t, "2025-09-23T09:00:00+08:00", filepath.Join(dir, "x.jsonl"))
			var rejects bytes.Buffer
			o.Rejects = &rejects
			r := reconciled(t, o)
			if r.Summary.Events != c.events || r.Summary.Rejected != 1 || !r.Findings() {
				t.Errorf("%+v", r.Summary)
			}
			want := reconcile.Rejection{File: "x.jsonl", Line: c.line, Path: c.path, Reason: c.reason}
			if len(r.Rejected) != 1 {
				t.Fatalf("rejected %+v", r.Rejected)
			}
			got := r.Rejected[0]
			if got.Detail == "" {
				t.Error("no detail")
			}
			if got.Detail = ""; got != want {
				t.Errorf("rejected %+v, want %+v", got, want)
			}
			letter, err := deadletter.Decode(bytes.TrimSpace(rejects.Bytes()))
			if err != nil {
				t.Fatal(err)
			}
			if letter.Source.Topic != "x.jsonl" || letter.Source.Offset != int64(c.line) || letter.Reason != c.reason ||
				letter.Payload.Size == 0 || bytes.Contains(rejects.Bytes(), []byte("6222020200112233446")) {
				t.Errorf("dead letter %s", rejects.String())
			}
		})
	}
}

// TestFilesThatCannotBeUsed: everything that is wrong is said at once, before
// anything is read, and there is no result.
func TestFilesThatCannotBeUsed(t *testing.T) {
	dir := write(t, map[string]string{"good.jsonl": saleOf("O1"), "empty.jsonl": "", "none.jsonl": "", "blank.jsonl": "\n \r\n\n"})
	at := func(name string) string { return filepath.Join(dir, name) }
	for _, c := range []struct {
		about string
		files []string
		want  []string
	}{
		{"a folder and a missing file", []string{at("good.jsonl"), dir, at("missing.jsonl")}, []string{dir + " is a folder", "missing.jsonl: no such file"}},
		{"a file twice", []string{at("good.jsonl"), at("./good.jsonl")}, []string{"good.jsonl is given twice"}},
		{"nothing but empty files", []string{at("empty.jsonl"), at("none.jsonl")}, []string{"every file is empty"}},
		{"nothing but blank lines", []string{at("blank.jsonl"), at("none.jsonl")}, []string{"no file holds a record"}},
		{"no file", nil, []string{"no file was given"}},
		{"no standard input", []string{"-"}, []string{"no standard input"}},
	} {
		r, err := reconcile.Run(t.Context(), options(t, noonDue, c.files...))
		if err == nil || r != nil {
			t.Errorf("%s: ran", c.about)
			continue
		}
		for _, want := range c.want {
			if !strings.Contains(err.Error(), want) {
				t.Errorf("%s: %q does not say %q", c.about, err, want)
			}
		}
	}
	r := reconciled(t, options(t, noonDue, at("good.jsonl"), at("empty.jsonl")))
	if r.Summary.Events != 1 || !r.Files[0].Empty || r.Files[1].Empty {
		t.Errorf("beside a good file: %+v", r.Files)
	}
}

// brokenDisk fails behind some good records.
type brokenDisk struct{ good io.Reader }

var errDisk = errors.New("input/output error")

func (b *brokenDisk) Read(p []byte) (int, error) {
	n, err := b.good.Read(p)
	if errors.Is(err, io.EOF) {
		err = errDisk
	}
	return n, err
}

// TestReadError: what the machine could not read is no bad record of the file.
func TestReadError(t *testing.T) {
	o := options(t, noonDue, "-")
	o.Stdin, o.StdinName = &brokenDisk{strings.NewReader(saleOf("O1"))}, "sales.jsonl"
	r, err := reconcile.Run(t.Context(), o)
	if !errors.Is(err, errDisk) || r != nil || !strings.Contains(err.Error(), "sales.jsonl") {
		t.Errorf("%+v, %v", r, err)
	}
}

// TestStopped: somebody who waits for standard input can leave.
func TestStopped(t *testing.T) {
	never, keyboard := io.Pipe()
	defer func() { _ = keyboard.Close() }()
	ctx, stop := context.WithCancel(t.Context())
	o := options(t, noonDue, "-")
	o.Stdin = never
	o.Progress = func(p reconcile.Progress) {
		if p.ReadBytes > 0 {
			stop()
		}
	}
	go func() { _, _ = io.WriteString(keyboard, saleOf("O1")) }()
	r, err := reconcile.Run(ctx, o)
	var stopped *reconcile.StoppedError
	if !errors.As(err, &stopped) || r != nil || !errors.Is(err, context.Canceled) {
		t.Fatalf("%+v, %v", r, err)
	}
	if want := fmt.Sprintf("stopped after %d bytes; there is no result", len(saleOf("O1"))); err.Error() != want {
		t.Errorf("%q, want %q", err, want)
	}
}

// TestLives: a key whose payment has ended begins anew; each life counts, but one that
// the same event opens again counts as the one before.
func TestLives(t *testing.T) {
	again := func(text, day string) string { return strings.ReplaceAll(text, "2025-09-2", day) }
	other := func(text string) string {
		return strings.NewReplacer(`"event_id":"a-`, `"event_id":"T-`, `"line_id":"L-`, `"line_id":"M-`).Replace(text)
	}
	paid := payoutOf("O1", "2025-09-23T09:00:00+08:00")
	const end = "2026-09-24T12:00:00+08:00"
	for about, c := range map[string]struct {
		sales, lines      string
		payments, settled int
		captured          int64
		unknown           int
	}{
		"one that goes on":                   {saleOf("O1"), "", 1, 0, 10_000, 0},
		"one that has ended":                 {saleOf("O1"), paid, 1, 1, 10_000, 0},
		"two that have ended":                {saleOf("O1") + other(again(saleOf("O1"), "2025-12-0")), paid + other(again(paid, "2025-12-0")), 2, 2, 20_000, 0},
		"the second goes on":                 {saleOf("O1") + other(again(saleOf("O1"), "2026-09-2")), paid, 2, 1, 20_000, 0},
		"the same event once more":           {saleOf("O1") + again(saleOf("O1"), "2026-09-2"), paid, 1, 0, 10_000, 0},
		"a line of nothing":                  {saleOf("O2"), paid, 2, 0, 10_000, 1},
		"a line, and the sale after its end": {again(saleOf("O1"), "2026-09-2"), paid, 2, 0, 10_000, 0},
		"a line after all has ended":         {saleOf("O1"), paid + other(again(paid, "2026-01-0")), 2, 1, 10_000, 2},
	} {
		t.Run(about, func(t *testing.T) {
			dir := write(t, map[string]string{"sales.jsonl": c.sales, "lines.jsonl": c.lines + "\n"})
			o := options(t, end, filepath.Join(dir, "sales.jsonl"), filepath.Join(dir, "lines.jsonl"))
			o.Config.Groups[0].Terms.LifeDays = 10
			r := reconciled(t, o)
			s := r.Summary
			if s.Payments != c.payments || s.Settled != c.settled || s.SettledUnknown != c.unknown || !s.IdentityHolds ||
				len(r.Money) != 1 || r.Money[0].Captured != c.captured {
				t.Errorf("%+v, money %+v", s, r.Money)
			}
		})
	}
}
