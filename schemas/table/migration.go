package table

import (
	"fmt"
	"strconv"
	"strings"
)

// Migration is one step to this version's tables and views.
type Migration struct {
	Version int64
	// Name of its file, such as 00001_tables.sql.
	Name string
}

// Migrations of this version, in the order in which they are applied.
func Migrations() ([]Migration, error) {
	files, err := embedded.ReadDir("migrations")
	if err != nil {
		return nil, fmt.Errorf("read migrations: %w", err)
	}
	out := make([]Migration, 0, len(files)) // ReadDir sorts by name
	for _, f := range files {
		number, _, _ := strings.Cut(f.Name(), "_")
		version, err := strconv.ParseInt(number, 10, 64)
		if err != nil {
			return nil, fmt.Errorf("read version of migration %s: %w", f.Name(), err)
		}
		out = append(out, Migration{Version: version, Name: f.Name()})
	}
	return out, nil
}
