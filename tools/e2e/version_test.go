package e2e_test

import (
	"bytes"
	"os/exec"
	"regexp"
	"testing"
)

// builds are what differs from one build to the next.
var builds = []struct {
	pattern *regexp.Regexp
	instead string
}{
	{regexp.MustCompile(`(?m)^settlewatch \S+`), "settlewatch RELEASE"},
	{regexp.MustCompile(`(?m)^  commit .*`), "  commit     COMMIT"},
	{regexp.MustCompile(`(?m)^  built by .*`), "  built by   GO for PLATFORM"},
	{regexp.MustCompile(`"version":"[^"]+"(,"commit":"[^"]+")?(,"modified":true)?,"go":"[^"]+","platform":"[^"]+"`), `"version":"RELEASE","go":"GO","platform":"PLATFORM"`},
}

// TestVersionCommand: what a configuration may ask for, for people and programs. A
// change of one of these is a decision: the golden file is where it shows.
func TestVersionCommand(t *testing.T) {
	for golden, args := range map[string][]string{"version.txt": {"version"}, "version_json.txt": {"version", "--json"}} {
		out, err := exec.CommandContext(t.Context(), binary(t, "settlewatch"), args...).Output()
		if err != nil {
			t.Fatal(err)
		}
		for _, b := range builds {
			out = b.pattern.ReplaceAll(out, []byte(b.instead))
		}
		if !bytes.Contains(out, []byte("RELEASE")) {
			t.Errorf("no release in %s", out)
		}
		commandGolden(t, golden, out)
	}
	commandSays(t, t.TempDir(), "settlewatch_help.txt", []string{"--help"}, "", 0)
	commandSays(t, t.TempDir(), "settlewatch_unknown.txt", []string{"alrts"}, "", 2)
}
