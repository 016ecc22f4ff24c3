package contract

import (
	"flag"
	"io/fs"
	"os"
	"strings"
	"testing"
	"testing/fstest"
)

var update = flag.Bool("update", false, "write docs/asyncapi.md")

const page = "../../docs/asyncapi.md"

// TestPage holds docs/asyncapi.md to the contract.
func TestPage(t *testing.T) {
	schemas := os.DirFS("../../schemas")
	got, err := Render("asyncapi.yaml", func(name string) ([]byte, error) { return fs.ReadFile(schemas, name) })
	if err != nil {
		t.Fatal(err)
	}
	for _, must := range []string{"alerts.paid-unsettled.v1", "`ce_id`", "`due.evidence_due`", "`evidence[].offset`", "keeps the highest `revision`"} {
		if !strings.Contains(got, must) {
			t.Errorf("the page does not speak of %s", must)
		}
	}
	if *update {
		if err := os.WriteFile(page, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(page)
	if err != nil {
		t.Fatal(err)
	}
	if string(want) != got {
		t.Error("docs/asyncapi.md is not what schemas/asyncapi.yaml says now: go test ./tools/contract -update")
	}
}

func TestReferenceThatLeadsNowhere(t *testing.T) {
	files := fstest.MapFS{"a.yaml": {Data: []byte("channels: {c: {messages: {m: {$ref: '#/components/messages/none'}}}}")}}
	if _, err := Render("a.yaml", files.ReadFile); err == nil || !strings.Contains(err.Error(), "none") {
		t.Errorf("a reference to nothing: %v", err)
	}
	if _, err := Render("b.yaml", files.ReadFile); err == nil {
		t.Error("a file that is not there was rendered")
	}
}
