package deploycheck

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"go.yaml.in/yaml/v3"

	"settlewatch/services/boot"
)

const (
	chart   = root + "deploy/helm/settlewatch/"
	allNeed = boot.NeedKafka | boot.NeedRedis | boot.NeedClickHouse | boot.NeedCardKey | boot.NeedService
)

type values struct {
	Settings map[string]any `yaml:"settings"`
	Secret   struct {
		Keys map[string]string `yaml:"keys"`
	} `yaml:"secret"`
}

// The chart writes the settings into the file that --config names, and the secrets
// into files that NAME-file names: a key that no service has stops them all.
func TestChartSettings(t *testing.T) {
	paths, err := filepath.Glob(chart + "ci/*.yaml")
	if err != nil || len(paths) == 0 {
		t.Fatalf("no examples of values: %v", err)
	}
	for _, path := range append(paths, chart+"values.yaml") {
		text, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		var v values
		if err := yaml.Unmarshal(text, &v); err != nil {
			t.Fatal(err)
		}
		for name := range v.Settings {
			if !known(allNeed, name) {
				t.Errorf("%s: settings.%s: no service has it", path, name)
			}
		}
		for name := range v.Secret.Keys {
			if !known(allNeed, name+"-file") || known(allNeed, name) {
				t.Errorf("%s: secret.keys.%s: no service has such a secret", path, name)
			}
		}
		// The commented examples in values.yaml are what people uncomment.
		for _, m := range regexp.MustCompile(`(?m)^  # ([a-z][a-z-]+):`).FindAllStringSubmatch(string(text), -1) {
			if !known(allNeed, m[1]) {
				t.Errorf("%s: the example of %s: no service has it", path, m[1])
			}
		}
	}
}

func TestChartVariables(t *testing.T) {
	text, err := os.ReadFile(chart + "templates/_names.tpl")
	if err != nil {
		t.Fatal(err)
	}
	body := strings.ReplaceAll(string(text), "SETTLEWATCH_{{ upper . }}_", "SETTLEWATCH_KAFKA_")
	found := regexp.MustCompile(`SETTLEWATCH_[A-Z_]+[A-Z]`).FindAllString(body, -1)
	if len(found) < 3 {
		t.Fatalf("variables %v: are they still written so?", found)
	}
	for _, variable := range found {
		if !known(allNeed, settingOf(variable)) {
			t.Errorf("%s is no setting", variable)
		}
	}
}

// Compose and the chart call the tool with flags: it must have them.
func TestToolHasTheFlags(t *testing.T) {
	binary := filepath.Join(t.TempDir(), "settlewatch")
	if dir := os.Getenv("SETTLEWATCH_BIN"); dir != "" {
		binary = filepath.Join(dir, "settlewatch")
	} else if out, err := exec.CommandContext(t.Context(), "go", "build", "-o", binary, "settlewatch/tools/settlewatch").CombinedOutput(); err != nil {
		t.Fatalf("build the tool: %v\n%s", err, out)
	}
	calls := [][]string{compose(t).Services["configure"].Command}
	text, err := os.ReadFile(chart + "templates/jobs.yaml")
	if err != nil {
		t.Fatal(err)
	}
	for _, m := range regexp.MustCompile(`set \$programs "[a-z]+" \(list (.*)\) }}`).FindAllStringSubmatch(string(text), -1) {
		var call []string
		for _, word := range regexp.MustCompile(`"([^"]+)"`).FindAllStringSubmatch(m[1], -1) {
			call = append(call, word[1])
		}
		calls = append(calls, call)
	}
	if len(calls) != 3 {
		t.Fatalf("%d calls of the tool, want compose's and the chart's two", len(calls))
	}
	for _, call := range calls {
		help, err := exec.CommandContext(t.Context(), binary, call[0], "--help").CombinedOutput()
		if err != nil || !strings.Contains(string(help), "settlewatch "+call[0]) {
			t.Errorf("settlewatch %s --help: %v\n%s", call[0], err, help)
		}
		for _, word := range call[1:] {
			if strings.HasPrefix(word, "--") && !strings.Contains(string(help), word+" ") {
				t.Errorf("settlewatch %s has no %s", call[0], word)
			}
		}
	}
}

// The image is built with the Go release that the modules ask for, or a later one.
func TestContainerFile(t *testing.T) {
	text, err := os.ReadFile(root + "deploy/Dockerfile")
	if err != nil {
		t.Fatal(err)
	}
	for _, line := range []string{"USER 65532:65532", "FROM scratch", "CGO_ENABLED=0", `ENTRYPOINT ["/program"]`} {
		if !strings.Contains(string(text), line) {
			t.Errorf("the container file has no %s", line)
		}
	}
	image := regexp.MustCompile(`FROM golang:(\d+\.\d+)\.\d+`).FindStringSubmatch(string(text))
	if image == nil {
		t.Fatal("the container file is not built from a pinned release of Go")
	}
	for _, module := range []string{"schemas", "pipelines", "services", "tools"} {
		mod, err := os.ReadFile(root + module + "/go.mod")
		if err != nil {
			t.Fatal(err)
		}
		if asked := regexp.MustCompile(`(?m)^go (\d+\.\d+)`).FindSubmatch(mod); asked == nil || string(asked[1]) != image[1] {
			t.Errorf("%s wants another Go than the container file's %s", module, image[1])
		}
	}
}
