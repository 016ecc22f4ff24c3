package console

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"settlewatch/pipelines/calendar"
	"settlewatch/pipelines/join"
	"settlewatch/schemas/ruleset"
	"settlewatch/tools/reconcile"
	"settlewatch/tools/traffic"
)

// TestGuidesTellOfTheDemo: who follows a guide beside `settlewatch demo` finds the
// alerts, merchants and payments that it names, and alerts look as it shows them.
func TestGuidesTellOfTheDemo(t *testing.T) {
	// What the demo plays without flags.
	g, err := traffic.New(traffic.Options{Seed: 1, Payments: 10_000, Days: 14})
	if err != nil {
		t.Fatal(err)
	}
	files, err := g.WriteFiles(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	config := traffic.Config(ruleset.Abilities{JoinVersion: join.Version, TZData: calendar.TZDataVersion, Calendar: traffic.CalendarVersion})
	r, err := reconcile.Run(t.Context(), reconcile.Options{Files: files, Config: config, AsOfMs: g.EndMs()})
	if err != nil {
		t.Fatal(err)
	}
	shown, keys, merchants := map[string]bool{}, map[string]bool{}, map[string]bool{}
	for _, a := range r.Alerts {
		shown[Style{}.Line(a)], keys[a.PaymentKey], merchants[a.Merchant] = true, true, true
	}
	lines, commands := 0, 0
	line := regexp.MustCompile(`^20\d\d-\d\d-\d\d .* (OPEN|RESOLVED|RETRACTED) `)
	payment, merchant := regexp.MustCompile(`settlewatch payment '([^']+)'`), regexp.MustCompile(`--merchant (\S+)`)
	for _, name := range []string{"risk.md", "analyst.md"} {
		guide, err := os.ReadFile(filepath.Join("..", "..", "docs", "guides", name))
		if err != nil {
			t.Fatal(err)
		}
		for text := range strings.Lines(string(guide)) {
			text = strings.TrimSuffix(text, "\n")
			if line.MatchString(text) {
				if lines++; !shown[text] {
					t.Errorf("%s shows an alert that the demo has not:\n%s", name, text)
				}
			}
			if m := payment.FindStringSubmatch(text); m != nil {
				if commands++; !keys[m[1]] {
					t.Errorf("%s asks for payment %s, of which the demo has no alert", name, m[1])
				}
			}
			if m := merchant.FindStringSubmatch(text); m != nil {
				if commands++; !merchants[m[1]] {
					t.Errorf("%s asks for merchant %s, of which the demo has no alert", name, m[1])
				}
			}
		}
	}
	if lines < 2 || commands < 3 {
		t.Errorf("%d lines and %d commands: this test looks at nothing", lines, commands)
	}
}
