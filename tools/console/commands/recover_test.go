package commands_test

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"google.golang.org/protobuf/proto"

	"settlewatch/schemas/ruleset"
	"settlewatch/tools/configlog"
)

// The recovery commands on a demo that has come to its end: all is as it should be,
// a rebuild comes to the same, and other rules make a difference.
func TestRecoveryCommands(t *testing.T) {
	equal := func(when string) {
		t.Helper()
		for _, args := range [][]string{{"verify"}, {"verify", "--partition", "1", "--json"}, {"audit"}, {"audit", "--topic", "alerts.settled-twice.v1", "--json"}} {
			if got := command(t, "", nil, args...); got.status != 0 || strings.Contains(got.out, "different:") || got.out == "" {
				t.Errorf("%s: %s ends with %d: %s%s", when, strings.Join(args, " "), got.status, got.out, got.errors)
			}
		}
	}
	equal("at the end of the demo")
	got := command(t, "", nil, "rebuild", "--yes", "--json")
	var r struct {
		Partitions []struct{ From, End, Offset int64 }
	}
	if err := json.Unmarshal([]byte(got.out), &r); err != nil || got.status != 0 || len(r.Partitions) != 4 {
		t.Fatalf("rebuild ends with %d (%v): %s%s", got.status, err, got.out, got.errors)
	}
	for _, p := range r.Partitions {
		if p.From != 0 || p.Offset < p.End || p.End == 0 {
			t.Errorf("%+v", p)
		}
	}
	equal("after a rebuild")

	inForce, err := configlog.InForce(t.Context(), world.platform.Bus)
	if err != nil {
		t.Fatal(err)
	}
	rules := func(name, cycle string) string {
		t.Helper()
		config := proto.CloneOf(inForce.Config)
		for _, g := range config.Groups {
			if cycle != "" {
				g.Terms.Cycle = cycle
			}
		}
		text, err := ruleset.Render(config)
		if err != nil {
			t.Fatal(err)
		}
		path := filepath.Join(t.TempDir(), name)
		if err := os.WriteFile(path, text, 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	if got := command(t, "", nil, "whatif", "--rules", rules("same.yaml", "")); got.status != 0 || !strings.Contains(got.out, "no alert would be another") {
		t.Errorf("the same rules end with %d: %s%s", got.status, got.out, got.errors)
	}
	if got := command(t, "", nil, "whatif", "--rules", rules("t9.yaml", "T+9"), "--limit", "2"); got.status != 1 || !strings.Contains(got.out, "only before: these would not be raised") {
		t.Errorf("T+9 ends with %d: %s%s", got.status, got.out, got.errors)
	}
}
