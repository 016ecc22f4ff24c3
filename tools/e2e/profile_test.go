package e2e_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// profileFiles are a good profile, profiles with every kind of mistake, and samples
// with one thing wrong each.
var profileFiles = map[string]string{
	"good.yaml": `profile: pine
version: 1
files:
  - match: settle_*.csv
    format: csv
    zone: Asia/Shanghai
    layout: "2006-01-02 15:04:05"
    file_date: {file_name: 'settle_(\d{8})', layout: "20060102"}
    fields:
      acquirer: {const: pine}
      order_id: Order
      currency: {const: CNY}
      batch_id: Batch
      line_id: Line
      stage: {const: paid_out}
      gross: Amount
      fee: {column: Fee, optional: true}
      arrival: {at: "09:30", days: 1}
    kind: line
  - match: report_*.json
    format: json
    records: data.rows
    kind: line
    fields:
      acquirer: {const: pine}
      order_id: order
      currency: {const: CNY}
      batch_id: /data.batch
      line_id: id
      stage: {const: paid_out}
      gross: amount
      terminal_id: terminall
      arrival: {path: at, layout: rfc3339}
`,
	// One mistake a line, and all of them are told at once.
	"mistakes.yaml": `profile: a profile
version: one
flies: []
files:
  - match: settle/*.csv
    format: xls
  - match: a_*.csv
    format: csv
    encoding: latin-1
    records: data.rows
    where: field("A"
    zone: Asia/Shanghei
    layout: "15:04:05"
    kind: lines
    fields:
      acquirer: {const: pine, column: A}
      acquirer: {const: pine}
      order_id: {file_name: '(\d'}
      gros: Amount
      batch_id: [a, b]
      line_id: {column: A, unit: minor}
      gross: {column: Amount, decimal: ",", group: ","}
      arrival: {at: "9.30", days: 1}
  - match: b_*.json
    format: json
    records: data..rows
    kind: line
    fields:
      acquirer: {const: pine}
      rrn: R
      business_time: T
      stage: {const: paid_out}
      gross: A
`,
	"broken.yaml": "profile: pine\nversion: 1\nfiles:\n  - match: [a_*.csv\n    format: csv\n",
	"empty.yaml":  "",
	"two.yaml":    "profile: pine\nversion: 1\nfiles: []\n---\nprofile: oak\n",

	"settle_20250924.csv":   "Order,Batch,Line,Amount,Fee\nO1,B1,L1,12.80,0.05\nO2,B1,L2,-,0.00\nO3,B1,L3,9.999,\nO4,B1,L4,7.00,0.01\n",
	"settle_20250925.csv":   "Order,Batch,Line,Amount\nO1,B1,L1,12.80\n",
	"settle_20250929.csv":   "Order,Lot,Line,Amout\nO1,B1,L1,12.80\n",
	"settle_20250926.csv":   "Order,Batch,Line,Amount\nO1,B1,L1,12.80\n\xb6\xa9\xb5\xa5,B1,L2,1.00\nO3,B1,L3,3.00\n",
	"settle_20250927.csv":   "",
	"settle_20250928.csv":   "Order,Batch,Line,Amount\nO1,B1,L1,12.80\nO2,B1,\"L2,1.00\nO3,B1,L3,3.00\n",
	"report_1.json":         `{"data":{"batch":"B1","rows":[{"order":"O1","id":"L1","amount":"1.00","at":"2025-09-24T09:30:00+08:00"}]}}`,
	"report_cut.json":       "{\"data\":{\"batch\":\"B1\",\"rows\":[\n{\"order\":\"O1\",\"id\":\"L1\",\"amount\":\"1.00\",\"at\":\"2025-09-24T09:30:00+08:00\"},\n{\"order\":\"O2\",\"id\":",
	"report_elsewhere.json": `{"rows":[]}`,
	"other.csv":             "a,b\n1,2\n",
}

// TestProfileCheckCommand: what the built binary says of profiles and of samples,
// good ones and wrong ones, each mistake with its line.
func TestProfileCheckCommand(t *testing.T) {
	dir := t.TempDir()
	for name, text := range profileFiles {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	for _, c := range []struct {
		golden string
		args   string
		stdin  string
		status int
	}{
		{"help", "check --help", "", 0},
		{"good", "check good.yaml", "", 0},
		{"mistakes", "check mistakes.yaml", "", 1},
		{"broken", "check broken.yaml", "", 1},
		{"empty", "check empty.yaml", "", 1},
		{"two", "check two.yaml", "", 1},
		{"sample", "check good.yaml --sample settle_20250925.csv", "", 0},
		{"sample_json", "check good.yaml --sample settle_20250924.csv --records 1 --json", "", 1},
		{"sample_mistakes", "check good.yaml --sample settle_20250924.csv --records 1", "", 1},
		{"sample_few_mistakes", "check good.yaml --sample settle_20250924.csv --records 0 --mistakes 1", "", 1},
		{"sample_columns", "check good.yaml --sample settle_20250929.csv", "", 1},
		{"sample_encoding", "check good.yaml --sample settle_20250926.csv --records 0", "", 1},
		{"sample_empty", "check good.yaml --sample settle_20250927.csv", "", 1},
		{"sample_quote", "check good.yaml --sample settle_20250928.csv --records 0", "", 1},
		{"sample_unseen", "check good.yaml --sample report_1.json --records 0", "", 1},
		{"sample_cut", "check good.yaml --sample report_cut.json --records 0", "", 1},
		{"sample_elsewhere", "check good.yaml --sample report_elsewhere.json", "", 1},
		{"sample_no_pattern", "check good.yaml --sample other.csv", "", 1},
		{"sample_stdin", "check good.yaml --sample - --name settle_20250925.csv --records 1", profileFiles["settle_20250925.csv"], 0},
		{"sample_stdin_no_name", "check good.yaml --sample -", "", 2},
		{"sample_folder", "check good.yaml --sample .", "", 2},
		{"sample_missing", "check good.yaml --sample nowhere.csv", "", 2},
		{"missing", "check nowhere.yaml", "", 2},
		{"folder", "check .", "", 2},
		{"no_profile", "check", "", 2},
		{"no_command", "", "", 0},
		{"unknown_command", "chekc good.yaml", "", 2},
	} {
		t.Run(c.golden, func(t *testing.T) {
			commandSays(t, dir, "profile_"+c.golden+".txt", append([]string{"profile"}, strings.Fields(c.args)...), c.stdin, c.status)
		})
	}
}
