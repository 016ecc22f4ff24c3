package main

import (
	"context"
	"encoding/json"
	"fmt"
	"os"

	"github.com/jedib0t/go-pretty/v6/table"
	"github.com/spf13/cobra"

	"settlewatch/pipelines/warehouse"
	schema "settlewatch/schemas/table"
	"settlewatch/services/boot"
)

func migrateCommand() *cobra.Command {
	var statusOnly, asJSON bool
	cmd := &cobra.Command{
		Use:   "migrate",
		Short: "Bring ClickHouse to this release's tables and views",
		Long: `Makes the database where it is missing and applies the migrations that are not applied
yet. Running it again, or twice at once, changes nothing. The warehouse service does
the same at its start; this command is for doing it before, with other rights.

Exit status: 0 the tables are this release's, 1 with --status: they are not, 2 could not run.`,
		Example: `  settlewatch migrate --status
  settlewatch migrate --clickhouse-dsn clickhouse://c1:9000/settlewatch
  SETTLEWATCH_CLICKHOUSE_DSN=clickhouse://admin:…@c1:9440/?secure=true settlewatch migrate`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return withTables(cmd, func(tables *warehouse.Warehouse) error {
				return runMigrate(cmd.Context(), tables, statusOnly, asJSON)
			})
		},
	}
	cmd.Flags().BoolVar(&statusOnly, "status", false, "show what is applied and what is not, change nothing")
	cmd.Flags().BoolVar(&asJSON, "json", false, "print the result as one JSON object")
	serverFlags(cmd, boot.NeedClickHouse)
	return cmd
}

// migrated is the object that --json prints.
type migrated struct {
	Before     int64           `json:"version_before"`
	Now        int64           `json:"version"`
	Release    int64           `json:"version_of_this_release"`
	Migrations []migrationLine `json:"migrations"`
}

type migrationLine struct {
	Version int64  `json:"version"`
	Name    string `json:"name"`
	Applied string `json:"applied,omitempty"` // when; absent: not applied
}

func runMigrate(ctx context.Context, tables *warehouse.Warehouse, statusOnly, asJSON bool) error {
	m, err := lookAtMigrations(ctx, tables)
	if err != nil {
		return err
	}
	if !statusOnly {
		before := m.Now
		if err := tables.Migrate(ctx, func(step string) { fmt.Fprintln(os.Stderr, step) }); err != nil {
			return err
		}
		if m, err = lookAtMigrations(ctx, tables); err != nil {
			return err
		}
		m.Before = before
	}
	if err := sayMigrated(m, statusOnly, asJSON); err != nil {
		return err
	}
	if m.Now < m.Release {
		return errFindings
	}
	return nil
}

// lookAtMigrations reads what is applied, also where there is no database yet.
func lookAtMigrations(ctx context.Context, tables *warehouse.Warehouse) (migrated, error) {
	all, err := schema.Migrations()
	if err != nil {
		return migrated{}, err
	}
	m := migrated{Release: all[len(all)-1].Version}
	there, err := tables.Ask(ctx, "SELECT 1 FROM system.tables WHERE concat(database, '.', name) = 'settlewatch.schema_versions'", nil)
	if err != nil {
		return migrated{}, err
	}
	applied := map[int64]string{}
	if len(there.Rows) > 0 {
		rows, err := tables.Ask(ctx, `SELECT version_id, max(tstamp) FROM settlewatch.schema_versions
			WHERE is_applied = 1 AND version_id > 0 GROUP BY version_id`, nil)
		if err != nil {
			return migrated{}, err
		}
		for _, row := range rows.Rows {
			version, is := row[0].(int64)
			if !is {
				return migrated{}, fmt.Errorf("read applied migrations: version_id is a %T", row[0])
			}
			applied[version] = fmt.Sprint(row[1])
			m.Now = max(m.Now, version)
		}
	}
	m.Before = m.Now
	for _, one := range all {
		m.Migrations = append(m.Migrations, migrationLine{one.Version, one.Name, applied[one.Version]})
	}
	return m, nil
}

func sayMigrated(m migrated, statusOnly, asJSON bool) error {
	if asJSON {
		b, err := json.Marshal(m)
		if err != nil {
			return fmt.Errorf("encode result: %w", err)
		}
		_, err = fmt.Println(string(b))
		return err
	}
	var err error
	switch {
	case statusOnly:
		t := newStatusTable("version", "migration", "applied")
		p := paletteOf(os.Stdout)
		for _, one := range m.Migrations {
			when := one.Applied
			if when == "" {
				when = p.warn("not yet")
			}
			t.AppendRow(table.Row{one.Version, one.Name, when})
		}
		_, err = fmt.Println(t.Render())
	case m.Before == m.Now:
		_, err = fmt.Printf("tables are at version %d: nothing to do\n", m.Now)
	default:
		_, err = fmt.Printf("tables went from version %d to %d\n", m.Before, m.Now)
	}
	if err == nil && m.Now > m.Release {
		_, err = fmt.Fprintf(os.Stderr, "the tables are of a newer release (version %d, this release has %d)\n", m.Now, m.Release)
	}
	return err
}
