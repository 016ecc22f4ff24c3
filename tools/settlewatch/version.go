package main

import (
	"encoding/json"
	"fmt"
	"runtime"
	"runtime/debug"
	"strings"

	"github.com/spf13/cobra"

	"settlewatch/pipelines/calendar"
	"settlewatch/pipelines/join"
	"settlewatch/schemas/alert"
	schema "settlewatch/schemas/table"
	"settlewatch/services/telemetry"
)

func versionCommand() *cobra.Command {
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "version",
		Short: "Print the version, and those that a configuration may ask for",
		Long: `Prints the version of this program and those of everything that alerts depend on: a
configuration names them, and a service that lacks one stops instead of judging otherwise.

Exit status: 0.`,
		Example: `  settlewatch version
  settlewatch version --json | jq .calendars`,
		Args: cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error { return runVersion(asJSON) },
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "print as one JSON object")
	return cmd
}

type versions struct {
	Version  string `json:"version"`
	Commit   string `json:"commit,omitempty"`
	Modified bool   `json:"modified,omitempty"` // files were not those of the commit
	Go       string `json:"go"`
	Platform string `json:"platform"`
	// What a configuration may ask for.
	JoinVersion  uint32   `json:"join_version"`
	AlertVersion uint32   `json:"alert_version"`
	TZData       string   `json:"tzdata"`
	Calendars    []string `json:"calendars"`
	// What is stored.
	StateFormat   int   `json:"state_format"`
	TablesVersion int64 `json:"tables_version"`
}

func readVersions() (versions, error) {
	v := versions{
		Go: runtime.Version(), Platform: runtime.GOOS + "/" + runtime.GOARCH,
		JoinVersion: join.Version, AlertVersion: alert.Version, TZData: calendar.TZDataVersion, StateFormat: join.StateFormat,
	}
	if v.Version, _ = telemetry.Version(); v.Version == "(devel)" || v.Version == "unknown" {
		v.Version = "development"
	}
	if info, ok := debug.ReadBuildInfo(); ok {
		for _, s := range info.Settings {
			switch s.Key {
			case "vcs.revision":
				v.Commit = s.Value
			case "vcs.modified":
				v.Modified = s.Value == "true"
			}
		}
	}
	calendars, err := calendar.Versions()
	if err != nil {
		return v, err
	}
	for _, c := range calendars {
		v.Calendars = append(v.Calendars, c.Name+"@"+c.Version)
	}
	migrations, err := schema.Migrations()
	if err != nil {
		return v, err
	}
	v.TablesVersion = migrations[len(migrations)-1].Version
	return v, nil
}

func runVersion(asJSON bool) error {
	v, err := readVersions()
	if err != nil {
		return err
	}
	if asJSON {
		b, err := json.Marshal(v)
		if err != nil {
			return fmt.Errorf("encode versions: %w", err)
		}
		_, err = fmt.Println(string(b))
		return err
	}
	commit := v.Commit
	switch {
	case commit == "":
		commit = "not known"
	case v.Modified:
		commit += ", with changes"
	}
	_, err = fmt.Printf(`settlewatch %s
  commit     %s
  built by   %s for %s
  join       %d
  alerts     %d
  tzdata     %s
  calendars  %s
  state      format %d
  tables     version %d
`, v.Version, commit, v.Go, v.Platform, v.JoinVersion, v.AlertVersion, v.TZData, strings.Join(v.Calendars, ", "), v.StateFormat, v.TablesVersion)
	return err
}
