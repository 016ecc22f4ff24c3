package console

import (
	"encoding/csv"
	"encoding/json"
	"fmt"
	"io"
	"strconv"
	"strings"

	"github.com/jedib0t/go-pretty/v6/table"
	"github.com/jedib0t/go-pretty/v6/text"

	"settlewatch/pipelines/warehouse"
	"settlewatch/schemas/money"
	sqltable "settlewatch/schemas/table"
)

// Format of a printed answer.
type Format string

// The formats. FormatJSON is one object a row and line, amounts in minor units;
// FormatCSV has a header line, and an empty field for what is not known.
const (
	FormatTable Format = "table"
	FormatCSV   Format = "csv"
	FormatJSON  Format = "json"
)

// Formats lists all of them.
var Formats = []Format{FormatTable, FormatCSV, FormatJSON}

// FindQuestion by its name. Its error says which names there are.
func FindQuestion(name string) (sqltable.Question, error) {
	questions, err := sqltable.Questions()
	if err != nil {
		return sqltable.Question{}, err
	}
	names := make([]string, 0, len(questions))
	for _, q := range questions {
		if q.Name == name {
			return q, nil
		}
		names = append(names, q.Name)
	}
	return sqltable.Question{}, fmt.Errorf("no query %q: there are %s (`settlewatch query --list` says what each answers)",
		name, strings.Join(names, ", "))
}

// Parameters of a question from given name=value texts, defaults filled in.
func Parameters(q sqltable.Question, given []string) (map[string]string, error) {
	values := make(map[string]string, len(q.Parameters))
	var names []string
	for _, p := range q.Parameters {
		values[p.Name] = p.Default
		names = append(names, p.Name)
	}
	for _, g := range given {
		name, value, found := strings.Cut(g, "=")
		if !found {
			return nil, fmt.Errorf("parameter %q: want name=value", g)
		}
		if _, known := values[name]; !known {
			has := "none"
			if len(names) > 0 {
				has = strings.Join(names, ", ")
			}
			return nil, fmt.Errorf("query %s has no parameter %q: it has %s", q.Name, name, has)
		}
		values[name] = value
	}
	return values, nil
}

// WriteAnswer prints an answer. In a table, amounts are in major units where the
// row says the currency.
func WriteAnswer(out io.Writer, a warehouse.Answer, format Format) error {
	switch format {
	case FormatJSON:
		return writeJSON(out, a)
	case FormatCSV:
		return writeCSV(out, a)
	case FormatTable:
		return writeTable(out, a)
	default:
		return fmt.Errorf("format %q: use table, csv or json", string(format))
	}
}

// writeJSON keeps the columns' order, which a map would not.
func writeJSON(out io.Writer, a warehouse.Answer) error {
	var line []byte
	for _, row := range a.Rows {
		line = append(line[:0], '{')
		for i, cell := range row {
			if i > 0 {
				line = append(line, ',')
			}
			line = strconv.AppendQuote(line, a.Columns[i].Name)
			value, err := json.Marshal(cell)
			if err != nil {
				return fmt.Errorf("encode column %s: %w", a.Columns[i].Name, err)
			}
			line = append(append(line, ':'), value...)
		}
		if _, err := out.Write(append(line, '}', '\n')); err != nil {
			return err
		}
	}
	return nil
}

func writeCSV(out io.Writer, a warehouse.Answer) error {
	w := csv.NewWriter(out)
	record := make([]string, len(a.Columns))
	for i, c := range a.Columns {
		record[i] = c.Name
	}
	err := w.Write(record)
	for _, row := range a.Rows {
		for i, cell := range row {
			record[i] = plainText(cell)
		}
		if err == nil {
			err = w.Write(record)
		}
	}
	w.Flush()
	if err == nil {
		err = w.Error()
	}
	return err
}

func plainText(cell any) string {
	if cell == nil {
		return ""
	}
	return fmt.Sprint(cell)
}

func writeTable(out io.Writer, a warehouse.Answer) error {
	t := newTable()
	header := make(table.Row, len(a.Columns))
	configs := make([]table.ColumnConfig, 0, len(a.Columns))
	currency := -1
	for i, c := range a.Columns {
		header[i] = strings.TrimSuffix(c.Name, "_minor")
		if isNumber(c.Type) {
			configs = append(configs, table.ColumnConfig{Number: i + 1, Align: text.AlignRight, AlignHeader: text.AlignRight})
		}
		if c.Name == "currency" {
			currency = i
		}
	}
	t.AppendHeader(header)
	t.SetColumnConfigs(configs)
	for _, row := range a.Rows {
		shown := make(table.Row, len(row))
		for i, cell := range row {
			shown[i] = plainText(cell)
			if currency >= 0 && strings.HasSuffix(a.Columns[i].Name, "_minor") {
				shown[i] = major(plainText(cell), plainText(row[currency]))
			}
		}
		t.AppendRow(shown)
	}
	if len(a.Rows) == 0 {
		_, err := fmt.Fprintln(out, "(no rows)")
		return err
	}
	_, err := fmt.Fprintln(out, t.Render())
	return err
}

// newTable in the style of all tables here.
func newTable() table.Writer {
	t := table.NewWriter()
	style := table.StyleLight
	style.Options.DrawBorder = false
	style.Options.SeparateColumns = false
	style.Format.Header = text.FormatDefault
	t.SetStyle(style)
	t.SuppressTrailingSpaces()
	return t
}

func isNumber(columnType string) bool {
	for _, prefix := range []string{"Int", "UInt", "Float", "Nullable(Int", "Nullable(UInt", "Nullable(Float"} {
		if strings.HasPrefix(columnType, prefix) {
			return true
		}
	}
	return false
}

// major shows minor units as people write them; what money cannot format, sums
// of more than 64 bits too, stays as it is.
func major(minor, currency string) string {
	n, err := strconv.ParseInt(minor, 10, 64)
	if err != nil {
		return minor
	}
	return Amount(n, currency)
}

// Amount in major units; where the currency is unknown, as minor units and
// named so.
func Amount(minor int64, currency string) string {
	if s, err := money.Format(minor, currency); err == nil {
		return s
	}
	return strconv.FormatInt(minor, 10) + " minor"
}

// WriteQuestionsJSON prints the questions for programs, one a line.
func WriteQuestionsJSON(out io.Writer, questions []sqltable.Question) error {
	type field struct {
		Name    string `json:"name"`
		Type    string `json:"type,omitempty"`
		Default string `json:"default,omitempty"`
		About   string `json:"about"`
	}
	encoder := json.NewEncoder(out)
	encoder.SetEscapeHTML(false)
	for _, q := range questions {
		line := struct {
			Name       string  `json:"name"`
			Asks       string  `json:"asks"`
			About      string  `json:"about,omitempty"`
			Parameters []field `json:"parameters"`
			Columns    []field `json:"columns"`
		}{Name: q.Name, Asks: q.Asks, About: strings.ReplaceAll(q.About, "\n", " "), Parameters: []field{}}
		for _, p := range q.Parameters {
			line.Parameters = append(line.Parameters, field{p.Name, p.Type, p.Default, p.About})
		}
		for _, c := range q.Columns {
			line.Columns = append(line.Columns, field{Name: c.Name, About: c.About})
		}
		if err := encoder.Encode(line); err != nil {
			return fmt.Errorf("encode question %s: %w", q.Name, err)
		}
	}
	return nil
}
