package e2e_test

import (
	"bytes"
	"errors"
	"flag"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"settlewatch/pipelines/calendar"
	"settlewatch/pipelines/join"
	"settlewatch/pipelines/servers"
	"settlewatch/schemas/alert"
	"settlewatch/schemas/ruleset"
	"settlewatch/tools/reconcile"
	"settlewatch/tools/traffic"
)

// withoutPlaces is an alert without where its evidence lies.
func withoutPlaces(t *testing.T, a *alert.Alert) string {
	t.Helper()
	bare := *a
	bare.Evidence = slices.Clone(a.Evidence)
	for i := range bare.Evidence {
		e := &bare.Evidence[i]
		e.Topic, e.Partition, e.Offset, e.Index, e.File, e.Line, e.Reference = "", 0, 0, 0, "", 0, ""
	}
	b, err := bare.Encode()
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// TestFilesGiveTheAlertsOfTheStack: what the services published for the traffic,
// reconcile finds in its files: every revision, but for where the evidence lies.
func TestFilesGiveTheAlertsOfTheStack(t *testing.T) {
	o := someThousand(1)
	stack := undisturbed(t, o)
	g, err := traffic.New(o)
	if err != nil {
		t.Fatal(err)
	}
	files, err := g.WriteFiles(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	config := traffic.Config(ruleset.Abilities{
		JoinVersion: join.Version, TZData: calendar.TZDataVersion, Calendar: traffic.CalendarVersion,
	})
	r, err := reconcile.Run(t.Context(), reconcile.Options{Files: files, Config: config, AsOfMs: g.EndMs()})
	if err != nil {
		t.Fatal(err)
	}
	var got, want []string
	for _, a := range r.Alerts {
		got = append(got, withoutPlaces(t, a))
	}
	for _, revisions := range stack.Collected.Alerts {
		for _, revision := range revisions {
			want = append(want, withoutPlaces(t, revision.Alert))
		}
	}
	slices.Sort(got)
	slices.Sort(want)
	if len(want) == 0 || !slices.Equal(got, want) {
		t.Errorf("%d revisions from files, %d from the stack, or they differ", len(got), len(want))
	}
	if letters := len(stack.Collected.Letters); r.Summary.Rejected != letters {
		t.Errorf("%d records rejected, %d dead letters of the stack", r.Summary.Rejected, letters)
	}
}

var update = flag.Bool("update", false, "rewrite the golden files that exist")

// commandGolden compares what a command said with a golden file that must exist.
func commandGolden(t *testing.T, name string, got []byte) {
	t.Helper()
	path := filepath.Join("testdata", name)
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatalf("a golden file that is missing is a failure: %v", err)
	}
	if bytes.Equal(got, want) {
		return
	}
	if *update {
		if err := os.WriteFile(path, got, 0o600); err != nil {
			t.Fatal(err)
		}
		return
	}
	t.Errorf("%s is\n%s\nwant\n%s", path, got, want)
}

// commandSays runs the built settlewatch in a folder, without settings of this
// machine, and compares both outputs with a golden file, and its exit status.
func commandSays(t *testing.T, dir, golden string, args []string, stdin string, status int) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), binary(t, "settlewatch"), args...)
	cmd.Dir, cmd.Stdin, cmd.Env = dir, strings.NewReader(stdin), append(bare(), servers.CacheEnv+"="+dir)
	var out, said bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &said
	if err := cmd.Run(); err != nil && cmd.ProcessState == nil {
		t.Fatal(err)
	}
	if got := cmd.ProcessState.ExitCode(); got != status {
		t.Errorf("exit status %d, want %d", got, status)
	}
	commandGolden(t, golden, slices.Concat([]byte("--- standard output\n"), out.Bytes(), []byte("--- standard error\n"), said.Bytes()))
}

// reconcileFiles are small files in which there is one of everything.
var reconcileFiles = map[string]string{
	"sales.jsonl": `{"arrival":"2025-09-22T10:00:01+08:00","record":{"type":"authorization","event_id":"a1","acquirer":"acq","order_id":"O1","merchant_id":"M1","mode":"single","amount_minor":10000,"currency":"CNY","response_code":"00","business_time":"2025-09-22T10:00:00+08:00"}}
{"arrival":"2025-09-22T10:05:01+08:00","record":{"type":"authorization","event_id":"a2","acquirer":"acq","order_id":"O2","merchant_id":"M1","mode":"single","amount_minor":2550,"currency":"CNY","response_code":"00","business_time":"2025-09-22T10:05:00+08:00"}}
{"arrival":"2025-09-22T10:06:01+08:00","record":{"type":"authorization","event_id":"a3","acquirer":"acq","order_id":"O3","merchant_id":"M2","mode":"single","amount_minor":700,"currency":"CNY","response_code":"00","business_time":"2025-09-22T10:06:00+08:00"}}
{"arrival":"2025-09-22T10:07:01+08:00","record":{"type":"authorization","event_id":"a4","acquirer":"acq","order_id":"O4","merchant_id":"M2","mode":"single","amount_minor":"7,00","currency":"CNY","response_code":"00","business_time":"2025-09-22T10:07:00+08:00"}}
{"arrival":"2025-09-23T23:30:01+08:00","record":{"type":"authorization","event_id":"a5","acquirer":"acq","order_id":"O5","merchant_id":"M2","mode":"single","amount_minor":990,"currency":"CNY","response_code":"00","business_time":"2025-09-23T23:30:00+08:00"}}
{"arrival":"2025-09-22T10:08:01+08:00","record":{"type":"authorization","event_id":"a6","acquirer":"acq","order_id":"O6","merchant_id":"M3","mode":"single","amount_minor":4200,"currency":"CNY","response_code":"00","business_time":"2025-09-22T10:08:00+08:00"}}
`,
	"lines.jsonl": `{"arrival":"2025-09-23T09:30:00+08:00","record":{"type":"line","batch_id":"B1","line_id":"L1","acquirer":"acq","order_id":"O1","stage":"paid_out","gross_minor":10000,"currency":"CNY"}}
{"arrival":"2025-09-23T09:30:00+08:00","record":{"type":"line","batch_id":"B1","line_id":"L2","acquirer":"acq","order_id":"O1","stage":"paid_out","gross_minor":10000,"currency":"CNY"}}
{"arrival":"2025-09-23T09:30:00+08:00","record":{"type":"line","batch_id":"B1","line_id":"L3","acquirer":"acq","order_id":"X9","stage":"paid_out","gross_minor":330,"currency":"CNY"}}
{"arrival":"2025-09-23T18:30:00+08:00","record":{"type":"line","batch_id":"B2","line_id":"L4","acquirer":"acq","order_id":"O6","stage":"paid_out","gross_minor":4200,"currency":"CNY"}}
`,
	"matched.jsonl": `{"arrival":"2025-09-22T10:00:01+08:00","record":{"type":"authorization","event_id":"m1","acquirer":"acq","order_id":"O9","merchant_id":"M1","mode":"single","amount_minor":10000,"currency":"CNY","response_code":"00","business_time":"2025-09-22T10:00:00+08:00"}}
{"arrival":"2025-09-23T09:30:00+08:00","record":{"type":"line","batch_id":"B1","line_id":"L9","acquirer":"acq","order_id":"O9","stage":"paid_out","gross_minor":10000,"currency":"CNY"}}
`,
	"empty.jsonl": "",
	"blank.jsonl": "\r\n\n",
	// One of each: an amount that cannot be read, another encoding, a line that is too
	// long, and the end of the file in the middle of a record.
	"broken.jsonl": `{"arrival":"2025-09-22T10:00:01+08:00","record":{"type":"authorization","event_id":"b1","acquirer":"acq","order_id":"O1","merchant_id":"M1","mode":"single","amount_minor":10000,"currency":"CNY","response_code":"00","business_time":"2025-09-22T10:00:00+08:00"}}` + "\r\n" +
		`{"arrival":"2025-09-22T10:00:01+08:00","record":{"type":"authorization","event_id":"b2","acquirer":"acq","order_id":"O2","merchant_id":"M1","mode":"single","amount_minor":"1e4","currency":"CNY","response_code":"00","business_time":"2025-09-22T10:00:00+08:00"}}` + "\n" +
		`{"arrival":"2025-09-22T10:00:01+08:00","record":{"type":"authorization","event_id":"b3","acquirer":"acq","order_id":"O3","merchant_id":"` + "\xc9\xcc\xbb\xa7" + `","mode":"single","amount_minor":10000,"currency":"CNY","response_code":"00","business_time":"2025-09-22T10:00:00+08:00"}}` + "\n" +
		`{"arrival":"` + strings.Repeat("2025", 1<<17) + `"}` + "\n" +
		`{"arrival":"2025-09-22T10:00:01+08:00","record":{"type":"authorization","event_id":"b5","acquirer":"acq","order_id":"O5","merc`,
	"packed.jsonl": "\x1f\x8b\x08\x00\x00\x00\x00\x00",
}

// TestReconcileCommand runs the built binary as a person or a program does.
func TestReconcileCommand(t *testing.T) {
	dir := t.TempDir()
	for name, text := range reconcileFiles {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	const asOf = "--as-of=2025-09-24T10:00:00+08:00"
	for _, c := range []struct {
		golden string
		args   []string
		stdin  string
		status int
	}{
		{"help", []string{"--help"}, "", 0},
		{"findings", []string{asOf, "sales.jsonl", "lines.jsonl"}, "", 1},
		{"findings_json", []string{asOf, "--json", "--rejects=rejects.jsonl", "sales.jsonl", "lines.jsonl"}, "", 1},
		{"nothing", []string{asOf, "matched.jsonl", "empty.jsonl"}, "", 0},
		{"nothing_json", []string{asOf, "--json", "matched.jsonl"}, "", 0},
		{"stdin_json", []string{asOf, "--json", "--stdin-name=sales.jsonl", "-"}, reconcileFiles["matched.jsonl"], 0},
		{"no_files", []string{asOf}, "", 2},
		{"bad_files", []string{asOf, "sales.jsonl", ".", "missing.jsonl"}, "", 2},
		{"bad_flags", []string{"--as-of=tomorrow", "--profile=none.yaml", "--config=none.yaml", "sales.jsonl"}, "", 2},
		{"broken", []string{asOf, "broken.jsonl", "blank.jsonl"}, "", 1},
		{"packed", []string{asOf, "packed.jsonl", "sales.jsonl"}, "", 2},
		{"only_empty_json", []string{asOf, "--json", "empty.jsonl"}, "", 2},
	} {
		t.Run(c.golden, func(t *testing.T) {
			commandSays(t, dir, "reconcile_"+c.golden+".txt", append([]string{"reconcile"}, c.args...), c.stdin, c.status)
		})
	}
	rejects, err := os.ReadFile(filepath.Join(dir, "rejects.jsonl"))
	if err != nil {
		t.Fatal(err)
	}
	commandGolden(t, "reconcile_rejects.jsonl", rejects)
}

// TestReconcileStopped: Ctrl-C ends it with a word of how far it came, and a
// program that reads standard output finds nothing there.
func TestReconcileStopped(t *testing.T) {
	cmd := exec.CommandContext(t.Context(), binary(t, "settlewatch"), "reconcile", "--as-of=now", "--json", "-")
	keyboard, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	var out, said bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &said
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	// More than a pipe holds: when it is written, the command reads.
	for range 200 {
		if _, err := keyboard.Write([]byte(reconcileFiles["matched.jsonl"])); err != nil {
			t.Fatal(err)
		}
	}
	if err := cmd.Process.Signal(syscall.SIGINT); err != nil {
		t.Fatal(err)
	}
	var failed *exec.ExitError
	if err := cmd.Wait(); !errors.As(err, &failed) || failed.ExitCode() != 2 {
		t.Errorf("ended with %v, want exit status 2", err)
	}
	if out.Len() > 0 || !strings.Contains(said.String(), "there is no result") {
		t.Errorf("standard output %q, standard error %q", out.String(), said.String())
	}
}
