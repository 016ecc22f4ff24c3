package table

import (
	"context"
	"database/sql"
	"embed"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"regexp"
	"strings"

	"github.com/pressly/goose/v3"
)

//go:embed migrations/*.sql
var embedded embed.FS

// DefaultDatabase is the database that the migrations name; Migrate puts
// another one in its place where told.
const DefaultDatabase = "settlewatch"

// versionTable is where goose keeps what it has applied.
const versionTable = "schema_versions"

var databaseName = regexp.MustCompile(`^[a-z_][a-z0-9_]{0,62}$`)

// CheckDatabase tells whether a name can be used for the database: it is
// written into statements as it is.
func CheckDatabase(name string) error {
	if !databaseName.MatchString(name) {
		return fmt.Errorf("database name %q: want lower-case letters, digits and underscores, not a digit first", name)
	}
	return nil
}

// Migrate brings a database to this version's tables and views. db is a
// connection to ClickHouse's `default` database: every statement names the
// database it is about, which is created where it is missing. Running it again,
// or twice at once, changes nothing. progress may be nil.
func Migrate(ctx context.Context, db *sql.DB, database string, progress func(string)) error {
	if progress == nil {
		progress = func(string) {}
	}
	if err := CheckDatabase(database); err != nil {
		return err
	}
	if _, err := db.ExecContext(ctx, "CREATE DATABASE IF NOT EXISTS "+database); err != nil {
		return fmt.Errorf("create database %s: %w", database, err)
	}
	provider, err := goose.NewProvider(goose.DialectClickHouse, db, migrations{database},
		goose.WithTableName(database+"."+versionTable), goose.WithDisableGlobalRegistry(true))
	if err != nil {
		return fmt.Errorf("read migrations: %w", err)
	}
	for {
		applied, err := provider.UpByOne(ctx)
		if errors.Is(err, goose.ErrNoNextVersion) {
			return nil
		}
		if err != nil {
			return fmt.Errorf("migrate database %s: %w", database, err)
		}
		progress(fmt.Sprintf("database %s: applied %s", database, strings.TrimPrefix(applied.Source.Path, "migrations/")))
	}
}

// migrations are the embedded files with the database's name put in.
type migrations struct{ database string }

func (m migrations) ReadDir(string) ([]fs.DirEntry, error) { return embedded.ReadDir("migrations") }

func (m migrations) Open(name string) (fs.File, error) {
	if name == "." {
		return embedded.Open("migrations")
	}
	f, err := embedded.Open("migrations/" + name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	b, err := io.ReadAll(f)
	if err != nil {
		return nil, err
	}
	info, err := f.Stat()
	if err != nil {
		return nil, err
	}
	text := strings.ReplaceAll(string(b), DefaultDatabase+".", m.database+".")
	return &openFile{Reader: strings.NewReader(text), info: info}, nil
}

// openFile is one migration being read.
type openFile struct {
	*strings.Reader
	info fs.FileInfo
}

func (f *openFile) Stat() (fs.FileInfo, error) { return f.info, nil }
func (f *openFile) Close() error               { return nil }
