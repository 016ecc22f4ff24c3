package deploycheck

import (
	"bufio"
	"os"
	"slices"
	"strings"
	"testing"

	"settlewatch/pipelines/servers"
)

// TestRedisSettingsAreMeasured holds the settings that an operator copies to those that
// the demo, the tests and the benchmarks run with.
func TestRedisSettingsAreMeasured(t *testing.T) {
	file, err := os.Open(root + "deploy/redis/redis.conf")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = file.Close() }()
	var shipped []string
	for lines := bufio.NewScanner(file); lines.Scan(); {
		name, value, found := strings.Cut(lines.Text(), " ")
		if !found || name == "#" {
			continue
		}
		shipped = append(shipped, "--"+name, strings.Trim(value, `"`))
	}
	if run := servers.RedisSettings(); !slices.Equal(shipped, run) {
		t.Errorf("deploy/redis/redis.conf has\n%q\nservers are started with\n%q", shipped, run)
	}
}
