package table

import (
	"embed"
	"fmt"
	"path"
	"regexp"
	"strings"
)

//go:embed queries/*.sql
var queries embed.FS

// Question is one documented query over the tables and views: a file of
// queries/, whose header says what it answers.
type Question struct {
	// Name is the file's, without .sql.
	Name string
	// Asks is the question in a sentence; About goes on, and may be empty.
	Asks, About string
	Parameters  []Parameter
	Columns     []Described
	// SQL is the whole file, header included: it can be given to any client of
	// ClickHouse with its parameters.
	SQL string
}

// Parameter of a question: {name:Type} in its SQL.
type Parameter struct {
	Name, Type string
	// Default is what the question is asked with where nothing is given.
	Default string
	About   string
}

// Described is a column of the answer.
type Described struct{ Name, About string }

// Questions are all of them, by name.
func Questions() ([]Question, error) {
	entries, err := queries.ReadDir("queries")
	if err != nil {
		return nil, fmt.Errorf("list questions: %w", err)
	}
	out := make([]Question, 0, len(entries))
	for _, e := range entries {
		text, err := queries.ReadFile(path.Join("queries", e.Name()))
		if err != nil {
			return nil, fmt.Errorf("read question %s: %w", e.Name(), err)
		}
		q, err := parseQuestion(strings.TrimSuffix(e.Name(), ".sql"), string(text))
		if err != nil {
			return nil, fmt.Errorf("question %s: %w", e.Name(), err)
		}
		out = append(out, q)
	}
	return out, nil
}

var parameterLine = regexp.MustCompile(`^(\w+) (\w+) = (.*?) -- (.+)$`)

// parseQuestion reads the header: "-- question: …", paragraphs about it, then
// the sections "-- parameters:" and "-- columns:", one entry a line.
func parseQuestion(name, text string) (Question, error) {
	q := Question{Name: name, SQL: text}
	var about []string
	section := ""
	for line := range strings.Lines(text) {
		comment, is := strings.CutPrefix(strings.TrimRight(line, "\n"), "--")
		if !is {
			break
		}
		comment = strings.TrimSpace(comment)
		switch asks, first := strings.CutPrefix(comment, "question: "); {
		case first:
			q.Asks = asks
		case comment == "parameters:", comment == "parameters: none", comment == "columns:":
			section = strings.Fields(comment)[0]
		case section == "":
			about = append(about, comment)
		case comment == "":
		case section == "parameters:":
			m := parameterLine.FindStringSubmatch(comment)
			if m == nil {
				return q, fmt.Errorf("parameter %q: want `name Type = default -- about`", comment)
			}
			q.Parameters = append(q.Parameters, Parameter{m[1], m[2], strings.Trim(m[3], "'"), m[4]})
		default:
			column, says, found := strings.Cut(comment, "--")
			if !found {
				return q, fmt.Errorf("column %q: want `name -- about`", comment)
			}
			q.Columns = append(q.Columns, Described{strings.TrimSpace(column), strings.TrimSpace(says)})
		}
	}
	q.About = strings.TrimSpace(strings.Join(about, "\n"))
	if q.Asks == "" || len(q.Columns) == 0 {
		return q, fmt.Errorf("its header does not say what it answers, or has no columns")
	}
	return q, nil
}
