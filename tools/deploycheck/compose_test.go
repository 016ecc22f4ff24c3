package deploycheck

import (
	"context"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/compose-spec/compose-go/v2/loader"
	"github.com/compose-spec/compose-go/v2/types"
	"github.com/spf13/pflag"

	"settlewatch/services/boot"
)

const root = "../../"

// programs that run in containers, and what they connect to.
var programs = map[string]boot.Need{
	"services/authorization": boot.NeedKafka | boot.NeedCardKey | boot.NeedService,
	"services/capture":       boot.NeedKafka | boot.NeedCardKey | boot.NeedService,
	"services/settlement":    boot.NeedKafka | boot.NeedCardKey | boot.NeedService,
	"services/joiner":        boot.NeedKafka | boot.NeedRedis | boot.NeedService,
	"services/warehouse":     boot.NeedKafka | boot.NeedClickHouse | boot.NeedService,
	"tools/settlewatch":      boot.NeedKafka | boot.NeedClickHouse,
}

// known tells whether a program has a setting of that name, which is not a secret
// in the clear.
func known(need boot.Need, name string) bool {
	flags := pflag.NewFlagSet("", pflag.ContinueOnError)
	boot.AddFlags(flags, need)
	return flags.Lookup(name) != nil
}

const envPrefix = "SETTLEWATCH_"

func settingOf(variable string) string {
	return strings.ReplaceAll(strings.ToLower(strings.TrimPrefix(variable, envPrefix)), "_", "-")
}

func compose(t *testing.T) *types.Project {
	t.Helper()
	dir, err := filepath.Abs(root + "deploy")
	if err != nil {
		t.Fatal(err)
	}
	project, err := loader.LoadWithContext(context.Background(), types.ConfigDetails{
		WorkingDir:  dir,
		ConfigFiles: []types.ConfigFile{{Filename: filepath.Join(dir, "compose.yaml")}},
		Environment: types.Mapping{},
	}, func(o *loader.Options) { o.Profiles = []string{"*"} })
	if err != nil {
		t.Fatal(err)
	}
	return project
}

// version is a tag that names one release: three numbers, perhaps a variant.
var version = regexp.MustCompile(`^[^:]+:v?[0-9]+\.[0-9]+\.[0-9]+(-[a-z]+)?$`)

func TestComposeServices(t *testing.T) {
	project := compose(t)
	ours := map[string]bool{}
	for name, s := range project.Services {
		if !version.MatchString(s.Image) {
			t.Errorf("%s: image %q is not pinned to a release", name, s.Image)
		}
		if s.HealthCheck == nil && s.Restart != "no" {
			t.Errorf("%s has no health check", name)
		}
		for _, p := range s.Ports {
			if p.HostIP != "127.0.0.1" {
				t.Errorf("%s: port %s is open to the network", name, p.Published)
			}
		}
		for _, secret := range s.Secrets {
			if _, ok := project.Secrets[secret.Source]; !ok {
				t.Errorf("%s: secret %q is not declared", name, secret.Source)
			}
		}
		for on := range s.DependsOn {
			if _, ok := project.Services[on]; !ok {
				t.Errorf("%s waits for %q, which is not there", name, on)
			}
		}
		if s.Build != nil {
			ours[*s.Build.Args["PROGRAM"]] = true
			composeProgram(t, name, s)
		}
	}
	for program := range programs {
		if !ours[program] {
			t.Errorf("%s is not started", program)
		}
	}
}

// composeProgram checks a container that we build.
func composeProgram(t *testing.T, name string, s types.ServiceConfig) {
	t.Helper()
	program := *s.Build.Args["PROGRAM"]
	need, ok := programs[program]
	if !ok {
		t.Errorf("%s: program %q is not known here", name, program)
		return
	}
	if _, err := os.Stat(root + program + "/main.go"); err != nil {
		t.Errorf("%s: %v", name, err)
	}
	if !s.ReadOnly || !slices.Contains(s.CapDrop, "ALL") || s.Privileged {
		t.Errorf("%s: want a read-only root and no capability", name)
	}
	granted := map[string]bool{}
	for _, secret := range s.Secrets {
		granted["/run/secrets/"+secret.Source] = true
	}
	for variable, value := range s.Environment {
		if !strings.HasPrefix(variable, envPrefix) {
			continue
		}
		if !known(need, settingOf(variable)) {
			t.Errorf("%s: %s is no setting of %s", name, variable, program)
		}
		if strings.HasPrefix(*value, "/run/secrets/") {
			if !granted[*value] {
				t.Errorf("%s: %s names %s, which the service is not given", name, variable, *value)
			}
			delete(granted, *value)
		}
	}
	for path := range granted {
		t.Errorf("%s: nothing reads %s", name, path)
	}
}

// The ports inside must be those that the settings and the probes name.
func TestComposePorts(t *testing.T) {
	project := compose(t)
	for name, s := range project.Services {
		if s.Build == nil || s.HealthCheck == nil {
			continue
		}
		_, port, _ := strings.Cut(*s.Environment["SETTLEWATCH_HTTP_ADDR"], ":")
		if !slices.ContainsFunc(s.HealthCheck.Test, func(arg string) bool { return strings.Contains(arg, ":"+port+"/readyz") }) {
			t.Errorf("%s listens at port %s and the health check asks %v", name, port, s.HealthCheck.Test)
		}
		target := "- targets: [\"" + name + ":" + port + "\"]"
		text, err := os.ReadFile(root + "deploy/prometheus/prometheus.yml")
		if err != nil {
			t.Fatal(err)
		}
		if !strings.Contains(string(text), target) {
			t.Errorf("deploy/prometheus/prometheus.yml has no %s", target)
		}
	}
	if b := project.Services["joiner"].Environment["SETTLEWATCH_KAFKA_BROKERS"]; b == nil ||
		!strings.Contains(*project.Services["kafka"].Environment["KAFKA_ADVERTISED_LISTENERS"], "://"+*b+",") {
		t.Error("the services' broker address is not one that Kafka advertises")
	}
}
