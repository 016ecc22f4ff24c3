package main

import (
	"context"
	"errors"
	"fmt"

	"github.com/spf13/cobra"

	"settlewatch/pipelines/warehouse"
	"settlewatch/services/boot"
)

func mendCommand() *cobra.Command {
	var checkOnly, yes, asJSON bool
	cmd := &cobra.Command{
		Use:   "mend",
		Short: "Put damaged parts of ClickHouse's tables aside",
		Long: `Has ClickHouse read every part of the tables and hold it to its checksums. Where a part
is damaged, its table is detached and attached again: ClickHouse then puts the part
aside (system.detached_parts), and the parts that it was merged from, which it keeps for
eight minutes, stand in for it.

ClickHouse 26.7 leaves such parts when its disk is full while it merges; asking for their
rows then fails (CORRUPTED_DATA, "Empty marks file"). Stop the warehouse service before,
start it after, and run "settlewatch audit": it tells whether rows are missing.

Exit status: 0 no part was damaged; 1 some were; 2 it could not run.`,
		Example: `  settlewatch mend --check
  settlewatch mend
  settlewatch mend --yes --json | jq '.damaged[].part'`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return withTables(cmd, func(tables *warehouse.Warehouse) error {
				return runMend(cmd.Context(), tables, checkOnly, yes || asJSON, asJSON)
			})
		},
	}
	cmd.Flags().BoolVar(&checkOnly, "check", false, "show what is damaged, change nothing")
	cmd.Flags().BoolVar(&yes, "yes", false, "do not ask before a table is detached")
	cmd.Flags().BoolVar(&asJSON, "json", false, "print the result as one JSON object; does not ask")
	serverFlags(cmd, boot.NeedClickHouse)
	return cmd
}

// mended is the object that --json prints.
type mended struct {
	Damaged []warehouse.Damage `json:"damaged"`
	// Mended: they were put aside, and nothing is damaged any more.
	Mended bool `json:"mended"`
}

// Equal makes it one of what the recovering commands tell.
func (m *mended) Equal() bool { return len(m.Damaged) == 0 }

func runMend(ctx context.Context, tables *warehouse.Warehouse, checkOnly, yes, asJSON bool) error {
	read := func() ([]warehouse.Damage, error) {
		show, done := progressOf("reading bytes of parts")
		defer done()
		return tables.Damaged(ctx, show)
	}
	m := &mended{Damaged: []warehouse.Damage{}}
	found, err := read()
	if err != nil {
		return err
	}
	m.Damaged = append(m.Damaged, found...)
	if len(found) == 0 || checkOnly {
		return tell(m, asJSON, sayMended)
	}
	if !yes && !agreed(ctx, fmt.Sprintf("%d damaged parts. Detach their tables and attach them again?", len(found))) {
		return errors.New("nothing was changed")
	}
	if err := tables.LoadAgain(ctx, found); err != nil {
		return err
	}
	switch left, err := read(); {
	case err != nil:
		return err
	case len(left) > 0:
		return fmt.Errorf("part %s of %s is damaged still: %s", left[0].Part, left[0].Table, left[0].Reason)
	}
	m.Mended = true
	return tell(m, asJSON, sayMended)
}

func sayMended(m *mended, p palette) {
	for _, d := range m.Damaged {
		fmt.Printf("%s %s: %s\n", d.Table, d.Part, d.Reason)
	}
	switch {
	case len(m.Damaged) == 0:
		fmt.Println(p.good("no part is damaged"))
	case m.Mended:
		fmt.Printf("%s; run settlewatch audit to see whether rows are missing\n", p.good(fmt.Sprintf("%d parts were put aside", len(m.Damaged))))
	default:
		fmt.Println(p.bad(fmt.Sprintf("%d parts are damaged", len(m.Damaged))))
	}
}
