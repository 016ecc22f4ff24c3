package table

import (
	"regexp"
	"slices"
	"strings"
	"testing"
)

var inSQL = regexp.MustCompile(`\{(\w+):(\w+)\}`)

// TestQuestionsAreDocumented: every file says what it answers, and its header
// names exactly the parameters that its SQL uses, with their types.
func TestQuestionsAreDocumented(t *testing.T) {
	questions, err := Questions()
	if err != nil {
		t.Fatal(err)
	}
	if len(questions) < 5 {
		t.Fatalf("%d questions", len(questions))
	}
	for _, q := range questions {
		if !strings.HasSuffix(q.Asks, "?") {
			t.Errorf("%s asks %q, which is no question", q.Name, q.Asks)
		}
		var declared, used []string
		for _, p := range q.Parameters {
			declared = append(declared, p.Name+":"+p.Type)
		}
		for _, m := range inSQL.FindAllStringSubmatch(q.SQL, -1) {
			used = append(used, m[1]+":"+m[2])
		}
		slices.Sort(declared)
		slices.Sort(used)
		if used = slices.Compact(used); !slices.Equal(declared, used) {
			t.Errorf("%s: its header declares %q, its SQL uses %q", q.Name, declared, used)
		}
		if strings.Contains(q.SQL, "SELECT *") {
			t.Errorf("%s selects *: its columns would change without its header", q.Name)
		}
	}
}

func TestParseQuestion(t *testing.T) {
	q, err := parseQuestion("x", "-- question: Why?\n--\n-- Because\n-- of that.\n--\n-- parameters:\n--   a String = '' -- one\n"+
		"--   b Date = 2026-01-02 -- two -- more\n--\n-- columns:\n--   c   -- three\nSELECT c -- not a header\n")
	if err != nil {
		t.Fatal(err)
	}
	if q.Asks != "Why?" || q.About != "Because\nof that." {
		t.Errorf("asks %q, about %q", q.Asks, q.About)
	}
	want := []Parameter{{"a", "String", "", "one"}, {"b", "Date", "2026-01-02", "two -- more"}}
	if !slices.Equal(q.Parameters, want) || !slices.Equal(q.Columns, []Described{{"c", "three"}}) {
		t.Errorf("parameters %q, columns %q", q.Parameters, q.Columns)
	}
	for _, bad := range []string{
		"SELECT 1", "-- question: Why?\nSELECT 1", "-- question: Why?\n-- columns:\n-- c\nSELECT 1",
		"-- question: Why?\n-- parameters:\n--  a String\n-- columns:\n-- c -- x\nSELECT 1",
	} {
		if _, err := parseQuestion("x", bad); err == nil {
			t.Errorf("%q is taken", bad)
		}
	}
}
