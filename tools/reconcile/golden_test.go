package reconcile_test

import (
	"bytes"
	"errors"
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"settlewatch/pipelines/profile"
	"settlewatch/tools/reconcile"
)

var update = flag.Bool("update", false, "rewrite the golden files that exist")

func golden(t *testing.T, name string, got []byte) {
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

func gbkProfile(t *testing.T) *profile.Profile {
	t.Helper()
	text, err := os.ReadFile(filepath.Join("testdata", "gbk.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	p, err := profile.Parse(text)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// TestGBK reads an invented vendor's two files, in Chinese and in GBK: captures
// with a cycle by channel, and a settlement file with what is wrong with them.
func TestGBK(t *testing.T) {
	o := options(t, "2025-09-23T12:00:01+08:00",
		filepath.Join("testdata", "交易_20250922.csv"), filepath.Join("testdata", "结算_20250923.csv"))
	o.Profile = gbkProfile(t)
	r := reconciled(t, o)
	var text, lines bytes.Buffer
	if err := errors.Join(r.WriteText(&text, false), r.WriteJSON(&lines)); err != nil {
		t.Fatal(err)
	}
	golden(t, "gbk.txt", text.Bytes())
	golden(t, "gbk.jsonl", lines.Bytes())
}

// TestColour: a terminal gets colours, and the same text.
func TestColour(t *testing.T) {
	dir := write(t, map[string]string{"sales.jsonl": saleOf("O1") + "{}\n"})
	r := reconciled(t, options(t, "2025-09-24T00:00:00+08:00", filepath.Join(dir, "sales.jsonl")))
	var plain, colour bytes.Buffer
	if err := errors.Join(r.WriteText(&plain, false), r.WriteText(&colour, true)); err != nil {
		t.Fatal(err)
	}
	if strings.Contains(plain.String(), "\x1b") || !strings.Contains(colour.String(), "\x1b[31mOPEN") {
		t.Errorf("plain %q, in colour %q", plain.String(), colour.String())
	}
}

// TestProfileDoesNotFit: a file that the profile does not name, and one without a
// column that it names, are no files that happen to have no alerts.
func TestProfileDoesNotFit(t *testing.T) {
	capture, err := os.ReadFile(filepath.Join("testdata", "交易_20250922.csv"))
	if err != nil {
		t.Fatal(err)
	}
	dir := write(t, map[string]string{"other.csv": "a,b\n1,2\n", "结算_1.csv": string(capture)})
	for name, want := range map[string]error{"other.csv": profile.ErrNoPattern, "结算_1.csv": profile.ErrMissingColumn} {
		o := options(t, noonDue, filepath.Join(dir, name))
		o.Profile = gbkProfile(t)
		r, err := reconcile.Run(t.Context(), o)
		if !errors.Is(err, want) || r != nil || !strings.Contains(err.Error(), name) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// TestTies: events that arrived together are judged in the order of their feeds,
// so that an alert's id does not hang on what a file is called.
func TestTies(t *testing.T) {
	const together = "2025-09-22T10:00:01+08:00"
	twice := payoutOf("O1", together) + strings.ReplaceAll(payoutOf("O1", together), "L-O1", "M-O1")
	var ids []string
	for _, names := range [][2]string{{"a.jsonl", "z.jsonl"}, {"z.jsonl", "a.jsonl"}} {
		dir := write(t, map[string]string{names[0]: saleOf("O1"), names[1]: twice})
		r := reconciled(t, options(t, noonDue, filepath.Join(dir, "a.jsonl"), filepath.Join(dir, "z.jsonl")))
		if len(r.Alerts) != 1 || r.Alerts[0].Evidence[0].Kind != "authorization" {
			t.Fatalf("alerts %+v", r.Alerts)
		}
		ids = append(ids, r.Alerts[0].ID)
	}
	if ids[0] != ids[1] {
		t.Errorf("ids %v", ids)
	}
}
