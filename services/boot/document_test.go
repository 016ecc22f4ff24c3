package boot

import (
	"flag"
	"fmt"
	"os"
	"strings"
	"testing"
)

var update = flag.Bool("update", false, "write the table into the document")

const (
	document      = "../../docs/configuration.md"
	documentBegin = "<!-- settings: this table is held to the code by services/boot/document_test.go; run it with -update -->\n"
	documentEnd   = "<!-- end of settings -->"
)

// TestDocument holds the documented settings to those of the code.
func TestDocument(t *testing.T) {
	text, err := os.ReadFile(document)
	if err != nil {
		t.Fatal(err)
	}
	before, rest, begins := strings.Cut(string(text), documentBegin)
	written, after, ends := strings.Cut(rest, documentEnd)
	if !begins || !ends {
		t.Fatalf("%s has no place for the table", document)
	}
	want := settingsTable()
	if written == want {
		return
	}
	if !*update {
		t.Fatalf("%s has\n%s\nwant\n%s", document, written, want)
	}
	if err := os.WriteFile(document, []byte(before+documentBegin+want+documentEnd+after), 0o644); err != nil {
		t.Fatal(err)
	}
}

func settingsTable() string {
	var out strings.Builder
	out.WriteString("| setting | kind | default | used by | what it is |\n|-|-|-|-|-|\n")
	for _, s := range settings {
		kind := string(s.form)
		if s.form == formSecret {
			kind = "secret, `" + s.env() + "`"
		}
		value := ""
		if s.value != "" {
			value = "`" + s.value + "`"
		}
		if s.name == "http-addr" {
			value = "see below"
		}
		fmt.Fprintf(&out, "| `%s` | %s | %s | %s | %s |\n", s.name, kind, value, users(s.need), s.about)
	}
	return out.String()
}

func users(need Need) string {
	switch need {
	case NeedRedis, NeedCheckpoints:
		return "joiner"
	case NeedClickHouse:
		return "warehouse"
	case NeedCardKey, NeedProfile:
		return "authorization, capture, settlement"
	default:
		return "all"
	}
}
