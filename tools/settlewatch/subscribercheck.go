package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"

	"github.com/spf13/cobra"

	"settlewatch/pipelines/subscribe/conformance"
)

func subscriberCheckCommand() *cobra.Command {
	var cases, asJSON bool
	cmd := &cobra.Command{
		Use:   "subscriber-check -- PROGRAM [ARGUMENT...]",
		Short: "Hold your own consumer of the alerts to the contract",
		Long: `Plays the cases of the alert contract to a program in any language: repeats, reordered
revisions, retractions, restarts, unknown fields, large amounts. No server is needed.

For each life in a case the program is started. It reads records from standard input,
one a line:
  {"topic":…,"key":…,"headers":{…},"value":"<the body, as text>"}
writes one line for each revision that it acts on, at once and in order:
  {"id":…,"revision":…,"status":…,"amount_minor":…}
and ends with status 0 at the end of its input, or with another status at a record that
must not be trusted. What it stores it keeps in the folder that ` + conformance.DirEnv + `
names: the next life of the same case finds it there, as after a restart.

--cases prints the cases as JSON, one a line, for a test of your own. In Go, use the
package settlewatch/pipelines/subscribe/conformance.

Exit status: 0 the program keeps to the contract; 1 it does not (the cases say where);
2 it could not be run.`,
		Example: `  settlewatch subscriber-check -- python3 tools/examples/subscriber-python/check.py
  settlewatch subscriber-check --json -- ./my-consumer --stdin
  settlewatch subscriber-check --cases | jq -c .name`,
		RunE: func(cmd *cobra.Command, args []string) error {
			if cases {
				return printCases()
			}
			if len(args) == 0 {
				return errors.New("subscriber-check: name the program to check after --\nSee `settlewatch subscriber-check --help`")
			}
			return checkSubscriber(cmd.Context(), args, asJSON)
		},
	}
	cmd.Flags().BoolVar(&cases, "cases", false, "print the cases as JSON, one a line, and check nothing")
	cmd.Flags().BoolVar(&asJSON, "json", false, "print one JSON object a case")
	return cmd
}

func printCases() error {
	encoder := json.NewEncoder(os.Stdout)
	for _, c := range conformance.Cases() {
		if err := encoder.Encode(c); err != nil {
			return fmt.Errorf("print case: %w", err)
		}
	}
	return nil
}

func checkSubscriber(ctx context.Context, program []string, asJSON bool) error {
	p, broken := paletteOf(os.Stdout), 0
	for _, c := range conformance.Cases() {
		dir, err := os.MkdirTemp("", "settlewatch-check-")
		if err != nil {
			return fmt.Errorf("make a folder for the program: %w", err)
		}
		found := conformance.PlayProgram(ctx, c, dir, program)
		if err := os.RemoveAll(dir); err != nil {
			return fmt.Errorf("remove the program's folder: %w", err)
		}
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if errors.Is(found, conformance.ErrNotRun) {
			return found
		}
		verdict := ""
		if found != nil {
			broken++
			verdict = found.Error()
		}
		switch {
		case asJSON:
			err = printJSON(os.Stdout, []map[string]any{{"case": c.Name, "ok": found == nil, "problem": verdict}})
		case found == nil:
			_, err = fmt.Printf("%s %s\n", p.good("ok    "), c.Name)
		default:
			_, err = fmt.Printf("%s %s\n       %s\n", p.bad("broken"), c.Name, verdict)
		}
		if err != nil {
			return fmt.Errorf("print: %w", err)
		}
	}
	if broken > 0 {
		return errFindings
	}
	return nil
}
