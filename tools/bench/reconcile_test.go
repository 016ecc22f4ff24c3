package bench

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// A run counts by its alerts: none, too few, and a program that could not run.
func TestRunReconcileJudgesTheAlerts(t *testing.T) {
	w := Workload{Payments: 1000, Partitions: 1}
	body := func(kind string, payment int64) string {
		return fmt.Sprintf(`{"id":"%s","kind":%q,"revision":1,"status":"OPEN","payment_key":"acq1|o|%012d","amount_minor":%d}`,
			kind, kind, payment, amountMinor(payment))
	}
	late, double := body("paid_unsettled", 7), body("settled_twice", 13)
	for name, c := range map[string]struct {
		prints  []string
		status  int
		exact   bool
		problem string
	}{
		"exact":     {[]string{late, double, `{"summary":{}}`}, 1, true, ""},
		"missing":   {[]string{late, `{"summary":{}}`}, 1, false, "1 of 2 expected alerts are missing"},
		"repeated":  {[]string{late, double, double}, 1, false, "1 alerts came more than once"},
		"could not": {[]string{"x"}, 2, false, "exit status 2"},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			answer, binary := filepath.Join(dir, "answer"), filepath.Join(dir, "settlewatch")
			script := fmt.Sprintf("#!/bin/sh\n[ \"$GOMAXPROCS\" = 1 ] || exit 3\ncat %q\nexit %d\n", answer, c.status)
			if err := os.WriteFile(answer, []byte(strings.Join(c.prints, "\n")+"\n"), 0o600); err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(binary, []byte(script), 0o700); err != nil {
				t.Fatal(err)
			}
			var runs []ReconcileResult
			err := RunReconcile(t.Context(), ReconcilePlan{
				Dir: dir, Binary: binary, Workload: w, Rounds: 2, Cores: 1,
				Progress: func(string, int64, int64) {}, Done: func(r ReconcileResult) { runs = append(runs, r) },
			})
			if c.status == 2 {
				if err == nil || !strings.Contains(err.Error(), c.problem) {
					t.Fatalf("error %v", err)
				}
				return
			}
			if err != nil || len(runs) != 2 {
				t.Fatalf("%d runs, %v", len(runs), err)
			}
			if r := runs[1]; r.Exact != c.exact || strings.Join(r.Notes, "; ") != c.problem || r.Lines != w.EventCount() || r.PeakBytes == 0 {
				t.Errorf("%+v", r)
			}
		})
	}
}
